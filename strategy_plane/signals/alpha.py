"""From scores to expected returns over the horizon."""

from __future__ import annotations

import numpy as np

from strategy_plane.inputs.window import Array


def mixing_weights(coefficients: Array) -> Array:
    """Weights of the signals (K), in proportion to their information coefficients; they sum to one, or are all zero.

    The scores are orthogonal, so C^-1 IC is IC itself.
    """
    total = coefficients.sum()
    return np.asarray(coefficients / total) if total > 0 else np.zeros(len(coefficients))


def expected_returns(scores: Array, weights: Array, coefficients: Array, sigma: Array) -> Array:
    """alpha_i = IC * sigma_i * z_i (Grinold 1994): residual return over the horizon (N); NaN where no signal spoke.

    z is the mix sum_k w_k s_ki / |w| of unit variance and IC = sum_k w_k IC_k / |w| its coefficient. `scores` K x N orthogonal,
    `sigma` specific volatility over the horizon (N). An abstaining signal adds nothing: the name has less alpha, not the same
    from fewer signals.
    """
    length = np.sqrt((weights**2).sum())
    spoke = np.isfinite(scores).any(axis=0) & np.isfinite(sigma)
    if not length > 0:
        return np.where(spoke, 0.0, np.nan)
    mix = weights @ np.nan_to_num(scores, nan=0.0) / length
    coefficient = float(weights @ coefficients) / length
    return np.where(spoke, coefficient * mix * np.where(np.isfinite(sigma), sigma, 0.0), np.nan)


def cost_share(weights: Array, half_lives: Array, horizon: int) -> float:
    """Share of a trade's cost that one horizon bears: horizon over the mix's half-life, at most one.

    Decay rates add, so the mix's half-life is 1 / sum_k w_k / half_life_k. Garleanu-Pedersen 2013.
    """
    rate = float((weights / half_lives).sum())
    return min(1.0, horizon * rate) if rate > 0 else 1.0
