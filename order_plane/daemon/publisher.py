"""Appends to the log in order, and knows up to where Kafka has acknowledged them.

Two kinds. *Events* (order.events) are queued at once, but for the quiet ones below, and numbered; `acknowledged` is the largest
number up to which all of them are on the log: what an order waits for before it is sent (write-ahead step 2). *Outputs* (decisions, fills, account, costs) say what
follows from an event, so they are queued only once that event is acknowledged: no crash can leave a fill or a decision on the log
whose event is not there, which the next epoch would then decide otherwise. One idempotent producer keeps the order of each topic, so a
gap between the offsets of two events is somebody else's writing; nothing behind it counts before it was looked into (fence.py).

An event from which nothing follows may wait a little for the next ones, so that they leave in one request: near a decision most
events say that a slice of quotes or bars was taken, and each had cost the broker a request of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from triplane.runtime.exit_codes import UNAVAILABLE, DaemonExit
from triplane.runtime.kafka_out import TopicWriter

# Records wait in the producer's memory while Kafka is away, and cancels and kills go on meanwhile. Only after this long the daemon
# ends, to be started again with what the log has; what it lost by then, the broker and the local journal still know.
DELIVERY_TIMEOUT_S = 6 * 3600.0
MEMORY_FULL = "Kafka has been away for too long to remember more; start it, the order plane recovers"
QUIET_S = 0.02
"""Wall seconds that an event from which nothing follows waits at most."""
Headers = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Output:
    """A record that waits for the event `after`. `entry` is its number in the local journal."""

    after: int
    entry: int
    topic: str
    record: Mapping[str, Any]
    headers: Headers | None


class Publisher:
    """Used from the event loop; acknowledgements arrive on the producer's thread and are handed over in bunches.

    `progressed` is called after each bunch, and looks at `failure` first; `finished` with the journal entries of outputs that are on the
    log. `end` is where the events on the log end now; `pass_gap(first, end)` returns when offsets that are not ours are no harm, and
    raises when they are.
    """

    def __init__(
        self,
        writer: TopicWriter,
        progressed: Callable[[], None],
        finished: Callable[[list[int]], None],
        end: int,
        pass_gap: Callable[[int, int], Awaitable[None]],
    ) -> None:
        self._writer = writer
        self._progressed, self._finished, self._pass_gap = progressed, finished, pass_gap
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self.end = end
        """Where the acknowledged events end: the offset after the newest of them."""
        self._arrived: list[tuple[bool, int, BaseException | None, int]] = []
        self._open: dict[int, float] = {}
        self._quiet: list[tuple[int, str, Mapping[str, Any], Headers | None]] = []
        self._held: deque[Output] = deque()
        self._outputs: set[int] = set()
        self._last = 0
        self._moved = asyncio.Event()
        self._gaps: set[asyncio.Task[None]] = set()
        self.failure: BaseException | None = None

    @property
    def last(self) -> int:
        """Number of the newest event."""
        return self._last

    @property
    def acknowledged(self) -> int:
        """All events up to this one are on the log."""
        return next(iter(self._open)) - 1 if self._open else self._last

    @property
    def pending(self) -> int:
        """Records that are not on the log yet."""
        return len(self._open) + len(self._held) + len(self._outputs)

    @property
    def ending(self) -> DaemonExit | None:
        """What a failure means for the daemon; None without one."""
        if self.failure is None or isinstance(self.failure, DaemonExit):
            return self.failure
        if isinstance(self.failure, BufferError):
            return DaemonExit(MEMORY_FULL, UNAVAILABLE)
        return DaemonExit(f"{self.failure}; the order plane recovers when it is started again", UNAVAILABLE)

    def append(self, topic: str, record: Mapping[str, Any], headers: Headers | None = None) -> int:
        """Queue an event now; returns its number. Raises BufferError when the producer's memory is full."""
        self._let_go()
        future = self._writer.send(topic, record, headers=headers)
        self._last += 1
        self._open[self._last] = time.monotonic()
        future.add_done_callback(partial(self._on_done, True, self._last))
        return self._last

    def append_quiet(self, topic: str, record: Mapping[str, Any], headers: Headers | None = None) -> int:
        """Queue an event with the next one, or in QUIET_S; returns its number."""
        if not self._quiet:
            self._loop.call_later(QUIET_S, self._let_go_later)
        self._last += 1
        self._open[self._last] = time.monotonic()
        self._quiet.append((self._last, topic, record, headers))
        return self._last

    def _let_go(self) -> None:
        """Queue what waited. Raises BufferError; what was not queued stays in its place then."""
        while self._quiet:
            number, topic, record, headers = self._quiet[0]
            future = self._writer.send(topic, record, headers=headers)
            del self._quiet[0]
            future.add_done_callback(partial(self._on_done, True, number))

    def _let_go_later(self) -> None:
        try:
            self._let_go()
        except Exception as problem:  # nobody called: it is the daemon's end, as where somebody does
            self.failure = self.failure or problem
            self._advance()

    def append_output(self, output: Output) -> None:
        """Queue an output as soon as its event is acknowledged, which may be now. Raises BufferError."""
        self._held.append(output)
        self._release()

    def _release(self) -> None:
        acknowledged = self.acknowledged
        while self._held and self._held[0].after <= acknowledged:
            output = self._held.popleft()
            self._outputs.add(output.entry)
            future = self._writer.send(output.topic, output.record, headers=output.headers)
            future.add_done_callback(partial(self._on_done, False, output.entry))

    def _on_done(self, event: bool, number: int, future: Future[int]) -> None:
        with self._lock:
            first = not self._arrived
            problem = future.exception()
            self._arrived.append((event, number, problem, 0 if problem is not None else future.result()))
        if first:
            try:
                self._loop.call_soon_threadsafe(self._collect)
            except RuntimeError:
                return  # the loop is closed: the daemon ends and nobody waits any more

    def _collect(self) -> None:
        with self._lock:
            arrived, self._arrived = self._arrived, []
        entries = []
        for event, number, problem, offset in arrived:
            # What Kafka did not take stays open for ever, so that nothing behind it counts as acknowledged.
            if problem is not None:
                self.failure = self.failure or problem
            elif event:
                if offset > self.end:
                    self._gaps.add(self._loop.create_task(self._look_into_gap(number, self.end, offset)))
                else:
                    self._open.pop(number, None)
                self.end = max(self.end, offset + 1)
            else:
                self._outputs.discard(number)
                entries.append(number)
        if entries:
            self._finished(entries)
        self._advance()

    def _advance(self) -> None:
        self._moved.set()
        try:
            self._progressed()  # orders first: they wait for events alone
            self._release()
        except (
            Exception
        ) as problem:  # on the loop's own stack nobody else would learn of it, and orders would wait for ever
            self.failure = self.failure or problem
            self._loop.call_soon(self._progressed)

    async def _look_into_gap(self, number: int, first: int, end: int) -> None:
        """Count event `number` as acknowledged once what lies before it on the log is known to be no harm."""
        try:
            await self._pass_gap(first, end)
        except Exception as problem:
            self.failure = self.failure or problem
        else:
            self._open.pop(number, None)
        self._gaps.discard(asyncio.current_task())
        self._advance()

    async def settle(self, timeout: float) -> bool:
        """Wait at most `timeout` wall seconds until everything queued so far, outputs too, is on the log; whether it is."""
        self._let_go_later()
        try:
            async with asyncio.timeout(timeout):
                while self.pending and self.failure is None:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            pass
        return not self.pending

    async def close(self, timeout: float) -> None:
        """Give the producer `timeout` wall seconds to deliver what is queued."""
        with contextlib.suppress(Exception):  # what is not on the log will be read again
            self._let_go()
        await asyncio.to_thread(self._writer.close, timeout)
        with self._lock:
            ends = [offset + 1 for event, _, problem, offset in self._arrived if event and problem is None]
        self.end = max([self.end, *ends])
