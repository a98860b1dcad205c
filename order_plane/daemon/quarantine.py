"""What the plane could not decode or believe, as records for order.quarantine."""

from __future__ import annotations

from typing import Any, Final

from triplane.runtime.kafka_in import LogRecord
from triplane.runtime.kafka_out import INGEST_TIME

TOPIC: Final = "order.quarantine"


def record_of(record: LogRecord, code: str, detail: str) -> dict[str, Any]:
    """The QuarantinedRecord of one record of the log, with its bytes and its place for a person.

    A restart may read it again, and one identity has one content: nothing here depends on when that is.
    """
    mark = record.headers.get(INGEST_TIME, b"0")
    now = int(mark) if mark.isdigit() and len(mark) < 20 else 0
    return {
        "event_time": now,
        "available_time": now,
        "quarantine_id": record.place,
        "source": "order",
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "code": str(code),
        "detail": detail,
        "raw": record.raw,
    }
