"""The shell that every daemon runs in: one instance, signals, health, metrics, logs, exit codes.

A daemon is a coroutine that gets a Daemon. It ends by returning, by SIGTERM or SIGINT (`daemon.stop` is set and the coroutine
winds down), or by raising DaemonExit with one sentence and a code.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web
from filelock import FileLock, Timeout
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from triplane.runtime import calendar_cache, exit_codes, garbage, run_file
from triplane.runtime.event_loop import EventLoop
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.interruption import when_asked_to_end
from triplane.runtime.kafka_in import LogUnavailable
from triplane.runtime.kafka_out import DeliveryError, TooLargeError
from triplane.runtime.settings import Settings, from_environment
from triplane.runtime.tasks import end_tasks
from triplane.runtime.telemetry import Metrics, configure_logging

CAUSE_S = 0.8
"""Wall seconds that a daemon which is not ready looks for the cause: whoever asks about readiness waits two."""


class Daemon:
    """What a running daemon has at hand."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.log: structlog.stdlib.BoundLogger = structlog.get_logger().bind(daemon=name)
        self.metrics = Metrics()
        self.metrics.watch_disk(settings.state_dir)
        self.stop = asyncio.Event()
        self.routes = web.RouteTableDef()
        """Further HTTP handlers; add them before `serve` is called."""
        self.probe: Callable[[], Awaitable[str]] | None = None
        """Asked by each /readyz: why the daemon is not ready at this very moment, or an empty text."""
        self.end_s = 8.0
        """Wall seconds that `main` has for its own end after `stop`; then it is cancelled."""
        self.http_url = ""
        self._ready = False
        self._reason = "starting"
        self._unhealthy = ""
        self.was_ready = asyncio.Event()
        """Set when it is ready for the first time."""
        self._runner: web.AppRunner | None = None

    def ready(self, ready: bool, reason: str = "") -> None:
        """Say whether /readyz answers 200, and why not."""
        if (ready, reason) != (self._ready, self._reason):
            self.log.info("ready" if ready else "not ready", reason=reason)
        self._ready, self._reason = ready, reason
        if ready:
            self.was_ready.set()

    @property
    def reason(self) -> str:
        """Why it is not ready, as it was told last."""
        return self._reason

    def unhealthy(self, reason: str) -> None:
        """Make /healthz answer 503 with the reason; an empty reason makes it 200 again."""
        self._unhealthy = reason

    async def serve(self) -> None:
        """Serve /metrics, /healthz, /readyz and `routes`; writes state_dir/run/<name>.json. Raises DaemonExit on a taken port."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_routes(self.routes)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)  # nobody's slow request delays the end
        await self._runner.setup()
        host, port = self.settings.http_host, self.settings.http_port
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise DaemonExit(
                f"{host}:{port} cannot be listened on ({why}); "
                "stop what uses it, set TRIPLANE_HTTP_PORT=0 for a free port, or correct TRIPLANE_HTTP_HOST"
            ) from None
        bound = self._runner.addresses[0][1]
        self.http_url = f"http://{host}:{bound}"
        run_file.write(self.settings.state_dir, self.name, self.http_url)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"ok": not self._unhealthy, "reason": self._unhealthy}, status=503 if self._unhealthy else 200
        )

    async def _readyz(self, _: web.Request) -> web.Response:
        ready, reason = self._ready, self._reason
        if self.probe is not None:
            if ready:
                reason = await self.probe()
                ready = not reason
            else:
                reason = await self._cause(reason, self.probe)
        return web.json_response({"ready": ready, "reason": reason}, status=200 if ready else 503)

    async def _cause(self, reason: str, probe: Callable[[], Awaitable[str]]) -> str:
        """`reason` with what the probe finds, where it finds something in time: the cause of what is waited for, or newer numbers."""
        found = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CAUSE_S):
                found = await probe()
        if not found:
            return reason
        same = reason.partition(":")[0] in ("", found.partition(":")[0])
        return found if same else f"{reason}; {found}"

    async def close(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()


def say(text: str) -> None:
    """A line for people on stderr; lost where its disk is full."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


async def _run(name: str, settings: Settings, main: Callable[[Daemon], Awaitable[None]]) -> None:
    daemon = Daemon(name, settings)
    # ib_insync's event library asks the policy, not the running loop.
    asyncio.set_event_loop(asyncio.get_running_loop())
    when_asked_to_end(daemon.stop.set)
    garbage.postpone()
    collecting = asyncio.ensure_future(garbage.keep_settled(daemon.was_ready))
    task = asyncio.ensure_future(main(daemon))
    stop = asyncio.ensure_future(daemon.stop.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(daemon.end_s):
                    await asyncio.shield(task)
        if not task.done():
            await end_tasks([task])
        if task.done() and not task.cancelled():
            task.result()
    finally:
        stop.cancel()
        collecting.cancel()
        await daemon.close()


def lock_path(settings: Settings, name: str) -> Path:
    """The file that a daemon locks while it runs."""
    return settings.state_dir / f"{name}.lock"


def lock(settings: Settings, name: str) -> FileLock:
    """Take the daemon's single-instance lock; DaemonExit when another instance holds it."""
    path = lock_path(settings, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise DaemonExit(
            f"{name} is already running on {settings.state_dir} (it holds {path.name}); stop it first with `triplane down`"
        ) from None
    return held


def run(name: str, settings: Settings | None, main: Callable[[Daemon], Awaitable[None]], *, single: bool = True) -> int:
    """Run a daemon to its end and return the process's exit code. `main` should end soon after `daemon.stop` is set.

    Without settings those of the environment apply. One sentence goes to stderr for every end that is not orderly; a traceback only at log level DEBUG.
    """
    try:
        settings = settings or from_environment()
    except DaemonExit as ending:
        say(f"{name}: {ending}")
        return ending.code
    try:
        Path(settings.state_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        say(
            f"{name}: the state directory {settings.state_dir} cannot be made ({error.strerror}); "
            "correct TRIPLANE_STATE_DIR or the folder's permissions"
        )
        return exit_codes.CONFIG
    configure_logging(settings.log_level)
    calendar_cache.install()
    loop = EventLoop()
    code = _code(name, settings, lambda: _locked(name, settings, single, lambda: loop.run(_run(name, settings, main))))
    if loop.lingering:
        # All that `main` had to deliver is delivered or given up; only a library's own goodbye is cut short.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    return code


def _locked(name: str, settings: Settings, single: bool, work: Callable[[], None]) -> None:
    held = lock(settings, name) if single else None
    try:
        work()
    finally:
        if held is not None:
            held.release()


_UNWRITTEN: Final = {
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`)",
    errno.EIO: "the system log says what is wrong with that disk",
}
"""What to do about a file that takes no more."""


def _code(name: str, settings: Settings, work: Callable[[], None]) -> int:
    """Do the work; the exit code of how it ended, said in one sentence where that was not orderly."""
    try:
        work()
    except DaemonExit as ending:
        say(f"{name}: {ending}")
        return ending.code
    except (DeliveryError, LogUnavailable) as error:  # Kafka's trouble, in a sentence already
        say(f"{name}: {error}")
        return exit_codes.SOFTWARE if isinstance(error, TooLargeError) else exit_codes.UNAVAILABLE
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        touched = isinstance(error, IsADirectoryError | NotADirectoryError | PermissionError)
        if (touched or error.errno == errno.EROFS) and error.filename:
            say(f"{name}: {error.filename}: {error.strerror}; mend that path, then start again")
            return exit_codes.CONFIG
        if error.errno in _UNWRITTEN:
            file = error.filename or f"a file of {settings.state_dir}"
            say(f"{name}: {file} cannot be written ({error.strerror}): {_UNWRITTEN[error.errno]}, then start again")
            return exit_codes.UNAVAILABLE
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            say(f"{name}: {type(error).__name__}: {error}")
            return exit_codes.SOFTWARE
        say(f"{name}: the disk of {settings.state_dir} is full; free space there, then start again")
        return exit_codes.UNAVAILABLE
    except Exception as error:  # the last line of defence: say it in one sentence, let the supervisor restart
        say(f"{name}: {type(error).__name__}: {error}")
        if settings.log_level.upper() == "DEBUG":
            traceback.print_exc()
        return exit_codes.SOFTWARE
    return exit_codes.OK
