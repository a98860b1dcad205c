"""A strategy worker as a process of its own, watched from outside: its health port, its snapshot, and the log."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, TypeVar

import psutil

from schemas import catalogue
from strategy_plane.worker import recovery
from tests.prefork import Forked
from tests.waiting import eventually
from triplane.replay.recording import Recording, combined, read
from triplane.runtime import snapshots
from triplane.runtime.kafka_in import LogRecord
from triplane.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = (
    "strategy.factors",
    "strategy.signals",
    "strategy.regime",
    "strategy.models",
    "strategy.targets",
    "strategy.intents",
)
STOP_AT = "TRIPLANE_TEST_STRATEGY_STOP_AT"
T = TypeVar("T")


class StrategyProcess:
    """`python -m strategy_plane` with its own state directory: forked, or started from nothing with a hash seed of its own."""

    def __init__(self, settings: Settings, stop_at: str = "", *, from_nothing: bool = False, **extra: str) -> None:
        self.settings = settings
        environment = {
            **os.environ,
            "TRIPLANE_BOOTSTRAP": settings.bootstrap,
            "TRIPLANE_TOPIC_PREFIX": settings.topic_prefix,
            "TRIPLANE_STATE_DIR": str(settings.state_dir),
            "TRIPLANE_ACCOUNT": settings.account,
            "TRIPLANE_LOG_LEVEL": "INFO",
            STOP_AT: stop_at,
            **extra,
        }
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        self.log_path = settings.state_dir / "strategy.log"
        self.process: subprocess.Popen[bytes] | Forked
        if from_nothing:
            command = [sys.executable, "-m", "strategy_plane"]
            with self.log_path.open("ab") as log:
                self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        else:
            self.process = Forked("strategy_plane", log=self.log_path, cwd=ROOT, env=environment)

    def _get(self, path: str) -> tuple[int, str]:
        with contextlib.suppress(FileNotFoundError, ValueError, OSError):
            run = json.loads((self.settings.state_dir / "run" / "strategy.json").read_text())
            if run["pid"] == self.process.pid:
                try:
                    with urllib.request.urlopen(run["http"] + path, timeout=2) as answer:
                        return answer.status, answer.read().decode()
                except urllib.error.HTTPError as error:
                    return error.code, error.read().decode()
        return 0, ""

    def ready(self) -> bool:
        self.assert_alive()
        return self._get("/readyz")[0] == 200

    def reason(self) -> str:
        """What /readyz says."""
        text = self._get("/readyz")[1]
        return str(json.loads(text)["reason"]) if text else ""

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels; -1 while the process does not answer."""
        status, text = self._get("/metrics")
        values = [
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((name + " ", name + "{"))
        ]
        return sum(values) if status == 200 else -1.0

    def seq(self) -> int:
        """Last barrier stepped by this incarnation."""
        return int(self.metric("triplane_barrier_seq"))

    def assert_alive(self) -> None:
        code = self.process.poll()
        assert code is None, f"strategy ended with {code}: {self.tail()}"

    def tail(self) -> str:
        return self.log_path.read_text(errors="replace")[-2000:]

    def stopped(self) -> bool:
        """Whether the process stands still under SIGSTOP."""
        self.assert_alive()
        return bool(psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(10)

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(20)

    def wait_seq(self, seq: int, timeout: float = 120.0) -> None:
        """Wait until the barrier `seq` is stepped."""

        def reached() -> bool:
            self.assert_alive()
            return self.seq() >= seq

        try:
            eventually(reached, timeout, f"barrier {seq} stepped")
        except AssertionError as error:
            raise AssertionError(f"{error}; /readyz: {self.reason()!r}; log:\n{self.tail()}") from None

    def snapshot_seq(self) -> int:
        """Barrier of the snapshot on disk; 0 when there is none."""
        try:
            meta, _ = snapshots.load(recovery.snapshot_path(self.settings))
        except snapshots.SnapshotError:
            return 0
        return int(meta["seq"])


def strategy_log(settings: Settings) -> Recording:
    """Everything on the strategy plane's topics and its inputs; raises Nondeterminism when outputs differ under one identity."""
    return read(settings)


def output_sha(recording: Recording) -> str:
    """One SHA-256 over the de-duplicated bodies of all output topics."""
    return combined({name: recording.digest(name) for name in OUTPUTS})


def repeats(recording: Recording, leave_out: tuple[str, ...] = ()) -> int:
    """Output records on the log beyond the first per identity."""
    return sum(len(recording.raw[name]) - len(recording.records[name]) for name in OUTPUTS if name not in leave_out)


def of_seq(recording: Recording, topic: str, seq: int) -> list[LogRecord]:
    """Records of one barrier on a topic."""
    return [record for record in recording.records[topic] if record.value is not None and record.value["seq"] == seq]


def barrier_values(recording: Recording) -> list[dict[str, Any]]:
    """The winning barriers in order."""
    return [record.value for record in recording.records["strategy.barriers"] if record.value is not None]


def input_topics() -> list[str]:
    """Logical names of all barrier inputs."""
    return [topic.name for topic in catalogue.load().barrier_inputs()]
