"""One service for all workers of pytest-xdist: whoever needs it first starts it, and it ends when nobody uses it any more."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from filelock import FileLock


def shared(
    request: pytest.FixtureRequest,
    folder: pytest.TempPathFactory,
    name: str,
    start: Callable[[Path], AbstractContextManager[str]],
) -> str:
    """Address of the service `name` of this test run; `start(directory)` enters it and gives its address.

    Each worker holds a shared lock on a file while it may use the service. The one that started it ends it once it can have the
    lock alone: after its last test, so that no test's time limit counts the wait. A worker that dies gives its lock back.
    """
    base = folder.getbasetemp()
    # xdist gives each worker a folder of its own within the run's.
    base = base.parent if hasattr(request.config, "workerinput") else base
    address, directory = base / f"{name}.address", base / name
    users = (base / f"{name}.users").open("a")
    ends = ExitStack()
    ends.callback(users.close)
    with FileLock(base / f"{name}.lock"):
        fcntl.flock(users, fcntl.LOCK_SH)
        if address.exists():
            request.config.add_cleanup(ends.close)
            return address.read_text(encoding="utf-8")
        directory.mkdir(exist_ok=True)
        started = ends.enter_context(start(directory))
        address.write_text(started, encoding="utf-8")
    ends.callback(_alone, users.fileno(), address)
    request.config.add_cleanup(ends.close)
    return started


def _alone(users: int, address: Path) -> None:
    """Wait until nobody else uses the service, and let nobody begin to."""
    fcntl.flock(users, fcntl.LOCK_EX)
    address.unlink()
