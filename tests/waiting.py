"""Wait for a condition, not for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE_S = 0.02


def eventually(check: Callable[[], T | None], timeout: float = 10.0, what: str = "the condition") -> T:
    """First true answer of `check`; AssertionError with its last one after `timeout` wall seconds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout:g} s; last answer {answer!r}")
        wait(PAUSE_S)


def settles(check: Callable[[], object], timeout: float = 60.0, what: str = "the condition") -> None:
    """Return when `check` is true, or no longer fails an assertion and answers nothing; after `timeout` its last failure is raised."""
    deadline = time.monotonic() + timeout
    while True:
        failure: AssertionError | None = None
        try:
            result = check()
            if result is None or result:
                return
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"{what} did not hold within {timeout:g} s")
        wait(PAUSE_S)


def wait(seconds: float) -> None:
    """Let wall time pass: only where the fault itself is a length of time."""
    threading.Event().wait(seconds)
