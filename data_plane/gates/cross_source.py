"""Sources that publish the same name: their daily closes of one session must agree.

Which of two that disagree is right no rule can tell. The earlier one is on the log; the later one is kept off it, and the gate
says so, until the two agree again, whichever of them comes second then, or no other tells of the name any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_plane.observations import Floats, Ints

SILENT_DAYS = 10
"""Calendar days without a close after which a source does not tell of a name any more."""

DISAGREE = "SOURCES_DISAGREE"


@dataclass(slots=True)
class _Last:
    close: Floats
    session: Ints

    @classmethod
    def empty(cls, names: int) -> _Last:
        return cls(np.full(names, np.nan), np.zeros(names, dtype=np.int64))


@dataclass(slots=True)
class DailyCloses:
    """Last daily close that each source published, aligned with the universe of `names` names."""

    names: int
    sources: dict[str, _Last] = field(default_factory=dict)

    def compare(
        self, source: str, rows: Ints, closes: Floats, session: int, limit: float
    ) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.bool_]], list[tuple[str, Floats]]]:
        """(which of `closes` (n,) another source contradicts by more than `limit` (fraction), which of those that none does agree with
        another's, by source and for `source` with any, the other sources with their closes (n,), NaN where they have none of this session).
        """
        apart = np.zeros(len(rows), dtype=np.bool_)
        together: dict[str, NDArray[np.bool_]] = {}
        others = []
        for name, last in sorted(self.sources.items()):
            if name == source:
                continue
            theirs = np.where(last.session[rows] == session, last.close[rows], np.nan)
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                distance = np.abs(closes / theirs - 1.0)
            apart |= distance > limit
            together[name] = distance <= limit
            others.append((name, theirs))
        if together:
            together[source] = np.logical_or.reduce(list(together.values()))
        return apart, {name: agree & ~apart for name, agree in sorted(together.items()) if agree.any()}, others

    def alone(self, source: str, rows: Ints, session: int) -> NDArray[np.bool_]:
        """Of which names (n,) no other source tells any more in the session `session`."""
        alone = np.ones(len(rows), dtype=np.bool_)
        for name, last in sorted(self.sources.items()):
            if name != source:
                alone &= last.session[rows] < session - SILENT_DAYS
        return alone

    def learn(self, source: str, rows: Ints, closes: Floats, session: int) -> NDArray[np.bool_]:
        """Take closes (n,) that passed, but of names of which a later session is known; which (n,) were taken."""
        last = self.sources.get(source)
        if last is None:
            last = self.sources[source] = _Last.empty(self.names)
        newest = last.session[rows] <= session
        places = rows[newest]
        last.close[places], last.session[places] = closes[newest], session
        return newest

    def renumbered(self, names: int, new: list[int], old: list[int]) -> DailyCloses:
        """The name at row `old[i]` is now at row `new[i]` of `names`."""
        after = DailyCloses(names)
        for source, before in sorted(self.sources.items()):
            last = after.sources[source] = _Last.empty(names)
            last.close[new], last.session[new] = before.close[old], before.session[old]
        return after
