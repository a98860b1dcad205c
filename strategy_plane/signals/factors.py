"""Raw factor and signal values, as pure functions of windows of returns. NaN abstains; all inputs end at the newest completed bar.

T rows are sessions, oldest first; N columns are names.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.window import Array

# A window of which more is missing says little about its name: the name abstains.
MIN_COVERAGE = 0.8


def decay_weights(count: int, half_life: float) -> Array:
    """Weights 2^(-k / half_life), oldest first, newest 1."""
    return np.asarray(0.5 ** (np.arange(count - 1, -1, -1, dtype=np.float64) / half_life))


def covered(window: Array, age: NDArray[np.int64], bars: int) -> NDArray[np.bool_]:
    """Names with at least `bars` sessions since their first bar and 80 % of the window's values present."""
    if len(window) == 0:
        return np.zeros(window.shape[1], dtype=bool)
    return np.asarray((age >= bars) & (np.isfinite(window).mean(axis=0) >= MIN_COVERAGE))


def log_size(shares: Array, close: Array) -> Array:
    """Natural log of market capitalisation: shares outstanding times last close (N)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(shares * close)


def momentum(returns: Array, age: NDArray[np.int64], lookback: int, lag: int, half_life: float) -> Array:
    """12-1 momentum: prod(1 + w_k r) - 1 over the last `lookback` bars without the newest `lag`, w_k = 2^(-k / half_life), newest 1.

    Jegadeesh-Titman 1993; the weighting is toraniko's. A halted session counts as no return. A simple return over the window (N).
    """
    window = returns[-(lookback - 1) :]
    usable = covered(window, age, lookback)
    window = window[: max(len(window) - lag, 0)]
    weights = decay_weights(len(window), half_life)
    growth = np.prod(1.0 + weights[:, None] * np.nan_to_num(window, nan=0.0), axis=0)
    return np.where(usable, growth - 1.0, np.nan)


def reversal(residuals: Array, age: NDArray[np.int64], lookback: int, half_life: float) -> Array:
    """Short-term reversal: minus the weighted mean of the last `lookback` residual (market and sector) returns.

    w_k = 2^(-k / half_life). Jegadeesh 1990, on residuals as Blitz et al. 2013. A daily return (N).
    """
    window = residuals[-lookback:]
    usable = covered(window, age, lookback + 1)
    weights = decay_weights(len(window), half_life)
    mean = (weights[:, None] * np.nan_to_num(window, nan=0.0)).sum(axis=0) / max(weights.sum(), 1e-300)
    return np.where(usable, -mean, np.nan)


def own_trend(
    returns: Array, risk_free: Array, sigma: Array, age: NDArray[np.int64], lookback: int, cap: float
) -> Array:
    """POS: own excess return over the T-bill in the last `lookback` bars over its volatility, capped at +-cap.

    prod(1 + r) / prod(1 + rf) - 1, over sigma * sqrt(sessions); `sigma` is daily (N), `risk_free` per session (T). In
    standard deviations (N). Moskowitz-Ooi-Pedersen 2012.
    """
    window = returns[-(lookback - 1) :]
    usable = covered(window, age, lookback)
    growth = np.prod(1.0 + np.nan_to_num(window, nan=0.0), axis=0)
    cash = np.prod(1.0 + risk_free[len(risk_free) - len(window) :])
    with np.errstate(divide="ignore", invalid="ignore"):
        score = (growth / cash - 1.0) / (sigma * np.sqrt(max(len(window), 1)))
    return np.where(usable & np.isfinite(score), np.clip(score, -cap, cap), np.nan)
