"""Market and sector: each name's beta and what of its return they leave over.

residual_i = r_i - beta_i m - f_s(i), with m the equal-weighted mean return and f_s the mean of (r - beta m) in the sector. A
sector with fewer names than SECTOR_MIN_NAMES has no factor of its own, for otherwise its names would have no residual at all.
Beta is the exponentially weighted regression slope on m, half way shrunk to one as Blume 1971 (2/3 own, 1/3 one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.panel import move
from strategy_plane.inputs.window import Array, RowWindow
from triplane.domain.targets import StrategyTargets

RESIDUALS_KEPT = 128
BETA_OWN = 2.0 / 3.0


def market_return(returns: Array, members: NDArray[np.bool_]) -> float:
    """Equal-weighted mean return of the members that traded; NaN when none did."""
    seen = members & np.isfinite(returns)
    count = int(seen.sum())
    return float(np.where(seen, returns, 0.0).sum() / count) if count else float("nan")


def sector_means(values: Array, sectors: NDArray[np.int64], usable: NDArray[np.bool_], min_names: int) -> Array:
    """Mean of `values` in each name's sector (N), over usable names; zero where the sector has too few of them.

    `sectors` numbers the sectors from 0; -1 is no sector.
    """
    member = usable & (sectors >= 0)
    width = int(sectors.max(initial=-1)) + 1
    if width == 0:
        return np.zeros(len(values))
    counts = np.bincount(sectors[member], minlength=width)
    sums = np.bincount(sectors[member], weights=values[member], minlength=width)
    means = np.where(counts >= min_names, sums / np.maximum(counts, 1), 0.0)
    return np.where(sectors >= 0, means[np.maximum(sectors, 0)], 0.0)


class MarketModel:
    """Streaming betas, residual returns and specific variances of N names."""

    def __init__(self, n: int) -> None:
        self._cross: Array = np.zeros(n)  # sum w r m
        self._square: Array = np.zeros(n)  # sum w m^2 over the name's sessions
        self._count: NDArray[np.int64] = np.zeros(n, dtype=np.int64)
        self._specific: Array = np.zeros(n)  # sum w e^2
        self._weight: Array = np.zeros(n)  # sum w
        self.residuals = RowWindow(n, RESIDUALS_KEPT)

    def beta(self, min_obs: int) -> Array:
        """Shrunk beta to the market (N); one for names with fewer than `min_obs` returns."""
        own = self._cross / np.where(self._square > 0, self._square, np.inf)
        return np.where(self._count >= min_obs, BETA_OWN * own + (1.0 - BETA_OWN), 1.0)

    def specific_volatility(self) -> Array:
        """Daily volatility of the residual return (N); NaN before the first residual."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(self._specific / self._weight)

    def update(
        self,
        returns: Array,
        members: NDArray[np.bool_],
        sectors: NDArray[np.int64],
        targets: StrategyTargets,
    ) -> float:
        """Take one session's returns (N): residuals with the betas known before it, then the betas. Returns the market's return."""
        market = market_return(returns, members)
        if not np.isfinite(market):
            self.residuals.append(np.full(len(returns), np.nan))
            return market
        seen = members & np.isfinite(returns)
        excess = np.where(seen, returns - self.beta(targets.COV_MIN_OBS) * market, 0.0)
        residual = excess - sector_means(excess, sectors, seen, targets.SECTOR_MIN_NAMES)
        self.residuals.append(np.where(seen, residual, np.nan))
        decay = 0.5 ** (1.0 / targets.VOL_HALF_LIFE)
        self._specific = decay * self._specific + np.where(seen, residual**2, 0.0)
        self._weight = decay * self._weight + seen
        decay = 0.5 ** (1.0 / targets.CORR_HALF_LIFE)
        self._cross = decay * self._cross + np.where(seen, returns * market, 0.0)
        self._square = decay * self._square + np.where(seen, market**2, 0.0)
        self._count = self._count + seen
        return market

    def adopt(self, columns: Sequence[int], other: MarketModel) -> None:
        """Take these names' sums and residuals from another model of the same names, whose last row is of the same session."""
        for name in ("_cross", "_square", "_count", "_specific", "_weight"):
            getattr(self, name)[columns] = getattr(other, name)[columns]
        mine, theirs = self.residuals.all(), other.residuals.all()
        both = min(len(mine), len(theirs))
        mine[len(mine) - both :, columns] = theirs[len(theirs) - both :, columns]

    def reindex(self, source: Sequence[int]) -> None:
        """Reorder names as PricePanel.reindex did."""
        for name in ("_cross", "_square", "_count", "_specific", "_weight"):
            setattr(self, name, move(getattr(self, name), source, 0))
        self.residuals.reindex(source, np.nan)

    def state(self) -> dict[str, Any]:
        """For snapshots."""
        return {
            "cross": self._cross.copy(),
            "square": self._square.copy(),
            "count": self._count.copy(),
            "specific": self._specific.copy(),
            "weight": self._weight.copy(),
            "residuals": self.residuals.all().copy(),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> MarketModel:
        """A model that continues from `state()`."""
        model = cls(len(state["cross"]))
        for name in ("cross", "square", "specific", "weight"):
            setattr(model, f"_{name}", np.array(state[name]))
        model._count = np.array(state["count"], dtype=np.int64)
        model.residuals.load(state["residuals"])
        return model
