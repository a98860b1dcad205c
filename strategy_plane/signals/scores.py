"""Cross-sectional scores: winsorised, standardised, neutral to market, sector and size. NaN abstains and stays NaN."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.window import Array

# Below this many names a cross-section has no standard deviation worth the name.
MIN_NAMES = 3
# The median absolute deviation of a normal variable times this is its standard deviation.
MAD_TO_SD = 1.4826
# What regression leaves of a unit score when nothing is left but rounding.
NOTHING_LEFT = 1e-8


def standardise(values: Array, limit: float) -> Array:
    """z-scores (N): clipped at median +- limit robust standard deviations, then mean 0 and standard deviation 1.

    The clip uses the median absolute deviation, so that one bad value cannot widen its own limit. All NaN with fewer than three
    names or no spread.
    """
    usable = np.isfinite(values)
    result = np.full(len(values), np.nan)
    if int(usable.sum()) < MIN_NAMES:
        return result
    sample = values[usable]
    middle = np.median(sample)
    spread = MAD_TO_SD * np.median(np.abs(sample - middle))
    if spread > 0:
        sample = np.clip(sample, middle - limit * spread, middle + limit * spread)
    sample = sample - sample.mean()
    deviation = np.sqrt((sample**2).mean())
    if not deviation > NOTHING_LEFT * max(abs(float(middle)), 1e-300):
        return result
    result[usable] = sample / deviation
    return result


def exposure_matrix(
    beta: Array, size: Array, sectors: NDArray[np.int64], usable: NDArray[np.bool_], min_names: int
) -> Array:
    """What scores are made neutral to: beta, standardised size, one column a sector with enough usable names (N x F).

    Market neutrality is to beta. A further column of ones would, together with the sector columns, take everything from a name that is
    alone in its sector.
    """
    member = usable & (sectors >= 0)
    counts = np.bincount(sectors[member], minlength=int(sectors.max(initial=-1)) + 1)
    codes = np.flatnonzero(counts >= min_names)
    return np.column_stack([beta, size, (sectors[:, None] == codes[None, :]).astype(np.float64)])


def neutralise(score: Array, exposures: Array) -> Array:
    """Residual of the least-squares regression of `score` (N) on `exposures` (N x F), scaled to root mean square 1.

    Names with a NaN score or exposure abstain; all do when the exposures explain everything.
    """
    usable = np.isfinite(score) & np.isfinite(exposures).all(axis=1)
    result = np.full(len(score), np.nan)
    if int(usable.sum()) < MIN_NAMES:
        return result
    target, design = score[usable], exposures[usable]
    coefficients = np.linalg.lstsq(design, target, rcond=None)[0]
    residual = target - design @ coefficients
    scale = np.sqrt((residual**2).mean())
    if not scale > NOTHING_LEFT:
        return result
    result[usable] = residual / scale
    return result


def cross_sectional(
    raw: Array, beta: Array, size: Array, sectors: NDArray[np.int64], limit: float, min_names: int
) -> Array:
    """Raw values (N) to neutral scores (N): standardise, neutralise to beta, size and sector, and clip to the limit again."""
    usable = np.isfinite(raw) & np.isfinite(size) & np.isfinite(beta)
    score = standardise(np.where(usable, raw, np.nan), limit)
    return np.clip(neutralise(score, exposure_matrix(beta, size, sectors, usable, min_names)), -limit, limit)
