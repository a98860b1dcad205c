"""Exchange sessions, holidays and early closes as int64 nanoseconds; never weekday arithmetic.

The tables come from exchange_calendars between two fixed dates, so that no answer depends on today. That library imports pandas
(1.3 s on two cores), so it is imported at the first question and not with this module, and a process may keep the tables elsewhere
(`keep_tables`); from then on every question is a binary search on an array. Outside FIRST_DAY .. LAST_DAY, and for an unknown
calendar, every function raises CalendarError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from triplane.domain.timestamps import DAY, MINUTE, at

FIRST_DAY: Final = date(1990, 1, 1)
LAST_DAY: Final = date(2035, 12, 31)
MARKET_CALENDAR: Final = "XNYS"
"""Whose sessions decide: one decision a session of the New York Stock Exchange."""
CALENDAR_VERSION: Final[str] = version("exchange_calendars")
TZDATA_VERSION: Final[str] = version("tzdata")


class Kind(NamedTuple):
    """What a calendar is without its table: zone, regular hours, and days from the session's date to its open and close."""

    zone: str
    opens: time
    closes: time
    open_offset: int
    close_offset: int


# The calendars that assets may name. Regular hours stand here as well, so that a configuration is checked without importing
# pandas; a test compares every entry with exchange_calendars.
CALENDARS: Final[Mapping[str, Kind]] = {
    "XNYS": Kind("America/New_York", time(9, 30), time(16, 0), 0, 0),
    "CMES": Kind("America/Chicago", time(17, 0), time(17, 0), -1, 0),
    "24/5": Kind("UTC", time(0, 0), time(0, 0), 0, 1),
    "24/7": Kind("UTC", time(0, 0), time(0, 0), 0, 1),
}


class CalendarError(ValueError):
    """The calendar or the day is outside what is known."""


@dataclass(frozen=True, slots=True)
class Table:
    """Sessions of one calendar in order: dates as proleptic ordinals, opens and closes as int64 ns UTC, shape (sessions,)."""

    ordinals: NDArray[np.int64]
    opens: NDArray[np.int64]
    closes: NDArray[np.int64]


def frozen(ordinals: NDArray[np.int64], opens: NDArray[np.int64], closes: NDArray[np.int64]) -> Table:
    """A table that nobody can change by accident; the arrays become its own."""
    for array in (ordinals, opens, closes):
        array.flags.writeable = False
    return Table(ordinals, opens, closes)


def built(calendar: str) -> Table:
    """All sessions of `calendar` in FIRST_DAY .. LAST_DAY, from exchange_calendars."""
    import exchange_calendars  # 1.3 s, with pandas: only processes that ask pay

    source = exchange_calendars.get_calendar(calendar, start=FIRST_DAY.isoformat(), end=LAST_DAY.isoformat())
    days = source.sessions_nanos // DAY + date(1970, 1, 1).toordinal()
    return frozen(days, source.opens_nanos.copy(), source.closes_nanos.copy())


Keeper = Callable[[str, Callable[[], Table]], Table]
"""Gives the table of a calendar, by the function that builds it or from where an earlier process kept what that gave."""


def _not_kept(_calendar: str, build: Callable[[], Table]) -> Table:
    return build()


_keeper: Keeper = _not_kept


def keep_tables(keeper: Keeper) -> None:
    """Let `keeper` answer for tables that this process has not used yet; the services call it, before any question."""
    global _keeper
    _keeper = keeper


@lru_cache(maxsize=len(CALENDARS))
def table(calendar: str) -> Table:
    """All sessions of `calendar` in FIRST_DAY .. LAST_DAY; had once a process."""
    kind_of(calendar)
    return _keeper(calendar, partial(built, calendar))


def kind_of(calendar: str) -> Kind:
    """Zone and regular hours of a calendar that assets may name."""
    try:
        return CALENDARS[calendar]
    except KeyError:
        raise CalendarError(f"calendar {calendar!r} is unknown; use one of {', '.join(sorted(CALENDARS))}") from None


def sessions(calendar: str, start: date, end: date) -> list[date]:
    """Sessions from `start` to `end`, both included, in order."""
    days = table(calendar).ordinals
    _inside(calendar, start)
    _inside(calendar, end)
    first = int(days.searchsorted(start.toordinal(), "left"))
    last = int(days.searchsorted(end.toordinal(), "right"))
    return [date.fromordinal(int(day)) for day in days[first:last]]


def is_session(calendar: str, day: date) -> bool:
    """Whether the exchange opens on `day`, early closes included."""
    days = table(calendar).ordinals
    _inside(calendar, day)
    place = int(days.searchsorted(day.toordinal(), "left"))
    return place < len(days) and int(days[place]) == day.toordinal()


@lru_cache(maxsize=64)
def session_open(calendar: str, day: date) -> int:
    """Open of the session, ns UTC. A day without one raises CalendarError."""
    return int(table(calendar).opens[_place(calendar, day)])


@lru_cache(maxsize=64)
def session_close(calendar: str, day: date) -> int:
    """Close of the session, ns UTC, the early one on a half day. A day without a session raises CalendarError."""
    return int(table(calendar).closes[_place(calendar, day)])


def session_of(calendar: str, ns: int) -> date | None:
    """The session whose [open, close] holds `ns`, both ends included, or None between sessions.

    Where one session ends as the next begins (24/7), the instant belongs to the one that begins.
    """
    sessions_ = table(calendar)
    place = int(sessions_.opens.searchsorted(ns, "right")) - 1
    if place < 0 or ns > int(sessions_.closes[place]):
        return None
    return date.fromordinal(int(sessions_.ordinals[place]))


def next_session(calendar: str, day: date) -> date:
    """The first session after `day`, which need not be a session itself."""
    days = table(calendar).ordinals
    _inside(calendar, day)
    place = int(days.searchsorted(day.toordinal(), "right"))
    if place == len(days):
        raise CalendarError(f"{calendar} has no session after {day} and until {LAST_DAY}; raise LAST_DAY")
    return date.fromordinal(int(days[place]))


def previous_session(calendar: str, day: date) -> date:
    """The last session before `day`, which need not be a session itself."""
    days = table(calendar).ordinals
    _inside(calendar, day)
    place = int(days.searchsorted(day.toordinal(), "left"))
    if place == 0:
        raise CalendarError(f"{calendar} has no session from {FIRST_DAY} and before {day}; lower FIRST_DAY")
    return date.fromordinal(int(days[place - 1]))


def regular_hours(calendar: str, day: date) -> tuple[int, int]:
    """Open and close that `day` would have without holidays and early closes, ns UTC."""
    kind = kind_of(calendar)
    zone = ZoneInfo(kind.zone)
    return (
        at(day + timedelta(days=kind.open_offset), kind.opens, zone),
        at(day + timedelta(days=kind.close_offset), kind.closes, zone),
    )


FIRST_QUOTES: Final = MINUTE
"""Market time after the open in which the names are quoted for the first time: a decision on the bell would hold them all."""


@lru_cache(maxsize=64)
def decision_time(calendar: str, day: date, clock: str) -> int:
    """When the session of `day` decides, ns UTC; `clock` is HH:MM on the exchange's own clock on a regular day.

    When the exchange closes early the decision is as far before that close as `clock` is before the regular one (15:30 is
    half an hour before 16:00, so 12:30 on a half day), because what matters is the liquidity and the time left to trade. It
    never lies outside the session, nor on its opening bell: FIRST_QUOTES must have come.
    """
    kind = kind_of(calendar)
    hour, minute = clock.split(":")
    _, regular_close = regular_hours(calendar, day)
    before_close = regular_close - at(day, time(int(hour), int(minute)), ZoneInfo(kind.zone))
    place = _place(calendar, day)
    opens, closes = int(table(calendar).opens[place]), int(table(calendar).closes[place])
    return min(max(closes - before_close, opens + FIRST_QUOTES), closes)


def _inside(calendar: str, day: date) -> None:
    if not FIRST_DAY <= day <= LAST_DAY:
        raise CalendarError(
            f"{day} is outside the {calendar} table {FIRST_DAY} .. {LAST_DAY}; widen the table in calendars.py"
        )


def _place(calendar: str, day: date) -> int:
    days = table(calendar).ordinals
    _inside(calendar, day)
    place = int(days.searchsorted(day.toordinal(), "left"))
    if place == len(days) or int(days[place]) != day.toordinal():
        raise CalendarError(f"{day} is no session of {calendar}; ask next_session or previous_session for one")
    return place
