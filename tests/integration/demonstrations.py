"""A `triplane demo` in a process of its own, and every process that it started, found by a mark in their environment."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from tests.cli.command import LINE, ROOT, Ran, environment, triplane
from tests.waiting import eventually
from triplane.runtime import loopback

MARK = "TRIPLANE_TEST_MARK"
PLANES = ("data", "strategy", "order", "control")
SHORT_HISTORY = 1.5
"""Years of history that are just enough for every signal: warm-up is most of a short run."""
T = TypeVar("T")


def marked(mark: str) -> list[psutil.Process]:
    """Every living process whose environment carries the mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def edited(folder: Path, years: float) -> Path:
    """A folder with targets.yaml and assets.csv as a user would have them, BACKFILL_YEARS changed."""
    folder.mkdir()
    shutil.copy(ROOT / "assets.csv", folder)
    text, count = re.subn(
        r"(?m)^(\s*BACKFILL_YEARS:\s*)[0-9.]+", rf"\g<1>{years}", (ROOT / "targets.yaml").read_text(encoding="utf-8")
    )
    assert count == 1
    (folder / "targets.yaml").write_text(text, encoding="utf-8")
    return folder


class Demo:
    """`triplane demo` with its output in files. Use as a context manager; whatever of it still runs at the end is killed."""

    def __init__(self, base: Path, *arguments: str, years: float = 0.0) -> None:
        """`years` of history instead of those of targets.yaml; 0 leaves them."""
        self.base = base
        self.directory = base / "demo"
        self.mark = uuid.uuid4().hex
        base.mkdir(parents=True, exist_ok=True)
        folder = edited(base / "files", years) if years else ROOT
        self._out, self._err = base / "out", base / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*LINE, "demo", "--directory", str(self.directory), *arguments],
                cwd=folder,
                env=environment(**{MARK: self.mark}),
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a terminal's foreground process group, which Ctrl-C reaches as a whole
            )

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for left in marked(self.mark):
            with contextlib.suppress(psutil.Error):
                left.kill()

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        """Standard error so far; with --json the lines for people."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    def words(self) -> str:
        """What helps to see why it failed."""
        logs = sorted((self.directory / "logs").glob("*.log"))
        tails = "".join(f"\n--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)
        return f"{self.out[-3000:]}\n{self.err[-3000:]}{tails}"

    def until(self, check: Callable[[], T | None], timeout: float, what: str) -> T:
        """First true answer while it runs."""

        def alive() -> T | None:
            answer = check()
            if not answer and self.process.poll() is not None:
                raise AssertionError(f"the demonstration ended with {self.process.returncode}, {what}: {self.words()}")
            return answer

        try:
            return eventually(alive, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.words()}") from None

    def said(self, words: str, timeout: float) -> None:
        """Wait for a line for people."""
        self.until(lambda: words in self.err + self.out, timeout, f"the line {words!r}")

    def outcome(self, timeout: float) -> dict[str, Any]:
        """The summary of --json, as soon as it is whole."""

        def whole() -> dict[str, Any] | None:
            try:
                document: dict[str, Any] = json.loads(self.out)
            except ValueError:
                return None
            return document

        return self.until(whole, timeout, "the summary")

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the process group of the terminal's foreground job."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, timeout: float = 60.0) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(timeout)

    def processes(self) -> dict[str, dict[str, Any]]:
        """What its supervisor says of each process, by name; empty while there is no supervisor."""
        try:
            document = json.loads((self.directory / "supervisor.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {each["name"]: each for each in document["processes"]}

    def pid(self, name: str) -> int:
        """Pid of a supervised process that is ready, else 0."""
        each = self.processes().get(name, {"state": "", "pid": 0})
        return int(each["pid"]) if each["state"] == "ready" else 0

    def another(self, name: str, than: int = 0, timeout: float = 60.0) -> int:
        """Pid of a supervised process as soon as it is ready and not `than`."""
        return self.until(lambda: pid if (pid := self.pid(name)) != than else 0, timeout, f"{name} is ready")

    def gateway(self) -> dict[str, Any]:
        """The paper gateway's /status; empty while it does not answer."""
        try:
            variables = json.loads((self.directory / "environment.json").read_text(encoding="utf-8"))
            answer: dict[str, Any] = loopback.get(f"{variables['TRIPLANE_GATEWAY_HTTP']}/status", 5.0).json()
        except (OSError, ValueError, httpx.HTTPError):
            return {}
        return answer

    def verb(self, *arguments: str, timeout: float = 90.0) -> Ran:
        """Another verb on this run's state directory."""
        return triplane(*arguments, cwd=ROOT, timeout=timeout, variables={"TRIPLANE_STATE_DIR": str(self.directory)})
