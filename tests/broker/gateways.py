"""A real paper gateway process for tests: started on free ports, read through its journal, stopped by its own process id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.prefork import Forked
from tests.waiting import eventually
from triplane.runtime import loopback
from triplane.stack.ports import free_ports

ACCOUNT = "DU1234567"
REPOSITORY = Path(__file__).resolve().parents[2]


class GatewayProcess:
    """The paper gateway as its own process; `restart` continues on the same state directory and port."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.options = options
        self.port, self.http_port = free_ports(2)
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.start()

    def start(self) -> None:
        """Start, and wait until it listens."""
        described = self.directory / "gateway.json"
        described.unlink(missing_ok=True)
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "gateway.log"
        command = [
            "triplane.paper.gateway",
            *("--port", str(self.port), "--http-port", str(self.http_port), "--account", ACCOUNT),
            *("--state-dir", str(self.directory), "--assets", str(REPOSITORY / "assets.csv"), *self.options),
        ]
        # The gateway may live in another environment than the client under test: nothing but the socket connects them.
        if "TRIPLANE_GATEWAY_PYTHON" in os.environ:
            with path.open("ab") as log:
                python = os.environ["TRIPLANE_GATEWAY_PYTHON"]
                self.process = subprocess.Popen([python, "-m", *command], stdout=log, stderr=log, cwd=REPOSITORY)
        else:
            self.process = Forked(*command, log=path, cwd=REPOSITORY)

        def listening() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError((self.directory / "gateway.log").read_text())
            return described.exists() and bool(described.read_text())

        eventually(listening, 30, "the gateway")
        ports = json.loads(described.read_text())
        self.port, self.http_port = ports["port"], ports["http_port"]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it and wait."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(10)

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """POST to the control port."""
        with loopback.client(60.0) as client:
            answer = client.post(f"http://127.0.0.1:{self.http_port}/{path}", json=body)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def fault(self, kind: str, **fields: Any) -> None:
        """Ask for a fault."""
        self.post("fault", fault=kind, **fields)

    def advance(self, **to: Any) -> dict[str, Any]:
        """Move market time: `to` an ISO time in New York, or `minutes`."""
        return self.post("advance", **to)

    def status(self) -> dict[str, Any]:
        """GET /status."""
        result: dict[str, Any] = loopback.get(f"http://127.0.0.1:{self.http_port}/status", 10.0).json()
        return result

    def orders(self) -> list[dict[str, Any]]:
        """GET /orders."""
        result: list[dict[str, Any]] = loopback.get(f"http://127.0.0.1:{self.http_port}/orders", 10.0).json()
        return result

    def journal(self) -> list[dict[str, Any]]:
        """What the gateway itself wrote down, complete lines only."""
        text = (self.directory / "gateway-journal.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def sent(self) -> dict[str, int]:
        """How many new orders (not modifies) reached the gateway, by orderRef."""
        counts: dict[str, int] = {}
        for line in self.journal():
            if line["kind"] == "order" and not line["modify"]:
                counts[line["orderRef"]] = counts.get(line["orderRef"], 0) + 1
        return counts
