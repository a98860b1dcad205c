"""Where "now" comes from: the wall clock live, the stream itself on paper and in replay."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells market time as int64 nanoseconds UTC."""

    def now(self) -> int:
        """Market time now."""
        ...


class WallClock:
    """The machine's clock."""

    def now(self) -> int:
        """Wall time, ns UTC."""
        return time.time_ns()


class StreamClock:
    """Market time as told by the records that were read; it never runs backwards."""

    def __init__(self, start: int = 0) -> None:
        self._now = start

    def advance(self, ns: int) -> int:
        """Move to `ns` when that is later; returns the time in force."""
        self._now = max(self._now, ns)
        return self._now

    def now(self) -> int:
        """Latest time advanced to; 0 before the first record."""
        return self._now
