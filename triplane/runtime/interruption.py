"""How a process is asked to end: Ctrl-C, SIGTERM, or the terminal it runs in is closed.

A closed terminal sends SIGHUP, which by default ends a process at once, with nothing stopped in its order. Where the caller has it
ignored (nohup(1)), it stays so.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def when_asked_to_end(call: Callable[[], None]) -> None:
    """Have `call` run, in the running event loop, each time this process is asked to end."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, call)
