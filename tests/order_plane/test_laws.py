"""Laws L4, L5 and L7 for any order of events: a stateful property test with a broker that delays, repeats, drops and restarts.

The oracle is the test's own broker and its own watcher (laws.py); the engine never judges itself.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from order_plane import plain, recording
from order_plane.engine import OrderEngine
from order_plane.messages import Append, Effect, Input, Place
from tests.order_plane.desk import ACCOUNT, PRICES, SYMBOLS, BrokerOrder, Desk, body, targets
from tests.order_plane.laws import Watcher
from triplane.domain.timestamps import SECOND

TIGHT = targets(
    ORDER_QTY_MAX=900.0, ORDER_NOTIONAL_MAX=60_000.0, BOX_HARD=0.12, GROSS_HARD=0.3, NET_HARD=0.2, ACTIVE_PER_SIDE=3,
    ORDERS_PER_MINUTE=6, NOTIONAL_PER_MINUTE=250_000.0, MIN_CHILD_NOTIONAL=100.0, POV_CAP=0.5, CHILD_GOOD_TILL_S=600.0,
    QUOTE_STALE_S=20.0, REQUOTE_S=10.0, REJECTS_KILL=1000, KILL_PNL=-0.9, MAX_DD_KILL_SWITCH=0.9,
).model_copy()  # fmt: skip

names = st.sampled_from(SYMBOLS)
rarely = st.sampled_from([False] * 5 + [True])  # shrinks to not happening


def _base(exec_id: str) -> str:
    return exec_id.rpartition(".")[0]


class Trading(RuleBasedStateMachine):
    """Anything that can happen to the order plane, in any order."""

    @initialize()
    def opened(self) -> None:
        self.desk = Desk(settings=TIGHT, auto=False)
        self.watch = Watcher(TIGHT.order)
        self.pipe: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.seq = 0
        self.connected = False
        self.mids = dict(PRICES)
        self.silent: set[str] = set()

        def handle(item: Input) -> list[Effect]:
            self.watch.saw(item)
            effects = self.desk.engine.handle(item)
            for effect in effects:
                if isinstance(effect, Append) and effect.record.get("kind") == "abandoned":
                    self.watch.abandoned(effect.record["order_ref"])
                if isinstance(effect, Place):
                    self.watch.sends(effect)
                    self._reach_broker(effect)
            return effects

        self.desk.through = handle
        self.desk.start()
        self.desk.configure()
        self._connect()
        self.desk.pass_time(5, 1e5)

    def _reach_broker(self, place: Place) -> None:
        if not self.connected or place.order_ref in self.silent:
            return  # dropped without any callback
        order = self.desk.broker.place(place.fields)
        self.pipe += [self.desk.broker.opened(order), self.desk.broker.status(order)]

    def _connect(self) -> None:
        self.connected = True
        self.desk.connect()
        for report in self.desk.broker.snapshot():
            self._tell(report)

    def _tell(self, report: dict[str, Any]) -> None:
        self.told.append(report)
        self.desk.report(report)

    def _live(self) -> list[BrokerOrder]:
        return [order for order in self.desk.broker.orders.values() if order.live]

    # -- the market ------------------------------------------------------------------------------------------------------------
    @rule(
        symbol=names,
        move=st.floats(-0.01, 0.01),
        seconds=st.sampled_from([1, 5, 15, 30]),
        volume=st.sampled_from([0.0, 500.0, 1e5]),
    )
    def market_moves(self, symbol: str, move: float, seconds: int, volume: float) -> None:
        self.mids[symbol] = round(self.mids[symbol] * (1 + move), 2)
        self.desk.pass_time(seconds, volume, mids=self.mids)

    @rule(wanted=st.dictionaries(names, st.integers(-3000, 3000), min_size=1), volume=st.sampled_from([2e3, 1e5]))
    def barrier(self, wanted: dict[str, int], volume: float) -> None:
        self.seq += 1
        self.desk.pass_time(5, volume, mids=self.mids)
        self.desk.intents(self.seq, {symbol: float(quantity) for symbol, quantity in sorted(wanted.items())})

    @rule(seconds=st.sampled_from([0.2, 1.0, 6.0]))
    def clock_ticks(self, seconds: float) -> None:
        self.desk.tick(seconds)

    # -- the broker ------------------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.pipe and self.connected)
    @rule(count=st.integers(1, 6), again=st.booleans())
    def reports_arrive(self, count: int, again: bool) -> None:
        batch, self.pipe = self.pipe[:count], self.pipe[count:]
        for report in batch:
            self._tell(report)
            if again:
                self._tell(report)

    @precondition(lambda self: self.told)
    @rule(pick=st.integers(0, 10**6))
    def an_old_execution_again(self, pick: int) -> None:
        old = [report for report in self.told if report["kind"] == "execution"]
        if old:
            self.desk.report(old[pick % len(old)])

    @precondition(lambda self: self._live())
    @rule(pick=st.integers(0, 10**6), part=st.sampled_from([0.3, 1.0]))
    def fills(self, pick: int, part: float) -> None:
        order = self._live()[pick % len(self._live())]
        quantity = max(1.0, float(int((order.quantity - order.filled) * part)))
        execution = self.desk.broker.fill(order, quantity, when=self.desk.now)
        self.pipe += [execution, self.desk.broker.status(order), self.desk.broker.commission(execution)]

    @precondition(lambda self: self._live())
    @rule()
    def everything_fills(self) -> None:
        for order in self._live():
            execution = self.desk.broker.fill(order, order.quantity - order.filled, when=self.desk.now)
            self.pipe += [execution, self.desk.broker.status(order), self.desk.broker.commission(execution)]

    @precondition(lambda self: self.desk.broker.executions)
    @rule(pick=st.integers(0, 10**6), fewer=st.integers(0, 3), now=rarely)
    def an_execution_is_corrected(self, pick: int, fewer: int, now: bool) -> None:
        broker = self.desk.broker
        place = pick % len(broker.executions)
        old = broker.executions[place]
        order = broker.orders.get(old["order_id"])
        if not now or order is None or order.live or old["quantity"] <= fewer:
            return
        self.pipe.append(broker.correct(place, old["quantity"] - fewer, old["last_price"] + 0.01))

    @precondition(lambda self: self._live())
    @rule(pick=st.integers(0, 10**6), code=st.sampled_from([201, 202, 399, 404, 10349, 4711]))
    def an_error(self, pick: int, code: int) -> None:
        order = self._live()[pick % len(self._live())]
        if code == 201 and (order.filled or any(r.get("order_id") == order.order_id for r in self.told)):
            return  # the broker refuses new orders only
        if code == 202:
            self.pipe += self.desk.broker.cancel(order)
            return
        if code == 201:
            order.status = "Cancelled"
            self.pipe = [report for report in self.pipe if report.get("order_id") != order.order_id]
        self.pipe.append(
            {"kind": "error", "order_id": order.order_id, "client_id": order.client_id, "code": code, "text": "x"}
        )

    @rule()
    def cancels_are_done(self) -> None:
        for cancel in self.desk.cancelled:
            order = self.desk.broker.orders.get(cancel.order_id)
            if order is not None and order.live and self.connected:
                self.pipe += self.desk.broker.cancel(order)
        self.desk.cancelled.clear()

    @rule()
    def calm(self) -> None:
        """The broker catches up: reports, snapshots and fresh data."""
        for report in self.pipe:
            self._tell(report)
        self.pipe.clear()
        self._snapshot(True)
        self.desk.pass_time(5, 1e5, mids=self.mids)

    @rule(cut_short=rarely)
    def a_snapshot(self, cut_short: bool) -> None:
        self._snapshot(not cut_short)

    def _snapshot(self, complete: bool) -> None:
        if not self.connected or not self.desk.engine.s.reconciling.pending:
            return
        for report in self.pipe:  # the broker answers in order: what it said before comes first
            self._tell(report)
        self.pipe.clear()
        for report in self.desk.broker.snapshot(complete):
            self._tell(report)

    @rule(now=rarely)
    def link_is_lost_and_comes_back(self, now: bool) -> None:
        if not now:
            return
        self.pipe.clear()  # what was on the wire is gone
        self.connected = False
        self.desk.report({"kind": "disconnected", "account": ACCOUNT, "client_id": 12, "text": "gone"})
        self.connected = True
        self.desk.connect()

    @rule(now=rarely)
    def next_orders_are_dropped_without_a_word(self, now: bool) -> None:
        if not now:
            return
        parents = self.desk.engine.s.parents.values()
        self.silent |= {f"{parent.intent_id}/{parent.next_child}/0" for parent in parents}

    @rule(now=rarely)
    def process_restarts(self, now: bool) -> None:
        if not now:
            return
        self.pipe.clear()
        self.connected = False
        engine = OrderEngine(ACCOUNT)
        recording.fold_log(engine, self.desk.recorded(), self.desk.lookup)
        before, after = self.desk.engine.s.book, engine.s.book
        assert plain.dump(after) == plain.dump(before), "a fold of the log is not the state"
        assert plain.dump(engine.s.parents).keys() == plain.dump(self.desk.engine.s.parents).keys()
        self.desk.engine = engine
        self.desk.start()
        self.connected = True
        self.desk.connect()

    @rule(now=rarely)
    def killed_and_rearmed(self, now: bool) -> None:
        if not now:
            return
        self.desk.kill()
        sent = len(self.desk.sent)
        self.desk.pass_time(5, mids=self.mids)
        assert len(self.desk.sent) == sent
        self.desk.record(
            "control.commands",
            {
                "command_id": str(self.desk.wall),
                "command": "kill.rearm",
                "event_time": self.desk.wall,
                "actor": "tester",
                "reason": "test",
            },
        )

    # -- what must hold --------------------------------------------------------------------------------------------------------
    @invariant()
    def laws_hold(self) -> None:
        if hasattr(self, "watch"):
            assert self.watch.violations == []

    def teardown(self) -> None:
        if not hasattr(self, "desk"):
            return
        desk = self.desk
        self.connected = True
        for report in self.pipe:
            self._tell(report)
        self.pipe.clear()
        desk.report({"kind": "disconnected", "account": ACCOUNT, "client_id": 12, "text": "end"})
        desk.kill()  # nothing new leaves while books are compared
        desk.connect()
        for _ in range(8):
            for report in self.pipe:
                self._tell(report)
            self.pipe.clear()
            if desk.engine.s.reconciling.pending:
                for report in desk.broker.snapshot():
                    self._tell(report)
            self.cancels_are_done()
            desk.tick(4.0)
        book, broker = desk.engine.s.book, desk.broker
        # L5: no fill lost, none counted twice, and the books agree with the broker's.
        assert {s: p.quantity for s, p in book.positions.items() if p.quantity} == {
            s: q for s, q in broker.positions.items() if q
        }
        fills = [fill for fill in desk.appended("order.fills") if fill["kind"] == "execution"]
        fills += [fill for fill in desk.appended("order.fills") if fill["kind"] == "correction"]
        by_id = {_base(f["exec_id"]): f["side"] * f["quantity"] for f in sorted(fills, key=lambda f: f["exec_id"])}
        assert by_id == {
            _base(e["exec_id"]): (1 if e["action"] == "BUY" else -1) * e["quantity"] for e in broker.executions
        }
        # L4: no key reached the broker twice.
        assert len(set(broker.received)) == len(broker.received)
        assert len({place.order_ref for place in desk.sent}) == len(desk.sent)
        # Every order found an end: nothing is left live but what the broker has.
        assert {o.ref for o in book.all_live()} == {o.ref for o in self._live()}
        assert abs(book.cash - broker.cash) < 1.0 + 2.0 * len(broker.executions)
        # L1: the log re-run gives every record again, byte for byte.
        again = recording.rerun(ACCOUNT, "paper", True, desk.recorded(), desk.lookup)
        written = [(topic, body(topic, record)) for topic, record in desk.log]
        assert [(topic, body(topic, record)) for _, topic, record in again] == written


@pytest.mark.timeout(600)
def test_laws_hold_for_any_order_of_events(counts):
    run_state_machine_as_test(
        Trading,
        settings=settings(
            max_examples=counts(40, 2000), stateful_step_count=40, deadline=None, print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )  # fmt: skip


def test_the_watcher_sees_a_broken_limit():
    """The oracle itself can fail: an engine with wider limits is caught by a watcher with tighter ones."""
    desk = Desk(settings=targets(BOX_HARD=0.5)).open()
    watch = Watcher(targets(BOX_HARD=0.01).order)
    desk.intents(1, {"AAPL": 500.0})
    for item in desk.inputs:
        watch.saw(item)
    for place in desk.sent:
        watch.sends(place)
    assert any("box" in violation for violation in watch.violations)
    assert desk.now % SECOND == 0
