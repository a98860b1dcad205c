"""What the gates alone cost a bar, and whether memory stays flat: the engine by itself, without Avro and Kafka."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice

import psutil

from benchmarks.publish import observations
from data_plane.engine import DataEngine
from triplane.domain.targets import DataTargets

NAMES = 500
CHUNK = 200


@dataclass(frozen=True, slots=True)
class Cost:
    """Nanoseconds a bar in the engine, and resident memory in MB after the first tenth and at the end."""

    bars: int
    nanoseconds: float
    early_mb: float
    late_mb: float


def measure(bars: int = 10_000_000, names: int = NAMES) -> Cost:
    """Take `bars` bars in slices of `names`. Raises RuntimeError when one of them does not pass."""
    process = psutil.Process()
    engine: DataEngine | None = None
    source = observations(names, bars // names)
    spent, taken, early = 0.0, 0, 0.0
    while chunk := list(islice(source, CHUNK)):
        engine = engine or DataEngine("main", chunk[0].symbols, DataTargets(), "bench")
        started = time.perf_counter()
        for observation in chunk:
            engine.take(observation)
        spent += time.perf_counter() - started
        taken += len(chunk) * names
        if not early and taken >= bars / 10:
            early = process.memory_info().rss / 1e6
    published = engine.ledger.published["bench"] if engine else 0
    if published != taken:
        raise RuntimeError(f"{taken - published} of {taken} bars did not pass; the figures would mean nothing")
    return Cost(taken, spent / taken * 1e9, early, process.memory_info().rss / 1e6)
