"""Flows: what comes and goes without a trade of ours is neither gain nor loss, whenever and in which order it shows (law L5)."""

from __future__ import annotations

import math
from datetime import date, time

import pytest

from order_plane import recording
from order_plane.codes import Code
from order_plane.engine import OrderEngine
from order_plane.ledger.state import EVERYTHING, SPLIT_DOUBT_NS
from order_plane.messages import RearmRequest
from tests.order_plane.desk import ACCOUNT, DAY, PRICES, Broker, Desk, targets
from tests.order_plane.test_reconciliation import compare, quiet_desk
from triplane.domain.timestamps import MINUTE, SECOND, at


def test_a_flow_that_leaves_nothing_is_no_drawdown_and_nothing_is_sent():
    """Somebody spends more than our NAV on a name of his own: cash goes, the position is not ours."""
    desk = quiet_desk()
    desk.broker.cash -= 1_200_000.0
    compare(desk)
    assert desk.alerts[-1].code == Code.NAV_UNKNOWN
    assert "leaves a NAV of -200,000" in desk.alerts[-1].detail
    desk.quotes()
    desk.tick(1.0)
    desk.intents(1, {"AAPL": 100.0})
    state = desk.account()
    assert state["nav"] == -200_000.0
    assert all(math.isnan(state[name]) for name in ("drawdown", "gross", "net"))
    assert not desk.sent
    assert desk.codes()[-1] == Code.NAV_UNKNOWN
    assert desk.engine.s.kill.level == "none"
    desk.broker.cash += 1_200_000.0
    compare(desk)
    desk.quotes()
    desk.tick(1.0)
    state = desk.account()
    assert (state["nav"], state["drawdown"], state["day_pnl"]) == (1_000_000.0, 0.0, pytest.approx(0.0))
    assert desk.engine.s.kill.level == "none"


def test_cash_that_paid_for_a_position_that_is_taken_over_is_no_flow():
    desk = quiet_desk()
    desk.broker.positions["AAPL"] = 6_500.0
    desk.broker.cash -= 6_500.0 * PRICES["AAPL"]  # more than NAV: 1.04 M
    compare(desk)
    assert desk.engine.s.holds == {"AAPL": Code.UNEXPLAINED}
    assert Code.NAV_UNKNOWN not in {alert.code for alert in desk.alerts}
    desk.quotes()
    desk.tick(1.0)
    state = desk.account()
    assert (state["nav"], state["high_water_mark"], state["day_pnl"]) == (1_000_000.0, 1_000_000.0, 0.0)
    assert desk.engine.s.holds == {"AAPL": Code.UNEXPLAINED}


def invested(**settings):
    """500 AAPL held and compared, with levels that trip at a loss of five percent."""
    desk = Desk(settings=targets(KILL_PNL=-0.05, MAX_DD_KILL_SWITCH=0.05, **settings)).open()
    desk.intents(1, {"AAPL": 500.0})
    desk.fill_all(0.0)
    desk.pass_time(1)
    desk.auto = False
    compare(desk)
    desk.quotes()
    return desk


@pytest.mark.parametrize("units", [400.0, -400.0])
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("policy", ["exclude", "adopt", "halt"])
def test_what_somebody_trades_by_hand_is_neither_gain_nor_loss_whenever_its_cash_shows(units, told, policy):
    """The position is taken over at once, and its cash when two quiet snapshots agree: between them nothing may trip."""
    desk = invested(FOREIGN_POSITIONS=policy)
    before = desk.account()
    if told:
        desk.report(desk.broker.execute("AAPL", 1 if units > 0 else -1, abs(units), PRICES["AAPL"]))
    else:
        desk.broker.positions["AAPL"] += units
        desk.broker.cash -= units * PRICES["AAPL"]
    for _ in range(4):
        compare(desk, 1)
        desk.quotes()
        desk.tick(1.0)
        state = desk.account()
        assert state["day_pnl"] == pytest.approx(before["day_pnl"])
        assert state["drawdown"] == pytest.approx(before["drawdown"])
        assert desk.engine.s.kill.level == "none"
    assert (desk.engine.s.book.position("AAPL"), desk.engine.s.book.cash) == (500.0 + units, desk.broker.cash)
    assert desk.engine.s.account.day_flows == pytest.approx(0.0)
    # What is lost afterwards is lost.
    lost = {"AAPL": PRICES["AAPL"] * (1.0 - 0.06 * state["nav"] / ((500.0 + units) * PRICES["AAPL"]))}
    if units > 0:
        desk.pass_time(5, mids=lost)
        assert desk.engine.s.kill.level == "stopped"


@pytest.mark.parametrize("first", ["cash", "units"])
@pytest.mark.parametrize("units", [400.0, -400.0])
def test_units_and_cash_of_a_trade_by_hand_may_show_snapshots_apart(units, first):
    desk = invested()
    before = desk.account()["day_pnl"]
    for what in (first, "cash" if first == "units" else "units"):
        if what == "units":
            desk.broker.positions["AAPL"] += units
        else:
            desk.broker.cash -= units * PRICES["AAPL"]
        for _ in range(5):  # account values may lag by minutes
            compare(desk, 1)
            desk.quotes()
            desk.tick(1.0)
            assert desk.account()["day_pnl"] == pytest.approx(before)
            assert desk.engine.s.kill.level == "none"
    assert desk.engine.s.account.day_flows == pytest.approx(0.0)


def test_the_log_of_a_build_that_told_no_marks_is_folded():
    desk = quiet_desk()
    desk.broker.positions["AAPL"] = 400.0
    desk.broker.cash -= 400.0 * PRICES["AAPL"]
    compare(desk)
    log = [event for event in desk.recorded() if event["kind"] != "valued"]
    for event in log:
        if event["kind"] == "difference":
            del event["values"]["before"]
        elif event["kind"] == "cash_set" and event["values"]["cash"] == desk.broker.cash:
            event["values"]["taken_over"] = 400.0 * PRICES["AAPL"]
    again = OrderEngine(ACCOUNT)
    recording.fold_log(again, log, desk.lookup)
    assert again.s.book.position("AAPL") == 400.0
    assert again.s.account.day_flows == pytest.approx(0.0)
    assert again.s.reconciling.unvalued == {}


def test_what_was_taken_over_without_a_mark_is_no_gain_when_it_has_one():
    desk = quiet_desk()
    desk.engine.s.market.marks.pop("BAC", None)
    desk.broker.positions["BAC"] = 2_000.0
    desk.broker.cash -= 2_000.0 * PRICES["BAC"]
    compare(desk)
    assert desk.engine.s.holds == {"BAC": Code.UNEXPLAINED}
    assert desk.engine.s.reconciling.unvalued["BAC"][0].units == 2_000.0
    desk.quotes()
    desk.tick(1.0)
    state = desk.account()
    assert (state["day_pnl"], state["drawdown"]) == (pytest.approx(0.0), pytest.approx(0.0))
    assert desk.engine.s.reconciling.unvalued == {}
    assert [event["values"]["worth"] for event in desk.events("valued")] == [2_000.0 * PRICES["BAC"]]
    again = OrderEngine(ACCOUNT)
    recording.fold_log(again, desk.recorded(), desk.lookup)
    assert again.s.account.day_flows == desk.engine.s.account.day_flows


def only(desk, symbol, mid):
    """A quote slice with one name."""
    desk.record(
        "data.quotes",
        {
            "event_time": desk.now, "available_time": desk.now, "group": "main", "source": "t", "session": "2018-02-05",
            "symbols": [symbol], "bid": [mid - 0.01], "ask": [mid + 0.01], "bid_size": [1.0], "ask_size": [1.0],
            "last": [mid], "volume": [0.0], "quote_time": [desk.now], "status": ["live"], "halted": [False],
        },
    )  # fmt: skip


def release(desk):
    """A person releases what holds everything."""
    desk.record(
        "control.commands",
        {
            "command_id": "c1", "command": "order.release", "actor": "ann", "reason": "seen", "event_time": desk.wall,
            "available_time": desk.wall, "arguments": {"symbol": "*"},
        },
    )  # fmt: skip


def same_from_the_log(desk):
    """The fold of the log alone has the same account."""
    again = OrderEngine(ACCOUNT)
    recording.fold_log(again, desk.recorded(), desk.lookup)
    ours, theirs = desk.engine.s.account, again.s.account
    for name in ("nav", "day_start", "day_flows", "high_water_mark", "forgiven"):
        assert getattr(theirs, name) == pytest.approx(getattr(ours, name), nan_ok=True), name


@pytest.mark.parametrize("price", [24.8, 37.2])
def test_units_taken_over_at_an_old_mark_are_valued_by_the_next_one(price):
    desk = invested()
    before = desk.account()["day_pnl"]
    desk.now += 3600 * SECOND
    desk.wall += 3600 * SECOND
    only(desk, "AAPL", PRICES["AAPL"])
    desk.broker.positions["BAC"] = 10_000.0
    desk.broker.cash -= 10_000 * price
    compare(desk)
    state = desk.account()
    assert (state["day_pnl"], state["drawdown"]) == (pytest.approx(before), pytest.approx(0.0, abs=1e-4))
    compare(desk)
    desk.pass_time(1, mids={"BAC": price})
    desk.tick(1.0)
    state = desk.account()
    assert (state["day_pnl"], state["kill_level"]) == (pytest.approx(before), "none")
    assert state["drawdown"] == pytest.approx(0.0, abs=1e-4)
    assert desk.engine.s.reconciling.unvalued == {}
    same_from_the_log(desk)


@pytest.mark.parametrize("flow", [100_000.0, -100_000.0])
def test_what_flows_before_the_first_mark_is_in_the_days_start(flow):
    broker = Broker()
    broker.positions["AAPL"], broker.cash = 500.0, 920_000.0
    desk = Desk(settings=targets(FOREIGN_POSITIONS="adopt", KILL_PNL=-0.05), broker=broker)
    desk.start()
    desk.configure()
    desk.connect()
    desk.auto = False
    broker.cash += flow
    compare(desk)
    desk.bars()
    desk.quotes()
    desk.tick(1.0)
    state = desk.account()
    assert (state["day_pnl"], state["drawdown"], state["kill_level"]) == (0.0, 0.0, "none")
    assert desk.engine.s.account.day_start == pytest.approx(1_000_000 + flow)
    same_from_the_log(desk)
    desk.pass_time(1, mids={"AAPL": PRICES["AAPL"] - 0.07 * (1_000_000 + flow) / 500.0})
    desk.tick(1.0)
    assert desk.engine.s.kill.reason == Code.KILL_PNL  # a loss is one all the same


def test_cash_that_shows_between_a_release_and_the_next_mark_is_no_drawdown():
    desk = invested(FOREIGN_POSITIONS="halt")
    desk.report(desk.broker.execute("AAPL", 1, 2_000.0, PRICES["AAPL"]))
    compare(desk, 1)
    assert desk.engine.s.holds == {"*": Code.FOREIGN_HALT}
    release(desk)
    desk.now += 60 * SECOND
    only(desk, "BAC", PRICES["BAC"])  # the name itself is late
    compare(desk)
    same_from_the_log(desk)
    desk.pass_time(1)
    desk.tick(1.0)
    state = desk.account()
    assert (state["kill_level"], state["drawdown"]) == ("none", pytest.approx(0.0, abs=1e-4))
    assert state["high_water_mark"] == pytest.approx(1_000_000, rel=1e-4)
    same_from_the_log(desk)


def test_a_released_jump_is_not_one_again_and_the_next_is():
    desk = invested()
    jumped = {"AAPL": PRICES["AAPL"] * 4.0}
    desk.pass_time(1, mids=jumped)
    desk.tick(1.0)
    assert desk.engine.s.holds == {"*": Code.NAV_JUMP}
    release(desk)
    desk.pass_time(1, mids=jumped)
    desk.tick(1.0)
    assert desk.engine.s.holds == {}
    assert desk.engine.s.account.nav == pytest.approx(desk.account()["nav"])
    same_from_the_log(desk)
    desk.pass_time(1, mids={"AAPL": PRICES["AAPL"] * 8.0})
    desk.tick(1.0)
    assert desk.engine.s.holds == {"*": Code.NAV_JUMP}


def test_a_day_that_ends_after_a_release_begins_with_the_next_mark():
    desk = invested()
    desk.pass_time(1, mids={"AAPL": PRICES["AAPL"] * 4.0})
    desk.tick(1.0)
    release(desk)
    desk.now = desk.engine.s.account.day_end + 16 * 3600 * SECOND
    only(desk, "BAC", PRICES["BAC"])
    assert len(desk.events("day_ended")) == 1
    assert math.isnan(desk.engine.s.account.day_start)
    desk.pass_time(1, mids={"AAPL": PRICES["AAPL"] * 3.0})
    desk.tick(1.0)
    assert desk.account()["day_pnl"] == 0.0
    assert desk.engine.s.account.day_start == desk.account()["nav"]
    same_from_the_log(desk)


def test_a_night_that_begins_with_a_halt_being_released_has_its_loss():
    """A trade by hand before the close halted everything, and a person released it after: nothing jumped, and nothing is forgiven."""
    broker = Broker(cash=600_000.0, positions={"AAPL": 2_500.0})
    levels = targets(FOREIGN_POSITIONS="adopt", KILL_PNL=-0.05, MAX_DD_KILL_SWITCH=0.2)
    desk = Desk(settings=levels, broker=broker).open()
    desk.auto = False
    desk.configure(settings=targets(FOREIGN_POSITIONS="halt", KILL_PNL=-0.05, MAX_DD_KILL_SWITCH=0.2))
    desk.now = at(DAY, time(15, 58))
    desk.pass_time(1)
    desk.report(desk.broker.execute("KO", 1, 100.0, 46.0, when=desk.now))
    compare(desk, 1)
    assert desk.engine.s.holds == {EVERYTHING: Code.FOREIGN_HALT}
    desk.pass_time(1)
    desk.now = at(DAY, time(16, 20))
    desk.wall += 22 * 60 * SECOND
    only(desk, "KO", 46.0)
    release(desk)
    desk.now = at(DAY, time(17, 0, 1))
    desk.wall += 40 * 60 * SECOND
    only(desk, "KO", 46.0)
    desk.tick(1.0)
    assert "return" in desk.events("day_ended")[-1]["values"]
    desk.now = at(date(2018, 2, 6), time(9, 30, 5))
    desk.wall += 16 * 3_600 * SECOND
    desk.pass_time(1, mids={"AAPL": 136.0})
    desk.tick(1.0)
    assert desk.account()["day_pnl"] == pytest.approx(-60_000.0)
    assert desk.engine.s.kill.reason == Code.KILL_PNL


def split(desk, symbol="AAPL", ratio=2.0):
    record = {"event_time": desk.now, "available_time": desk.now, "kind": "split", "symbol": symbol, "ratio": ratio}
    desk.record("data.actions", record)


def test_a_split_of_a_name_that_is_not_held_leaves_the_levels_armed():
    desk = Desk(settings=targets(KILL_PNL=-0.05)).open()
    split(desk)
    desk.pass_time(1)
    desk.intents(1, {"AAPL": 500.0})
    desk.fill_all(0.0)
    desk.pass_time(1)
    for _ in range(3):
        desk.pass_time(5, mids={"AAPL": 40.0})
        desk.tick(1.0)
    assert desk.engine.s.kill.reason == Code.KILL_PNL


@pytest.mark.parametrize("again", [False, True])
def test_a_split_that_no_position_shows_disarms_the_levels_for_minutes_and_is_told(again):
    """However often it is told."""
    desk = invested()
    split(desk)
    assert any(alert.code == Code.CORPORATE_ACTION for alert in desk.alerts)
    fallen = {"AAPL": 40.0}
    desk.pass_time(5, mids=fallen)
    desk.tick(1.0)
    assert desk.engine.s.kill.level == "none"
    if again:
        desk.pass_time(9 * 60, mids=fallen)
        split(desk)
    desk.now += SPLIT_DOUBT_NS - (9 * MINUTE if again else 0)
    desk.wall += SPLIT_DOUBT_NS
    desk.pass_time(5, mids=fallen)
    desk.tick(1.0)
    assert desk.engine.s.kill.reason == Code.KILL_PNL


@pytest.mark.parametrize("then", [160.0, 148.0])
def test_the_new_mark_of_a_re_arming_is_on_the_log(then):
    """Marks since the last account record are on no log; a start that read it would judge by another high-water mark."""
    broker = Broker(cash=200_000.0, positions={"AAPL": 5_000.0})
    levels = targets(FOREIGN_POSITIONS="adopt", KILL_PNL=-0.05, MAX_DD_KILL_SWITCH=0.05)
    desk = Desk(settings=levels, broker=broker).open()
    desk.auto = False
    desk.pass_time(1)
    desk.kill()
    desk.pass_time(5)
    desk.wall += 50_000_000
    desk.quotes(mids={"AAPL": 332.0 - then})
    desk.wall += 20_000_000
    desk.give(RearmRequest("http", "ann", "seen", desk.wall))
    engine = OrderEngine(ACCOUNT)
    recording.fold_log(engine, desk.recorded(), desk.lookup)
    lived, folded = desk.engine.s.account, engine.s.account
    assert (folded.high_water_mark, folded.day_start) == (lived.high_water_mark, lived.day_start)
    assert lived.high_water_mark == 200_000.0 + 5_000.0 * (332.0 - then)
