"""Time is int64 nanoseconds UTC; these are the only conversions from and to calendar forms."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
AHEAD_MAX: Final = MINUTE
"""Market time never lies ahead of the wall clock: it is the same in live, and the past on paper. The minute is for clocks that differ."""
NEW_YORK = ZoneInfo("America/New_York")


def from_datetime(moment: datetime) -> int:
    """Nanoseconds of an aware datetime; microsecond exact. A naive one raises ValueError."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; attach one before converting")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000


def to_datetime(ns: int, zone: ZoneInfo | None = None) -> datetime:
    """Aware datetime of nanoseconds UTC, in `zone` (UTC by default); truncated to microseconds."""
    moment = datetime.fromtimestamp(ns // SECOND, tz=UTC).replace(microsecond=ns % SECOND // 1_000)
    return moment.astimezone(zone) if zone else moment


def at(day: date, clock: time, zone: ZoneInfo = NEW_YORK) -> int:
    """Nanoseconds of a wall-clock time on a date in a zone."""
    return from_datetime(datetime.combine(day, clock, tzinfo=zone))


def midnight(day: date) -> int:
    """Midnight UTC of a date, ns: how days are named where no time of day is meant."""
    return from_datetime(datetime(day.year, day.month, day.day, tzinfo=UTC))


def iso(ns: int) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ` of nanoseconds UTC, for people."""
    return to_datetime(ns).strftime("%Y-%m-%dT%H:%M:%SZ")
