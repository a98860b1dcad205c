"""Reconciliation, scenario by scenario: what the broker shows -> what we do (laws L5, L11)."""

from __future__ import annotations

import math

import pytest

from order_plane.codes import Code
from order_plane.ledger.order_state import State
from order_plane.messages import RequestSnapshot
from tests.order_plane.desk import ACCOUNT, Broker, Desk, asset, targets, universe
from triplane.broker.client_library import Contract
from triplane.broker.reports import name_of
from triplane.domain.assets import Universe
from triplane.domain.names import join


def quiet_desk(**kwargs):
    """Ready to trade, but snapshots are answered by hand."""
    desk = Desk(**kwargs).open()
    desk.auto = False
    return desk


def compare(desk, times=2, complete=True):
    """Let the engine ask, and answer."""
    for _ in range(times):
        desk.tick(61.0)
        assert desk.engine.s.reconciling.pending
        for report in desk.broker.snapshot(complete):
            desk.report(report)


def test_no_order_before_the_first_pass():
    desk = Desk(auto=False)
    desk.start()
    desk.configure()
    desk.bars()
    desk.quotes()
    desk.intents(1, {"AAPL": 100.0})
    desk.connect()
    desk.quotes()
    assert desk.sent == []
    for report in desk.broker.snapshot(complete=False):
        desk.report(report)
    assert desk.sent == []
    assert desk.alerts[-1].code == Code.SNAPSHOT_INCOMPLETE
    desk.tick(4.0)
    for report in desk.broker.snapshot():
        desk.report(report)
    assert len(desk.sent) == 1


def test_an_incomplete_snapshot_is_never_flat():
    desk = quiet_desk()
    desk.auto = True
    desk.intents(1, {"AAPL": 500.0})
    desk.fill_all()
    desk.auto = False
    desk.tick(61.0)
    empty = Broker().snapshot(complete=False)[-1]
    desk.report(empty)
    assert desk.engine.s.book.position("AAPL") == 500.0
    assert desk.events("difference") == []


def test_a_fill_lost_with_the_link_is_booked_once():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.report({"kind": "disconnected", "account": ACCOUNT, "client_id": 12, "text": ""})
    execution = desk.broker.fill(desk.order(desk.sent[0]), 500.0)  # nobody told us
    desk.connect()
    assert desk.engine.s.book.position("AAPL") == 500.0
    desk.report(execution)  # and then it comes late
    assert desk.engine.s.book.position("AAPL") == 500.0
    assert [e["reason"] for e in desk.events("explained")] == [Code.EXECUTION_MISSED]
    assert desk.state(desk.sent[0].order_ref) == State.FILLED


def vanished():
    """An order that the broker does not know any more, after the snapshot that first lacked it."""
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.auto = False
    del desk.broker.orders[desk.sent[0].fields["order_id"]]
    order = desk.engine.s.book.orders[desk.sent[0].order_ref]
    compare(desk, 1)
    assert desk.state(order.ref) == State.UNKNOWN
    return desk, order


def test_an_order_that_vanished_is_unknown_then_abandoned():
    desk, order = vanished()
    desk.tick(1.0)
    assert not desk.engine.s.reconciling.pending  # not before ABSENT_AFTER_S
    desk.tick(3.0)
    for report in desk.broker.snapshot():
        desk.report(report)
    assert desk.state(order.ref) == State.ABANDONED


def test_one_absence_and_one_sight_is_no_proof():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.auto = False
    kept = desk.broker.orders.pop(desk.sent[0].fields["order_id"])
    compare(desk, 1)
    desk.broker.orders[kept.order_id] = kept
    desk.tick(4.0)
    for report in desk.broker.snapshot():
        desk.report(report)
    del desk.broker.orders[kept.order_id]
    order = desk.engine.s.book.orders[kept.ref]
    assert desk.state(order.ref) == State.SUBMITTED
    compare(desk, 1)
    assert desk.state(order.ref) == State.UNKNOWN


def test_completed_orders_are_evidence():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.auto = False
    desk.broker.cancel(desk.order(desk.sent[0]))
    compare(desk, 1)
    assert desk.state(desk.sent[0].order_ref) == State.CANCELLED


def test_an_unexplained_position_is_taken_over_held_and_told():
    desk = quiet_desk()
    desk.broker.positions["AAPL"] = 70.0
    compare(desk, 1)
    assert desk.engine.s.reconciling.suspects == {"AAPL": 70.0}
    assert desk.engine.s.book.position("AAPL") == 0.0
    compare(desk, 1)
    assert desk.engine.s.book.position("AAPL") == 70.0
    assert desk.engine.s.holds["AAPL"] == Code.UNEXPLAINED
    (event,) = desk.events("difference")
    assert (event["reason"], event["values"]["ours"], event["values"]["theirs"]) == (Code.UNEXPLAINED, 0.0, 70.0)
    assert any(alert.code == Code.UNEXPLAINED for alert in desk.alerts)
    compare(desk, 1)
    assert len(desk.events("difference")) == 1


def test_a_suspected_name_waits_and_the_others_trade():
    desk = quiet_desk()
    desk.broker.positions["AAPL"] = 70.0
    compare(desk, 1)
    desk.auto = True
    desk.broker.positions["AAPL"] = 0.0
    desk.bars()
    desk.quotes()
    desk.intents(1, {"AAPL": 100.0, "BAC": 100.0})
    assert {p.fields["symbol"] for p in desk.sent} == {"BAC"}
    assert Code.UNRECONCILED in desk.codes()
    desk.tick(61.0)
    desk.pass_time(1)
    assert {p.fields["symbol"] for p in desk.sent} == {"AAPL", "BAC"}


@pytest.mark.parametrize(
    ("policy", "position", "excluded", "holds"),
    [
        ("exclude", 0.0, {"KO": 40.0}, {}),
        ("adopt", 40.0, {}, {}),
        ("halt", 0.0, {"KO": 40.0}, {"*": Code.FOREIGN_HALT}),
    ],
)
def test_the_baseline_of_the_first_start(policy, position, excluded, holds):
    broker = Broker(positions={"KO": 40.0})
    desk = Desk(settings=targets(FOREIGN_POSITIONS=policy), broker=broker).open()
    book = desk.engine.s.book
    assert (book.position("KO"), book.excluded, desk.engine.s.holds) == (position, excluded, holds)
    (event,) = desk.events("baseline")
    assert (event["symbols"], event["quantities"], event["reason"]) == (["KO"], [40.0], policy)
    desk.intents(1, {"KO": 0.0, "AAPL": 10.0})
    codes = {r["symbol"]: r["code"] for r in desk.appended("order.decisions")}
    assert codes["KO"] == {"exclude": Code.FOREIGN_POSITION, "adopt": Code.OK, "halt": Code.ACCOUNT_HELD}[policy]
    nav = 1_000_000.0 + position * 46.0
    desk.tick(1.0)
    if policy != "halt":
        assert desk.account()["nav"] == pytest.approx(nav)


@pytest.mark.parametrize(
    ("policy", "ours", "outcome"),
    [
        ("exclude", 0.0, {"position": 0.0, "excluded": 30.0, "held": None}),
        ("exclude", 500.0, {"position": 530.0, "excluded": 0.0, "held": Code.FOREIGN_EXECUTION}),
        ("adopt", 500.0, {"position": 530.0, "excluded": 0.0, "held": None}),
        ("halt", 500.0, {"position": 530.0, "excluded": 0.0, "held": "account"}),
    ],
)
def test_somebody_else_trades_in_the_account(policy, ours, outcome):
    desk = Desk(settings=targets(FOREIGN_POSITIONS=policy)).open()
    if ours:
        desk.intents(1, {"AAPL": ours})
        desk.fill_all()
    desk.report(desk.broker.execute("AAPL", 1, 30.0, 160.0))
    assert desk.engine.s.book.position("AAPL") == ours
    desk.tick(61.0)
    s = desk.engine.s
    assert s.book.position("AAPL") == outcome["position"]
    assert s.book.excluded.get("AAPL", 0.0) == outcome["excluded"]
    assert s.holds.get("AAPL") == (outcome["held"] if outcome["held"] != "account" else None)
    assert ("*" in s.holds) == (outcome["held"] == "account")
    assert [e["reason"] for e in desk.events("difference")] == [Code.FOREIGN_EXECUTION]


@pytest.mark.parametrize(("left", "code"), [(0.0, Code.OK), (15.0, Code.FOREIGN_POSITION)])
def test_whoever_opened_a_position_closes_it_while_nobody_looks(left, code):
    """No execution tells of it (the broker shows today's only), and the name is free again once nothing of theirs is left."""
    desk = Desk(settings=targets(FOREIGN_POSITIONS="exclude"), broker=Broker(positions={"KO": 40.0})).open()
    desk.auto = False
    desk.broker.positions["KO"] = left
    compare(desk)
    s = desk.engine.s
    assert s.book.position("KO") == 0.0
    assert s.book.excluded == ({"KO": left} if left else {})
    assert s.holds == {}
    assert desk.alerts[-1].code == Code.FOREIGN_EXECUTION
    assert f"The broker has {left:g} KO, known were 40, 40 of them not opened by Triplane" in desk.alerts[-1].detail
    desk.quotes()
    desk.intents(1, {"KO": 100.0})
    assert {r["symbol"]: r["code"] for r in desk.appended("order.decisions")}["KO"] == code


def test_what_nothing_explains_in_a_name_of_ours_is_held():
    desk = quiet_desk()
    desk.broker.positions["AAPL"] = 30.0
    compare(desk)
    assert desk.engine.s.holds == {"AAPL": Code.UNEXPLAINED}
    assert desk.engine.s.book.position("AAPL") == 30.0
    assert "The broker has 30 AAPL, known were 0: Nothing explains" in desk.alerts[-1].detail


def test_a_manual_trade_in_a_name_that_is_not_compared_explains_the_next_snapshot():
    """The broker tells an execution anew each time, but it counts once: forgotten here, the position would be UNEXPLAINED."""
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.fill_all()
    desk.auto = False
    desk.broker.execute("AAPL", 1, 30.0, 160.0)  # by hand: only a snapshot tells it
    desk.tick(61.0)
    for report in desk.broker.snapshot(touched="AAPL"):
        desk.report(report)
    assert desk.events("difference") == []
    compare(desk, 1)
    assert [e["reason"] for e in desk.events("difference")] == [Code.FOREIGN_EXECUTION]
    assert desk.engine.s.book.position("AAPL") == 530.0
    assert desk.engine.s.book.foreign_traded == {}


def test_a_split_explains_a_position():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.fill_all()
    desk.record("data.actions", {"action_id": "1", "symbol": "AAPL", "kind": "split", "ratio": 4.0})
    desk.broker.positions["AAPL"] = 2000.0
    desk.tick(61.0)
    held = desk.engine.s.book.positions["AAPL"]
    assert held.quantity == 2000.0
    assert held.avg_cost == pytest.approx(160.09 / 4)
    assert [e["reason"] for e in desk.events("difference")] == [Code.CORPORATE_ACTION]
    assert desk.engine.s.holds == {}


def test_names_that_trade_meanwhile_are_not_compared():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.auto = False
    desk.tick(61.0)
    assert desk.engine.s.reconciling.pending
    before = desk.broker.snapshot()
    execution = desk.broker.fill(desk.order(desk.sent[0]), 200.0)
    desk.report(execution)
    for report in before:  # positions from before the fill
        desk.report(report)
    assert desk.events("difference") == []
    assert desk.engine.s.reconciling.suspects == {}
    compare(desk, 1)
    assert desk.engine.s.reconciling.suspects == {}


def test_cash_counts_only_when_two_quiet_snapshots_agree():
    desk = quiet_desk()
    desk.broker.cash += 5_000.0  # a deposit
    compare(desk, 1)
    assert desk.engine.s.book.cash == 1_000_000.0
    compare(desk, 1)
    assert desk.engine.s.book.cash == 1_005_000.0
    desk.quotes()
    desk.tick(1.0)
    state = desk.account()
    assert state["day_pnl"] == pytest.approx(0.0)  # a flow is no profit
    assert state["high_water_mark"] == pytest.approx(1_005_000.0)
    assert state["drawdown"] == pytest.approx(0.0)
    values = desk.broker.snapshot()[-1]
    values["values"].pop("TotalCashValue")
    desk.tick(61.0)
    desk.report(values)
    assert desk.engine.s.book.cash == 1_005_000.0


def test_funds_are_the_brokers_less_what_was_sent_since():
    desk = Desk(settings=targets(REQUOTE_S=1000.0), broker=Broker(funds=50_000.0)).open()
    desk.intents(1, {"AAPL": 500.0})
    book = desk.engine.s.book
    assert book.reserving == [desk.sent[0].order_ref]
    desk.intents(2, {"AAPL": 500.0, "BAC": 1000.0})
    assert Code.BUYING_POWER in desk.codes()


def test_an_unanswered_request_is_asked_again():
    desk = quiet_desk()
    desk.tick(61.0)
    asked = sum(isinstance(e, RequestSnapshot) for e in desk.effects)
    desk.tick(10.0)
    assert sum(isinstance(e, RequestSnapshot) for e in desk.effects) == asked
    desk.tick(6.0)
    assert sum(isinstance(e, RequestSnapshot) for e in desk.effects) == asked + 1


def test_link_lost_and_restored_without_the_socket():
    desk = quiet_desk()
    desk.report({"kind": "error", "order_id": 0, "client_id": 12, "code": 1100, "text": "lost"})
    assert not desk.engine.s.link.up
    desk.bars()
    desk.quotes()
    desk.intents(1, {"AAPL": 100.0})
    assert desk.codes()[-1] == Code.DISCONNECTED
    desk.report({"kind": "error", "order_id": 0, "client_id": 12, "code": 1102, "text": "back"})
    assert desk.sent == []
    for report in desk.broker.snapshot():
        desk.report(report)
    assert len(desk.sent) == 1


def test_a_foreign_order_that_is_gone_is_forgotten():
    desk = quiet_desk()
    desk.report(
        {"kind": "open_order", "account": ACCOUNT, "order_id": 0, "client_id": 0, "perm_id": 5, "order_ref": "", "symbol": "AAPL",
         "con_id": 0, "action": "SELL", "quantity": 50.0, "limit_price": 1.0, "status": "Submitted", "labels": {}}
    )  # fmt: skip
    assert desk.engine.s.book.open_side("AAPL", -1) == 50.0
    compare(desk, 1)
    assert desk.engine.s.book.open_side("AAPL", -1) == 0.0


def test_a_busted_trade_is_corrected_to_nothing():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 100.0})
    (order,) = desk.broker.orders.values()
    desk.report(desk.broker.fill(order, 100.0))
    assert desk.engine.s.book.position("AAPL") == 100.0
    desk.report(desk.broker.correct(0, 0.0, 160.0))
    book = desk.engine.s.book
    assert (book.position("AAPL"), book.cash) == (0.0, desk.broker.cash)
    desk.report(desk.broker.execute("AAPL", 1, 0.0, 160.0, order=order))
    assert book.position("AAPL") == 0.0


def test_an_execution_of_ours_that_our_log_does_not_know():
    desk = quiet_desk()
    report = desk.broker.execute("AAPL", 1, 10.0, 160.0) | {"order_ref": f"{ACCOUNT}/9/AAPL/1/0"}
    desk.report(report)
    assert desk.engine.s.book.position("AAPL") == 10.0
    assert desk.engine.s.holds["AAPL"] == Code.UNKNOWN_ORDER


def test_the_brokers_spelling_of_a_name():
    brk = asset("BRK.B", con_id=0)
    desk = Desk(assets=Universe([brk, asset("AAPL")]))
    desk.broker.positions["BRK B"] = 3.0
    desk.open()
    assert desk.engine.s.book.excluded == {"BRK.B": 3.0}


def test_an_id_of_another_instrument_in_assets_csv_books_nothing_under_this_name():
    """Two ids swapped, one that nobody has: the broker's own names stay what they are, with their positions."""
    desk = Desk().open()
    desk.intents(1, {"AAPL": 20.0, "BAC": 30.0, "KO": 5.0})
    desk.fill_all()
    desk.auto = False
    compare(desk)
    desk.configure(assets=universe(AAPL={"con_id": 2}, BAC={"con_id": desk.broker.con_ids["AAPL"]}, KO={"con_id": 99}))
    compare(desk, 3)
    assert desk.engine.s.reconciling.passed
    assert desk.events("difference") == []
    assert [desk.engine.s.book.position(name) for name in ("AAPL", "BAC", "KO")] == [20.0, 30.0, 5.0]


def test_an_option_is_not_the_share_that_it_is_on():
    """Both bear the underlying's symbol at IB; a future that has a row is known by its id."""
    share, option = (
        Contract(secType="STK", symbol="KO"),
        Contract(secType="OPT", symbol="KO", localSymbol="KO 180216C1"),
    )
    assert (name_of(share), name_of(option)) == ("KO", "KO 180216C1")
    assert name_of(Contract(secType="FUT", symbol="MES")) == "MES FUT"
    engine = (
        Desk(
            assets=Universe(
                [
                    asset("KO"),
                    asset(
                        "MES", con_id=7, asset_class="Future", sec_type="FUT", cost_profile="Futures", expiry="201803"
                    ),
                ]
            )
        )
        .open()
        .engine
    )
    assert (
        name_of(Contract(secType="STK", symbol="KO", currency="CAD")) == "KO CAD"
    )  # a listing elsewhere is another share
    names = [("KO CAD", 6), ("KO", 5), ("KO 180216C1", 9), ("MESH8", 7), ("MESM8", 8), ("MNQH8", 7)]
    assert [engine.folded.symbol_of(*each) for each in names] == [
        "KO CAD",
        "KO",
        "KO 180216C1",
        "MES",
        "MESM8",
        "MNQH8",
    ]


@pytest.mark.parametrize("name", ["GE", "KOFUT", "BRK B", "AAPL  180615C00150000"])
@pytest.mark.parametrize("told", [True, False])
def test_what_somebody_trades_while_a_snapshot_is_taken_stays_theirs(name, told):
    """`told`: its positions have the trade already. The name is in no other list yet, and may hold spaces."""
    desk = quiet_desk()
    compare(desk)
    desk.tick(61.0)
    *before, snapshot = desk.broker.snapshot()
    desk.report(desk.broker.execute(name, 1, 5.0, 15.0))
    touched = {"labels": snapshot["labels"] | {"touched": join([name])}}
    if told:
        more = {"symbols": [name], "con_ids": [0], "quantities": [5.0], "prices": [15.0]}
        touched |= {key: snapshot[key] + value for key, value in more.items()}
    for report in (*before, snapshot | touched):
        desk.report(report)
    compare(desk, 3)
    assert desk.engine.s.book.excluded == {name: 5.0}
    assert desk.engine.s.holds == {}
    (difference,) = desk.events("difference")
    assert (difference["reason"], difference["labels"]["into"]) == ("FOREIGN_EXECUTION", "excluded")


def test_reconciliation_is_repeated():
    desk = Desk().open()
    assert desk.engine.s.reconciling.passed
    for _ in range(3):
        desk.tick(61.0)
    assert [e["reason"] for e in desk.events("snapshot_requested")].count("interval") == 3
    assert not math.isnan(desk.engine.s.account.available_funds)


def test_cash_is_not_compared_while_somebody_trades():
    """What was paid a moment ago may be in neither the account's cash nor its positions."""
    desk = quiet_desk()
    desk.tick(61.0)
    before = desk.broker.snapshot()
    desk.report(desk.broker.execute("AAPL", 1, 100.0, 150.0))  # by hand, after the snapshot was asked for
    for report in (*before[:-1], desk.broker.snapshot()[-1]):  # the account's values come last, and know of it
        desk.report(report)
    assert math.isnan(desk.engine.s.reconciling.cash_suspect)
    compare(desk, 2)
    assert desk.engine.s.book.cash == desk.broker.cash


def test_an_absent_order_of_a_name_whose_position_differs_is_not_given_up():
    """It may have filled: what explains the difference is an execution on its way."""
    desk, order = vanished()
    desk.broker.positions["AAPL"] = 200.0
    desk.tick(1.0)
    desk.tick(3.0)
    desk.engine.s.reconciling.suspects["AAPL"] = 100.0  # another gap than now: it is not settled
    for report in desk.broker.snapshot():
        desk.report(report)
    assert desk.state(order.ref) == State.UNKNOWN
