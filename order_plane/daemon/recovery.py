"""Start-up is crash recovery (law L11): the engine's state is the fold of order.events, from the last checkpoint or the beginning.

The checkpoint is the state *as folded* at an earlier start, so a run that begins from it equals one that folds the whole log. It is
a file that may be deleted at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from order_plane.engine import OrderEngine
from order_plane.recording import RecordingError, current, fold_log
from triplane.domain.calendars import MARKET_CALENDAR, session_of
from triplane.runtime import snapshots
from triplane.runtime.exit_codes import CONFIG, DaemonExit
from triplane.runtime.kafka_in import LogRecord, TopicReader, unknown_to_this_build
from triplane.runtime.settings import Settings
from triplane.runtime.snapshots import SnapshotError
from triplane.runtime.tasks import end_tasks

EVENTS = "order.events"
REFERENCED = ("control.config", "control.commands", "strategy.intents", "data.actions")
READ_TIMEOUT_S = 120.0
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where the log leaves off: highest epoch, next offset per input partition, the events that were folded now."""

    epoch: int
    positions: dict[str, int]
    events_offset: int
    recorded: frozenset[str]
    """Identities of the events read: an output of an earlier run is published only if its event is among them."""
    state: dict[str, Any]
    """The engine's state as folded, for the checkpoint."""
    unreadable: tuple[LogRecord, ...]
    """Records of order.events that no build has written: they say nothing of our orders."""


def checkpoint_path(settings: Settings) -> Path:
    """The checkpoint's file."""
    return settings.state_dir / "order-engine.snapshot"


def recover(settings: Settings, engine: OrderEngine) -> Recovered:
    """Bring a new engine to the end of the log. Blocks. Raises LogUnavailable, or DaemonExit when the log cannot be folded."""
    start, positions, epoch = _from_checkpoint(settings, engine)
    reader = TopicReader(settings, (EVENTS, *REFERENCED), start)
    try:
        records = reader.read_to(reader.end_offsets(), READ_TIMEOUT_S)
        offset = reader.position()[f"{EVENTS}-0"]
    finally:
        reader.close()
    events: list[Mapping[str, Any]] = []
    unreadable: list[LogRecord] = []
    referenced: dict[tuple[str, int, int], dict[str, Any]] = {}
    for record in records:
        if record.value is not None and record.topic != EVENTS:
            referenced[record.topic, record.partition, record.offset] = record.value
        elif record.topic == EVENTS:
            if record.value is None:
                if refused := unknown_to_this_build(record, settings):
                    raise DaemonExit(refused, CONFIG)  # it may be an order of ours
                unreadable.append(record)
            elif record.value["account"] == engine.account:
                events.append(record.value)
    # Events of an epoch that ended before the checkpoint are late words of a replaced writer.
    events = [event for event in events if event["epoch"] >= epoch]
    try:
        highest = max(epoch, fold_log(engine, events, lambda *place: referenced.get(place)))
    except RecordingError as error:
        raise DaemonExit(str(error), CONFIG) from None
    for event in current(events):
        for name, end in event["cut"].items():
            positions[name] = max(positions.get(name, 0), end)
    # What a replaced writer said too late is on the log and never happened, and neither did what follows from it.
    recorded = frozenset(event["event_id"] for event in current(events))
    return Recovered(highest, positions, max(offset, 0), recorded, engine.state(), tuple(unreadable))


def checkpoint(settings: Settings, recovered: Recovered) -> None:
    """Write the checkpoint. Only once the outputs of the run before are published: the next start no longer sees their events."""
    meta = {
        "format": FORMAT,
        "prefix": settings.topic_prefix,
        "events": recovered.events_offset,
        "epoch": recovered.epoch,
        "positions": recovered.positions,
    }
    snapshots.save(checkpoint_path(settings), meta, recovered.state)


def _from_checkpoint(settings: Settings, engine: OrderEngine) -> tuple[dict[str, int], dict[str, int], int]:
    """(start positions, input positions, epoch): from the checkpoint when there is a usable one, else the beginning."""
    try:
        meta, state = snapshots.load(checkpoint_path(settings))
        if (meta["format"], meta["prefix"]) != (FORMAT, settings.topic_prefix):
            return {}, {}, 0
        engine.restore(state)
    except (SnapshotError, KeyError, TypeError, ValueError):
        return {}, {}, 0
    positions = {str(name): int(end) for name, end in meta["positions"].items()}
    start = {f"{EVENTS}-0": int(meta["events"])}
    start |= {name: end for name, end in positions.items() if name.rpartition("-")[0] in REFERENCED}
    return start, positions, int(meta["epoch"])


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
