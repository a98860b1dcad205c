"""Arrays as the lists that records carry."""

from __future__ import annotations

import numpy as np

from strategy_plane.inputs.window import Array


def plain(values: Array) -> list[float]:
    """Flat list of doubles, row-major, with one NaN and no negative zero.

    A NaN's sign and payload depend on which of two NaNs a vector instruction kept: bytes must not (law L1).
    """
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    result: list[float] = np.where(np.isnan(flat), np.nan, flat + 0.0).tolist()
    return result
