"""What the log brings: inputs go to the machine and the sequencer, barriers are adopted in the order of the log.

Nothing here waits or writes; the loop asks what has arrived.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import structlog

from schemas import codec
from strategy_plane.barriers.sequencer import Sequencer
from strategy_plane.machine import StrategyMachine, barrier_sha
from strategy_plane.worker.recovery import BARRIER_PARTITION, BARRIERS
from strategy_plane.worker.telemetry import WorkerMetrics
from strategy_plane.worker.timing import DecisionTimes
from triplane.domain.calendars import FIRST_DAY
from triplane.domain.timestamps import AHEAD_MAX, to_datetime
from triplane.runtime import garbage
from triplane.runtime.kafka_in import LogRecord
from triplane.runtime.kafka_out import CAUSE_INGEST_TIME, INGEST_TIME

AHEAD = "stamped ahead of this machine's clock; correct the clock that is wrong"
SESSION = "names a session that cannot be"
OF_SESSIONS = frozenset({"data.bars", "data.quotes"})


@dataclass(frozen=True, slots=True)
class Adopted:
    """A barrier read from the log, first of its seq. `cause` is the gating record's ingest time header, empty if none."""

    record: dict[str, Any]
    sha: str
    offset: int
    cause: bytes


class Intake:
    """What one incarnation of the worker has read. `barrier_position`: next offset of the barrier log."""

    def __init__(
        self,
        machine: StrategyMachine,
        sequencer: Sequencer,
        times: DecisionTimes,
        metrics: WorkerMetrics,
        log: structlog.stdlib.BoundLogger,
        barrier_position: int,
    ) -> None:
        self._machine, self._sequencer, self._times = machine, sequencer, times
        self._metrics, self._log = metrics, log
        self._barrier_position = barrier_position
        self.wake = asyncio.Event()
        """Set by every record."""
        self.adopted: deque[Adopted] = deque()
        """Barriers that wait for their step, in order."""
        self.bad: dict[str, tuple[str, bytes]] = {}
        """Undecodable records by `partition@offset`: reason and bytes."""
        self.ahead = 0
        """Records in a row that were refused as stamped ahead of this machine's clock: one is its writer's, many are ours."""

    def positions(self) -> dict[str, int]:
        """Next offset to be read, per partition, the barrier log included."""
        return self._machine.assembler.positions() | {BARRIER_PARTITION: self._barrier_position}

    def pass_over(self, name: str, reached: int) -> None:
        """Go on at `reached`, because partition `name` holds nothing below it that has not arrived."""
        if name == BARRIER_PARTITION:
            self._barrier_position = max(self._barrier_position, reached)
        else:
            self._machine.assembler.advance({name: reached})

    def take(self, record: LogRecord) -> None:
        """The next record of its partition."""
        self.wake.set()
        self._metrics.records.labels(record.topic).inc()
        if record.topic == BARRIERS:
            self._take_barrier(record)
            return
        refused = _refusal(record.topic, record.value) if record.value is not None else ""
        if refused == AHEAD:
            self.ahead += 1
            if self.ahead == 1:
                self._log.error("record refused", record=record.place, reason=AHEAD)
        elif record.value is not None and record.value["available_time"]:
            self.ahead = 0
        if refused:
            # What the barrier says of it (`skipped`) is what every other reader goes by.
            record = replace(record, value=None, error=refused)
        if not self._machine.arrive(record) and record.topic != "control.config":
            return
        if record.value is None:
            self._metrics.undecodable.labels(record.topic).inc()
            if not refused:
                self.bad[record.place] = (record.error, record.raw)
            return
        completed = self._sequencer.observe(record.topic, record.partition, record.offset, record.value)
        if completed:
            garbage.hold_off()  # until the decision is made (loop.py)
            self._times.begin(completed, record.headers.get(INGEST_TIME, b""), time.perf_counter(), time.time_ns())

    def take_own(self, barrier: dict[str, Any], offset: int, cause: bytes) -> None:
        """A barrier that this worker wrote, acknowledged at `offset`: as the very next record of the log it need not be read back."""
        if offset == self._barrier_position:
            self._barrier_position = offset + 1
            self._adopt(Adopted(codec.defaults("Barrier") | barrier, barrier_sha(barrier), offset, cause))

    def _take_barrier(self, record: LogRecord) -> None:
        if record.offset < self._barrier_position:
            return
        self._barrier_position = record.offset + 1
        if record.value is None:
            self._metrics.undecodable.labels(BARRIERS).inc()
            self._log.error(
                "barrier record cannot be decoded and is ignored", offset=record.offset, reason=record.error
            )
            return
        sha = hashlib.sha256(record.body).hexdigest()
        self._adopt(Adopted(record.value, sha, record.offset, record.headers.get(CAUSE_INGEST_TIME, b"")))

    def _adopt(self, barrier: Adopted) -> None:
        """Take the next record of the barrier log to be the one of its seq, unless an earlier one is."""
        if self._sequencer.adopt(barrier.record, barrier.sha):
            self.adopted.append(barrier)
        else:
            self._metrics.barriers_void.inc()


def _refusal(topic: str, record: Mapping[str, Any]) -> str:
    """Why a record that can be decoded is not believed, or an empty text.

    Market time never lies ahead of the wall clock, and one such stamp would make all that follows look late. A session that is no date
    ends every reader of it, and one in the future would be the last to be decided.
    """
    if record["available_time"] > time.time_ns() + AHEAD_MAX:
        return AHEAD
    session = record["session"] if topic in OF_SESSIONS else ""
    if not session:
        return ""
    try:
        day = date.fromisoformat(session)
        known = to_datetime(record["available_time"]).date()
    except (ValueError, OverflowError, OSError):
        return SESSION
    return "" if FIRST_DAY <= day <= known + timedelta(days=1) and session == day.isoformat() else SESSION
