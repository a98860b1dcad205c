"""Reads every topic in a thread and folds it into a LiveState; the view and the script look at that.

Only the first record per identity counts: a plane that was killed writes some again. All are kept, for the recording at the end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Mapping

from schemas import catalogue
from triplane.cli.live_state import LiveState
from triplane.replay.recording import Recording
from triplane.runtime.first_per_identity import FirstPerIdentity, Nondeterminism
from triplane.runtime.kafka_in import LogRecord, LogUnavailable, TopicReader
from triplane.runtime.settings import Settings

PATIENCE_S = 5.0
"""Wall seconds that the follower's own thread has for the end of the log; then whoever wants the recording reads on."""
GATHER_MS = 100
"""Wall milliseconds: the view is drawn some times a second."""


class LogFollower:
    """A reader thread over all topics of the catalogue, from the beginning."""

    def __init__(self, settings: Settings) -> None:
        self.state = LiveState()
        self.error = ""
        self._settings = settings
        self._records: list[LogRecord] = []
        self._stop = threading.Event()
        self._moved = threading.Condition()
        self._position: dict[str, int] = {}
        self._thread = threading.Thread(target=self._follow, name="log-follower", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def _follow(self) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own: watching must not slow what is watched
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        try:
            self._read()
        except (LogUnavailable, Nondeterminism) as error:
            self.error = str(error)
        finally:
            with self._moved:
                self._moved.notify_all()

    def _read(self) -> None:
        reader = TopicReader(self._settings, list(catalogue.load()), gather_ms=GATHER_MS)
        first = FirstPerIdentity()
        try:
            while not self._stop.is_set():
                found = reader.poll(0.2, 2000)
                for record in found:
                    if record.value is None or first.accept(record):
                        self.state.take(record)
                with self._moved:
                    self._records += found
                    self._position = reader.position()
                    self._moved.notify_all()
        finally:
            reader.close()

    def recording(self, timeout_s: float = 120.0) -> Recording:
        """Everything on the log up to its present end, as this follower read it.

        Raises LogUnavailable when it has stopped or does not get there in `timeout_s` wall seconds, Nondeterminism like Recording.of.
        """
        reader = TopicReader(self._settings, list(catalogue.load()))
        try:
            ends = reader.end_offsets()
        finally:
            reader.close()

        def there() -> bool:
            return all(self._position.get(name, 0) >= end for name, end in ends.items())

        with self._moved:
            self._moved.wait_for(
                lambda: there() or bool(self.error) or not self._thread.is_alive(), min(PATIENCE_S, timeout_s)
            )
            late = not there() and not self.error and self._thread.is_alive()
        if late:
            self._read_on(ends, timeout_s)
        with self._moved:
            if not there():
                raise LogUnavailable(self.error or "the log is no longer followed; start the run again")
            return Recording.of(
                [record for record in self._records if record.offset < ends.get(record.partition_name, 0)]
            )

    def _read_on(self, ends: Mapping[str, int], timeout_s: float) -> None:
        """Up to `ends` in the caller's thread: where others want the processor a thread of low priority may get none for minutes."""
        self._stop.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise LogUnavailable(
                f"the log's follower has not come to an end within {timeout_s:g} s; is the machine busy?"
            )
        reader = TopicReader(self._settings, list(catalogue.load()), self._position)
        try:
            self._records += reader.read_to(ends, timeout_s)
            self._position = reader.position()
        finally:
            reader.close()

    def stop(self) -> None:
        """Stop reading and wait for the thread."""
        self._stop.set()
        self._thread.join(timeout=5)
