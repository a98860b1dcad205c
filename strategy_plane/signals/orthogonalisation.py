"""Symmetric (Loewdin) orthogonalisation of the signals, on their pooled correlation.

The correlation is pooled over names and, by EWMA, over sessions, then shrunk to the identity: one day's cross-section of 20 names
would mostly rotate noise. Names with other coverage use the correlation of just the signals they have. Klein-Chow 2013.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from strategy_plane.inputs.window import Array

# Smallest eigenvalue before the inverse square root; collinear signals are not blown up beyond it.
EIGEN_FLOOR = 1e-6


class SignalMoments:
    """EWMA of the signals' second moments, K x K, each pair over the sessions in which some name had both."""

    def __init__(self, k: int) -> None:
        self.sums: Array = np.zeros((k, k))
        self.weights: Array = np.zeros((k, k))

    def update(self, scores: Array, half_life: float) -> None:
        """Take one session's scores (K x N)."""
        present = np.isfinite(scores)
        filled = np.where(present, scores, 0.0)
        flags = present.astype(np.float64)
        counts = flags @ flags.T
        seen = counts > 0
        decay = 0.5 ** (1.0 / half_life)
        self.sums = decay * self.sums + (filled @ filled.T) / np.maximum(counts, 1.0)
        self.weights = decay * self.weights + seen

    def scale(self) -> Array:
        """Pooled root mean square of each signal (K); one where there is none yet."""
        square = np.diagonal(self.sums) / np.maximum(np.diagonal(self.weights), 1e-300)
        return np.where(square > 0, np.sqrt(square), 1.0)

    def correlation(self, shrink: float) -> Array:
        """Pooled correlation (K x K), off-diagonals shrunk by the factor 1 - shrink."""
        moments = np.where(self.weights > 0, self.sums / np.maximum(self.weights, 1e-300), 0.0)
        scale = self.scale()
        result = np.clip(moments / np.outer(scale, scale), -1.0, 1.0) * (1.0 - shrink)
        np.fill_diagonal(result, 1.0)
        return np.asarray(result)

    def state(self) -> dict[str, Any]:
        """For snapshots."""
        return {"sums": self.sums.copy(), "weights": self.weights.copy()}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> SignalMoments:
        """Moments that continue from `state()`."""
        moments = cls(len(state["sums"]))
        moments.sums, moments.weights = np.array(state["sums"]), np.array(state["weights"])
        return moments


def inverse_root(correlation: Array) -> Array:
    """C^(-1/2), symmetric, with eigenvalues floored."""
    values, vectors = np.linalg.eigh(correlation)
    return np.asarray((vectors / np.sqrt(np.maximum(values, EIGEN_FLOOR))) @ vectors.T)


def orthogonalise(scores: Array, correlation: Array, scale: Array) -> Array:
    """Scores (K x N) scaled to pooled unit variance and made uncorrelated; each name keeps exactly the signals it has."""
    present = np.isfinite(scores)
    result = np.full(scores.shape, np.nan)
    patterns = np.left_shift(1, np.arange(len(scores)))[:, None] * present
    codes = patterns.sum(axis=0)
    for code in np.unique(codes):  # sorted, so the order is fixed
        names = codes == code
        signals = np.flatnonzero(present[:, names][:, 0])
        if len(signals) == 0:
            continue
        block = np.ix_(signals, np.flatnonzero(names))
        root = inverse_root(correlation[np.ix_(signals, signals)])
        result[block] = root @ (scores[block] / scale[signals, None])
    return result
