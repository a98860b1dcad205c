"""The client that feeds the planes: what the market's clock waits for, so that a busy machine's market does not outrun its data."""

from __future__ import annotations

import time
from collections.abc import Mapping

from triplane.paper.protocol.requests import HistoricalData
from triplane.paper.server.client import Client

ADJUSTED = "ADJUSTED_LAST"


class DataClient:
    """One client among `clients`, over all its connections; an id of -1 is nobody's. Times are ns UTC of market time."""

    def __init__(self, client_id: int, clients: Mapping[int, Client]) -> None:
        self._client_id, self._clients = client_id, clients
        self._asked: dict[str, int] = {}

    def note(self, client_id: int, symbol: str, request: HistoricalData, now: int) -> None:
        """A client asks for bars. Adjusted ones are for dividends and splits, which no decision waits for."""
        if client_id == self._client_id and request.bar_size == "1 day" and request.what != ADJUSTED:
            self._asked[symbol] = now

    def lacks(self, closed: int) -> bool:
        """Whether it is there and streams a name whose daily bars it has not asked for since `closed`, though before. What it never asked
        for is not awaited."""
        client = self._clients.get(self._client_id)
        streamed = client.subscriptions.bars.values() if client is not None else ()
        return any(self._asked.get(symbol, closed) < closed for symbol in streamed)

    def silence(self) -> float:
        """Wall seconds since it was heard, while it streams bars; else 0. It asks for the time in every round of its work."""
        client = self._clients.get(self._client_id)
        return time.monotonic() - client.heard if client is not None and client.subscriptions.bars else 0.0
