"""Who may give commands over HTTP: programs on this machine, and no web page.

No token: whoever may run programs here may stop trading. A browser can be made to post to loopback, so three checks keep pages
out: the peer is loopback, the Host header names loopback, and there is no Origin header.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_local(request: web.BaseRequest) -> bool:
    """True for a request that a program on this machine made on purpose."""
    try:
        peer = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    host = request.host.rsplit(":", 1)[0].strip("[]").lower()
    return peer.is_loopback and host in ("localhost", "127.0.0.1", "::1") and "Origin" not in request.headers


def local_only(handler: Handler) -> Handler:
    """The handler behind the three checks; anyone else gets 403."""

    async def checked(request: web.Request) -> web.StreamResponse:
        if not is_local(request):
            return web.json_response({"error": "only programs on this machine may give commands"}, status=403)
        return await handler(request)

    return checked
