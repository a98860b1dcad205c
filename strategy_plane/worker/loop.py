"""The barrier loop: reads the log through Faust, writes barriers when they are due, steps the engine, appends its outputs.

One loop, one barrier at a time; the numbered steps of the commit protocol are in recovery.py. Everything that decides *what* is
computed is pure (sequencer, cut, machine); this module decides only *when*, so a kill at any point changes no output.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError

from schemas import catalogue
from strategy_plane import quarantine
from strategy_plane.barriers.cut import Assembler, CutError
from strategy_plane.barriers.sequencer import CONFIG, Due, SequenceError, Sequencer
from strategy_plane.machine import Engine, StrategyMachine
from strategy_plane.outputs import Output
from strategy_plane.risk import regime
from strategy_plane.worker.appender import Appender
from strategy_plane.worker.asker import LogAsker
from strategy_plane.worker.consumer import FaustReader, partitions_of
from strategy_plane.worker.intake import Adopted, Intake
from strategy_plane.worker.passed_over import PassedOver
from strategy_plane.worker.publisher import PLANE, Publisher
from strategy_plane.worker.recovery import (
    BARRIER_PARTITION,
    BARRIERS,
    SNAPSHOT_EVERY,
    Position,
    Recovered,
    Written,
    load,
    save,
)
from strategy_plane.worker.telemetry import WorkerMetrics
from strategy_plane.worker.timing import DecisionTimes
from strategy_plane.worker.watch import Watch, waiting
from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE
from triplane.runtime import garbage, numerics
from triplane.runtime.daemon import Daemon
from triplane.runtime.exit_codes import UNAVAILABLE, DaemonExit
from triplane.runtime.first_per_identity import Nondeterminism
from triplane.runtime.kafka_in import LogUnavailable
from triplane.runtime.kafka_out import CAUSE_INGEST_TIME, DeliveryError
from triplane.runtime.kafka_probe import KafkaProbe
from triplane.runtime.log_watch import LogWatch
from triplane.runtime.lost_log import refuse_shorter
from triplane.runtime.tasks import end_tasks, raise_failures

MODELS_PARTITION = "strategy.models-0"
FITTING = "hmmlearn.hmm"
"""It takes more than a second to import, which the history's first fit would wait for; while the log is opened nothing does."""

# Whatever waits for Kafka has so many wall seconds after the daemon was asked to stop, and as many for each of the four steps of
# leaving: together below a supervisor's 10 s, so that a Kafka that stands still cannot keep the worker.
END_S = 1.8

# Tests stop the process (SIGSTOP) at named steps and kill it there: "step:seq,step:seq", steps barrier-written, first-output,
# outputs-written. Nothing else reads this.
STOP_POINTS = "TRIPLANE_TEST_STRATEGY_STOP_AT"


class _Stopping(Exception):
    """The daemon was asked to stop while it waited."""


class Worker:
    """One incarnation of the strategy worker."""

    def __init__(self, daemon: Daemon, engine: Engine) -> None:
        self._daemon = daemon
        daemon.end_s = END_S
        self._settings = daemon.settings
        self._log = daemon.log
        self._metrics = WorkerMetrics(daemon.metrics)
        self._catalogue = catalogue.load()
        self._inputs = [topic.name for topic in self._catalogue.barrier_inputs()]
        self._engine = engine
        self._fingerprint = numerics.fingerprint()
        self._own_models_end = 0
        self._written_seq = 0  # last barrier this incarnation appended
        self._times = DecisionTimes()
        self._position = Position()
        self._since_snapshot = 0
        self._stepping = False
        """True from a step's first line to its last: the engine's state and the position belong to different barriers then."""
        self._held = ""
        self._passed_over = PassedOver()
        self._ends: dict[str, int] = {}  # as told last
        self._watching: list[asyncio.Task[None]] = []  # they never end by themselves
        self._opened: list[Callable[[], Awaitable[None]]] = []
        self._draining: list[Callable[[], Awaitable[None]]] = []
        self._stop_points = {point for point in os.environ.get(STOP_POINTS, "").split(",") if point}

    # Start and end ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until the daemon is told to stop. Raises DaemonExit for what a restart or a person must mend."""
        try:
            await self._start()
            for looking in (self._watch.run(), self._log_watch.run(self._intake.positions)):
                self._watching.append(asyncio.create_task(looking))
            # Everything that was on the log at the start is read first; only then may this worker write barriers.
            await self._arrived(self._goal)
            for each in self._intake.adopted:
                if each.offset < self._goal[BARRIER_PARTITION]:
                    refuse_shorter(each.record["cut"], self._goal, f"barrier {each.record['seq']} saw")
            self._watch.caught_up = True
            self._daemon.probe = self._watch.probe
            while not self._daemon.stop.is_set():
                if not await self._advance():
                    await self._look_past(self._ends)
                    await self._sleep()
        except _Stopping:
            pass
        except (Nondeterminism, CutError, SequenceError) as error:
            await self._hold(error)
        except LogUnavailable as error:
            raise DaemonExit(f"{error}", UNAVAILABLE) from None
        except KafkaError as error:
            raise DaemonExit(
                f"Kafka at {self._settings.bootstrap} failed ({error!r}); the worker starts again", UNAVAILABLE
            ) from None
        except DeliveryError as error:
            raise DaemonExit(f"{error}; the worker starts again from its snapshot", UNAVAILABLE) from None
        finally:
            self._daemon.probe = None
            await end_tasks(self._watching)
            await self._end()

    async def _start(self) -> None:
        settings = self._settings
        # The calendar's first answer takes more than a second, which the first decision must not pay.
        calendar = asyncio.ensure_future(asyncio.to_thread(calendars.table, calendars.MARKET_CALENDAR))
        # Held so that it is not collected, never awaited: a fit imports it itself, and waits for this import if it is under way.
        self._fitting = asyncio.ensure_future(asyncio.to_thread(importlib.import_module, FITTING))
        partitions = await asyncio.to_thread(partitions_of, settings, self._inputs)
        recovered: Recovered = await asyncio.to_thread(load, settings)
        self._position = recovered.position
        written, ends = await asyncio.to_thread(Written.read, settings, recovered.position.outputs)
        gating = [name for name in partitions if self._catalogue[name.rpartition("-")[0]].role == "gating"]
        self._sequencer = Sequencer(gating)
        self._machine = StrategyMachine(self._engine, Assembler(partitions, self._catalogue))
        self._publisher = Publisher(settings)
        self._opened.append(self._publisher.close)
        await self._publisher.start()
        self._appender = Appender(self._publisher, written, ends, self._metrics)
        self._draining.append(self._drain)
        self._asker = LogAsker(settings, [*partitions, BARRIER_PARTITION])
        self._opened.append(self._asker.stop)
        await self._asker.start()
        begins = await self._asker.begins()
        if recovered.state is not None:
            self._machine.restore(recovered.state)
            position, config_end = self._position, self._machine.assembler.cut_of(f"{CONFIG}-0")
            self._sequencer.resume(position.seq, position.sha, position.t, position.session, config_end)
            self._metrics.session = position.session
            offsets = self._machine.assembler.resume_offsets() | {BARRIER_PARTITION: self._position.next_offset}
        else:
            offsets = begins
            written.began({name: begins[name] for name in partitions}, other_format=recovered.other_format)
            self._machine.assembler.advance({name: begins[name] for name in partitions})
        gone = [
            name for name, offset in offsets.items() if offset < begins[name] and not name.startswith("control.config")
        ]
        if gone or (recovered.state is None and begins[BARRIER_PARTITION] > 0):
            raise DaemonExit(
                f"{(gone or [BARRIER_PARTITION])[0]} no longer holds the records that the state must be rebuilt from; "
                "restore them or the snapshot from the archive"
            )
        offsets = {name: max(offset, begins[name]) for name, offset in offsets.items()}
        self._intake = Intake(
            self._machine, self._sequencer, self._times, self._metrics, self._log, offsets[BARRIER_PARTITION]
        )
        self._goal = await self._asker.ends()
        refuse_shorter(offsets, self._goal, "the snapshot knows")
        intake = self._intake
        self._watch = Watch(
            self._daemon,
            self._metrics,
            self._sequencer,
            self._machine.assembler,
            self._behind,
            lambda: waiting(intake.adopted),
            lambda: intake.ahead,
            KafkaProbe(settings, *self._inputs, BARRIERS),
        )
        self._metrics.barrier_seq.set(self._position.seq)
        self._metrics.barrier_time.set(self._position.t / 1e9)
        self._log.info("starting", note=recovered.note, seq=self._position.seq, outputs_beyond_snapshot=len(written))
        self._reader = FaustReader(
            settings,
            [*self._inputs, BARRIERS],
            offsets,
            f"{time.time_ns():x}-{os.getpid()}",
            self._intake.take,
            self._asker,
        )
        self._opened.append(self._reader.stop)
        await self._reader.start()
        self._log_watch = LogWatch(settings, PLANE, [*self._inputs, BARRIERS])
        await calendar

    async def _end(self) -> None:
        """Drain, then leave everything that was opened, the latest first."""
        for close in (*self._draining, *reversed(self._opened)):
            with contextlib.suppress(asyncio.TimeoutError, KafkaError, DeliveryError):
                async with asyncio.timeout(END_S):
                    await close()

    async def _drain(self) -> None:
        """Acknowledge what was sent and write the snapshot: never of a step that was not finished."""
        await self._appender.acknowledge()
        if self._position.seq and self._since_snapshot and not self._held and not self._stepping:
            self._snapshot()

    async def _hold(self, error: Exception) -> None:
        """Stop stepping and say so until a person acts: going on would act on what is not reproducible."""
        self._held = self._watch.held = str(error)
        self._metrics.nondeterminism.set(1)
        self._daemon.unhealthy(self._held)
        self._daemon.ready(False, self._held)
        self._log.error("held", reason=self._held)
        await self._daemon.stop.wait()

    # The loop --------------------------------------------------------------------------------------------------------------

    async def _sleep(self) -> None:
        """Wait for the next record, for the end, or for a moment in which the consumer may have died."""
        await self._reader.check(lambda: self._log_watch.look_now(self._intake.positions()))
        raise_failures(self._watching)
        if not self._intake.wake.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(0.25):
                    await self._intake.wake.wait()
        self._intake.wake.clear()

    async def _advance(self) -> bool:
        """Do the one next thing; False when there is nothing to do before another record arrives."""
        self._appender.fail_early()
        self._reader.gather(not self._intake.adopted and not self._sequencer.decides_within(MINUTE))
        if self._intake.adopted:
            barrier = self._intake.adopted[0]
            await self._arrived(barrier.record["cut"])
            await self._step(barrier)
            self._intake.adopted.popleft()
            return True
        # The next barrier sees this worker's own last model, so that a run without faults does not depend on timing.
        if self._written_seq > self._sequencer.seq or self._intake.positions()[MODELS_PARTITION] < self._own_models_end:
            return False
        due = self._sequencer.due()
        return due is not None and await self._write_barrier(due)

    async def _arrived(self, cut: Mapping[str, int]) -> None:
        """Wait until every record below `cut` has been read. Raises _Stopping when the daemon is to stop first."""
        while any(at < cut.get(name, 0) for name, at in self._intake.positions().items()):
            if self._daemon.stop.is_set():
                raise _Stopping
            await self._look_past(cut)
            await self._sleep()

    async def _look_past(self, ends: Mapping[str, int]) -> None:
        """Ask the log for what lies below `ends` where nothing has arrived for a while: offsets may have gaps, and Faust may pass
        records over. Where the log holds nothing either, there is nothing."""
        for name, end in self._passed_over.look(self._intake.positions(), ends, time.monotonic()).items():
            try:
                reached = await self._reader.read_up_to(name, end)
            except KafkaError as error:
                self._log.warning("the log does not answer yet", partition=name, end=end, reason=repr(error))
                continue
            self._log.warning("read directly what did not arrive", partition=name, up_to=reached)
            self._intake.pass_over(name, reached)

    # Barriers out ----------------------------------------------------------------------------------------------------------

    async def _write_barrier(self, due: Due) -> bool:
        """Step 1 of the protocol, up to the acknowledgement; False when something else must be read first."""
        if due.kind == "warmup":
            # History is read in order and nothing trades on it: what has been read is the cut, no round trip needed.
            cut = self._machine.assembler.positions()
        else:
            read = self._intake.positions()  # before the question: records that come during it are beyond the answer
            try:
                ends = await self._asker.ends()
            except KafkaError as error:
                self._log.warning("Kafka does not tell the ends of the inputs; trying again", reason=repr(error))
                await asyncio.sleep(0.2)
                return False
            if ends[BARRIER_PARTITION] > self._intake.positions()[BARRIER_PARTITION]:
                return False  # another worker has written; its barrier is read first
            refuse_shorter(read, ends, "this worker has read")
            cut = {name: end for name, end in ends.items() if name != BARRIER_PARTITION}
            await self._arrived(cut)
            if self._intake.adopted or self._sequencer.due() != due:
                return True  # what arrived has changed the question
            self._times.mark(due.session, "cut", time.perf_counter())
        skipped = self._machine.assembler.examine(cut)
        barrier = self._sequencer.compose(due, cut, skipped, self._fingerprint)
        cause = self._times.ingest_time(due.session)
        headers = {CAUSE_INGEST_TIME: cause} if cause else {}
        acknowledged = await self._publisher.send(BARRIERS, barrier, headers)
        self._written_seq = barrier["seq"]
        self._metrics.barriers_written.inc()
        offset = await acknowledged
        self._times.mark(due.session, "written", time.perf_counter())
        await self._stop_point("barrier-written", barrier["seq"])
        self._intake.take_own(barrier, offset, cause)
        return True

    # A step ----------------------------------------------------------------------------------------------------------------

    async def _step(self, barrier: Adopted) -> None:
        """Steps 2 to 5 of the protocol."""
        record, seq, kind = barrier.record, int(barrier.record["seq"]), str(barrier.record["kind"])
        self._stepping = True
        began = time.perf_counter()
        self._times.mark(record["session"], "read_back", time.perf_counter())
        outputs = [*quarantine.skipped(record, self._intake.bad), *self._machine.step(record, barrier.sha)]
        self._metrics.step.labels(kind).observe(time.perf_counter() - began)
        self._times.mark(record["session"], "stepped", time.perf_counter())
        headers = {CAUSE_INGEST_TIME: barrier.cause} if barrier.cause else {}
        # Where the log has all of it, the state is being rebuilt: what held then is in this log once more, and no news.
        log = self._log if await self._append(outputs, headers, seq) else self._log.bind(again=True)
        told: dict[str, list[str]] = {}
        for name in record["skipped"]:
            told.setdefault(self._intake.bad.pop(name, (quarantine.REFUSED_DETAIL, b""))[0], []).append(name)
        for reason, names in told.items():
            log.error("record skipped", record=names[0], more=len(names) - 1, reason=reason, barrier=seq)
        self._metrics.stepped(outputs, log, record["session"], kind)
        if kind == "decision":
            await self._appender.acknowledge()
            self._times.mark(record["session"], "appended", time.perf_counter())
            if barrier.cause:
                self._metrics.latency.observe((time.time_ns() - int(barrier.cause)) / 1e9)
        if (job := self._machine.engine.fit_due()) is not None:
            model = await asyncio.to_thread(regime.fit, job)
            await self._append([Output("strategy.models", model)], headers, seq)
            await self._appender.acknowledge()
            self._own_models_end = self._appender.ends.get(MODELS_PARTITION, 0)
            self._metrics.fits.inc()
        self._position = Position(seq, barrier.sha, record["t"], record["session"], barrier.offset + 1)
        self._since_snapshot += 1
        self._tell(record)
        if kind == "decision" or self._since_snapshot >= SNAPSHOT_EVERY:
            await self._appender.acknowledge()
            await self._stop_point("outputs-written", seq)
            self._snapshot()
            garbage.settle()  # the next decision is as far away as it ever is
        self._stepping = False

    async def _append(self, outputs: list[Output], headers: Mapping[str, bytes], seq: int) -> bool:
        stopping = f"first-output:{seq}" in self._stop_points
        return await self._appender.append(
            outputs, headers, partial(self._stop_point, "first-output", seq) if stopping else None
        )

    def _snapshot(self) -> None:
        self._position.outputs = dict(self._appender.ends)
        save(self._settings, self._position, self._machine.state())
        self._since_snapshot = 0

    async def _stop_point(self, step: str, seq: int) -> None:
        if (point := f"{step}:{seq}") in self._stop_points:
            self._stop_points.discard(point)
            self._log.warning("stopping for a test", point=point)
            os.kill(os.getpid(), signal.SIGSTOP)
            await asyncio.sleep(0)

    # Telling ---------------------------------------------------------------------------------------------------------------

    def _tell(self, barrier: Mapping[str, Any]) -> None:
        self._metrics.barrier_seq.set(barrier["seq"])
        self._metrics.barrier_time.set(barrier["t"] / 1e9)
        self._metrics.barriers.labels(barrier["kind"]).inc()
        if barrier["kind"] == "decision":
            self._log.info(
                "stepped",
                seq=barrier["seq"],
                session=barrier["session"],
                missing=list(barrier["missing"]),
                skipped=list(barrier["skipped"]),
                milliseconds=self._times.finish(barrier["session"]),
            )

    async def _behind(self) -> dict[str, int]:
        """Records not read yet, per partition, asked now."""
        ends = self._ends = await self._asker.ends()
        positions = self._intake.positions()
        self._metrics.passed_over.set(self._reader.passed_over)
        return {name: max(end - positions[name], 0) for name, end in ends.items()}
