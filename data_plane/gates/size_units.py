"""Lots or shares: whether a feed's sizes are in the unit of the history, from the day's volume so far.

IB sends sizes of US stocks in shares or in lots of 100, by venue, by data type and by a setting of TWS that a person can change. The
day's volume as the quotes tell it is held against what is usual by this time of the day, V * f (V the median volume of the last
sessions, f the part of the session that has passed). A hundredth of it is a unit: no quiet day comes near. A hundredfold is none: names
trade thirty to seventy times the usual when an index takes them in, and more after a spin-off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_plane.observations import Floats, Ints

SESSIONS: Final = 10
"""Sessions whose median is the usual volume."""
# From a tenth of the session on: before, a quiet opening looks like lots.
EARLIEST: Final = 0.1
# A gap of 100 within what a day's volume departs from the usual. Of 616,513 days of the S&P 500's members (2013-2018) two are as quiet,
# both beside gaps of the file; were they all in lots, 98.9 % would be found.
LEAST_GAP, LARGEST_GAP = 30.0, 1000.0


@dataclass(slots=True)
class VolumeMemory:
    """Daily volumes of the last sessions of each name, newest first: `days` (SESSIONS, names), NaN where there is none."""

    days: Floats
    sessions: Ints
    """Their ordinals (SESSIONS, names); 0 where there is none."""
    _usual: Floats | None = field(default=None)

    @classmethod
    def empty(cls, names: int) -> VolumeMemory:
        """Nothing known of `names` names."""
        return cls(np.full((SESSIONS, names), np.nan), np.zeros((SESSIONS, names), dtype=np.int64))

    def learn(self, rows: Ints, volumes: Floats, session: int) -> None:
        """Take daily volumes (n,) of the names at `rows`; a session that is not newer than what is known is passed over, and so is no volume."""
        new = (self.sessions[0, rows] < session) & (volumes > 0.0)
        places = rows[new]
        self.days[1:, places] = self.days[:-1, places]
        self.days[0, places] = volumes[new]
        self.sessions[1:, places] = self.sessions[:-1, places]
        self.sessions[0, places] = session
        self._usual = None

    def usual(self) -> Floats:
        """Median volume (names,) of the sessions that are known; NaN where fewer than half of SESSIONS are."""
        if self._usual is None:
            self._usual = _medians(self.days)
        return self._usual

    def usual_in(self, shares: Floats, doubtful: NDArray[np.bool_]) -> Floats:
        """`usual` (names,) in shares of now, of which one of each session was `shares` (SESSIONS, names).

        Where it is `doubtful` (names,) whether that is done already, as in history that is loaded, the lesser of the two: by it fewer are held.
        """
        usual, split = self.usual().copy(), (shares != 1.0).any(axis=0)
        usual[split] = _medians(self.days[:, split] * shares[:, split])
        return np.where(doubtful, np.fmin(usual, self.usual()), usual)

    def renumbered(self, names: int, new: list[int], old: list[int]) -> VolumeMemory:
        """The name at row `old[i]` is now at row `new[i]` of `names`."""
        after = VolumeMemory.empty(names)
        after.days[:, new], after.sessions[:, new] = self.days[:, old], self.sessions[:, old]
        return after


def _medians(days: Floats) -> Floats:
    known = np.isfinite(days).sum(axis=0) >= SESSIONS // 2
    medians = np.full(days.shape[1], np.nan)
    if known.any():
        medians[known] = np.nanmedian(days[:, known], axis=0)
    return medians


def volume_by_now(usual: Floats, passed: float) -> Floats:
    """Usual volume (names,) when the fraction `passed` of a session has passed; NaN while that is too early to say."""
    return usual * passed if passed >= EARLIEST else np.full_like(usual, np.nan)


def in_lots(volume: Floats, by_now: Floats) -> NDArray[np.bool_]:
    """Whose volume (n,) is about a hundredth of what is usual by now (n,). Unknown volume, or none yet, is no evidence."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        gap = by_now / volume
        return np.asarray((volume > 0.0) & (gap >= LEAST_GAP) & (gap <= LARGEST_GAP))
