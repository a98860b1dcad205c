"""One connected API client: its socket, its subscriptions, and frames on their way to it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from typing import Final

from triplane.paper.server.feed import QuoteLine, Subscriptions

# Small buffers keep a slow reader from lagging far behind the market before the clock waits for it.
_HIGH_WATER: Final = 16 * 1024
_SOCKET_BUFFER: Final = 16 * 1024


class Client:
    """Frames go out in order; `hold` keeps them back while the gateway hangs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.client_id = -1
        self.told_from = 0
        """Executions after this market time (ns) were told as they came, or all of today's on request (0)."""
        self.subscriptions = Subscriptions()
        self.account_updates = False
        self.account_multi: dict[int, str] = {}
        self.summaries: dict[int, list[str]] = {}
        self.positions = False
        self.pnl: dict[int, int | None] = {}
        self.messages = 0
        self.heard = time.monotonic()
        """Wall time (s, monotonic) of its last message."""
        self.held = False
        self.stall_s = 0.0
        """Wall seconds by which the second half of what is sent next comes late; 0 for none."""
        self._waiting: list[bytes] = []
        self._late: deque[tuple[float, bytes]] = deque()
        self._late_task: asyncio.Task[None] | None = None
        transport = writer.transport
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)

    @property
    def closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.writer.is_closing()

    def hear(self) -> None:
        """Count a message."""
        self.messages += 1
        self.heard = time.monotonic()

    def send(self, data: bytes) -> None:
        """Queue frames for sending."""
        if not data or self.closing:
            return
        if self.stall_s and not self.held:  # one at a time: what is held back already comes first
            seconds, self.stall_s = self.stall_s, 0.0
            self.writer.write(data[: len(data) // 2])
            data = data[len(data) // 2 :]
            self.held = True
            asyncio.get_running_loop().call_later(seconds, self.hold, False)
        if self.held:
            self._waiting.append(data)
        else:
            self.writer.write(data)

    def send_order(self, data: bytes, delay: float) -> None:
        """Queue frames about orders; once one is late all that follow wait behind it, so that their order stays."""
        if delay <= 0 and not self._late:
            self.send(data)
            return
        self._late.append((asyncio.get_running_loop().time() + delay, data))
        if self._late_task is None or self._late_task.done():
            self._late_task = asyncio.create_task(self._send_late())

    def hold(self, held: bool) -> None:
        """Keep frames back, or let those kept back go."""
        self.held = held
        if not held:
            waiting, self._waiting = self._waiting, []
            self.send(b"".join(waiting))

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was sent; a lost connection is no error here."""
        if self.closing:
            return
        try:
            await self.writer.drain()
        except (ConnectionError, OSError):
            self.abort()

    def quote_line(self, req_id: int, symbol: str, shortable: bool) -> QuoteLine:
        """Subscribe to a name's quotes."""
        line = QuoteLine(req_id, symbol, shortable)
        self.subscriptions.quotes[req_id] = line
        return line

    def abort(self) -> None:
        """Cut the connection; what was queued is lost."""
        if self._late_task is not None:
            self._late_task.cancel()
        self._late.clear()
        self.writer.transport.abort()

    async def close(self) -> None:
        """Send what is queued and close."""
        if self._late_task is not None:
            self._late_task.cancel()
        self.writer.close()
        try:
            async with asyncio.timeout(1.0):
                await self.writer.wait_closed()
        except (ConnectionError, OSError, TimeoutError):
            self.writer.transport.abort()

    async def _send_late(self) -> None:
        loop = asyncio.get_running_loop()
        while self._late:
            due, data = self._late[0]
            await asyncio.sleep(max(due - loop.time(), 0.0))
            self._late.popleft()
            self.send(data)
