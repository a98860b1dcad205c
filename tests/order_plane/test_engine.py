"""The engine from intent to closed parent: decisions, write-ahead, identities, time."""

from __future__ import annotations

import math
from datetime import date, time

import pytest

from order_plane.codes import Code
from order_plane.messages import Alert, Append, CancelOrder, ClockTick, Place, Start
from tests.order_plane.desk import ACCOUNT, Desk, asset, plain_text, universe
from triplane.domain.assets import Universe
from triplane.domain.targets import Targets
from triplane.domain.timestamps import SECOND, at
from triplane.runtime import configuration


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


def test_a_quote_that_can_be_no_price_marks_nothing():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.fill_all()
    before = desk.engine.s.market.marks["AAPL"].price
    desk.pass_time(5, mids={"AAPL": 1e300})
    assert desk.engine.s.market.marks["AAPL"].price == before
    assert desk.engine.s.kill.level == "none"
    desk.intents(2, {"AAPL": 600.0})
    assert desk.codes()[-1] == Code.QUOTE_MISSING


def test_a_close_that_comes_late_puts_no_old_price_over_a_quote():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.fill_all()
    desk.pass_time(1)
    nav, mark = desk.engine.s.account.nav, desk.engine.s.market.marks["AAPL"]
    now, desk.now = desk.now, desk.now - 3_600 * SECOND
    desk.bars(interval="1d", closes={"AAPL": 100.0})
    desk.now = now
    assert desk.engine.s.market.marks["AAPL"] == mark
    assert desk.engine.s.account.nav == nav
    desk.now += 60 * SECOND
    desk.bars(interval="1d", closes={"AAPL": 151.0})
    assert desk.engine.s.market.marks["AAPL"].price == 151.0


def test_expired_held_and_hold_slices_are_decided():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0}, valid_until=desk.now - 1)
    assert desk.codes() == [Code.EXPIRED]
    assert [alert.code for alert in desk.alerts] == [Code.EXPIRED]
    # A demonstration hears it and waits (triplane/cli/market_pace.py).
    assert desk.alerts[0].detail.startswith("The intents of barrier 1 are not traded. ")
    assert "valid until 2018-02-05T20:29:59Z, and it is 2018-02-05T20:30:00Z" in desk.alerts[0].detail
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
    for interval in ("1d", "5s"):  # let out of quarantine: no price and no volume of now
        desk.bars(interval=interval, history=True)
    for number, command in enumerate(("data.release", "data.drop", "data.refetch")):
        arguments = {"quarantine_id": "ibkr/1", "repair": "yes"}
        given = {"command_id": str(number), "command": command, "arguments": arguments, "actor": "a", "reason": "b"}
        assert desk.record("control.commands", given) == []
    desk.report({"kind": "position", "account": ACCOUNT, "symbol": "AAPL"})
    desk.report({"kind": "execution", "account": "DU999", "exec_id": "x"})
    assert len(desk.events()) == before


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


def test_the_first_record_of_a_version_is_the_version() -> None:
    """Written again it changes nothing; with other values it is told, and the limits stay."""
    desk = Desk().open()
    limits = desk.engine.folded.targets
    made = configuration.make(Targets.model_validate({"order": {"POV_CAP": 0.01}}), desk.assets)
    other = configuration.to_record(made, None, actor="foreign", event_time=desk.wall) | {"seq": desk.config_seq}
    same = configuration.to_record(
        configuration.make(desk.settings, desk.assets), None, actor="tester", event_time=desk.wall
    )
    desk.alerts.clear()
    desk.record("control.config", same | {"seq": desk.config_seq})
    assert desk.alerts == []
    desk.record("control.config", other)
    assert [alert.code for alert in desk.alerts] == [Code.NO_CONFIG]
    assert desk.engine.folded.targets == limits
    desk.record("control.config", other | {"seq": desk.config_seq + 1})
    assert desk.engine.folded.targets.order.POV_CAP == 0.01
