"""Gated and published bars beside raw produce loops: what the gates, Avro and our producer cost on the way to Kafka.

All sides write to the same broker with acks=all and idempotence. One raw loop produces one prepared payload of a whole slice again and
again, the other a prepared payload of a single bar, as systems do that send a message a bar. Ours judges fresh observations, encodes them and
produces slices. Before the figures count, what our side wrote is read back and compared with what went in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from confluent_kafka import Producer

from data_plane.engine import DataEngine
from data_plane.observations import Bars
from schemas import codec
from triplane.domain import calendars
from triplane.domain.targets import DataTargets
from triplane.domain.timestamps import SECOND, to_datetime
from triplane.runtime.kafka_in import read_all
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings

FIRST_DAY = 1_516_800_000 * SECOND
A_DAY = 5 * 3600 // 5
"""Slices of one session that are used: five of its six and a half hours."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Bars a second, of slices with `names` names: ours, a raw loop of the same slices, a raw loop of one bar a message."""

    names: int
    slices: int
    gated: float
    raw_slices: float
    raw_bars: float


def observations(names: int, slices: int, seed: int = 1) -> Iterator[Bars]:
    """Five-second slices of a random walk over as many sessions as it takes, so mild that every bar passes the gates."""
    rng = np.random.default_rng(seed)
    symbols = tuple(f"N{number:04d}" for number in range(names))
    close = np.full(names, 50.0)
    day = to_datetime(FIRST_DAY).date()
    for number in range(slices):
        if number and number % A_DAY == 0:
            day = calendars.next_session("XNYS", day)
        opened = close
        # Drawn back to where it began, so that any number of slices stays near it.
        close = opened * np.exp(rng.normal(0, 1e-4, names) - 0.01 * np.log(opened / 50.0))
        values = np.column_stack(
            [
                opened,
                np.maximum(opened, close),
                np.minimum(opened, close),
                close,
                rng.integers(100, 1000, names),
                (opened + close) / 2,
            ]
        )
        end = calendars.session_open("XNYS", day) + (number % A_DAY + 1) * 5 * SECOND
        yield Bars("bench", "5s", day.isoformat(), end, end, symbols, values, np.full(names, 5))


def measure(settings: Settings, names: int = 500, slices: int = 2000, singles: int = 200_000) -> Rates:
    """Bars a second on all sides. `settings` names a broker where the catalogue's topics exist."""
    bars = list(observations(names, slices))
    engine = DataEngine("main", bars[0].symbols, DataTargets(), "bench")
    writer = TopicWriter(settings, "data")
    started = time.perf_counter()
    for observation in bars:
        for output in engine.take(observation):
            writer.send(output.topic, output.record)
    writer.flush(120)
    gated = names * slices / (time.perf_counter() - started)
    writer.close()
    payload = _compared(settings, bars)
    raw_slices = names * _raw(settings, payload, slices)
    one = codec.load().decode("BarSlice", payload)
    single = {name: value[:1] if isinstance(value, list) else value for name, value in one.items()}
    raw_bars = _raw(settings, codec.load().encode("BarSlice", single), singles)
    return Rates(names, slices, gated, raw_slices, raw_bars)


def slice_latency(settings: Settings, names: int = 3000, slices: int = 60) -> np.ndarray:
    """Seconds from the receipt of a daily slice of `names` names to its acknowledgement, one at a time."""
    engine: DataEngine | None = None
    writer = TopicWriter(settings, "data")
    seconds = []
    day = to_datetime(FIRST_DAY).date()
    for observation in observations(names, slices, seed=2):
        engine = engine or DataEngine("main", observation.symbols, DataTargets(), "bench")
        day = calendars.next_session("XNYS", day)
        close = calendars.session_close("XNYS", day)
        daily = Bars(
            "bench", "1d", day.isoformat(), close, close, observation.symbols, observation.values, observation.trades
        )
        started = time.perf_counter()
        for output in engine.take(daily):
            writer.send(output.topic, output.record)
        writer.flush(30)
        seconds.append(time.perf_counter() - started)
    writer.close()
    return np.array(seconds[5:])  # the first ones make connections


def _compared(settings: Settings, bars: list[Bars]) -> bytes:
    """The last slice's bytes, once all that was published has been found to be what was observed."""
    found = [record for record in read_all(settings, ["data.bars"]) if record.value is not None][-len(bars) :]
    if len(found) != len(bars) or any(
        record.value is None
        or record.value["symbols"] != list(observation.symbols)
        or record.value["close"] != observation.values[:, 3].tolist()
        for record, observation in zip(found, bars, strict=True)
    ):
        raise RuntimeError("what was published is not what was observed; the figures would mean nothing")
    return found[-1].raw


def _raw(settings: Settings, payload: bytes, messages: int) -> float:
    """Messages a second of a bare loop."""
    producer = Producer(
        {"bootstrap.servers": settings.bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 0}
    )
    started = time.perf_counter()
    for _ in range(messages):
        while True:
            try:
                producer.produce(settings.topic("data.trades"), payload, key=b"main")
                break
            except BufferError:  # as any such loop does
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(120)
    return messages / (time.perf_counter() - started)
