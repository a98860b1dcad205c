"""Daemons and commands as processes of their own that need not load their modules anew: forked from a server that has them.

A daemon loads for one to four seconds of CPU, and the tests start more than four hundred. What is forked is as real: its own process id, environment, log,
signals and exit code, and `python -m MODULE` is run in it. How a daemon starts from nothing is tested where it is the matter
(tests/runtime/test_daemon.py, tests/paper/test_process.py, the demonstrations); where determinism is, each start needs a hash seed of its own.

One server (tests/prefork_server.py) is there for all workers of a test run: who needs it first starts it, and it ends when all are gone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]


class Forked:
    """A started process, with what tests use of `subprocess.Popen`."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        log: Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        errors: Path | None = None,
    ) -> None:
        self._code: int | None = None
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(_server())
        self._answers = self._server.makefile("rb")
        asked = {
            "module": module,
            "arguments": arguments,
            "output": str(log),
            "errors": str(errors or log),
            "cwd": str(cwd),
            "environment": dict(os.environ if env is None else env),
        }
        self._server.sendall(json.dumps(asked).encode() + b"\n")
        self.pid: int = json.loads(self._answers.readline())["pid"]
        _LIVING.add(self)

    @property
    def returncode(self) -> int | None:
        """Exit code once it has ended; negative: the signal that ended it."""
        return self._ended(0.0)

    def poll(self) -> int | None:
        """As `returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit code; subprocess.TimeoutExpired when it lives on."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired([str(self.pid)], timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self._code is None and select.select([self._server], [], [], timeout)[0]:
            self._code = json.loads(self._answers.readline())["code"]
            self._answers.close()
            self._server.close()
            _LIVING.discard(self)
        return self._code


_LIVING: set[Forked] = set()
"""What a test let go of lives on until this process ends: the server ends whose connection is closed."""


def to_its_end(
    module: str, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """A program to its end, as `subprocess.run` with its output captured; what lives longer than `timeout` wall seconds is killed."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = Forked(module, *arguments, log=out, errors=err, cwd=cwd, env=env)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess([module, *arguments], code, out.read_text(), err.read_text())


def _server() -> str:
    return _held()[0]


@cache
def _held() -> tuple[str, socket.socket, subprocess.Popen[bytes] | None]:
    """Address of this run's server, and the connection that keeps it for as long as this process lives."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    # Not in pytest's folder: a socket's address has a hundred bytes at most.
    address = Path(tempfile.gettempdir()) / f"triplane-tests-{os.getuid()}-{run[-16:]}"
    lock = address.with_name(f"triplane-tests-{os.getuid()}.lock")
    with FileLock(lock):
        connection = socket.socket(socket.AF_UNIX)
        if address.exists():
            connection.connect(str(address))
            return str(address), connection, None
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(address))
            listener.listen(64)
            connection.connect(str(address))
            server = subprocess.Popen(
                [sys.executable, "-m", "tests.prefork_server", str(listener.fileno()), str(address), str(lock)],
                cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[listener.fileno()],
            )  # fmt: skip
        return str(address), connection, server
