"""Quotes and trades of one source between two slices, through price sanity, and their records on data.quotes and data.trades."""

from __future__ import annotations

import numpy as np

from data_plane.gates import prices, state
from data_plane.gates.schema import Fault
from data_plane.observations import Floats, QuoteTick, TradeTick
from data_plane.outputs import Output, quarantined, raw_json
from data_plane.slices.frame import Frame
from data_plane.slices.quotes import QuoteBook, judge_trades
from triplane.domain.timestamps import SECOND


class TickSlices:
    """Latest quote a name and the trades that no slice has carried. `last` is the time of the latest slice, ns UTC."""

    def __init__(self, frame: Frame, source: str, last: int) -> None:
        self._frame = frame
        self._source = source
        self.quotes = QuoteBook(len(frame.names))
        self.trades: list[TradeTick] = []
        self.last = last

    @property
    def pending(self) -> int:
        """Observations that no slice has carried."""
        return self.quotes.pending + len(self.trades)

    def quote(self, row: int, tick: QuoteTick) -> bool:
        """Take a quote; True when it replaces one that no slice has carried."""
        return self.quotes.update(row, tick)

    def trade(self, tick: TradeTick) -> None:
        """Take a trade."""
        self.trades.append(tick)

    def due(self, now: int) -> bool:
        """Whether QUOTE_SLICE_S market seconds have passed since the last slice and something is there to publish."""
        return self.pending > 0 and now - self.last >= self._frame.targets.QUOTE_SLICE_S * SECOND

    def slice(self, now: int, session: str, closes: Floats, volume_by_now: Floats) -> tuple[list[Output], list[int]]:
        """Records for what came since the last slice and the rows with a new quote. `closes` (names,) are last good closes,
        `volume_by_now` (names,) the day's usual volume so far, NaN where unknown.

        `now` must be later than `last`: the time of a slice is its identity.
        """
        outputs: list[Output] = []
        updated: list[int] = []
        self.last = now
        if self.quotes.pending:
            more, updated = self._quote_slice(now, session, volume_by_now)
            outputs += more
        if self.trades:
            outputs += self._trade_slice(now, closes)
        return outputs, updated

    def _quote_slice(self, now: int, session: str, volume_by_now: Floats) -> tuple[list[Output], list[int]]:
        frame, source = self._frame, self._source
        cut = self.quotes.cut(frame.targets.SPREAD_MAX, volume_by_now)
        outputs: list[Output] = []
        for row, code in cut.bad:
            name, fields = frame.names[row], self.quotes.row_fields(row)
            detail = f"{name} quote: bid {fields['bid']:g} x {fields['bid_size']:g}, ask {fields['ask']:g} x {fields['ask_size']:g}, day's volume {fields['volume']:g}"
            raw = raw_json({"symbol": name, **fields})
            outputs.append(quarantined(source, "data.quotes", name, code, detail, raw, fields["quote_time"], now))
            outputs += frame.verdict(state.QUOTE_SANITY, source, name, Fault(code, detail), now)
        outputs += frame.good_names(state.QUOTE_SANITY, source, {frame.names[row] for row in cut.fine}, now)
        record = {
            "event_time": now,
            "available_time": now,
            "group": frame.group,
            "source": source,
            "session": session,
            "symbols": [frame.names[row] for row in cut.rows],
            **self.quotes.columns(cut.rows),
            "config_hash": frame.config_hash,
        }
        outputs.append(Output("data.quotes", record, source, len(cut.fine)))
        return outputs, cut.updated.tolist()

    def _trade_slice(self, now: int, closes: Floats) -> list[Output]:
        frame, source = self._frame, self._source
        trades, self.trades = self.trades, []
        reference = closes[np.array([frame.row[trade.symbol] for trade in trades], dtype=np.int64)]
        codes = judge_trades(trades, reference, frame.targets.DAILY_JUMP_MAX)
        outputs: list[Output] = []
        good: list[TradeTick] = []
        for trade, code in zip(trades, codes.tolist(), strict=True):
            if code == prices.PASS:
                good.append(trade)
                continue
            detail = f"{trade.symbol} trade: {trade.size:g} at {trade.price:g}"
            raw = raw_json(trade._asdict())
            outputs.append(
                quarantined(source, "data.trades", trade.symbol, prices.CODES[code], detail, raw, trade.time, now)
            )
        record = {
            "event_time": now,
            "available_time": now,
            "group": frame.group,
            "source": source,
            "symbols": [trade.symbol for trade in good],
            "price": [trade.price for trade in good],
            "size": [trade.size for trade in good],
            "trade_time": [trade.time for trade in good],
            "config_hash": frame.config_hash,
        }
        outputs.append(Output("data.trades", record, source, len(good)))
        return outputs
