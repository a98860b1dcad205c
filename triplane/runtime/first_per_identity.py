"""Duplicates on the log: the first record of an identity is the record."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from schemas import catalogue
from schemas.catalogue import Catalogue
from triplane.runtime.kafka_in import LogRecord


class Nondeterminism(RuntimeError):
    """Two records share an identity but not their bytes."""


CONTESTED = frozenset({"strategy.barriers", "control.config", "control.commands", "order.events"})
"""Topics of which the first record per identity counts for every plane, and a different later one is void: overlapping workers may
write a barrier at once, a second control daemon a version, two order planes that start at once an epoch (order_plane/daemon/fence.py
ends both), and whoever gives commands may use an id twice."""


class FirstPerIdentity:
    """The first record per identity, in log order, is the record; a later one with other bytes is nondeterminism."""

    def __init__(self, topics: Catalogue | None = None) -> None:
        self._topics = topics or catalogue.load()
        self._seen: dict[tuple[str, tuple[Any, ...]], bytes] = {}

    def accept(self, record: LogRecord) -> bool:
        """True for the first record with its identity, False for an equal repeat; raises Nondeterminism."""
        if record.value is None:
            return False
        identity = (record.topic, self._topics[record.topic].identify(record.value))
        digest = blake2b(record.body, digest_size=16).digest()
        first = self._seen.get(identity)
        if first is None:
            self._seen[identity] = digest
            return True
        if first != digest and record.topic not in CONTESTED:
            raise Nondeterminism(
                f"{record.place}: a second record {identity[1]} with other bytes; "
                "its writer is not deterministic, or somebody else wrote it: find which, and stop it"
            )
        return False
