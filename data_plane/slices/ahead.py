"""Bars stamped ahead of their source's market time: the first of a new session, or one with a wrong time.

To take one ends the interval that is being assembled and makes all that is stamped before it late, so a single name is not believed: its
bar waits until another name's bar (in a universe of one, its own next one) is stamped like it. Market time, as the next `advance` tells it
and references of the clock that tells it put it right, decides on what still waits then. What a run that ends leaves undecided is kept as
such.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Final

from data_plane.observations import RealtimeBar
from triplane.domain.timestamps import SECOND

TIME_AHEAD: Final = "TIME_AHEAD"
TIME_UNCONFIRMED: Final = "TIME_UNCONFIRMED"


@dataclass(slots=True)
class AheadBars:
    """Those of one source, in the order in which they came. Times are ns UTC, `allowed_s` is how far ahead a bar may be, in seconds."""

    waiting: list[RealtimeBar] = field(default_factory=list)
    told: int = 0
    """Market time as `decide` was last told it."""

    def is_ahead(self, start: int, newest: int, allowed_s: float) -> bool:
        """Whether a bar of `start` is, `newest` being the source's newest time (0: none yet)."""
        reached = max(newest, self.told)
        return reached != 0 and start - reached > allowed_s * SECOND

    def admit(self, bar: RealtimeBar, allowed_s: float, names: int) -> Sequence[RealtimeBar]:
        """The bars to take now that `bar` came, which is ahead; `names` is how many the source streams."""
        allowed = allowed_s * SECOND
        for other in self.waiting:
            another = other.symbol != bar.symbol or (names == 1 and other.start < bar.start)
            if another and abs(other.start - bar.start) <= allowed:
                break
        else:
            self.waiting.append(bar)
            return ()
        due = [other for other in self.waiting if abs(other.start - bar.start) <= allowed]
        self.waiting = [other for other in self.waiting if abs(other.start - bar.start) > allowed]
        return (*due, bar)

    def decide(self, now: int, allowed_s: float) -> tuple[list[RealtimeBar], list[RealtimeBar]]:
        """(bars to take, bars whose time is wrong) of those that wait, market time having come to `now`."""
        self.told = max(self.told, now)
        waiting, self.waiting = self.waiting, []
        latest = self.told + allowed_s * SECOND
        return [bar for bar in waiting if bar.start <= latest], [bar for bar in waiting if bar.start > latest]

    def keep(self, names: Container[str]) -> int:
        """Let the bars of other names go; how many those are."""
        before = len(self.waiting)
        self.waiting = [bar for bar in self.waiting if bar.symbol in names]
        return before - len(self.waiting)

    def leave(self) -> list[RealtimeBar]:
        """The bars that wait still, of which nobody will say more."""
        waiting, self.waiting = self.waiting, []
        return waiting
