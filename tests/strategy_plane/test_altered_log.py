"""What the strategy plane says and does when its log is not the one that it knew: made anew, cut off at its beginning, with more partitions."""

from __future__ import annotations

import asyncio

import aiokafka
import pytest
from aiokafka.errors import OffsetOutOfRangeError
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewPartitions

from strategy_plane.worker import recovery
from tests.chaos.strategy_harness import output_sha, repeats
from tests.foreign_transaction import foreign_transaction
from tests.recordings import Market
from tests.strategy_plane.running_worker import Running, log_of, offline_sha, put, running
from tests.waiting import settles
from triplane.runtime import exit_codes
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.kafka_in import TopicReader, read_all
from triplane.runtime.log_watch import LogWatch
from triplane.runtime.settings import Settings
from triplane.stack.kafka import admin
from triplane.stack.topics import create_topics, delete_topics, list_topics

pytestmark = pytest.mark.integration


async def test_a_log_that_lost_its_beginning_is_named_where_there_is_no_snapshot(
    settings: Settings, market: Market
) -> None:
    """What retention does that somebody set: with the snapshot it goes on, without it the cause is told."""
    first, second, _ = market.live_days
    await put(settings, *market.opening(), *market.history_slices(), *market.session(first))
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 7)
    client = admin(settings.bootstrap)
    place = TopicPartition(settings.topic("data.bars"), 0, 5)
    await asyncio.to_thread(lambda: client.delete_records([place])[place].result(10))
    async with running(settings) as worker:
        await worker.until_ready()
        await put(settings, *market.session(second))
        await worker.until("triplane_barrier_seq", 8)
    recovery.snapshot_path(settings).unlink()
    async with running(settings) as worker:
        await worker.until_ready("there is no snapshot, and data.bars-0 begins at 5: restore")
        assert "deterministic" not in worker.daemon._reason


async def test_a_snapshot_of_another_log_is_not_used(settings: Settings, market: Market) -> None:
    recovery.save(settings, recovery.Position(3, "ab" * 32, 1, "2018-01-05", 3, {}), {})
    assert "not on this log" in recovery.load(settings).note
    await put(settings, *market.opening(), *market.history_slices())
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 6)
    assert recovery.load(settings).position.seq == 6
    foreign = settings.model_copy(update={"account": "DU7654321"})
    assert "snapshot is of account" in recovery.load(foreign).note


@pytest.mark.parametrize("remembers", [True, False], ids=["snapshot", "barriers alone"])
async def test_an_input_that_was_made_anew_is_refused(settings: Settings, market: Market, remembers: bool) -> None:
    """Its records are lost: a barrier written on what is left would run back, and the log would be damaged for good."""
    await put(settings, *market.opening(), *market.history_slices())
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 6)
    if not remembers:
        recovery.snapshot_path(settings).unlink()
    # Without the topic's id, too, its length tells it.
    (settings.state_dir / "strategy-topics.json").unlink()
    await asyncio.to_thread(delete_topics, settings.bootstrap, settings.topic("data.bars"))
    await asyncio.to_thread(create_topics, settings.bootstrap, prefix=settings.topic_prefix)
    before = len(await asyncio.to_thread(read_all, settings, ["strategy.barriers"]))
    again = Running(settings)
    who = "the snapshot knows" if remembers else "barrier 1 saw"
    with pytest.raises(
        DaemonExit, match=rf"data\.bars-0 ends at 0, and {who} it up to \d+: records of the log are lost"
    ) as ended:
        await asyncio.wait_for(again.task, 60)
    assert ended.value.code == exit_codes.CONFIG
    assert len(await asyncio.to_thread(read_all, settings, ["strategy.barriers"])) == before


@pytest.mark.parametrize("topic", ["data.bars", "strategy.barriers"])
@pytest.mark.parametrize("first", ["watch", "consumer"])
async def test_a_topic_made_anew_under_a_running_worker_ends_it(
    settings: Settings, market: Market, monkeypatch: pytest.MonkeyPatch, topic: str, first: str
) -> None:
    """Whoever notices it first: Kafka answers the consumer that its place is out of range, at times before the watch looks."""
    if first == "consumer":
        monkeypatch.setattr(LogWatch, "run", lambda _watch, _positions: asyncio.Event().wait())
    await put(settings, *market.opening(), *market.history_slices())
    worker = Running(settings)
    try:
        await worker.until("triplane_barrier_seq", 6)
        await asyncio.to_thread(delete_topics, settings.bootstrap, settings.topic(topic))
        await asyncio.to_thread(create_topics, settings.bootstrap, prefix=settings.topic_prefix)
        if first == "consumer":
            place = aiokafka.TopicPartition(settings.topic(topic), 0)
            await worker.worker._reader._app.crash(OffsetOutOfRangeError({place: 6}))
        with pytest.raises(DaemonExit, match=rf"{topic}-0 ends at 0, and this daemon has read it up to \d+") as ended:
            await asyncio.wait_for(worker.task, 60)
    finally:
        if not worker.task.done():
            await worker.die()
    assert ended.value.code == exit_codes.CONFIG
    assert await asyncio.to_thread(read_all, settings, [topic]) == []


async def test_a_record_that_arrives_while_kafka_tells_the_ends_is_none_that_was_lost(
    settings: Settings, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read and lies behind the answer."""
    await put(settings, *market.opening(), *market.history_slices())
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 6)
        asker, intake = worker.worker._asker, worker.worker._intake
        ask = asker.ends
        overtaken = 0

        async def ends() -> dict[str, int]:
            nonlocal overtaken
            found = await ask()
            # Kafka's answer is on its way, and so is a record.
            account = market.account_state(market.live_days[0].toordinal() + overtaken)
            await put(settings, account)
            async with asyncio.timeout(20):
                while intake.positions()["order.account-0"] <= found["order.account-0"]:
                    await asyncio.wait([asyncio.ensure_future(intake.wake.wait())], timeout=0.05)
            overtaken += 1
            return found

        monkeypatch.setattr(asker, "ends", ends)
        day = market.live_days[0]
        await put(settings, *market.before_decision(day), market.gating(day))
        await worker.until("triplane_barrier_seq", 7)
        assert overtaken


async def test_a_gap_in_the_offsets_below_a_cut_is_passed(settings: Settings, market: Market) -> None:
    """A transaction's marker takes an offset that no reader is ever given."""
    await put(settings, *market.opening(), *market.history_slices())
    with foreign_transaction(settings, "data.gates"):
        pass
    day = market.live_days[0]
    await put(settings, *market.before_decision(day), market.gating(day))
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 7)
    barrier = (await log_of(settings)).records["strategy.barriers"][-1].value
    assert barrier is not None
    assert barrier["cut"]["data.gates-0"] == 2
    assert barrier["skipped"] == []


def add_partitions(settings: Settings, *topics: str) -> None:
    """What somebody may do with Kafka's own tools; returns once the broker tells of it."""
    client = admin(settings.bootstrap)
    wanted = [NewPartitions(settings.topic(topic), 3) for topic in topics]
    for future in client.create_partitions(wanted).values():
        future.result(10)
    names = {each.topic for each in wanted}
    settles(lambda: {list_topics(settings.bootstrap, settings.topic_prefix)[name] for name in names} == {3})


async def test_partitions_that_somebody_adds_are_not_ours(settings: Settings, market: Market) -> None:
    """Inputs and outputs keep to the partitions of the catalogue, before and after a restart, and every cut names those alone."""
    first, second, third = market.live_days
    await put(settings, *market.opening(), *market.history_slices(), *market.session(first))
    added = ("data.bars", "data.quotes", "strategy.barriers", "strategy.intents")
    async with running(settings) as worker:
        await worker.until("triplane_barrier_seq", 7)
        await asyncio.to_thread(add_partitions, settings, *added)
        await put(settings, *market.session(second))
        await worker.until("triplane_barrier_seq", 8)
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    for partition in (1, 2):
        producer.produce(settings.topic("data.quotes"), key=b"main", value=b"not ours", partition=partition)
    assert producer.flush(10) == 0
    async with running(settings) as worker:
        await worker.until_ready()
        await put(settings, *market.session(third))
        await worker.until("triplane_barrier_seq", 9)
        assert worker.metric("triplane_strategy_undecodable_total") == 0
    for topic in added:
        consumer = TopicReader(settings, [topic])
        ends = consumer.end_offsets()
        consumer.close()
        assert list(ends) == [f"{topic}-0"]
        assert ends[f"{topic}-0"] > 0
    log = await log_of(settings)
    assert repeats(log) == 0
    assert output_sha(log) == offline_sha(log)
