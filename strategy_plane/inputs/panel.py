"""The price panel: completed daily bars of all names, streamed row by row.

A return is close over the name's last known close minus one, so a halt gives NaN on the halted sessions and the whole move on
the session when trading resumes. Nothing is filled forward and no name is dropped for listing late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.window import Array, RowWindow
from triplane.domain import calendars
from triplane.domain.lots import PRICE_MAX, PRICE_MIN
from triplane.domain.timestamps import DAY

ADV_SESSIONS = 21
SPLIT_MAX = 1e4
"""New units per old one, and the other way round: the largest on record are some thousands for one."""


def column_index(symbols: Sequence[str]) -> dict[str, int]:
    """Column of each symbol."""
    return {symbol: column for column, symbol in enumerate(symbols)}


def positive(values: Array) -> Array:
    """Volumes with everything that is not finite and above zero as NaN."""
    good = np.isfinite(values) & (values > 0)
    return np.where(good, values, np.nan)


def prices(values: Array) -> Array:
    """Prices with everything that can be none as NaN; see PRICE_MIN and PRICE_MAX."""
    with np.errstate(invalid="ignore"):
        return np.where((values >= PRICE_MIN) & (values <= PRICE_MAX), values, np.nan)


class PricePanel:
    """Closes, returns and volumes, T sessions x N names. Rows wait as pending until `advance` closes them."""

    def __init__(self, symbols: Sequence[str]) -> None:
        n = len(symbols)
        self.symbols = list(symbols)
        self._column = column_index(symbols)
        self.sessions: list[str] = []
        self.close = RowWindow(n)
        self.returns = RowWindow(n)
        self.volume = RowWindow(n)
        self.session_time = RowWindow(1)
        self.last_close: Array = np.full(n, np.nan)
        self.age: NDArray[np.int64] = np.zeros(n, dtype=np.int64)  # sessions since the first bar, that one included
        self.idle: NDArray[np.int64] = np.zeros(n, dtype=np.int64)  # sessions since the last bar
        self.late = 0  # bars that came after their session was closed, and were not used
        self._pending: dict[str, tuple[Array, Array]] = {}
        self._backfill: dict[str, tuple[Array, Array]] = {}  # empty between steps
        # (session, column) of `_backfill` that came by way of quarantine: until when its provider had adjusted it
        self._let_out: dict[tuple[str, int], int] = {}
        self._splits: list[tuple[str, int, float]] = []
        self._settled: list[tuple[str, int, float]] = []  # those that older rows were adjusted for

    def offer(self, record: Mapping[str, Any]) -> list[tuple[str, int, float]]:
        """Take a daily BarSlice; returns the splits (symbol, time, ratio) that it settles.

        The first value per session and name wins. A split waits for the name's first daily bar after it. When that bar was loaded as history,
        the provider adjusted the older ones as well; when it came live, the older ones are adjusted here. A live one that came by way of
        quarantine is history that nobody adjusted since it came, or was asked for: it is here, for all splits after that. History of sessions that are closed waits for `fill`.
        """
        session, symbols = record["session"], record["symbols"]
        if not symbols or not session:
            return []
        closed = bool(self.sessions) and session <= self.sessions[-1]
        if closed and not record["history"]:
            self.late += len(symbols)
            return []
        waiting = self._backfill if closed else self._pending
        if session not in waiting:
            n = len(self.symbols)
            waiting[session] = (np.full(n, np.nan), np.full(n, np.nan))
        closes, volumes = waiting[session]
        if symbols == self.symbols:
            columns: Any = slice(None)
            rows: Any = slice(None)
        else:
            pairs = [(self._column[s], row) for row, s in enumerate(symbols) if s in self._column]
            columns = [pair[0] for pair in pairs]
            rows = [pair[1] for pair in pairs]
        close = prices(np.asarray(record["close"], dtype=np.float64)[rows])
        volume = np.asarray(record["volume"], dtype=np.float64)[rows]
        volume = np.where(np.isfinite(volume) & (volume >= 0), volume, np.nan)
        let_out = bool(record.get("released"))
        if let_out:
            until = max(int(record["event_time"]), int(record.get("adjusted_until", 0)))
            ratio = self._since(symbols, until)
            close, volume = close / ratio, volume * ratio
            if closed:
                self._let_out |= {
                    (session, self._column[symbol]): until for symbol in symbols if symbol in self._column
                }
        closes[columns] = np.where(np.isfinite(closes[columns]), closes[columns], close)
        volumes[columns] = np.where(np.isfinite(volumes[columns]), volumes[columns], volume)
        if not self._splits:
            return []
        return self._settle(symbols, bool(record["history"]) and not let_out, int(record["event_time"]))

    def split(self, symbol: str, time: int, ratio: float) -> None:
        """Note a split of `ratio` new units per old one; it is settled by the name's first daily bar after it. One that can be none is ignored."""
        if symbol in self._column and 1.0 / SPLIT_MAX <= ratio <= SPLIT_MAX:
            self._splits.append((symbol, int(time), float(ratio)))

    def _settle(self, symbols: Sequence[str], history: bool, until: int) -> list[tuple[str, int, float]]:
        """Splits of these names up to a time (ns UTC)."""
        settled = [entry for entry in self._splits if entry[0] in symbols and entry[1] <= until]
        self._splits = [entry for entry in self._splits if entry not in settled]
        if not history:
            for symbol, time, ratio in settled:
                column = self._column[symbol]
                self.close.all()[:, column] /= ratio
                self.volume.all()[:, column] *= ratio
                self.last_close[column] /= ratio
                self._adjust_waiting(column, time, ratio)
            self._settled += settled
        return settled

    def _adjust_waiting(self, column: int, time: int, ratio: float) -> None:
        """Older bars that wait for `advance`, and those out of quarantine that wait for `fill`."""
        adjusted = self._let_out.get
        rows = [(session, bars) for session, bars in self._backfill.items() if adjusted((session, column), time) < time]
        for session, (closes, volumes) in [*self._pending.items(), *rows]:
            if session_midnight(session) < time:
                closes[column] /= ratio
                volumes[column] *= ratio

    def _since(self, symbols: Sequence[str], time: int) -> Array:
        """Units of now for one of `time` (ns UTC), of each of these names that the panel has."""
        ratio = dict.fromkeys((symbol for symbol in symbols if symbol in self._column), 1.0)
        for symbol, at, new in self._settled:
            if symbol in ratio and at > time:
                ratio[symbol] *= new
        return np.array(list(ratio.values()))

    def fill(self) -> list[int]:
        """Put history that came for closed sessions where a name has no bar; returns the columns that changed, ascending.

        So a name that joins late has the same past as one that was always there. What is known already stays.
        """
        if not self._backfill:
            return []
        close, volume, returns = self.close.all(), self.volume.all(), self.returns.all()
        row_of = {session: row for row, session in enumerate(self.sessions)}
        changed = np.zeros(len(self.symbols), dtype=bool)
        for session, (closes, volumes) in sorted(self._backfill.items()):
            row = row_of.get(session)
            if row is None:
                self.late += int(np.isfinite(closes).sum())
                continue
            new = np.isfinite(closes) & ~np.isfinite(close[row])
            self.late += int(np.isfinite(closes).sum() - new.sum())
            close[row] = np.where(new, closes, close[row])
            volume[row] = np.where(np.isfinite(volume[row]), volume[row], volumes)
            changed |= new
        self._backfill, self._let_out = {}, {}
        columns = np.flatnonzero(changed)
        count = len(close)
        for column in columns.tolist():
            values = close[:, column]
            seen = np.flatnonzero(np.isfinite(values))
            returns[:, column] = np.nan
            returns[seen[1:], column] = values[seen[1:]] / values[seen[:-1]] - 1.0
            self.last_close[column] = values[seen[-1]]
            self.age[column], self.idle[column] = count - seen[0], count - 1 - seen[-1]
        return columns.tolist()

    def pending(self) -> list[str]:
        """Sessions that wait for `advance`, oldest first."""
        return sorted(self._pending)

    def advance(self, session: str) -> Array:
        """Close a pending session: append its row and give its returns (N, NaN where there was no bar)."""
        close, volume = self._pending.pop(session)
        seen = np.isfinite(close)
        returns = close / self.last_close - 1.0
        self.last_close = np.where(seen, close, self.last_close)
        self.age = np.where(seen | (self.age > 0), self.age + 1, 0)
        self.idle = np.where(seen, 0, self.idle + 1)
        self.sessions.append(session)
        del self.sessions[: -self.close.capacity]
        self.close.append(close)
        self.volume.append(volume)
        self.returns.append(returns)
        self.session_time.append(np.array([float(session_midnight(session))]))
        return returns

    def behind(self, session: str, calendar: str) -> int:
        """Sessions between the newest row and the one before `session`; 0 when either is not known."""
        if not session or not self.sessions:
            return 0
        newest = date.fromisoformat(self.sessions[-1])
        last = date.fromisoformat(session) - timedelta(days=1)
        if newest >= last:
            return 0
        return len(calendars.sessions(calendar, newest + timedelta(days=1), last))

    def adv(self) -> Array:
        """Median daily volume of the newest 21 completed sessions, units (N); NaN below 11 sessions or when it is zero."""
        ordered = np.sort(self.volume.tail(ADV_SESSIONS), axis=0)  # NaN last
        counts = np.isfinite(ordered).sum(axis=0)
        if len(ordered) == 0:
            return np.full(len(self.symbols), np.nan)
        columns = np.arange(len(self.symbols))
        upper, lower = (
            ordered[np.minimum(counts // 2, len(ordered) - 1), columns],
            ordered[np.maximum(counts - 1, 0) // 2, columns],
        )
        return positive(np.where(counts > ADV_SESSIONS // 2, 0.5 * (lower + upper), np.nan))

    def reindex(self, symbols: Sequence[str]) -> list[int]:
        """Take a new list of names: old columns move, new ones start empty. Returns the old column of each (-1 when new)."""
        source = [self._column.get(symbol, -1) for symbol in symbols]
        for window in (self.close, self.volume, self.returns):
            window.reindex(source, np.nan)
        self.last_close = move(self.last_close, source, np.nan)
        self.age = move(self.age, source, 0)
        self.idle = move(self.idle, source, 0)
        self._pending = {
            session: (move(close, source, np.nan), move(volume, source, np.nan))
            for session, (close, volume) in self._pending.items()
        }
        self.symbols = list(symbols)
        self._column = column_index(symbols)
        self._splits = [entry for entry in self._splits if entry[0] in self._column]
        self._settled = [entry for entry in self._settled if entry[0] in self._column]
        return source

    def state(self) -> dict[str, Any]:
        """For snapshots."""
        return {
            "symbols": list(self.symbols),
            "sessions": list(self.sessions),
            "close": self.close.all().copy(),
            "returns": self.returns.all().copy(),
            "volume": self.volume.all().copy(),
            "session_time": self.session_time.all().copy(),
            "last_close": self.last_close.copy(),
            "age": self.age.copy(),
            "idle": self.idle.copy(),
            "late": self.late,
            "pending": [[s, c.copy(), v.copy()] for s, (c, v) in sorted(self._pending.items())],
            "splits": [list(entry) for entry in self._splits],
            "settled": [list(entry) for entry in self._settled],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> PricePanel:
        """A panel that continues from `state()`."""
        panel = cls(state["symbols"])
        panel.sessions = list(state["sessions"])
        for name in ("close", "returns", "volume", "session_time"):
            getattr(panel, name).load(state[name])
        panel.last_close = np.array(state["last_close"])
        panel.age = np.array(state["age"], dtype=np.int64)
        panel.idle = np.array(state["idle"], dtype=np.int64)
        panel.late = int(state["late"])
        panel._pending = {s: (np.array(c), np.array(v)) for s, c, v in state["pending"]}
        panel._splits = [(str(s), int(t), float(r)) for s, t, r in state["splits"]]
        panel._settled = [(str(s), int(t), float(r)) for s, t, r in state["settled"]]
        return panel


def move(values: NDArray[Any], source: Sequence[int], fill: float) -> NDArray[Any]:
    """Vector reordered as RowWindow.reindex does columns."""
    order = np.asarray(source, dtype=np.int64)
    result = np.full(len(order), fill, dtype=values.dtype)
    known = order >= 0
    result[known] = values[order[known]]
    return result


def move_square(values: Array, source: Sequence[int]) -> Array:
    """Matrix (N x N) with rows and columns reordered; zero where a name is new."""
    order = np.asarray(source, dtype=np.int64)
    result = np.zeros((len(order), len(order)))
    known = np.flatnonzero(order >= 0)
    result[np.ix_(known, known)] = values[np.ix_(order[known], order[known])]
    return result


def session_midnight(session: str) -> int:
    """Midnight UTC of a session's date, ns."""
    return (date.fromisoformat(session) - date(1970, 1, 1)).days * DAY
