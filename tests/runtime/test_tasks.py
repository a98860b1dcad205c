"""A task that is told to end ends, even where a library loses the first cancel."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from triplane.runtime.tasks import end_tasks, raise_failures

ROOT = Path(__file__).parents[2]
PACKAGES = ("data_plane", "strategy_plane", "order_plane", "triplane", "schemas")


async def test_a_task_that_loses_a_cancel_is_told_again():
    lost = 0

    async def loses_one() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
                if lost > 1:
                    raise

    async def fails() -> None:
        raise ValueError("before its end")

    work = [asyncio.create_task(loses_one()), asyncio.create_task(fails()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end_tasks(work, again_s=0.01)
    assert lost == 2
    assert all(task.done() for task in work)
    await end_tasks([])


async def test_what_ends_beside_the_caller_is_raised():
    async def fails() -> None:
        raise ValueError("beside")

    work = [asyncio.create_task(asyncio.Event().wait()), asyncio.create_task(fails())]
    raise_failures(work)
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="beside"):
        raise_failures(work)
    await end_tasks(work)


def test_nothing_of_ours_waits_in_the_way_that_loses_cancels():
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    used = re.compile(r"\basyncio\.wait_for\(|from asyncio import .*\bwait_for\b")
    found = [str(path.relative_to(ROOT)) for path in files if used.search(path.read_text(encoding="utf-8"))]
    assert found == [], "use asyncio.timeout: it never loses a cancel (triplane/runtime/tasks.py)"
