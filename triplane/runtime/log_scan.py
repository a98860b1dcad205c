"""Everything on some topics, record by record, with nothing kept: for what is looked up seldom in a log of any length."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from triplane.runtime.kafka_in import LogRecord, LogUnavailable, TopicReader
from triplane.runtime.settings import Settings

AT_ONCE = 5000


def scan(settings: Settings, topics: Iterable[str], silence_s: float = 60.0) -> Iterator[LogRecord]:
    """Each record up to the present end, in log order within a partition; blocks. Raises LogUnavailable, also where somebody's open
    transaction hides records, and where nothing comes for `silence_s` wall seconds.
    """
    reader = TopicReader(settings, list(topics))
    try:
        ends, heard = reader.whole_ends(), time.monotonic()
        while any(max(at, 0) < ends[name] for name, at in reader.position().items()):
            records = reader.poll(0.2, AT_ONCE)
            if records:
                heard = time.monotonic()
                yield from (record for record in records if record.offset < ends[record.partition_name])
            elif time.monotonic() > heard + silence_s:
                raise LogUnavailable(f"reading to the end of the log: nothing came for {silence_s:g} s")
    finally:
        reader.close()
