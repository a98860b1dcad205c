"""What the plane reads of its own topics when it starts: identities that are taken, last good values, and where its streams ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from data_plane.outputs import DECISIONS, QUARANTINE
from data_plane.published import BAR_TOPICS, WATCHED
from triplane.domain.timestamps import DAY
from triplane.runtime.kafka_in import LogRecord, TopicReader
from triplane.runtime.log_scan import scan
from triplane.runtime.settings import Settings

_WHOLE: Final = (
    "data.actions",
    "data.bars",
    "data.facts",
    "data.fundamentals",
    "data.macro",
    WATCHED,
    "data.rolls",
    "data.gates",
    QUARANTINE,
    DECISIONS,
)
"""Read whole: they say which identities are taken, and the last good values."""
_LATER: Final = (QUARANTINE, DECISIONS)
"""What was taken out is of no use before what it was taken out of, nor a decision before what it decided on."""
_ENDS: Final = ("data.quotes", "data.trades", "data.micro")
"""Only their latest time counts: the last records of each partition tell it."""
_TAIL: Final = 200
TOPICS: Final = (*_WHOLE, *_ENDS)
PASSED: Final = (*BAR_TOPICS, *_ENDS)
"""Their records were available at a market time that has come; filings, vintages, and what is made or taken out of them, are handed in ahead."""

UNBELIEVABLE: Final = DAY
"""Ahead of this machine's clock, ns: a record of PASSED that is stamped so is nobody's. A clock that is a time zone off doubts none of ours."""

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


def _by_itself(record: LogRecord) -> bool:
    """Whether nothing but its identity counts of it: a bar or quote in quarantine, of which there may be millions."""
    value = record.value
    return record.topic == QUARANTINE and (value is None or value["topic"] not in ("data.facts", "data.macro"))


def read(settings: Settings) -> list[LogRecord]:
    """As `each`, all at once."""
    return list(each(settings))


def _silent(_place: str) -> None:
    """Tell nobody."""


def each(settings: Settings, tell: Callable[[str], None] = _silent) -> Iterator[LogRecord]:
    """What is remembered, one by one, in log order within a topic; a topic of _LATER follows what it rests on. Blocks.

    What is UNBELIEVABLE is passed over, and `tell` is given its place: beside it all that the market sends would look published already.
    Raises LogUnavailable, also where records are hidden: what is thought not to be published yet would be published again.
    """
    latest = time.time_ns() + UNBELIEVABLE
    for record in _all(settings):
        value = record.value
        if value is not None and record.topic in PASSED and max(value["event_time"], value["available_time"]) > latest:
            tell(record.place)
        else:
            yield record


def _all(settings: Settings) -> Iterator[LogRecord]:
    later: dict[str, list[LogRecord]] = {topic: [] for topic in _LATER}
    for record in scan(settings, _WHOLE):
        if record.topic in later and not _by_itself(record):
            later[record.topic].append(record)
        else:
            yield record
    for records in later.values():
        yield from records
    reader = TopicReader(settings, _ENDS, "end")
    try:
        ends = reader.whole_ends()
    finally:
        reader.close()
    reader = TopicReader(settings, _ENDS, {name: max(end - _TAIL, 0) for name, end in ends.items()})
    try:
        yield from reader.read_to(ends, 60.0)
    finally:
        reader.close()
