"""Whether Kafka answers at this very moment, for a daemon's readiness.

A broker that stands still closes no connection, and a daemon that has nothing to publish would notice it only at its next record.
Nor would one notice that what it reads is hidden from it (readable_topics.py).
"""

from __future__ import annotations

import asyncio

from confluent_kafka import KafkaError, KafkaException

from triplane.runtime.kafka_admin import ANSWER_S, admin_client
from triplane.runtime.readable_topics import ReadableTopics, missing
from triplane.runtime.settings import Settings

SILENT = f"Kafka does not answer within {ANSWER_S:g} s"


class KafkaProbe:
    """Asks the broker about one topic at each call; `topics` are names of the catalogue that the daemon reads."""

    def __init__(self, settings: Settings, *topics: str) -> None:
        self._admin = admin_client(settings)
        self._topic = settings.topic(topics[0])
        self._asking: asyncio.Future[str] | None = None
        self._readable = ReadableTopics(settings, topics)

    async def __call__(self) -> str:
        """Why the daemon is not ready, or an empty text. Whoever asks while a question is under way gets its answer."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(asyncio.to_thread(self._ask))
        return await asyncio.shield(self._asking)

    def _ask(self) -> str:
        try:
            told = self._admin.list_topics(self._topic, timeout=ANSWER_S).topics[self._topic]
        except KafkaException:
            return SILENT
        if told.error is not None and told.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return missing(self._topic)
        return self._readable.look(self._admin, ANSWER_S)
