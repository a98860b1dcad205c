"""Ending asyncio tasks for certain, and noticing those that ended by themselves.

`asyncio.wait_for` of Python 3.11 loses a cancel that comes in the same turn of the loop as the answer (python/cpython#86296, mended in
3.12): a task that was to end then goes on for ever, and whoever waits for its end hangs. Our own code waits with `asyncio.timeout`,
which has no such gap; libraries still use the other one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

AGAIN_S = 5.0
"""Long enough for what a task does on its way out: a second cancel cuts that short."""


async def end_tasks(tasks: Collection[asyncio.Task[Any]], again_s: float = AGAIN_S) -> None:
    """Cancel tasks and return once all have ended, whatever with; asks again every `again_s` wall seconds until they have."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=again_s)
    # An exception that nobody looks at is printed when its task is collected.
    for task in tasks:
        if not task.cancelled():
            task.exception()


def raise_failures(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Raise what ended a task that was to go on beside the caller."""
    for task in tasks:
        if task.done():
            task.result()
