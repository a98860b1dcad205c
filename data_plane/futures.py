"""Futures: when a chain rolls from one contract to the next, and the continuous series that comes of it.

A position is held in the nearest contract until N business days before the earlier of its last trade and its first notice, and from the next
session on in the following one. The *raw* series is the held contract's prices, with a step at each roll that nobody earned. Adjusted
backwards the newest contract is as it trades and what came before is shifted, by the sum of the steps (difference: changes in points are
a position's) or scaled, by the product of the ratios (ratio: returns are). Both leave the past open to each new roll, so they are for
signals; orders and marks take raw prices.

Pure. Sources of notice days: CME Group rulebook, chapters of the products; tables of brokers (https://www.discounttrading.com/first-notice-dates.html
for 2026). A session of the exchange on a US holiday, such as Globex's on Memorial Day, is no business day there, hence no day of notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from triplane.domain import calendars

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FRIDAY: Final = 4
MONTH_CODES: Final = "FGHJKMNQUVXZ"
"""Delivery months January to December, as all exchanges write them."""
BEFORE_THE_MONTH: Final = frozenset(
    [
        "GC",
        "MGC",
        "SI",
        "SIL",
        "HG",
        "PL",
        "PA",
        "Z3N",
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
        "KE",
        "ZO",
        "ZR",
        "XC",
        "XK",
        "XW",
        "YC",
        "YK",
        "YW",
    ]
)
"""Trading classes whose first notice is the last business day of the month before the delivery month: metals, Treasuries, grains."""
AFTER_THE_FIRST_FRIDAY: Final = frozenset(["LE"])
"""Live cattle: the first notice is on the Monday after the first Friday of the delivery month."""
AFTER_THE_LAST_TRADE: Final = frozenset(
    [
        "CL",
        "NG",
        "HO",
        "RB",
        "6A",
        "6B",
        "6C",
        "6E",
        "6J",
        "6M",
        "6N",
        "6S",
        "E7",
        "J7",
        "M6A",
        "M6B",
        "M6E",
        "MCD",
        "MIR",
        "MJY",
        "MSF",
    ]
)
"""Delivered, with notices once trading has ended: energies and currencies."""
CASH: Final = frozenset(
    [
        "ES",
        "MES",
        "NQ",
        "MNQ",
        "YM",
        "MYM",
        "RTY",
        "M2K",
        "EMD",
        "NKD",
        "NIY",
        "VX",
        "VXM",
        "BTC",
        "MBT",
        "ETH",
        "MET",
        "BFF",
        "BZ",
        "MCL",
        "QM",
        "QG",
        "MNG",
        "MHG",
        "QO",
        "QI",
        "QC",
        "HE",
        "GF",
        "SR1",
        "SR3",
        "ZQ",
        "GE",
        "2YY",
        "5YY",
        "10Y",
        "30Y",
    ]
)
"""Settled in cash: nothing is delivered."""


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


def contract_name(symbol: str, month: str) -> str:
    """What a contract of a chain is called here: MES, 201803 -> MESH2018. Exchanges write the last digit of the year alone, and their
    symbols come again after ten years. A month that is none raises ValueError."""
    number = int(month[4:6])
    if not (len(month) >= 6 and 1 <= number <= len(MONTH_CODES)):
        raise ValueError(f"{month!r} is no month YYYYMM")
    return f"{symbol}{MONTH_CODES[number - 1]}{int(month[:4]):04d}"


def first_notice(contract: FutureContract, calendar: str) -> date | None:
    """The first notice day of a delivered contract; None where nothing is delivered before the last trade.

    Raises ValueError for a trading class of which that is not known: to take it for settled in cash could end in a delivery.
    """
    first = date(int(contract.month[:4]), int(contract.month[4:6]), 1)
    match contract.trading_class:
        case known if known in CASH or known in AFTER_THE_LAST_TRADE:
            return None
        case known if known in BEFORE_THE_MONTH:
            return business_day_before(first, calendar)
        case known if known in AFTER_THE_FIRST_FRIDAY:
            day = first + timedelta((FRIDAY - first.weekday()) % 7 + 3)
            return day if _is_business_day(day, calendar) else business_day_before(day, calendar)
    raise ValueError(
        f"{contract.local_symbol}: when notices of trading class {contract.trading_class} begin is not known; "
        "add the class to one of the lists in data_plane/futures.py, as its exchange's rulebook has it"
    )


def business_day_before(day: date, calendar: str) -> date:
    """The latest session of `calendar` before `day` that is no holiday of the US market."""
    day = calendars.previous_session(calendar, day)
    while not calendars.is_session(calendars.MARKET_CALENDAR, day):
        day = calendars.previous_session(calendar, day)
    return day


def _is_business_day(day: date, calendar: str) -> bool:
    return calendars.is_session(calendar, day) and calendars.is_session(calendars.MARKET_CALENDAR, day)


def last_held(contract: FutureContract, days: int, calendar: str) -> date:
    """The last session in which a contract is held: `days` business days before the earlier of last trade and first notice.

    Raises ValueError as `first_notice`.
    """
    notice = first_notice(contract, calendar)
    day = contract.last_trade if notice is None else min(contract.last_trade, notice)
    if not _is_business_day(day, calendar):
        day = business_day_before(day, calendar)
    for _ in range(days):
        day = business_day_before(day, calendar)
    return day


def schedule(chain: Sequence[FutureContract], days: int, calendar: str, start: date) -> list[Held]:
    """Who is held when, from `start` on without a gap; the last contract until it would be left.

    `chain`: at least one contract a month, in any order. Contracts that would be left before `start` do not appear.
    Raises ValueError as `first_notice`.
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
