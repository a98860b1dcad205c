"""What was known when: shares outstanding from filings, rates from macro vintages.

Both books hold what was folded so far and nothing else. Since a barrier folds only records with available_time < t, what they
answer at a barrier is what the world could know at t (law L3): restated facts and revised vintages replace the older value only
from their own available_time on. What comes late, out of quarantine, replaces nothing that was filed or released after it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.window import Array
from triplane.domain.timestamps import DAY, to_datetime

# The cover page's count is as of a date close to the filing; the balance sheet's is as of the period's end.
SHARES_CONCEPTS = ("dei:EntityCommonStockSharesOutstanding", "us-gaap:CommonStockSharesOutstanding")

# FRED quotes these bills as a discount on 360 days; everything else is taken as a simple yield.
DISCOUNT_DAYS = {"DTB4WK": 28, "DTB3": 91, "DTB6": 182, "DTB1YR": 364}
SESSIONS_PER_YEAR = 252


Filed = tuple[str, str]
"""Filing date and acceptance of a filing, in whose order filings follow each other."""


class FactBook:
    """Shares outstanding per name, as known."""

    def __init__(self) -> None:
        # symbol -> concept rank -> (period end, filing date and acceptance, shares); a later filing of the same period replaces an earlier one
        self._shares: dict[str, dict[int, tuple[int, Filed, float]]] = {}
        self._splits: dict[str, list[tuple[int, float]]] = {}
        """(time, ratio) of those that the counts then known were restated for."""

    def fold(self, record: Mapping[str, Any]) -> None:
        """Take a FactSet. Values that are not finite and positive, not in shares, or dated after they were known, are left out."""
        best: dict[int, tuple[int, Filed, float]] = {}
        day = record["filed"] or _date(record["available_time"])
        filed = (day, record["acceptance"])
        for concept, unit, end, value in zip(
            record["concepts"], record["units"], record["period_end"], record["values"], strict=True
        ):
            if concept not in SHARES_CONCEPTS or unit != "shares" or not np.isfinite(value) or value <= 0:
                continue
            if end > record["available_time"]:
                continue
            rank = SHARES_CONCEPTS.index(concept)
            # a filing with several classes of shares repeats concept and date; its dimension is not on the record
            best[rank] = max(best.get(rank, (0, filed, 0.0)), (int(end), filed, float(value)))
        known = self._shares.setdefault(record["symbol"], {}) if best else {}
        for rank, (end, _, value) in best.items():
            if rank not in known or (end, filed) >= known[rank][:2]:
                known[rank] = (end, filed, value * self._restated(record["symbol"], end, day))

    def _restated(self, symbol: str, end: int, day: str) -> float:
        """Units of now for one of a period's end, in a filing of `day` (YYYY-MM-DD) that comes after splits which it came before."""
        return math.prod(ratio for time, ratio in self._splits.get(symbol, ()) if _in_old_units(end, day, time))

    def split(self, symbol: str, time: int, ratio: float) -> None:
        """Restate counts as of before a split in units after it."""
        known = self._shares.get(symbol, {})
        for rank, (end, filed, value) in known.items():
            if _in_old_units(end, filed[0], time):
                known[rank] = (end, filed, value * ratio)
        self._splits.setdefault(symbol, []).append((time, ratio))

    def shares(self, symbols: Sequence[str]) -> tuple[Array, NDArray[np.int64]]:
        """Newest shares outstanding and their date (ns UTC; 0 and NaN when none), each N."""
        values = np.full(len(symbols), np.nan)
        ends = np.zeros(len(symbols), dtype=np.int64)
        for column, symbol in enumerate(symbols):
            known = self._shares.get(symbol)
            if known:
                rank = max(known, key=lambda r: (known[r][0], -r))
                ends[column], _, values[column] = known[rank]
        return values, ends

    def state(self) -> dict[str, Any]:
        """For snapshots."""
        return {
            "shares": {
                symbol: [[rank, end, *filed, value] for rank, (end, filed, value) in sorted(known.items())]
                for symbol, known in sorted(self._shares.items())
            },
            "splits": {symbol: [list(each) for each in splits] for symbol, splits in sorted(self._splits.items())},
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> FactBook:
        """A book that continues from `state()`."""
        book = cls()
        for symbol, rows in state["shares"].items():
            book._shares[symbol] = {int(r): (int(end), (str(day), str(at)), float(v)) for r, end, day, at, v in rows}
        book._splits = {s: [(int(time), float(ratio)) for time, ratio in rows] for s, rows in state["splits"].items()}
        return book


class MacroBook:
    """Macro series by observation date, newest known vintage of each."""

    def __init__(self) -> None:
        self._series: dict[str, dict[int, tuple[str, float]]] = {}
        self._sorted: dict[str, tuple[NDArray[np.int64], Array]] = {}

    def fold(self, record: Mapping[str, Any]) -> None:
        """Take a MacroVintage; an observation is replaced by one of the same or a later vintage only."""
        if not record["values"]:
            return
        series = self._series.setdefault(record["series"], {})
        vintage = record["realtime_start"]
        fresh = series.keys().isdisjoint(record["observation_time"])
        for time, value in zip(record["observation_time"], record["values"], strict=True):
            known = series.get(time)
            if known is None or vintage >= known[0]:
                series[time] = (vintage, float(value))
        before = self._sorted.pop(record["series"], None)
        if fresh and before is not None:
            self._extend(record["series"], before, record["observation_time"], record["values"])

    def _extend(
        self, series: str, before: tuple[NDArray[np.int64], Array], times: Sequence[int], values: Sequence[float]
    ) -> None:
        """Keep what `observations` told where a record adds later days that no vintage had: nearly every one does."""
        if not all(map(math.isfinite, values)):
            return
        new = np.array(times, dtype=np.int64)
        if np.all(np.diff(np.concatenate((before[0][-1:], new))) > 0):
            added = np.array(values, dtype=np.float64)
            self._sorted[series] = (np.concatenate((before[0], new)), np.concatenate((before[1], added)))

    def observations(self, series: str) -> tuple[NDArray[np.int64], Array]:
        """Observation times (ns, rising) and values of a series; those the provider left blank are left out."""
        if series not in self._sorted:
            known = self._series.get(series, {})
            times = [time for time in sorted(known) if math.isfinite(known[time][1])]
            values = [known[time][1] for time in times]
            self._sorted[series] = (np.array(times, dtype=np.int64), np.array(values, dtype=np.float64))
        return self._sorted[series]

    def state(self) -> dict[str, Any]:
        """For snapshots."""
        return {
            name: {
                "time": np.array(list(known), dtype=np.int64),
                "vintage": [entry[0] for entry in known.values()],
                "value": np.array([entry[1] for entry in known.values()]),
            }
            for name, known in sorted(self._series.items())
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> MacroBook:
        """A book that continues from `state()`."""
        book = cls()
        for name, known in state.items():
            rows = zip(known["time"].tolist(), known["vintage"], known["value"].tolist(), strict=True)
            book._series[name] = {time: (vintage, value) for time, vintage, value in rows}
        return book


def _in_old_units(end: int, filed: str, split: int) -> bool:
    """Whether a count as of `end` (ns UTC), filed on a day (YYYY-MM-DD), is in units before a split (its ex-date, ns UTC).

    From the ex-date on filings restate what was before it as well (SEC Staff Accounting Bulletin Topic 4.C).
    """
    return end < split and filed < _date(split)


def _date(time: int) -> str:
    return to_datetime(time).date().isoformat()


def session_rate(series: str, percent: Array) -> Array:
    """Simple return of the T-bill over one session, from the series' printed percent.

    A discount rate d over m days is a bond-equivalent yield of 365 d / (360 - m d) (US Treasury, "Price, Yield and Rate
    Calculations for a Treasury Bill", part 356 appendix B). One session is 1/252 year.
    """
    rate = percent / 100.0
    days = DISCOUNT_DAYS.get(series)
    if days is not None:
        rate = 365.0 * rate / (360.0 - days * rate)
    return rate / SESSIONS_PER_YEAR


def tbill_code(times: NDArray[np.int64], t: int, stale_days: float) -> str:
    """Why the T-bill cannot be used at t: TBILL_MISSING, TBILL_STALE, or empty when it can."""
    if len(times) == 0:
        return "TBILL_MISSING"
    return "TBILL_STALE" if t - int(times[-1]) > stale_days * DAY else ""


def risk_free(book: MacroBook, series: str, session_times: Array) -> Array:
    """T-bill return per session (T) as known now: the newest observation on or before each session's date.

    Sessions before the first observation take the first one: it is known now, and leaving them out would shorten the window.
    """
    times, values = book.observations(series)
    if len(times) == 0:
        return np.full(len(session_times), np.nan)
    index = np.searchsorted(times, session_times.astype(np.int64), side="right") - 1
    return session_rate(series, values[np.maximum(index, 0)])
