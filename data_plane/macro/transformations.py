"""FRED-MD's transformation codes, which make a macro series stationary, and its rule for outliers.

    1  x_t                        4  log x_t
    2  x_t - x_{t-1}              5  log x_t - log x_{t-1}
    3  second difference of x     6  second difference of log x
                                  7  x_t / x_{t-1} - 1, less the same of t-1

Values that cannot be had are NaN: the first one or two, and whatever a missing value or (codes 4 to 6) a value that is not positive
enters. So a gap costs as many values as the code reaches back and no more.
Source: McCracken and Ng, "FRED-MD: A Monthly Database for Macroeconomic Research", JBES 34 (2016), section 2 and appendix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_plane.observations import Floats

CODES = range(1, 8)
OUTLIER_RANGES = 10.0
"""A value further than this many interquartile ranges from the median is an outlier."""


def transform(levels: Floats, code: int) -> Floats:
    """One code on a series (n,) or on the columns of (n, k), time ascending along the first axis; the same shape comes back.

    The result is in the series' unit (1 to 3), or a pure number (4 to 7); it is not multiplied by 100. Raises ValueError for a code
    outside 1 to 7.
    """
    if code not in CODES:
        raise ValueError(f"transformation code {code!r} is none of FRED-MD's; use 1 to 7")
    x = np.asarray(levels, dtype=np.float64)
    if code == 1:
        return x.copy()
    if code <= 3:
        return difference(x, code - 1)
    if code <= 6:
        return difference(_log(x), code - 4)
    before = np.full_like(x, np.nan)
    before[1:] = x[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where(before == 0.0, np.nan, x / before - 1.0)
    return difference(growth, 1)


def transform_panel(levels: Floats, codes: Sequence[int]) -> Floats:
    """A code a column: `levels` (n, k), `codes` of length k. Raises ValueError when the lengths differ or a code is unknown."""
    if levels.ndim != 2 or levels.shape[1] != len(codes):
        raise ValueError(
            f"levels of shape {levels.shape} need one code a column, not {len(codes)}; pass (n, k) and k codes"
        )
    result = np.empty(levels.shape, dtype=np.float64)
    wanted = np.asarray(codes, dtype=np.int64)
    for code in np.unique(wanted).tolist():
        columns = wanted == code
        result[:, columns] = transform(levels[:, columns], code)
    return result


def outliers(values: Floats) -> NDArray[np.bool_]:
    """Which values of (n,) or (n, k) lie more than 10 interquartile ranges from their column's median; NaN is none.

    To be asked of transformed values. Quartiles are interpolated between midpoints (Hazen), as in the authors' own program; a column
    without a single value has no outliers.
    """
    x = np.asarray(values, dtype=np.float64)
    present = np.isfinite(x)
    # Columns of NaN would warn and give NaN; a zero in each such column gives neither and marks nothing.
    filled = np.where(present.any(axis=0), np.where(present, x, np.nan), 0.0)
    quarter, median, three_quarters = np.nanpercentile(filled, [25.0, 50.0, 75.0], axis=0, method="hazen")
    with np.errstate(invalid="ignore"):
        return np.asarray(present & (np.abs(x - median) > OUTLIER_RANGES * (three_quarters - quarter)))


def difference(x: Floats, times: int) -> Floats:
    """(n,) or (n, k) differenced along the first axis, NaN in front so that the shape stays."""
    for _ in range(times):
        before = np.full_like(x, np.nan)
        before[1:] = x[:-1]
        with np.errstate(invalid="ignore"):
            x = x - before
    return x


def _log(x: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x > 0.0, np.log(x), np.nan)
