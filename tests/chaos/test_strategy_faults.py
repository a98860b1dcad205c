"""Bad input and bad weather for the strategy worker: each ends in recovery, never in a stall or a lost record."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas import codec
from tests.chaos.strategy_harness import StrategyProcess, barrier_values, of_seq, repeats, strategy_log
from tests.recordings import Market, publish
from tests.waiting import eventually, wait
from triplane.domain import calendars
from triplane.domain.timestamps import SECOND
from triplane.replay import strategy as replay
from triplane.runtime.kafka_probe import SILENT
from triplane.runtime.settings import Settings
from triplane.stack.kafka import LocalKafka
from triplane.stack.topics import create_topics

pytestmark = [pytest.mark.chaos, pytest.mark.integration]


def test_a_malformed_record_is_quarantined_its_barrier_holds_and_the_next_proceeds(settings: Settings) -> None:
    market = Market(history=262, live=2)
    first, second = market.live_days
    quotes = market.quotes(first, calendars.decision_time("XNYS", first, "15:30") - SECOND)
    raw = codec.load().encode("QuoteSlice", quotes.record)[:-20]  # cut off: what says so must be the same in a replay
    publish(settings, [*market.opening(), *market.history_slices()])
    worker = StrategyProcess(settings)
    try:
        worker.wait_seq(262)
        publish(settings, market.before_decision(first))
        producer = Producer({"bootstrap.servers": settings.bootstrap})
        producer.produce(settings.topic("data.quotes"), key=b"main", value=raw)
        assert producer.flush(10) == 0
        publish(settings, [market.gating(first), *market.after_decision(first)])
        worker.wait_seq(263)
        publish(settings, market.session(second))
        worker.wait_seq(264)
        assert worker.metric("triplane_strategy_undecodable_total") == 1
        assert worker.terminate() == 0
    finally:
        worker.kill()
    log = strategy_log(settings)
    bad = next(record for record in log.raw["data.quotes"] if record.value is None)
    name = f"data.quotes-0@{bad.offset}"
    assert [b["skipped"] for b in barrier_values(log)[-2:]] == [[name], []]
    (held,), (traded,) = of_seq(log, "strategy.intents", 263), of_seq(log, "strategy.intents", 264)
    assert held.value is not None
    assert traded.value is not None
    assert held.value["outcome"].startswith("HOLD")
    assert held.value["symbols"] == []
    assert traded.value["outcome"] == "SOLVED"
    (quarantined,) = log.records["strategy.quarantine"]
    assert quarantined.value is not None
    assert (quarantined.value["quarantine_id"], quarantined.value["raw"], quarantined.value["code"]) == (
        name,
        raw,
        "UNDECODABLE",
    )
    assert all(verdict.identical for verdict in replay.verify(log, settings.account))


def test_a_stopped_process_catches_up_when_it_is_continued(
    settings: Settings, counts: Callable[[int, int], int]
) -> None:
    """In full mode it stands still beyond its group session (30 s): it is evicted and must join again."""
    market = Market(history=5, live=3)
    first, second, third = market.live_days
    publish(settings, [*market.opening(), *market.history_slices(), *market.session(first)])
    worker = StrategyProcess(settings)
    try:
        worker.wait_seq(6)
        worker.process.send_signal(signal.SIGSTOP)
        eventually(worker.stopped, 10, "the worker stands still")
        publish(settings, market.session(second))
        wait(counts(5, 45))
        worker.process.send_signal(signal.SIGCONT)
        worker.wait_seq(7, 90)
        publish(settings, market.session(third))
        worker.wait_seq(8)
        assert worker.terminate() == 0, worker.tail()
    finally:
        worker.kill()
    log = strategy_log(settings)
    assert repeats(log) == 0
    assert len(log.records["strategy.intents"]) == 3
    assert all(verdict.identical for verdict in replay.verify(log, settings.account))


def _told(worker: StrategyProcess, words: str) -> Callable[[], bool]:
    return lambda: words in worker.reason()


def test_kafka_away_and_back(tmp_path: Path, counts: Callable[[int, int], int]) -> None:
    directory = tmp_path / "kafka"
    directory.mkdir()
    kafka = LocalKafka.start(directory)
    worker = None
    try:
        create_topics(kafka.bootstrap)
        settings = Settings(bootstrap=kafka.bootstrap, state_dir=tmp_path / "state", account="DU1234567")
        market = Market(history=5, live=3)
        first, second, third = market.live_days
        publish(settings, [*market.opening(), *market.history_slices(), *market.session(first)])
        worker = StrategyProcess(settings, stop_at="barrier-written:8")
        worker.wait_seq(6)
        eventually(worker.ready, 20, "the worker has caught up")
        group = os.getpgid(kafka.child.pid)
        os.killpg(group, signal.SIGSTOP)
        try:
            eventually(_told(worker, SILENT), 10, "the silence is told")
        finally:
            os.killpg(group, signal.SIGCONT)
        eventually(worker.ready, 20, "it is ready again")
        kafka.stop()
        wait(counts(6, 20))
        worker.assert_alive()
        kafka = LocalKafka.start(directory)
        assert kafka.bootstrap == settings.bootstrap
        publish(settings, market.session(second))
        worker.wait_seq(7, 60)
        publish(settings, market.session(third))
        eventually(worker.stopped, 60, "the last barrier is written")
        assert worker.log_path.stat().st_size < 200_000, "an outage does not flood the log"
        group = os.getpgid(kafka.child.pid)
        os.killpg(group, signal.SIGSTOP)
        try:
            worker.process.send_signal(signal.SIGCONT)  # it steps, and waits for what will not be acknowledged
            began = time.monotonic()
            assert worker.terminate() == 0, worker.tail()
            assert time.monotonic() - began < 10, "a supervisor would have killed it"
        finally:
            os.killpg(group, signal.SIGCONT)
        # A whole start, at a Kafka that stood still a moment ago: 4 s alone, 20 s beside six busy processes on two cores. It has the
        # bound of the other starts here; what must be quick is the end above.
        worker = StrategyProcess(settings)
        worker.wait_seq(8)
        assert worker.terminate() == 0, worker.tail()
        log = strategy_log(settings)
        assert repeats(log) == 0
        assert [b["session"] for b in barrier_values(log)] == [day.isoformat() for day in market.days]
        assert all(verdict.identical for verdict in replay.verify(log, settings.account))
    finally:
        if worker is not None:
            worker.kill()
        kafka.stop()
