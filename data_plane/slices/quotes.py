"""Best bids and offers between two slices: the latest quote a name. And the judgement of trades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_plane.gates import prices
from data_plane.gates.size_units import in_lots
from data_plane.observations import NO_DATA, Floats, Ints, QuoteTick, TradeTick

# Columns of QuoteBook.values.
BID, ASK, BID_SIZE, ASK_SIZE, LAST, QUOTE_VOLUME = range(6)
QUOTE_COLUMNS = ("bid", "ask", "bid_size", "ask_size", "last", "volume")


class QuoteCut(NamedTuple):
    """One slice, in rows: names to publish, names with an update that no slice carried, those of them that passed, and those
    that did not with their codes."""

    rows: Ints
    updated: Ints
    fine: list[int]
    bad: list[tuple[int, str]]


class QuoteBook:
    """Latest quote per name, aligned with the universe. A name whose latest quote is bad has none until a good one comes."""

    def __init__(self, names: int) -> None:
        self.values = np.full((names, len(QUOTE_COLUMNS)), np.nan)
        self.time = np.zeros(names, dtype=np.int64)
        self.status = [NO_DATA] * names
        self.halted = [False] * names
        self._known = np.zeros(names, dtype=np.bool_)
        self._new = np.zeros(names, dtype=np.bool_)

    @property
    def pending(self) -> int:
        """Updates that no slice has carried."""
        return int(self._new.sum())

    def update(self, row: int, tick: QuoteTick) -> bool:
        """Take an update; True when it replaces one that no slice has carried (the older one is conflated)."""
        self.values[row] = tick[3:9]
        self.time[row] = tick.time
        self.status[row] = tick.status
        self.halted[row] = tick.halted
        conflated = bool(self._new[row])
        self._new[row] = True
        return conflated

    def cut(self, spread_max: float, volume_by_now: Floats) -> QuoteCut:
        """End the slice: judge the updates, forget the bad ones, and say which names have a quote to publish.

        `volume_by_now` (names,): the day's usual volume so far, NaN where unknown.
        """
        updated = np.flatnonzero(self._new)
        part = self.values[updated]
        codes = prices.judge_quotes(part[:, BID], part[:, ASK], part[:, BID_SIZE], part[:, ASK_SIZE], spread_max)
        lots = in_lots(part[:, QUOTE_VOLUME], volume_by_now[updated])
        np.putmask(codes, lots & (codes == prices.PASS), prices.SIZE_IN_LOTS)
        good = codes == prices.PASS
        bad = [(int(row), prices.CODES[code]) for row, code in zip(updated[~good], codes[~good], strict=True)]
        self._known[updated] = good
        self._new[:] = False
        return QuoteCut(np.flatnonzero(self._known), updated, updated[good].tolist(), bad)

    def columns(self, rows: Ints) -> dict[str, list[Any]]:
        """The vectors of a QuoteSlice for `rows`."""
        columns: dict[str, list[Any]] = dict(zip(QUOTE_COLUMNS, self.values[rows].T.tolist(), strict=True))
        columns["quote_time"] = self.time[rows].tolist()
        columns["status"] = [self.status[row] for row in rows]
        columns["halted"] = [self.halted[row] for row in rows]
        return columns

    def row_fields(self, row: int) -> dict[str, Any]:
        """One name's quote as plain fields."""
        fields: dict[str, Any] = dict(zip(QUOTE_COLUMNS, self.values[row].tolist(), strict=True))
        return {**fields, "quote_time": int(self.time[row]), "status": self.status[row], "halted": self.halted[row]}


def judge_trades(trades: Sequence[TradeTick], reference: Floats, limit: float) -> NDArray[np.int8]:
    """Verdict per trade; `reference` (n,) is each trade's name's last good close, NaN when unknown. A size of 0 is no trade."""
    price = np.array([trade.price for trade in trades])
    return judge_prices(price, np.array([trade.size for trade in trades]), reference, limit)


def judge_prices(price: Floats, size: Floats, reference: Floats, limit: float) -> NDArray[np.int8]:
    """`judge_trades` of columns (n,)."""
    values = np.column_stack([price, price, price, price, size, price])
    codes = prices.judge_bars(values, reference, np.full(len(price), limit))
    np.putmask(codes, (codes == prices.PASS) & (size <= 0.0), prices.VOLUME_NEGATIVE)
    return codes
