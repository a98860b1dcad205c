"""A connected BrokerSession that keeps what it reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.broker.gateways import ACCOUNT, GatewayProcess
from triplane.broker import orders
from triplane.broker.orders import OrderRequest
from triplane.broker.reports import Report
from triplane.broker.session import BrokerSession


class Recorder:
    """Reports in order of arrival, and a way to wait for one."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._arrived = asyncio.Event()

    def __call__(self, report: Report) -> None:
        self.reports.append(report)
        self._arrived.set()

    def of(self, kind: str, **fields: Any) -> list[Report]:
        """Reports of a kind whose fields have these values."""
        return [
            report
            for report in self.reports
            if report["kind"] == kind and all(report.get(name) == value for name, value in fields.items())
        ]

    async def until(self, condition: Callable[[], Any], timeout: float = 10.0) -> Any:
        """Wait for a condition on the reports; TimeoutError when it does not come true."""
        async with asyncio.timeout(timeout):
            while not (value := condition()):
                self._arrived.clear()
                await self._arrived.wait()
        return value


async def connected(gateway: GatewayProcess, client_id: int = 12) -> tuple[BrokerSession, Recorder]:
    """A session of the order plane's kind."""
    recorder = Recorder()
    session = BrokerSession(reports=recorder, max_requests=0)
    await session.connect("127.0.0.1", gateway.port, client_id, ACCOUNT)
    return session, recorder


def request(ref: str, action: str = "BUY", quantity: float = 100, **fields: Any) -> OrderRequest:
    """An order on KO; a market order unless `limit_price` is given."""
    kind = "LMT" if fields.get("limit_price") else "MKT"
    values: dict[str, Any] = {"symbol": "KO", "con_id": 0, "order_type": kind} | fields
    return OrderRequest(order_ref=ref, account=ACCOUNT, action=action, quantity=quantity, **values)  # type: ignore[arg-type]


def place(session: BrokerSession, order_id: int, ref: str, **fields: Any) -> None:
    """Send one order."""
    orders.place(session, order_id, request(ref, **fields))
