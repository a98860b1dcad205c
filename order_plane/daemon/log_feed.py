"""The order plane's inputs from the log: a thread that reads them and hands them to the event loop.

Positions come from the plane's own events (`took`), never from a consumer group: a group consumer restarted after SIGKILL waited 42 s.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from order_plane.daemon.log_extent import EVENTS, PLANE
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.kafka_in import LogRecord, LogUnavailable, TopicReader
from triplane.runtime.log_watch import LogWatch
from triplane.runtime.settings import Settings

MOST_AHEAD = 2_000  # records handed over and not taken up yet
LAG_EVERY_S = 10.0
READ_TIMEOUT_S = 120.0


def read_to_end(
    settings: Settings, topics: tuple[str, ...], start: Mapping[str, int]
) -> tuple[list[LogRecord], dict[str, int]]:
    """What lies on the log now from `start` on, and the positions after it. Blocks. Raises LogUnavailable."""
    reader = TopicReader(settings, topics, start)
    try:
        return reader.read_to(reader.end_offsets(), READ_TIMEOUT_S), reader.position()
    finally:
        reader.close()


class LogFeed:
    """Reads `topics` from `start` ({"topic-partition": offset}, others from their beginning) until it is closed.

    `deliver` gets batches on the event loop; call `taken(n)` for records that were worked off. `failed` gets what ended the thread.
    """

    def __init__(
        self,
        settings: Settings,
        topics: tuple[str, ...],
        start: Mapping[str, int],
        deliver: Callable[[list[LogRecord]], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._settings, self._topics, self._start = settings, topics, start
        self._deliver, self._failed = deliver, failed
        self._loop = asyncio.get_running_loop()
        self._closed = threading.Event()
        self._room = threading.Condition()
        self._ahead = 0
        self._delivered = 0
        self._asked = False  # for the ends of a catch-up, not known yet
        self._mark: int | None = None  # as many delivered records reach them; None while reading is not there
        self._standstills = 0
        self._caught_up = asyncio.Event()
        self._caught_up.set()
        self.lag: dict[str, int] = dict.fromkeys(topics, 0)
        """Records between our position and the end, by topic, as of the last look."""
        self._thread = threading.Thread(target=self._run, name="order-log-feed", daemon=True)

    def begin(self) -> None:
        """Start reading."""
        self._thread.start()

    def taken(self, count: int) -> None:
        """`count` delivered records were worked off."""
        with self._room:
            self._ahead -= count
            if self._mark is not None and self._delivered - self._ahead >= self._mark:
                self._mark = None
                self._caught_up.set()
            self._room.notify()

    @property
    def behind(self) -> bool:
        """From `catch_up` until everything that lay on the log then has been worked off."""
        return not self._caught_up.is_set()

    async def caught_up(self) -> None:
        """Returns once it is not behind."""
        await self._caught_up.wait()

    def catch_up(self) -> None:
        """The process stood still: be `behind` until what is on the log at this moment has been worked off."""
        with self._room:
            self._standstills += 1
            self._asked, self._mark = True, None
            self._caught_up.clear()

    def _nothing_left(self, standstill: int) -> None:
        with self._room:
            if standstill == self._standstills:  # else it stood still again meanwhile, and the question is asked anew
                self._caught_up.set()

    def _run(self) -> None:
        reader: TopicReader | None = None
        try:
            reader = TopicReader(self._settings, self._topics, self._start)
            self._read(reader)
        except (RuntimeError, DaemonExit) as problem:
            if not self._closed.is_set():
                self._on_loop(partial(self._failed, problem))
        finally:
            if reader is not None:
                reader.close()

    def _read(self, reader: TopicReader) -> None:
        looked = time.monotonic()
        watch = LogWatch(self._settings, PLANE, [*self._topics, EVENTS])
        ends: dict[str, int] | None = None
        while not self._closed.is_set():
            watch.look(reader.position())
            if self._asked:
                # Taken back before the question: a standstill during it makes its answer old.
                self._asked = False
                try:
                    ends = reader.end_offsets()
                except LogUnavailable:
                    self._asked = True
            records = reader.poll(0.2, 500)
            if ends is not None and self._reached(reader, ends):
                ends = None
                with self._room:
                    if self._asked:
                        pass
                    elif records or self._ahead:
                        self._mark = self._delivered + len(records)
                    else:
                        self._on_loop(partial(self._nothing_left, self._standstills))
            if records:
                with self._room:
                    self._ahead += len(records)
                    self._delivered += len(records)
                self._on_loop(partial(self._deliver, records))
                if time.monotonic() - looked > LAG_EVERY_S:
                    looked = time.monotonic()
                    self.lag = reader.lag()
                with self._room:
                    self._room.wait_for(lambda: self._ahead <= MOST_AHEAD or self._closed.is_set())
            else:
                self.lag = dict.fromkeys(self._topics, 0)
                looked = time.monotonic()

    def _reached(self, reader: TopicReader, ends: Mapping[str, int]) -> bool:
        return all(max(position, 0) >= ends.get(name, 0) for name, position in reader.position().items())

    def _on_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            self._closed.set()  # the loop is closed

    def close(self) -> None:
        """Stop reading; returns at once, the thread ends within a poll."""
        self._closed.set()
        with self._room:
            self._room.notify()
