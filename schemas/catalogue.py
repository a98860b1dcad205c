"""The topic catalogue: what `catalogue.yaml` says, typed and checked.

Every fact about a topic (owner, key, identity, retention, role in a barrier's cut) is read from here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from ruamel.yaml import YAML

Role = Literal["gating", "lookup", "output"]
PLANES = ("data", "strategy", "order", "control")


class CatalogueError(ValueError):
    """The catalogue contradicts itself or names something that does not exist."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `rank` orders topics inside a cut after available_time; `identity` names a record on the topic."""

    name: str
    record: str
    owner: str
    role: Role
    rank: int
    key: str
    identity: tuple[str, ...]
    latest: tuple[str, ...]
    partitions: int
    retention_ms: int
    cleanup: str
    max_message_bytes: int

    @property
    def latest_name(self) -> str | None:
        """Name of the compacted twin, or None when the topic has none."""
        return f"{self.name}.latest" if self.latest else None

    @property
    def partition(self) -> int | None:
        """The partition to name when writing: 0 where the catalogue knows one, so that a partition which somebody adds on the cluster
        gets no record; None where the key decides.
        """
        return 0 if self.partitions == 1 else None

    def identify(self, record: Mapping[str, Any]) -> tuple[Any, ...]:
        """Identity of a record on this topic: the first record with it, in log order, is the record."""
        return tuple(record[field] for field in self.identity)

    def key_of(self, record: Mapping[str, Any]) -> bytes:
        """Message key of a record; raises CatalogueError when it would be empty, since null keys are refused."""
        key = str(record[self.key])
        if not key:
            raise CatalogueError(f"topic {self.name}: field {self.key!r} is the message key and must not be empty")
        return key.encode()


class Catalogue(Mapping[str, Topic]):
    """All topics by name, in rank order."""

    def __init__(self, topics: Mapping[str, Topic]) -> None:
        self._topics = dict(sorted(topics.items(), key=lambda item: item[1].rank))
        ranks = [topic.rank for topic in self._topics.values()]
        if len(set(ranks)) != len(ranks):
            raise CatalogueError("catalogue.yaml: two topics share a rank; give each its own")
        for topic in self._topics.values():
            if topic.owner not in PLANES:
                raise CatalogueError(f"catalogue.yaml: topic {topic.name} has unknown owner {topic.owner!r}")
            if not topic.name.startswith(f"{topic.owner}."):
                raise CatalogueError(f"catalogue.yaml: topic {topic.name} must start with its owner {topic.owner!r}")

    def __getitem__(self, name: str) -> Topic:
        try:
            return self._topics[name]
        except KeyError:
            raise CatalogueError(f"topic {name!r} is not in schemas/catalogue.yaml; add it there first") from None

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._topics)

    def __len__(self) -> int:
        return len(self._topics)

    def __contains__(self, name: object) -> bool:
        return name in self._topics

    def owned_by(self, plane: str) -> list[Topic]:
        """Topics that `plane` alone may write."""
        return [topic for topic in self.values() if topic.owner == plane]

    def barrier_inputs(self) -> list[Topic]:
        """Topics named in a barrier's cut: gating and lookup, in rank order."""
        return [topic for topic in self.values() if topic.role in ("gating", "lookup")]


def parse(text: str) -> Catalogue:
    """Read a catalogue from YAML text; raises CatalogueError."""
    document = YAML(typ="safe").load(text)
    defaults = document.get("defaults", {})
    topics = {}
    for name, entry in document["topics"].items():
        merged = {**defaults, **entry}
        try:
            topics[name] = Topic(
                name=name, **{**merged, "identity": tuple(merged["identity"]), "latest": tuple(merged["latest"])}
            )
        except TypeError as error:
            raise CatalogueError(f"catalogue.yaml: topic {name}: {error}") from None
    return Catalogue(topics)


@cache
def load() -> Catalogue:
    """The committed catalogue."""
    return parse((resources.files("schemas") / "catalogue.yaml").read_text(encoding="utf-8"))
