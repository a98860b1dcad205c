"""What `triplane doctor` says of a daemon that does not answer at once: late, hanging, and stopped are told apart."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from triplane.cli import doctor, status
from triplane.cli.finding import Finding
from triplane.runtime import atomic_file, run_file
from triplane.runtime.process_identity import start_time
from triplane.runtime.settings import Settings

SHORT_S = 0.1


@pytest.fixture
def silent() -> Iterator[str]:
    """An address whose connections are taken and never answered, as those of a process that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def found(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Finding:
    monkeypatch.setattr(status, "ASKED_S", SHORT_S)
    (finding,) = doctor._daemons(Settings(state_dir=state_dir))
    return finding


def test_a_daemon_that_answers_late_once_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = threading.Event()
    asked: list[str] = []

    class Late(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if len(asked) == 1:
                second.wait(30)  # the first who asks has long gone
                return
            second.set()
            body = b'{"ready": true, "reason": ""}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Late) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            run_file.write(tmp_path, "data", f"http://127.0.0.1:{server.server_port}")
            finding = found(tmp_path, monkeypatch)
        finally:
            second.set()
            server.shutdown()
            serving.join()
    assert asked == ["/readyz", "/readyz"]
    assert finding.state == "warning"  # the verb's exit code stays 0
    assert "ready on" in finding.found
    assert "late" in finding.found
    assert "kill" not in finding.remedy


def test_a_daemon_that_hangs_is_not_said_to_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    monkeypatch.setattr(doctor, "PATIENCE_S", 2 * SHORT_S)
    run_file.write(tmp_path, "data", silent)
    finding = found(tmp_path, monkeypatch)
    assert finding.state == "problem"
    assert f"pid {os.getpid()} runs, and was asked twice: {silent} does not answer within 0.2 s" in finding.found
    assert "hangs or is very slow" in finding.remedy
    assert "-CONT" not in finding.remedy


def test_a_stopped_daemon_is_to_be_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
    try:
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        running = run_file.RunFile(process.pid, start_time(process.pid) or 0.0, silent)
        atomic_file.write_json(run_file.path_of(tmp_path, "data"), asdict(running))
        finding = found(tmp_path, monkeypatch)
    finally:
        process.kill()
        process.wait()
    assert finding.state == "problem"
    assert f"pid {process.pid} is stopped" in finding.found
    assert f"kill -CONT {process.pid}" in finding.remedy
