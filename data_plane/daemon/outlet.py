"""From the engine to Kafka: records are sent, acknowledged and counted; while Kafka is away they wait on disk.

Kafka is away when nothing has been acknowledged for `AWAY_S` though something waits for it, or when the producer's queue is full. From
then on records go to the spool, in order, until it is empty again. What does not fit is dropped under SPOOL_FULL and counted; daily
bars, facts and vintages are then forgotten, so that the next look at their source brings them again.

What Kafka refuses (one of the clocks is wrong, a topic is gone) goes to the front of the spool. Until a record is taken again the first
one there is tried alone: so all keep their order, and the broker is not asked ten thousand times a second. Only what was under way
together with a refused record, and was taken, comes before it.

A record that nobody waits for may itself wait a little for the next ones: handed over together they leave in one request a topic, and
each request costs the broker, and whoever reads, more than the records in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from data_plane.daemon.spool import Spool, Spooled
from data_plane.outputs import QUARANTINE, Output
from triplane.runtime.kafka_out import INGEST_TIME, DeliveryError, TooLargeError

T = TypeVar("T")
AWAY_S = 5.0
PUMP_S = 0.2
DELIVERY_TIMEOUT_S = 6 * 3600.0
"""Wall time after which the producer gives up a record that no broker answers for; it waits in memory meanwhile."""
# Records that may wait for acknowledgement while the spool is emptied.
PUMP_IN_FLIGHT = 2000
PUMP_AT_ONCE = 50
SPOOL_FULL = "SPOOL_FULL"
GATHER_S = 0.05
"""Wall seconds that a record which may wait does wait, longer on a loop that is busy."""


class Writer(Protocol):
    """What is needed of runtime's TopicWriter."""

    def send(self, topic: str, record: dict[str, object], *, headers: dict[str, bytes] | None = None) -> Future[int]:
        """Queue a record; raises BufferError when the queue is full, DeliveryError when the producer has failed for good."""
        ...

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush and stop."""
        ...


class _Trying(NamedTuple):
    """The record that is tried alone: its number where it is in memory (None: the first on disk), and the answer."""

    number: int | None
    output: Output
    answer: asyncio.Future[int]


class Outlet:
    """Use from the event loop's thread; acknowledgements come in on the producer's own thread."""

    def __init__(
        self,
        writer: Writer,
        spool: Spool,
        on_dropped: Callable[[Output], None],
        may_wait: Callable[[Output], bool] = lambda _: False,
        on_refusal: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`may_wait`: which may wait for GATHER_S, in their place; `on_refusal` is told why Kafka refuses, an empty text once it takes again."""
        self._writer = writer
        self._spool = spool
        self._on_dropped = on_dropped
        self._may_wait = may_wait
        self._on_refusal = on_refusal
        self._refusal = ""
        self._told = False
        self._trying: _Trying | None = None
        self._returned: dict[int, tuple[Output, int]] = {}
        """Refused, by number: they go to the front of the spool together, once nothing else is under way."""
        self._gathered: deque[tuple[Output, int]] = deque()
        self._failure: Exception | None = None
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._lock = threading.RLock()
        self._waiting: dict[int, tuple[Output, int]] = {}
        self._empty = asyncio.Event()
        self._number = 0
        self._last_progress = time.monotonic()
        self._from_spool: set[int] = set()
        self.acknowledged: Counter[tuple[str, bool]] = Counter()
        """Observations on the log, by (source, quarantined)."""
        self.sent: Counter[str] = Counter()
        """Records acknowledged, by topic."""

    # -- state -----------------------------------------------------------------------------------------------------------------
    @property
    def unacknowledged(self) -> int:
        """Records handed to the producer, or gathered for it, and not acknowledged."""
        return len(self._waiting) + len(self._returned) + len(self._gathered)

    @property
    def spooled(self) -> int:
        """Records on disk."""
        return len(self._spool)

    @property
    def away(self) -> bool:
        """Whether Kafka has stopped acknowledging."""
        return bool(self._waiting) and time.monotonic() - self._last_progress > AWAY_S

    def in_flight(self) -> dict[str, int]:
        """Observations handed over and not on the log, by source."""
        count: Counter[str] = Counter()
        with self._lock:
            for output, _ in (*self._waiting.values(), *self._returned.values(), *self._gathered):
                count[output.source] += output.units
            for source, units in self._spool.waiting:
                count[source] += units
        return dict(count)

    # -- sending ---------------------------------------------------------------------------------------------------------------
    def put(self, *outputs: Output) -> None:
        """Send records, or spool them while Kafka is away. Never blocks. When it raises, those not sent are kept for `close`."""
        if not outputs:
            return
        waits = all(self._may_wait(output) for output in outputs)
        if waits and not self._gathered:
            self._loop.call_later(GATHER_S, self._let_go_later)
        self.leave(*outputs)
        if not waits:
            self.let_go()

    def leave(self, *outputs: Output) -> None:
        """Keep records for `close`, which puts them on disk behind all that is under way then; call nothing else in between."""
        self._gathered.extend((output, time.time_ns()) for output in outputs)

    def let_go(self) -> None:
        """Send what was gathered, in its order. Raises what a record cannot be sent for."""
        if self._refusal and self._waiting and not self.away:
            return  # what waits will be refused, too, and goes to disk first
        while self._gathered:
            with self._lock:  # `close`, in its own thread, finds a record here, or in flight, or on disk
                if self._closing:
                    return
                self._let_go_first()

    def _let_go_first(self) -> None:
        output, ingest_time = self._gathered.popleft()
        try:
            on_disk = bool(len(self._spool) or self.away or self._refusal or self._returned)
            sent = not on_disk and self._send(output, ingest_time)
        except TooLargeError:
            raise
        except DeliveryError:
            # Of the producer, not of this record: `close` keeps it for the next run, in its place.
            self._gathered.appendleft((output, ingest_time))
            raise
        if not sent:
            self._store(output, ingest_time)

    def _let_go_later(self) -> None:
        try:
            self.let_go()
        # Nobody called: `pump` ends the daemon with it, as `put` does where somebody did.
        except Exception as problem:
            self._failure = self._failure or problem

    def _send(self, output: Output, ingest_time: int, from_spool: bool = False) -> bool:
        if not self._waiting:
            self._last_progress = time.monotonic()
        with self._lock:
            self._number += 1
            number = self._number
            self._waiting[number] = (output, ingest_time)
            if from_spool:
                self._from_spool.add(number)
        try:
            future = self._hand_over(output, ingest_time)
        except BaseException as problem:
            with self._lock:
                del self._waiting[number]
                self._from_spool.discard(number)
            if isinstance(problem, BufferError):
                return False
            raise
        future.add_done_callback(lambda done: self._ended(number, done))
        return True

    def _hand_over(self, output: Output, ingest_time: int) -> Future[int]:
        return self._writer.send(output.topic, output.record, headers={INGEST_TIME: str(ingest_time).encode()})

    def _ended(self, number: int, future: Future[int]) -> None:
        """On the producer's thread: acknowledged, or refused, or given up by the producer after its own long wait."""
        error = future.exception()
        if error is not None:
            with contextlib.suppress(RuntimeError):  # the loop may have ended: `close` stores what has waited in vain
                self._loop.call_soon_threadsafe(self._gave_up, number, str(error))
            return
        with self._lock:
            output, _ = self._waiting.pop(number, (None, 0))
            if output is None:  # closed meanwhile, and spooled
                return
            self._from_spool.discard(number)
            empty = not self._waiting
            self._count(output)
        if self._told and not self._refusal:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._taken_again)
        if empty:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._empty.set)

    def _count(self, output: Output) -> None:
        """With the lock."""
        self._last_progress = time.monotonic()
        self.acknowledged[output.source, output.topic == QUARANTINE] += output.units
        self.sent[output.topic] += 1

    def _gave_up(self, number: int, why: str) -> None:
        """It may be on the log or not; sent again it is the same record under the same identity."""
        with self._lock:
            if self._closing or number not in self._waiting:
                return  # `close` has it
            self._returned[number] = self._waiting.pop(number)
            self._from_spool.discard(number)
        self._refused(why, news=not self._told)
        self._kept(self._put_back)
        if not self._waiting:
            self._empty.set()

    def _refused(self, why: str, news: bool) -> None:
        self._refusal = why
        if news:
            self._told = True
            self._on_refusal(why)

    def _put_back(self) -> None:
        """Refused records to the front of the spool, as soon as no record is under way that may have to go before them.

        Where the disk has no room for that they stay, and the first of them is tried.
        """
        with self._lock:
            if self._waiting or not self._returned or self._trying is not None:
                return
            items = [Spooled(*self._returned[number]) for number in sorted(self._returned)]
            try:
                refused = self._spool.prepend(items)
            except OSError:
                return
            self._returned.clear()
        for item in refused:
            self._on_dropped(item.output)

    def _taken_again(self) -> None:
        if self._told and not self._refusal:
            self._told = False
            self._on_refusal("")

    def _first(self) -> _Trying | None:
        """Send what is to go before everything else; it keeps its place until Kafka has it."""
        number = min(self._returned, default=None)
        item = self._spool.peek() if number is None else Spooled(*self._returned[number])
        if item is None:  # there was no room for it: the next one is tried as it comes
            self._refusal = ""
            return None
        try:
            future = self._hand_over(*item)
        except BufferError:
            return None
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to ask
        return _Trying(number, item.output, answer)

    async def _try_first(self) -> bool:
        """Send one record and wait a little for the answer; whether Kafka took it."""
        self._trying = self._trying or self._first()
        if self._trying is None:
            return False
        number, output, answer = self._trying
        await asyncio.wait({answer}, timeout=PUMP_S)
        if not answer.done():
            return False
        self._trying = None
        error = answer.exception()
        if error is not None:
            self._refused(str(error), news=str(error) != self._refusal)
            return False
        with self._lock:  # whoever counts meanwhile finds it either in its place or on the log
            self._count(output)
            if number is None:
                self._spool.pop()
            else:
                del self._returned[number]
        self._refusal = ""
        self._taken_again()
        return True

    def _drop_first(self) -> None:
        """One that no topic takes would end every later run, too."""
        item = self._spool.pop()
        assert item is not None
        self._on_dropped(item.output)

    def _store(self, output: Output, ingest_time: int) -> None:
        if not self._spool.append(output, ingest_time):
            self._on_dropped(output)

    async def pump(self) -> None:
        """Empty the spool whenever Kafka answers; runs until cancelled. Raises what a record met that waited before it was sent."""
        while True:
            self._tell()
            self._put_back()
            if self._refusal:
                self.let_go()
            try:
                if (self._refusal or self._returned) and not self._waiting:
                    while await self._try_first() and self._returned:
                        self._put_back()
                await self._empty_spool()
            except TooLargeError:  # of the first on disk: one in memory has been sent before
                self._drop_first()
                raise
            if not self._from_spool and not self._returned:
                self._spool.forget_taken()
            await asyncio.sleep(PUMP_S)

    async def _empty_spool(self) -> None:
        for count in itertools.count(1):
            if not len(self._spool) or self._refusal or self._returned or self.away:
                return
            item = self._spool.peek()
            if item is None or self.unacknowledged >= PUMP_IN_FLIGHT:
                return
            if not self._send(item.output, item.ingest_time, from_spool=True):
                return
            self._spool.pop()
            if count % PUMP_AT_ONCE == 0:
                await asyncio.sleep(0)  # thousands of them take seconds, and whoever asks for the readiness waits

    async def drained(self) -> None:
        """Returns once everything put so far is acknowledged or safely on disk."""
        self.let_go()
        while self._waiting and not self.away:
            self._empty.clear()
            if self._waiting:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AWAY_S / 2):
                        await self._empty.wait()
        self._put_back()
        self.let_go()

    def close(self, timeout_s: float = 5.0) -> None:
        """Wait for acknowledgements, then spool what is left for the next run. Raises, at the end, what a record could not be sent or
        stored for, where nobody has been told.
        """
        with self._lock:
            self._closing = True
        try:
            self._writer.close(timeout_s)
        finally:
            with self._lock:  # whoever counts meanwhile finds it either in flight or on disk
                left = self._returned | self._waiting
                items = [Spooled(*left[number]) for number in sorted(left)]
                self._returned.clear()
                self._waiting.clear()
                refused = self._kept(partial(self._last, items)) or []
                while self._gathered:
                    self._kept(partial(self._store, *self._gathered.popleft()))
            for item in refused:
                self._on_dropped(item.output)
        self._spool.close()
        self._tell()

    def _last(self, items: list[Spooled]) -> list[Spooled]:
        """What was under way, on disk before what is there; where there is no room for that, behind it. What does not fit."""
        try:
            return self._spool.prepend(items)  # what was taken is left out from now on
        except OSError:
            return [item for item in items if not self._spool.append(*item)]

    def _kept(self, keep: Callable[[], T]) -> T | None:
        """What `keep` returns; one record that cannot be encoded must not take the others with it."""
        try:
            return keep()
        except Exception as problem:
            self._failure = self._failure or problem
            return None

    def _tell(self) -> None:
        """Raise, once, what happened where nobody called."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
