"""The SNTP client against a local responder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from data_plane.daemon import sntp
from data_plane.daemon.sntp import ERA, PACKET, SntpError

Answer = Callable[[bytes, int], bytes | None]


class Responder(asyncio.DatagramProtocol):
    """Answers as `make(request, time of receipt in ns)` says."""

    def __init__(self) -> None:
        self.make: Answer = lambda request, now: None
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        host, port = transport.get_extra_info("sockname")[:2]
        self.address = f"{host}:{port}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self.make(data, time.time_ns())
        if answer is not None:
            self.transport.sendto(answer, addr)


@pytest.fixture
async def responder() -> AsyncIterator[Responder]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        Responder, local_addr=("127.0.0.1", 0)
    )
    yield protocol
    transport.close()


def stamp(ns: int) -> int:
    seconds, rest = divmod(ns, 1_000_000_000)
    return (seconds + ERA) << 32 | (rest << 32) // 1_000_000_000


def server(
    ahead_s: float = 0.0, *, head: int = 0x24, stratum: int = 2, origin: int | None = None, silent: bool = False
) -> Answer:
    def make(request: bytes, now: int) -> bytes:
        sent = PACKET.unpack(request)[-1]
        told = 0 if silent else stamp(now + int(ahead_s * 1e9))
        return PACKET.pack(head, stratum, 0, -20, 0, 0, 0, 0, sent if origin is None else origin, told, told)

    return make


@pytest.mark.parametrize("ahead", [0.0, 12.5, -3.25, 4000.0])
async def test_the_offset_is_ours_minus_theirs(responder: Responder, ahead: float) -> None:
    responder.make = server(ahead)
    assert abs(await sntp.query(responder.address) / 1e9 + ahead) < 0.05


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (server(head=0x23), "mode 3"),
        (server(stratum=0), "stratum 0"),
        (server(stratum=16), "stratum 16"),
        (server(head=0xE4), "not synchronised"),
        (server(origin=7), "another request"),
        (server(silent=True), "tells no time"),
        (lambda request, now: b"short", "too short"),
    ],
)
async def test_answers_that_prove_nothing_are_refused(responder: Responder, make: Answer, reason: str) -> None:
    responder.make = make
    with pytest.raises(SntpError, match=reason):
        await sntp.query(responder.address)


async def test_silence_and_a_closed_port_are_errors(responder: Responder) -> None:
    with pytest.raises(SntpError, match=r"does not answer within 0\.05 s"):
        await sntp.query(responder.address, 0.05)
    with pytest.raises(SntpError):
        await sntp.query("127.0.0.1:9", 1.0)
    with pytest.raises(SntpError):
        await sntp.query("127.0.0.1:nothing", 1.0)
