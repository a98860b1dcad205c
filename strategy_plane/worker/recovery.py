"""Start-up: from which snapshot the worker continues, where it reads on, and what it has already written since.

Commit protocol of one barrier (the numbers are those of the worker's code):

 1. the cut has arrived; the barrier is appended, acknowledged, and read back from the log: the first record per seq wins
 2. the records it sees are folded, the engine steps
 3. quarantined records, then the outputs are appended in the engine's order
 4. every output is acknowledged; a model that is due is fitted and appended
 5. the snapshot replaces the one before (every decision barrier, every SNAPSHOT_EVERY-th warmup barrier)

A crash before 1 leaves nothing. A crash after 1 and before 5 leaves a barrier, and perhaps some of its outputs, that the
snapshot does not know: the next incarnation steps on that barrier again, gets the same bytes, compares them with those on the
log and appends only what is absent. Other bytes under the same identity stop the plane: its engine is not deterministic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from schemas import catalogue, codec
from triplane.runtime import snapshots
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.first_per_identity import Nondeterminism
from triplane.runtime.kafka_in import LogUnavailable, TopicReader
from triplane.runtime.settings import Settings
from triplane.runtime.snapshots import SnapshotError

BARRIERS: Final = "strategy.barriers"
BARRIER_PARTITION: Final = "strategy.barriers-0"
FORMAT: Final = 2
SNAPSHOT_EVERY: Final = 64


@dataclass(slots=True)
class Position:
    """The last barrier that was stepped. `next_offset` is the barrier log's offset after it; `outputs` the end offsets of the
    plane's own topics when the snapshot was written."""

    seq: int = 0
    sha: str = ""
    t: int = 0
    session: str = ""
    next_offset: int = 0
    outputs: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Recovered:
    """Where the worker continues. `state` is None when it starts from the beginning of the log; `note` says why."""

    position: Position
    state: dict[str, Any] | None
    note: str
    other_format: bool = False
    """Whether there is a snapshot, which another release wrote."""


def snapshot_path(settings: Settings) -> Path:
    """File of the worker's snapshot."""
    return settings.state_dir / "strategy" / f"{settings.group}.snapshot"


def save(settings: Settings, position: Position, state: Mapping[str, Any]) -> str:
    """Write the snapshot atomically; returns its SHA-256."""
    meta = {
        "format": FORMAT,
        "account": settings.account,
        "topic_prefix": settings.topic_prefix,
        "seq": position.seq,
        "sha": position.sha,
        "t": position.t,
        "session": position.session,
        "next_offset": position.next_offset,
        "outputs": position.outputs,
    }
    return snapshots.save(snapshot_path(settings), meta, state)


def load(settings: Settings) -> Recovered:
    """The snapshot, when there is one that belongs to this account and this log; otherwise a start from the beginning.

    Raises DaemonExit where something is in its place that no snapshot can replace.
    """
    fresh, path = Position(), snapshot_path(settings)
    if path.is_dir():
        raise DaemonExit(
            f"{path} is a folder, and the snapshot cannot be written there; move it away, then start again"
        )
    try:
        meta, state = snapshots.load(path)
    except SnapshotError as error:
        return Recovered(fresh, None, str(error))
    expected = {"format": FORMAT, "account": settings.account, "topic_prefix": settings.topic_prefix}
    for name, value in expected.items():
        if meta.get(name) != value:
            return Recovered(
                fresh,
                None,
                f"snapshot is of {name} {meta.get(name)!r}, not {value!r}; the state is rebuilt from the log",
                other_format=name == "format",
            )
    position = Position(
        meta["seq"], meta["sha"], meta["t"], meta["session"], meta["next_offset"], dict(meta["outputs"])
    )
    if not _on_log(settings, position):
        return Recovered(
            fresh, None, f"snapshot's barrier {position.seq} is not on this log; the state is rebuilt from the log"
        )
    return Recovered(position, state, f"continuing after barrier {position.seq}")


def _on_log(settings: Settings, position: Position) -> bool:
    """Whether the snapshot's barrier lies on the log where the snapshot says."""
    offset = position.next_offset - 1
    reader = TopicReader(settings, [BARRIERS], {BARRIER_PARTITION: max(offset, 0)})
    try:
        if offset < 0 or reader.end_offsets()[BARRIER_PARTITION] <= offset:
            return False
        records = reader.read_to({BARRIER_PARTITION: position.next_offset}, 30.0)
    except LogUnavailable:
        return False
    finally:
        reader.close()
    return bool(records) and hashlib.sha256(records[0].body).hexdigest() == position.sha


_NEW_LOG: Final = "begin a new log (another TRIPLANE_TOPIC_PREFIX and TRIPLANE_STATE_DIR)"


class Written:
    """What the plane has appended beyond its snapshot: each identity's body, to compare with what is emitted again."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[str, tuple[Any, ...]], bytes] = {}
        self._cause = (
            "the engine is not deterministic or another release wrote it: run `triplane replay --verify`, then remove the snapshot "
            "or go back to that release"
        )

    def began(self, begins: Mapping[str, int], *, other_format: bool = False) -> None:
        """Without a snapshot, everything is computed again from where the log of the inputs begins; it may have lost its beginning.

        `other_format`: there is one, of a release that may have computed otherwise.
        """
        gone = {name: begin for name, begin in sorted(begins.items()) if begin > 0}
        causes, remedies = [], [_NEW_LOG]
        if other_format:
            causes.append("the snapshot is of another release, so that all was computed again by this one")
            remedies.insert(0, "go back to that release for this log")
        if gone:
            (name, begin), *_ = gone.items()
            causes.append(f"{'' if other_format else 'there is no snapshot, and '}{name} begins at {begin}")
            remedies.insert(0, f"restore {'' if other_format else 'the snapshot or '}the records before it")
        if causes:
            self._cause = f"{', and '.join(causes)}: {', or '.join(remedies)}"

    @classmethod
    def read(cls, settings: Settings, outputs: Mapping[str, int]) -> tuple[Written, dict[str, int]]:
        """Read the plane's own topics from `outputs` (their beginning when not named) to their end; returns the ends too."""
        written = cls()
        topics = [topic.name for topic in catalogue.load().owned_by("strategy") if topic.name != BARRIERS]
        reader = TopicReader(settings, topics, outputs)
        try:
            ends = reader.end_offsets()
            records = reader.read_to(ends, 60.0)
        finally:
            reader.close()
        for record in records:
            if record.value is not None:
                identity = (record.topic, catalogue.load()[record.topic].identify(record.value))
                written._bodies.setdefault(identity, record.body)
        return written, ends

    def __len__(self) -> int:
        return len(self._bodies)

    def has(self, topic: str, record: Mapping[str, Any]) -> bool:
        """True when the log already holds this record; Nondeterminism when it holds another under its identity."""
        entry = catalogue.load()[topic]
        filled = codec.defaults(entry.record) | dict(record)
        identity = entry.identify(filled)
        body = self._bodies.pop((topic, identity), None)
        if body is None:
            return False
        if body != codec.encode_body(entry.record, filled):
            raise Nondeterminism(
                f"{topic}: {identity} is on the log with other bytes than were computed again; {self._cause}"
            )
        return True
