"""Daemons and commands as processes of their own that need not load their modules anew: forked from a server that has them.

A daemon loads for one to four seconds of CPU, and the tests start more than four hundred. What is forked is as real: its own process id, environment, log,
signals and exit code, and `python -m MODULE` is run in it. How a daemon starts from nothing is tested where it is the matter
(tests/runtime/test_daemon.py, tests/paper/test_process.py, the demonstrations); where determinism is, each start needs a hash seed of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

LOADED = (
    "triplane.paper.server.answers",
    "triplane.paper.server.control_http",
    "order_plane.daemon.service",
    "data_plane.daemon.backfill",
    "data_plane.daemon.service",
    *(f"data_plane.sources.{name}" for name in ("edgar", "fred", "ibkr")),
    "strategy_plane.worker.service",
    "aiohttp.web",
    "triplane.control.service",
    *(f"triplane.cli.{name}" for name in ("assets", "config", "doctor", "explain", "kill", "replay", "status", "up")),
)


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
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(LOADED))
        variables = dict(os.environ if env is None else env)
        # A daemon of ours has none, and what a test forgets ends with the tests.
        self._process = context.Process(
            target=_run, args=(module, arguments, str(log), str(errors or log), str(cwd), variables), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code once it has ended; negative: the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As `returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit code; subprocess.TimeoutExpired when it lives on."""
        self._process.join(timeout)
        code = self.returncode
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


def _run(module: str, arguments: Sequence[str], log: str, errors: str, cwd: str, variables: Mapping[str, str]) -> None:
    for number, path in ((1, log), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
