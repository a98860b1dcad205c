"""Covariance: exponentially weighted, volatilities and correlations with their own half-lives, correlations shrunk, always PSD.

Zero means are assumed, as daily means are far below daily volatilities. Pairs use the sessions in which both names traded, so a
late listing or a halt costs only its own pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.panel import move, move_square
from strategy_plane.inputs.window import Array


@dataclass(frozen=True, slots=True, eq=False)
class Covariance:
    """Daily volatilities (n), correlation (n x n), shrinkage intensity, mean correlation, and the Cholesky factor of the covariance."""

    sigma: Array
    correlation: Array
    intensity: float
    mean_correlation: float
    root: Array

    @property
    def matrix(self) -> Array:
        """Daily covariance, n x n."""
        return np.asarray(self.correlation * np.outer(self.sigma, self.sigma))


class EwmaMoments:
    """Sums behind volatilities and pairwise correlations of N names."""

    def __init__(self, n: int) -> None:
        self._square: Array = np.zeros(n)
        self._weight: Array = np.zeros(n)
        self.count: NDArray[np.int64] = np.zeros(n, dtype=np.int64)
        self._cross: Array = np.zeros((n, n))  # sum w r_i r_j
        self._own: Array = np.zeros((n, n))  # sum w r_i^2 over the sessions of the pair (i, j)
        self._pair: Array = np.zeros((n, n))  # sum w over the sessions of the pair
        self._pair2: Array = np.zeros((n, n))  # sum w^2

    def update(self, returns: Array, vol_half_life: float, corr_half_life: float) -> None:
        """Take one session's returns (N, NaN where a name did not trade)."""
        seen = np.isfinite(returns)
        flags = seen.astype(np.float64)
        r = np.where(seen, returns, 0.0)
        decay = 0.5 ** (1.0 / vol_half_life)
        self._square = decay * self._square + r**2
        self._weight = decay * self._weight + flags
        self.count = self.count + seen
        decay = 0.5 ** (1.0 / corr_half_life)
        pair = np.outer(flags, flags)
        self._cross = decay * self._cross + np.outer(r, r)
        self._own = decay * self._own + np.outer(r**2, flags)
        self._pair = decay * self._pair + pair
        self._pair2 = decay**2 * self._pair2 + pair

    def rebuild(self, columns: Sequence[int], returns: Array, vol_half_life: float, corr_half_life: float) -> None:
        """Sums of these names anew from `returns` (T x N, oldest first), as if each row had been an update."""
        seen = np.isfinite(returns)
        flags, r = seen.astype(np.float64), np.where(seen, returns, 0.0)
        ages = np.arange(len(returns) - 1, -1, -1.0)
        weights = 0.5 ** (ages / vol_half_life)
        self._square[columns] = weights @ r[:, columns] ** 2
        self._weight[columns] = weights @ flags[:, columns]
        self.count[columns] = seen[:, columns].sum(axis=0)
        weights = 0.5 ** (ages / corr_half_life)[:, None]
        mine, mine_seen = r[:, columns], flags[:, columns]
        for name, left, right in (
            ("_cross", weights * mine, r),
            ("_pair", weights * mine_seen, flags),
            ("_pair2", weights**2 * mine_seen, flags),
        ):
            block = left.T @ right
            getattr(self, name)[columns, :] = block
            getattr(self, name)[:, columns] = block.T
        self._own[columns, :] = (weights * mine**2).T @ flags
        self._own[:, columns] = (weights * r**2).T @ mine_seen

    def volatility(self) -> Array:
        """Daily volatility (N); NaN before the first return."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(self._square / self._weight)

    def raw_correlation(self) -> tuple[Array, Array]:
        """Pairwise correlation (N x N, NaN where a pair has none) and its effective number of observations (sum w)^2 / sum w^2."""
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = self._cross / np.sqrt(self._own * self._own.T)
            effective = self._pair**2 / self._pair2
        return np.clip(correlation, -1.0, 1.0), np.nan_to_num(effective, nan=0.0)

    def reindex(self, source: Sequence[int]) -> None:
        """Reorder names as PricePanel.reindex did."""
        for name in ("_square", "_weight", "count"):
            setattr(self, name, move(getattr(self, name), source, 0))
        for name in ("_cross", "_own", "_pair", "_pair2"):
            setattr(self, name, move_square(getattr(self, name), source))

    def state(self) -> dict[str, Any]:
        """For snapshots."""
        names = ("square", "weight", "cross", "own", "pair", "pair2")
        return {name: getattr(self, f"_{name}").copy() for name in names} | {"count": self.count.copy()}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> EwmaMoments:
        """Moments that continue from `state()`."""
        moments = cls(len(state["square"]))
        for name in ("square", "weight", "cross", "own", "pair", "pair2"):
            setattr(moments, f"_{name}", np.array(state[name]))
        moments.count = np.array(state["count"], dtype=np.int64)
        return moments


def shrink_correlation(correlation: Array, effective: Array) -> tuple[Array, float, float]:
    """Correlation shrunk to the constant correlation, with the intensity and that constant.

    Intensity = sum Var(c_ij) / sum (c_ij - mean)^2 over pairs, in [0, 1], with Var(c) = (1 - c^2)^2 / (n_eff - 1) for normal
    returns: the squared-error optimum for this target (Ledoit-Wolf 2003; Schaefer-Strimmer 2005). Pairs never seen together take
    the mean.
    """
    n = len(correlation)
    rows, columns = np.triu_indices(n, 1)
    pairs, counts = correlation[rows, columns], effective[rows, columns]
    known = np.isfinite(pairs) & (counts > 1.0)
    mean = float(pairs[known].mean()) if known.any() else 0.0
    noise = float(((1.0 - pairs[known] ** 2) ** 2 / (counts[known] - 1.0)).sum())
    spread = float(((pairs[known] - mean) ** 2).sum())
    intensity = min(1.0, noise / spread) if spread > 0 else 1.0
    shrunk = np.where(known, (1.0 - intensity) * np.nan_to_num(pairs) + intensity * mean, mean)
    result = np.eye(n)
    result[rows, columns] = shrunk
    result[columns, rows] = shrunk
    return result, intensity, mean


def repair(correlation: Array, floor: float) -> Array:
    """Nearest-in-spirit positive definite correlation: eigenvalues raised to `floor`, then the diagonal scaled back to one.

    Pairwise estimates need not be PSD together. The scaling divides by at most the repaired diagonal, so the smallest eigenvalue
    stays above floor / max diagonal.
    """
    values, vectors = np.linalg.eigh(correlation)
    if values[0] >= floor:
        return correlation
    lifted = (vectors * np.maximum(values, floor)) @ vectors.T
    scale = 1.0 / np.sqrt(np.diagonal(lifted))
    result = lifted * np.outer(scale, scale)
    result = 0.5 * (result + result.T)
    np.fill_diagonal(result, 1.0)
    return np.asarray(result)


def estimate(moments: EwmaMoments, names: NDArray[np.int64], floor: float) -> Covariance:
    """Covariance of the given columns. A name without a volatility takes the largest known one (or 0.05): too careful, never too bold."""
    sigma = moments.volatility()[names]
    usable = np.isfinite(sigma) & (sigma > 0)
    sigma = np.where(usable, sigma, sigma[usable].max() if usable.any() else 0.05)
    raw, effective = moments.raw_correlation()
    block = np.ix_(names, names)
    shrunk, intensity, mean = shrink_correlation(raw[block], effective[block])
    correlation = repair(shrunk, floor)
    root = sigma[:, None] * np.linalg.cholesky(correlation)
    return Covariance(sigma, correlation, intensity, mean, root)
