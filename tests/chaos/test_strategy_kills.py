"""Law L1 on a real Kafka with real kills: the outputs are those of an uninterrupted run on the same barriers, byte for byte."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.chaos.strategy_harness import (
    StrategyProcess,
    barrier_values,
    input_topics,
    of_seq,
    output_sha,
    repeats,
    strategy_log,
)
from tests.recordings import Market, publish
from tests.waiting import eventually
from triplane.replay import strategy as replay
from triplane.replay.recording import Recording
from triplane.runtime.settings import Settings
from triplane.stack.topics import create_topics, delete_topics

pytestmark = [pytest.mark.chaos, pytest.mark.integration]

# The engine's first model needs 252 sessions: 262 of history put a fit inside the run.
HISTORY = 262


@pytest.fixture
def mirror(settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A second set of topics on the same Kafka, for the uninterrupted run."""
    prefix = f"m{settings.topic_prefix}"
    create_topics(settings.bootstrap, prefix=prefix)
    yield settings.model_copy(update={"topic_prefix": prefix, "state_dir": tmp_path / "mirror"})
    delete_topics(settings.bootstrap, prefix)


def copy_inputs(recording: Recording, target: Settings) -> None:
    """Write inputs and winning barriers, byte for byte and at the same offsets, onto the topics of `target`."""
    producer = Producer(
        {"bootstrap.servers": target.bootstrap, "acks": "all", "enable.idempotence": True, "message.max.bytes": 8 << 20}
    )
    for topic in input_topics():
        for record in recording.raw[topic]:
            producer.produce(target.topic(topic), key=record.key, value=record.raw, partition=record.partition)
    for record in recording.records["strategy.barriers"]:
        producer.produce(target.topic("strategy.barriers"), key=record.key, value=record.raw, partition=0)
    assert producer.flush(60) == 0


def assert_same_as_uninterrupted(recording: Recording, mirror: Settings) -> None:
    """An uninterrupted worker on the same barriers, and the offline replay, give the same SHA-256."""
    copy_inputs(recording, mirror)
    total = len(recording.records["strategy.barriers"])
    worker = StrategyProcess(mirror, from_nothing=True)
    try:
        worker.wait_seq(total, 90)
        assert worker.terminate() == 0, worker.tail()
    finally:
        worker.kill()
    uninterrupted = strategy_log(mirror)
    # The models were copied as they stood, repeats and all: they are an input too.
    assert repeats(uninterrupted, ("strategy.models",)) == 0
    assert len(uninterrupted.records["strategy.barriers"]) == total
    assert output_sha(uninterrupted) == output_sha(recording)
    assert all(verdict.identical for verdict in replay.verify(recording, mirror.account))


def assert_complete(recording: Recording, market: Market) -> None:
    """One barrier a session, one set of outputs a barrier, and decisions that really decide."""
    barriers = barrier_values(recording)
    assert [b["session"] for b in barriers] == [day.isoformat() for day in market.days]
    assert [b["kind"] for b in barriers] == ["warmup"] * market.history + ["decision"] * market.live
    for topic in ("strategy.factors", "strategy.signals", "strategy.regime"):
        assert [r.value["seq"] for r in recording.records[topic] if r.value] == [b["seq"] for b in barriers]
    intents = [record.value for record in recording.records["strategy.intents"] if record.value]
    assert [i["seq"] for i in intents] == [b["seq"] for b in barriers if b["kind"] == "decision"]
    assert all(i["outcome"] == "SOLVED" for i in intents)
    assert len(recording.records["strategy.models"]) >= 1


def stop_and_prove(worker: StrategyProcess, step: str, seq: int) -> None:
    """Wait until the worker stands still at `step` of barrier `seq`, and prove from the log that it does."""
    eventually(worker.stopped, 30, f"worker stops at {step}:{seq}")
    log = strategy_log(worker.settings)
    assert of_seq(log, "strategy.barriers", seq), "the barrier is on the log"
    first, last = of_seq(log, "strategy.factors", seq), of_seq(log, "strategy.intents", seq)
    assert worker.snapshot_seq() < seq, "no snapshot knows the barrier"
    if step == "first-output":
        assert first, "between first and last output: the first is there"
        assert not last, "between first and last output: the last is not"
    else:
        assert step == "outputs-written"
        assert first, "between last output and snapshot: the first is there"
        assert last, "between last output and snapshot: the last is there"


def test_kills_change_no_output(
    settings: Settings, mirror: Settings, counts: Callable[[int, int], int], seed: int
) -> None:
    chance = random.Random(seed)
    kills = counts(4, 20)
    proven = max(kills // 4, 1)
    in_history = kills // 4
    market = Market(history=HISTORY, live=kills - in_history)
    publish(settings, [*market.opening(), *market.history_slices()])
    proven_at = set(chance.sample(range(kills - in_history), proven))
    worker = None
    for _ in range(in_history):
        # While the history is folded: soon after the first new barrier of this incarnation.
        worker = StrategyProcess(settings)
        eventually(lambda w=worker: w.metric("triplane_barriers_total") > 0, 60, "the worker steps")  # type: ignore[misc]
        threading.Event().wait(chance.uniform(0, 0.3))
        worker.kill()
    for number, day in enumerate(market.live_days):
        seq = HISTORY + number + 1
        step = chance.choice(["first-output", "outputs-written"])
        stop_at = f"{step}:{seq}" if number in proven_at else ""
        worker = StrategyProcess(settings, stop_at=stop_at, from_nothing=number % 3 == 0)
        eventually(worker.ready, 60, "the worker has caught up")
        publish(settings, market.session(day))
        if number in proven_at:
            stop_and_prove(worker, step, seq)
        else:
            threading.Event().wait(chance.uniform(0, 0.05))
        worker.kill()
    worker = StrategyProcess(settings)
    worker.wait_seq(len(market.days), 90)
    assert worker.metric("triplane_nondeterminism") == 0
    assert worker.terminate() == 0, worker.tail()
    recording = strategy_log(settings)
    assert_complete(recording, market)
    assert_same_as_uninterrupted(recording, mirror)


def test_overlapping_workers_agree(settings: Settings, mirror: Settings, tmp_path: Path) -> None:
    market = Market(history=HISTORY, live=3)
    publish(settings, market.opening())
    other = settings.model_copy(update={"state_dir": tmp_path / "other"})
    workers = [StrategyProcess(settings), StrategyProcess(other)]
    try:
        for worker in workers:
            eventually(worker.ready, 60, "both workers are up")
        publish(settings, market.history_slices())
        for number, day in enumerate(market.live_days):
            for worker in workers:
                worker.wait_seq(HISTORY + number)
            publish(settings, market.session(day))
        for worker in workers:
            worker.wait_seq(len(market.days))
            assert worker.metric("triplane_nondeterminism") == 0
        written = [worker.metric("triplane_barriers_written_total") for worker in workers]
        for worker in workers:
            assert worker.terminate() == 0, worker.tail()
    finally:
        for worker in workers:
            worker.kill()
    recording = strategy_log(settings)
    assert all(count > 0 for count in written), "both workers wrote barriers"
    assert len(recording.raw["strategy.barriers"]) > len(market.days), "they raced for at least one seq"
    assert repeats(recording) > 0, "both published outputs"
    assert_complete(recording, market)
    assert_same_as_uninterrupted(recording, mirror)
