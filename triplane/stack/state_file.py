"""`supervisor.json` in the state directory: who supervises, which processes it started, and how they are.

A process is named by pid and start time, so that a pid the system has given to someone else is never taken for ours. Who
supervises is decided by a lock that the kernel drops with its holder; the file is for people, `down` and `status`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter

from triplane.runtime import atomic_file
from triplane.runtime.process_identity import MOST_PID, file_identity, is_alive, start_time
from triplane.stack.errors import StackError
from triplane.stack.specs import ProcessStatus

NAME = "supervisor.json"
LOCK = "supervisor.lock"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Contents of the state file."""

    pid: Annotated[int, Field(gt=0, le=MOST_PID)]
    started: float
    processes: tuple[ProcessStatus, ...]

    @property
    def alive(self) -> bool:
        """Whether the supervisor that wrote it still runs."""
        return is_alive(self.pid, self.started)

    def running(self) -> list[ProcessStatus]:
        """Processes of the file that still run."""
        return [each for each in self.processes if each.pid and is_alive(each.pid, each.started)]


def read(state_dir: Path) -> Snapshot | None:
    """The state file, or None when there is none or it cannot be read."""
    try:
        return TypeAdapter(Snapshot).validate_python(atomic_file.read_json(state_dir / NAME))
    except (OSError, ValueError):
        return None


def write(state_dir: Path, processes: Iterable[ProcessStatus]) -> None:
    """Replace the state file; readers see the old one or the new one. Raises OSError, also where the folder is gone: it stays so."""
    if not state_dir.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(state_dir))
    pid = os.getpid()
    document = {"pid": pid, "started": start_time(pid), "processes": [asdict(each) for each in processes]}
    atomic_file.write_json(state_dir / NAME, document, indent=1)


def remove(state_dir: Path) -> None:
    """Forget the state: nothing runs any more."""
    (state_dir / NAME).unlink(missing_ok=True)


def take(state_dir: Path) -> FileLock:
    """Become the one supervisor of a state directory and clear what a dead one left. Raises StackError when another lives."""
    state_dir.mkdir(parents=True, exist_ok=True)
    held = FileLock(state_dir / LOCK)
    try:
        held.acquire(timeout=0)
    except Timeout:
        other = read(state_dir)
        who = f" (pid {other.pid})" if other is not None and other.alive else ""
        raise StackError(f"triplane is already up on {state_dir}{who}; stop it with `triplane down`") from None
    clear_orphans(state_dir)
    return held


def lock_identity(state_dir: Path) -> tuple[int, int] | None:
    """Which lock file is there (device, inode); None without one. While it is held, its inode is given to no other file."""
    return file_identity(state_dir / LOCK)


def clear_orphans(state_dir: Path) -> list[str]:
    """SIGKILL what a dead supervisor's processes left running, remove its file, and return their names.

    Normally there are none: they die with it.
    """
    left = read(state_dir)
    if left is None or left.alive:
        return []
    names = []
    for each in left.running():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(each.pid, signal.SIGKILL)
            names.append(each.name)
    remove(state_dir)
    return names


def down(state_dir: Path, timeout: float = 120.0) -> list[str]:
    """Stop the supervisor of a state directory and everything it started; returns the names of what ran.

    Raises StackError when nothing is up, or when it does not end in time.
    """
    found = read(state_dir)
    if found is None:
        raise StackError(
            f"nothing is up on {state_dir}; start it with `triplane up`, or Kafka alone with `triplane kafka up`"
        )
    names = [each.name for each in found.running()]
    if not is_alive(found.pid, found.started):
        return clear_orphans(state_dir)
    os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while is_alive(found.pid, found.started):
        if time.monotonic() > deadline:
            raise StackError(
                f"the supervisor (pid {found.pid}) did not end within {timeout:.0f} s; `kill -9 {found.pid}` ends it and "
                "everything it started"
            )
        pause.wait(0.05)
    return names
