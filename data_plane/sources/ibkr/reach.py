"""How far kept answers to requests for daily bars reach: of which sessions it is known what a name traded, or that it did not.

A bar tells of its session. Where a name has none, an answer that asked for that day tells that there was none; so does one that asked for
more than MARGIN before its first bar, of all days before: the name was listed later. Of days that nobody asked for nothing is known.

What a duration reaches back to is IB's affair ("Duration", https://interactivebrokers.github.io/tws-api/historical_bars.html), and is known here
but to a few days: within MARGIN of where it should begin, an answer begins where the first bar of all its names does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_plane.sources.ibkr.kept import Asked
from triplane.broker.historical_bars import HistoricalBars
from triplane.domain import calendars
from triplane.domain.timestamps import DAY, from_datetime, midnight, to_datetime

CALENDAR = calendars.MARKET_CALENDAR
MARGIN: Final = 10 * DAY
"""A week and its holidays, ns."""
_DAYS: Final = {"W": 7, "M": 30, "Y": 365}
"""Days of a unit at least."""


class _First(NamedTuple):
    """A name's earliest bar (ns UTC), and whether an answer tells that there is none before it."""

    start: int
    listed: bool


class Sessions(NamedTuple):
    """Those that answers tell of every name of, those with bars of some names alone, and the names of which the latter tell nothing."""

    whole: list[date]
    partial: list[date]
    unknown: list[str]


class Reach:
    """Of all kept answers."""

    def __init__(self) -> None:
        self._asked: dict[str, list[tuple[int, int]]] = {}
        """From when to when (midnights, ns UTC, the end excluded) each name was asked for."""
        self._first: dict[str, _First] = {}

    def add(self, asked: Asked, at: int, limit: int, answers: Mapping[str, HistoricalBars]) -> None:
        """An answer's bars by name; those from `limit` on (ns UTC) had not ended when it was asked for, at market time `at`."""
        firsts = {name: int(bars.starts.min()) for name, bars in answers.items() if len(bars.starts)}
        if not firsts:
            return
        low, high = _span(asked, at)
        begins = min(max(min(firsts.values()), low), low + MARGIN)
        for name, first in firsts.items():
            self._asked.setdefault(name, []).append((begins, min(high, limit)))
            known, listed = self._first.get(name), first > low + MARGIN
            if known is None or first < known.start:
                self._first[name] = _First(first, listed)
            elif first == known.start:
                self._first[name] = _First(first, listed or known.listed)

    def names(self) -> frozenset[str]:
        """Names of which there is an answer."""
        return frozenset(self._asked)

    def sort_out(self, days: Sequence[date], names: Sequence[str], rows: Mapping[str, HistoricalBars]) -> Sessions:
        """Sessions (ascending) of which `rows` have bars, by whether it is known of each of `names` what it has of them."""
        parts = [bars.starts for bars in rows.values()]
        there = np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)
        starts = np.array([midnight(day) for day in days], dtype=np.int64)
        have = np.isin(starts, there)
        starts = starts[have]
        known = np.ones((len(names), len(starts)), dtype=bool)
        for row, name in enumerate(names):
            known[row] = self._known(name, starts, rows.get(name))
        whole, of_name = np.all(known, axis=0).tolist(), np.all(known, axis=1).tolist()
        some = [day for day, any_bar in zip(days, have.tolist(), strict=True) if any_bar]
        return Sessions(
            [day for day, every in zip(some, whole, strict=True) if every],
            [day for day, every in zip(some, whole, strict=True) if not every],
            [name for name, of_all in zip(names, of_name, strict=True) if not of_all],
        )

    def _known(self, name: str, starts: NDArray[np.int64], bars: HistoricalBars | None) -> NDArray[np.bool_]:
        """(n,): of which days (`starts`, midnights ascending, ns UTC) it is known what the name has, which may be nothing; `bars` are its own."""
        spans = np.array([span for span in self._asked.get(name, []) if span[0] < span[1]], dtype=np.int64)
        lows, highs = np.searchsorted(starts, spans.reshape(-1, 2).T)
        steps = np.zeros(len(starts) + 1, dtype=np.int64)
        np.add.at(steps, lows, 1)
        np.add.at(steps, highs, -1)
        known = np.cumsum(steps[:-1]) > 0
        if bars is not None:
            known |= np.isin(starts, bars.starts)
        first = self._first.get(name)
        if first is not None and first.listed:
            known |= starts < first.start
        return known


def _span(asked: Asked, at: int) -> tuple[int, int]:
    """From when to when (ns UTC) was asked for; nothing where the request is none of those that are made here."""
    try:
        until = from_datetime(datetime.strptime(asked.end, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)) if asked.end else at
        count, unit = asked.duration.split()
        return midnight(_first_day(to_datetime(until - 1).date(), int(count), unit)), until
    except (ValueError, KeyError, OverflowError):
        return at, at


def _first_day(last: date, count: int, unit: str) -> date:
    if unit != "D":
        return last - timedelta(days=count * _DAYS[unit])
    last = min(last, calendars.LAST_DAY)
    days: Sequence[date] = calendars.sessions(
        CALENDAR, max(last - timedelta(days=2 * count + 10), calendars.FIRST_DAY), last
    )
    return days[max(len(days) - count, 0)] if days else last
