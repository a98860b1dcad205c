"""Watches the worker by the wall clock: readiness, lag, and the alert for a barrier that does not come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from strategy_plane.barriers.cut import Assembler
from strategy_plane.barriers.sequencer import Due, LateWatch, Sequencer
from strategy_plane.worker.intake import Adopted
from strategy_plane.worker.telemetry import WorkerMetrics
from triplane.runtime.daemon import Daemon
from triplane.runtime.kafka_admin import ANSWER_S
from triplane.runtime.kafka_probe import SILENT

INTERVAL_S = 0.25
BEHIND_TOLD = 2_000
"""Records of the log not read yet that are no longer on their way: some ten seconds of a market at its fastest."""
AHEAD_TOLD = 10
"""Refused records in a row that are no longer a stray one of somebody else's."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Barriers of the log that are not stepped yet: how many, and the first."""

    count: int
    seq: int
    first: Due


def waiting(adopted: Sequence[Adopted]) -> Waiting | None:
    """The barriers of the log that wait for their step; None without one."""
    if not adopted:
        return None
    first = adopted[0].record
    return Waiting(len(adopted), first["seq"], Due(first["kind"], first["session"], first["t"]))


class Watch:
    """Tells the daemon whether it is ready. `behind` asks for the records not read yet; `waiting` for the barriers to step."""

    def __init__(
        self,
        daemon: Daemon,
        metrics: WorkerMetrics,
        sequencer: Sequencer,
        assembler: Assembler,
        behind: Callable[[], Awaitable[Mapping[str, int]]],
        waiting: Callable[[], Waiting | None],
        ahead: Callable[[], int],
        hidden: Callable[[], Awaitable[str]],
    ) -> None:
        """`ahead` tells how many records in a row were refused as stamped ahead of this machine's clock, `hidden` why records of the
        inputs cannot be read.
        """
        self._hidden = hidden
        self._daemon, self._metrics = daemon, metrics
        self._sequencer, self._assembler = sequencer, assembler
        self._behind, self._waiting, self._ahead = behind, waiting, ahead
        self._late = LateWatch()
        self.caught_up = False
        """Whether everything that was on the log at the start has been read."""
        self.held = ""
        """Why the worker steps no more; readiness was told then."""

    async def run(self) -> None:
        """Look several times a second until cancelled."""
        behind = 0
        while True:
            await asyncio.sleep(INTERVAL_S)
            by = self._measure()
            silent = ""
            try:
                behind = await self._lag()
            except TimeoutError:
                # aiokafka asks for a topic that is gone until it is there again
                silent = await self._hidden() or SILENT
            except KafkaError:
                pass  # asked again at once; the last lag stands
            if not self.held:
                reason = silent or self._reason(behind, by)
                self._daemon.ready(not reason, reason)

    async def probe(self) -> str:
        """Asked from outside: whether what is on the log at this very moment leaves any history to fold, and can be read at all."""
        hidden = asyncio.ensure_future(self._hidden())  # at the same time: whoever asks waits two seconds
        try:
            return self._folding(await self._lag()) or await hidden
        except TimeoutError:
            return await hidden or SILENT
        except KafkaError as error:
            return f"Kafka does not tell the ends of the input partitions ({error!r})"
        finally:
            hidden.cancel()

    def _measure(self) -> int:
        """Set the metrics that need no question; wall ns by which a barrier is late."""
        assembler, rules = self._assembler, self._sequencer.rules
        by = self._late.check(time.time_ns(), self._awaited(), rules.late) if rules is not None else 0
        self._metrics.late.set(1 if by else 0)
        self._metrics.late_seconds.set(by / 1e9)
        self._metrics.duplicates.set(assembler.duplicates)
        self._metrics.late_records.set(assembler.late)
        self._metrics.expired.set(assembler.expired)
        self._metrics.pending.set(assembler.pending)
        return by

    def _awaited(self) -> Due | None:
        waiting = self._waiting()
        if waiting is not None:
            return waiting.first
        return self._sequencer.awaited(time.time_ns() if self._daemon.settings.mode != "paper" else 0)

    async def _lag(self) -> int:
        async with asyncio.timeout(ANSWER_S):
            lags = await self._behind()
        for name, lag in lags.items():
            self._metrics.lag.labels(name).set(lag)
        return sum(lags.values())

    def _reason(self, behind: int, by: int) -> str:
        """Why the plane is not ready, or an empty text."""
        if not self.caught_up:
            return "reading the log"
        if self._sequencer.rules is None:
            return "no configuration on control.config; start the control daemon with `triplane control run`"
        if self._ahead() >= AHEAD_TOLD:
            return f"the last {self._ahead()} records are stamped ahead of this machine's clock and refused; correct the clock that is wrong"
        folding = self._folding(behind)
        if folding:
            return folding
        if catching_up := self._catching_up(behind):
            return catching_up
        if by:
            awaited = self._awaited()
            return f"the barrier{f' of {awaited.session}' if awaited else ''} is {by / 1e9:.0f} s late"
        return ""

    def _catching_up(self, behind: int) -> str:
        """That decisions lie in the past, or an empty text: after a standstill, or where the market runs faster than this plane."""
        left = self._sequencer.sessions_left
        if left < 2 and behind < BEHIND_TOLD:
            return ""
        return f"catching up: {left} session(s) wait for their decision, {behind} record(s) of the log are to be read"

    def _folding(self, behind: int) -> str:
        """What of the log is still to be folded, or an empty text; `behind` counts records not read yet."""
        waiting = self._waiting()
        if waiting is not None and (waiting.count > 1 or waiting.first.kind == "warmup"):
            return f"stepping barrier {waiting.seq} of the log, {waiting.count} to go"
        left = self._sequencer.history_left
        if left or (behind and self._sequencer.in_history):
            return f"folding history: {left} session(s) and {behind} record(s) to go"
        return ""
