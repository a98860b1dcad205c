"""Freshness: how long ago each name and each source was last heard, in market time.

Silence counts only while data should flow. The paper gateway leaps over idle hours; after a leap, a reconnect or the open, age
counts from there (`resume`), so that nobody is called stale for time in which nothing was sent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_plane.observations import Floats, Ints
from triplane.domain.timestamps import SECOND

STALE = "DATA_STALE"
SILENT = "SOURCE_SILENT"


@dataclass(slots=True)
class LastHeard:
    """When each name was last heard, ns UTC; 0 before the first time. `since` is when listening (re)started."""

    names: Ints
    since: int = 0
    latest: int = 0

    @classmethod
    def empty(cls, names: int) -> LastHeard:
        """Nothing heard of `names` names."""
        return cls(np.zeros(names, dtype=np.int64))

    def resume(self, time: int) -> None:
        """Ages count from `time` where nothing later was heard."""
        self.since = max(self.since, time)

    def heard(self, rows: Ints, time: int) -> None:
        """The names at `rows` were heard at `time`."""
        self.names[rows] = np.maximum(self.names[rows], time)
        self.latest = max(self.latest, time)

    def heard_one(self, row: int, time: int) -> None:
        """The name at `row` was heard at `time`: `heard` of one name, without the arrays."""
        if time > self.names[row]:
            self.names[row] = time
        self.latest = max(self.latest, time)

    def ages(self, now: int) -> Floats:
        """Seconds since each name was heard, or since listening restarted when that is later."""
        return np.asarray((now - np.maximum(self.names, self.since)) / SECOND)

    def stale(self, now: int, limit_s: float | Floats) -> NDArray[np.bool_]:
        """Which names are older than their `limit_s` (names,) market seconds; none before listening has begun."""
        if self.since == 0:
            return np.zeros(len(self.names), dtype=np.bool_)
        return np.asarray(self.ages(now) > limit_s)

    def source_age(self, now: int) -> float:
        """Market seconds since the source said anything; 0 before listening has begun."""
        return max(0.0, (now - max(self.latest, self.since)) / SECOND) if self.since else 0.0

    def renumbered(self, names: int, new: list[int], old: list[int]) -> LastHeard:
        """The name at row `old[i]` is now at row `new[i]` of `names`. Of names that are new, the age counts from now on."""
        times = np.full(names, self.latest, dtype=np.int64)
        times[new] = self.names[old]
        return LastHeard(times, self.since, self.latest)
