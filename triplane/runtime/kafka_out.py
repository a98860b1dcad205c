"""Kafka out: one idempotent producer per plane that writes only the topics its plane owns.

acks=all and idempotence keep order and lose nothing while a broker is down (law L12). The partitioner is murmur2_random, the one
that Java and aiokafka clients use; librdkafka's default would send the same key elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas import catalogue, codec
from schemas.catalogue import Catalogue
from schemas.codec import Codec
from triplane.runtime.readable_topics import MISSING_REMEDY
from triplane.runtime.settings import Settings

LOG_LEVEL = 2
"""librdkafka's syslog level. At 3 a broker that is away is a line on stderr twenty times a second, before any sentence of ours."""
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
INGEST_TIME = "ingest_time"
CAUSE_INGEST_TIME = "cause_ingest_time"


_CLOCK = frozenset({KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD})
_GONE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})


def cause(code: int, text: str) -> str:
    """Kafka's `text` for an error of protocol code `code`, with what to look at where the clock is wrong, a limit is too small or the topic is gone.

    A topic refuses what is stamped more than an hour ahead of its broker (message.timestamp.after.max.ms).
    """
    hint = ""
    if code in _CLOCK:
        hint = "; is this machine's clock right? Kafka refuses what is stamped far from its own"
    elif code == KafkaError.MSG_SIZE_TOO_LARGE:
        hint = (
            "; `triplane topics diff` names a limit that is not the catalogue's, `triplane topics restore` sets it back"
        )
    elif code in _GONE:
        hint = f"; {MISSING_REMEDY}"
    return f"{text}{hint}"


class DeliveryError(RuntimeError):
    """Kafka did not acknowledge a record; it may or may not be on the log."""


class TooLargeError(DeliveryError):
    """A record that no topic takes, now or later."""


class OwnershipError(PermissionError):
    """A plane tried to write a topic that the catalogue gives to another."""


class _Acknowledgement:
    """Of a record that goes to a topic and perhaps to that of newest records: its offset on the first, once both have it, or the first
    refusal."""

    def __init__(self, topics: int) -> None:
        self.offset = -1
        """On the first topic; -1 until it is there."""
        self.future: Future[int] = Future()
        self.future.set_running_or_notify_cancel()  # whoever waits may be cancelled; a cancelled future would end the poll thread
        self._lock = threading.Lock()  # `flush` calls back on another thread than `poll`
        self._left = topics

    def refused(self, why: str) -> None:
        with self._lock:
            if not self.future.done():
                self.future.set_exception(DeliveryError(why))

    def taken(self, offset: int | None) -> None:
        """None: by another topic than the first."""
        with self._lock:
            self._left -= 1
            self.offset = self.offset if offset is None else offset
            if not self._left and not self.future.done():
                self.future.set_result(self.offset)


class TopicWriter:
    """Encodes and produces records of one plane. Thread-safe; delivery callbacks run on its own poll thread.

    `delivery_timeout_s` is wall time until an unacknowledged record's future fails with DeliveryError.
    """

    def __init__(
        self,
        settings: Settings,
        plane: str,
        *,
        topics: Catalogue | None = None,
        codec_: Codec | None = None,
        delivery_timeout_s: float = 120.0,
    ) -> None:
        self._settings = settings
        self._plane = plane
        self._topics = topics or catalogue.load()
        self._codec = codec_ or codec.load()
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap,
                "client.id": f"triplane-{plane}",
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "linger.ms": 0,
                "delivery.timeout.ms": int(delivery_timeout_s * 1000),
                # A broker that restarts must be found again within a second, not after the default backoff of ten.
                "reconnect.backoff.max.ms": 1000,
                "log_level": LOG_LEVEL,
                **settings.kafka_options,
            }
        )
        self._halves: dict[tuple[str, bytes], _Acknowledgement] = {}
        """Records that the topic of newest records has refused, by topic and bytes: what is sent again need not go to the other twice."""
        self._failed = ""  # why the first record since the last `flush` was not acknowledged
        self._closed = threading.Event()
        self._poller = threading.Thread(target=self._poll, name=f"{plane}-producer", daemon=True)
        self._poller.start()

    def _poll(self) -> None:
        while not self._closed.is_set():
            try:
                self._producer.poll(0.1)
            except KafkaException:
                # A broker that lost records breaks an idempotent producer for good. What was queued fails with the next calls, and
                # whoever sends again is told: this thread must live to say so.
                self._closed.wait(0.1)

    def send(
        self,
        topic: str,
        record: Mapping[str, Any],
        *,
        headers: Mapping[str, bytes] | None = None,
        partition: int | None = None,
    ) -> Future[int]:
        """Queue a record; the future yields its offset once all in-sync replicas have it, also of the topic of newest records.

        Raises OwnershipError, CodecError, CatalogueError (empty key), TooLargeError, BufferError (local queue full) or DeliveryError
        (the producer has failed for good); then nothing is queued, or what the other topic of a record has is queued again with it.
        """
        entry = self._topics[topic]
        if entry.owner != self._plane:
            raise OwnershipError(
                f"{topic} belongs to the {entry.owner} plane; the {self._plane} plane must not write it"
            )
        data = self._codec.encode(entry.record, record)
        complete = record if entry.key in record else codec.defaults(entry.record) | dict(record)
        acknowledgement = _Acknowledgement(1 if entry.latest_name is None else 2)
        there = self._halves.pop((topic, data), None)
        if there is not None and there.offset >= 0:
            acknowledgement.taken(there.offset)  # sent before, and refused by the other topic alone
        else:
            place = entry.partition if partition is None else partition
            self._produce(self._settings.topic(topic), entry.key_of(complete), data, headers, place, acknowledgement)
        if entry.latest_name is not None:
            filled = codec.defaults(entry.record) | dict(record)
            twin_key = "/".join(str(filled[field]) for field in entry.latest).encode()
            twin = self._settings.topic(entry.latest_name)
            half = topic, data
            self._produce(twin, twin_key, data, headers, entry.partition, acknowledgement, half)
        return acknowledgement.future

    def _produce(
        self,
        physical: str,
        key: bytes,
        data: bytes,
        headers: Mapping[str, bytes] | None,
        partition: int | None,
        acknowledgement: _Acknowledgement,
        half: tuple[str, bytes] | None = None,
    ) -> None:
        if len(data) > MAX_MESSAGE_BYTES - 1024:
            raise TooLargeError(
                f"a record of {len(data)} bytes for {physical} exceeds max.message.bytes {MAX_MESSAGE_BYTES}; split the slice"
            )

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                acknowledgement.taken(message.offset() if half is None else None)
                return
            if half is not None:
                self._halves[half] = acknowledgement
            why = cause(error.code(), error.str())
            self._failed = self._failed or f"{physical}: {why}"
            acknowledgement.refused(f"{physical}: not acknowledged: {why}")

        marks = {INGEST_TIME: str(time.time_ns()).encode(), **(headers or {})}
        extra = {} if partition is None else {"partition": partition}
        try:
            self._producer.produce(
                physical, value=data, key=key, headers=list(marks.items()), on_delivery=delivered, **extra
            )
        except KafkaException as error:
            told = error.args[0]
            raise DeliveryError(f"{physical}: not taken: {cause(told.code(), told.str())}") from None

    def in_flight(self) -> int:
        """Records queued and not yet acknowledged."""
        return len(self._producer)

    def flush(self, timeout_s: float) -> None:
        """Wait until everything queued is acknowledged; DeliveryError when something was not, or time ran out."""
        remaining = self._producer.flush(timeout_s)
        failed, self._failed = self._failed, ""
        if failed:
            raise DeliveryError(failed)
        if remaining:
            raise DeliveryError(
                f"{remaining} records were not acknowledged within {timeout_s:g} s; is Kafka reachable?"
            )

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush what can be flushed and stop the poll thread; never raises."""
        self._producer.flush(timeout_s)
        self._closed.set()
        self._poller.join(timeout=2.0)
