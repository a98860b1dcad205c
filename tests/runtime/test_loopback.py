"""What stays on this machine goes to no proxy, whatever the environment names; what leaves it does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from triplane.runtime import loopback


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{self.server.server_name} {self.path}".encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def test_this_machine_is_asked_directly(server: str) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(server)  # so the proxy is taken where nobody says otherwise
    assert loopback.get(f"{server}/a", 5.0).text.endswith(" /a")

    async def ask() -> str:
        async with loopback.async_client(5.0) as client, httpx.AsyncClient(mounts=loopback.async_mounts()) as other:
            return (await client.get(f"{server}/b")).text + (await other.get(f"{server}/c")).text

    words = asyncio.run(ask())
    assert words.endswith(" /c")
    assert " /b" in words
    with httpx.Client(mounts=loopback.mounts()) as client:
        assert client.get(f"{server}/d").text.endswith(" /d")


def test_others_are_asked_by_way_of_the_proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, server)
    with httpx.Client(mounts=loopback.mounts()) as client:
        assert client.get("http://provider.example/data").text.endswith(" http://provider.example/data")
        assert client.get(f"{server}/here").text.endswith(" /here")


def test_https_is_refused_and_not_trusted_unseen(server: str) -> None:
    with pytest.raises(httpx.ConnectError):
        loopback.get(server.replace("http:", "https:"), 5.0)
