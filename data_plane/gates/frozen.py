"""A price that has stopped: bars that a stuck feed repeats while the rest of the market moves.

A share that nobody trades is flat for honest reasons, so a bar counts only when its source says that it was traded (volume > 0), and in
a session only while the peers move: while at least half of the other traded names of the slice changed their close. A bar without
volume is a mark of the last price (a quiet or halted name) and says nothing either way.

    repeated   open, high, low, close and volume are those of the bar before, and the bar has a range: a cache that is sent again.
               Within a session two such bars in a row have been seen by chance (ES futures, two ticks wide), so REPEATED are wanted;
               a day that repeats the last one is no chance, whatever the peers do: providers send a whole day twice.
    flat       one price, that of the last close, though volume is reported: a price that is no longer updated. It must last `bars_max`
               bars, and LONGER times the longest such run of this name that ended by itself: what is usual for it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_plane.observations import CLOSE, HIGH, LOW, VOLUME, Floats, Ints

REPEATED: Final = 3
LONGER: Final = 3
_COLUMNS: Final = VOLUME + 1


@dataclass(slots=True)
class FrozenMemory:
    """Last bar and running runs per name, of one source and interval; arrays are aligned with the universe."""

    last: Floats
    """(names, 5) open to volume."""
    time: Ints
    """End of the last bar, ns UTC; 0 before the first."""
    repeats: Ints
    flat: Ints
    longest: Ints
    """Longest flat run that ended without having been called frozen."""
    day: Ints
    """Ordinal of the session of the last bar; 0 before the first."""
    session: int = 0

    @classmethod
    def empty(cls, names: int) -> FrozenMemory:
        """Nothing known of `names` names."""
        counts = np.zeros((5, names), dtype=np.int64)
        return cls(np.full((names, _COLUMNS), np.nan), *counts)

    def renumbered(self, names: int, new: list[int], old: list[int]) -> FrozenMemory:
        """The name at row `old[i]` is now at row `new[i]` of `names`."""
        after = FrozenMemory.empty(names)
        after.session = self.session
        for column in fields(self)[:-1]:
            getattr(after, column.name)[new] = getattr(self, column.name)[old]
        return after

    def judge(
        self, rows: Ints, values: Floats, time: int, session: int, *, daily: bool, bars_max: int, since: int = 0
    ) -> NDArray[np.bool_]:
        """Which bars (n,) of the slice that ended at `time` are frozen; `values` (n, 6) as in Bars, `rows` (n,) their places. A last bar
        of a session before `since` (ordinal) is too old to be repeated."""
        old = self.day[rows] < since
        if old.any():
            places = rows[old]
            self.last[places] = np.nan
            self.repeats[places] = self.flat[places] = 0
        self.day[rows] = session
        if session != self.session:
            self.session = session
            if not daily:  # a new session begins with a print of its own
                self.repeats[:] = self.flat[:] = 0
        now, volume = values[:, :_COLUMNS], values[:, VOLUME]
        told = (self.time[rows] < time) & (volume > 0.0)
        stays = told & (now[:, CLOSE] == self.last[rows, CLOSE])
        if not stays.any():
            self._replace(rows, now, time)
            self._end(rows, told, bars_max)
            if self.repeats.any():
                self.repeats[rows[told]] = 0
            return np.asarray(stays)
        flat, repeated = stays & (now[:, HIGH] == now[:, LOW]), np.zeros(len(rows), dtype=np.bool_)
        repeated[stays] = (now[stays] == self.last[rows[stays]]).all(axis=1)
        repeated &= ~flat
        self._replace(rows, now, time)
        if daily:
            counts = np.ones(len(rows), dtype=np.int64)
        else:
            others = int(told.sum()) - told
            moved = int(told.sum()) - int(stays.sum()) - (told & ~stays)
            counts = ((others > 0) & (2 * moved >= others)).astype(np.int64)
        self._end(rows, told & ~flat, bars_max)
        self.flat[rows] += flat * counts
        self.repeats[rows] = np.where(repeated, self.repeats[rows] + counts, np.where(told, 0, self.repeats[rows]))
        stuck = flat & (self.flat[rows] >= self._limit(rows, bars_max))
        return np.asarray(stuck | (repeated & (self.repeats[rows] >= (1 if daily else REPEATED))))

    def recalled(self, bars_max: int) -> None:
        """After bars that an earlier run published: of a frozen run these are the first only, so one that came to its last allowed bar is
        not taken for usual."""
        if self.flat.any():
            limits = self._limit(np.arange(len(self.flat)), bars_max)
            np.copyto(self.flat, limits, where=self.flat == limits - 1)

    def _replace(self, rows: Ints, now: Floats, time: int) -> None:
        self.last[rows] = now
        self.time[rows] = time

    def _limit(self, rows: Ints, bars_max: int) -> Ints:
        return np.maximum(LONGER * self.longest[rows], bars_max)

    def _end(self, rows: Ints, ended: NDArray[np.bool_], bars_max: int) -> None:
        """Runs of flat bars that these names have ended."""
        if self.flat.any():
            places = rows[ended]
            length = self.flat[places]
            usual = np.where(length < self._limit(places, bars_max), length, 0)
            self.longest[places] = np.maximum(self.longest[places], usual)
            self.flat[places] = 0
