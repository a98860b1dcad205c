"""A log that lost records which the order plane has acted on, or hides them: the start is refused, and writes nothing."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from confluent_kafka import Producer, TopicPartition

from order_plane.daemon import log_extent, recovery
from order_plane.daemon.log_feed import LogFeed
from tests.foreign_transaction import foreign_transaction
from tests.order_plane.world import OrderWorld
from tests.waiting import settles
from triplane.runtime import snapshots
from triplane.runtime.exit_codes import CONFIG, UNAVAILABLE, DaemonExit
from triplane.runtime.kafka_in import LogRecord
from triplane.runtime.settings import Settings
from triplane.stack.kafka import admin
from triplane.stack.topics import create_topics, delete_topics

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def traded_once(world: OrderWorld) -> None:
    """One intent at its target, and the process stopped."""
    world.open_market()
    process = world.start().ready()
    world.intents(KO=300)
    world.until_event("parent_closed")
    process.stop()


def test_a_log_that_was_put_back_from_earlier_is_refused(world: OrderWorld) -> None:
    """The checkpoint, and the events themselves, know records that the log no longer has: what it says of our orders is not all."""
    traded_once(world)
    second = world.start().ready()  # writes the checkpoint of what the first run did
    settings = world.settings
    world.advance(0.1)
    world.intents(PFE=200)
    world.until_event("parent_closed", symbol="PFE")
    second.stop()

    def refused() -> str:
        before = len(world.log("order.events"))
        process = world.start()
        assert process.wait() == CONFIG
        assert len(world.log("order.events")) == before  # it wrote nothing
        return process.words().splitlines()[-1]

    kept, seen = recovery.checkpoint_path(settings).read_bytes(), log_extent.seen_path(settings).read_text()
    meta, _ = snapshots.load(recovery.checkpoint_path(settings))
    everything = world.log("order.events")
    folded, acknowledged = meta["last"][0] + 1, json.loads(seen)["events"]
    assert folded < acknowledged - 1
    assert acknowledged == everything[-1].offset + 1
    # As it was in the midst of the last run: what the checkpoint knows is there, and the second order is not.
    put_back(settings, everything[: acknowledged - 1])
    assert (
        f"order.events-0 ends at {acknowledged - 1}, and {log_extent.seen_path(settings)} knows it up to" in refused()
    )
    # As it was just before the last start: all that the checkpoint folded is there, and nothing of the run that wrote it.
    put_back(settings, everything[:folded])
    assert f"order.events-0 ends at {folded}, and {log_extent.seen_path(settings)} knows it up to" in refused()
    # As it was in the midst of the first run. The file may be lost: the checkpoint knows what it folded.
    log_extent.seen_path(settings).unlink()
    put_back(settings, everything[: folded - 1])
    assert (
        f"order.events-0 ends at {folded - 1}, and {recovery.checkpoint_path(settings)} knows it up to {folded}"
        in refused()
    )
    # As it was before all of it: empty, then with other records.
    put_back(settings, [])
    words = refused()
    assert "order.events-0 ends at 0" in words
    assert "records of the log are lost; put back the topics of one moment" in words
    for _ in range(acknowledged):
        world.send("order.events", account="DU999", event_id=str(uuid.uuid4()))
    assert f"is not the record that {recovery.checkpoint_path(settings)} knows there" in refused()
    # Its beginning is gone, with the last record that the checkpoint folded.
    place = TopicPartition(settings.topic("order.events"), 0, acknowledged)
    client = admin(settings.bootstrap)  # held: its futures are cancelled when it goes
    client.delete_records([place])[place].result(10)
    words = refused()
    assert "order.events: the position to read from is no longer on the log" in words
    assert "put back the topics of one moment" in words
    assert recovery.checkpoint_path(settings).read_bytes() == kept
    # Without the checkpoint nobody knows what came before.
    recovery.checkpoint_path(settings).unlink()
    assert f"order.events-0 begins at {acknowledged} and there is no checkpoint" in refused()
    # The log itself is put back, whole; that it is another topic is noticed as well, and a person says that nothing is lost.
    put_back(settings, everything)
    (settings.state_dir / "order-topics.json").unlink(missing_ok=True)
    world.start().ready()
    assert world.events("epoch")[-1]["epoch"] == 3


def test_damaged_files_of_an_earlier_run_are_told_and_the_log_is_folded(world: OrderWorld) -> None:
    traded_once(world)
    world.start().ready().stop()
    files = [recovery.checkpoint_path(world.settings), log_extent.seen_path(world.settings)]
    for file in files:
        file.write_bytes(file.read_bytes()[:-20])
    journal = world.settings.state_dir / "order-journal.jsonl"
    journal.write_bytes(b"junk\n" + journal.read_bytes())
    process = world.start().ready()
    told = [json.loads(line) for line in process.words().splitlines() if '"damaged file"' in line]
    assert [entry["file"] for entry in told] == [str(file) for file in (journal, *files)]
    assert told[0]["instead"] == "1 of its lines left out"
    assert world.events("epoch")[-1]["epoch"] == 3
    process.stop()
    assert snapshots.load(files[0])[0]["epoch"] == 2
    assert log_extent.seen(world.settings)


def put_back(settings: Settings, records: list[LogRecord]) -> None:
    """Make order.events anew, with these records."""
    delete_topics(settings.bootstrap, settings.topic("order.events"))
    create_topics(settings.bootstrap, prefix=settings.topic_prefix)
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    for record in records:
        producer.produce(settings.topic("order.events"), record.raw, key=record.key)
    assert producer.flush(10) == 0


def test_the_end_of_the_log_is_noted_though_nothing_follows(world: OrderWorld) -> None:
    """What was acknowledged last is known within a second, and a power failure in the quiet that follows takes it from nobody."""
    world.open_market()
    process = world.start().ready()
    world.intents(KO=300)
    world.until_event("parent_closed")

    def noted() -> int:
        return int(json.loads(log_extent.seen_path(world.settings).read_text())["events"])

    settles(lambda: noted() == world.log("order.events")[-1].offset + 1, 5.0)
    process.kill()
    assert noted() == world.log("order.events")[-1].offset + 1


def test_a_transaction_that_hides_intents_is_told_while_it_is_open(world: OrderWorld) -> None:
    """Lag does not show it: to a reader the log ends there."""
    world.open_market()
    process = world.start().ready()
    with foreign_transaction(world.settings, "strategy.intents"):
        world.intents(KO=300)
        told = "strategy.intents-0 is not readable from 0 on: somebody else's transaction is open there"
        settles(lambda: told in process.get("/readyz").json()["reason"], 20.0)
        assert world.records("order.decisions") == []
    process.ready()
    world.until_event("parent_closed")


def test_somebody_elses_transaction_on_our_log_is_waited_for_and_then_is_nothing(world: OrderWorld) -> None:
    """While it is open, readers see nothing of what we write behind it: two starts would take the same number."""
    traded_once(world)
    for commit in (True, False):
        with foreign_transaction(world.settings, "order.events", commit=commit):
            process = world.start()
            assert process.wait() == UNAVAILABLE
            assert "somebody else's transaction is open there" in process.words().splitlines()[-1]
        for _ in range(2):  # from a checkpoint whose log ends with their marker, too
            world.start().ready().stop()
    assert [event["epoch"] for event in world.events("epoch")] == [1, 2, 3, 4, 5]


def test_inputs_that_were_put_back_from_earlier_are_refused(world: OrderWorld) -> None:
    traded_once(world)
    settings = world.settings
    delete_topics(settings.bootstrap, settings.topic("strategy.intents"))
    create_topics(settings.bootstrap, prefix=settings.topic_prefix)
    process = world.start()
    assert process.wait() == CONFIG
    assert "strategy.intents-0 ends at 0, and order.events says that this plane has read it up to 1" in process.words()


def test_intents_that_are_made_anew_under_a_running_plane_end_it(world: OrderWorld) -> None:
    """Its reader may wait at the old position for good, and the plane would be ready all the while."""
    world.open_market()
    process = world.start().ready()
    world.intents(KO=300)
    world.until_event("parent_closed")
    settings = world.settings
    delete_topics(settings.bootstrap, settings.topic("strategy.intents"))
    create_topics(settings.bootstrap, prefix=settings.topic_prefix)
    if (
        code := process.wait()
    ) == UNAVAILABLE:  # librdkafka told of the moment between the two, and the plane starts again
        process = world.start()
        code = process.wait()
    assert code == CONFIG
    assert "strategy.intents-0 ends at 0, and" in process.words()
    world.intents(KO=300)  # whoever writes it goes on, and its length tells nothing any more
    process = world.start()
    assert process.wait() == CONFIG
    assert "strategy.intents was deleted and made anew since this daemon first read it" in process.words()


def test_events_that_are_made_anew_under_a_running_plane_end_it(world: OrderWorld) -> None:
    """They are its only memory of what was sent: what it sends from then on would be written to a log without a beginning."""
    world.open_market()
    process = world.start().ready()
    settings = world.settings
    delete_topics(settings.bootstrap, settings.topic("order.events"))
    create_topics(settings.bootstrap, prefix=settings.topic_prefix)
    if (code := process.wait()) == UNAVAILABLE:  # as above
        process = world.start()
        code = process.wait()
    assert code == CONFIG
    assert "order.events" in process.words()
    assert "records of the log are lost" in process.words()


async def test_a_feed_tells_of_a_topic_that_ends_before_its_position(world: OrderWorld) -> None:
    told = asyncio.get_running_loop().create_future()
    feed = LogFeed(
        world.settings, ("strategy.intents",), {"strategy.intents-0": 5}, lambda _records: None, told.set_result
    )
    feed.begin()
    try:
        problem = await asyncio.wait_for(told, 30)
    finally:
        feed.close()
    assert isinstance(problem, DaemonExit)
    assert problem.code == CONFIG
    assert str(problem).startswith("strategy.intents-0 ends at 0, and this daemon has read it up to 5: records of the")
