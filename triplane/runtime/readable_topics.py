"""Whether the records of our topics can be read: a topic may be gone, and somebody else's open transaction hides what is behind it.

Nothing of ours writes in a transaction, and every reader is read_committed: behind one that a foreign client left open, what the
planes write is on the log and read by nobody until it ends, by default up to fifteen minutes. Lag does not show it, since to a
reader the log seems to end there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import IsolationLevel
from confluent_kafka.admin import AdminClient

from triplane.runtime.lost_log import REMEDY
from triplane.runtime.partition_ends import PartitionEnds
from triplane.runtime.settings import Settings

MISSING_REMEDY = (
    f"where nothing was ever written to it `triplane topics create` makes it, else its records are lost: {REMEDY}"
)
LOOK_EVERY_S = 5.0
"""Wall seconds between two looks while nothing is hidden."""


def hidden(name: str, offset: int) -> str:
    """The sentence for partition `name`, which is readable up to `offset`."""
    return (
        f"{name} is not readable from {offset} on: somebody else's transaction is open there and hides what is written; "
        "end it with Kafka's own kafka-transactions, or wait until it runs out"
    )


def missing(topic: str) -> str:
    """The sentence for a topic, with its prefix, that is not on the cluster."""
    return f"topic {topic} does not exist; {MISSING_REMEDY}"


class ReadableTopics:
    """Looks at the ends of `topics` (names of the catalogue). Blocks; not thread-safe."""

    def __init__(self, settings: Settings, topics: Iterable[str]) -> None:
        self._ends = PartitionEnds(settings, topics)
        self._looked = float("-inf")
        self._found = ""

    def look(self, admin: AdminClient, timeout_s: float) -> str:
        """What cannot be read, or an empty text; the answer of a moment ago where that was empty, or where Kafka does not answer now."""
        if not self._found and time.monotonic() - self._looked < LOOK_EVERY_S:
            return ""
        # In this order: what is written between the two questions can only make the second answer larger.
        everything = self._ends.ask(admin, IsolationLevel.READ_UNCOMMITTED, timeout_s)
        readable = self._ends.ask(admin, IsolationLevel.READ_COMMITTED, timeout_s)
        if self._ends.gone:
            self._found, self._looked = missing(self._ends.gone), time.monotonic()
        elif readable:
            found = (name for name, end in sorted(readable.items()) if end < everything.get(name, 0))
            first = next(found, None)
            self._found, self._looked = hidden(first, readable[first]) if first else "", time.monotonic()
        return self._found
