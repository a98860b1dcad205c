"""Historical bars: as the client library delivers them, and as columns.

What is delivered can be written down and read again, so that what `columns` got wrong is repaired without asking the broker once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triplane.domain.timestamps import from_datetime


class DeliveredBar(NamedTuple):
    """One bar with the library's values untouched; `date` is a day or a moment with its offset in ISO form."""

    date: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    average: float
    trades: int


class HistoricalBars(NamedTuple):
    """Bars of one name, oldest first: `starts` (n,) ns UTC (midnight UTC of the date for daily bars), `values` (n, 6) open, high,
    low, close, volume (NaN where the type has none), volume-weighted price (NaN when IB sends a placeholder), `trades` (n,) counts, -1
    when unknown."""

    starts: NDArray[np.int64]
    values: NDArray[np.float64]
    trades: NDArray[np.int64]

    def between(self, low: int, high: int) -> HistoricalBars:
        """Those that start in [low, high), ns UTC."""
        first, last = np.searchsorted(self.starts, (low, high))
        return self.picked(slice(first, last))

    def picked(self, places: slice | NDArray[np.bool_] | NDArray[np.int64]) -> HistoricalBars:
        """Those at some places."""
        return HistoricalBars(self.starts[places], self.values[places], self.trades[places])


def delivered(bars: Iterable[Any]) -> list[DeliveredBar]:
    """The library's bars."""
    return [
        DeliveredBar(
            bar.date.isoformat() if isinstance(bar.date, date) else str(bar.date),
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
            bar.average,
            bar.barCount,
        )
        for bar in bars
    ]


def columns(bars: Sequence[DeliveredBar], has_volume: bool = True) -> HistoricalBars:
    """Delivered bars as columns; `has_volume` as in what_to_show.py. Raises ValueError for a date that is none."""
    starts = np.array([_start(bar.date) for bar in bars], dtype=np.int64)
    values = np.array([bar[1:7] for bar in bars], dtype=np.float64).reshape(len(bars), 6)
    wap = values[:, 5]
    wap[~(wap > 0)] = np.nan
    if not has_volume:
        values[:, 4:] = np.nan
    trades = np.array([int(bar.trades) if has_volume else -1 for bar in bars], dtype=np.int64)
    return HistoricalBars(starts, values, trades)


def _start(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if len(text) == len("YYYY-MM-DD"):
        return from_datetime(moment.replace(tzinfo=UTC))
    if moment.tzinfo is None:
        raise ValueError(f"a bar is dated {text!r}")
    return from_datetime(moment)
