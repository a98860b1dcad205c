"""From parents to children: volume, prices, the first order, limits in force, refusals and what comes too late."""

from __future__ import annotations

import math

import pytest

from order_plane.codes import Code
from order_plane.ledger.order_state import State
from order_plane.messages import Place
from tests.order_plane.desk import ACCOUNT, SYMBOLS, Desk, targets, universe
from triplane.domain.timestamps import SECOND


def test_children_follow_observed_volume():
    desk = Desk(settings=targets(MIN_CHILD_NOTIONAL=100.0)).open(volume=1_000.0)
    desk.intents(1, {"AAPL": 500.0})
    assert [p.fields["quantity"] for p in desk.sent] == [80.0]  # 8 % of 1,000
    desk.fill_all()
    assert len(desk.sent) == 1
    desk.pass_time(5, 1_000.0)
    assert [p.fields["quantity"] for p in desk.sent] == [80.0, 80.0]
    assert desk.sent[1].order_ref.endswith("/AAPL/2/0")


def test_small_children_wait_but_a_last_one_goes():
    desk = Desk(settings=targets(MIN_CHILD_NOTIONAL=20_000.0)).open(volume=1_000.0)
    desk.intents(1, {"AAPL": 500.0, "KO": 5.0})
    assert [p.fields["symbol"] for p in desk.sent] == ["KO"]  # all that remains, however small
    assert Code.VOLUME_WAIT in desk.codes()
    desk.pass_time(5, 1_000.0)
    assert desk.sent[-1].fields["symbol"] == "AAPL"
    assert desk.sent[-1].fields["quantity"] == 160.0


@pytest.mark.parametrize(
    ("limits", "code", "words"),
    [
        (
            {"ORDER_NOTIONAL_MAX": 20.0, "MIN_CHILD_NOTIONAL": 10.0},
            Code.ORDER_NOTIONAL,
            "ORDER_NOTIONAL_MAX allows 0.1",
        ),
        ({"ORDER_QTY_MAX": 2.0, "MIN_CHILD_NOTIONAL": 2_000.0}, Code.ORDER_QTY, "ORDER_QTY_MAX allows 2 of 500"),
        ({"MIN_CHILD_NOTIONAL": 90_000.0}, Code.VOLUME_WAIT, "Observed volume allows 80 of 500 units now"),
    ],
)
def test_what_keeps_a_child_too_small_is_named(limits, code, words):
    """Of the limits the tightest: where it is an order limit, no volume will help."""
    desk = Desk(settings=targets(**limits)).open(volume=1_000.0)
    desk.intents(1, {"AAPL": 500.0})
    assert desk.sent == []
    (told,) = [r for r in desk.appended("order.decisions") if r["code"] == code]
    assert words in told["detail"]


def test_parents_end_in_time_and_cancel_what_is_open():
    desk = Desk(settings=targets(REQUOTE_S=1000.0)).open()
    desk.intents(1, {"AAPL": 500.0})
    execution = desk.broker.fill(desk.order(desk.sent[0]), 200.0)
    desk.report(execution)
    desk.report(desk.broker.commission(execution))
    desk.pass_time(301)
    assert [c.order_ref for c in desk.cancelled] == [desk.sent[0].order_ref]
    (parent,) = [fill for fill in desk.appended("order.fills") if fill["kind"] == "parent"]
    assert (parent["quantity"], parent["target_quantity"]) == (200.0, 500.0)
    assert desk.engine.s.parents == {}


def test_a_child_that_rests_away_is_replaced_under_a_new_key():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.pass_time(31, mids={"AAPL": 161.0})
    assert [c.order_ref for c in desk.cancelled] == [f"{ACCOUNT}/1/AAPL/1/0"]
    assert [p.order_ref for p in desk.sent] == [f"{ACCOUNT}/1/AAPL/1/0", f"{ACCOUNT}/1/AAPL/2/0"]
    assert desk.sent[1].fields["limit_price"] == 161.09


def test_a_refused_child_ends_its_parent():
    desk = Desk(auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    desk.intents(1, {"AAPL": 500.0})
    place = desk.sent[0]
    desk.report({"kind": "error", "order_id": place.fields["order_id"], "client_id": 12, "code": 201, "text": "margin"})
    assert desk.state(place.order_ref) == State.REJECTED
    assert desk.engine.s.parents == {}
    desk.pass_time(5)
    assert len(desk.sent) == 1


def refused_as_too_late(desk: Desk, text: str, place: Place | None = None) -> Place:
    place = place or desk.sent[-1]
    order_id = place.fields["order_id"]
    desk.report({"kind": "error", "order_id": order_id, "client_id": 12, "code": 201, "text": text})
    return place


def unanswered() -> Desk:
    """A first order on its way to a broker that says nothing by itself; two refusals would trip the kill switch."""
    desk = Desk(settings=targets(REJECTS_KILL=2), auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    desk.intents(1, {"AAPL": 500.0})
    return desk


def test_an_order_whose_time_is_over_by_our_clock_has_expired_whatever_the_refusal_says():
    desk = unanswered()
    desk.pass_time((desk.sent[0].fields["good_till"] - desk.now) / SECOND)
    assert desk.state(refused_as_too_late(desk, "no").order_ref) == State.EXPIRED
    assert desk.engine.s.rates.rejects == []


def test_orders_that_come_past_their_good_till_time_are_no_storm_of_refusals():
    desk = unanswered()
    refs = []
    for _ in range(3):
        refs.append(refused_as_too_late(desk, "The good till date has passed").order_ref)
        desk.pass_time(1)
    assert len(set(refs)) == 3, "the parent goes on, each time under a new key"
    assert {desk.state(ref) for ref in refs} == {State.EXPIRED}
    assert [alert.code for alert in desk.alerts].count(Code.TOO_LATE) == 3
    assert desk.engine.s.kill.level == "none"
    assert len(desk.sent) == 3, "after the third the parent ends: every further try would be as late"
    assert not desk.engine.s.parents


def test_no_more_children_than_would_end_the_parent_wait_for_an_answer():
    """A plane that works off a standstill sees minutes of volume before the first answer; each of its children comes too late."""
    desk = Desk(settings=targets(REJECTS_KILL=2, MIN_CHILD_NOTIONAL=0.0)).open(volume=5_000.0)
    desk.intents(1, {"KO": 10.0})
    desk.fill_all()  # an order was acknowledged: the next ones need not travel alone
    desk.auto = False
    desk.intents(2, {"AAPL": 5000.0})
    for _ in range(12):
        desk.now += SECOND
        desk.bars(5_000.0)
        desk.quotes()
    waiting = [place for place in desk.sent if place.fields["symbol"] == "AAPL"]
    assert len(waiting) == 3
    assert Code.UNANSWERED in desk.codes()
    for place in waiting:
        refused_as_too_late(desk, "The good till date has passed", place)
    assert len([place for place in desk.sent if place.fields["symbol"] == "AAPL"]) == 3
    assert not desk.engine.s.parents


def test_what_somebody_else_cancels_is_not_sent_again_before_the_next_barrier():
    """A person in TWS cancels a child that works: its intent ends, loudly, and the next decision is free to want it again."""
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    place = desk.sent[0]
    for report in desk.broker.cancel(desk.broker.orders[place.fields["order_id"]]):
        desk.report(report)
    assert desk.state(place.order_ref) == State.CANCELLED
    told = [alert for alert in desk.alerts if alert.code == Code.FOREIGN_CANCEL]
    assert len(told) == 1
    assert place.order_ref in told[0].detail
    desk.pass_time(60)
    assert desk.sent == [place]
    assert not desk.engine.s.parents
    desk.intents(2, {"AAPL": 500.0})
    assert [again.fields["quantity"] for again in desk.sent[1:]] == [500.0]


@pytest.mark.parametrize("early", [0.0, 10.0], ids=["in time", "by a clock ahead of ours"])
def test_an_order_that_the_broker_ends_at_its_good_till_time_is_replaced(early):
    desk = Desk(settings=targets(CHILD_GOOD_TILL_S=60.0)).open()
    desk.intents(1, {"AAPL": 500.0})
    place = desk.sent[0]
    desk.pass_time((place.fields["good_till"] - desk.now) / SECOND - early)
    for report in desk.broker.cancel(desk.broker.orders[place.fields["order_id"]]):
        desk.report(report)
    assert desk.state(place.order_ref) == State.EXPIRED
    desk.pass_time(5)
    assert len(desk.sent) == 2
    assert Code.FOREIGN_CANCEL not in [alert.code for alert in desk.alerts]


def test_a_cancel_of_ours_is_nobody_elses():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.pass_time(300)
    assert desk.state(desk.sent[0].order_ref) == State.CANCELLED
    assert Code.FOREIGN_CANCEL not in [alert.code for alert in desk.alerts]


def test_a_good_till_date_that_is_refused_for_another_reason_is_a_refusal():
    desk = unanswered()
    assert desk.state(refused_as_too_late(desk, "Invalid good till date format").order_ref) == State.REJECTED


def test_a_modify_refused_past_the_good_till_time_leaves_the_order_to_the_broker():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    place = refused_as_too_late(desk, "The good till date has passed")
    assert desk.state(place.order_ref) == State.SUBMITTED, "the snapshot that was asked for found it alive"


def test_a_position_whose_row_is_gone_is_named_where_it_holds():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 100.0})
    desk.fill_all()
    desk.configure(assets=universe(tuple(symbol for symbol in SYMBOLS if symbol != "AAPL")))
    alert = desk.alerts[-1]
    assert (alert.code, alert.symbol) == (Code.NAV_UNKNOWN, "AAPL")
    assert alert.detail.endswith("nothing trades until the row is back")
    sent = len(desk.sent)
    desk.pass_time(5)
    assert not math.isfinite(desk.account()["nav"])
    assert desk.account()["unmarked"] == ["AAPL"]
    desk.intents(2, {"KO": 100.0})
    assert len(desk.sent) == sent
    refusals = [d["detail"] for d in desk.appended("order.decisions") if d["code"] == Code.NAV_UNKNOWN]
    assert refusals
    assert all("AAPL (which has no row in assets.csv) held without a fresh mark" in refusal for refusal in refusals)


def test_market_and_adaptive_children():
    desk = Desk(settings=targets(EXECUTION="market")).open()
    desk.intents(1, {"AAPL": 100.0})
    assert (desk.sent[0].fields["order_type"], desk.sent[0].fields["limit_price"], desk.sent[0].fields["tif"]) == (
        "MKT",
        0.0,
        "DAY",
    )
    desk = Desk(settings=targets(EXECUTION="adaptive", ADAPTIVE_PRIORITY="Patient")).open()
    desk.intents(1, {"AAPL": 100.0})
    fields = desk.sent[0].fields
    assert (fields["order_type"], fields["algo"], fields["labels"]["adaptive_priority"]) == (
        "LMT",
        "Adaptive",
        "Patient",
    )


def test_first_order_of_a_connection_travels_alone():
    desk = Desk(auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    desk.intents(1, {"AAPL": 100.0, "BAC": 100.0, "GE": 100.0})
    assert len(desk.sent) == 1
    desk.report(desk.broker.opened(desk.broker.place(desk.sent[0].fields)))
    assert len(desk.sent) == 3


def test_message_budget_leaves_room_for_cancels():
    desk = Desk(settings=targets(MESSAGES_PER_S=4.0, CANCEL_RESERVE=2, MIN_CHILD_NOTIONAL=0.0)).open()
    desk.intents(1, {"AAPL": 100.0, "BAC": 100.0, "GE": 100.0, "JPM": 100.0})
    assert len(desk.sent) == 2
    assert Code.MESSAGE_RATE in desk.codes()
    desk.kill()
    assert len(desk.cancelled) == 2
    desk = Desk(settings=targets(MESSAGES_PER_S=4.0, CANCEL_RESERVE=2, MIN_CHILD_NOTIONAL=0.0)).open()
    desk.intents(1, {"AAPL": 100.0, "BAC": 100.0, "GE": 100.0, "JPM": 100.0})
    for _ in range(20):
        desk.tick(0.25)
    assert len(desk.sent) == 4


def test_shadow_mode_checks_everything_and_sends_nothing():
    desk = Desk(mode="shadow").open()
    desk.intents(1, {"AAPL": 500.0, "TSLA": 5.0})
    assert desk.sent == []
    assert desk.codes() == [Code.OK, Code.UNKNOWN_SYMBOL, Code.SHADOW]
    desk.pass_time(5)
    assert desk.codes()[3:] == []
    assert not desk.account()["simulated"]


def test_a_tightened_limit_is_taken_on_arrival():
    desk = Desk(settings=targets(MIN_CHILD_NOTIONAL=100.0)).open(volume=1_000.0)
    desk.intents(1, {"AAPL": 5_000.0})
    desk.configure(targets(MIN_CHILD_NOTIONAL=100.0, BOX_HARD=0.02))
    assert desk.events("config_taken")[-1]["config_hash"] == desk.engine.config_hash
    for _ in range(12):
        desk.fill_all()
        desk.pass_time(5, 10_000.0)
    assert sum(p.fields["quantity"] for p in desk.sent) * 160 <= 0.02 * 1e6
    assert Code.BOX in desk.codes()


def test_a_configuration_that_does_not_fit_its_hash_is_not_taken():
    desk = Desk().open()
    before = desk.engine.config_hash
    desk.record("control.config", desk.records["control.config"][0] | {"hash": "0" * 64, "seq": 2})
    assert desk.engine.config_hash == before
    assert desk.alerts[-1].code == Code.NO_CONFIG
