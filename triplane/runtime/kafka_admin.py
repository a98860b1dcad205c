"""The client with which a daemon asks Kafka about itself: topics, ends of partitions, offsets of a group."""

from __future__ import annotations

from typing import Final

from confluent_kafka.admin import AdminClient

from triplane.runtime.kafka_out import LOG_LEVEL
from triplane.runtime.settings import Settings

ANSWER_S: Final = 1.5
"""Wall seconds for an answer that readiness depends on: whoever asks about readiness waits two."""


def admin_client(settings: Settings) -> AdminClient:
    """A client of the configured Kafka, with its options of security, that prints nothing while Kafka is away.

    Keep it until an answer is there: a client that is collected drops its requests.
    """
    return AdminClient(
        {
            "bootstrap.servers": settings.bootstrap,
            "log_level": LOG_LEVEL,
            "error_cb": lambda _error: None,
            "reconnect.backoff.max.ms": 1000,
            **settings.kafka_options,
        }
    )
