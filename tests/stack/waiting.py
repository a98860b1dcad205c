"""Wait for a condition, not for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def eventually(check: Callable[[], object], timeout: float = 60.0, what: str = "") -> None:
    """Return when `check()` is true (or raises no AssertionError and returns None); fail with its last word after `timeout`."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        failure: AssertionError | None = None
        try:
            result = check()
            if result is None or result:
                return
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"{what or 'the condition'} did not hold within {timeout:.0f} s")
        pause.wait(0.02)
