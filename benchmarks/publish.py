"""Gated and published bars beside a raw produce loop: what the gates, Avro and our producer cost on the way to Kafka.

Both sides write slices of the same size to the same topic of the same broker with acks=all and idempotence. The raw side produces one
prepared payload again and again; ours judges fresh observations, encodes them and produces them. Before timing, what our side wrote is
read back and compared with what went in.
"""

from __future__ import annotations

import time
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


@dataclass(frozen=True, slots=True)
class Rates:
    """Bars a second, of slices with `names` names."""

    names: int
    slices: int
    gated: float
    raw: float


def observations(names: int, slices: int, seed: int = 1) -> list[Bars]:
    """Five-second slices of a random walk inside one session, so mild that every bar passes the gates."""
    rng = np.random.default_rng(seed)
    symbols = tuple(f"N{number:04d}" for number in range(names))
    close = 50 * np.exp(np.cumsum(rng.normal(0, 1e-4, (slices, names)), axis=0))
    opened = calendars.session_open("XNYS", to_datetime(1_516_800_000 * SECOND).date())
    result = []
    for number in range(slices):
        c = close[number]
        o = close[number - 1] if number else c
        values = np.column_stack(
            [o, np.maximum(o, c), np.minimum(o, c), c, rng.integers(100, 1000, names), (o + c) / 2]
        )
        end = opened + (number + 1) * 5 * SECOND
        day = to_datetime(opened).date().isoformat()
        result.append(Bars("bench", "5s", day, end, end, symbols, values, np.full(names, 5)))
    return result


def measure(settings: Settings, names: int = 500, slices: int = 2000) -> Rates:
    """Bars a second on both sides. `settings` names a broker where the catalogue's topics exist and are empty."""
    bars = observations(names, slices)
    engine = DataEngine("main", bars[0].symbols, DataTargets(), "bench")
    writer = TopicWriter(settings, "data")
    started = time.perf_counter()
    for observation in bars:
        for output in engine.take(observation):
            writer.send(output.topic, output.record)
    writer.flush(120)
    gated = names * slices / (time.perf_counter() - started)
    writer.close()
    written = [record for record in read_all(settings, ["data.bars"]) if record.value is not None]
    if len(written) != slices or any(
        record.value is None or record.value["close"] != observation.values[:, 3].tolist()
        for record, observation in zip(written, bars, strict=True)
    ):
        raise RuntimeError("what was published is not what was observed; the figures would mean nothing")
    payload = written[-1].raw
    assert codec.load().decode("BarSlice", payload)["symbols"] == list(bars[0].symbols)
    producer = Producer(
        {"bootstrap.servers": settings.bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 0}
    )
    started = time.perf_counter()
    for _ in range(slices):
        producer.produce(settings.topic("data.trades"), payload, key=b"main")
        producer.poll(0)
    producer.flush(120)
    raw = names * slices / (time.perf_counter() - started)
    return Rates(names, slices, gated, raw)
