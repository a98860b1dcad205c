"""The kill switch over loopback HTTP, on the order daemon's own server: POST /kill, POST /rearm, GET /kill.

No token: whoever may connect from this machine may stop trading. Three checks keep web pages out (a browser can be made to post
to loopback): the peer is loopback, the Host header names loopback, and there is no Origin header. A re-arming may carry
`valid_until` (ns of this machine's monotonic clock, which nobody sets back), after which it is refused, and `known`, the KILL file that
its person knew: with another one there it is refused, too. A kill is taken whatever its body holds, as any KILL file is, and also where
the body never comes: nobody in a hurry is refused for their words. What is no HTTP/1 request with a plain body (a broken chunk, an
encoding that is not known) gets a 4xx and does nothing. An unknown scope is the widest one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from aiohttp import web

from order_plane.kill.files import plain
from order_plane.kill.switch import SCOPES

UNNAMED: Final = "unnamed"
WORDLESS: Final = "POST /kill without a reason"
MOST_BYTES: Final = 1 << 20
"""Of a body that are read; who and why need far less."""
BODY_S: Final = 0.5
"""Wall seconds that a request waits for its words."""
LONGEST_VALID_S: Final = 60.0


class Switch(Protocol):
    """What the order service offers to these handlers."""

    async def trip(self, source: str, actor: str, reason: str, scope: str) -> dict[str, Any]:
        """Hold all orders now and ask for cancels; returns what was done."""

    async def rearm(self, source: str, actor: str, reason: str, known: str | None = None) -> dict[str, Any]:
        """Let orders leave again; raises ValueError with a sentence when that is refused."""

    def kill_status(self) -> dict[str, Any]:
        """Level, reason and what is still open."""


def is_local(request: web.BaseRequest) -> bool:
    """True for a request that a program on this machine made on purpose."""
    try:
        peer = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    host = request.host.rsplit(":", 1)[0].strip("[]").lower()
    return peer.is_loopback and host in ("localhost", "127.0.0.1", "::1") and "Origin" not in request.headers


def _local_only(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def checked(request: web.Request) -> web.StreamResponse:
        if not is_local(request):
            return web.json_response({"error": "only programs on this machine may use the kill switch"}, status=403)
        return await handler(request)

    return checked


async def _fields(request: web.Request, names: tuple[str, ...]) -> dict[str, str] | web.Response:
    try:
        body = json.loads(await _body(request))
    except (ValueError, RecursionError):  # no JSON, no UTF-8, brackets without end, or it never came
        return web.json_response({"error": "the body is not JSON; send actor and reason"}, status=400)
    if not isinstance(body, dict):
        return web.json_response({"error": "the body is not a JSON object; send actor and reason"}, status=400)
    fields = {plain(str(key)): plain(str(value)) for key, value in body.items()}
    missing = [name for name in names if not fields.get(name)]
    if missing:
        return web.json_response({"error": f"{' and '.join(missing)} must be given"}, status=400)
    return fields


async def _body(request: web.Request) -> bytes:
    """What comes of a body within BODY_S, at most MOST_BYTES of it."""
    parts: list[bytes] = []
    with contextlib.suppress(
        ConnectionError, web.RequestPayloadError, web.PayloadAccessError, ValueError, TimeoutError
    ):
        async with asyncio.timeout(BODY_S):
            while (left := MOST_BYTES - sum(map(len, parts))) > 0 and (part := await request.content.read(left)):
                parts.append(part)
    return b"".join(parts)


def words_of(body: bytes) -> tuple[str, str, str]:
    """Actor, reason and scope of a kill, as far as its body has them; a body that is no JSON object is the reason as it stands."""
    text = body.decode("utf-8", "surrogateescape")
    try:
        document = json.loads(text, strict=False)  # a line break within a text is no reason to refuse it
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return UNNAMED, plain(text) or WORDLESS, SCOPES[0]
    fields = {plain(str(key)): plain(str(value)) for key, value in document.items()}
    scope = fields.get("scope", "")
    return fields.get("actor") or UNNAMED, fields.get("reason") or WORDLESS, scope if scope in SCOPES else SCOPES[0]


def _still_valid(limit: str) -> bool:
    """False also for a limit beyond LONGEST_VALID_S: it is of another clock."""
    if not (limit.isascii() and limit.isdigit() and len(limit) < 20):
        return False
    return 0 <= int(limit) - time.monotonic_ns() <= LONGEST_VALID_S * 1e9


def add_routes(routes: web.RouteTableDef, switch: Switch) -> None:
    """Register the handlers."""

    async def trip(request: web.Request) -> web.StreamResponse:
        actor, reason, scope = words_of(await _body(request))
        return web.json_response(await switch.trip("http", actor, reason, scope))

    async def rearm(request: web.Request) -> web.StreamResponse:
        fields = await _fields(request, ("actor", "reason"))
        if isinstance(fields, web.Response):
            return fields
        # A request may lie in the socket of a process that stands still, long after the person was told that it failed.
        limit = fields.get("valid_until")
        if limit is not None and not _still_valid(limit):
            return web.json_response(
                {"error": "the request came too late, so it stays tripped; re-arm again"}, status=409
            )
        try:
            return web.json_response(await switch.rearm("http", fields["actor"], fields["reason"], fields.get("known")))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=409)

    async def status(_: web.Request) -> web.StreamResponse:
        return web.json_response(switch.kill_status())

    routes.post("/kill")(_local_only(trip))
    routes.post("/rearm")(_local_only(rearm))
    routes.get("/kill")(_local_only(status))
