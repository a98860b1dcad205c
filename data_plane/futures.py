"""Futures: when a chain rolls from one contract to the next, and the continuous series that comes of it.

A position is held in the nearest contract until N sessions before the earlier of its last trade and its first notice, and from the next
session on in the following one. The *raw* series is the held contract's prices, with a step at each roll that nobody earned. Adjusted
backwards the newest contract is as it trades and what came before is shifted, by the sum of the steps (difference: changes in points are
a position's) or scaled, by the product of the ratios (ratio: returns are). Both leave the past open to each new roll, so they are for
signals; orders and marks take raw prices.

Pure. Source of notice days: CME Group rulebook, chapters of the products (metals, Treasuries and grains: first notice on the last
business day of the month before the delivery month; equity indices settle in cash and have none).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final

import numpy as np

from data_plane.observations import Floats, Ints
from triplane.domain import calendars

DELIVERED: Final = frozenset(
    [
        "GC",
        "MGC",
        "SI",
        "SIL",
        "HG",
        "ZT",
        "ZF",
        "ZN",
        "TN",
        "ZB",
        "UB",
        "ZC",
        "ZS",
        "ZW",
        "ZM",
        "ZL",
    ]  # trading classes
)
"""Those whose first notice is the last session of the month before the delivery month."""


@dataclass(frozen=True, slots=True)
class FutureContract:
    """One contract of a chain. `month` is its delivery month, YYYYMM."""

    con_id: int
    local_symbol: str
    trading_class: str
    month: str
    last_trade: date


@dataclass(frozen=True, slots=True)
class Held:
    """A contract and the sessions in which it is the chain's, both included."""

    contract: FutureContract
    first: date
    last: date


def first_notice(contract: FutureContract, calendar: str) -> date | None:
    """The first notice day of a delivered contract; None where nothing is delivered before the last trade."""
    if contract.trading_class not in DELIVERED:
        return None
    return calendars.previous_session(calendar, date(int(contract.month[:4]), int(contract.month[4:6]), 1))


def last_held(contract: FutureContract, days: int, calendar: str) -> date:
    """The last session in which a contract is held: `days` sessions before the earlier of last trade and first notice."""
    notice = first_notice(contract, calendar)
    day = contract.last_trade if notice is None else min(contract.last_trade, notice)
    if not calendars.is_session(calendar, day):
        day = calendars.previous_session(calendar, day)
    for _ in range(days):
        day = calendars.previous_session(calendar, day)
    return day


def schedule(chain: Sequence[FutureContract], days: int, calendar: str, start: date) -> list[Held]:
    """Who is held when, from `start` on without a gap; the last contract until it would be left.

    `chain`: at least one contract a month, in any order. Contracts that would be left before `start` do not appear.
    """
    held: list[Held] = []
    first = start if calendars.is_session(calendar, start) else calendars.next_session(calendar, start)
    for contract in sorted(chain, key=lambda each: (each.last_trade, each.month)):
        last = last_held(contract, days, calendar)
        if last >= first:
            held.append(Held(contract, first, last))
            first = calendars.next_session(calendar, last)
    return held


@dataclass(frozen=True, slots=True)
class Continuous:
    """A chain as one series over `sessions` (T,), ordinals ascending.

    `column` (T,): the held contract's place in the chain's order. A raw price p becomes p + offset or p * factor, (T,) each; both are
    NaN before a roll at which no session has a close of both contracts: what lies before cannot be compared with what follows.
    """

    sessions: Ints
    column: Ints
    offset: Floats
    factor: Floats

    def raw(self, prices: Floats) -> Floats:
        """Held prices (T,) of `prices` (T, contracts)."""
        return prices[np.arange(len(self.column)), self.column]


def continuous(held: Sequence[Held], sessions: Ints, closes: Floats) -> Continuous:
    """The series of a schedule. `closes` (T, len(held)) are the contracts' own closes in `sessions` (T,), NaN where there is none.

    The step of a roll is taken from closes of one and the same session, the last with both in which the old contract was held.
    Sessions outside the schedule raise ValueError.
    """
    ends = np.array([each.last.toordinal() for each in held], dtype=np.int64)
    if len(sessions) and (not held or sessions[0] < held[0].first.toordinal() or sessions[-1] > ends[-1]):
        raise ValueError("a session lies outside the schedule; give it contracts from the first session to the last")
    column = np.searchsorted(ends, sessions, side="left")
    offsets, factors = np.zeros(len(held)), np.ones(len(held))
    newest = int(column[-1]) if len(column) else 0  # a roll that lies ahead adjusts nothing
    for old, new in reversed(list(pairwise(range(newest + 1)))):
        both = np.flatnonzero((column == old) & np.isfinite(closes[:, old]) & np.isfinite(closes[:, new]))
        if len(both):
            before, after = closes[both[-1], old], closes[both[-1], new]
            offsets[old] = offsets[new] + (after - before)
            factors[old] = factors[new] * (after / before) if before > 0.0 and after > 0.0 else np.nan
        else:
            offsets[old] = factors[old] = np.nan
    return Continuous(sessions, column, offsets[column], factors[column])
