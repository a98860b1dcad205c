"""Which records a decision or an order may be waiting for, and which may wait for company on their way to Kafka."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Final

from triplane.domain import calendars
from triplane.domain.calendars import MARKET_CALENDAR
from triplane.domain.timestamps import DAY, MINUTE

MARKET_DATA: Final = frozenset({"data.bars", "data.quotes", "data.trades", "data.micro"})
"""What streams. Of the rest UNTRADED may wait; gates, facts, vintages and quarantine are rare, and go at once with what was gathered before."""
UNTRADED: Final = frozenset({"data.watched", "data.rolls"})
"""What neither a decision nor an order reads."""
BEFORE: Final = MINUTE
"""Market time before a decision from which nothing waits: the record that completes it is not known beforehand."""
_EPOCH: Final = date(1970, 1, 1).toordinal()


@lru_cache(maxsize=64)
def _urgent(day: int, rebalance: str) -> tuple[int, int]:
    """From when to when nothing waits on UTC day number `day`, ns UTC, both included; never where that day is no session."""
    try:
        session = date.fromordinal(_EPOCH + day)
        begin = calendars.decision_time(MARKET_CALENDAR, session, rebalance) - BEFORE
        return begin, calendars.session_close(MARKET_CALENDAR, session)
    except (ValueError, OverflowError):
        return 0, -1


def may_wait(topic: str, record: Mapping[str, Any], hours: Collection[str]) -> bool:
    """Whether neither a decision nor an order waits for this record. `hours` are the REBALANCE, HH:MM, of the versions seen: a session
    may have decided, and be trading, at one that an edit has moved.

    Market data waits for nobody from a minute before the decision to the close: then orders work, and where market time runs at 300
    times real time 50 ms are a quarter of a minute, which a quote would be older than it need be. One-minute bars fill gaps, and
    price nothing.
    """
    if topic in UNTRADED:
        return True
    if topic not in MARKET_DATA:
        return False
    available = int(record["available_time"])
    day = available // DAY
    urgent = any(begin <= available <= end for begin, end in (_urgent(day, hour) for hour in hours))
    return not urgent or record.get("interval") == "1m"
