"""Kafka in: readers that assign partitions and keep their own positions.

No consumer groups: a group consumer restarted after SIGKILL waits for its predecessor's session (42 s measured), an assigned one
does not. `auto.offset.reset=error`: a position that the log no longer has is an error, never a silent jump.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas import catalogue, codec
from schemas.catalogue import Catalogue
from schemas.codec import HEADER_BYTES, Codec, CodecError
from triplane.runtime.kafka_admin import admin_client
from triplane.runtime.kafka_out import LOG_LEVEL, MAX_MESSAGE_BYTES
from triplane.runtime.readable_topics import hidden, missing
from triplane.runtime.settings import BOOTSTRAP_NAMES, Settings

# Just after a topic was created or its leader moved, brokers disagree on who leads it; after a broker was restarted a client's
# leader epoch is old, and it goes on asking with it for minutes unless it is told to look again.
_LEADER_MOVED = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,  # a leader that was just elected does not know yet what is committed
)


MARKERS_EVERY_S = 0.5
"""Wall seconds between two looks past the markers of transactions while records keep coming."""
GATHERED_BYTES = 1_000_000
"""With `gather_ms` the broker answers earlier once it has so much."""


def _ask_for_leaders(client: Consumer | AdminClient) -> None:
    """Let a client look up who leads its topics now; a broker that is still away says so at the next question."""
    time.sleep(0.05)
    with contextlib.suppress(KafkaException):
        client.list_topics(timeout=1.0)


class LogUnavailable(RuntimeError):
    """Kafka cannot be reached, lacks a topic, or no longer holds a position."""


class PositionGone(LogUnavailable):
    """The log begins behind a position that was to be read, or ends before it."""


def damaged(partition: str, offset: int, why: str) -> LogUnavailable:
    """What to raise of a record whose checksum is wrong; `partition` by its name on the cluster."""
    return LogUnavailable(
        f"{partition}@{offset}, or a record sent with it, was damaged on Kafka's disk ({why}); put that topic's files back from a copy"
    )


def partition_name(topic: str, partition: int) -> str:
    """`topic-partition` with the logical topic name: the key of a cut."""
    return f"{topic}-{partition}"


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of the log. `value` is None when it could not be decoded; `error` then says why."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: dict[str, Any] | None
    error: str
    raw: bytes
    headers: dict[str, bytes]

    @property
    def body(self) -> bytes:
        """Avro body without the 5-byte wire-format header: what hashes cover."""
        return self.raw[HEADER_BYTES:]

    @property
    def partition_name(self) -> str:
        """Key of this record's partition in a cut."""
        return partition_name(self.topic, self.partition)

    @property
    def place(self) -> str:
        """Where it stands, for people: `topic-partition@offset`."""
        return f"{self.partition_name}@{self.offset}"


def unknown_to_this_build(records: Iterable[LogRecord], settings: Settings) -> str:
    """For the one writer of a topic: why undecodable records on it forbid the start, all in one sentence; empty when they may be passed over.

    Bytes that are no record are nobody's. A schema that the lock lacks may be a newer build's, unless a person says that it is not.
    """
    unknown = {
        record.place: record.error
        for record in records
        if record.value is None and record.error.endswith(codec.NOT_IN_LOCK)
    }
    refused = {place: error for place, error in unknown.items() if not settings.passes_over(place)}
    if not refused:
        return ""
    named = ",".join(filter(None, (settings.pass_over, *refused)))
    return (
        f"{', '.join(refused)} cannot be decoded ({'; '.join(dict.fromkeys(refused.values()))}): a newer build may have written "
        f"{'it' if len(refused) == 1 else 'them'}, so start that one, or, if none did, set TRIPLANE_PASS_OVER={named}"
    )


class TopicReader:
    """Reads logical topics from given positions. Not thread-safe: one reader per thread."""

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        start: Literal["beginning", "end"] | Mapping[str, int] = "beginning",
        *,
        catalogue_: Catalogue | None = None,
        codec_: Codec | None = None,
        timeout_s: float = 10.0,
        gather_ms: int = 0,
    ) -> None:
        """`gather_ms`: how long, in wall milliseconds, the broker may collect records before it answers; 0 for at once.

        A reader in no hurry that lets it costs the broker ten answers a second instead of one for each record written.
        """
        self._settings = settings
        self._catalogue = catalogue_ or catalogue.load()
        self._codec = codec_ or codec.load()
        self._timeout_s = timeout_s
        self._admin: AdminClient | None = None
        self._passed = time.monotonic()
        self._logical = {settings.topic(topic): topic for topic in topics}
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap,
                "group.id": "triplane-assigned",  # required by the client; nothing is ever committed under it
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "check.crcs": True,  # a bit that a disk turned over is another record else, and no worse Avro
                "fetch.message.max.bytes": MAX_MESSAGE_BYTES,
                "fetch.error.backoff.ms": 50,
                "reconnect.backoff.max.ms": 1000,
                "log_level": LOG_LEVEL,
                **({"fetch.min.bytes": GATHERED_BYTES, "fetch.wait.max.ms": gather_ms} if gather_ms else {}),
                **settings.kafka_options,
            }
        )
        try:
            assignment = self._assignment(start)
            self._position = {name: offset for name, (_, offset) in assignment.items()}
            self._consumer.assign([partition for partition, _ in assignment.values()])
        except BaseException:
            self._consumer.close()
            raise

    def _assignment(
        self, start: Literal["beginning", "end"] | Mapping[str, int]
    ) -> dict[str, tuple[TopicPartition, int]]:
        result = {}
        for physical, logical in self._logical.items():
            try:
                metadata = self._consumer.list_topics(physical, timeout=self._timeout_s).topics[physical]
            except KafkaException as error:
                raise LogUnavailable(
                    f"Kafka at {self._settings.bootstrap} does not answer ({error.args[0].str()}); "
                    f"`triplane status` says whether this folder's own runs; else start it with `triplane kafka up` or correct {BOOTSTRAP_NAMES}"
                ) from None
            if metadata.error is not None:
                raise LogUnavailable(missing(physical))
            # What somebody adds on the cluster holds nothing of ours (Topic.partition), and no cut names it.
            for number in range(self._catalogue[logical].partitions):
                if number not in metadata.partitions:
                    raise LogUnavailable(f"topic {physical} has no partition {number}; run `triplane topics diff`")
                name = partition_name(logical, number)
                if start == "beginning":
                    offset = OFFSET_BEGINNING
                elif start == "end":
                    offset = OFFSET_END
                else:
                    offset = start.get(name, OFFSET_BEGINNING)
                partition = TopicPartition(physical, number, offset)
                known = offset if offset >= 0 else self._watermarks(partition)[0 if offset == OFFSET_BEGINNING else 1]
                if offset == OFFSET_END:
                    partition = TopicPartition(physical, number, known)
                result[name] = (partition, known)
        return result

    def _watermarks(self, partition: TopicPartition) -> tuple[int, int]:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                low, high = self._consumer.get_watermark_offsets(partition, timeout=self._timeout_s)
            except KafkaException as error:
                if error.args[0].code() not in _LEADER_MOVED or time.monotonic() > deadline:
                    raise LogUnavailable(
                        f"Kafka did not tell the end of {partition.topic}: {error.args[0].str()}"
                    ) from None
                _ask_for_leaders(self._consumer)
            else:
                return low, high

    def partitions(self) -> list[str]:
        """Assigned partitions as `topic-partition`, in order of assignment."""
        return list(self._position)

    def position(self) -> dict[str, int]:
        """Next offset to read, per `topic-partition`."""
        return dict(self._position)

    def end_offsets(self, committed: bool = True) -> dict[str, int]:
        """End of every assigned partition (the offset the next record will get), asked from the broker now.

        What an open transaction hides from readers counts only without `committed`.
        The question goes over a connection of its own: on the consumer's it would wait behind a fetch, half a second a partition.
        """
        if self._admin is None:
            self._admin = self._acquainted()
        partitions = self._consumer.assignment()
        asked = {TopicPartition(each.topic, each.partition): OffsetSpec.latest() for each in partitions}
        deadline = time.monotonic() + self._timeout_s
        while True:
            answers = self._admin.list_offsets(
                asked,
                isolation_level=IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED,
                request_timeout=self._timeout_s,
            )
            try:
                ends = {
                    partition_name(self._logical[partition.topic], partition.partition): answer.result().offset
                    for partition, answer in answers.items()
                }
            except KafkaException as error:
                if error.args[0].code() not in _LEADER_MOVED or time.monotonic() > deadline:
                    raise LogUnavailable(f"Kafka did not tell the ends of its topics: {error.args[0].str()}") from None
                _ask_for_leaders(self._admin)
                continue
            # An end that is no offset would make a full log read as empty.
            unknown = [name for name, end in ends.items() if end < 0]
            if unknown:
                raise LogUnavailable(f"Kafka did not tell the end of {', '.join(unknown)}; ask it again")
            return ends

    def hidden(self) -> str:
        """That somebody else's open transaction hides records of an assigned partition, in a sentence; else an empty text."""
        return self._readable()[1]

    def whole_ends(self) -> dict[str, int]:
        """Like `end_offsets`; raises LogUnavailable while anything is hidden: whoever takes those for the ends would miss it."""
        ends, found = self._readable()
        if found:
            raise LogUnavailable(found)
        return ends

    def _readable(self) -> tuple[dict[str, int], str]:
        # In this order: what is written between the two questions can only make the second answer larger.
        everything = self.end_offsets(committed=False)
        readable = self.end_offsets()
        found = (hidden(name, end) for name, end in sorted(readable.items()) if end < everything[name])
        return readable, next(found, "")

    def _acquainted(self) -> AdminClient:
        """A client for questions that knows the brokers already.

        librdkafka 2.16 asks the bootstrap address who leads the partitions, and lets go of that connection when it learns which broker
        it was: in one of twenty new clients the question was lost with it, and asked again after three seconds.
        """
        admin = admin_client(self._settings)
        try:
            admin.list_topics(next(iter(self._logical)), timeout=self._timeout_s)
        except KafkaException as error:
            raise LogUnavailable(f"Kafka did not tell its brokers: {error.args[0].str()}") from None
        return admin

    def lag(self) -> dict[str, int]:
        """Records by topic between our position and the end that the broker named with its last records.

        A measure for the midst of reading: the broker is not asked, so nothing waits for its answer.
        """
        lag = dict.fromkeys(self._logical.values(), 0)
        for partition in self._consumer.assignment():
            topic = self._logical[partition.topic]
            _, end = self._consumer.get_watermark_offsets(partition, cached=True)
            lag[topic] += max(end - max(self._position[partition_name(topic, partition.partition)], 0), 0)
        return lag

    def poll(self, timeout_s: float, max_records: int = 500) -> list[LogRecord]:
        """Records that have arrived, at once when there are some, an empty list after `timeout_s` otherwise.

        Raises LogUnavailable when a position is gone; a broker that is down is waited for.
        """
        first = self._consumer.poll(timeout_s)
        if first is None:
            self._pass_markers()
            return []
        messages = [first]
        if max_records > 1:
            messages += self._consumer.consume(max_records - 1, timeout=0)
        records = [record for message in messages if (record := self._record(message)) is not None]
        # Where other partitions never rest, a marker at the end of a quiet one must not be waited for.
        if time.monotonic() - self._passed > MARKERS_EVERY_S:
            self._pass_markers()
        return records

    def _pass_markers(self) -> None:
        """Transaction markers and compacted records leave offsets that are never delivered."""
        self._passed = time.monotonic()
        for partition in self._consumer.position(self._consumer.assignment()):
            name = partition_name(self._logical[partition.topic], partition.partition)
            self._position[name] = max(self._position[name], partition.offset)

    def _record(self, message: Message) -> LogRecord | None:
        error = message.error()
        if error is not None:
            if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                raise PositionGone(
                    f"{message.topic()}: the position to read from is no longer on the log ({error.str()})"
                )
            if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):
                raise LogUnavailable(f"{message.topic()}: {error.str()}; run `triplane topics create`")
            if error.code() == KafkaError._BAD_MSG:
                raise damaged(f"{message.topic()}-{message.partition()}", message.offset(), error.str())
            return None  # transport errors: librdkafka reconnects by itself
        topic = self._logical[message.topic()]
        raw = message.value() or b""
        value: dict[str, Any] | None = None
        problem = ""
        try:
            value = self._codec.decode(self._catalogue[topic].record, raw)
        except CodecError as caught:
            problem = str(caught)
        record = LogRecord(
            topic,
            message.partition(),
            message.offset(),
            message.key(),
            value,
            problem,
            raw,
            dict(message.headers() or []),
        )
        self._position[record.partition_name] = record.offset + 1
        return record

    def read_to(self, ends: Mapping[str, int], timeout_s: float) -> list[LogRecord]:
        """Everything up to `ends` (exclusive); LogUnavailable when that takes longer than `timeout_s` wall seconds."""
        records: list[LogRecord] = []
        deadline = time.monotonic() + timeout_s
        while any(self._position[name] < end for name, end in ends.items() if name in self._position):
            records += self.poll(0.2, 5000)
            if time.monotonic() > deadline:
                raise LogUnavailable(f"reading to the end of the log took longer than {timeout_s:g} s")
        return [record for record in records if record.offset < ends.get(record.partition_name, record.offset + 1)]

    def close(self) -> None:
        """Leave; nothing is committed."""
        self._consumer.close()


def read_all(settings: Settings, topics: Iterable[str], timeout_s: float = 60.0) -> list[LogRecord]:
    """Everything on the topics up to their present end; order is kept within each partition. Raises LogUnavailable, also where
    somebody's open transaction hides records.
    """
    reader = TopicReader(settings, list(topics))
    try:
        return reader.read_to(reader.whole_ends(), timeout_s)
    finally:
        reader.close()
