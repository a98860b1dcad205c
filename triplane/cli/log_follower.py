"""Reads every topic in a thread and folds it into a LiveState; the view and the script look at that.

Only the first record per identity counts: a plane that was killed writes some again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable

from schemas import catalogue
from triplane.cli.live_state import LiveState
from triplane.runtime.kafka_in import FirstPerIdentity, LogRecord, LogUnavailable, Nondeterminism, TopicReader
from triplane.runtime.settings import Settings


class LogFollower:
    """A reader thread over all topics of the catalogue, from the beginning."""

    def __init__(self, settings: Settings, on_record: Callable[[LogRecord], None] | None = None) -> None:
        self.state = LiveState()
        self.error = ""
        self._settings = settings
        self._on_record = on_record
        self._stop = threading.Event()
        self._lock = threading.Lock()
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
            reader = TopicReader(self._settings, list(catalogue.load()))
        except LogUnavailable as error:
            self.error = str(error)
            return
        first = FirstPerIdentity()
        try:
            while not self._stop.is_set():
                for record in reader.poll(0.2, 2000):
                    if record.value is not None and not first.accept(record):
                        continue
                    with self._lock:
                        self.state.take(record)
                    if self._on_record is not None:
                        self._on_record(record)
                self._position = reader.position()
        except (LogUnavailable, Nondeterminism) as error:
            self.error = str(error)
        finally:
            reader.close()

    def stop(self) -> None:
        """Stop reading and wait for the thread."""
        self._stop.set()
        self._thread.join(timeout=5)
