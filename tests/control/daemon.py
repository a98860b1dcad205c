"""The control daemon as a process with files of its own, and what it wrote to a real Kafka."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.control.contents import ASSETS, TARGETS
from tests.prefork import Forked
from tests.waiting import eventually
from triplane.runtime.configuration import from_record
from triplane.runtime.kafka_in import LogRecord, read_all
from triplane.runtime.settings import Settings

ACTOR = {"actor": "ana", "reason": "drill"}


class Control:
    """The daemon's process, its files, and what it wrote."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.targets = folder / "targets.yaml"
        self.assets = folder / "assets.csv"
        self.stderr = folder / "stderr"
        self.process: Forked | None = None
        self.client = httpx.Client(timeout=20)
        folder.mkdir(parents=True, exist_ok=True)
        self.targets.write_text(TARGETS)
        self.assets.write_text(ASSETS)

    def launch(self, **environment: str) -> Forked:
        """Start the process without waiting for it."""
        variables = {
            "TRIPLANE_BOOTSTRAP": self.settings.bootstrap,
            "TRIPLANE_TOPIC_PREFIX": self.settings.topic_prefix,
            "TRIPLANE_STATE_DIR": str(self.settings.state_dir),
            "TRIPLANE_TARGETS_PATH": str(self.targets),
            "TRIPLANE_ASSETS_PATH": str(self.assets),
        }
        self.process = Forked(
            "triplane.control", log=self.stderr, cwd=Path.cwd(), env={**os.environ, **variables, **environment}
        )
        return self.process

    def start(self, **environment: str) -> None:
        """Start the process and wait until it is ready."""
        process = self.launch(**environment)

        def ready() -> bool:
            assert process.poll() is None, self.stderr.read_text()
            try:
                return self.address() is not None and self.client.get(f"{self.address()}/readyz").status_code == 200
            except httpx.HTTPError:
                return False

        eventually(ready, 20, "ready")

    def address(self) -> str | None:
        """Where the running process listens."""
        path = self.settings.state_dir / "run" / "control.json"
        if not path.exists() or self.process is None:
            return None
        document = json.loads(path.read_text())
        return document["http"] if document["pid"] == self.process.pid else None

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal the process and wait for its end."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(15)

    def get(self, path: str) -> Any:
        response = self.client.get(f"{self.address()}{path}")
        return response.json() if response.headers["content-type"].startswith("application/json") else response.text

    def post(self, body: Any, **headers: str) -> httpx.Response:
        return self.client.post(f"{self.address()}/commands", json=body, headers=headers)

    def log(self, topic: str = "control.config") -> list[LogRecord]:
        """Everything on a topic."""
        return read_all(self.settings, [topic])

    def versions(self) -> list[dict[str, Any]]:
        """Every ConfigVersion on the log."""
        return [record.value for record in self.log() if record.value is not None]

    def refused(self) -> int:
        """How many edits the daemon refused."""
        count: int = self.get("/status")["rejected"]["count"]
        return count

    def status_seq(self) -> int:
        """Sequence number in force."""
        seq: int = self.get("/status")["config"]["seq"]
        return seq


def check_chain(versions: list[dict[str, Any]]) -> None:
    """Sequence numbers without gaps, each version naming the hash before it, each hash fitting its values."""
    assert [version["seq"] for version in versions] == list(range(1, len(versions) + 1))
    for before, after in zip([None, *versions], versions, strict=False):
        assert after["prev_hash"] == (before["hash"] if before else "")
        assert from_record(after).hash == after["hash"]
        assert bool(after["changes"]) == (before is not None)
