"""Ctrl-C at any point of a demonstration stops every process that it started, and only those."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.cli.command import ROOT
from tests.integration.demonstrations import Demo, marked
from tests.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(420)]


MOMENTS = ("kafka", "planes", "trading", "replaying")


def moments(demo: Demo) -> dict[str, Callable[[], object]]:
    """Moments of a run that can be awaited."""
    return {
        "kafka": lambda: demo.processes().get("kafka", {}).get("pid"),
        "planes": lambda: demo.processes().get("order", {}).get("pid"),
        "trading": lambda: demo.gateway().get("streaming"),
        "replaying": lambda: "reading the log and replaying it" in demo.out,
    }


def test_ctrl_c_ends_everything_that_was_started_and_only_that(
    tmp_path: Path, counts: Callable[[int, int], int], seed: int
) -> None:
    """At some of four moments, in full at each."""
    for moment in random.Random(seed).sample(MOMENTS, counts(1, len(MOMENTS))):
        interrupted_at(moment, tmp_path / moment)


def interrupted_at(moment: str, tmp_path: Path) -> None:
    bystander = subprocess.Popen(
        [sys.executable, "-m", "triplane.paper.providers", "--port", "0"], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        sessions = "2" if moment == "replaying" else "3"
        with Demo(tmp_path, "--plain", "--sessions", sessions, "--no-registry", years=0.4) as demo:
            demo.until(moments(demo)[moment], 240, moment)
            started = marked(demo.mark)
            groups = {os.getpgid(process.pid) for process in started} - {demo.process.pid}
            assert groups, "nothing had been started"
            demo.interrupt()
            code = demo.end(60)
            eventually(lambda: not marked(demo.mark), 5, "every process is gone")
            for group in groups:
                with pytest.raises(ProcessLookupError):
                    os.killpg(group, 0)
            assert code == 130
            assert demo.err.strip().splitlines()[-1] == "stopped"
            assert "Traceback" not in demo.out + demo.err
            assert not (demo.directory / "supervisor.json").exists()
        assert psutil.Process(bystander.pid).status() != psutil.STATUS_ZOMBIE
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
