"""Running bars into slices: one bar a name and interval comes in, one cross-section goes out.

A slice is ready when every name that is waited for has delivered, when the first bar of a later interval arrives, or when market
time has passed the interval by `GRACE`. Names that were absent from the last slice are not waited for, so that one silent name does
not delay the others by an interval; when such a name comes back, its first bar is late once and it is waited for again.

Two intervals may come in the wrong order. Where nothing came of the interval before the one that is being assembled, that one waits, though
complete, until the other is complete too, a bar of a later interval arrives, or market time has passed it by `GRACE`: an interval
that was overtaken goes out before the one that overtook it, and one that is lost delays the next slice by a step at most. Both, and what the
newest slices carried, are all that is held.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_plane.observations import BAR_COLUMNS, INTERVAL_NS, Floats, Ints, RealtimeBar

STEP = INTERVAL_NS["5s"]
GRACE = STEP
RECENT = 4
"""Newest slices whose bars are known again when they come a second time."""


class Ready(NamedTuple):
    """A finished cross-section: `rows` are the names' places, `values` (n, 6) and `trades` (n,) are aligned with them.

    `before` is the start of the slice that went out before it (0: none yet); `overtaken` says that a later interval came first.
    """

    start: int
    rows: Ints
    values: Floats
    trades: Ints
    before: int
    overtaken: bool


class _Interval:
    """One interval in assembly; `outstanding` names of those `awaited` (names,) are still to deliver."""

    __slots__ = ("ended", "outstanding", "overtaken", "present", "start", "trades", "values", "waits")

    def __init__(self, start: int, awaited: NDArray[np.bool_], *, waits: bool, overtaken: bool) -> None:
        names = len(awaited)
        self.start = start
        self.values = np.full((names, len(BAR_COLUMNS)), np.nan)
        self.trades = np.full(names, -1, dtype=np.int64)
        self.present = np.zeros(names, dtype=np.bool_)
        self.outstanding = int(awaited.sum())
        self.waits = waits
        """Whether nothing came of the interval before it, which may have been overtaken."""
        self.overtaken = overtaken
        self.ended = False
        """Whether a bar of a later interval has come since it was begun."""


class BarAssembler:
    """State of one source's running intervals over `names` names."""

    def __init__(self, names: int) -> None:
        self._awaited = np.ones(names, dtype=np.bool_)
        self._streamed = np.ones(names, dtype=np.bool_)
        """Names that may be waited for at all."""
        self._open: list[_Interval] = []
        """At most two, by their start."""
        self._recent: deque[_Interval] = deque(maxlen=RECENT)
        self._last = 0
        """Start of the latest interval that was handed out."""
        self.done = 0
        """Start of the latest interval of which no bar is taken any more."""

    def stream(self, rows: Ints | None) -> None:
        """From now on only the names at `rows` are sent (None: all): no other is waited for, of the running interval neither."""
        self._streamed[:] = rows is None
        if rows is not None:
            self._streamed[rows] = True
        self._awaited &= self._streamed
        for each in self._open:
            each.outstanding = int((self._awaited & ~each.present).sum())

    @property
    def pending(self) -> int:
        """Bars held back."""
        return sum(int(each.present.sum()) for each in self._open)

    def _running(self, start: int) -> _Interval | None:
        for each in self._open:
            if each.start == start:
                return each
        return None

    def repeats(self, row: int, bar: RealtimeBar) -> bool:
        """Whether the name has delivered this interval already: the running one, or one of the newest slices with the same values."""
        running = self._running(bar.start)
        if running is not None:
            return bool(running.present[row])
        for each in self._recent:
            if each.start == bar.start:
                same = np.array_equal(each.values[row], np.asarray(bar[3:9], dtype=np.float64), equal_nan=True)
                return bool(each.present[row]) and same and int(each.trades[row]) == bar.trades
        return False

    def is_late(self, row: int, start: int) -> bool:
        """Whether the bar's slice has gone out without it, and the name is then waited for again; or nothing was published for its interval,
        and it is not one that is waited for."""
        if start <= self.done:
            if not self._awaited[row] and self._streamed[row]:
                self._awaited[row] = True
                if self._open and not self._open[-1].present[row]:
                    self._open[-1].outstanding += 1
            return True
        if not self._open or start >= self._open[0].start:
            return False
        return not (self._open[0].waits and start == self._open[0].start - STEP)

    def supersedes(self, start: int) -> bool:
        """Whether a bar of this interval, neither late nor repeated, ends others; `ready` then has them, and `add` comes after."""
        ended = False
        for each in self._open:
            if each.start < start:
                each.ended = ended = True
        return ended

    def add(self, row: int, bar: RealtimeBar) -> None:
        """Place a bar that is neither late nor repeated; `ready` has what it completes."""
        running = self._running(bar.start)
        if running is None:
            waits = not self._open and self._last == bar.start - 2 * STEP
            running = _Interval(bar.start, self._awaited, waits=waits, overtaken=bool(self._open))
            self._open.insert(0, running)
        running.values[row] = bar[3:9]
        running.trades[row] = bar.trades
        running.present[row] = True
        if self._awaited[row]:
            running.outstanding -= 1

    def ready(self) -> Ready | None:
        """Hand out the oldest interval, if it is complete or has ended."""
        if not self._open:
            return None
        oldest = self._open[0]
        if oldest.ended or (oldest.outstanding <= 0 and not oldest.waits):
            return self._take()
        return None

    def overdue(self, now: int) -> Ready | None:
        """Hand out the oldest interval, if market time has passed the newest that has come."""
        if not self._open or now < self._open[-1].start + STEP + GRACE:
            return None
        return self._take()

    def rest(self) -> Ready | None:
        """Hand out the oldest interval as it is."""
        return self._take() if self._open else None

    def _take(self) -> Ready:
        taken = self._open.pop(0)
        if self._open:
            self._open[0].waits = False
        rows = np.flatnonzero(taken.present)
        ready = Ready(taken.start, rows, taken.values[rows], taken.trades[rows], self._last, taken.overtaken)
        self._awaited = taken.present & self._streamed
        self._recent.append(taken)
        self._last = self.done = taken.start
        return ready
