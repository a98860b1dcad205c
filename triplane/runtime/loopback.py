"""HTTP between the processes of one machine: never through a proxy that the environment names for the outside world.

httpx takes HTTP_PROXY and its like for every host, 127.0.0.1 included, unless NO_PROXY says otherwise. Behind a proxy, as most funds
are, a kill would then ask the proxy and not the order process.
"""

from __future__ import annotations

import ssl
from typing import Final

import httpx

HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")


def client(timeout: float) -> httpx.Client:
    """A client for addresses of this machine; `timeout` in wall seconds."""
    return httpx.Client(timeout=timeout, trust_env=False, verify=trusting_nobody())


def async_client(timeout: float) -> httpx.AsyncClient:
    """The same for asyncio."""
    return httpx.AsyncClient(timeout=timeout, trust_env=False, verify=trusting_nobody())


def get(url: str, timeout: float) -> httpx.Response:
    """One GET from this machine. Raises httpx.HTTPError."""
    with client(timeout) as asking:
        return asking.get(url)


def mounts() -> dict[str, httpx.BaseTransport | None]:
    """For `httpx.Client(mounts=...)` that may ask anybody: this machine directly, all others as the environment says."""
    return {f"http://{host}": httpx.HTTPTransport(verify=trusting_nobody()) for host in HOSTS}


def async_mounts() -> dict[str, httpx.AsyncBaseTransport | None]:
    """The same for `httpx.AsyncClient`."""
    return {f"http://{host}": httpx.AsyncHTTPTransport(verify=trusting_nobody()) for host in HOSTS}


def trusting_nobody() -> ssl.SSLContext:
    """For plain HTTP, which needs no certificates; to load the usual ones takes 20 ms of CPU. https is refused with it, not trusted."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
