"""What parameters must be to each other, beyond each one's own range."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import Final
from zoneinfo import ZoneInfo

from triplane.domain.calendars import FIRST_QUOTES, MARKET_CALENDAR, kind_of, regular_hours
from triplane.domain.targets import Targets
from triplane.domain.timestamps import MINUTE, SECOND, at

_RELATIONS: Final[Mapping[str, Callable[[float, float], bool]]] = {"<": operator.lt, "<=": operator.le}

# Any day without a clock change will do: hours are those of the exchange's own clock.
REGULAR_DAY: Final = date(2018, 2, 6)


@dataclass(frozen=True, slots=True)
class Relation:
    """`lower` stands in `sign` (< or <=) to `upper`; names are `plane.PARAMETER`. `because` says what breaks otherwise."""

    lower: str
    sign: str
    upper: str
    because: str


RELATIONS: Final[tuple[Relation, ...]] = (
    Relation("data.QUOTE_SLICE_S", "<=", "data.QUOTE_FRESHNESS_S", "the freshness gate would close between two slices"),
    Relation("data.QUOTE_SLICE_S", "<=", "order.QUOTE_STALE_S", "every order would be denied between two slices"),
    Relation("strategy.MOM_LAG", "<", "strategy.MOM_LOOKBACK", "the momentum window would be empty"),
    Relation(
        "strategy.BOX_LIM", "<=", "order.BOX_HARD", "the program would ask for positions that the order plane denies"
    ),
    Relation(
        "strategy.GROSS_LIM",
        "<=",
        "order.GROSS_HARD",
        "the program would ask for positions that the order plane denies",
    ),
    Relation(
        "strategy.NET_LIM", "<=", "order.NET_HARD", "the program would ask for positions that the order plane denies"
    ),
    Relation("strategy.NET_LIM", "<=", "strategy.GROSS_LIM", "|net| never exceeds gross"),
    Relation("strategy.BOX_LIM", "<=", "strategy.GROSS_LIM", "one weight never exceeds gross"),
    Relation("strategy.DRAWDOWN_BRAKE_START", "<", "order.MAX_DD_KILL_SWITCH", "the brake would begin after the kill"),
    Relation(
        "strategy.LAMBDA_INIT", "<=", "order.LINEAR_MAX", "the first cost would lie outside the learned one's bounds"
    ),
    Relation(
        "strategy.IMPACT_Y_INIT",
        "<=",
        "order.IMPACT_Y_MAX",
        "the first cost would lie outside the learned one's bounds",
    ),
    Relation(
        "order.IMPACT_Y_MIN",
        "<=",
        "strategy.IMPACT_Y_INIT",
        "the first cost would lie outside the learned one's bounds",
    ),
    Relation("order.IMPACT_Y_MIN", "<", "order.IMPACT_Y_MAX", "the learned coefficient could not move"),
    Relation("order.CANCEL_RESERVE", "<", "order.MESSAGES_PER_S", "no message would be left for orders"),
    Relation("order.PARENT_EXPIRY_S", "<=", "order.CHILD_GOOD_TILL_S", "children would die before their parent"),
    Relation(
        "order.MIN_CHILD_NOTIONAL", "<=", "order.ORDER_NOTIONAL_MAX", "no order would be both large and small enough"
    ),
)


@dataclass(frozen=True, slots=True)
class Conflict:
    """A broken relation: the parameter to name, its value, and what it would have to be."""

    parameter: str
    value: str
    allowed: str


def value_of(targets: Targets, name: str) -> float | int | str | None:
    """The value of `plane.PARAMETER`, or None when there is no such parameter."""
    plane, _, parameter = name.partition(".")
    value: float | int | str | None = getattr(getattr(targets, plane, None), parameter, None)
    return value


def conflicts(targets: Targets, calendars: Iterable[str] = (MARKET_CALENDAR,)) -> list[Conflict]:
    """Everything that two parameters, or a parameter and the session's hours, contradict each other in.

    `calendars` are those of the assets that are traded.
    """
    found: list[Conflict] = []
    for relation in RELATIONS:
        lower, upper = value_of(targets, relation.lower), value_of(targets, relation.upper)
        if not isinstance(lower, int | float) or not isinstance(upper, int | float):
            continue
        if not _RELATIONS[relation.sign](lower, upper):
            wanted = f"must be {relation.sign} {relation.upper}, which is {upper!r}, or {relation.because}"
            found.append(Conflict(relation.lower, repr(lower), wanted))
    return found + _rebalance(targets, sorted(set(calendars)))


def _rebalance(targets: Targets, calendars: list[str]) -> list[Conflict]:
    """The decision must lie in the regular session, with time left before the order plane stops sending."""
    clock = targets.strategy.REBALANCE
    hour, minute = clock.split(":")
    buffer = value_of(targets, "order.CLOSE_BUFFER_S")
    found = []
    for calendar in calendars:
        opens, closes = regular_hours(calendar, REGULAR_DAY)
        midnight = at(REGULAR_DAY, time(0), ZoneInfo(kind_of(calendar).zone))
        decision = midnight + (int(hour) * 60 + int(minute)) * MINUTE
        first = opens + FIRST_QUOTES
        latest = closes - round(float(buffer or 0) * SECOND)
        if not first <= decision < latest:
            span = f"{_clock(first - midnight)} and before {_clock(latest - midnight)}"
            wanted = f"must be from {span} on a regular day of {calendar} (its close less order.CLOSE_BUFFER_S)"
            found.append(Conflict("strategy.REBALANCE", repr(clock), wanted))
    return found


def _clock(ns: int) -> str:
    minutes, seconds = divmod(ns // SECOND, 60)
    text = f"{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{text}:{seconds:02d}" if seconds else text
