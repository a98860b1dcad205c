"""One connection to a TWS or IB Gateway, real or paper.

`BrokerSession` connects without the client library's start-up burst (its missing end markers would fail or delay the connect) and
checks whom it is connected to. Reports leave it in the order in which the broker sent them. Nothing here knows what a report means.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from triplane.broker import reports
from triplane.broker.callbacks import FARM_OK, RawIB
from triplane.broker.client_library import LIBRARY
from triplane.broker.reports import Report
from triplane.domain.timestamps import from_datetime

# Order ids and request ids share one number space in error messages. Requests of this module start here, far above any order id
# that an account reaches, so that an error can be told to be about an order.
FIRST_REQUEST_ID = 2_000_000_000

CLIENT_ID_IN_USE = 326
LINK_LOST = frozenset({1100, 2110})
LINK_RESTORED = frozenset({1101, 1102})
FARM_BROKEN = frozenset({2103, 2105, 2157})

READ_BYTES = 16_384
"""Of one read from the socket, some 300 ticks: a burst is worked off in pieces, and the event loop serves others in between. asyncio's
own 256 KiB hold it for a tenth of a second and more, the longer because the client library copies what is left of them at each message."""

LOOK_S, LOOK_MAX_S = 0.25, 0.5
"""Wall seconds between two looks for an answer, and what one look counts for at most."""


class BrokerError(RuntimeError):
    """The broker connection cannot be used; the sentence says why and what to do."""


class BrokerUnavailable(BrokerError):
    """Nobody answers, or the connection ended."""


class ClientIdInUse(BrokerError):
    """Error 326: another program, or an earlier instance of this one, holds the client id."""


class WrongAccount(BrokerError):
    """The login does not manage exactly the one account that was named."""


class RequestFailed(BrokerError):
    """The broker answered a request with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"the broker refused a request: error {code}: {text}")
        self.code = code


@dataclass(slots=True)
class Link:
    """State of the way to the broker's servers, as its notices tell it."""

    socket: bool = False
    servers: bool = True
    """False between 1100 or 2110 and 1101 or 1102."""
    farms_broken: bool = False
    data_lost: bool = False
    """True after 1101: subscriptions are gone and have to be made again. Who has made them sets it to False."""

    @property
    def up(self) -> bool:
        """Orders may be sent as far as the link is concerned."""
        return self.socket and self.servers


@dataclass(slots=True)
class _Request:
    rows: list[Any] = field(default_factory=list)
    done: asyncio.Future[list[Any]] | None = None


class BrokerSession:
    """One client id's connection. Use it on one event loop only.

    `reports`: receives each order, execution, commission, position and error message as OrderEvent fields, plus `connected` and
    `disconnected`; None (the data plane) drops them. `max_requests` is the client library's own throttle in messages a second;
    the order plane passes 0, because its priority queue must be the only one.
    """

    def __init__(self, *, reports: Callable[[Report], None] | None = None, max_requests: int = 45) -> None:
        self._sink = reports
        self._max_requests = max_requests
        self._requests: dict[object, _Request] = {}
        self._locks: dict[object, asyncio.Lock] = {}
        self._request_id = FIRST_REQUEST_ID
        self._refusal: asyncio.Future[BrokerError] | None = None
        self._time_request: asyncio.Future[Any] | None = None
        self.ib: Any = RawIB(self)
        self.errors: list[Callable[[int, int, str], None]] = []
        """Called as (request id or order id or -1, code, text) for every error message."""
        self.dividends: list[Callable[[Any, str], None]] = []
        """Called as (contract, IB's string) for every message on a subscribed contract's dividends."""
        self.disconnected = asyncio.Event()
        self.link = Link()
        self.account = ""
        self.client_id = -1
        self.next_order_id = 0
        self.taps: list[Callable[[Report], None]] = []
        """Called with every report, also when nobody receives them; a snapshot watches for fills with one."""
        self.last_data = 0.0
        """time.monotonic() of the last bytes received."""

    # -- connecting ------------------------------------------------------------------------------------------------------------
    async def connect(self, host: str, port: int, client_id: int, account: str = "", timeout: float = 10.0) -> str:
        """Connect and return the account. `timeout` in wall seconds.

        Raises ClientIdInUse, WrongAccount or BrokerUnavailable; the session is then closed and can be connected again.
        """
        if self.is_connected:
            raise BrokerError("this session is already connected; close it first")
        if self.link.socket:
            await self.disconnected.wait()
        loop = asyncio.get_running_loop()
        self._refusal = loop.create_future()
        self.disconnected.clear()
        self.link = Link()
        self.client_id = client_id
        self.next_order_id = 0
        self.ib.wrapper.clientId = client_id
        client = self.ib.client
        client.MaxRequests = self._max_requests
        client.conn.disconnected += self._on_socket_closed
        # The library's own timeout closes the socket first, which would look as if the gateway had: it is only a backstop.
        attempt = asyncio.ensure_future(client.connectAsync(host, port, client_id, timeout + 5.0))
        try:
            await asyncio.wait({attempt, self._refusal}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if self._refusal.done():
                raise self._refusal.result()
            if not attempt.done():
                raise TimeoutError
            await attempt
            if client.conn.transport is not None:  # else it has ended already
                client.conn.transport.max_size = READ_BYTES
            self.link.socket = True
            self.account = self._check_account(client.getAccounts(), account)
        except BaseException as error:
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)
            self._abandon()
            if isinstance(error, BrokerError | asyncio.CancelledError):
                raise
            remedy = "start it, or correct TRIPLANE_GATEWAY_PORT"
            if isinstance(error, TimeoutError):  # somebody listens there and says nothing
                remedy = f"continue it if it was stopped, start it anew if it hangs, or {remedy.partition(', or ')[2]}"
            raise BrokerUnavailable(
                f"no TWS or IB Gateway answers at {host}:{port} ({type(error).__name__}); {remedy}"
            ) from error
        self._report(
            reports.connected(self.account, client_id, self.next_order_id, LIBRARY, int(client.serverVersion()))
        )
        return self.account

    @staticmethod
    def _check_account(managed: list[str], account: str) -> str:
        if len(managed) != 1:
            raise WrongAccount(
                f"this login manages {len(managed)} accounts ({', '.join(managed)}); "
                "adviser and group logins are refused: log in to the one account that Triplane may trade"
            )
        if managed[0].startswith(("F", "DF")):
            raise WrongAccount(
                f"{managed[0]} is an adviser's account; log in to the one account that Triplane may trade"
            )
        if account and managed[0] != account:
            raise WrongAccount(
                f"the gateway is logged in to {managed[0]}, but TRIPLANE_ACCOUNT is {account}; "
                "correct one of them, they have to agree"
            )
        return managed[0]

    def _abandon(self) -> None:
        self.ib.client.conn.disconnected -= self._on_socket_closed
        self.ib.client.disconnect()
        self.link = Link()
        self.disconnected.set()

    async def close(self) -> None:
        """Close the connection and wait until it is closed; without one it does nothing."""
        if self.link.socket:
            self.ib.client.disconnect()
            await self.disconnected.wait()

    @property
    def is_connected(self) -> bool:
        """The socket is open and the broker's start-up messages have arrived."""
        return self.link.socket and bool(self.ib.client.isReady())

    def _on_socket_closed(self, message: str) -> None:
        self.ib.client.conn.disconnected -= self._on_socket_closed
        was_up = self.link.socket
        self.link.socket = False
        text = message or "the connection was closed"
        failure = BrokerUnavailable(f"the broker connection ended: {text}")
        if self._refusal is not None and not self._refusal.done():
            self._refusal.set_result(
                BrokerUnavailable(
                    f"the gateway closed a new connection of client id {self.client_id} before it was ready ({text}); look at its log"
                )
            )
        for request in self._requests.values():
            if request.done is not None and not request.done.done():
                request.done.set_exception(failure)
        if was_up:
            self._report(reports.disconnected(self.account, self.client_id, text))
        self.disconnected.set()

    # -- liveness --------------------------------------------------------------------------------------------------------------
    async def server_time(self, timeout: float = 5.0) -> int:
        """The broker's clock, ns UTC in whole seconds; concurrent callers share one request. Raises BrokerUnavailable.

        It proves that the gateway answers, not that the order route works. What this process stood still itself is not the gateway's
        silence: of each look that took longer than it should, LOOK_MAX_S count towards `timeout`.
        """
        if not self.is_connected:
            raise BrokerUnavailable("the broker connection is down")
        request = self._time_request
        if request is None or request.done():
            request = self._time_request = asyncio.ensure_future(self.ib.reqCurrentTimeAsync())
        left = timeout
        while left > 0 and not request.done():
            began = time.monotonic()
            await asyncio.wait({request}, timeout=min(left, LOOK_S))
            left -= min(time.monotonic() - began, LOOK_MAX_S)
        if request.cancelled() or not request.done():
            # A silent request is not kept, or every later caller would wait for the same one; others who wait are told the same.
            request.cancel()
            if self._time_request is request:
                self._time_request = None
            raise BrokerUnavailable(f"the gateway did not tell its time within {timeout:g} s")
        if (error := request.exception()) is not None:
            raise BrokerUnavailable(f"the broker connection ended: {error}")
        moment = request.result()
        return from_datetime(moment)

    async def heartbeat(self, timeout: float = 5.0) -> float:
        """Round trip of a time request in wall seconds. Raises BrokerUnavailable."""
        started = time.monotonic()
        await self.server_time(timeout)
        return time.monotonic() - started

    # -- requests with an end marker -------------------------------------------------------------------------------------------
    def new_request_id(self) -> int:
        """An id for a request, never one of an order."""
        self._request_id += 1
        return self._request_id

    async def collect(self, key: object, send: Callable[[], None], timeout: float) -> list[Any]:
        """Send a request and return its rows once its end marker has come.

        `key` is a request id, or the name of a request that has none (then calls take turns). Raises BrokerUnavailable when the
        end marker does not come within `timeout` wall seconds and RequestFailed when the broker answers with an error: an answer
        that is cut short is no answer.
        """
        async with self._locks.setdefault(key, asyncio.Lock()) if isinstance(key, str) else asyncio.Lock():
            if not self.is_connected:
                raise BrokerUnavailable("the broker connection is down")
            request = _Request(done=asyncio.get_running_loop().create_future())
            assert request.done is not None
            self._requests[key] = request
            try:
                send()
                async with asyncio.timeout(timeout):
                    return await request.done
            except TimeoutError:
                raise BrokerUnavailable(
                    f"the broker did not finish its answer to {key!r} within {timeout:g} s"
                ) from None
            except ConnectionError as error:
                raise BrokerUnavailable(f"the broker connection is down: {error}") from None
            finally:
                self._requests.pop(key, None)

    # -- Listener --------------------------------------------------------------------------------------------------------------
    def _report(self, report: Report) -> None:
        for tap in self.taps:
            tap(report)
        if self._sink is not None:
            self._sink(report)

    def on_report(self, report: Report) -> None:
        """A raw order, execution, commission or position message."""
        self._report(report)

    def on_answer(self, key: object, row: object) -> None:
        """A row of an answer."""
        request = self._requests.get(key)
        if request is not None:
            request.rows.append(row)

    def on_end(self, key: object) -> None:
        """An end marker."""
        request = self._requests.get(key)
        if request is not None and request.done is not None and not request.done.done():
            request.done.set_result(request.rows)

    def on_next_order_id(self, order_id: int) -> None:
        """The broker's nextValidId; it can roll back, so the largest is kept within one connection."""
        self.next_order_id = max(self.next_order_id, order_id)

    def on_dividends(self, contract: Any, text: str) -> None:
        """What a message on dividends says."""
        for hear in self.dividends:
            hear(contract, text)

    def on_data(self) -> None:
        """Bytes arrived."""
        self.last_data = time.monotonic()

    def on_error(self, request_id: int, code: int, text: str, *, of_request: bool) -> None:
        """An error message: about a request, an order or the connection."""
        if code in LINK_LOST:
            self.link.servers = False
        elif code in LINK_RESTORED:
            self.link.servers = True
            # 1102 after 1101 tells of another gap that cost nothing; only who subscribes again takes the first one back.
            self.link.data_lost |= code == 1101
        elif code in FARM_BROKEN:
            self.link.farms_broken = True
        elif code in FARM_OK:
            self.link.farms_broken = False
        if code == CLIENT_ID_IN_USE and self._refusal is not None and not self._refusal.done():
            self._refusal.set_result(
                ClientIdInUse(
                    f"client id {self.client_id} is in use at the gateway (error 326); "
                    "stop the other program that uses it: Triplane never takes another id"
                )
            )
        request = self._requests.get(request_id)
        if request is not None and request.done is not None and not request.done.done():
            request.done.set_exception(RequestFailed(code, text))
        for callback in self.errors:
            callback(request_id, code, text)
        if not of_request and request_id < FIRST_REQUEST_ID and code not in FARM_OK:
            self._report(reports.error(max(request_id, 0), self.client_id, code, text))
