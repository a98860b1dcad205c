"""What IB limits and the gateway refuses: market data lines always, the pace of requests when asked to (`--pacing`).

Pace is counted in wall seconds, as IB counts it: 60 requests of small bars (under a minute; historical, or a new subscription of
five-second bars) in ten minutes, no identical one within 15 seconds, fewer than six for one contract, exchange and tick type within
two, BID_ASK counting twice: error 162, of a subscription 420. What is refused is not counted.
50 messages a second are not kept: this process reads in bursts what came evenly while it was busy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from triplane.paper.protocol.requests import HistoricalData, RealTimeBars

if TYPE_CHECKING:
    from triplane.paper.server.client import Client

WINDOW_S: Final = 600.0
IDENTICAL_S: Final = 15.0
LINE_S: Final = 2.0
REQUESTS: Final = 60
LINE_REQUESTS: Final = 6
TOO_MANY_LINES: Final = (101, "Max number of tickers has been reached")
TOO_MANY_TICKS: Final = (10190, "Max number of tick-by-tick requests has been reached")
VIOLATION: Final = {
    HistoricalData: (162, "Historical Market Data Service error message:Historical data request pacing violation"),
    RealTimeBars: (420, "Invalid Real-time Query:Historical data request pacing violation"),
}


def lines_in_use(clients: Iterable[Client]) -> int:
    """Market data lines of all clients: quotes and five-second bars."""
    return sum(len(client.subscriptions.quotes) + len(client.subscriptions.bars) for client in clients)


def tick_lines_in_use(clients: Iterable[Client]) -> int:
    """Tick-by-tick subscriptions of all clients."""
    return sum(len(client.subscriptions.ticks) for client in clients)


class PacingRules:
    """Requests of small bars of all clients. `window` is what ten minutes last, in wall seconds; the other spans go with it. 0: no rules."""

    def __init__(self, window: float) -> None:
        self.window = window
        self._past: list[tuple[float, tuple[object, ...], object]] = []

    def violation(self, request: HistoricalData | RealTimeBars, symbol: str, now: float) -> tuple[int, str] | None:
        """The error that answers a request of `symbol` at `now`, or None, and then it counts."""
        if not self.window or not _small(request):
            return None
        scale = self.window / WINDOW_S
        line = (symbol, request.contract.exchange, request.what)
        if isinstance(request, HistoricalData):
            terms: object = (request.end, request.bar_size, request.duration)
        else:
            terms = "real time"
        self._past = [past for past in self._past if past[0] > now - self.window]
        units = 2 if request.what == "BID_ASK" else 1
        recent = sum(1 for time, of, _ in self._past if of == line and time > now - LINE_S * scale)
        same = any((of, what) == (line, terms) and time > now - IDENTICAL_S * scale for time, of, what in self._past)
        if same or recent + units >= LINE_REQUESTS or len(self._past) + units > REQUESTS:
            return VIOLATION[type(request)]
        self._past += [(now, line, terms)] * units
        return None


def _small(request: HistoricalData | RealTimeBars) -> bool:
    return isinstance(request, RealTimeBars) or request.bar_size.endswith(("sec", "secs"))
