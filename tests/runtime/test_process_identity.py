"""A process is named by its pid and its start, whatever happens to the clock."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from triplane.runtime import process_identity
from triplane.runtime.process_identity import is_alive, start_time


def test_a_process_lives_from_its_start_to_its_end() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        started = start_time(child.pid)
        assert started is not None
        assert is_alive(child.pid, started)
        assert not is_alive(child.pid, started - 3600.0)
        mine = start_time()
        assert mine is not None
        assert mine < started  # one scale for all, and this process began first
    finally:
        child.communicate(b"\n")
    assert start_time(child.pid) is None
    assert not is_alive(child.pid, started)


def test_a_zombie_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    started = start_time(child.pid) or 0.0
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        os.sched_yield()
    assert not is_alive(child.pid, started)
    child.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel keeps the wall time of a start")
def test_a_clock_that_is_set_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil tells another start once the boot's wall time has moved; ours stays."""
    started, told = start_time(), psutil.Process().create_time()
    assert started is not None
    shifted = psutil._pslinux.boot_time() + 3600.0
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: shifted)
    assert abs(psutil.Process().create_time() - told) > 3000.0
    assert is_alive(os.getpid(), started)


def test_another_boot_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("elsewhere the kernel keeps the wall time of a start")
    started = start_time()
    assert started is not None
    monkeypatch.setattr(process_identity, "_this_boot", lambda: 12.0)
    assert not is_alive(os.getpid(), started)
