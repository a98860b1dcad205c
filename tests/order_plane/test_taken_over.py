"""Units taken over from the broker: what they are worth is a flow, at a price of their own time, and no level waits for it (law L5)."""

from __future__ import annotations

from datetime import date, time

import pytest

from order_plane.codes import Code
from order_plane.ledger.taken_over import TakenOver
from tests.order_plane.desk import ACCOUNT, DAY, PRICES, Broker, Desk, targets, universe
from tests.order_plane.test_flows import only, same_from_the_log, split
from tests.order_plane.test_owed import again
from tests.order_plane.test_reconciliation import compare
from triplane.domain.timestamps import SECOND, at

LEVELS = {"FOREIGN_POSITIONS": "adopt", "KILL_PNL": -0.05, "MAX_DD_KILL_SWITCH": 0.08}


def holding(**positions: float) -> Desk:
    """A million in cash and these units, taken over at the baseline."""
    spent = sum(units * PRICES[name] for name, units in positions.items())
    desk = Desk(settings=targets(**LEVELS), broker=Broker(cash=1_000_000.0 - spent, positions=dict(positions))).open()
    desk.auto = False
    desk.tick(1.0)
    desk.pass_time(1)
    return desk


def nothing_flowed(desk: Desk) -> None:
    """Nobody gained or lost, and the levels judge."""
    state = desk.account()
    assert (state["day_pnl"], state["drawdown"]) == (pytest.approx(0.0, abs=1e-6), pytest.approx(0.0, abs=1e-9))
    assert desk.engine.s.kill.level == "none"


def trips_at_a_loss(desk: Desk, fall: float, loss: float) -> None:
    """AAPL falls by so much a unit: the levels are armed."""
    for _ in range(3):
        desk.pass_time(30, mids={"AAPL": PRICES["AAPL"] - fall})
    state = desk.account()
    assert desk.engine.s.kill.reason == Code.KILL_PNL
    assert (state["day_pnl"], state["drawdown"]) == (pytest.approx(-loss), pytest.approx(loss / 1e6))


def morning_after(desk: Desk) -> None:
    """The link was down over the night; in the morning another name is quoted first."""
    desk.report({"kind": "disconnected", "account": ACCOUNT, "labels": {}})
    desk.now = at(date(2018, 2, 6), time(9, 30, 1))
    desk.wall += 23 * 3_600 * SECOND
    only(desk, "KO", 46.0)


def compared_twice(desk: Desk) -> None:
    """The link is back."""
    desk.connect()
    for _ in range(2):
        for report in desk.broker.snapshot():
            desk.report(report)
        desk.tick(5.0)
    compare(desk, 3)


def test_a_fall_over_night_of_what_was_bought_by_hand_is_a_loss():
    """What he paid was told: the first mark of the next morning is not the price of what he bought."""
    broker = Broker(cash=920_000.0, positions={"AAPL": 500.0})
    levels = targets(FOREIGN_POSITIONS="adopt", KILL_PNL=-0.05, MAX_DD_KILL_SWITCH=0.08)
    desk = Desk(settings=levels, broker=broker)
    desk.now = at(DAY, time(15, 59, 50))
    desk.open()
    desk.auto = False
    desk.tick(1.0)
    desk.report(desk.broker.execute("AAPL", 1, 2_500.0, 160.0, when=desk.now))
    desk.now += 120 * SECOND
    desk.wall += 60 * SECOND
    desk.bars(0.0)
    compare(desk, 4)
    desk.now = at(date(2018, 2, 6), time(14, 31))
    desk.wall += 17 * 3_600 * SECOND
    desk.bars()
    desk.quotes(mids={"AAPL": 128.0})
    desk.tick(1.0)
    assert desk.engine.s.kill.reason == Code.KILL_PNL
    state = desk.account()
    assert (state["nav"], state["day_pnl"], state["drawdown"]) == (
        904_000.0,
        pytest.approx(-96_000.0),
        pytest.approx(0.096),
    )


@pytest.mark.parametrize("units", [4_000.0, -4_000.0])
@pytest.mark.parametrize("told", [True, False])
def test_levels_wait_for_the_worth_of_what_was_taken_over_also_where_it_is_gone(units, told):
    """Our own fill closes the name before the units that somebody traded have a mark: no position is left, and a flow is open."""
    broker = Broker(cash=1_000_000.0 - 3.0 * units * 31.0, positions={"BAC": 3.0 * units})
    loose = {
        "CHILD_GOOD_TILL_S": 300.0,
        "ORDER_QTY_MAX": 1e5,
        "ORDER_NOTIONAL_MAX": 1e6,
        "ORDER_ADV_MAX": 1.0,
        "POV_CAP": 1.0,
    }
    levels = targets(FOREIGN_POSITIONS="adopt", KILL_PNL=-0.05, MAX_DD_KILL_SWITCH=0.05, **loose)
    desk = Desk(settings=levels, broker=broker).open(1e7)
    desk.pass_time(1, volume=1e7)
    desk.intents(3, {"BAC": 0.0})
    desk.pass_time(1, volume=1e7)
    desk.auto = False
    order = next(each for each in desk.broker.orders.values() if each.live)
    desk.now += 40 * SECOND
    desk.wall += 40 * SECOND
    only(desk, "AAPL", 160.0)
    if told:
        desk.report(desk.broker.execute("BAC", -1 if units > 0 else 1, abs(units), 31.0, when=desk.now))
    else:
        desk.broker.positions["BAC"] -= units
        desk.broker.cash += units * 31.0
    compare(desk, 1 if told else 3)
    closing = desk.broker.fill(order, 2.0 * abs(units), 31.0, when=desk.now)
    desk.report(closing)
    desk.report(desk.broker.status(order))
    desk.report(desk.broker.commission(closing, 0.0))
    desk.tick(1.0)
    assert desk.engine.s.kill.level == "none"
    for report in desk.broker.cancel(order):
        desk.report(report)
    for _ in range(3):
        desk.pass_time(61, volume=1e7)
        compare(desk, 1)
        state = desk.account()
        assert (desk.engine.s.kill.level, state["day_pnl"]) == ("none", pytest.approx(0.0))
    assert desk.engine.s.book.position("BAC") == 0.0
    assert (state["nav"], state["high_water_mark"]) == (pytest.approx(1_000_000.0), pytest.approx(1_000_000.0))
    assert desk.engine.s.reconciling.unvalued == {}


@pytest.mark.parametrize("paid", [34.0, 28.0])
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("told", [True, False])
def test_a_trade_by_hand_in_a_silent_name_is_no_gain_and_no_loss(told: bool, side: int, paid: float):
    """Neither at its last mark, with which levels are judged after a minute, nor at its first quote."""
    desk = holding(AAPL=500.0)
    desk.now += 70 * SECOND
    desk.wall += 70 * SECOND
    only(desk, "AAPL", 160.0)
    if told:
        desk.report(desk.broker.execute("BAC", side, 20_000.0, paid, when=desk.now))
    else:
        desk.broker.positions["BAC"] = side * 20_000.0
        desk.broker.cash -= side * 20_000.0 * paid
    compare(desk, 3)
    for _ in range(8):
        desk.now += 10 * SECOND
        desk.wall += 10 * SECOND
        only(desk, "AAPL", 160.0)
        desk.tick(1.0)
        assert (desk.account()["day_pnl"], desk.engine.s.kill.level) == (pytest.approx(0.0), "none")
    desk.pass_time(1, mids={"BAC": paid})
    desk.tick(1.0)
    nothing_flowed(desk)
    same_from_the_log(desk)


@pytest.mark.parametrize("more", [0.0, 1.0])
def test_what_was_paid_for_all_of_it_is_its_worth(more: float):
    """2500 bought before the night and one unit after it: the night's loss is on all that was held through it."""
    desk = holding(AAPL=500.0)
    desk.report(desk.broker.execute("AAPL", 1, 2_500.0, 160.0, when=desk.now))
    morning_after(desk)
    if more:
        desk.broker.execute("AAPL", 1, more, 128.0, when=desk.now)
    compared_twice(desk)
    desk.pass_time(1, mids={"AAPL": 128.0})
    desk.tick(1.0)
    assert desk.account()["day_pnl"] == pytest.approx(-96_000.0)
    assert desk.engine.s.kill.reason == Code.KILL_PNL


def test_far_from_the_last_mark_a_price_is_not_taken_for_one():
    """An option that was exercised brings units at its strike: the next mark says what they are worth."""
    desk = holding(AAPL=500.0, BAC=3_000.0)
    desk.now += 70 * SECOND
    desk.wall += 70 * SECOND
    only(desk, "AAPL", 160.0)
    desk.report(desk.broker.execute("BAC", 1, 17_000.0, 20.0, when=desk.now))
    compare(desk, 3)
    assert desk.engine.s.market.marks["BAC"].price == 31.0
    (taken,) = desk.engine.s.reconciling.unvalued["BAC"]
    assert taken == TakenOver(17_000.0, 31.0, 340_000.0, 20.0, 20.0, since=taken.since)
    desk.tick(1.0)
    nothing_flowed(desk)
    desk.pass_time(1)
    state = desk.account()
    assert (desk.engine.s.kill.level, state["day_pnl"]) == ("none", pytest.approx(0.0))


@pytest.mark.parametrize("restart", [True, False])
def test_a_name_that_is_gone_for_good_leaves_the_levels_armed(restart: bool):
    """A merger for cash: nobody will ever quote it again."""
    desk = holding(AAPL=2_500.0, BAC=3_000.0)
    desk.broker.positions.pop("BAC")
    desk.broker.cash += 3_000.0 * 31.0
    desk.now += 70 * SECOND
    desk.wall += 70 * SECOND
    if restart:
        desk = again(desk, desk.recorded())
        desk.connect()
    desk.assets = universe(tuple(name for name in desk.assets.symbols if name != "BAC"))
    desk.configure()
    for _ in range(5):
        desk.pass_time(61)
        desk.tick(1.0)
        for report in desk.broker.snapshot() if desk.engine.s.reconciling.pending else ():
            desk.report(report)
    desk.pass_time(1)
    nothing_flowed(desk)
    assert desk.engine.s.reconciling.unvalued == {}
    trips_at_a_loss(desk, 60.0, 150_000.0)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("policy", ["adopt", "exclude", "halt"])
def test_a_name_that_nobody_quotes_may_come_and_go(policy: str, told: bool):
    """Without a row in assets.csv, seen first in a position alone."""
    desk = holding(AAPL=2_500.0)
    desk.configure(targets(**LEVELS | {"FOREIGN_POSITIONS": policy}))
    desk.broker.positions["XYZ"] = 100.0
    desk.broker.cash -= 27_000.0
    compare(desk, 3)
    desk.pass_time(1)
    if told:
        desk.report(desk.broker.execute("XYZ", -1, 100.0, 270.0, when=desk.now))
    else:
        desk.broker.positions.pop("XYZ")
        desk.broker.cash += 27_000.0
    compare(desk, 3)
    desk.pass_time(1)
    nothing_flowed(desk)
    trips_at_a_loss(desk, 40.0, 100_000.0)


@pytest.mark.parametrize("units", [2_000.0, -4_000.0])
def test_a_split_of_units_without_a_worth_is_no_gain(units: float):
    desk = holding(AAPL=500.0)
    del desk.engine.s.market.marks["BAC"]
    desk.broker.positions["BAC"] = units
    desk.broker.cash -= units * 31.0
    compare(desk)
    split(desk, "BAC", 2.0)
    desk.broker.positions["BAC"] = 2.0 * units
    compare(desk, 2)
    desk.pass_time(1, mids={"BAC": 15.5})
    desk.tick(1.0)
    assert desk.events("difference")[-1]["reason"] == Code.CORPORATE_ACTION
    nothing_flowed(desk)


@pytest.mark.parametrize(("ratio", "units"), [(2.0, 1_000.0), (0.5, 500.0), (0.1, 500.0)])
@pytest.mark.parametrize("price_first", [True, False])
def test_a_split_is_no_gain_whichever_shows_first(price_first: bool, ratio: float, units: float):
    """A mark of after the announcement may be of either side."""
    desk = holding(AAPL=units)
    split(desk, "AAPL", ratio)
    fresh = {"AAPL": 160.0 / ratio}
    if price_first:
        desk.pass_time(5, mids=fresh)
        desk.tick(1.0)
    desk.broker.positions["AAPL"] = units * ratio
    compare(desk, 1)
    desk.tick(1.0)
    assert desk.engine.s.kill.level == "none"
    desk.pass_time(5, mids=fresh)
    desk.tick(1.0)
    nothing_flowed(desk)
    assert desk.engine.s.holds == {}


def test_a_fraction_of_a_unit_out_of_nothing_is_no_split():
    """A split waits for a name that we have asked for and not got; the broker shows half a unit of it."""
    desk = holding(AAPL=500.0)
    desk.intents(1, {"BAC": 100.0})
    split(desk, "BAC", 2.0)
    assert "BAC" in desk.engine.s.reconciling.splits
    desk.broker.positions["BAC"] = 0.5
    compare(desk, 3)
    assert desk.engine.s.book.position("BAC") == 0.5
    assert desk.engine.s.holds["BAC"] == Code.UNEXPLAINED
