"""`python -m tests.prefork_server LISTENER ADDRESS LOCK`: loads what daemons and commands are made of, and forks one for each who asks.

One connection is one process: a line asks for it, one answers with its `pid`, one tells its exit `code`. A client that goes away takes its
processes with it, and the server ends with its last connection. One thread, so that what is forked holds nobody's lock.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock

from triplane.runtime import garbage, numerics

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


def main(listener: socket.socket, address: Path, lock: FileLock) -> None:
    """Serve until nobody is connected any more."""
    numerics.pin()
    garbage.loading()
    for module in LOADED:
        importlib.import_module(module)
    # Set aside: a daemon's collections walk none of it, and so none of its pages is copied for them.
    garbage.settle()
    garbage.usual()
    server = _Server(listener)
    while True:
        server.serve()
        with lock:  # whoever wants a server asks under it: one that came meanwhile is served
            if not server.is_asked():
                address.unlink(missing_ok=True)
                return


class _Server:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._children: dict[int, socket.socket] = {}
        self._connections: dict[socket.socket, int | None] = {}
        self._woken, self._wakes = socket.socketpair()
        for end in (self._woken, self._wakes, listener):
            end.setblocking(False)
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # a terminal sends it to all: the tests end, and with them the connections
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakes.fileno())
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def serve(self) -> None:
        """Until the last connection has gone."""
        connected = False
        while self._connections or not connected:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    connected |= self._accept()
                elif key.fileobj is self._woken:
                    self._woken.recv(4096)
                    self._reap()
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._hear(key.fileobj)

    def is_asked(self) -> bool:
        """Whether somebody waits to be connected."""
        return self._accept()

    def _accept(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return False
        connection.setblocking(True)
        self._connections[connection] = None
        self._selector.register(connection, selectors.EVENT_READ)
        return True

    def _hear(self, connection: socket.socket) -> None:
        """A request, or the end of who asked."""
        if connection not in self._connections:  # told of its end in this same round
            return
        line = b""
        with contextlib.suppress(ConnectionError):
            while not line.endswith(b"\n") and (part := connection.recv(1 << 16)):
                line += part
        if line:
            child = self._fork(json.loads(line))
            self._connections[connection] = child
            self._children[child] = connection
            self._tell(connection, pid=child)
            return
        child_of = self._forget(connection)
        if child_of is not None:
            os.kill(child_of, signal.SIGKILL)  # not reaped yet, so the number is its own

    def _fork(self, asked: dict[str, Any]) -> int:
        child = os.fork()
        if not child:
            self._leave()
            _run(asked)
        return child

    def _leave(self) -> None:
        """In what was forked: nothing of the server stays."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        for end in (self._listener, self._woken, self._wakes, *self._connections):
            end.close()

    def _reap(self) -> None:
        while True:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not child:
                return
            connection = self._children.pop(child, None)
            if connection is not None:
                self._tell(connection, code=os.waitstatus_to_exitcode(status))
                self._forget(connection)

    def _tell(self, connection: socket.socket, **words: int) -> None:
        with contextlib.suppress(ConnectionError):
            connection.sendall(json.dumps(words).encode() + b"\n")

    def _forget(self, connection: socket.socket) -> int | None:
        self._selector.unregister(connection)
        connection.close()
        child = self._connections.pop(connection)
        if child is not None:
            self._children.pop(child, None)
        return child


def _run(asked: dict[str, Any]) -> NoReturn:
    """Be that program, to its end."""
    code = 1
    try:
        for number, path in ((1, asked["output"]), (2, asked["errors"])):
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(file, number)
            os.close(file)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv = [asked["module"], *asked["arguments"]]
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            threading._shutdown()  # type: ignore[attr-defined]  # waits for its threads, as an interpreter does
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    number, where, lock_file = sys.argv[1:]
    main(socket.socket(fileno=int(number)), Path(where), FileLock(lock_file))
