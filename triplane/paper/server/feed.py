"""Market data for subscribers: ticks, 5-second bars and tick-by-tick, as frames of the current step.

Quotes are sent when a subscription starts and once per 5 market seconds while data streams, only what changed. A delayed symbol
shows the market of 15 minutes ago in the delayed tick types after error 10167; a silent one sends nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from triplane.domain.timestamps import SECOND
from triplane.paper.market.actions import SimulatedActions
from triplane.paper.market.moment import DELAY_STEPS, Look, Market
from triplane.paper.protocol import messages as m
from triplane.paper.server.faults import Faults, Mode

_TYPE_OF_MODE: Final[dict[Mode, int]] = {"live": 1, "lots": 1, "frozen": 2, "delayed": 3}
LOT: Final = 100
_DELAYED_NOTICE: Final = "Requested market data is not subscribed. Displaying delayed market data."


@dataclass(slots=True)
class QuoteLine:
    """One reqMktData subscription and what it was last told."""

    req_id: int
    symbol: str
    shortable: bool = False
    mode: Mode | None = None
    seen: Look | None = None
    dividends: str | None = None
    """What was last told of its dividends; None: it is not asked for, or there are none to tell of."""


@dataclass(slots=True)
class Subscriptions:
    """What one client subscribed to, by request id."""

    quotes: dict[int, QuoteLine] = field(default_factory=dict)
    bars: dict[int, str] = field(default_factory=dict)
    ticks: dict[int, tuple[str, str]] = field(default_factory=dict)
    late_bars: list[bytes] = field(default_factory=list)
    """Bars that are to follow those of the next interval."""

    @property
    def any(self) -> bool:
        """Whether there is anything to send."""
        return bool(self.quotes or self.bars or self.ticks)


class Feed:
    """Turns the market's current step into frames."""

    def __init__(self, market: Market, faults: Faults, actions: SimulatedActions) -> None:
        self.market = market
        self.faults = faults
        self.actions = actions
        self.sent = 0

    def step(self, subscriptions: Subscriptions) -> bytes:
        """Everything that one client is due after a streaming step."""
        out: list[bytes] = subscriptions.late_bars
        subscriptions.late_bars = []
        if subscriptions.bars:
            bars = []
            start, rows = self.market.last_bar()
            for req_id, symbol in subscriptions.bars.items():
                if self.faults.mode(symbol) not in ("silent", "none"):
                    row, factor = rows[self.market.column(symbol)], self.faults.print_factor(symbol, start)
                    if factor != 1.0:
                        *prices, volume, average, count = row
                        row = (*(round(price * factor, 6) for price in prices), volume, average * factor, count)
                    bars.append(m.real_time_bar(req_id, start, row))
            if not out and self.faults.use("reorder_bars"):
                subscriptions.late_bars = bars
            else:
                out = bars * (2 if self.faults.use("repeat_bars") else 1) + out
        for line in subscriptions.quotes.values():
            out += self.quote(line)
        for req_id, (symbol, kind) in subscriptions.ticks.items():
            if self.faults.mode(symbol) == "live":
                out += self._tick_by_tick(req_id, symbol, kind)
        self.sent += len(out)
        return b"".join(out)

    def quote(self, line: QuoteLine) -> list[bytes]:
        """Ticks of a quote line that changed since it was last told, the first time all of them."""
        mode = self.faults.mode(line.symbol)
        if mode == "silent" or (mode == line.mode and mode in ("none", "frozen")):
            return []
        if mode == "none":
            line.mode, error = mode, self.faults.no_data[line.symbol]
            return [m.error(line.req_id, error.code, error.text)]
        out: list[bytes] = []
        if line.dividends is not None and line.dividends != (told := self.actions.told(line.symbol, self.market.now)):
            out.append(m.tick_string(line.req_id, m.DIVIDENDS, told))
            line.dividends = told
        delayed = mode == "delayed"
        if line.mode != mode:
            if delayed:
                out.append(m.error(line.req_id, 10167, _DELAYED_NOTICE))
            out.append(m.simple(58, "1", line.req_id, _TYPE_OF_MODE[mode]))
            line.mode, line.seen = mode, None
        look = self.market.look(line.symbol, DELAY_STEPS if delayed else 0)
        if look is None:
            if line.seen is None:
                out.append(m.tick_price(line.req_id, _kind(m.CLOSE, delayed), self.market.mark(line.symbol), 0))
            return out
        return out + self._ticks(line, look, delayed)

    def _ticks(self, line: QuoteLine, look: Look, delayed: bool) -> list[bytes]:
        req_id, quote, seen = line.req_id, look.quote, line.seen
        unit = LOT if line.mode == "lots" else 1
        out: list[bytes] = []
        if seen is None:
            out += [
                m.tick_price(req_id, _kind(m.OPEN, delayed), look.open, 0),
                m.tick_price(req_id, _kind(m.CLOSE, delayed), look.previous_close, 0),
            ]
            if not delayed:
                out.append(m.tick_generic(req_id, m.HALTED, 0))
                if line.shortable:
                    out += [
                        m.tick_generic(req_id, m.SHORTABLE, 3.0),
                        m.tick_size(req_id, m.SHORTABLE_SHARES, 10_000_000),
                    ]
        if seen is None or (quote.bid, quote.bid_size) != (seen.quote.bid, seen.quote.bid_size):
            out.append(m.tick_price(req_id, _kind(m.BID, delayed), quote.bid, _in(quote.bid_size, unit)))
        if seen is None or (quote.ask, quote.ask_size) != (seen.quote.ask, seen.quote.ask_size):
            out.append(m.tick_price(req_id, _kind(m.ASK, delayed), quote.ask, _in(quote.ask_size, unit)))
        if seen is None or look.volume != seen.volume:
            out += [
                m.tick_string(req_id, m.DELAYED_LAST_TIME if delayed else m.LAST_TIME, str(look.last_ns // SECOND)),
                m.tick_price(req_id, _kind(m.LAST, delayed), look.last, _in(look.last_size, unit)),
                m.tick_size(req_id, _kind(m.VOLUME, delayed), _in(look.volume, unit)),
            ]
        if seen is None or look.high != seen.high:
            out.append(m.tick_price(req_id, _kind(m.HIGH, delayed), look.high, 0))
        if seen is None or look.low != seen.low:
            out.append(m.tick_price(req_id, _kind(m.LOW, delayed), look.low, 0))
        line.seen = look
        return out

    def _tick_by_tick(self, req_id: int, symbol: str, kind: str) -> list[bytes]:
        look = self.market.look(symbol)
        if look is None:
            return []
        seconds = look.last_ns // SECOND
        match kind:
            case "BidAsk":
                q = look.quote
                return [m.simple(99, req_id, 3, seconds, q.bid, q.ask, q.bid_size, q.ask_size, 0)]
            case "MidPoint":
                return [m.simple(99, req_id, 4, seconds, look.quote.mid)]
            case _:
                return [
                    m.simple(99, req_id, 1 if kind == "Last" else 2, seconds, look.last, look.last_size, 0, "SIM", "")
                ]


def _kind(live: int, delayed: bool) -> int:
    return m.DELAYED[live] if delayed else live


def _in(units: float, unit: int) -> float:
    """A size in lots of `unit`; of less than one it is one."""
    return max(units // unit, 1) if unit > 1 else units
