"""A future's chain as one series: which contract is held when, and what makes earlier prices comparable with the newest ones.

The raw series is the held contract's prices, with a step at each roll that nobody earned. Adjusted backwards the newest contract is as it
trades and what came before is shifted by the sum of the later steps (difference: changes in points are a position's) or scaled by the
product of the later ratios (ratio: returns are). Both move the past with each new roll, so they are for signals; orders and marks take raw
prices. The rolls come with the log (`data.rolls`); the rule that sets them is the Data Plane's. Pure: arrays in, arrays out.

Source: L. Masteika, A. Rutkauskas, J. Alexander (2012), "Continuous futures data series for back testing and technical analysis",
International Proceedings of Economics Development and Research 29.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def held(first_sessions: Ints, sessions: Ints) -> Ints:
    """Place (T,) of the roll in force in each of `sessions` (T,): the last that has begun; -1 before the first.

    `first_sessions` (R,) are the sessions in which the entered contracts are held first. Ordinals of days, both ascending.
    """
    return np.searchsorted(first_sessions, sessions, side="right") - 1


def difference(column: Ints, from_close: Floats, to_close: Floats) -> Floats:
    """What is added to raw prices (T,), in points: the sum of `to_close - from_close` over the rolls after each session's.

    `column` (T,) is what `held` gave, and its last the newest contract: rolls beyond it lie ahead and adjust nothing. `from_close`,
    `to_close` (R,): closes of the contract left and of the one entered in one and the same session, NaN where there is none; what lies
    before such a roll is NaN, and so is what lies before the first.
    """
    return _of_later(column, np.asarray(to_close - from_close, dtype=np.float64), np.add, 0.0)


def ratio(column: Ints, from_close: Floats, to_close: Floats) -> Floats:
    """What raw prices (T,) are multiplied by: the product of `to_close / from_close` over the rolls after each session's.

    Arguments and NaN as for `difference`; a close that is not positive has no ratio either.
    """
    steps = np.full(len(to_close), np.nan)
    np.divide(to_close, from_close, out=steps, where=(from_close > 0.0) & (to_close > 0.0))
    return _of_later(column, steps, np.multiply, 1.0)


def _of_later(column: Ints, steps: Floats, combine: np.ufunc, neutral: float) -> Floats:
    """`steps` (R,) after each session's roll up to the newest one, combined from the newest backwards."""
    newest = int(column[-1]) if len(column) else -1
    if newest < 0:
        return np.full(len(column), np.nan)
    # One value for each roll that is in force; the newest has none after it. The first roll's own step is nobody's.
    after = combine.accumulate(np.concatenate(([neutral], steps[newest:0:-1])))[::-1]
    return np.where(column >= 0, after[np.maximum(column, 0)], np.nan)
