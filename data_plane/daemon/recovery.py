"""What the plane reads of its own topics when it starts: identities that are taken, last good values, and where its streams ended."""

from __future__ import annotations

from typing import Final

from data_plane.outputs import QUARANTINE
from triplane.runtime.kafka_in import LogRecord, TopicReader, read_all
from triplane.runtime.settings import Settings

_WHOLE: Final = ("data.bars", "data.facts", "data.macro", "data.gates", QUARANTINE)
"""Read whole: they say which identities are taken, and the last good values."""
_ENDS: Final = ("data.quotes", "data.trades")
"""Only their latest time counts: the last records of each partition tell it."""
_TAIL: Final = 200
TOPICS: Final = (*_WHOLE, *_ENDS)


_DECISIONS: Final = "strategy.barriers"


def newest_decision(settings: Settings) -> int:
    """Time of the newest decision on the log, ns UTC; 0 where none was made. Raises LogUnavailable."""
    reader = TopicReader(settings, [_DECISIONS], "end")
    try:
        ends = reader.whole_ends()
    finally:
        reader.close()
    reader = TopicReader(settings, [_DECISIONS], {name: max(end - _TAIL, 0) for name, end in ends.items()})
    try:
        records = reader.read_to(ends, 60.0)
    finally:
        reader.close()
    return max((int(record.value["t"]) for record in records if record.value is not None), default=0)


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
