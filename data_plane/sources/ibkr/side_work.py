"""Pieces of work beside a source's stream: loads that take minutes while the data come."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from triplane.runtime.tasks import end_tasks


class SideWork:
    """Tasks by name, no two of one name at once. The failure of one is the stream's: `check` raises it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing runs."""
        return not self._tasks

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> bool:
        """Run it; False while one of its name runs, and it never will."""
        if any(task.get_name() == name for task in self._tasks):
            work.close()
            return False
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return True

    def _ended(self, done: asyncio.Task[None]) -> None:
        self._tasks.discard(done)
        if not done.cancelled() and done.exception() is not None:
            self._failure = done.exception()

    def check(self) -> None:
        """Raise what ended one of them since the last look."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def cancel(self) -> None:
        """Ask all to end."""
        for task in list(self._tasks):
            task.cancel()

    async def end(self) -> None:
        """Cancel all and wait until they have ended."""
        await end_tasks(list(self._tasks))
