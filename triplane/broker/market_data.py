"""Market data from the broker: historical and five-second bars, best bids and offers, trades, by symbol.

`MarketFeed` sits on a connected BrokerSession and calls plain functions on the event loop, in the order in which messages arrived.
It knows IB's tick types, error codes and placeholders (-1 for no price), and nothing of gates or topics.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from triplane.broker.client_library import RequestError
from triplane.broker.historical_bars import DeliveredBar, HistoricalBars, columns, delivered
from triplane.broker.session import BrokerSession, BrokerUnavailable, RequestFailed
from triplane.broker.what_to_show import shown
from triplane.domain.timestamps import from_datetime

LIVE, FROZEN, DELAYED, NO_DATA = "live", "frozen", "delayed", "none"
_STATUS_OF_TYPE: Final = {1: LIVE, 2: FROZEN, 3: DELAYED, 4: DELAYED}

# Tick types (tws-protocol reference, section 4): live and delayed pairs.
_QUOTE_TICKS: Final = frozenset({0, 1, 2, 3, 66, 67, 69, 70})
_LAST_PRICE: Final = frozenset({4, 68})
_LAST_SIZE: Final = frozenset({5, 71})
_VOLUME: Final = frozenset({8, 74})
_DELAYED_TICKS: Final = frozenset(range(66, 77))
_HALTED: Final = 49

# What an error on a market data line means for it. 10167: delayed data is shown instead; the others: none at all.
_LINE_ERRORS: Final = {10167: DELAYED} | dict.fromkeys((101, 200, 354, 420, 10089, 10090, 10168, 10197), NO_DATA)
_UNTIL_TICKS: Final = frozenset({10197})  # another session of the login has the data: they come back without a word
TOO_MANY_LINES: Final = 101
PACED: Final = 420
TOO_MANY_TICK_LINES: Final = 10190
BUST: Final = 10225  # ended by a trade that was taken back; the client library makes bars anew by itself, nothing else
# A subscription that IB did not make: of a pacing violation the text tells, else 420 means that there is no permission.
_NOT_MADE: Final = frozenset({TOO_MANY_LINES, TOO_MANY_TICK_LINES})
_NOTICES: Final = range(2100, 2200)  # of the connection and the farms: they end nothing
BARS, QUOTES, TRADES = "bars", "quotes", "trades"
"""The subscriptions that a name can have."""
_EVERY_TRADE: Final = "Last"
"""IB's type of tick-by-tick data: trades that make the last price."""
_RETIRED_IDS: Final = 1000
"""Request ids that the library still knows after their end, for ticks that are on the way; it would never forget them."""
NO_DATA_RETURNED: Final = 162

_log = logging.getLogger("triplane.market_data")


class BarHandler(NamedTuple):
    """Callbacks of a feed. Prices are NaN where there is none; times are ns UTC."""

    bar: Callable[[str, int, float, float, float, float, float, float, int], None]
    """symbol, start, open, high, low, close, volume, wap, trades."""
    quote: Callable[[str, int, float, float, float, float, float, float, str, bool], None]
    """symbol, time of the quote, bid, ask, bid size, ask size, last, volume, status, halted."""
    trade: Callable[[str, int, float, float], None]
    """symbol, time, price, size."""
    malformed: Callable[[str, str, bytes], None]
    """symbol or "", what went wrong, what was received."""
    refused: Callable[[str, str, int, str], None] = lambda *_: None
    """symbol, the subscription that IB did not make (BARS, QUOTES, TRADES), code, text."""


@dataclass(slots=True)
class _Line:
    symbol: str
    contract: Any
    bars: Any = None
    ticker: Any = None
    ticker_id: int = -1
    trades_id: int = -1
    """Of tick-by-tick trades; -1: trades are those of the quotes."""
    sampled: bool = False
    """Looked at in turns: its last trade at each look is no news, and what lies between two looks is missing."""
    quote_time: int = 0
    status: str = LIVE
    away: bool = False
    """NO_DATA until something comes."""
    told: str = field(default="")


class MarketFeed:
    """Subscriptions of one connection. After a disconnect make a new one: the client library forgets everything.

    `now` tells market time: the stamp of quotes, for which IB sends none.
    """

    def __init__(self, session: BrokerSession, handler: BarHandler, now: Callable[[], int]) -> None:
        self._session = session
        self._handler = handler
        self._now = now
        self._lines: dict[str, _Line] = {}
        self._by_request: dict[int, tuple[_Line, str]] = {}
        self._retired: deque[int] = deque()
        self._by_ticker: dict[int, _Line] = {}
        self._interval: Any = None
        session.errors.append(self._on_error)
        session.ib.pendingTickersEvent += self._on_tickers

    def close(self) -> None:
        """Stop listening; the connection itself stays as it is."""
        if self._on_error in self._session.errors:
            self._session.errors.remove(self._on_error)
        self._session.ib.pendingTickersEvent -= self._on_tickers
        self._lines.clear()
        self._by_request.clear()
        self._by_ticker.clear()

    @property
    def symbols(self) -> list[str]:
        """Subscribed symbols, in the order of subscription."""
        return list(self._lines)

    def having(self, kind: str) -> list[str]:
        """Symbols that have a subscription of a kind, in the order of subscription."""
        if kind == BARS:
            return [symbol for symbol, line in self._lines.items() if line.bars is not None]
        return [symbol for symbol, line in self._lines.items() if kind == QUOTES or line.trades_id >= 0]

    @property
    def lines(self) -> int:
        """Market data lines in use; tick-by-tick ones are not among them."""
        return sum(1 + (line.bars is not None) for line in self._lines.values())

    # -- subscriptions ---------------------------------------------------------------------------------------------------------
    def subscribe(self, symbol: str, contract: Any, *, sampled: bool = False) -> None:
        """Best bid and offer, with trades unless the name is only looked at now and then (`sampled`). Twice does nothing."""
        if symbol in self._lines:
            self._lines[symbol].sampled = sampled
            return
        ib = self._session.ib
        line = _Line(symbol, contract, sampled=sampled)
        line.ticker = ib.reqMktData(contract, shown(contract.secType).generic_ticks, False, False)
        # The library keeps a contract's ticker: what it says is of the subscription before.
        line.ticker.bid = line.ticker.ask = line.ticker.bidSize = line.ticker.askSize = line.ticker.last = math.nan
        line.ticker_id = int(ib.wrapper.ticker2ReqId["mktData"][line.ticker])
        self._by_request[line.ticker_id] = line, QUOTES
        self._by_ticker[id(line.ticker)] = line
        self._lines[symbol] = line

    def subscribe_bars(self, symbol: str) -> None:
        """Five-second bars of a name whose quotes are subscribed. Twice does nothing."""
        line = self._lines[symbol]
        if line.bars is not None:
            return
        what = shown(line.contract.secType)
        line.bars = self._session.ib.reqRealTimeBars(line.contract, 5, what.bars, what.regular_hours)
        line.bars.updateEvent += lambda bars, _new, line=line: self._on_bar(line, bars)
        self._by_request[int(line.bars.reqId)] = line, BARS

    def subscribe_trades(self, symbol: str) -> None:
        """Each trade of a name whose quotes are subscribed, tick by tick, instead of those of the quotes. Twice does nothing."""
        line, ib = self._lines[symbol], self._session.ib
        if line.trades_id >= 0:
            return
        ib.reqTickByTickData(line.contract, _EVERY_TRADE, 0, False)
        line.trades_id = int(ib.wrapper.ticker2ReqId[_EVERY_TRADE][line.ticker])
        self._by_request[line.trades_id] = line, TRADES

    def unsubscribe(self, symbol: str) -> None:
        """End a symbol's subscriptions; an unknown symbol does nothing."""
        if symbol not in self._lines:
            return
        self.unsubscribe_bars(symbol)
        self.unsubscribe_trades(symbol)
        line = self._lines.pop(symbol)
        self._by_ticker.pop(id(line.ticker), None)
        self._retire(line.ticker_id)
        if self._session.is_connected:
            self._session.ib.cancelMktData(line.contract)

    def unsubscribe_bars(self, symbol: str) -> None:
        """End a symbol's five-second bars, if it has any."""
        line = self._lines[symbol]
        bars, line.bars = line.bars, None
        if bars is not None:
            self._by_request.pop(int(bars.reqId), None)
            if self._session.is_connected:
                self._session.ib.cancelRealTimeBars(bars)

    def unsubscribe_trades(self, symbol: str) -> None:
        """End a symbol's tick-by-tick trades, if it has any; its trades are those of the quotes again."""
        line = self._lines[symbol]
        if line.trades_id >= 0:
            self._retire(line.trades_id)
            line.trades_id = -1
            if self._session.is_connected:
                self._session.ib.cancelTickByTickData(line.contract, _EVERY_TRADE)

    def _retire(self, request: int) -> None:
        self._by_request.pop(request, None)
        self._retired.append(request)
        if len(self._retired) > _RETIRED_IDS:
            self._session.ib.wrapper.reqId2Ticker.pop(self._retired.popleft(), None)

    def clear(self) -> None:
        """End every subscription: after error 1101 the broker has forgotten them, after silence perhaps."""
        for symbol in list(self._lines):
            self.unsubscribe(symbol)

    # -- callbacks -------------------------------------------------------------------------------------------------------------
    def _on_bar(self, line: _Line, bars: Any) -> None:
        # The library keeps every bar for ever; here it is passed on at once and forgotten.
        received = list(bars)
        del bars[:]
        if received and getattr(received[-1], "time", None) != self._interval:
            # The library tells of ticks once per read of the socket. A busy read spans many intervals, so the quotes of the
            # last one are taken before the first bar of the next.
            self._interval = getattr(received[-1], "time", None)
            self._take_ticks()
        for bar in received:
            try:
                start = from_datetime(bar.time)
                wap = bar.wap if bar.wap > 0 else math.nan
                measured = (bar.volume, wap, int(bar.count))
                if not shown(line.contract.secType).volume:
                    measured = (math.nan, math.nan, -1)
                values = (bar.open_, bar.high, bar.low, bar.close, *measured)
            except (TypeError, ValueError, AttributeError, OverflowError) as error:
                self._handler.malformed(line.symbol, f"real-time bar: {error}", repr(bar).encode())
                continue
            self._handler.bar(line.symbol, start, *values)

    def _take_ticks(self) -> None:
        tickers = [line.ticker for line in self._lines.values() if line.ticker.ticks or line.ticker.tickByTicks]
        self._on_tickers(tickers)
        for ticker in tickers:
            ticker.ticks.clear()
            ticker.tickByTicks.clear()

    def _on_tickers(self, tickers: Any) -> None:
        lines = [line for ticker in tickers if (line := self._by_ticker.get(id(ticker))) is not None]
        for line in sorted(lines, key=lambda line: line.symbol):
            try:
                self._on_ticker(line)
            except (TypeError, ValueError, AttributeError, OverflowError) as error:
                self._handler.malformed(line.symbol, f"ticks: {error}", repr(line.ticker).encode())

    def _on_ticker(self, line: _Line) -> None:
        ticker, now = line.ticker, self._now()
        quoted = False
        traded: tuple[float, float] | None = None
        every_trade = line.trades_id >= 0
        for trade in ticker.tickByTicks if every_trade else ():
            self._handler.trade(line.symbol, now, trade.price, trade.size)
        for tick in ticker.ticks:
            kind = tick.tickType
            if kind in _QUOTE_TICKS or kind == _HALTED:
                quoted = True
                line.quote_time = now if kind != _HALTED or line.quote_time == 0 else line.quote_time
            if kind in _DELAYED_TICKS:
                line.status = DELAYED
            if line.sampled or every_trade:
                pass
            elif kind in _LAST_PRICE:
                traded = (tick.price, tick.size)
                self._handler.trade(line.symbol, now, *traded)
            elif kind in _LAST_SIZE and traded != (tick.price, tick.size):
                # The size follows its price as a tick of its own; alone it is another trade at the same price.
                self._handler.trade(line.symbol, now, tick.price, tick.size)
                traded = None
            if kind in _VOLUME:
                quoted = quoted or line.quote_time > 0
        if line.away and quoted:
            line.status, line.away = LIVE, False
        status = _STATUS_OF_TYPE.get(ticker.marketDataType, LIVE)
        if line.status != NO_DATA and not (line.status == DELAYED and status == LIVE and self._has_delayed(ticker)):
            line.status = status
        if quoted or line.status != line.told:
            self._tell(line)

    @staticmethod
    def _has_delayed(ticker: Any) -> bool:
        return any(tick.tickType in _DELAYED_TICKS for tick in ticker.ticks)

    def _tell(self, line: _Line) -> None:
        ticker = line.ticker
        line.told = line.status
        bid, bid_size = _side(ticker.bid, ticker.bidSize)
        ask, ask_size = _side(ticker.ask, ticker.askSize)
        halted = not math.isnan(ticker.halted) and ticker.halted > 0
        time = line.quote_time or self._now()
        last, volume = _price(ticker.last), float(ticker.volume)
        self._handler.quote(line.symbol, time, bid, ask, bid_size, ask_size, last, volume, line.status, halted)

    def _on_error(self, request_id: int, code: int, text: str) -> None:
        line, kind = self._by_request.get(request_id, (None, ""))
        if line is None or code in _NOTICES or not (kind == TRADES or code in _LINE_ERRORS or code in _NOT_MADE):
            return
        _log.warning("%s: market data error %s: %s", line.symbol, code, text)
        paced = code == PACED and "pacing" in text.lower()
        # Nothing may come of a line of trades any more; the quotes tell trades as long as there is none.
        if not (paced or kind == TRADES or code in _NOT_MADE):
            line.status, line.away = _LINE_ERRORS[code], code in _UNTIL_TICKS
            self._tell(line)
            return
        if kind == QUOTES:
            line.status = NO_DATA
            self._tell(line)
        {BARS: self.unsubscribe_bars, TRADES: self.unsubscribe_trades, QUOTES: self.unsubscribe}[kind](line.symbol)
        self._handler.refused(line.symbol, kind, code, text)


async def history(
    session: BrokerSession,
    contract: Any,
    *,
    bar_size: str,
    duration: str,
    end: str = "",
    show: str = "",
    timeout: float = 60.0,
    keep: Callable[[list[DeliveredBar]], None] = lambda _: None,
) -> HistoricalBars:
    """Bars as `what_to_show.py` has them for the contract's type, or of another whatToShow (`show`): IB's bar size ("1 day", "1 min"),
    duration ("3 Y", "2 D") and end ("" = now).

    `keep` is given what was delivered before it is read. The running day's bar is among daily ones. No data at all (error 162 says so)
    gives none. Raises RequestFailed for other errors and BrokerUnavailable for silence of `timeout` wall seconds or a lost connection.
    """
    if not session.is_connected:
        raise BrokerUnavailable("the broker connection is down")
    session.ib.RaiseRequestErrors = True
    what = shown(contract.secType)
    request = session.ib.reqHistoricalDataAsync(
        contract, end, duration, bar_size, show or what.bars, what.regular_hours, 2, False, [], 0
    )
    try:
        async with asyncio.timeout(timeout):
            bars = await request
    except TimeoutError:
        raise BrokerUnavailable(
            f"the broker did not answer a request for {bar_size} bars within {timeout:g} s"
        ) from None
    except RequestError as error:
        if error.code == NO_DATA_RETURNED and "no data" in str(error.message):
            return columns([])
        raise RequestFailed(error.code, error.message) from None
    except ConnectionError as error:
        raise BrokerUnavailable(f"the broker connection is down: {error}") from None
    answer = delivered(bars)
    keep(answer)
    return columns(answer, what.volume)


def _price(value: float) -> float:
    """IB's -1 and 0 mean that there is no price."""
    return float(value) if value > 0 else math.nan


def _side(price: float, size: float) -> tuple[float, float]:
    """One side of a quote: -1 (or 0 with size 0) is a side that does not exist; any other price is passed on as it came."""
    if math.isnan(price) or price == -1 or (price == 0 and not size > 0):
        return math.nan, 0.0
    return float(price), 0.0 if math.isnan(size) else float(size)
