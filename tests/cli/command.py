"""The `triplane` command as people run it: a process of its own in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.prefork import to_its_end
from triplane.cli import context
from triplane.runtime.settings import Settings
from triplane.stack.specs import ProcessStatus

ROOT = Path(__file__).resolve().parents[2]
LINE = [sys.executable, "-m", "triplane.cli.main"]
NO_PROXY_HERE = "http://127.0.0.1:9"
"""The discard port, where nobody answers: as behind a company's proxy, nothing that stays on this machine may go there."""


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without any installation in it, with a proxy for the outside world, and `variables`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TRIPLANE_") and k != "KAFKA_BOOTSTRAP_SERVERS"}
    if "TRIPLANE_CACHE" in os.environ:
        kept["TRIPLANE_CACHE"] = os.environ["TRIPLANE_CACHE"]
    return {**kept, "HTTP_PROXY": NO_PROXY_HERE, "http_proxy": NO_PROXY_HERE, "COLUMNS": "200", **variables}


def variables_of(settings: Settings) -> dict[str, str]:
    """Variables that lead a process to the installation of a test."""
    return {
        "TRIPLANE_BOOTSTRAP": settings.bootstrap,
        "TRIPLANE_TOPIC_PREFIX": settings.topic_prefix,
        "TRIPLANE_STATE_DIR": str(settings.state_dir),
        "TRIPLANE_TARGETS_PATH": str(settings.targets_path),
        "TRIPLANE_ASSETS_PATH": str(settings.assets_path),
        "TRIPLANE_ACCOUNT": settings.account,
        "TRIPLANE_GATEWAY_PORT": str(settings.gateway_port),
        "TRIPLANE_MODE": settings.mode,
    }


def killed(state: Path, variables: Mapping[str, str], *processes: str) -> None:
    """What `triplane up` leaves in its state directory when it is killed with the processes that it ran."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    pid = int(ended.stdout)
    context.write_environment(state, variables)
    statuses = [
        asdict(ProcessStatus(name, "ready", "", pid, 1.0, 0, 1.0, str(state / f"{name}.log"))) for name in processes
    ]
    (state / "supervisor.json").write_text(json.dumps({"pid": pid, "started": 1.0, "processes": statuses}))


@dataclass(frozen=True, slots=True)
class Ran:
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as strict JSON: NaN and Infinity are errors."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is not JSON")

        return json.loads(self.out, parse_constant=refuse)

    @property
    def sentence(self) -> str:
        """The one line of an error: from `triplane`, without a traceback, and nothing else on stderr."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, self
        assert lines[0].startswith("triplane: "), self
        assert "Traceback" not in self.out + self.err
        return lines[0]


def triplane(*arguments: str, cwd: Path, timeout: float = 60.0, variables: Mapping[str, str] | None = None) -> Ran:
    """Run a verb to its end."""
    done = to_its_end("triplane.cli.main", *arguments, cwd=cwd, env=environment(**(variables or {})), timeout=timeout)
    return Ran(done.returncode, done.stdout, done.stderr)
