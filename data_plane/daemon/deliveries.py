"""What observations became, on its way to the outlet: a quarantined part is acknowledged before the rest of its observation is sent.

What stands on a clean topic is never judged again. Were it there alone when a run is killed, what its observation lost to quarantine would
be lost for good; the other way round, the next run judges the observation anew and finds the quarantined part there. While Kafka is away
both go to disk, in that order. A part that was under way when Kafka went away is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque

from data_plane.daemon.outlet import PUMP_S, Outlet
from data_plane.outputs import QUARANTINE, Output

AT_ONCE = 50
"""Observations sent between two looks at the event loop."""
MOST = 20_000
"""Single bars, facts and values that may wait in memory before a source is to hand in more."""


class Deliveries:
    """First in, first out. Use from the event loop's thread."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._waiting: deque[list[Output]] = deque()
        self._held: Counter[str] = Counter()
        self._work, self._moved = asyncio.Event(), asyncio.Event()
        self._sent = asyncio.Event()
        self._sent.set()

    def hand_in(self, outputs: list[Output]) -> None:
        """Put in line what one observation became."""
        self._waiting.append(outputs)
        for output in outputs:
            self._held[output.source] += output.units
        self._sent.clear()
        self._work.set()

    async def run(self) -> None:
        """Send until cancelled. Raises what a record cannot be sent for."""
        while True:
            await self._work.wait()
            self._work.clear()
            for count in range(len(self._waiting)):
                outputs = self._waiting[0]
                bad = [output for output in outputs if output.topic == QUARANTINE]
                good = [output for output in outputs if output.topic != QUARANTINE]
                if bad and good:
                    before = self._outlet.spooled
                    self._put(bad)
                    self._waiting[0] = good  # whoever ends this meanwhile finds each record once
                    if self._outlet.spooled - before < len(bad):
                        await self._acknowledged()
                self._waiting.popleft()
                self._put(good or bad)
                if count % AT_ONCE == 0:
                    await asyncio.sleep(0)
            if not self._waiting:
                self._sent.set()

    def _put(self, outputs: list[Output]) -> None:
        self._let_go_of(outputs)
        self._outlet.put(*outputs)

    def _let_go_of(self, outputs: list[Output]) -> None:
        """The outlet counts them from now on."""
        for output in outputs:
            self._held[output.source] -= output.units
        self._moved.set()

    async def _acknowledged(self) -> None:
        """Returns once nothing is under way: what is in the producer's memory alone ends with the process."""
        await self._outlet.drained()
        while self._outlet.unacknowledged:
            await asyncio.sleep(PUMP_S)
            await self._outlet.drained()

    @property
    def waiting(self) -> int:
        """Observations that have not gone to the outlet whole."""
        return len(self._waiting)

    def in_flight(self) -> dict[str, int]:
        """Observations that have not gone to the outlet, by source."""
        return {source: units for source, units in self._held.items() if units}

    async def room(self, patience_s: float) -> bool:
        """Returns once no more than MOST wait; False where none of them has left for wall seconds."""
        while self._held.total() > MOST:
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._moved.wait()
            if not self._moved.is_set():
                return False
        return True

    async def sent(self) -> None:
        """Returns once everything that was handed in has been sent."""
        await self._sent.wait()

    def let_go(self) -> None:
        """Leave everything to the outlet's `close`, which puts it on disk behind what is not acknowledged by then."""
        while self._waiting:
            outputs = self._waiting.popleft()
            self._let_go_of(outputs)
            self._outlet.leave(*outputs)
