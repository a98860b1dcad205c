"""What the order plane knows of the market: last quotes, marks, observed volume. Forgotten at every start; new slices bring it back.

Prices in the asset's currency, quantities in units, times ns UTC. `time` is market time, `wall` the machine's clock at intake.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triplane.domain.lots import PRICE_MAX

KEEP_NS = 7_200_000_000_000  # volume is kept for two hours: the longest POV window plus the longest parent in practice
MOST_UNITS = 1e12
"""Units in five seconds that no market trades. Beside 1e300 every later bar would be lost in the sum, and no order would leave again."""


def _price(value: float) -> float:
    """The value, or NaN where it cannot be a price. Zero and below stay: they say that a side is missing."""
    return value if abs(value) <= PRICE_MAX else math.nan


@dataclass(slots=True)
class Quote:
    """Last best bid and offer of a name; NaN when a side is missing."""

    bid: float
    ask: float
    time: int
    wall: int
    status: str
    halted: bool

    @property
    def mid(self) -> float:
        """Middle of bid and ask; NaN when a side is missing."""
        return (self.bid + self.ask) / 2.0

    @property
    def two_sided(self) -> bool:
        """Both sides are there and positive."""
        return self.bid > 0.0 and self.ask > 0.0 and math.isfinite(self.bid + self.ask)


@dataclass(slots=True)
class Mark:
    """Price that positions are valued at, and when it was true."""

    price: float
    time: int


@dataclass(slots=True)
class Volume:
    """Units the market traded in a name, cumulative since start: `times` ascending, `totals` after each."""

    times: list[int] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)
    dropped: float = 0.0

    def add(self, time: int, units: float) -> None:
        """Units of one bar that ended at `time`; a late bar counts from the latest known time."""
        time = max(time, self.times[-1]) if self.times else time
        self.times.append(time)
        self.totals.append(self.total + units)
        if self.times[0] < time - KEEP_NS:
            keep = bisect_right(self.times, time - KEEP_NS)
            self.dropped = self.totals[keep - 1]
            del self.times[:keep], self.totals[:keep]

    @property
    def total(self) -> float:
        """All units so far."""
        return self.totals[-1] if self.totals else self.dropped

    def until(self, time: int) -> float:
        """Units of bars that ended at or before `time`."""
        place = bisect_right(self.times, time)
        return self.totals[place - 1] if place else self.dropped


@dataclass(slots=True)
class Market:
    """Quotes, marks and volumes by symbol."""

    quotes: dict[str, Quote] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    slices: dict[str, int] = field(default_factory=dict)
    """When slices of 5 s bars were available, by source, group and time: those of the last KEEP_NS that were counted."""
    newest_slice: int = 0
    late_since: int = 0
    """Market time since when a held name's mark has been late, 0 while none is; `late_seen` when that was last so."""
    late_since_wall: int = 0
    """When that was on the wall clock, ns."""
    late_seen: int = 0
    kept_told: dict[str, int] = field(default_factory=dict)
    """Day (market time, days since 1970) on which a silent name was last told to a person: on a busy machine marks come late in rows."""

    def take_quotes(self, record: Mapping[str, Any], wall: int) -> None:
        """A QuoteSlice: quotes, and marks from good live mids."""
        rows = zip(
            record["symbols"],
            record["bid"],
            record["ask"],
            record["quote_time"],
            record["status"],
            record["halted"],
            strict=True,
        )
        for symbol, bid, ask, time, status, halted in rows:
            quote = Quote(_price(bid), _price(ask), time, wall, status, halted)
            self.quotes[symbol] = quote
            if quote.two_sided and status == "live" and bid <= ask:
                self._mark(symbol, quote.mid, time)

    def take_bars(self, record: Mapping[str, Any]) -> None:
        """A live BarSlice: 5 s bars bring volume, daily bars bring closing marks."""
        time = record["available_time"]
        if record["interval"] == "5s":
            place = f"{record['source']}/{record['group']}/{record['event_time']}"
            self.newest_slice = max(self.newest_slice, time)
            if self.slices.get(place) == time or time < self.newest_slice - KEEP_NS:
                return  # a data plane that was killed while it emptied its spool sends again what Kafka had: traded once
            self.slices[place] = time
            while self.slices[first := next(iter(self.slices))] < self.newest_slice - KEEP_NS:
                del self.slices[first]
            for symbol, units in zip(record["symbols"], record["volume"], strict=True):
                if 0.0 < units <= MOST_UNITS:
                    self.volumes.setdefault(symbol, Volume()).add(time, units)
        else:
            for symbol, close in zip(record["symbols"], record["close"], strict=True):
                if _price(close) > 0.0:
                    self._mark(symbol, close, record["event_time"])

    def _mark(self, symbol: str, price: float, time: int) -> None:
        # A session's daily bar is asked for after its close and may come in the next one: no old price over a quote of now.
        last = self.marks.get(symbol)
        if last is None or time >= last.time:
            self.marks[symbol] = Mark(price, time)

    def volume(self, symbol: str) -> Volume:
        """Observed volume of a name; empty when none was seen."""
        return self.volumes.get(symbol) or Volume()
