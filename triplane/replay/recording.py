"""A recording: topics read once into memory, de-duplicated, with their hashes.

The hash of a topic covers the Avro bodies without the 5-byte wire header, in log order, after de-duplication (law L1): schema ids,
ingest times and trace ids stay outside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas import catalogue
from triplane.runtime.kafka_in import FirstPerIdentity, LogRecord, TopicReader
from triplane.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Recording:
    """Log records by logical topic, in log order per partition.

    `raw` holds every record as it stands on the log; `records` the first per identity, decodable ones only.
    """

    raw: Mapping[str, list[LogRecord]]
    records: Mapping[str, list[LogRecord]] = field(default_factory=dict)

    @staticmethod
    def of(log_records: Iterable[LogRecord]) -> Recording:
        """Group and de-duplicate; raises Nondeterminism when two records share an identity but not their bytes."""
        raw: dict[str, list[LogRecord]] = {name: [] for name in catalogue.load()}
        for record in log_records:
            raw[record.topic].append(record)
        for records in raw.values():
            records.sort(key=lambda record: (record.partition, record.offset))
        first = FirstPerIdentity()
        return Recording(raw, {name: [r for r in records if first.accept(r)] for name, records in raw.items()})

    def digest(self, topic: str) -> str:
        """SHA-256 (hex) over the topic's bodies."""
        return digest(record.body for record in self.records[topic])

    def counts(self) -> dict[str, int]:
        """Records per topic, duplicates included."""
        return {name: len(records) for name, records in self.raw.items()}


def digest(bodies: Iterable[bytes]) -> str:
    """SHA-256 (hex) over length-prefixed bodies, so that moving a byte across a border changes it."""
    total = hashlib.sha256()
    for body in bodies:
        total.update(len(body).to_bytes(4, "big"))
        total.update(body)
    return total.hexdigest()


def combined(digests: Mapping[str, str]) -> str:
    """One SHA-256 (hex) over named digests, in the order of their names."""
    lines = "".join(f"{name} {digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def read(settings: Settings, topics: Iterable[str] | None = None, timeout_s: float = 120.0) -> Recording:
    """Read topics (all of the catalogue by default) from Kafka up to their present end."""
    reader = TopicReader(settings, list(topics if topics is not None else catalogue.load()))
    try:
        return Recording.of(reader.read_to(reader.end_offsets(), timeout_s))
    finally:
        reader.close()
