"""Order flow between two slices of one source: increments of the best quotes, signed volume, depth, and the record on data.micro.

Every update counts, not only the last of a slice as on data.quotes. Taking one is an append; the arithmetic is done for all of them
together when market time is told. An increment compares a quote with the one before it, also over slices, so slices add up. A quote that does not
count ends its name's chain, and so does what may hide quotes: the first good one afterwards has no increment. Not counted are quotes

    with one side only or a size that is no number of units · that price sanity refuses · of a halted name
    that are not live (delayed, frozen) · stamped outside the session

and trades that price sanity refuses, outside the session, or of a name whose latest quote is not live or says that it is halted.
Chains also end with the session and where listening restarts (`resume`). IB tells a stock's best quote every 250 ms at most, so this is the
flow between snapshots: what came and went in between nets out.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from data_plane.gates import prices
from data_plane.gates.size_units import in_lots
from data_plane.observations import LIVE, Floats, Ints, QuoteTick, TradeTick
from data_plane.outputs import Output
from data_plane.slices import order_flow
from data_plane.slices.frame import Frame
from data_plane.slices.order_flow import ASK, BID, BID_SIZE, Flags
from data_plane.slices.quotes import judge_prices
from triplane.domain.timestamps import SECOND

Hours = tuple[int, int]
"""Open and close of a session, ns UTC, both within it."""
SIZE_MAX: Final = 2.0**53
"""From here on a double does not tell one unit from the next."""


class _Book(NamedTuple):
    """The quotes of one fold, by name and arrival: ascending keys (name times `stride`, plus place), mids (NaN: no good quote), live."""

    keys: Ints
    stride: int
    mids: Floats
    live: Flags


class MicroSlices:
    """What one source's quotes and trades add up to since the latest slice, a row a name. `last` is that slice's time, ns UTC."""

    def __init__(self, frame: Frame, source: str, last: int = 0) -> None:
        self._frame = frame
        self._source = source
        self.last = last
        self._hours: Hours = (0, 0)
        self._closes = np.full(len(frame.names), np.nan)
        # As they came, until they are folded; of a trade also how many quotes came before it.
        self._quotes: list[QuoteTick] = []
        self._quote_rows: list[int] = []
        self._trades: list[TradeTick] = []
        self._trade_rows: list[int] = []
        self._trade_places: list[int] = []
        self._breaks: list[tuple[int, int]] = []
        """Quotes and trades that had come when listening restarted."""
        names = len(frame.names)
        # Carried from slice to slice: the quote that stands (NaN: none), and what the tick test needs of the last trade.
        self._standing = np.full((names, 4), np.nan)
        self._live = np.ones(names, dtype=np.bool_)
        """False where the latest quote is not live or of a halted name; without a quote nothing speaks against a trade."""
        self._price = np.full(names, np.nan)
        self._direction = np.zeros(names)
        # Sums since the latest slice.
        self._volume_by_now: Floats | None = None
        self._present = np.zeros(names, dtype=np.bool_)
        self._ofi, self._depth, self._signed = np.zeros(names), np.zeros(names), np.zeros(names)
        self._increments = np.zeros(names, dtype=np.int64)

    # -- what comes ------------------------------------------------------------------------------------------------------------
    def quote(self, row: int, tick: QuoteTick) -> None:
        """Take a quote of the name at `row`."""
        self._quotes.append(tick)
        self._quote_rows.append(row)

    def trade(self, row: int, tick: TradeTick) -> None:
        """Take a trade of the name at `row`."""
        self._trades.append(tick)
        self._trade_rows.append(row)
        self._trade_places.append(len(self._quotes))

    def resume(self) -> None:
        """Listening restarts: what comes is not compared with what came before."""
        place = (len(self._quotes), len(self._trades))
        if not self._breaks or self._breaks[-1] != place:
            self._breaks.append(place)

    # -- slices ----------------------------------------------------------------------------------------------------------------
    def slice(
        self,
        now: int,
        known: int,
        hours: Hours,
        closes: Floats,
        *,
        volume_by_now: Floats | None = None,
        due: bool = False,
    ) -> list[Output]:
        """The record of what came since the latest slice, if MICRO_SLICE_S market seconds have passed since (or with `due`).

        `now` is the slice's time, `known` when it can be known; `hours` are the session's, `closes` (names,) last good closes,
        `volume_by_now` (names,) the day's usual volume so far, NaN (or None for all) where unknown.
        """
        outputs: list[Output] = []
        if hours != self._hours:
            outputs = self._cut(min(now, self._hours[1]), known)
            self._forget_session()
            self._hours = hours
        self._closes, self._volume_by_now = closes, volume_by_now
        self._fold()
        if due or now - self.last >= self._frame.targets.MICRO_SLICE_S * SECOND:
            outputs += self._cut(now, known)
        return outputs

    def close(self, now: int) -> list[Output]:
        """The session is over: the record of its rest. What came after it is forgotten."""
        if not (self._quotes or self._trades or self._present.any()):
            return []
        self._fold()
        outputs = self._cut(min(now, self._hours[1]), now)
        self._forget_session()
        return outputs

    def _cut(self, now: int, known: int) -> list[Output]:
        """Hand out the sums. Nothing where no name has any, or where a slice of this time or later is out: its identity is taken."""
        rows = np.flatnonzero(self._present)
        if not len(rows) or now <= self.last:
            return []
        self.last = now
        frame, standing, count = self._frame, self._standing[rows], self._increments[rows]
        mean = np.where(count > 0, self._depth[rows] / np.maximum(count, 1), order_flow.depth(standing))
        record: dict[str, Any] = {
            "event_time": now,
            "available_time": known,
            "group": frame.group,
            "source": self._source,
            "symbols": [frame.names[row] for row in rows.tolist()],
            "ofi": self._ofi[rows].tolist(),
            "depth": mean.tolist(),
            "signed_volume": self._signed[rows].tolist(),
            "mid": order_flow.mid(standing).tolist(),
            "spread": (standing[:, ASK] - standing[:, BID]).tolist(),
            "increments": count.tolist(),
            "config_hash": frame.config_hash,
        }
        self._clear_sums()
        return [Output("data.micro", record, self._source, 0)]

    def _clear_sums(self) -> None:
        for sums in (self._present, self._ofi, self._depth, self._signed, self._increments):
            sums[:] = 0

    def _forget_session(self) -> None:
        self._clear_sums()
        self._end_chains()

    def _end_chains(self) -> None:
        self._standing[:] = np.nan
        self._price[:] = np.nan
        self._direction[:] = 0.0

    # -- folding ---------------------------------------------------------------------------------------------------------------
    def _fold(self) -> None:
        """Add what was taken to the sums, stretch by stretch between restarts of listening."""
        ends = [*self._breaks, (len(self._quotes), len(self._trades))]
        begin = (0, 0)
        for number, end in enumerate(ends):
            if number:
                self._end_chains()
            quotes, trades = slice(begin[0], end[0]), slice(begin[1], end[1])
            if begin != end:
                book = self._fold_quotes(self._quotes[quotes], self._quote_rows[quotes], self._trade_rows[trades])
                if end[1] > begin[1]:
                    places = np.array(self._trade_places[trades], dtype=np.int64) - begin[0]
                    self._fold_trades(self._trades[trades], self._trade_rows[trades], places, book)
            begin = end
        for taken in (self._quotes, self._quote_rows, self._trades, self._trade_rows, self._trade_places, self._breaks):
            taken.clear()

    def _fold_quotes(self, ticks: list[QuoteTick], tick_rows: list[int], trade_rows: list[int]) -> _Book:
        """Sum the increments of these quotes, n of them; the quote that stands of each name goes in front as if it had come first."""
        new = np.array(tick_rows, dtype=np.int64)
        touched = self._distinct(new, trade_rows)
        standing = self._standing[touched]
        values, good, live = self._judged(ticks, new)
        rows = np.concatenate([touched, new])
        order = np.argsort(rows, kind="stable")
        rows, quotes = rows[order], np.concatenate([standing, values])[order]
        good = np.concatenate([~np.isnan(standing[:, BID]), good])[order]
        live = np.concatenate([self._live[touched], live])[order]
        self._present[rows[good & (order >= len(touched))]] = True
        later = 1 + np.flatnonzero((rows[1:] == rows[:-1]) & good[1:] & good[:-1])
        names = len(self._present)
        flow = order_flow.increments(quotes[later - 1], quotes[later])
        self._ofi += np.bincount(rows[later], flow, names)
        self._depth += np.bincount(rows[later], order_flow.depth(quotes[later]), names)
        self._increments += np.bincount(rows[later], minlength=names)
        newest = np.searchsorted(rows, touched, side="right") - 1
        self._standing[touched] = np.where(good[newest, None], quotes[newest], np.nan)
        self._live[touched] = live[newest]
        # A key for each quote: its name, then the place among the n at which it came, the one that stood before at place 0.
        keys = rows * (len(ticks) + 1) + np.maximum(order - len(touched) + 1, 0)
        mids = np.full(len(rows), np.nan)
        mids[good] = order_flow.mid(quotes[good])
        return _Book(keys, len(ticks) + 1, mids, live)

    def _distinct(self, *rows: Ints | list[int]) -> Ints:
        seen = np.zeros(len(self._present), dtype=np.bool_)
        for part in rows:
            seen[part] = True
        return np.flatnonzero(seen)

    def _judged(self, ticks: list[QuoteTick], rows: Ints) -> tuple[Floats, Flags, Flags]:
        """Quotes (n, 4), which of them count, and which are live, in the unit of the history, and of a name that trades."""
        if not ticks:
            return np.empty((0, 4)), np.empty(0, dtype=np.bool_), np.empty(0, dtype=np.bool_)
        _, _, times, *values, _, volume, status, halted = zip(*ticks, strict=True)
        quotes = np.array(values).T
        bid, ask, bid_size, ask_size = quotes.T
        codes = prices.judge_quotes(bid, ask, bid_size, ask_size, self._frame.targets.SPREAD_MAX)
        # Comparing strings one by one costs more than all the rest, and they are nearly always alike.
        alike = status.count(LIVE) == len(status) and True not in halted
        live = np.ones(len(ticks), dtype=np.bool_) if alike else (np.array(status) == LIVE) & ~np.array(halted)
        if self._volume_by_now is not None:
            live &= ~in_lots(np.array(volume, dtype=np.float64), self._volume_by_now[rows])
        whole = np.isfinite(quotes).all(axis=1) & (quotes[:, BID_SIZE:] <= SIZE_MAX).all(axis=1)
        return quotes, whole & live & (codes == prices.PASS) & self._in_session(times), live

    def _in_session(self, times: tuple[int, ...]) -> Flags:
        at = np.array(times, dtype=np.int64)
        return np.asarray((at >= self._hours[0]) & (at <= self._hours[1]))

    def _fold_trades(self, ticks: list[TradeTick], tick_rows: list[int], places: Ints, book: _Book) -> None:
        """Sum the signed sizes of these trades; `places` (n,) are the quotes of `book` that had come before each."""
        rows = np.array(tick_rows, dtype=np.int64)
        _, _, times, price_list, size_list = zip(*ticks, strict=True)
        price, size = np.array(price_list), np.array(size_list)
        stood = np.searchsorted(book.keys, rows * book.stride + places, side="right") - 1
        limit = self._frame.targets.DAILY_JUMP_MAX
        kept = (judge_prices(price, size, self._closes[rows], limit) == prices.PASS) & (size <= SIZE_MAX)
        kept &= book.live[stood] & self._in_session(times)
        rows, price, size, mids = rows[kept], price[kept], size[kept], book.mids[stood[kept]]
        touched = self._distinct(rows)
        # As with quotes: of each name the last trade that was seen goes in front.
        before = len(touched)
        order = np.argsort(np.concatenate([touched, rows]), kind="stable")
        rows = np.concatenate([touched, rows])[order]
        price = np.concatenate([self._price[touched], price])[order]
        begins = np.isnan(price)
        begins[1:] |= np.isnan(price[:-1])
        begins[1:] |= rows[1:] != rows[:-1]
        begins[:1] = True
        carried = np.concatenate([self._direction[touched], np.zeros(len(size))])[order]
        ticked = order_flow.tick_directions(price, begins, carried)
        newest = np.searchsorted(rows, touched, side="right") - 1
        self._price[touched], self._direction[touched] = price[newest], ticked[newest]
        new = order >= before
        came = order[new] - before
        side = order_flow.sides(price[new], mids[came], ticked[new])
        self._signed += np.bincount(rows[new], side * size[came], len(self._present))
        self._present[touched] = True
