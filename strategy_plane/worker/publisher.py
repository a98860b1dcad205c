"""The Strategy Plane's own producer: acks=all, idempotent, awaited, and only onto topics that the plane owns.

Faust's producer is not used: it is idempotent only with transactions and its request timeout is 1,200 s. aiokafka's default
partitioner is the murmur2 that the other planes' clients use.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import catalogue, codec
from strategy_plane.worker.addresses import client_options
from triplane.runtime.exit_codes import UNAVAILABLE, DaemonExit
from triplane.runtime.kafka_out import (
    INGEST_TIME,
    MAX_MESSAGE_BYTES,
    DeliveryError,
    OwnershipError,
    TooLargeError,
    cause,
)
from triplane.runtime.settings import BOOTSTRAP_NAMES, Settings

PLANE = "strategy"
# An unacknowledged record fails after this many wall ms; the worker then stops and is restarted from its snapshot.
REQUEST_TIMEOUT_MS = 60_000


class Publisher:
    """Appends records and yields their offsets."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = catalogue.load()
        self._codec = codec.load()
        self._producer = AIOKafkaProducer(
            **client_options(settings, "triplane-strategy"),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_request_size=MAX_MESSAGE_BYTES,
            max_batch_size=MAX_MESSAGE_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            retry_backoff_ms=50,
        )

    async def start(self) -> None:
        """Connect and learn where the plane's topics are; DaemonExit when Kafka does not answer.

        aiokafka asks for a topic at its first record and gives up with "unknown topic" when its patience passes, which a process
        that is stopped in between and continued takes for an answer. What is known from here on is asked for in the background.
        """
        try:
            await self._producer.start()
            await self._producer.client.set_topics([self._settings.topic(t.name) for t in self._topics.owned_by(PLANE)])
        except KafkaError:
            raise DaemonExit(
                f"Kafka at {self._settings.bootstrap} does not answer; start it with `triplane kafka up` or correct "
                f"{BOOTSTRAP_NAMES}",
                UNAVAILABLE,
            ) from None

    async def send(
        self, topic: str, record: Mapping[str, Any], headers: Mapping[str, bytes] | None = None
    ) -> asyncio.Future[int]:
        """Queue a record; the future yields its offset once all in-sync replicas have it, or raises DeliveryError.

        Raises OwnershipError, CodecError or CatalogueError (empty key) and then queues nothing. Records queued without waiting
        in between leave in one request.
        """
        entry = self._topics[topic]
        if entry.owner != PLANE:
            raise OwnershipError(f"{topic} belongs to the {entry.owner} plane; the {PLANE} plane must not write it")
        filled = codec.defaults(entry.record) | dict(record)
        value = self._codec.encode(entry.record, filled)
        if len(value) > MAX_MESSAGE_BYTES - 1024:
            raise TooLargeError(
                f"a record of {len(value)} bytes for {topic} exceeds max.message.bytes {MAX_MESSAGE_BYTES}"
            )
        marks = {INGEST_TIME: str(time.time_ns()).encode(), **(headers or {})}
        try:
            acknowledged = await self._producer.send(
                self._settings.topic(topic),
                value=value,
                key=entry.key_of(filled),
                partition=entry.partition,
                headers=list(marks.items()),
            )
        except KafkaError as error:
            raise _failed(topic, error) from None
        return asyncio.ensure_future(_offset(topic, acknowledged))

    async def close(self) -> None:
        """Deliver what is queued and disconnect."""
        await self._producer.stop()


async def _offset(topic: str, acknowledged: asyncio.Future[Any]) -> int:
    try:
        metadata = await acknowledged
    except KafkaError as error:
        raise _failed(topic, error) from None
    return int(metadata.offset)


def _failed(topic: str, error: KafkaError) -> DeliveryError:
    told = str(getattr(error, "description", "")).rstrip(".") or type(error).__name__
    code = getattr(error, "errno", 0)  # the client's own errors have none
    return DeliveryError(f"{topic}: not acknowledged: {cause(code, told)}")
