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


def trips_at_a_loss(desk: Desk, fall: float, loss: float, **pnl: float) -> None:
    """AAPL falls by so much a unit: the levels are armed."""
    for _ in range(3):
        desk.pass_time(30, mids={"AAPL": PRICES["AAPL"] - fall})
    state = desk.account()
    assert desk.engine.s.kill.reason == Code.KILL_PNL
    assert (state["day_pnl"], state["drawdown"]) == (pytest.approx(-loss), pytest.approx(loss / 1e6))


def test_a_fall_over_night_of_what_was_bought_by_hand_is_a_loss():
    """What he paid was told: the first mark of the next morning is not the price of what he bought."""
    broker = Broker(cash=920_000.0, positions={"AAPL": 500.0})
    levels = targets(FOREIGN_POSITIONS="adopt", KILL_PNL=-0.05, MAX_DD_KILL_SWITCH=0.08)
    desk = Desk(settings=levels, broker=broker)
    desk.now = at(DAY, time(20, 59, 50))
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
    desk.report({"kind": "disconnected", "account": ACCOUNT, "labels": {}})
    desk.now = at(date(2018, 2, 6), time(14, 30, 1))
    desk.wall += 23 * 3_600 * SECOND
    only(desk, "KO", 46.0)
    if more:
        desk.broker.execute("AAPL", 1, more, 128.0, when=desk.now)
    desk.connect()
    for _ in range(2):
        for report in desk.broker.snapshot():
            desk.report(report)
        desk.tick(5.0)
    compare(desk, 2)
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


def morning_after(desk: Desk) -> None:
    """The link was down over the night; in the morning another name is quoted first."""
    desk.report({"kind": "disconnected", "account": ACCOUNT, "labels": {}})
    desk.now = at(date(2018, 2, 6), time(14, 30, 1))
    desk.wall += 23 * 3_600 * SECOND
    only(desk, "KO", 46.0)


def sold_by_hand(desk: Desk, units: float, price: float, *, told: bool) -> None:
    if told:
        desk.broker.execute("AAPL", -1, units, price, when=desk.now)
    else:
        desk.broker.positions["AAPL"] -= units
        desk.broker.cash += units * price


def compared_twice(desk: Desk) -> None:
    desk.connect()
    for _ in range(2):
        for report in desk.broker.snapshot():
            desk.report(report)
        desk.tick(5.0)
    compare(desk, 3)


@pytest.mark.parametrize("units", [2_499.0, 2_500.0, 2_501.0])
@pytest.mark.parametrize("told", [True, False])
def test_a_loss_on_what_was_held_is_one_also_where_all_of_it_is_sold(told: bool, units: float):
    """Held through a night of -20 %, sold by hand in the morning: whether a unit is left makes no difference."""
    desk = holding(AAPL=2_500.0)
    morning_after(desk)
    sold_by_hand(desk, units, 128.0, told=told)
    compared_twice(desk)
    desk.pass_time(1, mids={"AAPL": 128.0})
    desk.tick(1.0)
    state = desk.account()
    assert desk.engine.s.kill.reason == Code.KILL_PNL
    assert (state["day_pnl"], state["drawdown"]) == (pytest.approx(-80_000.0), pytest.approx(0.08))
    same_from_the_log(desk)


@pytest.mark.parametrize("units", [500.0, 2_500.0])
def test_what_was_sold_by_hand_before_the_night_is_not_lost_in_it(units: float):
    desk = holding(AAPL=2_500.0)
    sold_by_hand(desk, units, 160.0, told=True)
    morning_after(desk)
    compared_twice(desk)
    desk.pass_time(1, mids={"AAPL": 128.0})
    desk.tick(1.0)
    assert desk.account()["day_pnl"] == pytest.approx(-32.0 * (2_500.0 - units))


@pytest.mark.parametrize("cost", [100.0, 250.0])
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("quoted", [True, False])
def test_what_was_sold_while_we_were_down_is_valued_at_its_mark_and_never_at_its_cost(
    cost: float, told: bool, quoted: bool, monkeypatch: pytest.MonkeyPatch
):
    """Bought long ago at another price. Marks are forgotten at the start; snapshots come before the first quote, or there is none."""
    monkeypatch.setitem(PRICES, "AAPL", cost)
    levels = targets(**LEVELS | {"NAV_JUMP_MAX": 0.9})
    broker = Broker(cash=1_000_000.0 - 2_500.0 * cost, positions={"AAPL": 2_500.0})
    desk = Desk(settings=levels, broker=broker).open()
    desk.auto = False
    desk.tick(1.0)
    monkeypatch.setitem(PRICES, "AAPL", 160.0)
    desk.engine.s.kill.level = "stopped"  # the years in between are no matter of this test
    desk.pass_time(1)
    desk.now = desk.engine.s.account.day_end + SECOND
    desk.wall += 6 * 3_600 * SECOND
    desk.quotes()
    desk.tick(1.0)
    desk.engine.s.kill.level = "none"
    desk.now = at(date(2018, 2, 6), time(15, 0))
    desk.wall += 12 * 3_600 * SECOND
    desk.pass_time(1)
    held = desk.account()
    sold_by_hand(desk, 2_500.0, 160.0, told=told)
    desk = again(desk, desk.recorded())
    desk.now += 60 * SECOND
    desk.wall += 60 * SECOND
    compared_twice(desk)
    for _ in range(5):
        if quoted:
            desk.pass_time(20)
        else:
            desk.now += 20 * SECOND
            desk.wall += 20 * SECOND
            only(desk, "KO", 46.0)
            desk.tick(1.0)
    state = desk.account()
    assert (state["nav"], state["day_pnl"]) == (pytest.approx(held["nav"]), pytest.approx(0.0))
    assert state["drawdown"] == pytest.approx(held["drawdown"])
    assert desk.engine.s.reconciling.unvalued == {}
    same_from_the_log(desk)


@pytest.mark.parametrize("sold", [30.8, 31.2])
def test_trades_on_both_sides_set_no_mark(sold: float):
    """What they paid on balance for a unit is no price: 29.20 for 1000 bought at 31 and 900 sold at 31.20.

    What the two lost or gained is the account's, as it is of our own fills.
    """
    desk = holding(BAC=12_000.0)
    desk.now += 70 * SECOND
    desk.wall += 70 * SECOND
    only(desk, "AAPL", 160.0)
    desk.report(desk.broker.execute("BAC", 1, 1_000.0, 31.0, when=desk.now))
    desk.report(desk.broker.execute("BAC", -1, 900.0, sold, when=desk.now))
    compare(desk, 1)
    desk.tick(1.0)
    assert desk.engine.s.market.marks["BAC"].price == 31.0
    for _ in range(2):
        desk.pass_time(5)
    assert desk.account()["day_pnl"] == pytest.approx(900.0 * (sold - 31.0))


def test_a_strike_near_the_mark_moves_the_value_of_its_own_units_only():
    desk = holding(BAC=20_000.0)
    desk.now += 30 * SECOND
    desk.wall += 30 * SECOND
    desk.report(desk.broker.execute("BAC", 1, 100.0, 28.25, when=desk.now))
    compare(desk, 1)
    desk.tick(1.0)
    assert desk.engine.s.kill.level == "none"
    for _ in range(2):
        desk.pass_time(5)
    assert desk.account()["day_pnl"] == pytest.approx(100.0 * 2.75)


@pytest.mark.parametrize("told", [True, False])
def test_a_large_sale_by_hand_makes_no_later_loss_larger(told: bool):
    """Four fifths of NAV are sold: were the cash missing until it shows, two percent would be ten."""
    desk = holding(AAPL=5_000.0, KO=4_000.0)
    sold_by_hand(desk, 5_000.0, 160.0, told=told)
    if told:
        desk.report(desk.broker.executions[-1])
    compare(desk, 1 if told else 2)
    for _ in range(3):
        desk.pass_time(5, mids={"KO": 41.0})
    state = desk.account()
    assert (desk.engine.s.kill.level, state["drawdown"]) == ("none", pytest.approx(0.02))
    compare(desk, 3)
    desk.pass_time(5, mids={"KO": 41.0})
    desk.tick(1.0)
    assert (desk.account()["drawdown"], desk.account()["nav"]) == (pytest.approx(0.02), pytest.approx(980_000.0))


def lapse(desk: Desk, seconds: float) -> None:
    """Only KO is quoted."""
    desk.now += round(seconds * SECOND)
    desk.wall += round(seconds * SECOND)
    only(desk, "KO", PRICES["KO"])
    desk.tick(1.0)


@pytest.mark.parametrize("units", [2_499.0, 2_500.0])
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("reopens", [True, False])
def test_a_name_that_was_halted_is_closed_at_no_price_of_before(units: float, told: bool, reopens: bool):
    """Silent for two minutes, then sold by hand at a fifth less: its own minute begins when it is taken over."""
    desk = holding(AAPL=2_500.0, KO=100.0)
    for _ in range(12):
        lapse(desk, 10.0)
    sold_by_hand(desk, units, 128.0, told=told)
    if told:
        desk.report(desk.broker.executions[-1])
    compare(desk, 1 if told else 2)
    for _ in range(3):
        desk.pass_time(5, mids={"AAPL": 128.0}) if reopens else lapse(desk, 50.0)
    if not reopens and (units < 2_500.0 or not told):
        return  # what is left of it, or what nobody told the price of, has no other price than the old one
    assert desk.account()["day_pnl"] == pytest.approx(-80_000.0)
    assert desk.engine.s.kill.reason == Code.KILL_PNL


@pytest.mark.parametrize("told", [True, False])
def test_what_was_lost_before_a_restart_stays_lost_where_nobody_quotes_the_name_again(told: bool):
    """160 at the last day's end, 142 in the last NAV; sold while the process was down, its row removed."""
    desk = holding(AAPL=2_500.0)
    desk.configure(targets(**LEVELS | {"KILL_PNL": -0.06}))
    desk.pass_time(1, mids={"AAPL": 142.0})
    desk.tick(1.0)
    assert desk.account()["day_pnl"] == pytest.approx(-45_000.0)
    sold_by_hand(desk, 2_500.0, 142.0, told=told)
    desk = again(desk, desk.recorded())
    desk.assets = universe(tuple(name for name in desk.assets.symbols if name != "AAPL"))
    desk.configure()
    compared_twice(desk)
    for _ in range(3):
        desk.pass_time(5)
    state = desk.account()
    assert (state["day_pnl"], state["drawdown"]) == (pytest.approx(-45_000.0), pytest.approx(0.045))
    assert desk.engine.s.reconciling.unvalued == {}


def test_a_young_mark_of_before_the_trade_is_not_the_first_after_it():
    desk = holding(AAPL=500.0, KO=100.0)
    lapse(desk, 15.0)
    desk.report(desk.broker.execute("AAPL", 1, 2_500.0, 136.0, when=desk.now))
    compare(desk, 1)
    for _ in range(2):
        desk.pass_time(5, mids={"AAPL": 136.0})
    assert desk.account()["day_pnl"] == pytest.approx(-24.0 * 500.0)
    assert desk.engine.s.kill.level == "none"


@pytest.mark.parametrize("units", [0.0, 100.0])
def test_a_price_that_was_taken_back_judges_nothing(units: float):
    """A slip of 1.60, corrected to 160 or to nothing before it is taken over."""
    desk = holding(KO=100.0)
    lapse(desk, 30.0)
    desk.report(desk.broker.execute("AAPL", 1, 3_900.0, 160.0, when=desk.now))
    desk.report(desk.broker.execute("AAPL", 1, 100.0, 1.6, when=desk.now))
    desk.report(desk.broker.correct(1, units, 160.0))
    compare(desk, 1)
    for _ in range(2):
        desk.pass_time(5, mids={"AAPL": 144.0})
    assert desk.account()["day_pnl"] == pytest.approx(-16.0 * (3_900.0 + units))


def test_a_name_that_is_gone_out_of_its_session_leaves_the_levels_armed():
    desk = holding(AAPL=3_000.0, GE=10_000.0)
    desk.now = at(DAY, time(20, 59, 58))
    desk.quotes()
    desk.tick(1.0)
    desk.report(desk.broker.execute("GE", -1, 10_000.0, 15.0, when=desk.now))
    desk.now = at(DAY, time(21, 0, 30))
    desk.wall += 30 * SECOND
    compare(desk, 1)
    for _ in range(3):
        desk.now += 5 * SECOND
        desk.wall += 5 * SECOND
        only(desk, "AAPL", 140.0)
        desk.tick(1.0)
    assert desk.engine.s.kill.reason == Code.KILL_PNL
