"""The daemon shell in real processes: health, single instance, taken ports, signals, exit codes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from triplane.runtime import loopback

SCRIPT = """
import asyncio, contextlib, logging, os, resource, sys, time
from pathlib import Path
from triplane.runtime import atomic_file
from triplane.runtime.daemon import Daemon, run
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.settings import Settings

lingering = []

async def main(daemon: Daemon) -> None:
    daemon.metrics.gauge("triplane_probe", "A value").set(3)
    await daemon.serve()
    if "fail" in sys.argv:
        raise DaemonExit("the gateway is in live mode; set TRIPLANE_MODE=live", 78)
    if "crash" in sys.argv:
        raise ValueError("a bug")
    if "library" in sys.argv:
        logging.getLogger("a.library").info("chatter")
        logging.getLogger("a.library").warning("Error %d, reqId %d: lost", 1100, -1)
    if "full" in sys.argv:
        raise OSError(28, "No space left on device")
    if "large" in sys.argv:
        usual = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, usual[1]))
        try:
            atomic_file.write(Path(os.environ["TRIPLANE_STATE_DIR"]) / "big", bytes(200))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)  # for what measures coverage
    if "broken" in sys.argv:
        raise OSError(5, "Input/output error")
    if "folder" in sys.argv:
        open(os.environ["TRIPLANE_STATE_DIR"], "ab")
    if "linger" in sys.argv:  # as a client library does whose broker stands still
        async def deaf() -> None:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)
        lingering.append(asyncio.ensure_future(deaf()))
        asyncio.ensure_future(asyncio.to_thread(time.sleep, 3600))
    if "late" in sys.argv:
        daemon.end_s = 0.2
        await asyncio.sleep(3600)
    daemon.ready(True)
    await daemon.stop.wait()
    print("wound down", flush=True)

sys.exit(run("probe", Settings(), main))
"""


def start(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    import os

    env = {**os.environ, "TRIPLANE_STATE_DIR": str(tmp_path), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_http(tmp_path: Path, process: subprocess.Popen[str]) -> str:
    path = tmp_path / "run" / "probe.json"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists():
            document = json.loads(path.read_text())
            if document["pid"] == process.pid:
                return document["http"]
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.02)
    raise AssertionError("the daemon did not serve")


def eventually_ready(url: str) -> httpx.Response:
    deadline = time.monotonic() + 10
    while True:
        answer = loopback.get(url + "/readyz", 5.0)
        if answer.status_code == 200 or time.monotonic() > deadline:
            return answer
        time.sleep(0.02)


@pytest.mark.parametrize(("how", "words"), [("linger", "wound down\n"), ("late", "")])
def test_nothing_that_a_library_waits_for_keeps_the_process(tmp_path, how, words):
    """Neither a task that takes no cancel, nor a thread, nor `main` itself beyond the seconds it asked for."""
    process = start(tmp_path, how)
    wait_http(tmp_path, process)
    began = time.monotonic()
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, words), err
    assert "Traceback" not in err
    assert "was destroyed" not in err
    assert time.monotonic() - began < 8


def test_what_a_library_logs_is_a_structured_line_like_ours(tmp_path):
    """A raw line would be taken for a sentence to people, and told on the terminal of `up`."""
    process = start(tmp_path, "library")
    wait_http(tmp_path, process)
    process.terminate()
    _, err = process.communicate(timeout=20)
    (line,) = [json.loads(text) for text in err.splitlines() if "a.library" in text]
    assert line.pop("timestamp")
    assert line == {"event": "Error 1100, reqId -1: lost", "level": "warning", "logger": "a.library"}
    assert "chatter" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_health_and_metrics_and_winds_down(tmp_path, number):
    process = start(tmp_path)
    url = wait_http(tmp_path, process)
    assert eventually_ready(url).json() == {"ready": True, "reason": ""}
    assert loopback.get(url + "/healthz", 5.0).status_code == 200
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 5) as raw:
        raw.sendall(b"GET / HTTP/9.9\r\n\r\n")
        assert b" 400 " in raw.recv(200)
    metrics = loopback.get(url + "/metrics", 5.0).text
    assert "triplane_probe 3.0" in metrics
    assert "triplane_disk_free_bytes" in metrics
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "wound down" in out


def test_second_instance_exits_78_with_one_sentence(tmp_path):
    first = start(tmp_path)
    try:
        eventually_ready(wait_http(tmp_path, first))
        second = start(tmp_path)
        _, err = second.communicate(timeout=20)
        assert second.returncode == 78
        assert "probe is already running" in err
        assert "Traceback" not in err
    finally:
        first.terminate()
        first.communicate(timeout=10)


def test_lock_is_free_again_after_sigkill(tmp_path):
    first = start(tmp_path)
    eventually_ready(wait_http(tmp_path, first))
    first.kill()
    first.communicate(timeout=10)
    second = start(tmp_path)
    eventually_ready(wait_http(tmp_path, second))
    second.terminate()
    second.communicate(timeout=10)
    assert second.returncode == 0


def test_taken_port_is_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(tmp_path, TRIPLANE_HTTP_PORT=str(port))
        _, err = process.communicate(timeout=20)
    assert process.returncode == 78
    assert f"127.0.0.1:{port} cannot be listened on" in err
    assert "TRIPLANE_HTTP_PORT=0" in err


@pytest.mark.parametrize(
    ("argument", "code", "sentence"),
    [
        ("fail", 78, "set TRIPLANE_MODE=live"),
        ("crash", 70, "ValueError: a bug"),
        ("full", 69, "is full; free space there"),
        (
            "large",
            69,
            "/big cannot be written (File too large): raise the limit on the size of files (`ulimit -f`), then",
        ),
        ("broken", 69, "a file of "),
        ("folder", 78, ": Is a directory; mend that path, then start again"),
    ],
)
def test_failures_are_one_sentence_and_a_code(tmp_path, argument, code, sentence):
    process = start(tmp_path, argument)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert sentence in err
    assert "Traceback" not in err
