"""What the plane reads of its own topics when it starts: identities that are taken, last good values, and where its streams ended."""

from __future__ import annotations

from typing import Final

from data_plane.outputs import DECISIONS, QUARANTINE
from triplane.runtime.kafka_in import LogRecord, TopicReader, read_all
from triplane.runtime.settings import Settings

_WHOLE: Final = (
    "data.actions",
    "data.bars",
    "data.facts",
    "data.fundamentals",
    "data.macro",
    "data.gates",
    QUARANTINE,
    DECISIONS,
)
"""Read whole: they say which identities are taken, and the last good values."""
_ENDS: Final = ("data.quotes", "data.trades", "data.micro")
"""Only their latest time counts: the last records of each partition tell it."""
_TAIL: Final = 200
TOPICS: Final = (*_WHOLE, *_ENDS)


def read(settings: Settings) -> list[LogRecord]:
    """What is remembered, in log order within a topic. Raises LogUnavailable, also where records are hidden: what is thought not to be
    published yet would be published again.
    """
    records = read_all(settings, _WHOLE)
    reader = TopicReader(settings, _ENDS, "end")
    try:
        ends = reader.whole_ends()
    finally:
        reader.close()
    reader = TopicReader(settings, _ENDS, {name: max(end - _TAIL, 0) for name, end in ends.items()})
    try:
        return records + reader.read_to(ends, 60.0)
    finally:
        reader.close()
