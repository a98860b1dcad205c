"""Topics on a cluster, made from the catalogue: create, list, compare.

A cluster name is `prefix` + the catalogue's name. A topic with `latest` fields has a compacted twin `<name>.latest`, from
which daemons start. The registry's own topics are made here too, before it starts: left to itself it gives them seven days'
retention, and after a purge it would issue the same ids again for other schemas.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from schemas import catalogue
from schemas.catalogue import Catalogue
from triplane.runtime.settings import BOOTSTRAP_NAMES
from triplane.stack.errors import StackError, Unavailable
from triplane.stack.kafka import admin

REGISTRY_TOPICS = ("kafkasql-journal", "kafkasql-snapshots", "registry-events")
TIMEOUT_S = 30.0
ANSWER_S = 10.0
"""Wall time within which a Kafka that is there answers the first question."""
Options = Mapping[str, str] | None
"""Further librdkafka options, such as security.protocol, for a secured cluster."""
ELECTING = (
    *("NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE", "UNKNOWN_TOPIC_OR_PART"),
    *("FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH"),
)
"""Answers for a partition whose leader is not settled yet, as after the restart of a broker: ask again."""
COMPARED = ("cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes", "min.insync.replicas")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One topic as it should be on a cluster. `config` holds the settings in COMPARED, as Kafka spells them."""

    name: str
    partitions: int
    replication: int
    config: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the catalogue says. `wanted` or `found` is empty when the other side lacks it."""

    topic: str
    what: str
    wanted: str
    found: str

    def __str__(self) -> str:
        if self.what == "topic":
            return f"{self.topic}: {'missing' if self.wanted else 'not in the catalogue'}"
        return f"{self.topic}: {self.what} is {self.found}, the catalogue says {self.wanted}"

    @property
    def remedy(self) -> str:
        """What a person does about it."""
        if self.what == "topic":
            return "run `triplane topics create`" if self.wanted else "delete it if nobody needs it"
        if self.what in COMPARED:
            return "run `triplane topics restore`; what the log has lost by then is lost"
        if self.what == "partitions":
            return "nothing is written to or read from the added ones, and Kafka takes none away: leave it, or begin a new log"
        return "reassign its replicas with Kafka's own kafka-reassign-partitions"


def _settings(cleanup: str, retention_ms: int, max_bytes: int, min_isr: int) -> tuple[tuple[str, str], ...]:
    return (
        ("cleanup.policy", cleanup),
        ("retention.ms", str(retention_ms)),
        ("retention.bytes", "-1"),  # a log is cut by age alone, or not at all
        ("max.message.bytes", str(max_bytes)),
        ("min.insync.replicas", str(min_isr)),
    )


def registry_topic_names(suffix: str = "") -> tuple[str, ...]:
    """The registry's topics; a suffix keeps a second registry on the same cluster apart."""
    return tuple(name + suffix for name in REGISTRY_TOPICS)


def wanted(brokers: int, prefix: str = "", topics: Catalogue | None = None, registry: bool = False) -> list[Wanted]:
    """Every topic a cluster of `brokers` nodes should have: replication min(3, brokers), min.isr one less, at least 1."""
    topics = catalogue.load() if topics is None else topics
    replication = min(3, brokers)
    min_isr = max(1, replication - 1)
    result = []
    for topic in topics.values():
        settings = _settings(topic.cleanup, topic.retention_ms, topic.max_message_bytes, min_isr)
        result.append(Wanted(prefix + topic.name, topic.partitions, replication, settings))
        if topic.latest_name is not None:
            compacted = _settings("compact", -1, topic.max_message_bytes, min_isr)
            result.append(Wanted(prefix + topic.latest_name, topic.partitions, replication, compacted))
    if registry:
        result.extend(_registry_topics(brokers, topics))  # one registry serves every prefix on the cluster
    return result


def _registry_topics(brokers: int, topics: Catalogue, suffix: str = "") -> list[Wanted]:
    replication = min(3, brokers)
    settings = _settings("delete", -1, catalogue_max_bytes(topics), max(1, replication - 1))
    return [Wanted(name, 1, replication, settings) for name in registry_topic_names(suffix)]


def catalogue_max_bytes(topics: Catalogue) -> int:
    """The largest message any topic takes, bytes."""
    return max(topic.max_message_bytes for topic in topics.values())


def _metadata(client: AdminClient, bootstrap: str) -> Any:
    try:
        return client.list_topics(timeout=ANSWER_S)
    except KafkaException:
        raise Unavailable(
            f"Kafka at {bootstrap} does not answer; start it with `triplane kafka up`, see `triplane status` where its process lives, or correct {BOOTSTRAP_NAMES}"
        ) from None


def broker_count(bootstrap: str, options: Options = None) -> int:
    """Nodes of the cluster. Raises StackError when it does not answer."""
    return len(_metadata(admin(bootstrap, options), bootstrap).brokers)


def list_topics(bootstrap: str, prefix: str = "", options: Options = None) -> dict[str, int]:
    """Topics under a prefix with their number of partitions, by name; Kafka's internal ones are left out."""
    found = _metadata(admin(bootstrap, options), bootstrap).topics
    return {
        name: len(topic.partitions)
        for name, topic in sorted(found.items())
        if name.startswith(prefix) and not name.startswith("__")
    }


def create_topics(
    bootstrap: str,
    topics: Catalogue | None = None,
    prefix: str = "",
    registry: bool = False,
    options: Options = None,
) -> list[str]:
    """Create what is missing and return its names; what exists is left as it is (see `diff`). Raises StackError.

    Returns when every topic has a leader for every partition, so that a client may use it at once.
    """
    client = admin(bootstrap, options)
    metadata = _metadata(client, bootstrap)
    missing = [
        each for each in wanted(len(metadata.brokers), prefix, topics, registry) if each.name not in metadata.topics
    ]
    _create(client, missing)
    return [each.name for each in missing]


def create_registry_topics(bootstrap: str, options: Options = None, suffix: str = "") -> list[str]:
    """Create the registry's topics if they are missing; must come before its first start. Raises StackError."""
    client = admin(bootstrap, options)
    metadata = _metadata(client, bootstrap)
    every = _registry_topics(len(metadata.brokers), catalogue.load(), suffix)
    missing = [each for each in every if each.name not in metadata.topics]
    _create(client, missing)
    return [each.name for each in missing]


def _create(client: AdminClient, missing: Iterable[Wanted]) -> None:
    new = [
        NewTopic(
            each.name, num_partitions=each.partitions, replication_factor=each.replication, config=dict(each.config)
        )
        for each in missing
    ]
    if not new:
        return
    for name, future in client.create_topics(new, operation_timeout=TIMEOUT_S).items():
        try:
            future.result(TIMEOUT_S + 5)
        except KafkaException as error:
            # Another process creating the same topics at the same time is as good.
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise StackError(f"topic {name} cannot be created: {error.args[0].str()}; see Kafka's log") from None
    _await_leaders(client, {topic.topic for topic in new})


def _await_leaders(client: AdminClient, names: set[str]) -> None:
    """Wait until the broker asked knows the topics: the controller's word reaches brokers some milliseconds later."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        found = client.list_topics(timeout=TIMEOUT_S).topics
        waiting = {
            name
            for name in names
            if name not in found
            or not found[name].partitions
            or any(p.leader < 0 for p in found[name].partitions.values())
        }
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise StackError(f"topic {min(waiting)} has no leader after {TIMEOUT_S:.0f} s; see Kafka's log")


def delete_topics(bootstrap: str, prefix: str, options: Options = None) -> list[str]:
    """Delete every topic under a non-empty prefix and return the names. For tests and throw-away runs."""
    if not prefix:
        raise StackError("refusing to delete topics without a prefix, since that would be all of them; name a prefix")
    names = list(list_topics(bootstrap, prefix, options))
    client = admin(bootstrap, options)  # held: its futures are cancelled when it goes
    if names:
        for future in client.delete_topics(names, operation_timeout=TIMEOUT_S).values():
            future.result(TIMEOUT_S + 5)
    deadline = time.monotonic() + TIMEOUT_S
    while list_topics(bootstrap, prefix, options):  # brokers hear of it some milliseconds after the controller
        if time.monotonic() > deadline:
            raise StackError(f"topics under {prefix} are still there {TIMEOUT_S:.0f} s after deletion; see Kafka's log")
    return names


def first_with_data(bootstrap: str, prefix: str = "", options: Options = None) -> str | None:
    """Name of a catalogue topic that holds or held records, or None when every one is new."""
    client = admin(bootstrap, options)
    found = _metadata(client, bootstrap).topics
    ours = [prefix + name for name in catalogue.load() if prefix + name in found]
    asked = [TopicPartition(name, partition) for name in ours for partition in found[name].partitions]
    ends = {place: _end(client, place) for place in asked}
    written = {place.topic for place, end in ends.items() if end > 0}
    return next((name for name in ours if name in written), None)


def _end(client: AdminClient, place: TopicPartition) -> int:
    """End offset of a partition, asked again while its leader is being elected."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            answer = client.list_offsets({place: OffsetSpec.latest()})[place]
            return int(answer.result(TIMEOUT_S).offset)
        except KafkaException as error:
            if error.args[0].name() not in ELECTING or time.monotonic() > deadline:
                raise Unavailable(
                    f"the end of topic {place.topic} cannot be read: {error.args[0].str()}; try again, or see Kafka's log"
                ) from None
            time.sleep(0.1)
            with contextlib.suppress(KafkaException):  # a client asks with the epoch it knows until it looks again
                client.list_topics(timeout=1.0)


def diff(
    bootstrap: str,
    topics: Catalogue | None = None,
    prefix: str = "",
    registry: bool = False,
    options: Options = None,
) -> list[Difference]:
    """What on the cluster is not as the catalogue says; empty when all is well. Raises StackError."""
    client = admin(bootstrap, options)
    metadata = _metadata(client, bootstrap)
    want = {each.name: each for each in wanted(len(metadata.brokers), prefix, topics, registry)}
    found = {name: topic for name, topic in metadata.topics.items() if name in want}
    configs = _configs(client, list(found))
    differences = []
    for name, each in sorted(want.items()):
        if name not in configs:
            differences.append(Difference(name, "topic", "present", ""))
            continue
        partitions = found[name].partitions
        copies = min(len(partition.replicas) for partition in partitions.values())
        actual = {"partitions": str(len(partitions)), "replication": str(copies), **configs[name]}
        expected = {"partitions": str(each.partitions), "replication": str(each.replication), **dict(each.config)}
        differences.extend(
            Difference(name, what, value, actual[what]) for what, value in expected.items() if actual[what] != value
        )
    if prefix:
        extra = {name for name in metadata.topics if name.startswith(prefix)} - want.keys()
    else:
        planes = tuple(f"{plane}." for plane in catalogue.PLANES)
        extra = {name for name in metadata.topics if name.startswith(planes)} - want.keys()
    differences.extend(Difference(name, "topic", "", "present") for name in sorted(extra))
    return differences


def restore(bootstrap: str, prefix: str = "", options: Options = None) -> list[Difference]:
    """Set the settings in COMPARED back to what the catalogue says; returns what was set. Raises StackError."""
    wrong = [each for each in diff(bootstrap, prefix=prefix, options=options) if each.what in COMPARED]
    resources: dict[str, ConfigResource] = {}
    for each in wrong:
        resource = resources.setdefault(each.topic, ConfigResource(ResourceType.TOPIC, each.topic))
        resource.add_incremental_config(
            ConfigEntry(each.what, each.wanted, incremental_operation=AlterConfigOpType.SET)
        )
    if resources:
        client = admin(bootstrap, options)
        for resource, future in client.incremental_alter_configs(list(resources.values())).items():
            try:
                future.result(TIMEOUT_S)
            except KafkaException as error:
                raise StackError(
                    f"topic {resource.name} cannot be altered: {error.args[0].str()}; see Kafka's log"
                ) from None
    return wrong


def _configs(client: AdminClient, names: list[str]) -> Mapping[str, dict[str, str]]:
    if not names:
        return {}
    result = {}
    futures = client.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names])
    for resource, future in futures.items():
        try:
            entries = future.result(TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].name() == "UNKNOWN_TOPIC_OR_PART":  # deleted since the list was made
                continue
            raise Unavailable(f"topic {resource.name} cannot be described: {error.args[0].str()}") from None
        result[resource.name] = {key: entry.value for key, entry in entries.items() if key in COMPARED}
    return result
