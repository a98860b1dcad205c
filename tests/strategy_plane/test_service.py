"""The strategy daemon on a real Kafka: start, restart, hold, refuse."""

from __future__ import annotations

import asyncio
import logging
import time
import types
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError

from schemas import catalogue
from strategy_plane.worker import intake, recovery
from strategy_plane.worker.consumer import GATHERED_BYTES, RateLimit
from strategy_plane.worker.loop import Worker
from strategy_plane.worker.publisher import Publisher
from tests.chaos.strategy_harness import of_seq, output_sha, repeats
from tests.foreign_transaction import foreign_transaction
from tests.recordings import Market, message, targets
from tests.strategy_plane.rerun import PARTITIONS
from tests.strategy_plane.running_worker import log_of, offline_sha, put, running
from tests.waiting import eventually
from triplane.runtime import snapshots
from triplane.runtime.kafka_out import CAUSE_INGEST_TIME, INGEST_TIME, OwnershipError, TopicWriter
from triplane.runtime.settings import Settings

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


async def test_from_history_to_intents_and_over_a_restart(settings: Settings, market: Market) -> None:
    first, second, third = market.live_days
    await put(settings, *market.opening(), *market.history_slices())
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 6)
        await put(settings, *market.session(first))
        await worker.until("triplane_barrier_seq", 7)
        await worker.until_ready()
        written = worker.metric("triplane_strategy_outputs_total")
    assert recovery.load(settings).position.seq == 7
    # Nothing happened in between: the next incarnation continues without writing anything again.
    async with running(settings) as worker:
        await worker.until_ready()
        await put(settings, *market.session(second))
        await worker.until("triplane_barrier_seq", 8)
        assert worker.metric("triplane_strategy_outputs_present_total") == 0
    # A torn snapshot: the state is rebuilt from the log, compared with what is there, and nothing is doubled.
    recovery.snapshot_path(settings).write_bytes(b"torn")
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 8)
        assert worker.metric("triplane_strategy_outputs_present_total") == written + 5
        await put(settings, *market.session(third))
        await worker.until("triplane_barrier_seq", 9)
    recording = await log_of(settings)
    assert repeats(recording) == 0
    assert len(recording.records["strategy.intents"]) == 3
    assert output_sha(recording) == offline_sha(recording)


async def test_the_cause_travels_to_the_intents(settings: Settings, market: Market) -> None:
    day = market.live_days[0]
    await put(settings, *market.opening(), *market.history_slices(), *market.before_decision(day), market.gating(day))
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 7)
    recording = await log_of(settings)
    gating = recording.raw["data.bars"][-1]
    (barrier,), (intents,) = of_seq(recording, "strategy.barriers", 7), of_seq(recording, "strategy.intents", 7)
    assert barrier.headers[CAUSE_INGEST_TIME] == intents.headers[CAUSE_INGEST_TIME] == gating.headers[INGEST_TIME]
    assert int(intents.headers[INGEST_TIME]) > int(gating.headers[INGEST_TIME])
    assert worker.metric("triplane_barrier_latency_seconds_count") == 1
    warmup = of_seq(recording, "strategy.factors", 1)[0]
    assert CAUSE_INGEST_TIME not in warmup.headers


async def test_the_barrier_carries_cut_configuration_and_fingerprint(settings: Settings, market: Market) -> None:
    day = market.live_days[0]
    await put(
        settings,
        *market.opening(),
        *market.history_slices(),
        market.config(targets(VOL_TARGET=0.08)),
        *market.session(day),
    )
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 7)
    recording = await log_of(settings)
    barrier = recording.records["strategy.barriers"][-1].value
    assert barrier is not None
    assert barrier["config_offset"] == 1
    assert sorted(barrier["cut"]) == sorted(PARTITIONS)
    assert barrier["cut"]["data.bars-0"] == len(recording.raw["data.bars"])
    assert "pinned" in barrier["fingerprint"]


async def test_it_waits_for_a_configuration_and_says_so(settings: Settings, market: Market) -> None:
    config, *rest = market.opening()
    await put(settings, *rest, *market.history_slices())
    async with running(settings) as worker:
        await worker.until_ready(reason="control.config")
        assert worker.metric("triplane_barriers_total") == 0
        await put(settings, config)
        await worker.until("triplane_barrier_seq", 6)
        await worker.until_ready()


async def test_other_bytes_under_an_identity_hold_the_plane(settings: Settings, market: Market) -> None:
    await put(settings, *market.opening(), *market.history_slices())
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 6)
    writer = TopicWriter(settings, "strategy")
    writer.send("strategy.factors", message("strategy.factors", seq=7, factors=["not what will be computed"]).record)
    writer.flush(10)
    writer.close()
    async with running(settings) as worker:
        await worker.until_ready()
        await put(settings, *market.session(market.live_days[0]))
        await worker.until("triplane_nondeterminism", 1)
        assert "other bytes" in worker.daemon._unhealthy
        assert not worker.daemon._ready
    recording = await log_of(settings)
    assert of_seq(recording, "strategy.barriers", 7)
    assert not of_seq(recording, "strategy.intents", 7)
    assert recovery.load(settings).position.seq == 6


async def test_records_are_gathered_except_near_a_decision(
    settings: Settings, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the consumer's fetches ask for: a release of the library that no longer reads the field must fail here."""
    first = market.live_days[0]
    asked = [0]

    class Seen(fetcher.FetchRequest):  # type: ignore[misc]
        def __init__(self, wait: int, at_least: int, *rest: object, **options: object) -> None:
            asked.append(at_least)
            super().__init__(wait, at_least, *rest, **options)

    monkeypatch.setattr(fetcher, "FetchRequest", Seen)
    await put(settings, *market.opening(), *market.history_slices())
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 6)
        await asyncio.to_thread(eventually, lambda: asked[-1] == GATHERED_BYTES)
        await put(settings, *market.before_decision(first))
        await asyncio.to_thread(eventually, lambda: asked[-1] == 1)
        await put(settings, market.gating(first))
        await worker.until("triplane_barrier_seq", 7)
        await asyncio.to_thread(eventually, lambda: asked[-1] == GATHERED_BYTES)


@pytest.mark.parametrize("ahead", [2, 1000], ids=["and goes on behind them", "and stands still"])
async def test_records_that_faust_passes_over_are_read_directly(settings: Settings, market: Market, ahead: int) -> None:
    """Faust drops what lies below the offset that it believes to have read; after a rebalance that belief can be wrong."""
    await put(settings, *market.opening(), *market.history_slices())
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 6)
        await worker.until_ready()
        read = worker.worker._reader._app.consumer._read_offset
        for partition in list(read):
            if partition.topic.endswith(("data.bars", "data.quotes")):
                read[partition] = (read[partition] or 0) + 1 + ahead
        await put(settings, *market.session(market.live_days[0]), *market.session(market.live_days[1]))
        await worker.until("triplane_barrier_seq", 8)
        await worker.until("triplane_strategy_passed_over_records", 1)
    log = await log_of(settings)
    assert output_sha(log) == offline_sha(log)


@pytest.mark.parametrize("wrong", ["time", "9999-99-99", "2100-01-04", "1801-01-05"])
async def test_a_record_that_cannot_be_believed_holds_one_barrier_and_no_more(
    settings: Settings, market: Market, wrong: str
) -> None:
    """A stamp of the future, or a daily slice of a session that is no date, or one that would come after or before all others."""
    first, second = market.live_days[:2]
    await put(settings, *market.opening(), *market.history_slices(), *market.before_decision(first))
    quote = next(each for each in market.before_decision(first) if each.topic == "data.quotes")
    ahead = time.time_ns() + 3600 * 10**9
    bad = replace(quote, record=quote.record | {"event_time": ahead, "available_time": ahead})
    if wrong != "time":
        daily = market.history_slices()[-1]
        bad = replace(
            daily, record=daily.record | {"session": wrong, "available_time": daily.record["available_time"] + 7}
        )
    await put(settings, bad)
    async with running(settings) as worker:
        await put(settings, market.gating(first), *market.after_decision(first))
        await worker.until("triplane_barrier_seq", 7)
        await put(settings, *market.session(second))
        await worker.until("triplane_barrier_seq", 8)
    barriers = [record.value for record in (await log_of(settings)).records["strategy.barriers"] if record.value]
    assert sum(len(barrier["skipped"]) for barrier in barriers) == 1
    assert [barrier["missing"] for barrier in barriers[-2:]] == [[], []]
    log = await log_of(settings)
    assert output_sha(log) == offline_sha(log)


async def test_a_clock_that_is_behind_is_told_not_endured(
    settings: Settings, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is refused as stamped ahead; with every plane ready and nothing held it looked like a market that stands still."""
    day = market.live_days[0]
    await put(settings, *market.opening(), *market.history_slices(), *market.before_decision(day), market.gating(day))
    early = types.SimpleNamespace(time_ns=lambda: 10**18, perf_counter=time.perf_counter)  # 2001
    monkeypatch.setattr(intake, "time", early)
    async with running(settings) as worker:
        await worker.until_ready(reason="are stamped ahead of this machine's clock and refused; correct the clock")


async def test_a_late_barrier_raises_the_alert(settings: Settings, market: Market) -> None:
    class Deaf(Worker):
        """A worker that cannot write its barrier."""

        async def _write_barrier(self, due: object) -> bool:
            return False

    day = market.live_days[0]
    await put(settings, market.config(targets(BARRIER_LATE_S=0.5)), *market.before_decision(day), market.gating(day))
    async with running(settings, Deaf) as worker:
        await worker.until("triplane_barrier_late", 1)
        await worker.until_ready(reason="late")


async def test_only_own_topics_are_written(settings: Settings) -> None:
    publisher = Publisher(settings)
    await publisher.start()
    try:
        with pytest.raises(OwnershipError, match="belongs to the order plane"):
            await publisher.send("order.account", {"account": "DU1"})
        future = await publisher.send("strategy.regime", {"seq": 1})
        assert await future == 0
    finally:
        await publisher.close()


async def test_every_topic_of_the_plane_is_known_before_the_first_record(settings: Settings) -> None:
    """A worker that is stopped for a minute while it asks for a topic would end with "unknown topic"."""
    own = {settings.topic(topic.name) for topic in catalogue.load().owned_by("strategy")}
    for _ in range(2):  # a fresh broker refuses the first producer's id, whereupon the client asks for every topic
        publisher = Publisher(settings)
        await publisher.start()
        try:
            assert own <= publisher._producer.client.cluster.topics()
        finally:
            await publisher.close()


@pytest.mark.parametrize(("failure", "whole"), [(KafkaConnectionError("gone"), False), (ValueError("a bug"), True)])
def test_a_traceback_of_a_library_tells_of_bugs_and_not_of_weather(failure: Exception, whole: bool) -> None:
    with pytest.raises(type(failure)) as caught:
        raise failure
    about = (caught.type, caught.value, caught.tb)
    record = logging.LogRecord("aiokafka.consumer", logging.ERROR, "", 0, "failed in %s", ("commit",), about)
    assert RateLimit().filter(record)
    written = logging.Formatter().format(record)
    assert ("Traceback" in written) == whole
    assert str(failure) in written
    assert written.startswith("failed in commit")


def test_library_logs_are_limited() -> None:
    limit = RateLimit(burst=2, period_s=60)
    line = logging.LogRecord("aiokafka.conn", logging.ERROR, "", 0, "Unable to connect", (), None)
    own = logging.LogRecord("triplane", logging.ERROR, "", 0, "mine", (), None)
    assert [limit.filter(line) for _ in range(4)] == [True, True, False, False]
    assert all(limit.filter(own) for _ in range(4))


def test_snapshots_name_what_they_are(settings: Settings) -> None:
    recovery.save(settings, recovery.Position(seq=1), {})
    meta, _ = snapshots.load(recovery.snapshot_path(settings))
    assert meta["format"] == recovery.FORMAT


async def test_history_that_arrives_later_is_folded_before_the_probe_says_ready(
    settings: Settings, market: Market
) -> None:
    """What `triplane up` asks before it lets the market start: an answer as of now, however ready the plane was before."""
    await put(settings, *market.opening())
    async with running(settings) as worker:
        await worker.until_ready()
        assert worker.daemon.probe is not None
        await put(settings, *market.history_slices())
        answers = [await worker.daemon.probe()]
        while answers[-1]:
            await asyncio.sleep(0)
            answers.append(await worker.daemon.probe())
        assert worker.metric("triplane_barrier_seq") == 6
        assert all("to go" in answer for answer in answers[:-1])
        await hide_and_tell(settings, worker.daemon.probe)
    assert worker.daemon.probe is None


async def hide_and_tell(settings: Settings, probe: Callable[[], Awaitable[str]]) -> None:
    """To a reader the log ends where somebody else's transaction is open, so no lag tells of what it hides."""

    async def told(words: str) -> None:
        async with asyncio.timeout(20):
            answer = await probe()
            while words not in answer or bool(answer) != bool(words):
                await asyncio.sleep(0.1)  # the next look
                answer = await probe()

    with foreign_transaction(settings, "data.quotes"):
        await told("data.quotes-0 is not readable from 0 on: somebody else's transaction is open there")
    await told("")
