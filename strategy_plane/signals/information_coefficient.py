"""Rolling information coefficients: how well yesterday's scores told what came.

Per session t and signal: the scores of t - H against the residual returns of the H sessions since, over the specific volatility
known at t - H (risk-adjusted, Qian-Hua 2004). A class of at least 30 names uses the cross-sectional correlation of each session.
A smaller one pools a time-series IC: the product moment of each session over the pooled root mean squares. Standard errors are
Newey-West 1987 for the overlap of horizons. The estimate is shrunk to its prior by its standard error, and floored at zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from strategy_plane.inputs.window import Array, RowWindow

SMALL_CLASS = 30
SCORES_KEPT = 64  # the longest horizon is 63 sessions
FIELDS = 4  # z.y / n, z.z / n, y.y / n and the cross-sectional correlation


def outcomes(residuals: Array, sigma: Array) -> Array:
    """Residual return of H sessions (H x N) over specific volatility: sum e / (sigma sqrt(H)), sigma daily (N). NaN when none traded."""
    horizon = len(residuals)
    seen = np.isfinite(residuals).any(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = np.nan_to_num(residuals, nan=0.0).sum(axis=0) / (sigma * np.sqrt(horizon))
    return np.where(seen & np.isfinite(result), result, np.nan)


def session_moments(scores: Array, outcome: Array) -> Array:
    """One session's moments of each signal (K x 4): z.y / n, z.z / n, y.y / n, correlation; NaN without names."""
    usable = np.isfinite(scores) & np.isfinite(outcome)
    counts = usable.sum(axis=1)
    n = np.where(counts > 0, counts, np.nan)
    z = np.where(usable, scores, 0.0)
    y = np.where(usable, outcome, 0.0)
    zy, zz, yy = (z * y).sum(axis=1) / n, (z * z).sum(axis=1) / n, (y * y).sum(axis=1) / n
    zm, ym = z.sum(axis=1) / n, y.sum(axis=1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = (zy - zm * ym) / np.sqrt((zz - zm**2) * (yy - ym**2))
    correlation = np.where((counts > 2) & np.isfinite(correlation), correlation, np.nan)
    return np.column_stack([zy, zz, yy, correlation])


def weighted_mean_and_error(series: Array, weights: Array, lags: int) -> tuple[Array, Array]:
    """Weighted mean of each column of `series` (T x K, NaN left out) and its Newey-West standard error with `lags` lags.

    With x_t = w_t (u_t - mean) / sum w, the Bartlett sum over lags equals the sum of squares of all running sums of lags + 1
    values of x over lags + 1, which takes one pass and is never negative.
    """
    seen = np.isfinite(series)
    w = np.where(seen, weights[:, None], 0.0)
    total = w.sum(axis=0)
    total = np.where(total > 0, total, np.nan)
    mean = (w * np.where(seen, series, 0.0)).sum(axis=0) / total
    x = w * np.where(seen, series - mean, 0.0) / total
    padded = np.zeros((len(x) + 2 * lags + 2, x.shape[1]))
    padded[lags + 1 : lags + 1 + len(x)] = x
    sums = np.cumsum(padded, axis=0)
    runs = sums[lags + 1 :] - sums[: -(lags + 1)]
    return mean, np.sqrt((runs**2).sum(axis=0) / (lags + 1))


def shrink(mean: Array, error: Array, count: Array, *, prior: float, prior_sd: float, min_obs: int) -> Array:
    """Posterior mean of each IC: (1 - b) mean + b prior with b = se^2 / (se^2 + prior_sd^2), floored at zero (K).

    The prior alone where fewer than `min_obs` sessions were observed. Equal priors make an unsure mix an equal-weighted one.
    """
    variance = np.where(np.isfinite(error), error**2, np.inf)
    pull = np.where(
        np.isfinite(variance), variance / (np.where(np.isfinite(variance), variance, 0.0) + prior_sd**2), 1.0
    )
    known = (count >= min_obs) & np.isfinite(mean)
    estimate = np.where(known, (1.0 - pull) * np.nan_to_num(mean) + pull * prior, prior)
    return np.maximum(estimate, 0.0)


class InformationCoefficients:
    """Scores of the last sessions, and the moments of every session in the window."""

    def __init__(self, k: int, n: int) -> None:
        self.k = k
        self._scores = RowWindow(k * n, SCORES_KEPT)
        self._sigma = RowWindow(n, SCORES_KEPT)
        self._moments = RowWindow(k * FIELDS)

    def update(self, scores: Array, sigma: Array, residuals: Array, horizon: int) -> None:
        """Take one session: its scores (K x N) and specific volatility (N), and the newest residuals (H x N) to judge old scores by."""
        self._scores.append(scores.reshape(-1))
        self._sigma.append(sigma)
        old, old_sigma = self._scores.at(horizon), self._sigma.at(horizon)
        if old is None or old_sigma is None or len(residuals) < horizon:
            moments = np.full((self.k, FIELDS), np.nan)
        else:
            moments = session_moments(old.reshape(self.k, -1), outcomes(residuals[-horizon:], old_sigma))
        self._moments.append(moments.reshape(-1))

    def estimate(self, half_life: float, horizon: int, names: int) -> tuple[Array, Array, Array]:
        """IC, its standard error, and the sessions it was seen in, each K; NaN before the first."""
        rows = self._moments.all().reshape(-1, self.k, FIELDS)
        if len(rows) == 0:
            return np.full(self.k, np.nan), np.full(self.k, np.nan), np.zeros(self.k)
        weights = 0.5 ** (np.arange(len(rows) - 1, -1, -1) / half_life)
        # Bartlett weights with just H - 1 lags see only two thirds of the overlap's variance: twice as many see most of it
        lags = 2 * (horizon - 1)
        if names >= SMALL_CLASS:
            series = rows[:, :, 3]
        else:
            series = rows[:, :, 0]
            seen = np.isfinite(series)
            w = np.where(seen, weights[:, None], 0.0)
            squares = [(w * np.where(seen, rows[:, :, field], 0.0)).sum(axis=0) for field in (1, 2)]
            total = w.sum(axis=0)
            with np.errstate(divide="ignore", invalid="ignore"):
                scale = total / np.sqrt(squares[0] * squares[1])
                series = series * np.where(np.isfinite(scale), scale, np.nan)
        mean, error = weighted_mean_and_error(series, weights, lags)
        return mean, error, np.isfinite(series).sum(axis=0).astype(np.float64)

    def reindex(self, source: Sequence[int]) -> None:
        """Reorder names as PricePanel.reindex did."""
        self._scores.reindex(source, np.nan, blocks=self.k)
        self._sigma.reindex(source, np.nan)

    def state(self) -> dict[str, Any]:
        """For snapshots."""
        return {
            "k": self.k,
            "scores": self._scores.all().copy(),
            "sigma": self._sigma.all().copy(),
            "moments": self._moments.all().copy(),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> InformationCoefficients:
        """Coefficients that continue from `state()`."""
        result = cls(int(state["k"]), state["sigma"].shape[1])
        result._scores.load(state["scores"])
        result._sigma.load(state["sigma"])
        result._moments.load(state["moments"])
        return result
