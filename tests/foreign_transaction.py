"""Somebody else's transaction on topics of ours: open, it hides what is written behind it; ended, it leaves a marker."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

from confluent_kafka import Producer

from tests.waiting import eventually
from triplane.runtime.kafka_in import TopicReader
from triplane.runtime.settings import Settings

JUNK = b"no record of ours"


@contextlib.contextmanager
def foreign_transaction(settings: Settings, *topics: str, commit: bool = False) -> Iterator[Producer]:
    """Open, with one record on partition 0 of each topic, while the block runs; then aborted, or committed."""
    theirs = Producer({"bootstrap.servers": settings.bootstrap, "transactional.id": str(uuid.uuid4())})
    theirs.init_transactions(20)
    theirs.begin_transaction()
    for topic in topics:
        theirs.produce(settings.topic(topic), JUNK, partition=0)
    assert theirs.flush(20) == 0
    yield theirs
    (theirs.commit_transaction if commit else theirs.abort_transaction)(20)
    # The broker writes the markers a moment after it has acknowledged the end.
    reader = TopicReader(settings, topics)
    try:
        eventually(lambda: not reader.hidden(), 20, "the end of a transaction")
    finally:
        reader.close()
