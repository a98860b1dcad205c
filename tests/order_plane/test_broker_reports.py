"""What the broker says: order states (law L6) and fills (law L5)."""

from __future__ import annotations

import pytest

from order_plane.codes import Code
from order_plane.ledger.order_state import State
from tests.order_plane.desk import ACCOUNT, Desk


# -- order state (law L6) ------------------------------------------------------------------------------------------------------
@pytest.fixture
def one_order():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    return desk


def _error(desk, code):
    fields = desk.sent[0].fields
    desk.report({"kind": "error", "order_id": fields["order_id"], "client_id": 12, "code": code, "text": "text"})
    return desk.engine.s.book.orders[desk.sent[0].order_ref]


@pytest.mark.parametrize("code", [10349, 2109])
def test_informational_codes_never_cancel(one_order, code):
    assert _error(one_order, code).state is State.SUBMITTED


@pytest.mark.parametrize("code", [399, 404, 109, 163, 383, 451])
def test_held_counts_as_open_and_may_fill(one_order, code):
    order = _error(one_order, code)
    assert one_order.state(order.ref) == State.HELD
    assert one_order.engine.s.book.open_side("AAPL", 1) == 500.0
    one_order.fill_all()
    assert one_order.state(order.ref) == State.FILLED


def test_an_unlisted_code_means_unknown_and_a_snapshot_tells(one_order):
    one_order.auto = False
    order = _error(one_order, 4711)
    assert one_order.state(order.ref) == State.UNKNOWN
    assert any(alert.code == Code.UNLISTED_ERROR for alert in one_order.alerts)
    assert one_order.engine.s.book.open_side("AAPL", 1) == 500.0
    assert one_order.engine.s.reconciling.pending
    for report in one_order.broker.snapshot():
        one_order.report(report)
    assert one_order.state(order.ref) == State.SUBMITTED


def test_a_cancel_that_only_another_client_id_may_ask_for_asks_what_became_of_the_order(one_order):
    """After a start with another client id the broker tells us nothing of the orders of the one before, unless it is asked."""
    one_order.auto = False
    order = one_order.engine.s.book.orders[one_order.sent[0].order_ref]
    one_order.kill()
    assert order.cancel_wall
    refused = {"kind": "error", "order_id": order.order_id, "client_id": 44, "code": 10147, "text": "not found"}
    one_order.report(refused | {"order_id": order.order_id + 1})
    assert not one_order.engine.s.reconciling.pending
    one_order.report(refused)
    assert one_order.state(order.ref) == State.UNKNOWN
    assert one_order.engine.s.reconciling.pending


def test_silence_means_unknown_then_abandoned_and_never_sent_again():
    desk = Desk(auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    desk.intents(1, {"AAPL": 500.0})
    ref = desk.sent[0].order_ref
    desk.tick(5.0)
    order = desk.engine.s.book.orders[ref]
    assert desk.state(order.ref) == State.UNKNOWN
    for seconds in (0.0, 4.0):
        desk.tick(seconds)
        assert desk.engine.s.reconciling.pending
        for report in desk.broker.snapshot():
            desk.report(report)
    assert desk.state(order.ref) == State.ABANDONED
    desk.tick(1.0)
    assert ref not in [place.order_ref for place in desk.sent[1:]]
    assert desk.engine.s.book.open_side("AAPL", 1) in (0.0, 500.0)  # its parent may go on, under a new key


def test_not_sent_abandons_but_a_traced_order_cannot_be_unsent():
    desk = Desk(auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    desk.intents(1, {"AAPL": 500.0})
    desk.report({"kind": "not_sent", "order_ref": desk.sent[0].order_ref, "text": "no acknowledgement"})
    assert desk.state(desk.sent[0].order_ref) == State.ABANDONED
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.report({"kind": "not_sent", "order_ref": desk.sent[0].order_ref, "text": "late"})
    assert desk.state(desk.sent[0].order_ref) == State.SUBMITTED


def test_order_ids_never_roll_back():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 100.0})
    used = desk.sent[0].fields["order_id"]
    desk.broker.next_id = 1  # the gateway lost its memory
    desk.report(
        {"kind": "order_status", "order_id": 500, "client_id": 12, "perm_id": 1, "status": "Submitted", "labels": {}}
    )
    desk.connect()
    desk.pass_time(5)
    desk.intents(2, {"BAC": 100.0})
    assert desk.sent[-1].fields["order_id"] > max(used, 500)


def test_terms_changed_by_hand_count_at_their_larger(one_order):
    order = one_order.order(one_order.sent[0])
    one_order.report(one_order.broker.opened(order, quantity=800.0, limit_price=170.0))
    mine = one_order.engine.s.book.orders[one_order.sent[0].order_ref]
    assert one_order.state(mine.ref) == State.MODIFY_PENDING
    assert one_order.engine.s.book.open_side("AAPL", 1) == 800.0
    assert mine.worst_price == 170.0
    one_order.report(one_order.broker.opened(order))
    assert one_order.state(mine.ref) == State.SUBMITTED
    assert one_order.engine.s.book.open_side("AAPL", 1) == 500.0


def test_two_live_orders_under_one_key_are_both_cancelled(one_order):
    one_order.auto = False
    order = one_order.order(one_order.sent[0])
    one_order.report(one_order.broker.opened(order, perm_id=777, order_id=order.order_id + 40))
    assert {c.order_id for c in one_order.cancelled} == {order.order_id, order.order_id + 40}
    assert one_order.engine.s.holds["AAPL"] == Code.DOUBLE_ORDER
    assert one_order.engine.s.book.open_side("AAPL", 1) == 1000.0


def test_of_an_order_that_another_client_gave_our_key_only_ours_is_cancelled(one_order):
    """Its number is that client's: sent under ours it would name another order of ours. It is told once."""
    one_order.auto = False
    order = one_order.order(one_order.sent[0])
    for _ in range(3):
        one_order.report(one_order.broker.opened(order, perm_id=777, order_id=order.order_id + 40, client_id=99))
    assert {c.order_id for c in one_order.cancelled} == {order.order_id}
    assert [alert.code for alert in one_order.alerts].count(Code.DOUBLE_ORDER) == 1
    assert one_order.engine.s.holds["AAPL"] == Code.DOUBLE_ORDER


def test_an_unknown_child_of_ours_holds_the_name():
    desk = Desk().open()
    desk.report(
        {"kind": "open_order", "account": ACCOUNT, "order_id": 3, "client_id": 12, "perm_id": 5, "order_ref": f"{ACCOUNT}/7/AAPL/1/0",
         "symbol": "AAPL", "con_id": 0, "action": "SELL", "quantity": 50.0, "limit_price": 1.0, "status": "Submitted", "labels": {}}
    )  # fmt: skip
    assert desk.engine.s.holds["AAPL"] == Code.UNKNOWN_ORDER
    assert desk.engine.s.book.open_side("AAPL", -1) == 50.0
    desk.report(
        {
            "kind": "order_status",
            "order_id": 3,
            "client_id": 12,
            "perm_id": 5,
            "status": "Cancelled",
            "filled": 0.0,
            "remaining": 0.0,
            "labels": {},
        }
    )
    assert desk.engine.s.book.open_side("AAPL", -1) == 0.0


def test_manual_orders_of_others_count_on_their_side():
    desk = Desk().open()
    report = {
        "kind": "open_order", "account": ACCOUNT, "order_id": 0, "client_id": 0, "perm_id": 5, "order_ref": "", "symbol": "AAPL",
        "con_id": 0, "action": "SELL", "quantity": 50.0, "limit_price": 1.0, "status": "Submitted", "labels": {},
    }  # fmt: skip
    desk.report(report)
    desk.intents(1, {"AAPL": 100.0})
    assert Code.SELF_CROSS in desk.codes()
    desk.report(report | {"status": "Cancelled"})
    assert len(desk.sent) == 1


# -- fills (law L5) ------------------------------------------------------------------------------------------------------------
def test_repeated_and_corrected_executions(one_order):
    order = one_order.order(one_order.sent[0])
    execution = one_order.broker.fill(order, 500.0, 160.0)
    for _ in range(3):
        one_order.report(execution)
    assert one_order.engine.s.book.position("AAPL") == 500.0
    corrected = execution | {"exec_id": execution["exec_id"][:-2] + "02", "quantity": 400.0, "last_price": 159.0}
    one_order.report(corrected)
    one_order.report(execution)  # the old one again
    assert one_order.engine.s.book.position("AAPL") == 400.0
    assert one_order.engine.s.book.cash == pytest.approx(1_000_000 - 400 * 159.0)
    kinds = [fill["kind"] for fill in one_order.appended("order.fills") if fill["kind"] != "parent"]
    assert kinds == ["execution", "correction"]


def test_an_execution_of_a_dead_order_is_booked_and_held(one_order):
    order = one_order.order(one_order.sent[0])
    for report in one_order.broker.cancel(order):
        one_order.report(report)
    one_order.report(one_order.broker.fill(order, 100.0))
    assert one_order.engine.s.book.position("AAPL") >= 100.0
    assert one_order.engine.s.holds["AAPL"] == Code.LATE_EXECUTION


def test_commissions_late_repeated_and_changed(one_order):
    execution = one_order.broker.fill(one_order.order(one_order.sent[0]), 500.0)
    one_order.report({"kind": "commission", "exec_id": "unknown", "values": {"commission": 1.0}, "labels": {}})
    one_order.report(execution)
    for amount in (1.0, 1.0, -0.5):
        one_order.report(
            {
                "kind": "commission",
                "exec_id": execution["exec_id"],
                "values": {"commission": amount},
                "labels": {"currency": "USD"},
            }
        )
    assert one_order.engine.s.book.fees == -0.5
    assert [f["commission"] for f in one_order.appended("order.fills") if f["kind"] == "commission"] == [1.0, -0.5]


def test_a_parent_closes_without_its_commission_after_a_while(one_order):
    one_order.report(one_order.broker.fill(one_order.order(one_order.sent[0]), 500.0))
    assert one_order.engine.s.parents
    one_order.tick(6.0)
    assert not one_order.engine.s.parents


def test_a_status_that_tells_fills_keeps_them_open_until_they_are_booked(one_order):
    order = one_order.order(one_order.sent[0])
    execution = one_order.broker.fill(order, 500.0)
    one_order.report(one_order.broker.status(order))
    book = one_order.engine.s.book
    assert book.orders[order.ref].state is State.FILLED
    assert book.open_side("AAPL", 1) == 500.0
    one_order.report(execution)
    assert book.open_side("AAPL", 1) == 0.0


def test_undecodable_messages_and_pauses_ask_for_a_snapshot(one_order):
    one_order.auto = False
    one_order.report({"kind": "undecodable", "text": "x", "labels": {}})
    assert one_order.engine.s.reconciling.pending
    one_order.report({"kind": "paused"})
    assert not one_order.engine.s.reconciling.passed
