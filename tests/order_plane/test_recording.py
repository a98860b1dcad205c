"""order.events is the whole story: a re-run gives the same bytes, a fold gives the state, a snapshot is the engine (L1, L11)."""

from __future__ import annotations

import json
import random

import pytest

from order_plane import plain, recording
from order_plane.engine import OrderEngine
from order_plane.ledger.order_state import State
from order_plane.ledger.owed import DECIDED
from order_plane.messages import Append, LogInput, Start
from tests.order_plane.desk import ACCOUNT, Desk, body, plain_text, targets


def eventful() -> Desk:
    """A day with everything in it: partial fills, refusals, a lost link, a restart, a kill, a new configuration."""
    desk = Desk(settings=targets(MIN_CHILD_NOTIONAL=100.0)).open(volume=1_000.0)
    desk.intents(1, {"AAPL": 500.0, "BAC": -300.0, "TSLA": 5.0}, adv=[2e7, 2e7, 1e6])
    order = desk.order(desk.sent[0])
    desk.report(desk.broker.fill(order, 30.0))
    desk.pass_time(5, 4_000.0)
    desk.report(
        {"kind": "error", "order_id": desk.sent[1].fields["order_id"], "client_id": 12, "code": 399, "text": "warned"}
    )
    desk.report({"kind": "disconnected", "account": ACCOUNT, "client_id": 12, "text": "gone"})
    desk.broker.fill(order, 10.0)
    desk.connect()
    desk.pass_time(40, 9_000.0, mids={"AAPL": 161.0})
    restart(desk)
    desk.connect()
    desk.pass_time(5, 50_000.0)
    desk.fill_all()
    desk.configure(targets(MIN_CHILD_NOTIONAL=100.0, COST_HALF_LIFE=30.0))
    desk.intents(2, {"GE": 400.0, "AAPL": 0.0})
    desk.fill_all()
    desk.tick(6.0)
    desk.kill("account", "drill")
    rearm = {"command_id": "r", "command": "kill.rearm", "event_time": desk.wall, "actor": "Ann", "reason": "done"}
    desk.record("control.commands", rearm)
    desk.pass_time(86_400.0)
    return desk


def restart(desk: Desk) -> None:
    engine = OrderEngine(ACCOUNT)
    assert recording.fold_log(engine, desk.recorded(), desk.lookup) == desk.epoch
    desk.engine = engine
    desk.start()


def test_a_rerun_gives_the_same_bytes():
    desk = eventful()
    written = [(topic, body(topic, record)) for topic, record in desk.log]
    again = [
        (topic, body(topic, record))
        for _, topic, record in recording.rerun(ACCOUNT, "paper", True, desk.recorded(), desk.lookup)
    ]
    assert [topic for topic, _ in again] == [topic for topic, _ in written]
    assert again == written
    kinds = {event["kind"] for event in desk.events()}
    assert {
        "took",
        "placing",
        "execution",
        "parent_closed",
        "killed",
        "rearmed",
        "day_ended",
        "marked",
        "epoch",
    } <= kinds


def test_the_inputs_come_back_as_they_were():
    desk = eventful()
    inputs = list(recording.replay_inputs(desk.recorded(), desk.lookup))
    assert sum(isinstance(item, Start) for item in inputs) == 2
    taken = [(item.topic, item.offset) for item in inputs if isinstance(item, LogInput)]
    given = [(item.topic, item.offset) for item in desk.inputs if isinstance(item, LogInput)]
    assert taken == given


def test_every_decided_kind_is_listed_and_no_input_is():
    desk = eventful()
    inputs = {"epoch", "took", "clock", "kill_requested", "rearm_requested", "connected", "disconnected", "order_status", "open_order",
              "completed_order", "execution", "commission", "error", "snapshot", "not_sent", "paused", "undecodable"}  # fmt: skip
    for event in desk.events():
        assert (event["kind"] in DECIDED) != (event["kind"] in inputs), event["kind"]


def test_state_and_restore_at_any_moment(seed):
    desk = eventful()
    items = list(recording.replay_inputs(desk.recorded(), desk.lookup))
    first = next(i for i, item in enumerate(items) if isinstance(item, Start) and item.epoch == 2)
    cuts = set(random.Random(seed).sample(range(1, first), 12))
    engine, other = OrderEngine(ACCOUNT), OrderEngine(ACCOUNT)
    for number, item in enumerate(items[:first]):
        expected = [(e.topic, body(e.topic, e.record)) for e in engine.handle(item) if isinstance(e, Append)]
        if number in cuts:
            kept = json.loads(json.dumps(other.state()))
            other = OrderEngine(ACCOUNT)
            other.restore(kept)
        assert [(e.topic, body(e.topic, e.record)) for e in other.handle(item) if isinstance(e, Append)] == expected
        if number in cuts:
            assert plain_text(other.state()) == plain_text(engine.state())


def test_a_snapshot_of_another_account_is_refused():
    with pytest.raises(ValueError, match="DU2"):
        OrderEngine("DU2").restore(Desk().open().engine.state())


def test_the_fold_is_the_state_but_for_what_passes():
    desk = eventful()
    engine = OrderEngine(ACCOUNT)
    recording.fold_log(engine, desk.recorded(), desk.lookup)
    mine, theirs = plain.dump(engine.s), plain.dump(desk.engine.s)
    for name in (
        "book",
        "costs",
        "fills",
        "holds",
        "kill",
        "slices",
        "config",
        "last_seq",
        "pending",
        "epoch",
        "events",
        "rates",
    ):
        assert plain_text(mine[name]) == plain_text(theirs[name]), name
    for name in ("returns", "day_end", "high_water_mark", "psr_month", "states"):
        assert plain_text(mine["account"][name]) == plain_text(theirs["account"][name]), name


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_a_crash_after_any_event_recovers(cut):
    """Whatever part of the log survived, a restart neither loses an intent nor sends a key twice."""
    desk = Desk(settings=targets(MIN_CHILD_NOTIONAL=100.0)).open(volume=20_000.0)
    desk.intents(1, {"AAPL": 500.0, "BAC": -300.0})
    for order in [o for o in desk.broker.orders.values() if o.live]:
        desk.report(desk.broker.fill(order, 100.0))
    events = desk.recorded()
    place = len(desk.events()) - 30 + cut // 2
    if place >= len(events):
        pytest.skip("beyond the end of this day")
    kept = events[:place]
    known = {event["order_ref"] for event in kept if event["kind"] == "placing"}
    # A placing that did not survive was never sent: sending waits for its acknowledgement
    for order_id in [i for i, order in desk.broker.orders.items() if order.ref not in known]:
        lost = desk.broker.orders.pop(order_id)
        desk.broker.received.remove(lost.ref)
        for execution in [e for e in desk.broker.executions if e["order_ref"] == lost.ref]:
            desk.broker.executions.remove(execution)
            side = 1 if execution["action"] == "BUY" else -1
            desk.broker.positions[lost.symbol] -= side * execution["quantity"]
            desk.broker.cash += side * execution["quantity"] * execution["last_price"]
    desk.engine = OrderEngine(ACCOUNT)
    recording.fold_log(desk.engine, kept, desk.lookup)
    assert {order.ref for order in desk.engine.s.book.all_live()} <= known
    desk.start()
    assert all(order.state is not State.PLACING for order in desk.engine.s.book.all_live())
    desk.connect()
    desk.pass_time(5, 20_000.0)
    desk.fill_all()
    for _ in range(3):
        desk.tick(4.0)
        desk.pass_time(5, 20_000.0)
        desk.fill_all()
    assert len(set(desk.broker.received)) == len(desk.broker.received)
    taken = any(event["kind"] == "took" and next(iter(event["cut"])).startswith("strategy") for event in kept)
    expected = {"AAPL": 500.0, "BAC": -300.0} if taken else {}
    assert {s: p.quantity for s, p in desk.engine.s.book.positions.items() if p.quantity} == expected
    assert {s: q for s, q in desk.broker.positions.items() if q} == expected


def test_fills_of_the_day_are_written_again_with_the_same_bytes():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.fill_all()
    before = {fill["fill_id"]: body("order.fills", fill) for fill in desk.appended("order.fills")}
    assert len(before) == 3
    count = len(desk.appended("order.fills"))
    restart(desk)
    again = {fill["fill_id"]: body("order.fills", fill) for fill in desk.appended("order.fills")[count:]}
    assert again == before


def test_an_older_epoch_is_ignored():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    events = desk.recorded()
    late = dict(events[-1]) | {"event_id": "late", "epoch": 1}
    newer = dict(events[0]) | {"epoch": 2, "event_id": f"{ACCOUNT}/2/0"}
    assert list(recording.current([*events, newer, late, newer])) == [*events, newer]
    engine = OrderEngine(ACCOUNT)
    recording.fold_log(engine, [*events, newer], desk.lookup)
    before = plain_text(engine.state())
    engine.fold(late)
    assert plain_text(engine.state()) == before


def test_of_two_writers_of_one_epoch_neither_counts_once_both_have_begun():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    first, *rest = desk.recorded()
    other = first | {"client_id": 44, "wall_time": first["wall_time"] + 1}
    theirs = rest[0] | {"wall_time": 7}
    newer = first | {"epoch": 2, "event_id": f"{ACCOUNT}/2/0"}
    log = [first, *rest[:3], other, theirs, *rest[3:], newer]
    assert list(recording.current(log)) == [first, *rest[:3], newer]
    assert list(recording.current([first, first, *rest, first, newer])) == [first, *rest, newer]  # only repeated
    assert recording.fold_log(OrderEngine(ACCOUNT), log, desk.lookup) == 2


def test_a_recording_with_a_hole_is_refused():
    desk = Desk().open()
    with pytest.raises(recording.RecordingError, match="incomplete"):
        list(recording.replay_inputs(desk.recorded(), lambda *place: None))
    with pytest.raises(recording.RecordingError, match=r"control\.config"):
        recording.fold_log(OrderEngine(ACCOUNT), desk.recorded(), lambda *place: None)


def test_data_slices_are_not_needed_to_fold():
    desk = eventful()
    engine = OrderEngine(ACCOUNT)
    recording.fold_log(engine, desk.recorded(), lambda t, p, o: None if t.startswith("data.") else desk.lookup(t, p, o))
    assert plain_text(plain.dump(engine.s.book)) == plain_text(plain.dump(desk.engine.s.book))


def test_a_record_that_was_passed_over_changes_nothing_and_is_not_read_again():
    desk = Desk().open()
    before = repr(desk.engine.s.book)
    desk.report({"kind": "passed_over", "reason": "FROM_THE_FUTURE", "cut": {"strategy.intents-0": 7}})
    assert repr(desk.engine.s.book) == before
    (event,) = [e for e in desk.recorded() if e["kind"] == "passed_over"]
    assert event["cut"] == {"strategy.intents-0": 7}, "recovery goes on behind it"
    again = OrderEngine(ACCOUNT, "paper")
    recording.fold_log(again, desk.recorded(), desk.lookup)
    assert repr(again.s.book) == before
