"""Noticing that this process stood still, or that the machine's clock was set."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Standstill:
    """Compares two clocks at every `beat`. `stepped`: seconds by which the machine's clock was set since the start. `pause_s`: a longer gap is a standstill; `step_s`: a larger jump of the clock is told."""

    def __init__(self, stepped: Callable[[], float], log: Any, *, pause_s: float, step_s: float) -> None:
        self._stepped, self._log = stepped, log
        self._pause_s, self._step_s = pause_s, step_s
        self._step_told = 0.0
        self.restart()

    def restart(self) -> None:
        """Count from now: what came before was work, not a standstill."""
        self._beat_at = (time.monotonic(), time.time())

    def beat(self) -> float:
        """Wall seconds that the process stood still before this call; 0 when it did not.

        Wall time too: on Linux the monotonic clock stops while a machine is suspended.
        """
        stepped = self._stepped()
        if abs(stepped - self._step_told) > self._step_s:
            self._log.warning(
                "the machine's clock was set; ages and timeouts go on as before",
                seconds=round(stepped - self._step_told, 1),
            )
            self._step_told = stepped
        before = self._beat_at
        self.restart()
        gap = max(self._beat_at[0] - before[0], self._beat_at[1] - before[1])
        return gap if gap > self._pause_s else 0.0
