"""Running bars into slices: one bar a name and interval comes in, one cross-section goes out.

A slice is ready when every name that is waited for has delivered, when the first bar of a later interval arrives, or when market
time has passed the interval by `GRACE`. Names that were absent from the last slice are not waited for, so that one silent name does
not delay the others by an interval; when such a name comes back, its first bar is late once and it is waited for again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data_plane.observations import BAR_COLUMNS, INTERVAL_NS, Floats, Ints, RealtimeBar

STEP = INTERVAL_NS["5s"]
GRACE = STEP


class Ready(NamedTuple):
    """A finished cross-section: `rows` are the names' places, `values` (n, 6) and `trades` (n,) are aligned with them."""

    start: int
    rows: Ints
    values: Floats
    trades: Ints


class BarAssembler:
    """State of one source's running interval over `names` names."""

    def __init__(self, names: int) -> None:
        self._values = np.full((names, len(BAR_COLUMNS)), np.nan)
        self._trades = np.full(names, -1, dtype=np.int64)
        self._present = np.zeros(names, dtype=np.bool_)
        self._awaited = np.ones(names, dtype=np.bool_)
        self._streamed = np.ones(names, dtype=np.bool_)
        """Names that may be waited for at all."""
        self._outstanding = names
        self._start = 0
        self.done = 0
        """Start of the latest interval that was handed out."""

    def stream(self, rows: Ints | None) -> None:
        """From now on only the names at `rows` are sent (None: all): no other is waited for, of the running interval neither."""
        self._streamed[:] = rows is None
        if rows is not None:
            self._streamed[rows] = True
        self._awaited &= self._streamed
        if self._start:
            self._outstanding = int((self._awaited & ~self._present).sum())

    @property
    def pending(self) -> int:
        """Bars held back."""
        return int(self._present.sum()) if self._start else 0

    def is_late(self, row: int, start: int) -> bool:
        """Whether the bar's slice has gone out without it; the name is then waited for again."""
        if start > self.done:
            return False
        if not self._awaited[row] and self._streamed[row]:
            self._awaited[row] = True
            if self._start and not self._present[row]:
                self._outstanding += 1
        return True

    def repeats(self, row: int, start: int) -> bool:
        """Whether the name has delivered this interval already."""
        return start == self._start and bool(self._present[row])

    def supersedes(self, start: int) -> bool:
        """Whether a bar of this interval ends the one that is being assembled."""
        return self._start != 0 and start > self._start

    def precedes(self, start: int) -> bool:
        """Whether the bar belongs before the interval that is being assembled, which nothing has been published for."""
        return self._start != 0 and start < self._start

    def add(self, row: int, bar: RealtimeBar) -> bool:
        """Place a bar that is neither late nor repeated nor of another interval than the running one; True when all are there."""
        if self._start == 0:
            self._start = bar.start
            self._outstanding = int(self._awaited.sum())
        self._values[row] = bar[3:9]
        self._trades[row] = bar.trades
        self._present[row] = True
        if self._awaited[row]:
            self._outstanding -= 1
        return self._outstanding <= 0

    def overdue(self, now: int) -> bool:
        """Whether market time has passed the running interval."""
        return self._start != 0 and now >= self._start + STEP + GRACE

    def take(self) -> Ready:
        """Hand out the running interval and begin the next."""
        rows = np.flatnonzero(self._present)
        ready = Ready(self._start, rows, self._values[rows], self._trades[rows])
        self._awaited = self._present & self._streamed
        self._present = np.zeros_like(self._present)
        self.done = self._start
        self._start = 0
        return ready
