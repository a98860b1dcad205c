"""A closed terminal ends a process like Ctrl-C, except where the caller has that ignored."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, signal, sys
from triplane.runtime.interruption import when_asked_to_end
async def main():
    stop = asyncio.Event()
    when_asked_to_end(stop.set)
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    try:
        await asyncio.wait_for(stop.wait(), float(sys.argv[2]))
        print("in order")
    except TimeoutError:
        print("goes on")
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("name", "ignored", "said"),
    [
        ("SIGINT", False, "in order"), ("SIGTERM", False, "in order"), ("SIGHUP", False, "in order"), ("SIGHUP", True, "goes on"),
    ],
)  # fmt: skip
def test_who_asks_a_process_to_end(name: str, ignored: bool, said: str) -> None:
    """nohup(1) is the caller that ignores it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, name, "0.2" if ignored else "30"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (ran.stdout.strip(), ran.returncode, ran.stderr) == (said, 0, "")
