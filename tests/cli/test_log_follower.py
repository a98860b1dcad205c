"""The follower of a log in a real Kafka: what it keeps is what a reader of the whole log finds."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.runtime.test_kafka import bars
from triplane.cli import log_follower
from triplane.cli.log_follower import LogFollower
from triplane.replay import recording
from triplane.runtime.kafka_in import LogRecord, LogUnavailable, TopicReader
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


def test_whoever_wants_the_recording_reads_on_where_the_follower_gets_no_processor(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread has a low priority: on a machine with ten busy processes it had not come to the end of the log in two minutes."""
    follower = LogFollower(settings)
    read, whole = threading.Event(), TopicReader.poll

    def poll(reader: TopicReader, *limits: Any) -> list[LogRecord]:
        if threading.current_thread().name == "log-follower" and read.is_set():
            follower._stop.wait()
            return []
        found = whole(reader, *limits)
        if found:
            read.set()
        return found

    monkeypatch.setattr(TopicReader, "poll", poll)
    monkeypatch.setattr(log_follower, "PATIENCE_S", 0.2)
    writer = TopicWriter(settings, "data")
    writer.send("data.bars", bars(0))
    writer.flush(10)
    follower.start()
    assert read.wait(20)
    for second in (1, 2, 3):
        writer.send("data.bars", bars(second))
    writer.flush(10)
    writer.close()
    found = follower.recording(20.0)
    assert found == recording.read(settings)
    assert found.counts()["data.bars"] == 4
    follower.stop()


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
