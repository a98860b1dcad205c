"""The order daemon: sockets, Kafka, time and files around the pure engine.

Start-up is crash recovery: (1) connect under the one fixed client id, which keeps every other writer out; (2) fold our own events;
(3) write the new epoch and await its acknowledgement; (4) take up what the local journal and the kill files hold; (5) configuration,
commands and data up to the end of the log; (6) everything else. Nothing is sent before the first reconciliation has passed.

Everything runs on one event loop. Kills and HTTP requests go to the engine between two inputs, ahead of whatever is queued.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from typing import Any

from order_plane.daemon import log_extent, modes, quarantine, recovery
from order_plane.daemon.broker_link import BrokerLink
from order_plane.daemon.dispatch import Dispatcher
from order_plane.daemon.fence import Fence
from order_plane.daemon.journal import Journal
from order_plane.daemon.kill_control import KillControl
from order_plane.daemon.log_feed import LogFeed, read_to_end
from order_plane.daemon.publisher import DELIVERY_TIMEOUT_S, MEMORY_FULL, Publisher
from order_plane.daemon.standstill import Standstill
from order_plane.daemon.stop_points import StopPoints
from order_plane.daemon.telemetry import TOPICS, OrderMetrics
from order_plane.engine import OrderEngine
from order_plane.kill import http as kill_http
from order_plane.kill.files import plain
from order_plane.kill.latch import KillLatch
from order_plane.messages import BrokerReport, ClockTick, KillRequest, LogInput, Start
from order_plane.trading.admission import refusal
from triplane.broker.reports import Report
from triplane.runtime.clock import SteadyClock
from triplane.runtime.daemon import Daemon
from triplane.runtime.exit_codes import UNAVAILABLE, DaemonExit
from triplane.runtime.kafka_in import LogRecord, LogUnavailable
from triplane.runtime.kafka_out import CAUSE_INGEST_TIME, TopicWriter
from triplane.runtime.kafka_probe import KafkaProbe
from triplane.runtime.tasks import end_tasks

NAME = "order"
FIRST_TOPICS = (("control.config", "control.commands"), ("data.actions", "data.bars", "data.quotes"))
# Wall times, each for a reason: the beat is finer than the pause it has to notice; a pause longer than PAUSE_S (SIGSTOP, a suspended laptop) makes everything known of the broker doubtful.
BEAT_S = 0.25
IDLE_TICK_S = 1.0
PAUSE_S = 5.0
STEP_S = 1.0
BATCH = 64
# Reports that the broker may be unable to tell again after a restart; the rest comes back with the next snapshot.
JOURNALLED = frozenset({"execution", "commission", "order_status", "error"})

Item = Report | LogRecord | ClockTick


class OrderService:
    """One run of the daemon."""

    def __init__(self, daemon: Daemon, stops: StopPoints) -> None:
        self._daemon, self._stops = daemon, stops
        self._settings = settings = daemon.settings
        modes.check(settings)
        self._clock = SteadyClock()
        self._metrics = OrderMetrics(daemon.metrics)
        self._latch = KillLatch(settings)
        self._link = BrokerLink(settings, self._on_report, daemon.log)
        self._kill = KillControl(self._latch, self._link, daemon.log, stops, self._clock)
        self._inbox: deque[Item] = deque()
        self._arrived = asyncio.Event()
        self._tick_queued = False
        self._standstill = Standstill(self._clock.stepped, daemon.log, pause_s=PAUSE_S, step_s=STEP_S)
        self._feed: LogFeed | None = None
        self._failure: BaseException | None = None
        self._snapshots: set[asyncio.Task[None]] = set()
        self._journal: Journal | None = None
        self._publisher: Publisher | None = None
        self._fence: Fence | None = None
        self._lock = log_extent.held_lock(self._settings)
        self._dispatcher: Dispatcher | None = None
        # Asked at each scrape: nobody shall read "not tripped" after a kill was confirmed.
        self._metrics.killed.set_function(lambda: self._kill.tripped)
        kill_http.add_routes(daemon.routes, self._kill)

    # -- life ------------------------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Until the daemon is stopped. Raises DaemonExit with a sentence for every end that a person has to know of."""
        stop = self._daemon.stop
        path = self._settings.state_dir / "order-journal.jsonl"
        self._journal = self._kill.journal = Journal(path)
        if self._journal.damaged:
            instead = f"{self._journal.damaged} of its lines left out"
            self._daemon.log.error("damaged file", file=str(path), instead=instead)
        await self._daemon.serve()
        self._daemon.probe = KafkaProbe(self._settings, *TOPICS, "order.events")
        self._daemon.ready(False, "connecting to the broker")
        tasks: list[asyncio.Task[None]] = []

        def begin(work: Coroutine[Any, Any, None], name: str) -> None:
            tasks.append(asyncio.create_task(work, name=name))

        try:
            self._latch.look()
            begin(self._kill.watch_file(), "kill file")
            begin(self._tell_metrics(), "metrics")
            connecting = self._link.connect_first(
                stop, lambda problem: self._daemon.ready(False, f"connecting to the broker: {problem}")
            )
            await recovery.while_log_answers(self._settings, connecting)
            if stop.is_set():
                return
            self._stops.reach("connected")
            begin(self._link.keep(stop), "broker link")
            self._daemon.ready(False, "reading the log")
            publisher = await self._start_engine()
            assert self._fence is not None
            begin(self._fence.watch(lambda: publisher.end), "one writer")
            begin(log_extent.keep_noting(self._daemon, lambda: publisher.end, self._lock), "extent of the log")
            self._daemon.ready(False, "reconciling")
            begin(self._work(), "inbox")
            begin(self._tick(), "ticks")
            stopping = asyncio.create_task(stop.wait())
            try:
                done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
            for task in done - {stopping}:
                task.result()
        except LogUnavailable as error:
            raise DaemonExit(str(error), UNAVAILABLE) from None
        except BufferError:
            raise DaemonExit(MEMORY_FULL, UNAVAILABLE) from None
        finally:
            await end_tasks(tasks)
            await self._wind_down()

    async def _wind_down(self) -> None:
        if self._feed is not None:
            self._feed.close()
        for task in list(self._snapshots):
            task.cancel()
        await self._link.close()
        if self._publisher is not None:
            await self._publisher.close(3.0)
            log_extent.note_seen(self._settings, self._publisher.end, self._lock)
            await asyncio.sleep(0)  # the last acknowledgements reach the journal
        if self._journal is not None:
            self._journal.close()

    async def _start_engine(self) -> Publisher:
        settings = self._settings
        engine = OrderEngine(settings.account, settings.mode)
        recovered = await asyncio.to_thread(recovery.recover, settings, engine)
        await asyncio.to_thread(recovery.load_calendars, engine)
        assert self._journal is not None
        writer = TopicWriter(settings, NAME, delivery_timeout_s=DELIVERY_TIMEOUT_S)
        began = recovered.events_offset
        self._fence = Fence(settings, engine.account, recovered.epoch + 1, began)
        self._publisher = Publisher(writer, self._progress, self._journal.done, began, self._fence.pass_gap)
        dispatcher = Dispatcher(
            engine, self._publisher, self._journal, self._link, self._latch, self._metrics, self._daemon.log, self._stops,
            self._request_snapshot, self._closed_gate, self._clock,
        )  # fmt: skip
        for entry in self._journal.recovered:
            if entry["kind"] == "output":
                dispatcher.publish_again(entry, recovered.recorded)
        self._kill.note_rearm()  # before a kill that the start makes up for ends it
        dispatcher.take(Start(recovered.epoch + 1, settings.order_client_id, self._clock.now()))
        patience = engine.folded.targets.order.ACK_TIMEOUT_S
        if not await self._publisher.settle(patience):
            late = f"Kafka did not acknowledge the new epoch within {patience:g} s; see `triplane kafka status`"
            raise self._publisher.ending or DaemonExit(late, UNAVAILABLE)
        await asyncio.to_thread(recovery.checkpoint, settings, recovered)
        self._stops.reach("epoch-appended")
        kill = engine.s.kill.level
        self._daemon.log.info("recovered", epoch=recovered.epoch + 1, events=len(recovered.recorded), kill=kill)
        for record in recovered.unreadable:
            self._daemon.log.error("record passed over", record=record.place, problem=record.error)
            self._metrics.alerted("UNDECODABLE")
        for path in recovered.damaged:
            self._daemon.log.error("damaged file", file=str(path))
        self._dispatcher = self._kill.dispatcher = dispatcher
        self._take_up_local(dispatcher)
        positions = await self._take_first(dispatcher, recovered.positions)
        self._standstill.restart()
        self._feed = LogFeed(settings, TOPICS, positions, self._on_records, self._on_feed_failure)
        self._feed.begin()
        return self._publisher

    def _take_up_local(self, dispatcher: Dispatcher) -> None:
        """Kill files and journal entries that an earlier run, or a person meanwhile, left on disk."""
        assert self._journal is not None
        for entry in self._journal.recovered:
            if entry["kind"] == "report":
                dispatcher.take(BrokerReport(entry["report"], self._clock.now()), None, [entry["seq"]])
            elif entry["kind"] == "kill":
                request = KillRequest(
                    entry["source"], entry["scope"], plain(entry["reason"]), plain(entry["actor"]), self._clock.now()
                )
                dispatcher.take(request, None, [entry["seq"]])
            elif entry["kind"] != "output":
                self._journal.done([entry["seq"]])  # a cancel: the engine asks again if the order is still open
        self._kill.take_up(dispatcher)

    async def _take_first(self, dispatcher: Dispatcher, positions: dict[str, int]) -> dict[str, int]:
        """Configuration and commands, then data, each up to its present end: no intent is judged by yesterday's limits or quotes."""
        for topics in FIRST_TOPICS:
            records, reached = await asyncio.to_thread(read_to_end, self._settings, topics, positions)
            for record in records:
                self._take_record(dispatcher, record)
            positions = positions | {name: offset for name, offset in reached.items() if offset >= 0}
        return positions

    # -- the inbox -------------------------------------------------------------------------------------------------------------
    def _put(self, *items: Item) -> None:
        self._inbox.extend(items)
        self._arrived.set()

    def _on_report(self, report: Report) -> None:
        if report["kind"] in ("open_order", "order_status"):
            self._stops.reach("first-report")
        self._put(report)

    def _on_records(self, records: list[LogRecord]) -> None:
        self._put(*records)

    def _on_feed_failure(self, problem: BaseException) -> None:
        self._failure = problem
        self._arrived.set()

    async def _work(self) -> None:
        """Take inputs in the order in which they arrived; between batches, requests and acknowledgements get their turn."""
        assert self._dispatcher is not None
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._inbox:
                self._beat()
                self._kill.look()  # what comes after a kill is decided as killed, also by a process that was stopped meanwhile
                self._handle(self._dispatcher, [self._inbox.popleft() for _ in range(min(BATCH, len(self._inbox)))])
                await asyncio.sleep(0)
            if self._failure is not None:
                raise self._failure

    def _handle(self, dispatcher: Dispatcher, batch: list[Item]) -> None:
        entries = self._write_journal(batch)
        records = 0
        for item in batch:
            if isinstance(item, LogRecord):
                records += 1
                self._take_record(dispatcher, item)
            elif isinstance(item, ClockTick):
                self._tick_queued = False
                dispatcher.take(item)
                dispatcher.progress()
            else:
                dispatcher.take(BrokerReport(item, self._clock.now()), None, entries.get(id(item)))
        if records and self._feed is not None:
            self._feed.taken(records)
        if records < len(batch):
            self._tell_ready(dispatcher.engine)

    def _write_journal(self, batch: list[Item]) -> dict[int, list[int]]:
        """Make the batch's reports durable before the engine sees them; entry numbers by report."""
        assert self._journal is not None
        chosen = [
            item
            for item in batch
            if isinstance(item, dict) and item["kind"] in JOURNALLED and item.get("labels", {}).get("live", "1") == "1"
        ]
        if not chosen:
            return {}
        executed = any(item["kind"] == "execution" for item in chosen)
        if executed:
            self._stops.reach("execution-received")
        numbers = self._journal.write([{"kind": "report", "report": item} for item in chosen])
        if executed:
            self._stops.reach("execution-journalled")
        return {id(item): [number] for item, number in zip(chosen, numbers, strict=True)}

    def _take_record(self, dispatcher: Dispatcher, record: LogRecord) -> None:
        if record.value is None:
            self._quarantine(dispatcher, record, "UNDECODABLE", record.error)
            return
        now = self._clock.now()
        refused = refusal(record.topic, record.value, now, dispatcher.engine.s.last_seq)
        if refused is not None:
            self._quarantine(dispatcher, record, *refused)
            return
        cause = None
        if record.topic == "strategy.intents" and CAUSE_INGEST_TIME in record.headers:
            cause = {CAUSE_INGEST_TIME: record.headers[CAUSE_INGEST_TIME]}
        dispatcher.take(LogInput(record.topic, record.partition, record.offset, record.value, now), cause)

    def _quarantine(self, dispatcher: Dispatcher, record: LogRecord, code: str, detail: str) -> None:
        """What cannot be decoded or believed changes nothing here; it is kept with its bytes and its place for a person.

        That it was passed over is on the log: a later start must not take what was refused and told of.
        """
        assert self._publisher is not None
        self._daemon.log.error("record refused", topic=record.topic, offset=record.offset, code=code, problem=detail)
        self._metrics.alerted(code)
        self._publisher.append(quarantine.TOPIC, quarantine.record_of(record, code, detail))
        passed = {"kind": "passed_over", "reason": str(code), "cut": {record.partition_name: record.offset + 1}}
        dispatcher.take(BrokerReport(passed, self._clock.now()))

    # -- time ------------------------------------------------------------------------------------------------------------------
    async def _tick(self) -> None:
        assert self._dispatcher is not None
        engine = self._dispatcher.engine
        while True:
            if not self._tick_queued:
                self._tick_queued = True
                now = self._clock.now()
                self._put(ClockTick(now, now if self._link.wall_clock_market else 0))
            self._beat()
            await asyncio.sleep(BEAT_S if engine.busy else IDLE_TICK_S)

    def _beat(self) -> None:
        gap = self._standstill.beat()
        if gap and self._dispatcher is not None:
            self._daemon.log.warning("stood still", seconds=round(gap, 3))
            if self._feed is not None:
                self._feed.catch_up()
            self._dispatcher.take(
                BrokerReport({"kind": "paused", "text": f"stood still for {gap:.1f} s"}, self._clock.now())
            )

    def _behind(self) -> bool:
        return self._feed is not None and self._feed.behind

    def _closed_gate(self) -> str:
        """Why no order may leave at this moment, or the empty text. Asked right before the socket."""
        self._beat()
        self._kill.look()
        if self._kill.tripped:
            return "the kill switch is tripped"
        if self._settings.mode == "shadow":
            return "shadow mode sends nothing"
        if self._behind():
            return "the process stood still and catches up with the log"
        if self._daemon.stop.is_set():
            return "the daemon is stopping"
        if not self._link.up:
            return self._link.problem or "the broker does not answer"
        return ""

    def _progress(self) -> None:
        if self._publisher is not None and (ending := self._publisher.ending) is not None:
            self._on_feed_failure(ending)
        elif self._dispatcher is not None:
            self._dispatcher.progress()

    def _request_snapshot(self, reason: str) -> None:
        async def answer() -> None:
            assert self._dispatcher is not None
            patience = 2.0 * self._dispatcher.engine.folded.targets.order.BROKER_TIMEOUT_S
            # What the market did while this process stood still comes first: no order may be decided on the past. A snapshot that
            # was under way then says nothing about now.
            while True:
                if self._feed is not None:
                    await self._feed.caught_up()
                taken = await self._link.snapshot(patience)
                if not self._behind():
                    break
            self._stops.reach("snapshot-taken")
            self._daemon.log.info("snapshot", reason=reason, complete=taken.complete, problems=taken.problems)
            self._put(taken.report())

        task = asyncio.create_task(answer(), name="snapshot")
        self._snapshots.add(task)
        task.add_done_callback(self._snapshots.discard)

    # -- what is told ----------------------------------------------------------------------------------------------------------
    def _tell_ready(self, engine: OrderEngine) -> None:
        if engine.folded.config is None:
            self._daemon.ready(False, "no configuration on control.config yet; start the control daemon")
        elif not self._link.up or not engine.s.link.up:
            self._daemon.ready(False, f"broker: {self._link.problem or 'the link to its servers is down'}")
        elif self._behind():
            self._daemon.ready(False, "catching up with the log after a standstill")
        elif not engine.s.reconciling.passed:
            self._daemon.ready(False, "reconciling with the broker")
        else:
            self._daemon.ready(True)

    async def _tell_metrics(self) -> None:
        metrics = self._metrics
        while True:
            metrics.observe(self._link, self._journal, self._publisher, self._feed)
            if self._dispatcher is not None:
                metrics.engine(self._dispatcher.engine)
            await asyncio.sleep(IDLE_TICK_S)


async def main(daemon: Daemon, stops: StopPoints) -> None:
    """Run the order daemon until it is stopped."""
    with contextlib.suppress(asyncio.CancelledError):
        await OrderService(daemon, stops).run()
