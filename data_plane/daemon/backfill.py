"""One run that loads a span from one source, or reads its kept responses again, and ends: the daemon's pieces without its stream.

Whoever runs it holds the lock of the Data Plane's state directory, and it holds the log's own (`runtime/sole_producer.py`). Steps:

1. The configuration in force, what the topics hold, the newest decision.
2. The source hands in; the engine judges; what the topics lack goes to the outlet. Gates tell of the present: they are left as they are.
   Fundamentals are made of whole filings, of which a span or a reading again has pieces: the daemon makes them at its next look.
3. Everything is acknowledged. A run that is killed anywhere is gone on with by the next one: identities on the topics are not sent again,
   and what an observation lost to quarantine is on its topic before the rest of it is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta

from data_plane.daemon import recovery
from data_plane.daemon.absent_names import AbsentNames, not_traded
from data_plane.daemon.backfill_job import Count, Job, Report, Result
from data_plane.daemon.configuration import ConfigFollower
from data_plane.daemon.deliveries import Deliveries
from data_plane.daemon.facts_on_log import FACTS, FactsOnLog
from data_plane.daemon.group import group_engine
from data_plane.daemon.left_over import LeftOver
from data_plane.daemon.outlet import DELIVERY_TIMEOUT_S, PUMP_S, SPOOL_FULL, Outlet
from data_plane.daemon.past import Past
from data_plane.daemon.reporting import told_log
from data_plane.daemon.service import MEGABYTE, PLANE
from data_plane.daemon.silence import Silence
from data_plane.daemon.telemetry import conservation
from data_plane.daemon.unusable_documents import UnusableDocuments
from data_plane.engine import DataEngine
from data_plane.observations import Filing, Malformed, Observation
from data_plane.outputs import DECISIONS, GATES, QUARANTINE, Output
from data_plane.published import BAR_TOPICS
from data_plane.sources.base import NOT_SUBSCRIBED, Context, Stage
from triplane.domain import calendars
from triplane.domain.timestamps import from_datetime
from triplane.runtime import configuration
from triplane.runtime.clock import Clock, StreamClock, WallClock
from triplane.runtime.configuration import Config
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings
from triplane.runtime.sole_producer import SoleProducer
from triplane.runtime.tasks import end_tasks

AWAY_S = 90.0
"""Wall seconds that a Kafka which takes nothing is waited for at the end; what waits is then on disk for the next run."""
END_S = 5.0
"""Wall seconds in which what was handed in must be on the log once the run is told to end."""
_REMEMBERED = ("data.actions", *BAR_TOPICS, "data.rolls", "data.facts", "data.macro", QUARANTINE, DECISIONS)
"""Topics whose records say what is there already, and what the next observation is judged by."""


class Backfill:
    """One run; use it once."""

    def __init__(self, settings: Settings, job: Job, report: Report) -> None:
        self._settings = settings
        self._job = job
        self._report = report
        self._stop = asyncio.Event()
        self._up: bool | None = None
        """What the source said of itself, if it did."""
        self._why = ""
        """What went wrong, as it was told last."""
        self._unread = 0
        """Payloads that the source could not read."""
        self._unusable = UnusableDocuments(job)
        self._silence = Silence(job.source.name, report.note, lambda: bool(self._deliveries.waiting))
        self._failures = 0
        self._connected = False
        """The source has told its time since it said last that it waits for something."""
        self._refusal = ""
        """Why Kafka takes nothing."""
        self._fundamentals_owed = False
        self._given_up = asyncio.Event()
        self._time_known = asyncio.Event()
        self._clock: Clock = WallClock()
        self._sole = SoleProducer(settings, PLANE)
        self.config: Config
        self.engine: DataEngine
        self.outlet: Outlet

    async def run(self, stop: asyncio.Event) -> Result:
        """To its end, or until `stop`. Raises LogUnavailable, ConfigError, DaemonExit, OSError, NothingToAskError or what a record cannot be
        sent for."""
        try:
            return await self._run(stop)
        finally:
            await asyncio.to_thread(self._sole.close)

    async def _run(self, stop: asyncio.Event) -> Result:
        preparing, stopped = asyncio.create_task(self._prepare()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({preparing, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not preparing.done():
                return Result(interrupted=True)
            decided = preparing.result()
        finally:
            await end_tasks([preparing, stopped])
        self.outlet = self._open_outlet()
        self._deliveries = Deliveries(self.outlet)
        result = Result()
        try:
            await self._load(result, decided, stop)
        finally:
            await asyncio.to_thread(self.outlet.close, 3.0)
        self._count(result)
        result.problem = "" if result.interrupted else self._problem()
        return result

    async def _prepare(self) -> int:
        """Take the configuration and what the topics hold; the time of the newest decision, ns UTC."""
        self._sole.join()
        self.config = config = await self._configured()
        decided = await asyncio.to_thread(recovery.newest_decision, self._settings)
        await self._sole.take(self._stop)  # before the topics are read: nobody adds to them from now on
        self.engine = group_engine(config, self._settings.group, fundamentals=False)
        self.engine.published.keep_minutes()
        self._past, self._facts = Past(self.engine), FactsOnLog()
        source = self._job.source
        unread = source.stage is Stage.MARKET and not (source.watches and self._job.interval == "1d")
        if unread and (others := not_traded(config.universe)):
            self._report.note(others)
        self._absent = AbsentNames(source.name, self._settings.group, self.engine.names, self._job.span)
        path = self._settings.state_dir / "data-spool.bin"
        self._left = LeftOver(
            path,
            int(config.targets.data.SPOOL_MAX_MB * MEGABYTE),
            lambda instead: self._report.note(f"{path} was damaged: {instead}"),
        )
        newest = await asyncio.to_thread(self._remember)
        for calendar in self.engine.calendars:
            await asyncio.to_thread(calendars.table, calendar)
        self._set_clock(max(decided, newest))
        return decided

    def _remember(self) -> int:
        """Take up the topics, record by record; the newest market time that they tell of, ns UTC."""
        newest = 0
        for record in recovery.each(self._settings):
            if record.value is None:
                continue
            self._left.learn(record.topic, record.value)
            self._absent.learn(record.topic, record.value)
            if record.topic in _REMEMBERED:
                self._past.add(record.topic, record.value)
                self._facts.learn(record.topic, record.value)
            if record.topic in recovery.PASSED:
                newest = max(newest, record.value["available_time"])
        return newest

    async def _configured(self) -> Config:
        follower = ConfigFollower(self._settings, self._report.note, recovery.TOPICS)
        try:
            found = await follower.newest()
        except Exception:
            follower.close()
            raise
        # Not where this is cancelled: a thread is reading still, and ends with the process.
        follower.close()
        if found is None:
            self._report.note("no configuration is on control.config yet: the files' own is taken")
            found = configuration.load_files(self._settings.targets_path, self._settings.assets_path)
        return found

    def _set_clock(self, newest: int) -> None:
        """Market time: the machine's; on paper what a gateway tells or told, or, where none is asked, the newest that is known of."""
        if self._settings.mode != "paper":
            self._time_known.set()
            return
        wall = WallClock().now()
        if self._job.source.stage is Stage.MARKET:
            self._clock = StreamClock(newest if self._job.reread else 0)  # each kept answer tells when it was asked for
            return
        span = self._job.span
        if span.end < datetime.now(UTC).date():
            day_after = datetime(span.end.year, span.end.month, span.end.day, tzinfo=UTC) + timedelta(days=1)
            newest = max(newest, from_datetime(day_after))
        self._clock = StreamClock(newest or wall)
        self._time_known.set()

    def _open_outlet(self) -> Outlet:
        """What an earlier run left on disk is sent first, and counted as received by this one; what came to the log since is not sent again."""
        refused, spool = self._left.settle(), self._left.spool
        ledger = self.engine.ledger
        for output in spool.contents():
            ledger.received[output.source] += output.units
            self._past.add(output.topic, output.record)
            self._facts.learn(output.topic, output.record)
            self._absent.learn(output.topic, output.record)
        for item in refused:
            ledger.received[item.output.source] += item.output.units
            ledger.dropped[item.output.source, SPOOL_FULL] += item.output.units
        writer = TopicWriter(self._settings, PLANE, delivery_timeout_s=DELIVERY_TIMEOUT_S)
        return Outlet(writer, spool, self._dropped, on_refusal=self._refused)

    # -- the run ---------------------------------------------------------------------------------------------------------------
    async def _load(self, result: Result, decided: int, stop: asyncio.Event) -> None:
        source = self._job.source.create(self._context(decided))
        loading = asyncio.create_task(source.backfill(), name="backfill")
        stopped = asyncio.create_task(stop.wait())
        given_up = asyncio.create_task(self._given_up.wait())
        beside = [asyncio.create_task(work) for work in (self.outlet.pump(), self._deliveries.run(), self._sole.lost())]
        watching = asyncio.create_task(self._silence.watch())
        tasks = [loading, stopped, given_up, *beside, watching]
        try:
            done, _ = await asyncio.wait({loading, stopped, given_up, *beside}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped, given_up}:
                task.result()
            watching.cancel()
            result.interrupted = stopped in done and loading not in done
            self._stop.set()
            await end_tasks([loading])
            settling = asyncio.create_task(self._settled(beside))
            tasks.append(settling)
            await asyncio.wait({settling, stopped}, return_when=asyncio.FIRST_COMPLETED)
            result.interrupted |= not settling.done()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await asyncio.shield(settling)
        finally:
            await end_tasks(tasks)
            with contextlib.suppress(Exception):  # what was loaded counts, however the provider takes its leave
                await source.close()
        self._deliveries.let_go()

    async def _settled(self, beside: list[asyncio.Task[None]]) -> None:
        """Everything that was handed in is on the log, or on disk where Kafka is away or refuses it."""
        ends = asyncio.create_task(self._emptied())
        try:
            done, _ = await asyncio.wait({ends, *beside}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_tasks([ends])

    async def _emptied(self) -> None:
        told, since, before = False, time.monotonic(), -1
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PUMP_S):
                    await self._deliveries.sent()
            await self.outlet.drained()
            left = self._deliveries.waiting + self.outlet.spooled + self.outlet.unacknowledged
            if not left:
                return
            if self.outlet.away and not told:
                told = True
                self._report.note(f"Kafka does not answer; {left} records wait for it")
            if left != before:
                since, before = time.monotonic(), left
            if self._given_up.is_set() or time.monotonic() - since > AWAY_S:
                return
            await asyncio.sleep(PUMP_S)

    def _problem(self) -> str:
        """Why the run did not come to its end, in a sentence; empty when it did."""
        name = self._job.source.name
        left = self.outlet.spooled + self.outlet.unacknowledged
        if left:
            why = self._refusal or "it does not answer"
            return f"{left} records wait on disk for Kafka ({why}); the next run, or the data plane, sends them first"
        if self.engine.ledger.dropped[name, SPOOL_FULL]:
            return "records were dropped, for Kafka was away and the spool full; see that Kafka runs, then run it again"
        down = self._given_up.is_set() or self._up is False
        if whys := [self._why or self._refusal] * down + self._unusable.found():
            loaded = self.outlet.acknowledged[name, False] + self.engine.ledger.deduplicated[name]
            return f"{name} could not be loaded{' whole' if loaded else ''}: {'; '.join(whys)}"
        if self._up is None and self._unread:
            return f"what {name} sent could not be read; `triplane quarantine list --source {name}` has it"
        return ""

    def _count(self, result: Result) -> None:
        ledger, flying, held = self.engine.ledger, self.outlet.in_flight(), self._deliveries.in_flight()
        for source in sorted({*ledger.sources(), self._job.source.name}):
            result.sources[source] = Count(
                received=ledger.received[source] + ledger.released[source],
                published=self.outlet.acknowledged[source, False],
                quarantined=self.outlet.acknowledged[source, True],
                deduplicated=ledger.deduplicated[source],
                dropped={code: count for (name, code), count in sorted(ledger.dropped.items()) if name == source},
                in_flight=flying.get(source, 0) + held.get(source, 0),
            )
        result.differences = conservation(ledger, self.engine, self.outlet, held)
        result.fundamentals_owed = self._fundamentals_owed
        result.absent = self._absent.found() if self._job.interval == "1d" else []

    # -- what the source is given ----------------------------------------------------------------------------------------------
    def _context(self, decided: int) -> Context:
        def nothing(*_: object) -> None:
            """A run that only loads has no stream."""

        async def turn(_: Stage) -> None:
            """There is one source."""

        return Context(
            settings=self._settings,
            config=lambda: self.config,
            clock=self._clock,
            published=self.engine.published,
            take=self.take,
            turn=turn,
            tell_time=self._tell_time,
            time_known=self._time_known,
            resume=nothing,
            advance=nothing,
            source_age=lambda _: 0.0,
            compare_clock=nothing,
            source_state=self._source_state,
            contract_state=nothing,
            covered=nothing,
            blocked=self._blocked,
            log=told_log(self._told),
            stop=self._stop,
            responses=self._settings.state_dir / "responses",
            span=self._job.span,
            interval=self._job.interval,
            decided=decided,
            reread=self._job.reread,
            progress=self._progress,
            incomplete=lambda _, why: self._unusable.add(why),
            room=self._room,
        )

    def take(self, observation: Observation) -> None:
        """An observation from the source: judged, and what comes of it put in line for the log."""
        self._silence.heard()
        if isinstance(observation, Malformed):
            self._unread += 1
            self._unusable.learn(observation)
        self._past.before(observation)
        if isinstance(observation, Filing):
            observation = self._lacking(observation)
        outputs = []
        for output in self.engine.take(observation):
            if output.topic == GATES:
                continue
            self._facts.learn(output.topic, output.record)
            self._absent.learn(output.topic, output.record)
            self._fundamentals_owed |= output.topic == FACTS
            outputs.append(output)
        if outputs:
            self._deliveries.hand_in(outputs)

    def _lacking(self, filing: Filing) -> Filing:
        """What the log lacks of a filing; the rest of it counts as received and repeated."""
        rest = self._facts.lacking(filing)
        known = len(filing.facts) - len(rest.facts)
        self.engine.ledger.received[filing.source] += known
        self.engine.ledger.deduplicated[filing.source] += known
        return rest

    def _tell_time(self, now: int) -> None:
        if isinstance(self._clock, StreamClock):
            self._clock.advance(now)
        self._time_known.set()
        self._connected = True

    async def _room(self) -> None:
        """What waits for Kafka in memory is bounded; one that takes nothing for long ends the run, and what waits goes to disk."""
        if not await self._deliveries.room(AWAY_S):
            self._given_up.set()
            await self._stop.wait()

    def _progress(self, done: int, of: int, what: str) -> None:
        self._failures = 0
        self._silence.heard()
        self._report.progress(done, of, what)

    def _source_state(self, _: str, up: bool, why: str) -> None:
        self._up, self._why = up, "" if up else why

    def _blocked(self, _: str, why: str) -> None:
        """A source that connects again and again by itself is given up after SOURCE_RETRIES tries that brought nothing. One that has just
        told its time is connected, and says that it has still to begin: this try counts only if it brings nothing."""
        connected, self._connected = self._connected, False
        if not why:
            return
        self._failures += 1
        if not connected or why != NOT_SUBSCRIBED:
            self._why = why
        if self._failures - connected > self.config.targets.data.SOURCE_RETRIES:
            self._given_up.set()

    def _told(self, line: str, reason: str) -> None:
        self._why = reason or self._why
        self._report.note(line)

    # -- the log ---------------------------------------------------------------------------------------------------------------
    def _refused(self, why: str) -> None:
        if why:
            self._refusal = f"it refuses them: {why}"
            self._given_up.set()

    def _dropped(self, output: Output) -> None:
        self.engine.lost(output, SPOOL_FULL)
