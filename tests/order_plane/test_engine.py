"""The engine from intent to closed parent: decisions, write-ahead, throttle, states, fills, account."""

from __future__ import annotations

import math
from datetime import date, time

import pytest

from order_plane.codes import Code
from order_plane.ledger.order_state import State
from order_plane.messages import Alert, Append, CancelOrder, ClockTick, Place, Start
from tests.order_plane.desk import ACCOUNT, SYMBOLS, Desk, asset, plain_text, targets, universe
from triplane.domain.assets import Universe
from triplane.domain.timestamps import SECOND, at


def test_an_intent_becomes_orders_fills_and_a_learned_cost():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0, "BAC": -300.0})
    assert [p.order_ref for p in desk.sent] == [f"{ACCOUNT}/1/AAPL/1/0", f"{ACCOUNT}/1/BAC/1/0"]
    first = desk.sent[0].fields
    assert (first["action"], first["quantity"], first["order_type"], first["tif"]) == ("BUY", 500.0, "LMT", "GTD")
    assert first["limit_price"] == 160.09  # 5 bp through the ask of 160.01, on the grid, not beyond
    assert first["account"] == ACCOUNT
    assert (first["config_hash"], first["intent_config_hash"]) == (desk.engine.config_hash, "strategy")
    desk.fill_all(commission=1.5)
    parents = [fill for fill in desk.appended("order.fills") if fill["kind"] == "parent"]
    assert {(p["symbol"], p["side"], p["quantity"], p["commission"]) for p in parents} == {
        ("AAPL", 1, 500.0, 1.5),
        ("BAC", -1, 300.0, 1.5),
    }
    assert parents[0]["arrival_mid"] == 160.0
    assert desk.appended("order.costs")[-1]["parents"] == [2]
    desk.pass_time(5)
    state = desk.account()
    assert dict(zip(state["symbols"], state["position"], strict=True)) == {"AAPL": 500.0, "BAC": -300.0}
    assert state["nav"] == pytest.approx(1_000_000 - 500 * 0.09 - 300 * 0.02 - 3.0, abs=0.02)
    assert state["simulated"]
    assert state["reconciled"]


def test_inputs_are_appended_before_what_they_cause_and_orders_come_last():
    desk = Desk().open()
    effects = desk.engine.handle(desk.keep_back(lambda: desk.intents(99, {"AAPL": 500.0})))
    kinds = [e.record["kind"] for e in effects if isinstance(e, Append) and e.topic == "order.events"]
    assert kinds[0] == "took"
    assert kinds.index("parent_opened") < kinds.index("intents_decided") < kinds.index("placing")
    place = next(i for i, e in enumerate(effects) if isinstance(e, Place))
    assert not any(
        isinstance(e, Append) and e.topic == "order.events" and e.record["kind"] == "placing" for e in effects[place:]
    )


def test_event_ids_are_unique_and_times_never_go_back():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.fill_all()
    ids = [event["event_id"] for event in desk.events()]
    assert len(set(ids)) == len(ids)
    times = [event["available_time"] for event in desk.events()]
    assert times == sorted(times)
    decisions = [record["decision_id"] for record in desk.appended("order.decisions")]
    assert len(set(decisions)) == len(decisions)


# -- intents -------------------------------------------------------------------------------------------------------------------
def test_the_same_intents_again_do_nothing():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    before = len(desk.sent), len(desk.codes())
    desk.record("strategy.intents", desk.records["strategy.intents"][0])
    assert (len(desk.sent), len(desk.codes())) == before


def test_other_bytes_under_one_identity_hold_the_account():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.record("strategy.intents", desk.records["strategy.intents"][0] | {"target_qty": [900.0]})
    assert desk.engine.s.holds == {"*": "NONDETERMINISM"}
    assert any(alert.code == Code.NONDETERMINISM for alert in desk.alerts)
    desk.intents(2, {"BAC": 100.0})
    assert desk.codes()[-1] == Code.ACCOUNT_HELD
    desk.record(
        "control.commands",
        {"command_id": "1", "command": "order.release", "arguments": {"symbol": "*"}, "actor": "a", "reason": "seen"},
    )
    desk.intents(3, {"BAC": 100.0})
    assert desk.codes()[-1] == Code.OK


def test_newer_supersedes_older_and_late_older_is_dropped():
    desk = Desk().open()
    desk.intents(5, {"AAPL": 500.0})
    assert len(desk.sent) == 1
    desk.intents(7, {"AAPL": -200.0})
    assert [c.order_ref for c in desk.cancelled] == [f"{ACCOUNT}/5/AAPL/1/0"]
    # The old order is confirmed cancelled before the new side is sent
    assert desk.sent[-1].fields["action"] == "SELL"
    assert desk.sent[-1].fields["quantity"] == 200.0
    desk.intents(6, {"AAPL": 900.0})
    assert desk.codes()[-1] == Code.SUPERSEDED
    assert desk.alerts[-1].code == Code.SUPERSEDED
    assert len(desk.sent) == 2


def test_a_fill_that_crosses_the_superseding_is_counted():
    desk = Desk(auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    desk.intents(1, {"AAPL": 500.0})
    order = desk.broker.place(desk.sent[0].fields)
    desk.report(desk.broker.opened(order))
    desk.intents(2, {"AAPL": 300.0})
    assert len(desk.sent) == 1  # 500 may still fill: nothing is sent against it
    desk.report(desk.broker.fill(order, 500.0))
    desk.report(desk.broker.status(order))
    assert desk.sent[-1].fields["action"] == "SELL"
    assert desk.sent[-1].fields["quantity"] == 200.0


def test_what_a_superseded_order_leaves_unfilled_is_sent_by_its_successor():
    desk = Desk(auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    desk.intents(1, {"AAPL": 300.0})
    older = desk.broker.place(desk.sent[0].fields)
    desk.report(desk.broker.opened(older))
    desk.intents(2, {"AAPL": 500.0})
    newer = desk.broker.place(desk.sent[1].fields)
    assert desk.sent[1].fields["quantity"] == 200.0  # the other 300 may still fill
    desk.report(desk.broker.opened(newer))
    desk.report(desk.broker.fill(newer, 200.0))
    desk.report(desk.broker.status(newer))
    assert (
        desk.events("parent_closing")[-1]["intent_id"].split("/")[1] == "1"
    )  # the second waits for the first one's order
    for report in desk.broker.cancel(older):
        desk.report(report)
    assert desk.sent[2].fields["quantity"] == 300.0
    assert desk.sent[2].fields["seq"] == 2


@pytest.mark.parametrize(
    "absurd",
    [{"target": 1e308}, {"target": -math.inf}, {"adv": 1e308}, {"sigma_daily": 1e308}, {"reference_price": 1e308}],
)
def test_absurd_numbers_are_decided_and_end_nothing(absurd):
    desk = Desk().open()
    lists = {name: [value] for name, value in absurd.items() if name != "target"}
    desk.intents(1, {"AAPL": absurd.get("target", 500.0)}, **lists)
    assert desk.codes() == [Code.NOT_A_NUMBER]
    desk.intents(2, {"AAPL": 500.0})
    assert desk.codes()[-1] == Code.OK


def test_expired_held_and_hold_slices_are_decided():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0}, valid_until=desk.now - 1)
    assert desk.codes() == [Code.EXPIRED]
    assert [alert.code for alert in desk.alerts] == [Code.EXPIRED]
    desk.intents(2, {}, held=["GE", "KO"], held_codes=["WARMING", "DATA_STALE"])
    assert desk.codes()[1:] == ["WARMING", "DATA_STALE"]
    desk.intents(3, {}, outcome="HOLD_INFEASIBLE")
    assert desk.codes()[3:] == ["HOLD_INFEASIBLE"]
    assert desk.sent == []


@pytest.mark.parametrize(
    ("code", "changes", "wanted", "fields"),
    [
        (Code.UNKNOWN_SYMBOL, {}, {"TSLA": 100.0}, {}),
        (Code.CLASS_NOT_TRADED, {}, {"SPY": 100.0}, {}),
        (Code.CONTRACT_MISMATCH, {}, {"AAPL": 100.0}, {"con_ids": [77]}),
        (Code.NOT_A_NUMBER, {}, {"AAPL": math.nan}, {}),
        (Code.NOT_A_NUMBER, {}, {"AAPL": 100.0}, {"adv": [0.0]}),
        (Code.AT_TARGET, {}, {"AAPL": 0.0}, {}),
        (Code.BELOW_MIN_ORDER, {}, {"AAPL": 0.4}, {}),
        (Code.NO_SHORT, {"AAPL": {"shortable": False}}, {"AAPL": -100.0}, {}),
    ],
)
def test_intents_that_are_refused(code, changes, wanted, fields):
    etf = asset("SPY", asset_class="ETF", cost_profile="ETF", sector="")
    desk = Desk(assets=Universe([*universe(**changes).assets, etf])).open()
    desk.intents(1, wanted, **fields)
    assert desk.codes() == [code]
    assert desk.sent == []


def test_intents_wait_for_the_first_configuration():
    desk = Desk()
    desk.start()
    desk.connect()
    desk.bars()
    desk.quotes()
    desk.intents(1, {"AAPL": 100.0})
    assert desk.codes() == []
    desk.configure()
    assert desk.codes()[0] == Code.OK
    assert len(desk.sent) == 1


def test_other_accounts_and_idle_bars_are_not_recorded():
    desk = Desk().open()
    before = len(desk.events())
    desk.intents(1, {"AAPL": 100.0}, account="DU999")
    desk.bars(interval="1m")
    desk.bars(interval="1d", history=True)
    desk.record("control.commands", {"command_id": "1", "command": "quarantine.drop", "actor": "a", "reason": "b"})
    desk.report({"kind": "position", "account": ACCOUNT, "symbol": "AAPL"})
    desk.report({"kind": "execution", "account": "DU999", "exec_id": "x"})
    assert len(desk.events()) == before


# -- throttle and execution ----------------------------------------------------------------------------------------------------
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


def refused_as_too_late(desk: Desk, text: str) -> Place:
    place = desk.sent[-1]
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
    desk.pass_time(7 * 86_400)
    desk.intents(2, {"KO": 100.0})
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


# -- time and the engine itself ------------------------------------------------------------------------------------------------
def test_a_tick_that_causes_nothing_is_not_recorded():
    desk = Desk().open()
    desk.tick()
    before = desk.engine.state(), len(desk.events())
    effects = desk.engine.handle(ClockTick(desk.wall + SECOND // 10))
    assert effects == []
    assert (desk.engine.state(), len(desk.events())) == before


def test_a_tick_without_consequence_leaves_no_trace_while_something_is_wished():
    """Fills are told but not shown and no link is there to ask: wishes must not hang on ticks that no log has."""
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    order = desk.order(desk.sent[0])
    order.status, order.filled = "Filled", 500.0
    desk.report(desk.broker.status(order))
    desk.auto = False
    desk.tick(61.0)  # a snapshot is asked for and not answered yet
    assert desk.engine.s.reconciling.pending
    desk.tick(0.2)
    before = plain_text(desk.engine.state())
    assert desk.engine.handle(ClockTick(desk.wall + SECOND)) == []
    assert plain_text(desk.engine.state()) == before
    desk.report({"kind": "disconnected", "account": ACCOUNT, "client_id": 12, "text": ""})
    desk.tick(1.0)
    before = plain_text(desk.engine.state())
    assert desk.engine.handle(ClockTick(desk.wall + 100 * SECOND)) == []
    assert plain_text(desk.engine.state()) == before


def test_no_orders_in_the_close_buffer_or_out_of_session():
    desk = Desk().open()
    desk.pass_time(26 * 60)  # 15:56
    desk.intents(1, {"AAPL": 100.0})
    assert desk.codes()[-1] == Code.CLOSE_BUFFER
    desk.pass_time(10 * 60)
    desk.intents(2, {"AAPL": 100.0})
    assert desk.codes()[-1] == Code.SESSION_CLOSED
    assert desk.sent == []


def test_half_days_end_early():
    desk = Desk()
    desk.now = at(date(2018, 7, 3), time(12, 58))  # closes at 13:00
    desk.open()
    desk.intents(1, {"AAPL": 100.0})
    assert desk.codes()[-1] == Code.CLOSE_BUFFER


def test_closing_prices_mark_the_account():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.fill_all()
    desk.tick()
    desk.bars(interval="1d", closes={"AAPL": 150.0})
    assert desk.engine.s.account.nav == pytest.approx(1_000_000 - 500 * 10.09 - 1.0)
    assert desk.engine.s.market.quotes["AAPL"].mid == 160.0  # a close is no quote


def test_an_epoch_must_rise_and_nothing_happens_before_start():
    desk = Desk().open()
    with pytest.raises(ValueError, match="start with a higher one"):
        desk.engine.handle(Start(1, 12))
    with pytest.raises(RuntimeError, match="not started"):
        Desk().engine.handle(ClockTick(SECOND))


def test_busy_while_something_waits():
    desk = Desk().open()
    desk.tick()
    assert not desk.engine.busy
    desk.intents(1, {"AAPL": 100.0})
    assert desk.engine.busy


def test_resolving_by_hand():
    desk = Desk(auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    desk.intents(1, {"AAPL": 500.0, "BAC": 100.0})
    ref = desk.sent[0].order_ref

    def resolve(**arguments):
        desk.record(
            "control.commands",
            {
                "command_id": str(len(desk.log)),
                "command": "order.resolve",
                "arguments": arguments,
                "actor": "a",
                "reason": "b",
            },
        )

    for bad in ({"order_ref": "nothing"}, {"order_ref": ref, "outcome": "vanished"}, {"order_ref": ref, "quantity": "x"},
                {"order_ref": ref, "outcome": "filled", "quantity": "100"}, {"order_ref": ref, "outcome": "filled", "quantity": "501", "price": "1"}):  # fmt: skip
        resolve(**bad)
        assert desk.alerts[-1].code == Code.BAD_COMMAND
    resolve(order_ref=ref, outcome="filled", quantity="300", price="160")
    assert desk.engine.s.book.position("AAPL") == 300.0
    assert desk.state(ref) == State.FILLED
    assert next(f["kind"] for f in desk.appended("order.fills")) == "inferred"
    desk.record(
        "control.commands",
        {"command_id": "z", "command": "order.release", "arguments": {"symbol": "GE"}, "actor": "a", "reason": "b"},
    )
    assert desk.alerts[-1].code == Code.BAD_COMMAND
    resolve(order_ref=desk.sent[1].order_ref, outcome="cancelled")
    assert desk.state(desk.sent[1].order_ref) == State.CANCELLED
    resolve(order_ref=desk.sent[1].order_ref)
    assert desk.alerts[-1].code == Code.BAD_COMMAND


def test_cancels_come_before_orders_and_alerts_last():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    effects = desk.intents(2, {"AAPL": 600.0, "BAC": 10.0})
    first = [type(e) for e in effects if isinstance(e, CancelOrder | Place | Alert)]
    assert first[0] is CancelOrder


def test_a_run_under_a_wrong_clock_does_not_stop_the_ages_of_the_next():
    desk = Desk().open()
    right = desk.wall
    desk.wall = right + 86_400 * SECOND
    desk.tick()
    desk.wall = right + 2 * SECOND
    desk.start()
    assert desk.engine.s.wall == desk.wall
    desk.connect()
    desk.quotes()
    desk.pass_time(5)
    for _ in range(8):
        desk.tick(60.0)  # wall time alone: the quotes grow old
    desk.intents(2, {"BAC": 2000.0})
    assert Code.QUOTE_STALE in desk.codes()
    assert not desk.broker.orders
