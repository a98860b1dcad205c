"""How much of its log this plane knows: a log that ends before that, or hides its end, is not the whole account of our orders.

order.events is the only memory of what was sent. Put back from an earlier moment, or emptied, it would let keys be used again and
orders be forgotten, so the start is refused rather than trusted (law L11). The file `order-seen.json` says how far the events were
acknowledged; the checkpoint and the cuts of the events say how far each input was read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from schemas import catalogue
from triplane.runtime import atomic_file
from triplane.runtime.daemon import Daemon, lock_path
from triplane.runtime.exit_codes import UNAVAILABLE, DaemonExit
from triplane.runtime.kafka_in import TopicReader
from triplane.runtime.process_identity import file_identity
from triplane.runtime.readable_topics import hidden
from triplane.runtime.settings import Settings

PLANE = "order"
EVENTS = "order.events"
EVENTS_PARTITION = "order.events-0"
NOTE_EVERY_S = 1.0


def seen_path(settings: Settings) -> Path:
    """The file that says how far order.events was seen on the log."""
    return settings.state_dir / "order-seen.json"


def held_lock(settings: Settings) -> tuple[int, int] | None:
    """Which lock file of this plane is in the state folder."""
    return file_identity(lock_path(settings, PLANE))


def refuse_unwritable(settings: Settings) -> None:
    """At a start, when a person is at hand: DaemonExit where the file cannot be written, though it says the same afterwards."""
    path = seen_path(settings)
    try:
        content = path.read_bytes() if path.exists() else json.dumps({"prefix": settings.topic_prefix, "events": 0})
        atomic_file.write(path, content, durable=True)
    except OSError as error:
        raise DaemonExit(
            f"{path} cannot be written ({error.strerror}), and a log that is put back from earlier would not be known for what it is; "
            "make it a file that this user may write, with room on that disk"
        ) from None


def note_seen(settings: Settings, end: int, lock: tuple[int, int] | None) -> str:
    """Write down where the acknowledged events end, so that a log which is put back from before that is known for what it is.

    A file that cannot be written is no reason to stop: the checkpoint knows the last event that was folded at the last start. Why it cannot is
    returned, an empty text where it can. A folder
    with another lock than this process's (`held_lock` at its start), or none, is not the one that it began with: somebody removed
    that, Kafka's log in it, too.
    """
    if not end or lock is None or held_lock(settings) != lock:
        return ""
    try:
        atomic_file.write_json(seen_path(settings), {"prefix": settings.topic_prefix, "events": end}, durable=True)
    except OSError as error:
        return str(error.strerror)
    return ""


def seen(settings: Settings) -> int | None:
    """Where the acknowledged events ended as far as the file knows; 0 without one of this log, None where it is damaged.

    Raises OSError where something is there that is no file: it could not be noted either, and nobody would know.
    """
    try:
        document = atomic_file.read_json(seen_path(settings))
        return int(document["events"]) if document["prefix"] == settings.topic_prefix else 0
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def ends_now(settings: Settings, partitions: Mapping[str, int]) -> dict[str, int]:
    """Where the topics of the named partitions end, those that the catalogue knows. Raises LogUnavailable."""
    topics = sorted({name.rpartition("-")[0] for name in partitions} & set(catalogue.load()))
    if not topics:
        return {}
    reader = TopicReader(settings, topics, "end")
    try:
        return reader.end_offsets()
    finally:
        reader.close()


def whole_ends(reader: TopicReader) -> dict[str, int]:
    """Where reading is to stop, of each partition. Behind an open transaction of somebody else nobody reads what we wrote: DaemonExit."""
    # In this order: what is written between the two questions can only make the second answer larger.
    everything = reader.end_offsets(committed=False)[EVENTS_PARTITION]
    ends = reader.end_offsets()
    if ends[EVENTS_PARTITION] < everything:
        raise DaemonExit(hidden(EVENTS_PARTITION, ends[EVENTS_PARTITION]), UNAVAILABLE)
    return ends


async def keep_noting(daemon: Daemon, end: Callable[[], int], lock: tuple[int, int] | None) -> None:
    """Note the end of the acknowledged events within a second of each change, until cancelled. Why it cannot be noted is said once."""
    noted, why = 0, ""
    while True:
        if end() > noted:
            noted, told = end(), why
            why = await asyncio.to_thread(note_seen, daemon.settings, noted, lock)
            if why and why != told:
                daemon.log.warning("the end of the log is not noted", file=str(seen_path(daemon.settings)), reason=why)
        await asyncio.sleep(NOTE_EVERY_S)
