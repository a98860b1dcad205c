"""A growing window of rows: append in amortised constant time, read the newest rows as one contiguous view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# 1,260 sessions are the longest lookback that targets.yaml allows; 63 more is the longest lag or horizon.
WINDOW = 1323


class RowWindow:
    """The newest `capacity` rows of `width` doubles. Rows live in a buffer twice as long and move once it is full."""

    def __init__(self, width: int, capacity: int = WINDOW) -> None:
        self.width = width
        self.capacity = capacity
        self._rows: Array = np.empty((min(64, 2 * capacity), width))
        self._start = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def append(self, row: Array) -> None:
        """Add a row (shape `width`) as the newest; the oldest leaves when the window is full."""
        if self._end == len(self._rows):
            if len(self._rows) < 2 * self.capacity:
                grown = np.empty((min(2 * len(self._rows), 2 * self.capacity), self.width))
                grown[: self._end] = self._rows[: self._end]
                self._rows = grown
            else:
                kept = self._rows[self._start : self._end].copy()
                self._rows[: len(kept)] = kept
                self._start, self._end = 0, len(kept)
        self._rows[self._end] = row
        self._end += 1
        if self._end - self._start > self.capacity:
            self._start += 1

    def tail(self, count: int) -> Array:
        """The newest `count` rows, oldest first; fewer when there are not so many. A view: copy it before keeping it."""
        return self._rows[max(self._start, self._end - count) : self._end]

    def at(self, back: int) -> Array | None:
        """The row `back` rows before the newest (0 = newest); None when there is none."""
        index = self._end - 1 - back
        return self._rows[index] if index >= self._start else None

    def all(self) -> Array:
        """Every row, oldest first, as a view."""
        return self._rows[self._start : self._end]

    def reindex(self, source: Sequence[int], fill: float, blocks: int = 1) -> None:
        """Reorder columns: new column j is old column source[j], or `fill` where source[j] is -1.

        `blocks`: the row is that many equal blocks of columns, each reordered alike.
        """
        order = np.asarray(source, dtype=np.int64)
        old = self.all().reshape(len(self), blocks, self.width // blocks if blocks else 0)
        new = np.full((len(self), blocks, len(order)), fill)
        known = order >= 0
        new[:, :, known] = old[:, :, order[known]]
        self.load(new.reshape(len(self), blocks * len(order)))

    def load(self, rows: Array) -> None:
        """Replace the content by `rows` (T x width), oldest first."""
        rows = np.asarray(rows, dtype=np.float64)
        self.width = rows.shape[1]
        self._start, self._end = 0, len(rows)
        self._rows = np.empty((max(64, len(rows)), self.width))
        self._rows[: self._end] = rows
