"""The order plane's way to the broker: connect, keep alive, reconnect with backoff, send.

One fixed client id. At start-up an id in use ends the daemon (exit 78); at a reconnect the gateway may still hold our own dead
socket, so it is waited for, with an alert. What the broker says goes to `deliver` in the order in which it came, including
`connected` and `disconnected`, between which the service decides what may be sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from order_plane.daemon.contract_check import ContractCheck
from triplane.broker import orders, snapshot
from triplane.broker.orders import OrderRequest
from triplane.broker.reports import Report
from triplane.broker.session import BrokerSession, BrokerUnavailable, ClientIdInUse, WrongAccount
from triplane.broker.snapshot import Snapshot
from triplane.runtime.exit_codes import CONFIG, DaemonExit
from triplane.runtime.settings import Settings

# Wall seconds. A gateway answers a time request in milliseconds; it is restarted nightly for some minutes.
HEARTBEAT_S = 1.0
HEARTBEAT_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 10.0
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
# A gateway may need a moment to notice that the process before this one is dead and to free the client id.
ID_GRACE_S = 3.0
SAME_CLOCK_NS = 3_600_000_000_000


class BrokerLink:
    """Keeps one BrokerSession connected. `deliver` is called on the event loop and must not block."""

    def __init__(self, settings: Settings, deliver: Callable[[Report], None], log: Any) -> None:
        self._settings = settings
        self._log = log
        self.session = BrokerSession(reports=deliver, max_requests=0)
        self.contracts = ContractCheck(self.session, log)
        self.attempts = 0
        self.connections = 0
        self.round_trip = float("nan")
        """Wall seconds of the last answered heartbeat."""
        self.last_answer = 0.0
        """time.monotonic() of the last answered heartbeat."""
        self.problem = "not connected yet"
        self.wall_clock_market = False
        """True when the broker's clock is the machine's: then wall time is market time. The paper gateway's is its own."""

    @property
    def up(self) -> bool:
        """Socket open, no 1100/2110 in force, and the gateway answered recently."""
        return (
            self.session.is_connected
            and self.session.link.up
            and time.monotonic() - self.last_answer < HEARTBEAT_S + HEARTBEAT_TIMEOUT_S
        )

    async def connect_first(self, stop: asyncio.Event, tell: Callable[[str], None]) -> None:
        """Connect for the first time, however long the gateway takes to appear; `tell` gets what is in the way.

        Raises DaemonExit on 326 or a wrong account.
        """
        refused_since = 0.0
        while not stop.is_set():
            try:
                await self._connect()
                return
            except ClientIdInUse as error:
                refused_since = refused_since or time.monotonic()
                if time.monotonic() - refused_since > ID_GRACE_S:
                    raise DaemonExit(str(error), CONFIG) from None
                tell(str(error))
                await self._pause(error, stop)
            except BrokerUnavailable as error:
                tell(str(error))
                await self._pause(error, stop)

    async def keep(self, stop: asyncio.Event) -> None:
        """Heartbeats while connected, reconnects when not, until `stop` is set. Raises DaemonExit on a wrong account."""
        while not stop.is_set():
            if self.session.is_connected:
                await self._watch(stop)
                continue
            try:
                await self._connect()
            except (BrokerUnavailable, ClientIdInUse) as error:
                await self._pause(error, stop)

    async def _connect(self) -> None:
        self.attempts += 1
        settings = self._settings
        try:
            await self.session.connect(
                settings.gateway_host,
                settings.gateway_port,
                settings.order_client_id,
                settings.account,
                CONNECT_TIMEOUT_S,
            )
            theirs = await self.session.server_time(HEARTBEAT_TIMEOUT_S)
        except WrongAccount as error:
            raise DaemonExit(str(error), CONFIG) from None
        except BrokerUnavailable:
            await self.session.close()
            raise
        self.wall_clock_market = abs(theirs - time.time_ns()) < SAME_CLOCK_NS
        self.last_answer = time.monotonic()
        self.attempts = 0
        self.connections += 1
        self.problem = ""
        self._log.info("broker connected", account=settings.account, client_id=settings.order_client_id)

    async def _pause(self, error: Exception, stop: asyncio.Event) -> None:
        delay = BACKOFF_S[min(self.attempts - 1, len(BACKOFF_S) - 1)]
        if str(error) != self.problem:
            self._log.warning("broker not connected", error=str(error), code=type(error).__name__)
        self.problem = str(error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await stop.wait()

    async def _watch(self, stop: asyncio.Event) -> None:
        """One heartbeat, then wait for the next, a disconnect or the stop."""
        try:
            self.round_trip = await self.session.heartbeat(HEARTBEAT_TIMEOUT_S)
            self.last_answer = time.monotonic()
            await self.contracts.ask()
        except BrokerUnavailable as error:
            self.problem = str(error)
            self._log.warning("broker does not answer; reconnecting", error=str(error))
            await self.session.close()
            return
        ended = asyncio.ensure_future(self.session.disconnected.wait())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({ended, stopped}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            stopped.cancel()

    async def snapshot(self, timeout: float) -> Snapshot:
        """What the broker knows now; incomplete rather than wrong."""
        return await snapshot.take(self.session, timeout)

    def place(self, order_id: int, request: OrderRequest) -> None:
        """Write one order to the socket; see triplane.broker.orders."""
        orders.place(self.session, order_id, request)

    def cancel(self, order_id: int) -> None:
        """Ask to cancel one order."""
        orders.cancel(self.session, order_id)

    def global_cancel(self) -> None:
        """Ask to cancel everything on the account."""
        orders.global_cancel(self.session)

    async def close(self) -> None:
        """Disconnect."""
        await self.session.close()
