"""What is sold or bought by hand: a loss on what was held is a loss, and the trade itself is none (law L5)."""

from __future__ import annotations

from datetime import date, time

import pytest

from order_plane.codes import Code
from tests.order_plane.desk import DAY, PRICES, Broker, Desk, targets, universe
from tests.order_plane.test_flows import only, same_from_the_log
from tests.order_plane.test_owed import again
from tests.order_plane.test_reconciliation import compare
from tests.order_plane.test_taken_over import LEVELS, compared_twice, holding, morning_after
from triplane.domain.timestamps import SECOND, at


def sold_by_hand(desk: Desk, units: float, price: float, *, told: bool) -> None:
    if told:
        desk.broker.execute("AAPL", -1, units, price, when=desk.now)
    else:
        desk.broker.positions["AAPL"] -= units
        desk.broker.cash += units * price


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


@pytest.mark.parametrize(
    ("units", "told", "reopens"),
    # What is left of it, or what nobody told the price of, has no other price than the old one until it reopens.
    [
        (2_499.0, True, True),
        (2_499.0, False, True),
        (2_500.0, True, True),
        (2_500.0, False, True),
        (2_500.0, True, False),
    ],
)
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
    desk.now = at(DAY, time(15, 59, 58))
    desk.quotes()
    desk.tick(1.0)
    desk.report(desk.broker.execute("GE", -1, 10_000.0, 15.0, when=desk.now))
    desk.now = at(DAY, time(16, 0, 30))
    desk.wall += 30 * SECOND
    compare(desk, 1)
    for _ in range(3):
        desk.now += 5 * SECOND
        desk.wall += 5 * SECOND
        only(desk, "AAPL", 140.0)
        desk.tick(1.0)
    assert desk.engine.s.kill.reason == Code.KILL_PNL


def lagging_once(desk: Desk, **positions: float) -> None:
    """A snapshot whose positions are older than the executions, then what is there."""
    there = desk.broker.positions
    desk.broker.positions = {name: units for name, units in (there | positions).items() if units}
    compare(desk, 1)
    desk.broker.positions = there
    compare(desk, 1)


@pytest.mark.parametrize("held", [0.0, 500.0])
def test_what_was_told_is_known_when_the_position_shows_it_a_snapshot_later(held: float):
    desk = holding(AAPL=held, KO=100.0)
    desk.report(desk.broker.execute("AAPL", 1, 200.0, 158.0, when=desk.now))
    lagging_once(desk, AAPL=held)
    taken = desk.events("difference")[-1]
    assert (taken["reason"], taken["values"]["paid"], desk.engine.s.holds) == (Code.FOREIGN_EXECUTION, 31_600.0, {})
    same_from_the_log(desk)


def test_a_loss_is_one_also_where_the_position_showed_the_sale_late_and_nobody_quotes_it():
    desk = holding(AAPL=2_500.0, KO=100.0)
    desk.report(desk.broker.execute("AAPL", -1, 2_500.0, 128.0, when=desk.now))
    lagging_once(desk, AAPL=2_500.0)
    compare(desk, 2)
    for _ in range(8):
        lapse(desk, 10.0)
    assert (desk.account()["day_pnl"], desk.engine.s.kill.reason) == (pytest.approx(-80_000.0), Code.KILL_PNL)


def test_what_the_position_had_all_along_is_not_waited_for():
    desk = holding(KO=100.0)
    desk.report(desk.broker.execute("AAPL", 1, 200.0, 160.0, when=desk.now))
    desk.broker.positions.pop("AAPL")
    compare(desk, 1)
    assert set(desk.engine.s.book.foreign_traded) == set(desk.engine.s.reconciling.suspects) == {"AAPL"}
    compare(desk, 1)
    assert not desk.engine.s.book.foreign_traded
    assert not desk.engine.s.reconciling.suspects


def test_a_strike_is_none_of_the_market_also_where_a_restart_lies_before_the_comparison():
    """Calls sold and assigned at 100 with the mark at 160: what was paid is judged by the mark of before the restart."""
    desk = holding(KO=1_000.0)
    desk.quotes()
    desk.report(desk.broker.execute("AAPL", -1, 2_000.0, 100.0, when=desk.now))
    desk.tick(1.0)
    desk = again(desk, desk.recorded())
    compared_twice(desk)
    for _ in range(2):
        desk.pass_time(5)
        desk.tick(1.0)
    state = desk.account()
    assert (state["nav"], state["day_pnl"], state["drawdown"]) == (pytest.approx(880_000.0), 0.0, 0.0)
    assert desk.engine.s.kill.level == "none"
