"""The market of the moment: which session and 5-second step it is, quotes, marks, and the engine's orders stepping through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE, NEW_YORK, to_datetime
from triplane.paper.market.history import History
from triplane.paper.market.liquidity import TrueCost
from triplane.paper.market.matching import Impact, MatchingEngine, Quote, Trade, Traded
from triplane.paper.market.path import STEP, Session, Steps

DELAY_STEPS: Final = 15 * MINUTE // STEP


class Look(NamedTuple):
    """A name at an instant: its quote, the last print, and the session so far."""

    quote: Quote
    last: float
    last_size: int
    last_ns: int
    volume: int
    high: float
    low: float
    open: float
    previous_close: float


class Market:
    """Walks the simulated path. `step` 0 is the open; step k is k * 5 s later. Between sessions there are no quotes."""

    def __init__(self, history: History, engine: MatchingEngine, costs: Mapping[str, TrueCost]) -> None:
        """`costs` are the truth for the quoted symbols, which must have closes."""
        self.history = history
        self.engine = engine
        self.costs = costs
        self._names = {symbol: history.closes.symbols.index(symbol) for symbol in costs}
        self.now = 0
        self.session: Session | None = None
        self.step = 0
        self._detail: Steps | None = None
        self._previous: list[float] = []
        self._high: list[float] = []
        self._low: list[float] = []
        self._volume: list[int] = []

    def is_open(self) -> bool:
        """Whether a session is under way."""
        return self.session is not None

    def column(self, symbol: str) -> int:
        """Column of a quoted symbol."""
        return self._names[symbol]

    @property
    def steps(self) -> int:
        """Number of steps of the open session."""
        return len(self._open().bars.volume)

    def day_close(self) -> int:
        """Close of the open session, or of the next one while closed, ns UTC."""
        if self.session is not None:
            return self.session.close_ns
        day = calendars.session_of(calendars.MARKET_CALENDAR, self.now)
        if day is None or self.now >= calendars.session_close(calendars.MARKET_CALENDAR, day):
            day = calendars.next_session(calendars.MARKET_CALENDAR, _local_day(self.now))
        return calendars.session_close(calendars.MARKET_CALENDAR, day)

    def mark(self, symbol: str) -> float:
        """Mid of the moment; between sessions the last real close."""
        name = self._names[symbol]
        if self._detail is not None:
            return float(self._detail.mid[self.step, name])
        return float(self.history.closes.values[self._last_row(), name])

    def open(self, day: date) -> None:
        """Begin the session of `day` at its first step."""
        self.session = self.history.session(day)
        self._detail = self.history.steps(day)
        self.now, self.step = self.session.open_ns, 0
        self._previous = self.history.closes.values[self._last_row()].tolist()
        first = self._detail.bars.open[0].tolist()
        self._high, self._low, self._volume = list(first), list(first), [0] * len(first)
        for symbol, name in self._names.items():
            cost = self.costs[symbol]
            impact = Impact(cost.impact_y, float(self.session.sigma[name]), float(self.session.adv[name]))
            self.engine.open_market(symbol, self._quote(name, 0), impact, self._coming_volume(name, 0))

    def close(self) -> None:
        """End the session."""
        self.engine.close_market()
        self.session = self._detail = None
        self._high, self._low, self._volume = [], [], []

    def advance(self, step: int) -> list[Trade]:
        """Go to `step` of the open session; the engine's orders meet each step on the way."""
        detail = self._open()
        if not self.step <= step <= self.steps:
            raise ValueError(f"step {step} is not between {self.step} and {self.steps}")
        trades: list[Trade] = []
        if not self.engine.working() and step > self.step:
            self._track(self.step, step - 1)
            self.step = step - 1
        while self.step < step:
            self._track(self.step, self.step + 1)
            bar, self.step = self.step, self.step + 1
            high, low, volume = (
                detail.bars.high[bar].tolist(),
                detail.bars.low[bar].tolist(),
                detail.bars.volume[bar].tolist(),
            )
            for symbol, name in self._names.items():
                traded = Traded(high[name], low[name], volume[name])
                trades += self.engine.step(
                    symbol, traded, self._quote(name, self.step), self._coming_volume(name, self.step)
                )
        assert self.session is not None
        self.now = self.session.open_ns + self.step * STEP
        return trades

    def look(self, symbol: str, steps_ago: int = 0) -> Look | None:
        """A name now, or as it was some steps ago (at most back to the open); None between sessions."""
        if self._detail is None or self.session is None:
            return None
        detail, name = self._detail, self._names[symbol]
        step = max(self.step - steps_ago, 0)
        bars = detail.bars
        if step == self.step:
            volume, high, low = self._volume[name], self._high[name], self._low[name]
        else:
            volume = int(bars.volume[:step, name].sum())
            high = float(bars.high[: max(step, 1), name].max())
            low = float(bars.low[: max(step, 1), name].min())
        last = float(bars.close[step - 1, name]) if step else float(bars.open[0, name])
        return Look(
            self._quote(name, step), last, min(int(bars.volume[max(step - 1, 0), name]), 100), self.session.open_ns + step * STEP, volume,
            high, low, float(bars.open[0, name]), self._previous[name],
        )  # fmt: skip

    def last_bar(self) -> tuple[int, Sequence[Sequence[float]]]:
        """Start (ns) and rows per column (open, high, low, close, volume, wap, count) of the 5-second bar that just ended."""
        detail, bar = self._open(), self.step - 1
        b = detail.bars
        columns = (b.open, b.high, b.low, b.close, b.volume, b.wap, b.count)
        rows = list(zip(*(column[bar].tolist() for column in columns), strict=True))
        return b.start + bar * b.step, rows

    def effective_half_spreads(self) -> dict[str, float]:
        """Mean half spread that the open session's quotes show, fraction of mid."""
        detail = self._open()
        mean = ((detail.ask - detail.bid) / (2 * detail.mid)).mean(axis=0).tolist()
        return {symbol: mean[name] for symbol, name in self._names.items()}

    def _open(self) -> Steps:
        if self._detail is None:
            raise ValueError("the market is closed; open a session first")
        return self._detail

    def _track(self, first: int, last: int) -> None:
        """Fold the bars from step `first` to `last` into the session's high, low and volume."""
        if last <= first:
            return
        bars = self._open().bars
        part = slice(first, last)
        highs, lows = bars.high[part].max(axis=0).tolist(), bars.low[part].min(axis=0).tolist()
        self._high = [max(pair) for pair in zip(self._high, highs, strict=True)]
        self._low = [min(pair) for pair in zip(self._low, lows, strict=True)]
        self._volume = [a + b for a, b in zip(self._volume, bars.volume[part].sum(axis=0).tolist(), strict=True)]

    def _quote(self, name: int, step: int) -> Quote:
        d = self._open()
        return Quote(
            float(d.bid[step, name]),
            float(d.ask[step, name]),
            float(d.bid_size[step, name]),
            float(d.ask_size[step, name]),
            float(d.mid[step, name]),
        )

    def _coming_volume(self, name: int, step: int) -> float:
        volume = self._open().bars.volume
        return float(volume[step, name]) if step < len(volume) else 0.0

    def _last_row(self) -> int:
        """Row of the last close before the moment."""
        closes = self.history.closes
        if self.session is not None:
            return closes.row(self.session.day) - 1
        day = calendars.session_of(calendars.MARKET_CALENDAR, self.now)
        if day is not None and self.now >= calendars.session_close(calendars.MARKET_CALENDAR, day):
            return closes.row(day)
        return closes.row(calendars.previous_session(calendars.MARKET_CALENDAR, _local_day(self.now)))


def _local_day(ns: int) -> date:
    return to_datetime(ns, NEW_YORK).date()
