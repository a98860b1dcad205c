"""A process named for ever: its pid, and when it began on a scale that no change of the clock moves."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path

import psutil

MOST_PID = 2**31 - 1
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def start_time(pid: int | None = None) -> float | None:
    """When process `pid` (this one by default) began, or None when it is gone; seconds, comparable with each other only.

    Linux knows the seconds since boot, and psutil adds the boot's wall time, which moves when the clock is set (proc(5): btime). So
    that is taken off again, and a number that stands for this boot is added. Elsewhere the kernel keeps the wall time of the start.
    """
    try:
        process = psutil.Process(os.getpid() if pid is None else pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if sys.platform != "linux":
            return float(process.create_time())
        text = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None
    ticks = int(text.rpartition(")")[2].split()[19])  # field 22; a program's name may hold anything, brackets included
    return _this_boot() + ticks / os.sysconf("SC_CLK_TCK")


@lru_cache(maxsize=1)
def _this_boot() -> float:
    try:
        return float(int(BOOT_ID.read_text(encoding="ascii")[:8], 16))
    except (OSError, ValueError):
        return 0.0


def is_alive(pid: int, started: float) -> bool:
    """Whether the process that had `pid` and began at `started` (`start_time`) still runs."""
    now = start_time(pid)
    return now is not None and abs(now - started) < 0.5


def is_stopped(pid: int) -> bool:
    """Whether process `pid` was stopped (SIGSTOP, or by a debugger), and so does nothing until it is continued."""
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.NoSuchProcess:
        return False


def file_identity(path: Path) -> tuple[int, int] | None:
    """Which file is at `path` (device, inode); None without one. Of a file that somebody holds open the inode is given to no other."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
