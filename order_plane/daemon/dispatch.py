"""Carries out what the engine decides. One input at a time, never waiting: everything that waits is a queue of its own.

The commit protocol (docs/orders.md), as this module keeps it:

1. events are queued to Kafka in their order; what follows from them (decisions, fills, account, costs) is written to the local
   journal first and queued once its event is acknowledged;
2. cancels go to the local journal (fsynced) and onto the socket at once, ahead of every queued order, with or without Kafka;
3. an order waits until every event up to its own is acknowledged; when that takes longer than its ack_timeout_s it is never sent;
4. at that moment the gate is asked again (kill latch, link, connection, reconciliation, pause); closed means never sent;
5. only then it goes onto the socket, once; a `sent` event with the wall time follows.

What is never sent is told to the engine as `not_sent`, so no order is left without a known fate by this process.
"""

from __future__ import annotations

import base64
import contextlib
import time
from collections import deque
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

from order_plane.codes import Code
from order_plane.daemon.broker_link import BrokerLink
from order_plane.daemon.journal import Journal
from order_plane.daemon.publisher import Output, Publisher
from order_plane.daemon.stop_points import StopPoints
from order_plane.daemon.telemetry import OrderMetrics
from order_plane.engine import OrderEngine, takes_market_data
from order_plane.kill.latch import KillLatch
from order_plane.messages import (
    Alert,
    Append,
    BrokerReport,
    CancelOrder,
    Effect,
    GlobalCancel,
    Input,
    LogInput,
    Place,
    RequestSnapshot,
)
from schemas import catalogue, codec
from triplane.broker.orders import OrderFieldError, OrderRequest
from triplane.broker.session import BrokerError
from triplane.runtime.clock import SteadyClock
from triplane.runtime.kafka_out import CAUSE_INGEST_TIME

EVENTS = "order.events"
SENT_TIME = "sent_time"
"""Header of `sent` events: wall time at which the order was written to the socket, ns, ASCII decimal."""
Headers = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Waiting:
    """An order that waits for acknowledgements. `connection` is the one it was decided on; times are time.monotonic()."""

    place: Place
    needs: int
    since: float
    connection: int
    cause: Headers


@dataclass(frozen=True, slots=True)
class Sent:
    """An order that went onto the socket at wall time `at` (ns)."""

    waiting: Waiting
    at: int


class Dispatcher:
    """Owns the engine. `take` is the only way in; call it on the event loop, never from within itself."""

    def __init__(
        self,
        engine: OrderEngine,
        publisher: Publisher,
        journal: Journal,
        link: BrokerLink,
        latch: KillLatch,
        metrics: OrderMetrics,
        log: Any,
        stops: StopPoints,
        request_snapshot: Callable[[str], None],
        closed_gate: Callable[[], str],
        clock: SteadyClock,
    ) -> None:
        self.engine = engine
        self._publisher, self._journal, self._link, self._latch = publisher, journal, link, latch
        self._metrics, self._log, self._stops = metrics, log, stops
        self._request_snapshot, self._closed_gate, self._clock = request_snapshot, closed_gate, clock
        self._waiting: deque[Waiting] = deque()
        self._journalled: deque[tuple[int, list[int]]] = deque()
        self._kill = engine.s.kill.level
        self._codec, self._topics = codec.load(), catalogue.load()
        self._event_id = ""
        link.contracts.rows = lambda: engine.folded.universe.tradable if engine.folded.universe is not None else ()

    @property
    def waiting(self) -> int:
        """Orders that wait for an acknowledgement."""
        return len(self._waiting)

    # -- inputs ----------------------------------------------------------------------------------------------------------------
    def take(self, item: Input, cause: Headers | None = None, entries: list[int] | None = None) -> None:
        """Give one input to the engine and carry out what it decides.

        `cause` are headers for what follows from it; `entries` its numbers in the local journal. Raises BufferError when
        Kafka has been away for so long that no more can be remembered.
        """
        stopped = self.engine.s.kill.level == "stopped"
        effects = self.engine.handle(item)
        if stopped and isinstance(item, LogInput) and item.record.get("command") == "kill.trip":
            self._again(item.record)
        kind = item.event["kind"] if isinstance(item, BrokerReport) else ""
        if kind == "execution":
            self._stops.reach("execution-handled")
        if any(isinstance(effect, Place) for effect in effects):
            self._stops.reach("intent-taken")
        self._carry_out(effects, cause or {})
        if entries:
            self._journalled.append((self._publisher.last, entries))
        if kind == "execution":
            self._stops.reach("execution-appended")
        self._mirror_kill()

    def _carry_out(self, effects: list[Effect], cause: Headers) -> None:
        placed = False
        try:
            entries = iter(self._journal_outputs(effects))
        except OSError:
            for effect in effects:  # a full disk ends this process, but what it was asked to cancel it cancels first
                if isinstance(effect, CancelOrder):
                    self._cancel(effect)
                elif isinstance(effect, GlobalCancel):
                    self._global_cancel(effect)
            raise
        for effect in effects:
            if isinstance(effect, Append) and effect.topic == EVENTS:
                quiet = len(effects) == 1 and takes_market_data(effect.record)
                append = self._publisher.append_quiet if quiet else self._publisher.append
                append(EVENTS, effect.record, cause)
            elif isinstance(effect, Append):
                self._metrics.appended(effect.topic, effect.record)
                headers = cause if effect.topic == "order.decisions" else None
                self._publisher.append_output(
                    Output(self._publisher.last, next(entries), effect.topic, effect.record, headers)
                )
            elif isinstance(effect, CancelOrder):
                self._cancel(effect)
            elif isinstance(effect, GlobalCancel):
                self._global_cancel(effect)
            elif isinstance(effect, Place):
                placed = True
                self._waiting.append(
                    Waiting(effect, self._publisher.last, time.monotonic(), self._link.connections, cause)
                )
            elif isinstance(effect, RequestSnapshot):
                self._request_snapshot(effect.reason)
            else:
                self._alert(effect)
        if placed:
            self._stops.reach("placing-appended")

    def _journal_outputs(self, effects: list[Effect]) -> list[int]:
        """Write the outputs down, each with the event that it follows; numbers in order. An event is queued only after this."""
        entries = []
        for effect in effects:
            if isinstance(effect, Append) and effect.topic == EVENTS:
                self._event_id = effect.record["event_id"]
            elif isinstance(effect, Append):
                data = self._codec.encode(self._topics[effect.topic].record, effect.record)
                text = base64.b64encode(data).decode("ascii")
                entries.append({"kind": "output", "topic": effect.topic, "after": self._event_id, "data": text})
        return self._journal.write(entries, sync=False)

    def publish_again(self, entry: Mapping[str, Any], recorded: Container[str]) -> None:
        """An output that an earlier run journalled and may not have published: publish it if its event is on the log."""
        if entry["after"] not in recorded:
            self._journal.done([entry["seq"]])
            return
        record = self._codec.decode(self._topics[entry["topic"]].record, base64.b64decode(entry["data"]))
        self._publisher.append_output(Output(0, entry["seq"], entry["topic"], record, None))

    def _alert(self, alert: Alert) -> None:
        self._metrics.alerted(alert.code)
        self._log.warning("alert", code=alert.code, detail=alert.detail, symbol=alert.symbol, **dict(alert.numbers))

    def _again(self, command: Mapping[str, Any]) -> None:
        """Somebody stops what is stopped: a re-arming that did not know of it must not lift it."""
        document = {"actor": command["actor"], "reason": command["reason"], "time": str(time.time_ns())}
        with contextlib.suppress(OSError):  # the hold stands
            self._latch.trip_again(document, time.time_ns())

    def _mirror_kill(self) -> None:
        """A level that the engine trips holds locally, too, and a person's re-arming lifts both."""
        kill = self.engine.s.kill
        if kill.level == self._kill:
            return
        before, self._kill = self._kill, kill.level
        if kill.level == "stopped":
            try:
                self._latch.trip(
                    {"actor": kill.actor, "reason": kill.reason, "scope": kill.scope, "time": str(time.time_ns())}
                )
            except OSError as error:  # the latch holds in memory all the same, and the level is on the log
                self._log.error("the kill file could not be written", error=str(error))
        elif before == "stopped" and kill.level == "none":
            try:
                self._latch.lift()
            except OSError as error:
                self._log.error("the kill file cannot be removed, so orders stay held", error=str(error))

    # -- cancels ---------------------------------------------------------------------------------------------------------------
    def _cancel(self, effect: CancelOrder) -> None:
        waits = any(waiting.place.order_ref == effect.order_ref for waiting in self._waiting)
        self._journal_cancel({"kind": "cancel", "order_ref": effect.order_ref, "order_id": effect.order_id})
        self._stops.reach("cancel-journalled")
        if waits:
            return  # it is not on the socket yet, and now it never will be: the engine has marked it taken back
        try:
            self._link.cancel(effect.order_id)
            self._metrics.cancels.inc()
        except BrokerError as error:
            # The engine asks again: what was asked to be cancelled counts as open until the broker says otherwise.
            self._log.warning("cancel not sent", order_ref=effect.order_ref, error=str(error))
        self._stops.reach("cancel-sent")

    def _journal_cancel(self, entry: dict[str, Any]) -> None:
        """Write a cancel down. A full disk must not keep it from leaving: cancelling twice is harmless, not cancelling is not."""
        try:
            self._journalled.append((self._publisher.last, self._journal.write([entry])))
        except OSError as error:
            self._log.error("a cancel could not be journalled; it is sent all the same", error=str(error))

    def _global_cancel(self, effect: GlobalCancel) -> None:
        self._journal_cancel({"kind": "global_cancel", "reason": effect.reason})
        try:
            self._link.global_cancel()
            self._metrics.cancels.inc()
        except BrokerError as error:
            self._log.warning("global cancel not sent", error=str(error))

    # -- orders ----------------------------------------------------------------------------------------------------------------
    def progress(self) -> None:
        """Acknowledgements came, or time passed: send what may go, give up what waited too long."""
        acknowledged = self._publisher.acknowledged
        while self._journalled and self._journalled[0][0] <= acknowledged:
            self._journal.done(self._journalled.popleft()[1])
        if not self._waiting:
            return
        now = time.monotonic()
        ready: list[Waiting] = []
        refused: list[tuple[Waiting, str, str]] = []
        # Oldest first and never out of order: sequence numbers only grow.
        while self._waiting and self._waiting[0].needs <= acknowledged:
            ready.append(self._waiting.popleft())
        while self._waiting and now - self._waiting[0].since > self._waiting[0].place.ack_timeout_s:
            late = self._waiting.popleft()
            refused.append((late, f"Kafka did not acknowledge the record within {late.place.ack_timeout_s:g} s", ""))
        sent: list[Sent] = []
        if ready:
            self._stops.reach("placing-acked")
        for waiting in ready:
            reason, ends = self._closed_gate() or self._outdated(waiting), ""
            if not reason and (reason := self._unconfirmed(waiting)):
                ends = str(Code.CONTRACT_MISMATCH)
            if not reason:
                try:
                    sent.append(self._send(waiting))
                    self._stops.reach("order-sent")
                    continue
                except (BrokerError, OrderFieldError) as error:
                    reason = str(error)
            refused.append((waiting, reason, ends))
        for waiting, reason, ends in refused:
            self._tell(waiting, {"kind": "not_sent", "text": reason, "labels": {"ends": ends} if ends else {}}, {})
        for done in sent:
            event = {"kind": "sent", "order_id": done.waiting.place.fields["order_id"]}
            self._tell(done.waiting, event, {**done.waiting.cause, SENT_TIME: str(done.at).encode()})
            self._stops.reach("sent-appended")

    def _outdated(self, waiting: Waiting) -> str:
        if waiting.connection != self._link.connections:
            return "the broker was reconnected after it was decided"
        if not self.engine.s.reconciling.passed:
            return "reconciliation is due again since it was decided"
        universe = self.engine.folded.universe
        if universe is None or waiting.place.fields["symbol"] not in universe:
            return "its row left assets.csv before it was sent"
        order = self.engine.s.book.orders.get(waiting.place.order_ref)
        if order is None or order.dead or order.cancel_wall:
            return "it was taken back before it was sent"
        if order.good_till and order.good_till <= self.engine.s.market_time:
            return "its good-till time passed before it was sent"
        return ""

    def _unconfirmed(self, waiting: Waiting) -> str:
        """Why its contract id may be another instrument's, which the next child's would be as well."""
        fields, universe = waiting.place.fields, self.engine.folded.universe
        assert universe is not None
        asset = universe[fields["symbol"]]
        return self._link.contracts.refusal(asset, fields["con_id"] or asset.con_id)

    def _send(self, waiting: Waiting) -> Sent:
        fields = waiting.place.fields
        universe = self.engine.folded.universe
        assert universe is not None  # the engine places nothing without a configuration
        asset = universe[fields["symbol"]]
        self._link.place(
            fields["order_id"],
            OrderRequest(
                order_ref=waiting.place.order_ref,
                account=self.engine.account,
                symbol=asset.broker_symbol,
                con_id=fields["con_id"] or asset.con_id,
                action=fields["action"],
                order_type=fields["order_type"],
                quantity=fields["quantity"],
                limit_price=fields.get("limit_price", 0.0),
                tif=fields["tif"],
                good_till=fields.get("good_till", 0),
                algo=fields.get("algo", ""),
                algo_priority=fields.get("labels", {}).get("adaptive_priority", "Normal"),
                exchange=asset.exchange,
                primary_exchange=asset.primary_exchange,
                currency=asset.currency,
                sec_type=asset.sec_type,
            ),
        )
        at = time.time_ns()
        self._metrics.orders.inc()
        self._metrics.write_ahead.observe(time.monotonic() - waiting.since)
        if CAUSE_INGEST_TIME in waiting.cause:
            self._metrics.latency.observe((at - int(waiting.cause[CAUSE_INGEST_TIME])) / 1e9)
        return Sent(waiting, at)

    def _tell(self, waiting: Waiting, event: dict[str, Any], headers: Headers) -> None:
        fields = waiting.place.fields
        event = event | {"order_ref": waiting.place.order_ref, "symbol": fields["symbol"], "seq": fields["seq"]}
        self.take(BrokerReport(event, self._clock.now()), headers)
