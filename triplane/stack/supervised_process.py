"""One supervised process, what is known of it, and whether it is started again after it has ended.

It is given up at the sixth end within 5 minutes, and at once when it ends with code 78, since a restart cannot mend what a person has
to. A process that has been ready and ends with code 69 lacks something outside of it (a clock is wrong, Kafka is away): it is started
again, at growing intervals, until that is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import deque
from pathlib import Path

import psutil

from triplane.runtime import exit_codes
from triplane.stack.process import Child
from triplane.stack.specs import ProcessSpec, ProcessStatus, State

FULL_BYTES = 1024 * 1024
MAX_RESTARTS = 5
WINDOW_S = 300.0
BACKOFF_MAX_S = 30.0


class SupervisedProcess:
    """Its spec, the child that runs, and the history that decides on restarts. The supervisor changes it."""

    def __init__(self, spec: ProcessSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.child: Child | None = None
        self.state: State = "waiting"
        self.detail = ""
        self.since = time.time()
        self.restarts = 0
        self.last_end = ""  # why the last child ended; nothing while the first one runs
        self.error_code = 1  # what a command ends with when this process is given up
        self.unstarted = ""  # why the last start failed before there was a process
        self.crashes: deque[float] = deque()
        self.waits: deque[float] = deque()
        """When it ended of late because something outside of it was not there: those do not count as crashes."""
        self.was_ready = asyncio.Event()
        self.failed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def status(self) -> ProcessStatus:
        """As the state file shows it."""
        alive = self.child is not None and self.child.poll() is None
        child = self.child if alive else None
        return ProcessStatus(
            self.spec.name,
            self.state,
            self.detail,
            child.pid if child else 0,
            child.started if child else 0.0,
            self.restarts,
            self.since,
            str(self.log),
        )

    def pause(self, code: int, first: float) -> float | None:
        """Note that it ended with `code`. Wall seconds until the next start, doubling from `first`; None when it was started often enough."""
        now = time.monotonic()
        waits_for_others = code == exit_codes.UNAVAILABLE and self.was_ready.is_set()
        ends = self.waits if waits_for_others else self.crashes
        while ends and now - ends[0] > WINDOW_S:
            ends.popleft()
        if len(ends) >= MAX_RESTARTS and not waits_for_others:
            return None
        ends.append(now)
        return min(BACKOFF_MAX_S, first * 2.0 ** (len(ends) - 1))

    def ending(self, code: int, state_dir: Path) -> str:
        """Why the child ended, a sentence without its full stop. `code` is its exit code, negative for a signal; a disk of `state_dir`
        that is full is named as well."""
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        last = self.child.last_words() if self.child else ""
        said = f": {last[:400]}" if last and code > 0 else ""
        return f"{self.spec.name} {how}{said}{'' if 'free space there' in said else _full_disk(state_dir)}"


def _full_disk(directory: Path) -> str:
    with contextlib.suppress(OSError):
        if psutil.disk_usage(str(directory)).free < FULL_BYTES:
            return f"; the disk of {directory} is full: free space there"
    return ""
