"""Where "now" comes from: the wall clock live, the stream itself on paper and in replay."""

from __future__ import annotations

import time
from collections.abc import Callable
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


class SteadyClock:
    """Wall time that never steps: the machine's clock at the start of the process, counted on from there by one that nobody sets.

    An operator, NTP or a virtual machine may set the wall clock; ages and timeouts must not jump with it. Time that the machine is
    suspended counts where the platform can tell (Linux).
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns, count: Callable[[], int] | None = None) -> None:
        self._wall, self._count = wall, count or _counter
        self._offset = self._wall() - self._count()

    def now(self) -> int:
        """Wall time as it would be had nobody set the clock, ns UTC."""
        return self._count() + self._offset

    def stepped(self) -> float:
        """Seconds by which the machine's clock is ahead of this one; negative when it was set back."""
        return (self._wall() - self.now()) / 1e9


def _counter() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns()


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
