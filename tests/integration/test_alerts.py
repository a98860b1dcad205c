"""A real Prometheus with the shipped rules over real daemons: each fault is injected, its alert fires, and ends with the fault.

`tests/stack/test_alerts_fire.py` has what the supervisor tells; here the planes themselves are scraped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.chaos.strategy_harness import StrategyProcess
from tests.cli.command import ROOT, triplane, variables_of
from tests.order_plane.world import OrderWorld
from tests.recordings import Market, publish, targets
from tests.stack.prometheus import RULES, Prometheus, program
from tests.waiting import settles
from triplane.domain import calendars
from triplane.domain.timestamps import SECOND
from triplane.runtime.settings import Settings
from triplane.stack.process import Child

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(program() is None, reason="prometheus is not installed (Debian's package `prometheus` has it)"),
]


def alert(prometheus: Prometheus, name: str, job: str, on: bool, timeout: float = 40.0) -> None:
    """Wait until an alert of a job fires, or no longer does."""
    settles(
        lambda: ((name, job) in prometheus.firing()) is on, timeout, f"{name} of {job} {'firing' if on else 'ended'}"
    )


def served(settings: Settings, daemon: str) -> str:
    """Where a daemon of this state directory serves."""
    path = settings.state_dir / "run" / f"{daemon}.json"
    settles(path.is_file, what=f"{daemon} serves")
    return str(json.loads(path.read_text())["http"])


def test_only_durations_differ_from_the_shipped_rules(tmp_path: Path) -> None:
    with Prometheus(tmp_path, {}):
        used: dict[str, Any] = json.loads((tmp_path / "alerts.json").read_text())
    shipped = YAML(typ="safe").load(RULES.read_text(encoding="utf-8"))
    for ours, theirs in zip(used["groups"][0]["rules"], shipped["groups"][0]["rules"], strict=True):
        assert ("for" in ours) == ("for" in theirs)
        ours.pop("for", None)
        theirs.pop("for", None)
    assert used == shipped


def test_barrier_late_and_process_down(settings: Settings, tmp_path: Path) -> None:
    """The bars stop just before a decision: late until they come. Then the plane is killed: down until it is back."""
    market = Market(history=5, live=1)
    (day,) = market.live_days
    publish(settings, [*market.opening(targets(BARRIER_LATE_S=1.0)), *market.history_slices()])
    worker = StrategyProcess(settings)
    again = None
    try:
        worker.wait_seq(5)
        with Prometheus(tmp_path / "prometheus", {"strategy": served(settings, "strategy")}) as prometheus:
            settles(prometheus.has_scraped, what="a scrape")
            t = calendars.decision_time("XNYS", day, "15:30")
            publish(settings, [*market.before_decision(day), market.quotes(day, t + SECOND)])
            alert(prometheus, "BarrierLate", "strategy", True)
            assert "late" in worker.reason()
            assert ("ProcessDown", "strategy") not in prometheus.firing()
            publish(settings, [market.gating(day), *market.after_decision(day)])
            alert(prometheus, "BarrierLate", "strategy", False)
            worker.wait_seq(6)
            port = served(settings, "strategy").rpartition(":")[2]
            worker.kill()
            alert(prometheus, "ProcessDown", "strategy", True)
            again = StrategyProcess(settings, TRIPLANE_HTTP_PORT=port)
            alert(prometheus, "ProcessDown", "strategy", False)
    finally:
        worker.kill()
        if again is not None:
            again.kill()


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[OrderWorld]:
    made = OrderWorld(settings, tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_kill_switch_and_config_rejected(world: OrderWorld, tmp_path: Path) -> None:
    """The kill switch by command; a bad edit of targets.yaml under the control daemon of the same installation."""
    for name in ("targets.yaml", "assets.csv"):
        shutil.copy(ROOT / name, tmp_path)
    targets_path = tmp_path / "targets.yaml"
    settings = world.settings.model_copy(update={"targets_path": targets_path, "assets_path": tmp_path / "assets.csv"})
    world.start().ready()
    environment = {**os.environ, **variables_of(settings)}
    control = Child("control", [sys.executable, "-m", "triplane.control"], tmp_path / "control.log", env=environment)

    def kill(*arguments: str) -> None:
        ran = triplane(
            "kill", *arguments, "--reason", "a drill", "--actor", "ada", cwd=tmp_path, variables=variables_of(settings)
        )
        assert ran.code == 0, ran

    try:
        jobs = {"order": served(settings, "order"), "control": served(settings, "control")}
        with Prometheus(tmp_path / "prometheus", jobs) as prometheus:
            settles(prometheus.has_scraped, what="a scrape of both")
            good = targets_path.read_text()
            bad = re.sub(r"(?m)^(\s*VOL_TARGET:\s*)[0-9.]+", r"\g<1>7", good)
            assert bad != good
            targets_path.write_text(bad)
            alert(prometheus, "ConfigRejected", "control", True)
            assert ("KillSwitchTripped", "order") not in prometheus.firing()
            kill("trip")
            alert(prometheus, "KillSwitchTripped", "order", True)
            kill("rearm")
            alert(prometheus, "KillSwitchTripped", "order", False)
    finally:
        control.stop()
