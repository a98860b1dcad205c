"""A gateway and real clients on one event loop. The client library is whichever of ib_insync and ib_async is installed."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

from triplane.domain.assets import Universe
from triplane.paper.gateway import Gateway
from triplane.paper.protocol.contracts import con_id_of
from triplane.paper.server.options import Options

LIBRARY = "ib_insync" if importlib.util.find_spec("ib_insync") else "ib_async"
ib: Any = importlib.import_module(LIBRARY)
ASSETS = Path(__file__).resolve().parents[2] / "assets.csv"
ACCOUNT = "DU1234567"
DAY = date(2018, 1, 19)


@asynccontextmanager
async def running(**changes: Any) -> AsyncIterator[Gateway]:
    """A gateway whose clock stands before the first session, on free ports."""
    gateway = Gateway(Options(**{"port": 0, "hold": True, "assets": ASSETS, "sessions": 3, "start": DAY, **changes}))
    try:
        await gateway.start()
        yield gateway
    finally:
        await gateway.stop()


@asynccontextmanager
async def connected(gateway: Gateway, client_id: int = 12) -> AsyncIterator[Any]:
    """A connected IB()."""
    client = await connect(gateway, client_id)
    try:
        yield client
    finally:
        client.disconnect()


async def connect(gateway: Gateway, client_id: int = 12) -> Any:
    """An IB() that has connected and synchronised; `errors` collects (reqId, code, text)."""
    client = ib.IB()
    client.errors = []
    client.errorEvent += lambda req_id, code, text, _contract: client.errors.append((req_id, code, text))
    await client.connectAsync("127.0.0.1", gateway.port, clientId=client_id, timeout=5)
    return client


async def to(gateway: Gateway, clock: str, day: date = DAY) -> None:
    """Bring market time to HH:MM[:SS] New York of a session."""
    from triplane.paper.server.control_http import target

    await gateway.core.clock.advance_to(target({"to": f"{day}T{clock}"}, 0))


async def eventually(condition: Callable[[], Any], timeout: float = 5.0) -> Any:
    """Wait until `condition()` is true and return it."""
    async with asyncio.timeout(timeout):
        while not (value := condition()):  # noqa: ASYNC110 - any condition: there is no one event to wait for
            await asyncio.sleep(0.002)
        return value


def stock(symbol: str) -> Any:
    """A SMART stock."""
    return ib.Stock(symbol, "SMART", "USD")


def listed(symbol: str) -> Any:
    """The same with its contract id, which ib_async wants before it hands out a ticker; 1 for a name that is not listed."""
    ids = {asset.symbol: con_id_of(asset) for asset in Universe.load(ASSETS).assets}
    return ib.Stock(symbol, "SMART", "USD", conId=ids.get(symbol, 1))


def codes(client: Any) -> list[int]:
    """Error codes that the client was sent, notices about farms left out."""
    return [code for _, code, _ in client.errors if code not in (2104, 2106, 2158)]


async def http(gateway: Gateway, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """A request to the gateway's HTTP control: (status, JSON). `body` is sent as JSON, bytes as they are."""
    import aiohttp

    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{gateway.http_port}{path}"
        raw = isinstance(body, bytes)
        async with session.request(method, url, data=body if raw else None, json=None if raw else body) as response:
            return response.status, await response.json()


async def fault(gateway: Gateway, kind: str, **fields: Any) -> None:
    """Inject a fault over HTTP."""
    status, answer = await http(gateway, "POST", "/fault", {"fault": kind, **fields})
    assert status == 200, answer


async def contract(client: Any, symbol: str = "AAPL") -> Any:
    """The qualified contract of an equity."""
    return (await client.qualifyContractsAsync(stock(symbol)))[0]


def limit(action: str, quantity: float, price: float, ref: str = "DU1234567/1/AAPL/0/0", **fields: Any) -> Any:
    """A limit order of the account, for the day unless said otherwise."""
    return ib.LimitOrder(action, quantity, price, orderRef=ref, account=ACCOUNT, tif=fields.pop("tif", "DAY"), **fields)


def market(action: str, quantity: float, ref: str = "DU1234567/1/AAPL/0/0", **fields: Any) -> Any:
    """A market order of the account, for the day unless said otherwise."""
    return ib.MarketOrder(action, quantity, orderRef=ref, account=ACCOUNT, tif=fields.pop("tif", "DAY"), **fields)


async def filled(trade: Any) -> None:
    """Wait until an order is completely filled."""
    await eventually(lambda: trade.orderStatus.status == "Filled")
