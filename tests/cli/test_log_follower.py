"""The follower of a log in a real Kafka: what it keeps is what a reader of the whole log finds."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from tests.runtime.test_kafka import bars
from triplane.cli.log_follower import LogFollower
from triplane.replay import recording
from triplane.runtime.kafka_in import LogUnavailable
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings

pytestmark = pytest.mark.integration


def test_its_recording_is_that_of_the_log(settings: Settings) -> None:
    """Records from before and after its start, a repeat, a broken one and the end of a transaction."""
    writer = TopicWriter(settings, "data")
    for second in range(5):
        writer.send("data.bars", bars(second))
    writer.flush(10)
    follower = LogFollower(settings)
    follower.start()
    try:
        for second in (4, 5, 6):
            writer.send("data.bars", bars(second))
        writer.flush(10)
        other = Producer({"bootstrap.servers": settings.bootstrap, "transactional.id": settings.topic_prefix})
        other.init_transactions(10)
        other.begin_transaction()
        other.produce(settings.topic("data.trades"), b"no Avro", b"main")
        other.commit_transaction(10)
        found, expected = follower.recording(20.0), recording.read(settings)
    finally:
        follower.stop()
        writer.close()
    assert found == expected
    assert found.counts()["data.bars"] == 8
    assert len(found.records["data.bars"]) == 7
    assert [record.error != "" for record in found.raw["data.trades"]] == [True]


def test_a_follower_that_has_ended_gives_no_recording(settings: Settings) -> None:
    """It says so instead of passing a part of the log for the whole."""
    follower = LogFollower(settings)
    follower.start()
    follower.recording(20.0)
    follower.stop()
    writer = TopicWriter(settings, "data")
    writer.send("data.bars", bars(0))
    writer.flush(10)
    writer.close()
    with pytest.raises(LogUnavailable, match=r"the log is no longer followed"):
        follower.recording(20.0)
