"""A recording: topics read once into memory, de-duplicated, with their hashes.

The hash of a topic covers the Avro bodies without the 5-byte wire header, in log order, after de-duplication (law L1): schema ids,
ingest times and trace ids stay outside it.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas import catalogue
from triplane.runtime.first_per_identity import FirstPerIdentity
from triplane.runtime.kafka_in import LogRecord, LogUnavailable, TopicReader, partition_name
from triplane.runtime.lost_log import lost
from triplane.runtime.settings import Settings

EVERYTHING: Final = sys.maxsize


@dataclass(frozen=True, slots=True)
class Recording:
    """Log records by logical topic, in log order per partition.

    `raw` holds every record as it stands on the log; `records` the first per identity, decodable ones only. What follows from
    order.events before the offset `settled` is on the log, if it ever will be; what follows from later ones may still be written.
    """

    raw: Mapping[str, list[LogRecord]]
    records: Mapping[str, list[LogRecord]] = field(default_factory=dict)
    settled: int = EVERYTHING

    @staticmethod
    def of(log_records: Iterable[LogRecord], settled: int = EVERYTHING) -> Recording:
        """Group and de-duplicate; raises Nondeterminism when two records share an identity but not their bytes."""
        raw: dict[str, list[LogRecord]] = {name: [] for name in catalogue.load()}
        for record in log_records:
            raw[record.topic].append(record)
        for records in raw.values():
            records.sort(key=lambda record: (record.partition, record.offset))
        first = FirstPerIdentity()
        return Recording(raw, {name: [r for r in records if first.accept(r)] for name, records in raw.items()}, settled)

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


def read(
    settings: Settings, topics: Iterable[str] | None = None, timeout_s: float = 120.0, settle_s: float = 0.0
) -> Recording:
    """Read topics (all of the catalogue by default) from Kafka up to their present end.

    `settle_s` is for a log that planes may be writing: the wall seconds within which they have written what follows from an event.
    Raises LogUnavailable, also where an open transaction hides records (what follows from them, and they alone, would be missing) and
    where a topic ends before what a barrier saw of it.
    """
    reader = TopicReader(settings, list(topics if topics is not None else catalogue.load()))
    try:
        settled = EVERYTHING
        if settle_s > 0.0:
            settled = reader.end_offsets().get(partition_name("order.events", 0), EVERYTHING)
            time.sleep(
                settle_s
            )  # the time itself is what makes the difference; the end taken after it is later than all of that
        ends = reader.whole_ends()
        found = Recording.of(reader.read_to(ends, timeout_s), settled)
        now = reader.end_offsets()  # later than any barrier that was read: planes may be writing
        for barrier in found.raw["strategy.barriers"]:
            if barrier.value is not None and (
                sentence := lost(barrier.value["cut"], now, f"barrier {barrier.value['seq']} saw")
            ):
                raise LogUnavailable(sentence)
        return found
    finally:
        reader.close()
