"""Start-up is crash recovery (law L11): the engine's state is the fold of order.events, from the last checkpoint or the beginning.

The checkpoint is the state *as folded* at an earlier start, so a run that begins from it equals one that folds the whole log. It is
a file that may be deleted at any time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from order_plane.daemon.fence import refuse_company
from order_plane.daemon.log_extent import (
    EVENTS,
    EVENTS_PARTITION,
    ends_now,
    held_lock,
    note_seen,
    refuse_unwritable,
    seen,
    seen_path,
    whole_ends,
)
from order_plane.daemon.log_feed import READ_TIMEOUT_S
from order_plane.engine import OrderEngine
from order_plane.recording import RecordingError, current, fold_log
from triplane.domain.calendars import MARKET_CALENDAR, session_of
from triplane.runtime import snapshots
from triplane.runtime.exit_codes import CONFIG, DaemonExit
from triplane.runtime.kafka_in import LogRecord, PositionGone, TopicReader, unknown_to_this_build
from triplane.runtime.lost_log import REMEDY, refuse_shorter
from triplane.runtime.settings import Settings
from triplane.runtime.snapshots import SnapshotError
from triplane.runtime.tasks import end_tasks

REFERENCED = ("control.config", "control.commands", "strategy.intents", "data.actions")
FORMAT = 7
LastEvent = tuple[int, str] | None
"""Offset and SHA-256 of a record of order.events; None of an empty log."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where the log leaves off: highest epoch, next offset per input partition, the events that were folded now."""

    epoch: int
    positions: dict[str, int]
    events_offset: int
    """Up to where order.events was folded."""
    last_event: LastEvent
    """The newest record folded: a log that holds another one there is not the log that was folded."""
    recorded: frozenset[str]
    """Identities of the events read: an output of an earlier run is published only if its event is among them."""
    state: dict[str, Any]
    """The engine's state as folded, for the checkpoint."""
    unreadable: tuple[LogRecord, ...]
    """Records of order.events that no build has written: they say nothing of our orders."""
    damaged: tuple[Path, ...]
    """Files of an earlier run that cannot be used: the log alone says how far it goes."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Where the fold begins: offsets to read from, input positions and epoch as of the checkpoint. Reading starts with the last
    event that the checkpoint has, to see that it is there."""

    start: dict[str, int] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    epoch: int = 0
    last: LastEvent = None


def checkpoint_path(settings: Settings) -> Path:
    """The checkpoint's file."""
    return settings.state_dir / "order-engine.snapshot"


def recover(settings: Settings, engine: OrderEngine) -> Recovered:
    """Bring a new engine to the end of the log. Blocks. Raises LogUnavailable, or DaemonExit when the log cannot be folded or has
    lost records that this plane has acted on: what it says of our orders is then not all of it.
    """
    begin = _from_checkpoint(settings, engine)
    known_end = seen(settings)
    refuse_unwritable(settings)
    damaged = [checkpoint_path(settings)] if begin is None else []
    damaged += [seen_path(settings)] if known_end is None else []
    begin = begin or Begin()
    reader = TopicReader(settings, (EVENTS, *REFERENCED), begin.start)
    try:
        first = max(reader.position()[EVENTS_PARTITION], 0)
        if begin.last is None and first > begin.start.get(EVENTS_PARTITION, 0):
            raise DaemonExit(
                f"{EVENTS_PARTITION} begins at {first} and there is no checkpoint of what came before; {REMEDY}", CONFIG
            )
        ends = whole_ends(reader)
        folded_to = begin.last[0] + 1 if begin.last is not None else 0
        known_to = {**begin.start, EVENTS_PARTITION: max(folded_to, begin.start.get(EVENTS_PARTITION, 0))}
        refuse_shorter(known_to, ends, f"{checkpoint_path(settings)} knows")
        refuse_shorter({EVENTS_PARTITION: known_end or 0}, ends, f"{seen_path(settings)} knows")
        records = reader.read_to(ends, READ_TIMEOUT_S)
        refuse_company(settings, engine.account, ends[EVENTS_PARTITION], reader.end_offsets()[EVENTS_PARTITION])
    except PositionGone as error:
        raise DaemonExit(f"{error}, and {checkpoint_path(settings)} goes on from there; {REMEDY}", CONFIG) from None
    finally:
        reader.close()
    newest = begin.last
    if begin.last is not None:
        known = next((record for record in records if record.topic == EVENTS), None)
        if known is None or _last(known) != begin.last:
            raise DaemonExit(
                f"{EVENTS_PARTITION}@{begin.last[0]} is not the record that {checkpoint_path(settings)} knows there: "
                f"records of the log are lost; {REMEDY}",
                CONFIG,
            )
        records.remove(known)  # the checkpoint has it
    events: list[Mapping[str, Any]] = []
    unreadable: list[LogRecord] = []
    referenced: dict[tuple[str, int, int], dict[str, Any]] = {}
    for record in records:
        if record.value is not None and record.topic != EVENTS:
            referenced[record.topic, record.partition, record.offset] = record.value
        elif record.topic == EVENTS:
            newest = _last(record)
            if record.value is None:
                unreadable.append(record)
            elif record.value["account"] == engine.account:
                events.append(record.value)
    if refused := unknown_to_this_build(unreadable, settings):
        raise DaemonExit(refused, CONFIG)  # they may be orders of ours
    # Events of an epoch that ended before the checkpoint are late words of a replaced writer.
    events = [event for event in events if event["epoch"] >= begin.epoch]
    positions = dict(begin.positions)
    for event in current(events):
        for name, end in event["cut"].items():
            positions[name] = max(positions.get(name, 0), end)
    refuse_shorter(positions, ends_now(settings, positions), f"{EVENTS} says that this plane has read")
    try:
        highest = max(begin.epoch, fold_log(engine, events, lambda *place: referenced.get(place)))
    except RecordingError as error:
        raise DaemonExit(str(error), CONFIG) from None
    # What a replaced writer said too late is on the log and never happened, and neither did what follows from it.
    recorded = frozenset(event["event_id"] for event in current(events))
    return Recovered(
        highest, positions, ends[EVENTS_PARTITION], newest, recorded, engine.state(), tuple(unreadable), tuple(damaged)
    )


def _last(record: LogRecord) -> tuple[int, str]:
    return record.offset, hashlib.sha256(record.raw).hexdigest()


def checkpoint(settings: Settings, recovered: Recovered) -> None:
    """Write the checkpoint. Only once the outputs of the run before are published: the next start no longer sees their events."""
    meta = {
        "format": FORMAT,
        "prefix": settings.topic_prefix,
        "events": recovered.events_offset,
        "last": list(recovered.last_event) if recovered.last_event is not None else [],
        "epoch": recovered.epoch,
        "positions": recovered.positions,
    }
    snapshots.save(checkpoint_path(settings), meta, recovered.state)
    note_seen(settings, ends_now(settings, {EVENTS_PARTITION: 0})[EVENTS_PARTITION], held_lock(settings))


def _from_checkpoint(settings: Settings, engine: OrderEngine) -> Begin | None:
    """From a usable checkpoint, whose state the engine then has; from the beginning of the log without one of this build. None: it is damaged."""
    if not checkpoint_path(settings).exists():
        return Begin()
    try:
        meta, state = snapshots.load(checkpoint_path(settings))
        if (meta["format"], meta["prefix"]) != (FORMAT, settings.topic_prefix):
            return Begin()
        positions = {str(name): int(end) for name, end in meta["positions"].items()}
        last = (int(meta["last"][0]), str(meta["last"][1])) if meta["last"] else None
        start = {EVENTS_PARTITION: last[0] if last is not None else int(meta["events"])}
        start |= {name: end for name, end in positions.items() if name.rpartition("-")[0] in REFERENCED}
        begin = Begin(start, positions, int(meta["epoch"]), last)
        engine.restore(state)
    except (SnapshotError, KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None
    return begin


async def while_log_answers(settings: Settings, waiting: Coroutine[Any, Any, None]) -> None:
    """Wait for `waiting`, however long it takes, unless Kafka turns out not to answer (LogUnavailable): no broker would help then."""
    task = asyncio.ensure_future(waiting)
    probe = asyncio.ensure_future(asyncio.to_thread(_ask_log, settings))
    try:
        done, _ = await asyncio.wait({task, probe}, return_when=asyncio.FIRST_COMPLETED)
        if task not in done:
            probe.result()
        await task
    finally:
        await end_tasks([task, probe])


def _ask_log(settings: Settings) -> None:
    TopicReader(settings, ["order.events"], "end").close()


def load_calendars(engine: OrderEngine) -> None:
    """Build the exchange calendars, which takes a second or more, before the event loop has to answer anybody."""
    assets = engine.folded.universe.tradable if engine.folded.universe is not None else ()
    for calendar in sorted({asset.calendar for asset in assets} | {MARKET_CALENDAR}):
        session_of(calendar, 1_500_000_000_000_000_000)
