"""The latest quote of each name, and whether it may be traded on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.panel import column_index, move
from strategy_plane.inputs.window import Array
from triplane.domain.timestamps import SECOND

# Quote states, in the order in which they are told; the empty code is a quote that may be traded on.
OK, STALE, DELAYED, HALTED = "", "DATA_STALE", "DATA_DELAYED", "HALTED"


class QuoteBoard:
    """Newest quote per name. Slices are kept as they come and read newest first when asked, so that a burst costs nothing."""

    def __init__(self, symbols: Sequence[str]) -> None:
        n = len(symbols)
        self._symbols = list(symbols)
        self._column = column_index(symbols)
        self.bid: Array = np.full(n, np.nan)
        self.ask: Array = np.full(n, np.nan)
        self.time: NDArray[np.int64] = np.zeros(n, dtype=np.int64)
        self._live: NDArray[np.bool_] = np.zeros(n, dtype=bool)
        self._delayed: NDArray[np.bool_] = np.zeros(n, dtype=bool)
        self._halted: NDArray[np.bool_] = np.zeros(n, dtype=bool)
        self._slices: list[Mapping[str, Any]] = []

    def offer(self, record: Mapping[str, Any]) -> None:
        """Take a QuoteSlice."""
        if record["symbols"]:
            self._slices.append(record)

    def settle(self) -> None:
        """Read the slices taken since, newest first; a name takes its first, and slices of names all seen already are passed over."""
        seen = np.zeros(len(self._symbols), dtype=bool)
        before: list[list[str]] = []
        for record in reversed(self._slices):
            symbols = record["symbols"]
            if symbols in before:
                continue
            before.append(symbols)
            pairs = [(self._column[s], row) for row, s in enumerate(symbols) if s in self._column]
            pairs = [pair for pair in pairs if not seen[pair[0]]]
            if pairs:
                self._take(record, np.array(pairs, dtype=np.int64))
                seen[[pair[0] for pair in pairs]] = True
        self._slices = []

    def _take(self, record: Mapping[str, Any], pairs: NDArray[np.int64]) -> None:
        columns, rows = pairs[:, 0], pairs[:, 1]
        status = np.array(record["status"])[rows]
        self.bid[columns] = np.array(record["bid"], dtype=np.float64)[rows]
        self.ask[columns] = np.array(record["ask"], dtype=np.float64)[rows]
        self.time[columns] = np.array(record["quote_time"], dtype=np.int64)[rows]
        self._live[columns] = status == "live"
        self._delayed[columns] = status == "delayed"
        self._halted[columns] = np.array(record["halted"], dtype=bool)[rows]

    def two_sided(self) -> NDArray[np.bool_]:
        """Names whose bid and ask are both there and not crossed (N)."""
        with np.errstate(invalid="ignore"):
            return np.isfinite(self.bid) & np.isfinite(self.ask) & (self.bid > 0) & (self.ask >= self.bid)

    def mid(self) -> Array:
        """Mean of bid and ask (N); NaN where there are not both."""
        return np.where(self.two_sided(), 0.5 * (self.bid + self.ask), np.nan)

    def half_spread(self) -> Array:
        """Half of ask minus bid, as a fraction of mid (N); NaN as in `mid`."""
        return (self.ask - self.bid) * 0.5 / self.mid()

    def codes(self, t: int, freshness_s: float) -> list[str]:
        """Why each name's quote cannot be traded on at t (N), empty when it can; `freshness_s` in market seconds."""
        fresh = self.two_sided() & self._live & (t - self.time <= freshness_s * SECOND)
        code = np.where(self._halted, HALTED, np.where(self._delayed, DELAYED, np.where(fresh, OK, STALE)))
        return [str(value) for value in code]

    def reindex(self, symbols: Sequence[str], source: Sequence[int]) -> None:
        """Take a new list of names, as PricePanel.reindex did."""
        for name, fill in (
            ("bid", np.nan),
            ("ask", np.nan),
            ("time", 0),
            ("_live", 0),
            ("_delayed", 0),
            ("_halted", 0),
        ):
            setattr(self, name, move(getattr(self, name), source, fill))
        self._symbols = list(symbols)
        self._column = column_index(symbols)

    def state(self) -> dict[str, Any]:
        """For snapshots, after `settle`."""
        return {
            "symbols": list(self._symbols),
            "bid": self.bid.copy(),
            "ask": self.ask.copy(),
            "time": self.time.copy(),
            "live": self._live.copy(),
            "delayed": self._delayed.copy(),
            "halted": self._halted.copy(),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> QuoteBoard:
        """A board that continues from `state()`."""
        board = cls(state["symbols"])
        board.bid, board.ask, board.time = (np.array(state[name]) for name in ("bid", "ask", "time"))
        board._live, board._delayed, board._halted = (np.array(state[name]) for name in ("live", "delayed", "halted"))
        return board
