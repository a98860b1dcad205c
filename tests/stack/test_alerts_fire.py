"""With a real Prometheus over real processes: the fault is injected, the alert comes, the fault goes, so does the alert."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.stack import programs
from tests.stack.prometheus import Prometheus, program
from triplane.runtime.kafka_in import read_all
from triplane.runtime.settings import Settings
from triplane.stack.specs import ProcessSpec
from triplane.stack.supervision_metrics import SupervisionServer
from triplane.stack.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(program() is None, reason="prometheus is not installed (Debian's package `prometheus` has it)"),
]


async def alert(prometheus: Prometheus, name: str, job: str, on: bool) -> None:
    """Wait until an alert fires, or no longer does."""
    for _ in range(600):
        if ((name, job) in await asyncio.to_thread(prometheus.firing)) is on:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{name} for {job} {'did not fire' if on else 'did not end'}")


async def scraped(prometheus: Prometheus) -> None:
    """Wait until every target has been seen well."""
    for _ in range(600):
        if await asyncio.to_thread(prometheus.has_scraped):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("not every target was scraped")


async def test_config_rejected(settings: Settings, tmp_path: Path) -> None:
    """A bad edit of targets.yaml under the real control daemon: the alert, and the configuration in force stays."""
    for name in ("targets.yaml", "assets.csv"):
        shutil.copy(ROOT / name, tmp_path)
    env = {
        "TRIPLANE_BOOTSTRAP": settings.bootstrap,
        "TRIPLANE_TOPIC_PREFIX": settings.topic_prefix,
        "TRIPLANE_STATE_DIR": str(settings.state_dir),
        "TRIPLANE_TARGETS_PATH": str(tmp_path / "targets.yaml"),
        "TRIPLANE_ASSETS_PATH": str(tmp_path / "assets.csv"),
    }
    spec = ProcessSpec(name="control", argv=[sys.executable, "-m", "triplane.control"], env=env)
    async with Supervisor([spec], settings.state_dir) as it:
        await it.start()
        url = json.loads((settings.state_dir / "run" / "control.json").read_text())["http"]
        with Prometheus(tmp_path / "prometheus", {"control": url}) as prometheus:
            await scraped(prometheus)
            assert await asyncio.to_thread(prometheus.firing) == set()
            targets = tmp_path / "targets.yaml"
            good = targets.read_text()
            bad = re.sub(r"(?m)^(\s*VOL_TARGET:\s*)[0-9.]+", r"\g<1>7", good)
            assert bad != good
            (tmp_path / "new").write_text(bad)
            (tmp_path / "new").replace(targets)
            await alert(prometheus, "ConfigRejected", "control", True)
            assert len(await asyncio.to_thread(read_all, settings, ["control.config"])) == 1


async def test_process_down(tmp_path: Path) -> None:
    """A stopped process is seen through the supervisor; one that is given up is another alert."""
    specs = [programs.daemon(tmp_path, "order"), programs.daemon(tmp_path, "data", restart=False)]
    async with Supervisor(specs, tmp_path) as it, SupervisionServer(it) as server:
        await it.start()
        with Prometheus(tmp_path / "prometheus", {"supervisor": server.url}) as prometheus:
            await scraped(prometheus)
            assert await asyncio.to_thread(prometheus.firing) == set()
            pid = it.pid("order")
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            await alert(prometheus, "ProcessDown", "order", True)
            assert ("ProcessDown", "data") not in await asyncio.to_thread(prometheus.firing)
            os.kill(pid, signal.SIGCONT)
            await alert(prometheus, "ProcessDown", "order", False)
            other = it.pid("data")
            assert other is not None
            os.kill(other, signal.SIGKILL)
            await alert(prometheus, "ProcessDown", "data", True)
