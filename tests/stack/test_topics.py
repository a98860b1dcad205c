"""Topics on a real Kafka are what the catalogue says."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import (
    NewPartitions,
    NewTopic,
)

from schemas import catalogue
from tests.topic_settings import alter
from tests.waiting import settles
from triplane.runtime.settings import Settings
from triplane.stack import init, topics
from triplane.stack.errors import StackError
from triplane.stack.kafka import admin
from triplane.stack.ports import free_ports

pytestmark = pytest.mark.integration


def test_a_created_cluster_equals_the_catalogue(settings: Settings) -> None:
    """Every topic and every compacted twin is there with its settings."""
    found = topics.list_topics(settings.bootstrap, settings.topic_prefix)
    expected = {settings.topic_prefix + name for name in catalogue.load()}
    twins = {settings.topic_prefix + t.latest_name for t in catalogue.load().values() if t.latest_name}
    assert twins
    assert found.keys() == expected | twins
    assert topics.diff(settings.bootstrap, prefix=settings.topic_prefix) == []


def test_creating_twice_changes_nothing(settings: Settings) -> None:
    """A second creation finds everything there."""
    assert topics.create_topics(settings.bootstrap, prefix=settings.topic_prefix) == []


def test_diff_names_each_deviation(settings: Settings) -> None:
    """A missing topic, a changed setting, more partitions and a foreign topic are each one line."""
    prefix = settings.topic_prefix
    client = admin(settings.bootstrap)
    client.delete_topics([f"{prefix}data.micro"])[f"{prefix}data.micro"].result()
    client.create_topics([NewTopic(f"{prefix}data.typo", 1, 1)])[f"{prefix}data.typo"].result()
    client.create_partitions([NewPartitions(f"{prefix}data.quotes", 2)])[f"{prefix}data.quotes"].result()
    alter(settings, "order.events", "retention.ms", "604800000")
    expected = [
        f"{prefix}data.micro: missing",
        f"{prefix}data.quotes: partitions is 2, the catalogue says 1",
        f"{prefix}order.events: retention.ms is 604800000, the catalogue says -1",
        f"{prefix}data.typo: not in the catalogue",
    ]

    def deviations_are_named() -> None:
        assert [str(each) for each in topics.diff(settings.bootstrap, prefix=prefix)] == expected

    settles(deviations_are_named)
    told = init.altered_topics(settings)
    assert [sentence.partition(":")[0] for sentence in told] == [f"{prefix}order.events", f"{prefix}data.quotes"]
    assert "`triplane topics restore`" in told[0]
    assert "Kafka takes none away" in told[1]
    restored = topics.restore(settings.bootstrap, prefix)
    assert [(each.topic, each.what) for each in restored] == [(f"{prefix}order.events", "retention.ms")]
    expected.pop(2)
    settles(deviations_are_named)
    assert topics.restore(settings.bootstrap, prefix) == []


def test_a_message_of_eight_megabytes_passes(settings: Settings) -> None:
    """The size limit of the catalogue holds on broker and topic; a larger message is refused by the broker."""
    errors: list[str] = []
    producer = Producer({"bootstrap.servers": settings.bootstrap, "message.max.bytes": 20_000_000, "acks": "all"})

    def report(error: KafkaError | None, _message: Message) -> None:
        errors.append(error.name() if error else "")

    limit = catalogue.load()["data.bars"].max_message_bytes
    for size in (limit - 1024, limit + 1024):
        producer.produce(f"{settings.topic_prefix}data.bars", bytes(size), key=b"main", on_delivery=report)
        assert producer.flush(30) == 0
    assert errors == ["", "MSG_SIZE_TOO_LARGE"]


def test_an_unknown_topic_is_not_made_on_the_fly(settings: Settings) -> None:
    """auto.create.topics is off: a mistyped name is an error."""
    errors: list[KafkaError] = []
    producer = Producer(
        {"bootstrap.servers": settings.bootstrap, "topic.metadata.propagation.max.ms": 500, "log_level": 0}
    )
    producer.produce(f"{settings.topic_prefix}data.barz", b"x", on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(20) == 0
    assert errors[0].name() in ("_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PART")
    assert f"{settings.topic_prefix}data.barz" not in topics.list_topics(settings.bootstrap)


def test_registry_topics_never_expire(settings: Settings) -> None:
    """Made before the registry's first start, with retention.ms=-1."""
    topics.create_registry_topics(settings.bootstrap)
    found = topics.diff(settings.bootstrap, prefix=settings.topic_prefix, registry=True)
    assert found == []


def test_deleting_needs_a_prefix(settings: Settings) -> None:
    """Without a prefix it would delete everything."""
    with pytest.raises(StackError, match="without a prefix"):
        topics.delete_topics(settings.bootstrap, "")


def test_a_silent_cluster_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens: the message names the address and the remedy."""
    monkeypatch.setattr(topics, "TIMEOUT_S", 1.0)
    port = free_ports(1)[0]
    with pytest.raises(StackError, match=rf"127.0.0.1:{port} does not answer; start it"):
        topics.create_topics(f"127.0.0.1:{port}")


@pytest.mark.parametrize(("brokers", "replication", "min_isr"), [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (5, 3, "2")])
def test_replication_follows_the_cluster(brokers: int, replication: int, min_isr: str) -> None:
    """RF = min(3, brokers); min.isr = RF - 1, at least 1."""
    for each in topics.wanted(brokers, registry=True):
        assert each.replication == replication
        assert dict(each.config)["min.insync.replicas"] == min_isr
