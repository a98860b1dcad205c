"""Ends of the partitions of topics, as an admin client is told them: the log as it is, whatever a reader has been given of it."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas import catalogue
from triplane.runtime.settings import Settings


class PartitionEnds:
    """Asks for the ends of `topics`, names of the catalogue. Blocks; not thread-safe."""

    def __init__(self, settings: Settings, topics: Iterable[str]) -> None:
        known = catalogue.load()
        self._names = {
            TopicPartition(settings.topic(topic), number): f"{topic}-{number}"
            for topic in topics
            for number in range(known[topic].partitions)
        }
        self.gone = ""
        """A topic, with its prefix, that was not on the cluster when it was asked last; else empty."""

    def ask(self, admin: AdminClient, level: IsolationLevel, timeout_s: float) -> dict[str, int]:
        """Ends by `topic-partition`; of those that Kafka did not tell, none."""
        ends = {}
        self.gone = ""
        asked = dict.fromkeys(self._names, OffsetSpec.latest())
        for partition, answer in admin.list_offsets(asked, isolation_level=level, request_timeout=timeout_s).items():
            try:
                end = answer.result().offset
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    self.gone = partition.topic
            else:
                if end >= 0:
                    ends[self._names[partition]] = end
        return ends
