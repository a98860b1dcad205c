"""A daemon's event loop, left within a bound: what a library still waits for does not keep the process.

`asyncio.run` waits without end for tasks and executor threads that are left over. A Kafka client that was told to leave while its
broker stands still is one: it waits for answers, up to its request timeout, long after a supervisor has lost patience.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

LEAVE_S = 1.0
"""Wall seconds for tasks, and then for threads, that were left over."""


class EventLoop:
    """One loop for one coroutine. After `run`, `lingering` says whether something would keep the process from ending."""

    def __init__(self) -> None:
        self.lingering = False

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` to its end, then cancel and close whatever it left. Raises what `work` raises."""
        loop = asyncio.new_event_loop()
        executor = ThreadPoolExecutor(thread_name_prefix="daemon")
        loop.set_default_executor(executor)
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(work)
        finally:
            self._leave(loop, executor)
            asyncio.set_event_loop(None)

    def _leave(self, loop: asyncio.AbstractEventLoop, executor: ThreadPoolExecutor) -> None:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        running = loop.run_until_complete(asyncio.wait(tasks, timeout=LEAVE_S))[1] if tasks else set()
        for task in tasks - running:
            if not task.cancelled():
                task.exception()  # seen; it would be printed otherwise
        loop.run_until_complete(loop.shutdown_asyncgens())
        executor.shutdown(wait=False, cancel_futures=True)
        self.lingering = bool(running) or not _threads_end()
        if not self.lingering:
            loop.close()


def _threads_end() -> bool:
    """Whether all threads that the interpreter would wait for end within LEAVE_S."""
    deadline = time.monotonic() + LEAVE_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                return False
    return True
