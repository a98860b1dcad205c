"""The paper gateway process: a SIMULATED broker on a TCP port that speaks the TWS wire protocol, with status and faults over HTTP.

`python -m triplane.paper.gateway --help` tells its options. Exit status: 0 after SIGINT or SIGTERM, 69 when a port is taken, 78 when
its inputs cannot be used, 2 for a wrong option.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from triplane.domain.problems import ProblemsError
from triplane.domain.timestamps import NEW_YORK, to_datetime
from triplane.paper.desk.journal import JournalError
from triplane.paper.market.prices import PricesError
from triplane.paper.protocol import messages as m
from triplane.paper.protocol.decoding import decode
from triplane.paper.protocol.requests import HistoricalData, StartApi
from triplane.paper.protocol.wire import SERVER_VERSION, WireError, parse_versions, read_body, split
from triplane.paper.server import faults, options
from triplane.paper.server.answers import Answers
from triplane.paper.server.client import Client
from triplane.paper.server.control_http import application
from triplane.paper.server.core import Core
from triplane.runtime import calendar_cache

UNAVAILABLE: Final = 69  # sysexits.h EX_UNAVAILABLE
CONFIG: Final = 78  # EX_CONFIG
HELLO_TIMEOUT_S: Final = 10.0
_NOTICES: Final = (
    (2104, "Market data farm connection is OK:simfarm"),
    (2106, "HMDS data farm connection is OK:simhmds"),
    (2158, "Sec-def data farm connection is OK:simsecdef"),
)


class PortTaken(RuntimeError):
    """A port that cannot be listened on."""


class Gateway:
    """Sockets around the core. `start`, then `stop`; in between `run_clock` lets market time pass."""

    def __init__(self, settings: options.Options) -> None:
        self.core = Core(settings)
        self.answers = Answers(self.core)
        self.port = 0
        self.http_port = 0
        self._server: asyncio.Server | None = None
        self._runner: web.AppRunner | None = None
        self._clock: asyncio.Task[None] | None = None
        self._hang: asyncio.Task[None] | None = None
        self._connections: set[Client] = set()
        self._handlers: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen, restore an earlier run, and let market time pass unless it is held. Raises PortTaken and JournalError."""
        o = self.core.options
        self._server = await _listening(asyncio.start_server(self._serve, o.host, o.port), o.host, o.port, "--port")
        self.port = self._server.sockets[0].getsockname()[1]
        self._runner = web.AppRunner(application(self.core, self), access_log=None, handle_signals=False)
        await self._runner.setup()
        http_host = o.host if o.host == "0.0.0.0" else "127.0.0.1"
        site = web.TCPSite(self._runner, http_host, o.http_port)
        await _listening(site.start(), http_host, o.http_port, "--http-port")
        self.http_port = self._runner.addresses[0][1]
        # Only one process may append: the ports are ours before the journal is opened.
        started_before = self.core.restore()
        if o.state_dir is not None:
            described = {
                "pid": os.getpid(),
                "host": o.host,
                "port": self.port,
                "http_port": self.http_port,
                "simulated": True,
            }
            draft = o.state_dir / "gateway.json.new"
            draft.write_text(json.dumps(described) + "\n", encoding="utf-8")
            draft.replace(o.state_dir / "gateway.json")
        # --hold is for a new run: one that was let go and then died goes on.
        if not o.hold or started_before:
            self.core.clock.start()
        self._clock = asyncio.create_task(self.core.clock.run())

    async def wait_clock(self) -> None:
        """Return when the last session is over; an error that stopped the clock is raised here."""
        assert self._clock is not None
        await asyncio.shield(self._clock)

    async def stop(self) -> None:
        """Close everything; orders stay as they are in the journal."""
        for task in (self._clock, self._hang):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._release()
        if self._server is not None:
            self._server.close()
        for client in list(self._connections):
            await client.close()
        if self._handlers:
            _, stuck = await asyncio.wait(self._handlers, timeout=2.0)
            for handler in stuck:
                handler.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
        self.core.journal.close()

    # --- connections ----------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(reader, writer)
        self._connections.add(client)
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                welcome = await self._welcome(client)
            if welcome:
                await self._converse(client)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, WireError, asyncio.CancelledError):
            pass  # the client went away, never spoke the protocol, or the gateway stops
        finally:
            self._handlers.discard(task)
            self._connections.discard(client)
            if self.core.clients.get(client.client_id) is client:
                del self.core.clients[client.client_id]
            await client.close()

    async def _welcome(self, client: Client) -> bool:
        """Handshake and START_API; False when the client is turned away."""
        if await client.reader.readexactly(4) != b"API\0":
            return False
        low, high = parse_versions(await read_body(client.reader))
        if not low <= SERVER_VERSION <= high:
            return False
        await self.core.alive.wait()
        client.send(m.hello(f"{to_datetime(self.core.clock.reading(), NEW_YORK):%Y%m%d %H:%M:%S %Z}"))
        request = decode(split(await read_body(client.reader)))
        if not isinstance(request, StartApi):
            return False
        await self.core.alive.wait()
        if request.client_id in self.core.clients:
            client.send(
                m.error(-1, 326, "Unable to connect as the client id is already in use. Retry with a unique client id.")
            )
            return False
        client.client_id = request.client_id
        client.told_from = self.core.now
        self.core.clients[request.client_id] = client
        client.send(m.managed_accounts(self.core.account.name) + m.next_valid_id(self.core.desk.next_order_id))
        client.send(b"".join(m.error(-1, code, text) for code, text in _NOTICES))
        return True

    async def _converse(self, client: Client) -> None:
        while True:
            body = await read_body(client.reader)
            await self.core.alive.wait()
            client.hear()
            try:
                request = decode(split(body))
            except WireError as error:
                client.send(m.error(-1, 320, f"Error reading request: {error}"))
                continue
            if isinstance(request, HistoricalData):
                await self._simulate(request)
            self.answers.answer(client, request)
            await client.drain()

    async def _simulate(self, request: HistoricalData) -> None:
        """Simulate the sessions that a request needs one at a time: years take seconds, and everybody else asks meanwhile."""
        history, contract = self.core.history, self.core.contracts.find(request.contract)
        if contract is None or not contract.priced:
            return  # it is refused, or its days are no sessions of the simulated market
        for day in history.unknown(request.bar_size, request.duration, request.end, self.core.now):
            history.daily(day)
            await asyncio.sleep(0)

    # --- faults ---------------------------------------------------------------------------------------------------------------

    async def inject(self, body: Mapping[str, Any]) -> None:
        """Carry out or arm a fault of faults.py. Raises FaultError."""
        core = self.core
        kind = faults.kind_of(body)
        match kind:
            case "drop":
                for client in list(self._connections):
                    client.abort()
            case "hang":
                seconds = faults.number(body, "seconds", 5.0, 0.0, 3600.0)
                if self._hang is not None:
                    self._hang.cancel()
                self._hang = asyncio.create_task(self._hang_for(seconds))
            case "stall":
                seconds = faults.number(body, "seconds", 5.0, 0.01, 3600.0)
                for client in self._connections:
                    client.stall_s = seconds
            case "notice":
                error = faults.injected(body)
                for client in list(core.clients.values()):
                    client.send(m.error(-1, error.code, error.text))
            case "next_valid_id":
                back = faults.number(body, "back", 10, 0, 1e9)
                value = faults.number(body, "value", max(core.desk.next_order_id - back, 1), 1, 2**31 - 1)
                core.desk.next_order_id = int(value)
            case _:
                core.faults.arm(body, core.costs.keys())
        core.journal.append("fault", core.now, fault=dict(body))

    async def _hang_for(self, seconds: float) -> None:
        self.core.alive.clear()
        for client in self._connections:
            client.hold(True)
        await asyncio.sleep(seconds)
        self._release()

    def _release(self) -> None:
        for client in self._connections:
            client.hold(False)
        self.core.alive.set()


async def _listening(starting: Any, host: str, port: int, flag: str) -> Any:
    try:
        return await starting
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise PortTaken(f"cannot listen on {host}:{port} ({error.strerror}); choose another {flag}") from None
        raise PortTaken(
            f"port {port} on {host} is in use; stop the process that has it, or choose another {flag} where you start it by hand"
        ) from None


async def serve(settings: options.Options) -> None:
    """Run until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(settings)
    try:
        await gateway.start()
        o = settings
        print(
            f"paper gateway, SIMULATED market: TWS {o.host}:{gateway.port}, HTTP 127.0.0.1:{gateway.http_port}, account {o.account}, "
            f"{o.sessions} sessions from {o.start}, seed {o.seed}{', clock held' if o.hold else ''}",
            flush=True,
        )
        stopping = asyncio.create_task(stop.wait())
        clock = asyncio.create_task(gateway.wait_clock())
        await asyncio.wait((stopping, clock), return_when=asyncio.FIRST_COMPLETED)
        if clock.done():
            clock.result()
        await stopping
    finally:
        await gateway.stop()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    calendar_cache.install()
    settings = options.parse(argv)
    try:
        asyncio.run(serve(settings))
    except PortTaken as error:
        print(f"error: {error}", file=sys.stderr)
        return UNAVAILABLE
    except (ProblemsError, PricesError, JournalError, options.OptionsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return CONFIG
    return 0


if __name__ == "__main__":
    sys.exit(main())
