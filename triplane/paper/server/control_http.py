"""Status and control of the gateway over loopback HTTP: JSON in, JSON out. Errors are {"error": "<one sentence>"}, status 400."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from aiohttp import web

from triplane.domain.timestamps import MINUTE, iso
from triplane.paper.server import faults
from triplane.paper.server.core import Core

Body = Mapping[str, Any]


class Wire(Protocol):
    """What only the sockets' side can do."""

    async def inject(self, body: Body) -> None:
        """Carry out or arm a fault. Raises FaultError."""


def application(core: Core, wire: Wire) -> web.Application:
    """The HTTP application."""
    control = _Control(core, wire)
    app = web.Application()
    app.router.add_get("/status", control.status)
    app.router.add_get("/orders", control.orders)
    app.router.add_get("/healthz", control.health)
    app.router.add_get("/fault", control.faults)
    app.router.add_post("/start", control.start)
    app.router.add_post("/pause", control.pause)
    app.router.add_post("/advance", control.advance)
    app.router.add_post("/speed", control.speed)
    app.router.add_post("/fault", control.fault)
    return app


class _Control:
    def __init__(self, core: Core, wire: Wire) -> None:
        self.core = core
        self.wire = wire

    async def status(self, _: web.Request) -> web.Response:
        return web.json_response(self.core.status())

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "simulated": True})

    async def orders(self, _: web.Request) -> web.Response:
        found = [
            {
                "orderRef": order.order_ref,
                "client_id": order.client_id,
                "order_id": order.order_id,
                "perm_id": order.perm_id,
                "symbol": order.contract.symbol,
                "side": order.terms.side,
                "quantity": order.terms.quantity,
                "limit": order.terms.limit,
                "status": order.status,
                "filled": order.filled,
                "average": order.average,
                "commission": order.commission,
            }
            for order in self.core.desk.orders.values()
        ]
        return web.json_response(found)

    async def faults(self, _: web.Request) -> web.Response:
        return web.json_response({"kinds": list(faults.KINDS), "armed": self.core.faults.armed()})

    async def start(self, _: web.Request) -> web.Response:
        self.core.clock.start()
        self.core.journal.append("control", self.core.clock.now, running=True, start_id=self.core.options.start_id)
        return web.json_response({"running": self.core.clock.running})

    async def pause(self, _: web.Request) -> web.Response:
        self.core.clock.pause()
        self.core.journal.append("control", self.core.clock.now, running=False)
        return web.json_response({"running": False, "market_time": self.core.clock.now})

    async def advance(self, request: web.Request) -> web.Response:
        async def act(body: Body) -> Body:
            await self.core.clock.advance_to(target(body, self.core.clock.now))
            return {"market_time": self.core.clock.now, "market_time_iso": iso(self.core.clock.now)}

        return await _answered(request, act)

    async def speed(self, request: web.Request) -> web.Response:
        async def act(body: Body) -> Body:
            self.core.slow_down(faults.number(body, "speed", -1, 1, self.core.options.speed))
            return {"fastest": self.core.clock.pace.speed}

        return await _answered(request, act)

    async def fault(self, request: web.Request) -> web.Response:
        async def act(body: Body) -> Body:
            await self.wire.inject(body)
            return {"armed": self.core.faults.armed()}

        return await _answered(request, act)


def target(body: Body, now: int) -> int:
    """The market time that POST /advance asks for: `to` as ns or ISO time (New York unless it has a zone), or `minutes` from now."""
    if isinstance(body.get("to"), int | str) and not isinstance(body["to"], bool):
        return faults.moment(body["to"], "to")
    return now + int(faults.number(body, "minutes", -1, 0, 1e6) * MINUTE)


async def _answered(request: web.Request, act: Callable[[Body], Awaitable[Body]]) -> web.Response:
    try:
        body = await request.json()
    except (ValueError, LookupError, RecursionError):
        # No JSON, no UTF-8, a charset that nobody knows, a nest without end.
        return web.json_response({"error": "the body is not JSON"}, status=400)
    try:
        if not isinstance(body, dict):
            raise faults.FaultError("the body is not a JSON object")
        return web.json_response(await act(body))
    except faults.FaultError as error:
        return web.json_response({"error": str(error)}, status=400)
