"""Moves overnight that look like a split that nobody has told of, and splits that were told and did not happen.

A split changes the price at the open of its ex-date by just its ratio, and leaves the turnover in money as it was: nobody has learnt
anything. A crash or a takeover of that size comes with a multiple of the usual turnover (the reasoning of audit/levels.py). So a move of a
believable size is suspected only when the day's turnover is known to be usual, or when the day is too young to tell; it is then held
like a spike until further bars agree, or an action explains it. A move beyond belief is held anyhow; a ratio names its likely cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_plane.observations import CLOSE, OPEN, VOLUME, Floats, Ints

FORWARD: Final = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0)
"""New shares for an old one. 100 is a unit error until somebody says otherwise."""
REVERSE: Final = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0)
"""Old shares for a new one: a rise by a half is a takeover."""
OPEN_SLACK: Final = 0.025
"""What the price may move overnight beside the split, and"""
CLOSE_SLACK: Final = 0.12
"""until the bar's close, both in logs."""
NEWS_TURNOVER: Final = 3.0
QUIET_BARS: Final = 5
HALF_LIFE: Final = 21.0

_STEPS: Final = np.sort(np.r_[-np.log(FORWARD), np.log(REVERSE)])
_MIDDLES: Final = (_STEPS[1:] + _STEPS[:-1]) / 2.0


def like_a_split(values: Floats, reference: Floats) -> NDArray[np.bool_]:
    """Which bars (n, 6) lie off their reference close (n,) by a usual split ratio; never where there is none."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        opened, closed = np.log(values[:, OPEN] / reference), np.log(values[:, CLOSE] / reference)
    # The nearest step: searched among the middles, so that each bar is compared with one ratio. NaN sorts last and is near nothing.
    step = _STEPS[np.searchsorted(_MIDDLES, opened)]
    return np.asarray((np.abs(opened - step) <= OPEN_SLACK) & (np.abs(closed - step) <= CLOSE_SLACK))


def near(values: Floats, reference: Floats) -> NDArray[np.bool_]:
    """Which bars (n, 6) open where their reference close (n,) is, by the same measure."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        opened, closed = np.log(values[:, OPEN] / reference), np.log(values[:, CLOSE] / reference)
    return np.asarray((np.abs(opened) <= OPEN_SLACK) & (np.abs(closed) <= CLOSE_SLACK))


@dataclass(slots=True)
class UsualTurnover:
    """Turnover in money that a name has on a usual day: the exponential mean of its logarithm."""

    level: Floats
    days: Ints
    day: Ints
    """Ordinal of the session of the last one; 0 before the first."""

    @classmethod
    def empty(cls, names: int) -> UsualTurnover:
        """Nothing known of `names` names."""
        return cls(np.zeros(names), np.zeros(names, dtype=np.int64), np.zeros(names, dtype=np.int64))

    def renumbered(self, names: int, new: list[int], old: list[int]) -> UsualTurnover:
        """The name at row `old[i]` is now at row `new[i]` of `names`."""
        after = UsualTurnover.empty(names)
        after.level[new], after.days[new], after.day[new] = self.level[old], self.days[old], self.day[old]
        return after

    def quiet(self, rows: Ints, values: Floats) -> NDArray[np.bool_]:
        """Which daily bars (n, 6) have a turnover that is known to be no news."""
        turnover = values[:, VOLUME] * values[:, CLOSE]
        known = (self.days[rows] >= QUIET_BARS) & (turnover > 0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.asarray(known & (turnover <= NEWS_TURNOVER * np.exp(self.level[rows])))

    def learn(self, rows: Ints, values: Floats, session: int = 0, since: int = 0) -> None:
        """Take daily bars of `session` (ordinal) that passed; what was usual before the session `since` is forgotten."""
        self.days[rows[self.day[rows] < since]] = 0
        self.day[rows] = session
        turnover = values[:, VOLUME] * values[:, CLOSE]
        traded = np.isfinite(turnover) & (turnover > 0.0)
        places = rows[traded]
        self.days[places] += 1
        # A plain mean until the half-life's weight is reached.
        weight = np.maximum(1.0 / self.days[places], 1.0 - 0.5 ** (1.0 / HALF_LIFE))
        self.level[places] += weight * (np.log(turnover[traded]) - self.level[places])
