"""One name's price history as arrays, and how far it usually moves from bar to bar."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from data_plane.observations import CLOSE, Floats, Ints

DAY_NS = 86_400_000_000_000

# Bars on which the usual move is measured: three months of sessions.
SCALE_WINDOW = 63
# A name that hardly moves is not suspect for the first tick it moves by.
SCALE_FLOOR = 0.005
# With fewer moves than this nothing is known of a name, and it is taken to move like a lively share.
SCALE_LEAST_MOVES, UNKNOWN_SCALE = 3, 0.02
# Median absolute deviation of a normal variable in standard deviations.
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class PriceSeries:
    """Bars of one name, ascending in time; n bars. Prices are in the series' own currency and unit.

    `adjusted` is the close corrected for dividends as well, or None where the provider has none; `dividends` is the amount a share
    on the bar of the ex-date (0 elsewhere), `splits` new shares for an old one on the bar from which they trade (0 elsewhere).
    """

    times: Ints
    """(n,) ns UTC."""
    prices: Floats
    """(n, 4) open, high, low, close."""
    volume: Floats
    """(n,) shares; 0 throughout where none is known."""
    adjusted: Floats | None
    dividends: Floats
    splits: Floats

    def __len__(self) -> int:
        return len(self.times)

    @property
    def close(self) -> Floats:
        """(n,) closes."""
        return self.prices[:, CLOSE]

    @property
    def total_return_close(self) -> Floats:
        """(n,) closes without the jumps of dividends, where the provider has them."""
        if self.adjusted is None:
            return self.close
        known = np.isfinite(self.adjusted) & (self.adjusted > 0.0)
        return self.adjusted if known.all() else np.where(known, self.adjusted, self.close)

    @property
    def spacing(self) -> float:
        """Usual distance of two bars in days."""
        return float(np.median(np.diff(self.times))) / DAY_NS if len(self) > 1 else 1.0

    def scaled(self, rows: slice, factor: float, *, volume: bool) -> PriceSeries:
        """The prices of some bars times `factor`; with `volume` their shares divided by it, which keeps the turnover."""
        prices, shares, adjusted = self.prices.copy(), self.volume.copy(), self.adjusted
        prices[rows] *= factor
        if volume:
            shares[rows] /= factor
        if adjusted is not None:
            adjusted = adjusted.copy()
            adjusted[rows] *= factor
        return replace(self, prices=prices, volume=shares, adjusted=adjusted)


@dataclass(frozen=True, slots=True)
class Moves:
    """Log returns into each bar without dividends, and how large they usually are there: (n,) each."""

    returns: Floats
    scale: Floats

    @classmethod
    def of(cls, series: PriceSeries) -> Moves:
        """Moves of a series."""
        returns = log_returns(series.total_return_close)
        return cls(returns, usual_move(returns))


def log_returns(levels: Floats) -> Floats:
    """(n,) log return into each bar, 0 for the first and where a level is no positive number."""
    with np.errstate(invalid="ignore", divide="ignore"):
        moves = np.diff(np.log(levels), prepend=np.nan)
    return np.nan_to_num(moves, nan=0.0, posinf=0.0, neginf=0.0)


def usual_move(returns: Floats, window: int = SCALE_WINDOW, floor: float = SCALE_FLOOR) -> Floats:
    """(n,) robust standard deviation of the returns around each bar, by their median magnitude: one bad print does not widen it.

    Bars in which the price did not move at all are left out: a name that trades once a week is not calm, it is seldom seen.
    """
    moved = np.flatnonzero(returns[1:]) + 1
    if len(moved) < SCALE_LEAST_MOVES:
        return np.full(len(returns), UNKNOWN_SCALE)
    magnitudes = np.abs(returns[moved])
    size = min(window, len(magnitudes))
    starts = np.clip(np.searchsorted(moved, np.arange(len(returns))) - size // 2, 0, len(magnitudes) - size)
    medians = np.median(sliding_window_view(magnitudes, size), axis=1)
    return np.asarray(np.maximum(MAD_TO_SIGMA * medians[starts], floor))
