"""One child process: own session and process group, output in a file, dies with its parent, stopped by its own pid."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from triplane.runtime.process_identity import start_time
from triplane.stack.errors import StackError

TETHER = Path(__file__).with_name("tether.py")
_CHATTER = re.compile(r"(\S+|\[?\d{4}-\S+ \d\S+) (INFO|DEBUG|TRACE|WARN|WARNING) ")
_LOGGED = re.compile(r"\d{4}-\S+ \d\S+ (ERROR|FATAL) +\[[^\]]*\] \([^)]*\) (.+)")
"""What Quarkus says, between where and when."""
GRACE_S = 10.0
"""Wall seconds between SIGTERM and SIGKILL (reference/streaming.md, section 6)."""


class Child:
    """A started program. `pid` is also the number of its process group."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        tether: str = "auto",
        niceness: int = 0,
    ) -> None:
        """Start `argv`; its output is appended to `log_path`. `env` replaces the environment. `niceness` as for nice(1), 0 to 19.

        `tether` is how it dies with this process: `kernel` (Linux, and only while the calling thread lives), `pipe`, or
        `auto`: the kernel from the main thread on Linux, else the pipe.
        """
        self.name = name
        self.log_path = log_path
        if tether == "auto":
            main = threading.current_thread() is threading.main_thread()
            tether = "kernel" if sys.platform == "linux" and main else "pipe"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            log = open(log_path, "ab")  # noqa: SIM115  its failure has another cause than the program's
        except OSError as error:
            raise StackError(
                f"{name} cannot be started: {log_path}: {error.strerror or error}; mend that path"
            ) from None
        read_end, self._pipe = os.pipe() if tether == "pipe" else (-1, -1)
        try:
            with log:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), str(read_end), str(niceness), *argv],
                    stdin=subprocess.PIPE,  # never written: its end tells a container that nobody is left
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=dict(env) if env is not None else None,
                    cwd=cwd,
                    start_new_session=True,
                    pass_fds=() if read_end < 0 else (read_end,),
                )
        except OSError as error:
            raise StackError(f"{name} cannot be started ({error.strerror or error}); check {argv[0]}") from None
        finally:
            if read_end >= 0:
                os.close(read_end)
        self.pid = self._process.pid
        self.started = start_time(self.pid) or 0.0

    def poll(self) -> int | None:
        """Exit code (negative: the signal that ended it), or None while it runs. At its end its group is cleared."""
        if self._process.returncode is None:
            if not self._has_ended():
                return None
            self._clear()
        return self._normal(self._process.returncode)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raises subprocess.TimeoutExpired."""
        code = self._process.wait(timeout)
        self._close_pipe()
        return self._normal(code)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL the program and whatever it left in its group, and reap it. Nothing happens when it has been reaped."""
        if self._process.returncode is None:
            self._clear()

    def stop(self, grace: float = GRACE_S) -> int:
        """SIGTERM, wait up to `grace` seconds, then SIGKILL. Returns the exit code. Safe to call twice."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace
        pause = threading.Event()
        while self.poll() is None and time.monotonic() < deadline:
            pause.wait(0.01)
        self.kill()
        return self._normal(self._process.returncode)

    def tail(self, lines: int = 5) -> list[str]:
        """The last non-empty lines of its output, with their indentation."""
        try:
            text = self.log_path.read_bytes()[-16_384:].decode("utf-8", "replace")
        except OSError:
            return []
        return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]

    def last_words(self) -> str:
        """The last line of its output that stands flush left: the indented ones are the inside of a trace. May be empty.

        What a Java program logs on its way down, at levels up to WARN, comes after its reason.
        """
        lines = [line for line in reversed(self.tail(200)) if line[:1].strip()]
        last = next((line for line in lines if not _CHATTER.match(line)), lines[0] if lines else "")
        logged = _LOGGED.match(last)
        return logged[2] if logged else last

    def _has_ended(self) -> bool:
        # Not reaped yet: until then its number, which is also its group's, cannot be given to another process.
        if hasattr(os, "waitid"):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return self._process.poll() is not None

    def _clear(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    @staticmethod
    def _normal(code: int) -> int:
        # The pipe form of the tether reports a signal as a shell does.
        return 128 - code if 128 < code < 160 else code
