"""What a quote or trade costs the Data Plane's engine, taken and in its slices, without Avro and Kafka: `python -m benchmarks.ticks`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np

from data_plane.engine import DataEngine
from data_plane.observations import QuoteTick, TradeTick
from triplane.domain import calendars
from triplane.domain.targets import DataTargets
from triplane.domain.timestamps import SECOND

PER_SECOND = 4
"""Updates of one name in a second: IB tells a stock's quote every 250 ms at most."""
TRADES = 0.1
"""Share of the updates that are trades."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU nanoseconds a tick taken, the same a tick for the slices of each second, and the records that came of it by topic."""

    names: int
    ticks: int
    taken: float
    sliced: float
    records: dict[str, int]

    def __str__(self) -> str:
        published = ", ".join(f"{count} on {topic}" for topic, count in self.records.items())
        return f"{self.names:,} names, {self.ticks:,} ticks, {self.taken:,.0f} ns to take one, {self.sliced:,.0f} ns for its slices ({published})"


def seconds(names: int, count: int, seed: int = 1) -> Iterator[tuple[int, list[QuoteTick | TradeTick]]]:
    """(end of the second, its ticks) of a market in which every name's best bid and offer wander by ticks of a cent."""
    rng = np.random.default_rng(seed)
    symbols = [f"N{number:04d}" for number in range(names)]
    bid = np.full(names, 5000)
    begin = calendars.session_open("XNYS", date(2018, 1, 22))
    for number in range(count):
        ticks: list[QuoteTick | TradeTick] = []
        for part in range(PER_SECOND):
            at = begin + number * SECOND + part * SECOND // PER_SECOND
            bid = np.clip(bid + rng.integers(-1, 2, names), 4000, 6000)
            sizes = rng.integers(1, 50, (names, 2)) * 100.0
            for name, price, (bid_size, ask_size), trades in zip(
                symbols, (bid / 100).tolist(), sizes.tolist(), (rng.random(names) < TRADES).tolist(), strict=True
            ):
                if trades:
                    ticks.append(TradeTick("bench", name, at, price + 0.01, 100.0))
                else:
                    ticks.append(
                        QuoteTick("bench", name, at, price, price + 0.01, bid_size, ask_size, price, 1e6, "live", False)
                    )
        yield begin + (number + 1) * SECOND, ticks


def measure(names: int = 500, count: int = 200) -> Cost:
    """`count` market seconds of `names` names through the engine alone, one look at the clock a second."""
    engine: DataEngine | None = None
    taken = sliced = 0.0
    total = 0
    records: dict[str, int] = {}
    for end, ticks in seconds(names, count):
        engine = engine or DataEngine("main", [tick.symbol for tick in ticks[:names]], DataTargets(), "bench")
        take = engine.take
        started = time.process_time()
        for tick in ticks:
            take(tick)
        between = time.process_time()
        outputs = engine.advance("bench", end)
        sliced += time.process_time() - between
        taken += between - started
        total += len(ticks)
        for output in outputs:
            records[output.topic] = records.get(output.topic, 0) + 1
    return Cost(names, total, taken / total * 1e9, sliced / total * 1e9, records)


if __name__ == "__main__":
    for cost in (measure(500), measure(3000, 40)):
        print(cost)
