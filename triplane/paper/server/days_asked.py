"""Which names' daily bars the client that feeds the planes has asked for since the last close."""

from __future__ import annotations

from collections.abc import Iterable

from triplane.paper.protocol.requests import HistoricalData

ADJUSTED = "ADJUSTED_LAST"


class DaysAsked:
    """Of one client, over all its connections; -1 is nobody. Times are ns UTC of market time."""

    def __init__(self, client_id: int) -> None:
        self.client_id = client_id
        self._asked: dict[str, int] = {}

    def note(self, client_id: int, symbol: str, request: HistoricalData, now: int) -> None:
        """A client asks for bars. Adjusted ones are for dividends and splits, which no decision waits for."""
        if client_id == self.client_id and request.bar_size == "1 day" and request.what != ADJUSTED:
            self._asked[symbol] = now

    def lacking(self, streamed: Iterable[str], closed: int) -> bool:
        """Whether one of these names, of which it asked before, has not been asked for since `closed`. What it never asked for is not
        awaited."""
        return any(self._asked.get(symbol, closed) < closed for symbol in streamed)
