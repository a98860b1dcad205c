"""Schema gate: what came in has the shape that the contracts name. What has not cannot be judged by any other gate."""

from __future__ import annotations

import math
from datetime import date
from typing import NamedTuple

from data_plane.observations import (
    ACTION_KINDS,
    BAR_COLUMNS,
    INTERVAL_NS,
    Bars,
    CorporateAction,
    Fact,
    Filing,
    QuoteTick,
    RealtimeBar,
    TradeTick,
    Vintage,
)

SHAPE = "SCHEMA_SHAPE"
DUPLICATE_NAME = "SCHEMA_DUPLICATE_NAME"
UNKNOWN_INTERVAL = "SCHEMA_UNKNOWN_INTERVAL"
BAD_TIME = "SCHEMA_BAD_TIME"
BAD_SESSION = "SCHEMA_BAD_SESSION"
NO_IDENTITY = "SCHEMA_NO_IDENTITY"
NOT_A_NUMBER = "SCHEMA_NOT_A_NUMBER"
BAD_PERIOD = "SCHEMA_BAD_PERIOD"
UNKNOWN_ACTION = "SCHEMA_UNKNOWN_ACTION"

# Before 1970 nothing is traded here, and after 2200 an int64 of nanoseconds is nearly full: such a time is a unit error
# (seconds or milliseconds taken for nanoseconds, or the reverse).
FIRST_TIME = 1_000_000_000_000_000
LAST_TIME = 7_258_118_400_000_000_000


DAY_NS = 86_400_000_000_000
_EPOCH = date(1970, 1, 1).toordinal()

# A CIK has ten digits.
LAST_CIK = 9_999_999_999


class Fault(NamedTuple):
    """Why something may not pass: a code and one sentence with the numbers."""

    code: str
    detail: str


def _time_fault(name: str, time: int) -> Fault | None:
    if FIRST_TIME <= time <= LAST_TIME:
        return None
    return Fault(BAD_TIME, f"{name} {time} is no time in nanoseconds since 1970")


def bars_fault(bars: Bars) -> Fault | None:
    """Fault of a whole slice of bars, or None."""
    count = len(bars.symbols)
    if bars.interval not in INTERVAL_NS:
        return Fault(UNKNOWN_INTERVAL, f"interval {bars.interval!r} is not one of {', '.join(INTERVAL_NS)}")
    if bars.values.shape != (count, len(BAR_COLUMNS)) or bars.trades.shape != (count,):
        return Fault(SHAPE, f"{count} symbols but values {bars.values.shape} and trades {bars.trades.shape}")
    if len(set(bars.symbols)) != count:
        return Fault(DUPLICATE_NAME, f"a symbol stands twice among {count}")
    if bars.available_time < bars.event_time:
        return Fault(BAD_TIME, f"available {bars.available_time} before the bar's end {bars.event_time}")
    try:
        date.fromisoformat(bars.session)
    except ValueError:
        return Fault(BAD_SESSION, f"session {bars.session!r} is no date YYYY-MM-DD")
    return _time_fault("event_time", bars.event_time)


def realtime_fault(bar: RealtimeBar) -> Fault | None:
    """Fault of one running bar: its time must lie on the five-second grid, or it would never meet the other names'."""
    fault = _time_fault("start", bar.start)
    if fault is None and bar.start % INTERVAL_NS["5s"]:
        return Fault(BAD_TIME, f"start {bar.start} is not on the five-second grid")
    return fault


def quote_fault(tick: QuoteTick) -> Fault | None:
    """Fault of one quote update, or None."""
    return _time_fault("time", tick.time)


def trade_fault(tick: TradeTick) -> Fault | None:
    """Fault of one trade, or None; a trade without a size carries nothing."""
    if not (math.isfinite(tick.price) and math.isfinite(tick.size)):
        return Fault(NOT_A_NUMBER, f"price {tick.price} or size {tick.size} is no number")
    return _time_fault("time", tick.time)


def action_fault(action: CorporateAction) -> Fault | None:
    """Fault of a corporate action's shape, or None."""
    if action.kind not in ACTION_KINDS:
        return Fault(UNKNOWN_ACTION, f"action {action.kind[:20]!r} is not one of {', '.join(ACTION_KINDS)}")
    try:
        one_form = date.fromisoformat(action.ex_date).isoformat() == action.ex_date  # it is part of the identity
    except ValueError:
        one_form = False
    if not one_form:
        return Fault(BAD_SESSION, f"ex-date {action.ex_date[:20]!r} is no date YYYY-MM-DD")
    return _time_fault("ex-date", ex_time(action)) or _time_fault("available_time", action.available_time)


def ex_time(action: CorporateAction) -> int:
    """Midnight UTC of an action's ex-date, ns UTC: its event time. A day that is none raises ValueError."""
    return (date.fromisoformat(action.ex_date).toordinal() - _EPOCH) * DAY_NS


def filing_fault(filing: Filing) -> Fault | None:
    """Fault of a whole filing, or None."""
    if not filing.symbol or not filing.accession:
        return Fault(NO_IDENTITY, f"symbol {filing.symbol!r} or accession {filing.accession!r} is empty")
    if not 0 < filing.cik <= LAST_CIK:
        return Fault(NO_IDENTITY, f"CIK {str(filing.cik)[:20]} is not a number of one to ten digits")
    return _time_fault("available_time", filing.available_time)


def fact_fault(fact: Fact) -> Fault | None:
    """Fault of one fact's period: its days may lie long before 1970, but not beyond what a time can hold."""
    if not (_is_day(fact.start) and _is_day(fact.end)) or (fact.start != 0 and fact.start > fact.end):
        return Fault(BAD_PERIOD, f"{fact.concept} is for a period from {fact.start} to {fact.end} (ns since 1970)")
    if not 0 <= fact.fiscal_year <= 9999:
        return Fault(BAD_PERIOD, f"{fact.concept} is for the fiscal year {str(fact.fiscal_year)[:12]}")
    return None


def macro_date_fault(series: str, day: int) -> Fault | None:
    """Fault of the day of one macro value, or None."""
    return None if _is_day(day) else Fault(BAD_PERIOD, f"{series} has a value for {day} ns since 1970, which is no day")


def _is_day(time: int) -> bool:
    return -LAST_TIME <= time <= LAST_TIME


def vintage_fault(vintage: Vintage) -> Fault | None:
    """Fault of a whole vintage, or None."""
    if not vintage.series or not vintage.realtime_start:
        return Fault(NO_IDENTITY, f"series {vintage.series!r} or realtime_start {vintage.realtime_start!r} is empty")
    return _time_fault("available_time", vintage.available_time)
