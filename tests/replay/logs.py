"""A log by hand: records go through the codec, as producers and readers do it, and get offsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas import catalogue, codec
from schemas.parallel import PARALLEL
from triplane.replay.recording import Recording
from triplane.runtime.kafka_in import LogRecord

FILLERS: dict[str, Any] = {"string": "", "double": float("nan"), "long": 0, "int": 0, "boolean": False}


class HandLog:
    """Records of any topic in the order in which they were put."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self._ends: dict[str, int] = {}

    def put(self, topic: str, headers: Mapping[str, bytes] | None = None, **fields: Any) -> LogRecord:
        """Append one record with the defaults of its schema; arrays left out are as long as those that they run beside."""
        entry = catalogue.load()[topic]
        value = codec.defaults(entry.record) | fields
        if value[entry.key] == "":
            value[entry.key] = "main"  # keys are never empty
        types = {field["name"]: field["type"] for field in codec.record_schema(entry.record)["fields"]}
        for group in PARALLEL.get(entry.record, ()):
            for name in group[1:]:
                if name not in fields:
                    value[name] = [FILLERS[types[name]["items"]]] * len(value[group[0]])
        raw = codec.load().encode(entry.record, value)
        return self._append(topic, entry.key_of(value), codec.load().decode(entry.record, raw), "", raw, headers or {})

    def put_malformed(self, topic: str) -> LogRecord:
        """Append bytes that are no record."""
        return self._append(topic, b"k", None, "malformed", b"\x00junk", {})

    def _append(
        self, topic: str, key: bytes, value: dict[str, Any] | None, error: str, raw: bytes, headers: Mapping[str, bytes]
    ) -> LogRecord:
        offset = self._ends.get(topic, 0)
        self._ends[topic] = offset + 1
        record = LogRecord(topic, 0, offset, key, value, error, raw, dict(headers))
        self.records.append(record)
        return record

    def recording(self) -> Recording:
        """As the replay reads it."""
        return Recording.of(self.records)
