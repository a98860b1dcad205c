"""Which records a decision may be waiting for, and which may wait for company on their way to Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Final

from triplane.domain import calendars
from triplane.domain.calendars import MARKET_CALENDAR
from triplane.domain.timestamps import DAY, MINUTE, SECOND

MARKET_DATA: Final = frozenset({"data.bars", "data.quotes", "data.trades"})
"""What streams. Everything else (gates, facts, vintages, quarantine) is rare, and goes at once with what was gathered before it."""
BEFORE: Final = MINUTE
"""Market time before a decision from which nothing waits: the record that completes it is not known beforehand."""
AFTER: Final = 10 * SECOND
"""Market time after the decision's hour within which the sources' clocks pass it."""
_EPOCH: Final = date(1970, 1, 1).toordinal()


@lru_cache(maxsize=8)
def _decision(day: int, rebalance: str) -> int:
    """When the session of UTC day number `day` decides, ns UTC; 0 where that day is no session."""
    try:
        return calendars.decision_time(MARKET_CALENDAR, date.fromordinal(_EPOCH + day), rebalance)
    except (ValueError, OverflowError):
        return 0


def may_wait(topic: str, record: Mapping[str, Any], rebalance: str) -> bool:
    """Whether no decision waits for this record: market data that is not of the minute around a decision; `rebalance` is HH:MM."""
    if topic not in MARKET_DATA:
        return False
    available = int(record["available_time"])
    decision = _decision(available // DAY, rebalance)
    return not decision - BEFORE <= available <= decision + AFTER
