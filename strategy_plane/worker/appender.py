"""Appending a step's outputs: what the log holds already is not sent again, the rest goes out in order and is acknowledged later.

Steps 3 and 4 of the commit protocol (recovery.py). A failed send raises DeliveryError at the latest in `acknowledge`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from strategy_plane.outputs import Output
from strategy_plane.worker.publisher import Publisher
from strategy_plane.worker.recovery import Written
from strategy_plane.worker.telemetry import WorkerMetrics


class Appender:
    """The outputs of one incarnation of the worker. `ends`: next offset by output partition, as the log told them at the start."""

    def __init__(self, publisher: Publisher, written: Written, ends: dict[str, int], metrics: WorkerMetrics) -> None:
        self._publisher = publisher
        self._written = written
        self._metrics = metrics
        self._unacknowledged: list[asyncio.Future[int]] = []
        self.ends = ends
        """Next offset of each output partition, as far as acknowledged: what a snapshot names."""

    async def append(
        self,
        outputs: Sequence[Output],
        headers: Mapping[str, bytes],
        after_first: Callable[[], Awaitable[None]] | None = None,
    ) -> bool:
        """Append what the log does not hold yet, in order, without waiting for acknowledgements. Whether there was any such.

        `after_first` is for tests: it is awaited once the first of `outputs` has been sent and acknowledged.
        """
        new = False
        for index, output in enumerate(outputs):
            if self._written.has(output.topic, output.record):
                self._metrics.repeated.inc()
                continue
            new = True
            future = await self._publisher.send(output.topic, output.record, headers)
            self._unacknowledged.append(self._remembering(output.topic, future))
            self._metrics.outputs.labels(output.topic).inc()
            if index == 0 and after_first is not None:
                await self.acknowledge()
                await after_first()
        return new

    def _remembering(self, topic: str, future: asyncio.Future[int]) -> asyncio.Future[int]:
        """The same future; once done, the end of the topic that a snapshot will name has moved."""

        def done(finished: asyncio.Future[int]) -> None:
            if not finished.cancelled() and finished.exception() is None:
                # The plane's own topics have one partition a group; with more, the start-up check reads a little too much.
                name = f"{topic}-0"
                self.ends[name] = max(self.ends.get(name, 0), finished.result() + 1)

        future.add_done_callback(done)
        return future

    def fail_early(self) -> None:
        """Raise the failure of an output that nobody has waited for yet."""
        self._unacknowledged = [future for future in self._unacknowledged if not (future.done() and _delivered(future))]

    async def acknowledge(self) -> None:
        """Wait until everything appended so far is on the log; what failed is raised by this call and by every later one."""
        waiting = list(self._unacknowledged)
        if waiting:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
            self.fail_early()


def _delivered(future: asyncio.Future[int]) -> bool:
    """True for a record that is on the log; raises its failure otherwise."""
    future.result()
    return True
