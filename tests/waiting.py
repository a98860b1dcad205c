"""Wait for a condition, not for a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE_S = 0.02


def _pause(since: float, asked: float) -> None:
    """Between two looks: at least PAUSE_S, and longer where looking is dear or the wait is long, since other tests want the cores.

    `since` is when the wait began and `asked` when the last look did, on the monotonic clock.
    """
    now = time.monotonic()
    wait(max(PAUSE_S, min(0.25, (now - since) / 50), min(0.5, 3 * (now - asked))))


def eventually(check: Callable[[], T | None], timeout: float = 10.0, what: str = "the condition") -> T:
    """First true answer of `check`; AssertionError with its last one after `timeout` wall seconds."""
    since = time.monotonic()
    while True:
        asked = time.monotonic()
        answer = check()
        if answer:
            return answer
        if time.monotonic() > since + timeout:
            raise AssertionError(f"{what}: not within {timeout:g} s; last answer {answer!r}")
        _pause(since, asked)


async def until(check: Callable[..., object], what: str = "the condition", timeout: float = 60.0) -> None:
    """`eventually` without holding the event loop; looks often, since what it waits for runs in that loop."""
    since = time.monotonic()
    while not check():
        if time.monotonic() > since + timeout:
            raise AssertionError(f"{what} did not come about within {timeout:g} s")
        await asyncio.sleep(0.005)


def settles(check: Callable[[], object], timeout: float = 60.0, what: str = "the condition") -> None:
    """Return when `check` is true, or no longer fails an assertion and answers nothing; after `timeout` its last failure is raised."""
    since = time.monotonic()
    while True:
        asked = time.monotonic()
        failure: AssertionError | None = None
        try:
            result = check()
            if result is None or result:
                return
        except AssertionError as error:
            failure = error
        if time.monotonic() > since + timeout:
            raise failure or AssertionError(f"{what} did not hold within {timeout:g} s")
        _pause(since, asked)


def wait(seconds: float) -> None:
    """Let wall time pass: only where the fault itself is a length of time."""
    threading.Event().wait(seconds)
