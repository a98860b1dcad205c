"""Small real programs for the supervisor's tests."""

from __future__ import annotations

import sys
from pathlib import Path

from triplane.stack.specs import ProcessSpec

SERVES = """
import http.server, json, os, pathlib, sys, threading
state, name = pathlib.Path(sys.argv[1]), sys.argv[2]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = not (state / f"{name}.unready").exists()
        body = json.dumps({"ready": ready, "reason": "" if ready else "waiting for bars"}).encode()
        self.send_response(200 if ready else 503); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
(state / "run").mkdir(exist_ok=True)
temporary = state / "run" / f"{name}.tmp"
temporary.write_text(json.dumps({"pid": os.getpid(), "started": 0.0, "http": f"http://127.0.0.1:{server.server_port}"}))
temporary.rename(state / "run" / f"{name}.json")
with open(state / "order.txt", "a") as order: order.write(f"start {name}\\n")
import signal
def stop(*_):
    with open(state / "order.txt", "a") as order: order.write(f"stop {name}\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
server.serve_forever()
"""
"""A daemon as the planes are: writes its run file, answers /readyz, ends at SIGTERM, notes when it starts and stops."""

STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""
"""Ignores SIGTERM and has a child that does too."""

PARTNER = """
import pathlib, signal, sys
state, name, mode = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def stop(*_):
    open(state / "rendezvous", mode).close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
(state / f"{name}.ready").touch()
while True: signal.pause()
"""
"""At SIGTERM it opens the FIFO `rendezvous`, to read ("r") or to write ("w"), which lasts until its partner does the other."""


def python(name: str, code: str, *arguments: str, **more: object) -> ProcessSpec:
    """A process that runs a Python text."""
    return ProcessSpec(name=name, argv=[sys.executable, "-c", code, *arguments], **more)  # type: ignore[arg-type]


def daemon(state: Path, name: str, **more: object) -> ProcessSpec:
    """A well-behaved daemon."""
    return python(name, SERVES, str(state), name, **more)


def exists(path: Path) -> str:
    """A readiness check: the file is there."""
    return "" if path.exists() else f"{path.name} is not there"
