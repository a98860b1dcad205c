"""A small SNTP client: how far this machine's clock is from a time server's.

Source: RFC 4330 (SNTP version 4); offset = ((t1 - t0) + (t2 - t3)) / 2 with t0 our send, t1 its receive, t2 its send, t3 our receive.
"""

from __future__ import annotations

import asyncio
import struct
import time

PORT = 123
PACKET = struct.Struct("!BBbb3I4Q")
# Seconds from the NTP era (1900) to 1970.
ERA = 2_208_988_800
CLIENT_REQUEST = 0x23  # version 4, mode 3 (client)
SERVER_MODE = 4


class SntpError(RuntimeError):
    """No usable answer from the time server."""


def _to_ns(stamp: int) -> int:
    return ((stamp >> 32) - ERA) * 1_000_000_000 + ((stamp & 0xFFFFFFFF) * 1_000_000_000 >> 32)


def _to_stamp(ns: int) -> int:
    seconds, rest = divmod(ns, 1_000_000_000)
    return (seconds + ERA) << 32 | (rest << 32) // 1_000_000_000


def offset(answer: bytes, sent: int, received: int) -> int:
    """Our clock minus the server's, ns, from its answer and our own times of sending and receiving. Raises SntpError."""
    if len(answer) < PACKET.size:
        raise SntpError(f"an answer of {len(answer)} bytes is too short")
    head, stratum, *_rest, origin, t1, t2 = PACKET.unpack_from(answer)
    if head & 7 != SERVER_MODE:
        raise SntpError(f"mode {head & 7} is no server's answer")
    if not 0 < stratum < 16 or head >> 6 == 3:
        raise SntpError(f"the server's own clock is not synchronised (stratum {stratum})")
    if origin != _to_stamp(sent):
        raise SntpError("the answer belongs to another request")
    if t2 == 0:
        raise SntpError("the server tells no time")
    return ((sent - _to_ns(t1)) + (received - _to_ns(t2))) // 2


class _Exchange(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[bytes, int]] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done():
            self.answer.set_result((data, time.time_ns()))

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def query(server: str, timeout: float = 5.0) -> int:
    """Our clock minus the server's, ns. `server` is host or host:port; `timeout` in wall seconds. Raises SntpError."""
    host, _, port = server.partition(":")
    loop = asyncio.get_running_loop()
    try:
        transport, exchange = await loop.create_datagram_endpoint(_Exchange, remote_addr=(host, int(port or PORT)))
    except (OSError, ValueError) as error:
        raise SntpError(f"{server}: {error}") from None
    try:
        sent = time.time_ns()
        transport.sendto(PACKET.pack(CLIENT_REQUEST, 0, 0, 0, 0, 0, 0, 0, 0, 0, _to_stamp(sent)))
        async with asyncio.timeout(timeout):
            answer, received = await exchange.answer
        return offset(answer, sent, received)
    except TimeoutError:
        raise SntpError(f"{server} does not answer within {timeout:g} s") from None
    except OSError as error:
        raise SntpError(f"{server}: {error}") from None
    finally:
        transport.close()
