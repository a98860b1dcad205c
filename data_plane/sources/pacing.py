"""IB's pacing rules for historical requests of small bars, as a pure schedule.

For bars under one minute: no more than `limit` requests in ten minutes, no identical request within 15 seconds, fewer than six for
one contract within two seconds. For longer bars IB has lifted the limits; the number of requests under way is bounded elsewhere.
Source: https://interactivebrokers.github.io/tws-api/historical_limitations.html
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

WINDOW_S = 600.0
IDENTICAL_S = 15.0
CONTRACT_S = 2.0
CONTRACT_REQUESTS = 5
MINUTE_S = 60.0


class Pacing:
    """Times of past requests, wall seconds of any clock that does not run backwards."""

    def __init__(self) -> None:
        self._sent: deque[tuple[float, Hashable, Hashable]] = deque()

    def delay(self, now: float, contract: Hashable, request: Hashable, bar_s: float, limit: int) -> float:
        """Seconds until the request may be sent; 0 when it may now."""
        if bar_s >= MINUTE_S:
            return 0.0
        while self._sent and self._sent[0][0] <= now - WINDOW_S:
            self._sent.popleft()
        free = now
        if len(self._sent) >= limit:
            free = max(free, self._sent[len(self._sent) - limit][0] + WINDOW_S)
        recent = [time for time, of, _ in self._sent if of == contract]
        if len(recent) >= CONTRACT_REQUESTS:
            free = max(free, recent[-CONTRACT_REQUESTS] + CONTRACT_S)
        same = [time for time, of, what in self._sent if (of, what) == (contract, request)]
        if same:
            free = max(free, same[-1] + IDENTICAL_S)
        return free - now

    def sent(self, now: float, contract: Hashable, request: Hashable, bar_s: float) -> None:
        """Note a request that has just been sent."""
        if bar_s < MINUTE_S:
            self._sent.append((now, contract, request))
