"""The Data Plane's daemon: sources, the engine, and the way to Kafka, wired together.

Order at the start: configuration from control.config; what the topics hold already; the sources connect and download at once, but
hand in stage by stage: facts and macro first, acknowledged, then history in time order, then what comes live.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time

from data_plane.daemon import decisions, machine_clock, recovery
from data_plane.daemon.configuration import ConfigFollower
from data_plane.daemon.group import group_assets, group_calendar, group_engine, watched_assets, watched_kinds
from data_plane.daemon.left_over import LeftOver
from data_plane.daemon.outlet import DELIVERY_TIMEOUT_S, SPOOL_FULL, Outlet
from data_plane.daemon.said_once import QuarantineLines, watch_late_bars
from data_plane.daemon.telemetry import DataCollector, Gauges, conservation
from data_plane.daemon.urgency import may_wait
from data_plane.engine import DataEngine
from data_plane.gates.clock import ClockSample
from data_plane.observations import Observation
from data_plane.outputs import GATES, Output
from data_plane.sources import registered
from data_plane.sources.base import Context, Source, SourceSpec, Stage
from triplane.domain import calendars
from triplane.runtime.clock import Clock, StreamClock, WallClock
from triplane.runtime.configuration import Config
from triplane.runtime.daemon import Daemon
from triplane.runtime.exit_codes import UNAVAILABLE, DaemonExit
from triplane.runtime.kafka_in import LogUnavailable
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.kafka_probe import KafkaProbe
from triplane.runtime.sole_producer import SoleProducer
from triplane.runtime.tasks import end_tasks

PLANE = "data"
MEGABYTE = 1_000_000
HOURS = 8
"""So many hours of REBALANCE are remembered, the newest first."""


class DataService:
    """One run of the plane."""

    def __init__(self, daemon: Daemon, specs: list[SourceSpec] | None = None) -> None:
        self._daemon = daemon
        self._settings = daemon.settings
        self._specs = registered() if specs is None else specs
        self._market = [spec.name for spec in self._specs if spec.stage is Stage.MARKET]
        paper = self._settings.mode == "paper"
        self._stream_clock = StreamClock()
        self.clock: Clock = self._stream_clock if paper else WallClock()
        self._time_known = asyncio.Event()
        if not paper:
            self._time_known.set()
        self._gauges = Gauges(daemon.metrics)
        self._lines = QuarantineLines(daemon.log)
        self._blocked: dict[str, str] = {}
        self._turns = {stage: asyncio.Event() for stage in Stage}
        self._follower: ConfigFollower | None = None
        self._sole = SoleProducer(self._settings, PLANE)
        self._contexts: list[Context] = []
        self._hours: tuple[str, ...] = ()
        self.config: Config
        self.engine: DataEngine
        self.outlet: Outlet

    # -- life ------------------------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Until the daemon stops, or something that a restart or a person has to mend."""
        try:
            await self._start()
        finally:
            await asyncio.to_thread(self._sole.close)

    async def _start(self) -> None:
        daemon = self._daemon
        daemon.probe = KafkaProbe(self._settings, "control.config")
        daemon.ready(False, "looking for a configuration on control.config")
        try:
            self._follower = ConfigFollower(
                self._settings,
                lambda text: daemon.log.error("configuration passed over", reason=text),
                (*recovery.TOPICS, decisions.TOPIC),
            )
            self._sole.join()
            config = await self._follower.first(daemon.stop)
        except LogUnavailable as error:
            raise DaemonExit(str(error), UNAVAILABLE) from error
        if config is None:
            return
        self.config = config
        self._hours = (config.targets.strategy.REBALANCE,)
        self.engine = group_engine(config, self._settings.group)
        daemon.log.info("configuration", hash=config.hash, seq=config.seq, names=len(self.engine.names))
        daemon.ready(False, "reading what is on the topics")
        self._left = self._left_over(config)
        # Its first question imports pandas, for a second or more: not on the event loop.
        for calendar in self.engine.calendars:
            await asyncio.to_thread(calendars.table, calendar)
        try:
            if not await self._sole.take(daemon.stop):  # before the topics are read: nobody adds to them from now on
                return
            await self._remember()
        except LogUnavailable as error:
            raise DaemonExit(str(error), UNAVAILABLE) from error
        self.outlet = self._open_outlet()
        late = watch_late_bars(self.engine.ledger, self._pause, time.monotonic, daemon.log)
        beside = (self.outlet.pump(), self._follower.follow(self._taken), self._sole.lost(), late)
        running = [asyncio.create_task(work) for work in beside]
        paper = self._settings.mode == "paper"
        self._emit(self.engine.compare_only(self._market + ([] if paper else [machine_clock.MACHINE])))
        if not paper:
            judge = functools.partial(self._compare_clock, machine_clock.MACHINE)
            watch = machine_clock.watch(self._settings.ntp_server, judge, self._pause, daemon.log)
            running.append(asyncio.create_task(watch))
        sources = self._create()
        try:
            await self._first_of(asyncio.create_task(self._work(sources)), running)
        finally:
            await self._end(sources, running)

    async def _first_of(self, work: asyncio.Task[None], running: list[asyncio.Task[None]]) -> None:
        """Wait for the end: of the work, by a signal, or by a failure of what runs beside it."""
        stop = asyncio.create_task(self._daemon.stop.wait())
        try:
            done, _ = await asyncio.wait([work, stop, *running], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stop.cancel()
            running.append(work)

    async def _end(self, sources: dict[str, Source], running: list[asyncio.Task[None]]) -> None:
        await end_tasks(running)
        for name, source in sorted(sources.items()):
            with contextlib.suppress(Exception):  # one source that cannot let go must not keep the others' records back
                await source.close()
            self._daemon.log.debug("closed", source=name)
        try:
            # On paper market time is what the gateway told last, which may have leapt since.
            self._emit(self.engine.flush(0 if self._settings.mode == "paper" else self.clock.now()))
            self.outlet.let_go()
        finally:
            await asyncio.to_thread(self.outlet.close, 3.0)
        self._daemon.log.info("stopped", differences=conservation(self.engine.ledger, self.engine, self.outlet))

    async def _remember(self) -> None:
        def passed_over(place: str) -> None:
            self._daemon.log.error("record passed over", record=place, problem="stamped over a day ahead of the clock")

        def take_up() -> None:
            """Record by record: years of facts and fundamentals fit on no machine at once."""
            for record in recovery.each(self._settings, passed_over):
                if record.value is not None:
                    self._left.learn(record.topic, record.value)
                    self.engine.remember(record.topic, [record.value])

        await asyncio.to_thread(take_up)

    def _left_over(self, config: Config) -> LeftOver:
        """What an earlier run could not send any more."""
        path = self._settings.state_dir / "data-spool.bin"

        def damaged(instead: str) -> None:
            self._daemon.log.error("damaged file", file=str(path), instead=instead)

        return LeftOver(path, int(config.targets.data.SPOOL_MAX_MB * MEGABYTE), damaged)

    def _open_outlet(self) -> Outlet:
        refused, self._spool = self._left.settle(), self._left.spool
        spool = self._spool
        self.engine.take_up([item.output for item in refused] + spool.contents())
        for item in refused:
            self._dropped(item.output)
        for key, _, _ in self.engine.gates.closed():
            self._gauges.gate.labels(key.gate, key.source, key.scope or "all").set(0)
        outlet = Outlet(
            TopicWriter(self._settings, PLANE, delivery_timeout_s=DELIVERY_TIMEOUT_S),
            spool,
            self._dropped,
            lambda output: may_wait(output.topic, output.record, self._hours),
            self._kafka_refuses,
        )
        self._daemon.metrics.registry.register(
            DataCollector(self.engine, outlet, lambda: self.config.targets.data, self.clock.now, self._market)
        )
        return outlet

    def _kafka_refuses(self, why: str) -> None:
        """Whatever is published waits on disk meanwhile, and so does who reads it."""
        if why:
            self._daemon.log.error("kafka refuses", reason=why)
        else:
            self._daemon.log.info("kafka takes records again")
        self._set_blocked("kafka", why)

    # -- sources ---------------------------------------------------------------------------------------------------------------
    def _create(self) -> dict[str, Source]:
        sources = {}
        for spec in self._specs:
            missing = spec.missing(self._settings)
            if missing:
                self._source_state(spec.name, False, missing)
            else:
                self._contexts.append(self._context())
                sources[spec.name] = spec.create(self._contexts[-1])
        return sources

    def _context(self) -> Context:
        return Context(
            settings=self._settings,
            config=lambda: self.config,
            clock=self.clock,
            published=self.engine.published,
            take=self.take,
            turn=self._turn,
            tell_time=self._tell_time,
            time_known=self._time_known,
            resume=self.engine.resume,
            gap=self.engine.gap,
            advance=lambda source, now: self._emit(self.engine.advance(source, now)),
            source_age=lambda source: self.engine.source_age(source, self.clock.now()),
            compare_clock=self._compare_clock,
            source_state=self._source_state,
            contract_state=lambda source, symbol, problem: self._emit(
                self.engine.contract_state(source, symbol, problem, self.clock.now())
            ),
            covered=lambda source, streamed, round_s: self._emit(
                self.engine.cover(source, streamed, round_s, self.clock.now())
            ),
            blocked=self._set_blocked,
            log=self._daemon.log,
            stop=self._daemon.stop,
            responses=self._settings.state_dir / "responses",
        )

    async def _work(self, sources: dict[str, Source]) -> None:
        stages = {spec.name: spec.stage for spec in self._specs}
        tasks: dict[str, asyncio.Task[None]] = {}
        for name, source in sources.items():
            tasks[name] = asyncio.create_task(source.backfill(), name=f"backfill {name}")
        if not any(stages[name] is Stage.MARKET for name in sources):
            raise DaemonExit(
                "no source of market data can run: " + "; ".join(text for text in self._blocked.values() if text)
            )
        try:
            for stage in Stage:
                self._turns[stage].set()
                due = [tasks[name] for name in sources if stages[name] is stage]
                if due:
                    await self._all(due, list(tasks.values()))
                await self.outlet.drained()
                self._daemon.log.info("loaded", stage=stage.name.lower())
            self._update_ready(loaded=True)
            follow = [asyncio.create_task(source.follow(), name=f"follow {name}") for name, source in sources.items()]
            commanded = asyncio.create_task(self._follow_commands(), name="follow commands")
            tasks |= {f"follow {number}": task for number, task in enumerate([*follow, commanded])}
            await self._all(follow, [*follow, commanded])
        finally:
            await end_tasks(tasks.values())

    async def _follow_commands(self) -> None:
        await self._time_known.wait()
        await decisions.DecisionFollower(
            self._settings, self.engine.releases, self._emit, self.clock.now, self._pause, self._daemon.log
        ).follow()

    @staticmethod
    async def _all(due: list[asyncio.Task[None]], watched: list[asyncio.Task[None]]) -> None:
        """Wait for all of `due`; a failure of any of `watched` is raised at once."""
        while not all(task.done() for task in due):
            done, _ = await asyncio.wait(
                [task for task in watched if not task.done()], return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
        for task in due:
            task.result()

    async def _turn(self, stage: Stage) -> None:
        await self._turns[stage].wait()

    def _tell_time(self, now: int) -> None:
        self._stream_clock.advance(now)
        self._time_known.set()

    def _source_state(self, name: str, up: bool, why: str) -> None:
        if not up:
            self._daemon.log.error("source down", source=name, reason=why)
        # A provider that cannot be had holds back what rests on it, not the market data.
        self._emit(self.engine.source_state(name, up, why, self.clock.now()))
        if name in self._market:
            self._set_blocked(name, "" if up else why)

    def _compare_clock(self, source: str, sample: ClockSample | str) -> None:
        self._emit(self.engine.compare_clock(source, sample, self.clock.now()))

    def _set_blocked(self, name: str, why: str) -> None:
        self._blocked[name] = why
        if name in self._market:
            self._gauges.connected.labels(PLANE).set(0 if why else 1)
        self._update_ready(loaded=self._loaded)

    _loaded = False

    def _update_ready(self, *, loaded: bool) -> None:
        self._loaded = loaded
        reasons = [f"{name}: {why}" for name, why in sorted(self._blocked.items()) if why]
        if not loaded:
            reasons.append("loading history")
        self._daemon.ready(not reasons, "; ".join(reasons))

    # -- records ---------------------------------------------------------------------------------------------------------------
    def take(self, observation: Observation) -> None:
        """An observation from a source: judged, and what comes of it handed to the outlet, before this returns."""
        began = time.perf_counter()
        outputs = self.engine.take(observation)
        if outputs:
            self._emit(outputs)
            if outputs[-1].topic == "data.bars" or any(output.topic == "data.bars" for output in outputs):
                self._gauges.slice.observe(time.perf_counter() - began)

    def _emit(self, outputs: list[Output]) -> None:
        self.outlet.put(*outputs)
        for output in outputs:
            if output.topic == GATES:
                self._gate_changed(output)
        self._lines.take(outputs, time.monotonic())

    def _gate_changed(self, output: Output) -> None:
        record = output.record
        self._gauges.gate.labels(record["gate"], record["source"], record["scope"] or "all").set(
            1 if record["open"] else 0
        )
        log = self._daemon.log.info if record["open"] else self._daemon.log.warning
        fields = {name: record[name] for name in ("gate", "source", "scope", "code", "detail")}
        log("gate opened" if record["open"] else "gate closed", **fields)

    def _dropped(self, output: Output) -> None:
        self.engine.lost(output, SPOOL_FULL)
        self._daemon.log.error(
            "spool full, record dropped", topic=output.topic, source=output.source, units=output.units
        )

    def _taken(self, config: Config) -> None:
        """A new version of the configuration: in force from the next slice."""
        assets = group_assets(config, self._settings.group)
        group_calendar(assets, self._settings.group)
        self._daemon.log.info("configuration", hash=config.hash, seq=config.seq, before=self.config.hash)
        self.config = config
        self._hours = tuple(dict.fromkeys((config.targets.strategy.REBALANCE, *self._hours)))[:HOURS]
        self._spool.max_bytes = int(config.targets.data.SPOOL_MAX_MB * MEGABYTE)
        more = {asset.symbol for asset in assets} - set(self.engine.names)
        more |= set(config.targets.data.FRED_SERIES.split(",")) - set(self.engine.targets.FRED_SERIES.split(","))
        self._emit(self.engine.configure([asset.symbol for asset in assets], config.targets.data, config.hash))
        self.engine.watch(watched_kinds(watched_assets(config, self._settings.group)))
        for context in self._contexts if more else ():
            context.more_wanted.set()

    async def _pause(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._daemon.stop.wait()
        return self._daemon.stop.is_set()


async def main(daemon: Daemon) -> None:
    """The daemon's coroutine."""
    service = DataService(daemon)
    await daemon.serve()
    await service.run()
