"""Levels that stop trading, and what a tripped switch does (law L8, the engine's part)."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest

from order_plane import recording
from order_plane.codes import Code
from order_plane.engine import OrderEngine
from order_plane.kill.levels import judge, judge_psr, jumped
from order_plane.ledger.state import Account, Kill
from order_plane.messages import CancelOrder, GlobalCancel, Place, RearmRequest, Start
from tests.order_plane.desk import ACCOUNT, Desk, targets
from triplane.domain.calendars import session_close, sessions
from triplane.domain.psr import moments
from triplane.domain.targets import OrderTargets
from triplane.domain.timestamps import SECOND

T = OrderTargets()


def holding(**settings):
    """1,000 AAPL held, valued and quiet."""
    desk = Desk(settings=targets(**settings)).open()
    desk.intents(1, {"AAPL": 1000.0})
    desk.fill_all(commission=0.0)
    desk.pass_time(1)
    return desk


def rearm(desk, actor="Ann", reason="checked", asked=None):
    return desk.record(
        "control.commands",
        {
            "command_id": str(len(desk.log)),
            "command": "kill.rearm",
            "actor": actor,
            "reason": reason,
            "event_time": desk.wall if asked is None else asked,
        },
    )


def test_pnl_level():
    desk = holding()
    desk.pass_time(5, mids={"AAPL": 111.0})
    assert desk.engine.s.kill.level == "none"  # -4.9 %
    desk.pass_time(5, mids={"AAPL": 109.0})
    assert (desk.engine.s.kill.level, desk.engine.s.kill.reason) == ("stopped", Code.KILL_PNL)
    desk.tick()
    assert desk.account()["kill_level"] == "stopped"


def test_a_silent_name_does_not_disarm_the_levels():
    desk = Desk(settings=targets()).open()
    desk.intents(1, {"AAPL": 1000.0, "KO": 100.0})
    desk.fill_all(commission=0.0)
    desk.pass_time(1)
    silent = desk.now
    n = len(desk.assets.symbols)
    place = desk.assets.symbols.index("KO")

    def without_ko(price: float) -> None:
        # KO's last quote stays the one of before, as a slice repeats it.
        seen = desk.now + 5 * SECOND
        desk.pass_time(5, mids={"AAPL": price}, quote_time=[silent if i == place else seen for i in range(n)])

    for _ in range(4):
        without_ko(160.0)
    while desk.now - silent < 75 * SECOND:
        without_ko(100.0)
        assert desk.engine.s.kill.level == "none", "KO may be late for a moment: nothing is judged on half of the marks"
    for _ in range(6):
        without_ko(100.0)
    assert (desk.engine.s.kill.level, desk.engine.s.kill.reason) == ("stopped", Code.KILL_PNL)
    told = [alert for alert in desk.alerts if alert.code == Code.MARK_KEPT]
    assert len(told) == 1
    assert told[0].detail.startswith("KO had no mark")


def test_a_kept_mark_is_told_once_a_day():
    desk = Desk(settings=targets()).open()
    desk.intents(1, {"AAPL": 100.0, "KO": 100.0})
    desk.fill_all(commission=0.0)
    desk.pass_time(1)
    n, place = len(desk.assets.symbols), desk.assets.symbols.index("KO")

    def told_after_silence(last: int) -> int:
        for _ in range(24):
            seen = desk.now + 5 * SECOND
            desk.pass_time(5, quote_time=[last if i == place else seen for i in range(n)])
        return sum(alert.code == Code.MARK_KEPT for alert in desk.alerts)

    silent = desk.now
    assert told_after_silence(silent) == 1
    desk.now += 90 * SECOND  # nothing at all was quoted for a while, after which the silence is counted anew
    assert told_after_silence(silent) == 1
    desk.pass_time(5)
    assert told_after_silence(desk.now) == 1, "on a busy machine marks come late in rows"
    desk.now += 24 * 3600 * SECOND
    desk.pass_time(5)
    assert told_after_silence(desk.now) == 2


def test_bars_that_are_read_before_the_quotes_of_their_time_make_nobody_silent():
    """At 300 times real time, and behind a standstill, a topic is read by minutes while the other waits."""
    desk = holding()
    desk.pass_time(1)
    for _ in range(3):
        begin = desk.now
        for _ in range(36):
            desk.now += 5 * SECOND
            desk.wall += 10_000_000
            desk.bars()
        end, desk.now = desk.now, begin
        for _ in range(36):
            desk.now += 5 * SECOND
            desk.quotes()
        assert desk.now == end
    assert not [alert for alert in desk.alerts if alert.code == Code.MARK_KEPT]
    assert desk.engine.s.market.late_since == 0
    for _ in range(36):  # bars alone for as long on the wall are another matter
        desk.now += 5 * SECOND
        desk.wall += 5 * SECOND
        desk.bars()
    assert len([alert for alert in desk.alerts if alert.code == Code.MARK_KEPT]) == 1


def test_after_hours_silence_is_no_silence():
    desk = holding()
    desk.now = session_close("XNYS", date(2018, 2, 5)) + 60 * SECOND
    n = len(desk.assets.symbols)
    place = desk.assets.symbols.index("AAPL")
    for _ in range(30):
        seen = desk.now + 5 * SECOND
        desk.pass_time(5, mids={"KO": 0.01}, quote_time=[0 if i == place else seen for i in range(n)])
    assert desk.engine.s.kill.level == "none"
    assert not [alert for alert in desk.alerts if alert.code == Code.MARK_KEPT]


def test_the_first_minute_of_a_day_is_no_silence():
    desk = holding()
    desk.now += 18 * 3_600 * SECOND
    n = len(desk.assets.symbols)
    place = desk.assets.symbols.index("AAPL")
    for _ in range(3):  # the others are quoted already, AAPL is not
        seen = desk.now + 5 * SECOND
        desk.pass_time(5, mids={"AAPL": 1.0}, quote_time=[0 if i == place else seen for i in range(n)])
    assert desk.engine.s.kill.level == "none"


def test_pnl_counts_from_the_prior_days_end_and_leaves_flows_out():
    account = Account(nav=1e6, day_start=1e6, day_flows=-200_000.0, high_water_mark=1e6)
    account.high_water_mark = 800_000.0
    assert judge(account, Kill(), 800_000.0, T) is None
    trip = judge(account, Kill(), 749_000.0, T)
    assert trip is not None
    assert trip.code is Code.KILL_PNL
    assert trip.numbers["pnl"] == pytest.approx(-0.051)
    began_without = Account(nav=1e6, day_start=-200_000.0, day_flows=1.2e6, high_water_mark=1e6)
    assert judge(began_without, Kill(), 951_000.0, T) is None
    trip = judge(began_without, Kill(), 949_000.0, T)
    assert trip is not None
    assert trip.code is Code.KILL_PNL


def test_drawdown_level_is_against_the_high_water_mark():
    account = Account(nav=1.02e6, day_start=1e6, high_water_mark=1.2e6)
    trip = judge(account, Kill(), 1.019e6, T)
    assert trip is not None
    assert trip.code is Code.KILL_DRAWDOWN
    assert judge(account, Kill(), 1.021e6, T) is None
    assert judge(account, Kill("stopped"), 0.5e6, T) is None


def test_slow_losses_trip_the_drawdown():
    desk = holding(KILL_PNL=-1.0)
    price = 160.0
    for day in range(12):
        price -= 14.0
        desk.now = session_close("XNYS", sessions("XNYS", date(2018, 2, 6), date(2018, 3, 30))[day]) - 900 * SECOND
        desk.wall += 600 * SECOND
        desk.bars()
        desk.quotes(mids={"AAPL": price})
        if desk.engine.s.kill.level == "stopped":
            break
    assert desk.engine.s.kill.reason == Code.KILL_DRAWDOWN
    assert price == 160.0 - 14.0 * 11
    assert len(desk.events("day_ended")) == 11


def test_stale_and_missing_marks_hold_and_never_trip():
    desk = holding()
    crash = {"quote_time": [desk.now - 60 * SECOND] * 5}
    desk.pass_time(5, mids={"AAPL": 50.0}, **crash)
    assert desk.engine.s.kill.level == "none"
    desk.pass_time(5, mids={"AAPL": 50.0}, status=["delayed"] * 5)
    desk.pass_time(30, mids={"AAPL": 50.0}, bid=[math.nan] * 5)
    assert desk.engine.s.kill.level == "none"
    assert math.isnan(dict(zip(desk.account()["symbols"], desk.account()["mark"], strict=True))["AAPL"])


def test_a_jump_of_nav_holds():
    desk = holding(NAV_JUMP_MAX=0.04)
    desk.pass_time(5, mids={"AAPL": 80.0})
    assert desk.engine.s.holds == {"*": Code.NAV_JUMP}
    assert desk.engine.s.kill.level == "none"
    desk.intents(2, {"BAC": 100.0})
    assert desk.codes()[-1] == Code.ACCOUNT_HELD
    assert not jumped(Account(), 1e6, T)


def test_psr_is_judged_once_a_month_halves_then_stops():
    losing = moments([0.01, -0.0115] * 126)
    account = Account(returns=losing)
    assert losing.psr(0.0) < 0.2
    trip = judge_psr(account, Kill(), T)
    assert trip is not None
    assert (trip.code, trip.level) == (Code.KILL_PSR, "halved")
    second = judge_psr(account, Kill("halved"), T)
    assert second is not None
    assert second.level == "stopped"
    assert judge_psr(account, Kill("stopped"), T) is None
    assert judge_psr(Account(returns=moments([0.01, -0.009] * 126)), Kill(), T) is None


def test_psr_through_the_engine():
    desk = holding(PSR_MIN_OBS=20, PSR_KILL_SWITCH=0.5, KILL_PNL=-1.0, MAX_DD_KILL_SWITCH=1.0)
    levels = []
    price = 160.0
    days = sessions("XNYS", date(2018, 2, 6), date(2018, 4, 30))
    for day in days:
        price *= 0.995 if day.day % 2 else 0.999
        desk.now = session_close("XNYS", day) - 900 * SECOND
        desk.wall += 600 * SECOND
        desk.bars()
        desk.quotes(mids={"AAPL": round(price, 2)})
        levels.append(desk.engine.s.kill.level)
    kills = desk.events("killed")
    assert [event["labels"]["level"] for event in kills] == ["halved", "stopped"]
    judged = [event["labels"]["judged"] for event in desk.events("day_ended") if event["labels"]]
    assert judged == ["2018-03", "2018-04"]
    assert levels.index("halved") - 20 >= -1


def test_a_reject_storm_trips():
    desk = Desk(settings=targets(REJECTS_KILL=3, MIN_CHILD_NOTIONAL=0.0), auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    for seq in range(1, 4):
        desk.intents(seq, {"AAPL": 100.0})
        desk.report(
            {"kind": "error", "order_id": desk.sent[-1].fields["order_id"], "client_id": 12, "code": 201, "text": "no"}
        )
    assert (desk.engine.s.kill.level, desk.engine.s.kill.reason) == ("stopped", Code.REJECT_STORM)


def test_a_liquidation_by_the_broker_trips():
    desk = holding()
    report = desk.broker.execute("AAPL", -1, 100.0, 150.0)
    desk.report(report | {"labels": report["labels"] | {"liquidation": "1"}})
    assert desk.engine.s.kill.reason == Code.BROKER_LIQUIDATION


def test_own_scope_cancels_each_order_and_nothing_new_leaves():
    desk = Desk(settings=targets(REQUOTE_S=1000.0)).open()
    desk.auto = True
    desk.intents(1, {"AAPL": 500.0, "BAC": 300.0})
    effects = desk.kill("own")
    assert {e.order_ref for e in effects if isinstance(e, CancelOrder)} == {p.order_ref for p in desk.sent}
    assert not any(isinstance(e, GlobalCancel) for e in effects)
    sent = len(desk.sent)
    desk.intents(2, {"GE": 100.0})
    desk.pass_time(60)
    assert len(desk.sent) == sent
    assert desk.codes()[-1] == Code.KILLED


def test_account_scope_is_one_message_ahead_of_all():
    desk = Desk(auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    desk.intents(1, {"AAPL": 500.0})
    effects = desk.kill("account")
    assert isinstance(next(e for e in effects if isinstance(e, GlobalCancel | CancelOrder | Place)), GlobalCancel)
    assert sum(isinstance(e, CancelOrder) for e in effects) == 0
    desk.tick(6.0)  # unconfirmed: asked again, one by one
    assert [c.order_ref for c in desk.cancelled] == [desk.sent[0].order_ref]


def test_cancels_wait_for_the_link_and_go_at_once_when_it_is_back():
    desk = Desk().open()
    desk.intents(1, {"AAPL": 500.0})
    desk.report({"kind": "disconnected", "account": ACCOUNT, "client_id": 12, "text": ""})
    assert not any(isinstance(e, CancelOrder | GlobalCancel) for e in desk.kill("account"))
    effects = desk.connect()
    assert any(isinstance(e, GlobalCancel) for e in effects)


def test_tripped_survives_a_restart_and_only_a_person_lifts_it():
    desk = holding()
    desk.kill("own", "drill")
    engine = OrderEngine(ACCOUNT)
    recording.fold_log(engine, desk.recorded(), desk.lookup)
    engine.handle(Start(2, 12, desk.wall))
    assert (engine.s.kill.level, engine.s.kill.reason) == ("stopped", Code.KILL_REQUESTED)
    desk.engine = engine
    desk.epoch = 2
    rearm(desk, actor=" ")
    assert engine.s.kill.level == "stopped"
    assert desk.alerts[-1].code == Code.REARM_REFUSED
    desk.connect()
    desk.pass_time(5, mids={"AAPL": 155.0})
    rearm(desk)
    assert engine.s.kill.level == "none"
    assert engine.s.account.high_water_mark == engine.s.account.nav == pytest.approx(995_000.0, abs=100.0)
    assert engine.s.account.returns.n == 0
    desk.intents(3, {"BAC": 100.0})
    assert desk.codes()[-1] == Code.OK


def test_a_re_arming_on_the_log_from_before_the_kill_lifts_nothing():
    """It lay there while the process was away: its person did not know of this kill. Among commands the log's order counts."""
    desk = holding()
    asked = desk.wall
    desk.pass_time(5)
    desk.kill("own", "later")
    rearm(desk, asked=asked)
    assert desk.engine.s.kill.level == "stopped"
    assert desk.alerts[-1].code == Code.REARM_REFUSED
    assert "before the kill that holds" in desk.alerts[-1].detail
    asked = desk.wall
    desk.pass_time(5)
    desk.kill("own", "and again")  # while it holds
    rearm(desk, asked=asked)
    assert desk.engine.s.kill.level == "stopped"
    rearm(desk)
    assert desk.engine.s.kill.level == "none"
    trip = {"command_id": "t", "command": "kill.trip", "actor": "Ann", "reason": "drill", "event_time": desk.wall - 50}
    desk.record("control.commands", trip)
    rearm(desk, asked=desk.wall - 40)  # both came late, in their order
    assert desk.engine.s.kill.level == "none"


def test_a_kill_of_a_clock_that_is_ahead_stops_and_may_be_re_armed_by_one_that_is_right():
    desk = holding()
    trip = {
        "command_id": "t",
        "command": "kill.trip",
        "actor": "Ann",
        "reason": "drill",
        "event_time": desk.wall + 10**18,
    }
    desk.record("control.commands", trip)
    assert desk.engine.s.kill.level == "stopped"
    rearm(desk, asked=desk.wall - 1)
    assert desk.engine.s.kill.level == "stopped"
    rearm(desk)
    assert desk.engine.s.kill.level == "none"


def test_a_second_command_under_one_id_is_none_but_a_kill_is_always_one():
    desk = holding()
    common = {"command_id": "same", "actor": "Ann", "event_time": desk.wall}
    trip = common | {"command": "kill.trip", "reason": "drill"}
    desk.record("control.commands", trip)
    assert desk.engine.s.kill.level == "stopped"
    again = common | {"command": "kill.rearm", "reason": "checked"}
    for _ in range(2):
        desk.record("control.commands", again)
        assert desk.engine.s.kill.level == "stopped"
        assert desk.alerts[-1].code == Code.BAD_COMMAND
        assert "'same' of an earlier command; give it again under a new one" in desk.alerts[-1].detail
    assert desk.events("rearmed") == []
    known = again | {"command_id": "r"}
    for _ in range(2):  # its writer may repeat it
        desk.record("control.commands", known)
        assert desk.engine.s.kill.level == "none"
    assert len(desk.events("rearmed")) == 1
    for reason in ("drill", "another"):  # whoever wants to stop, stops
        desk.record("control.commands", trip | {"reason": reason})
        assert desk.engine.s.kill.level == "stopped"
        rearm(desk)
    # A start knows the ids as well.
    started = OrderEngine(ACCOUNT)
    recording.fold_log(started, desk.recorded(), desk.lookup)
    assert started.s.commands == desk.engine.s.commands


def test_a_kill_that_is_asked_for_again_is_not_lifted_by_who_knew_the_first_one_only():
    desk = holding()
    trip = {"command_id": "a", "command": "kill.trip", "actor": "Ann", "reason": "drill", "event_time": desk.wall}
    desk.record("control.commands", trip)
    desk.pass_time(5)
    between = desk.wall
    desk.pass_time(5)
    desk.record("control.commands", trip | {"command_id": "b", "event_time": desk.wall})
    rearm(desk, asked=between)
    assert desk.engine.s.kill.level == "stopped"
    rearm(desk)
    assert desk.engine.s.kill.level == "none"


def test_requests_by_file_and_repeated_ones():
    desk = holding()
    desk.kill()
    events = len(desk.events("killed"))
    desk.kill()
    assert len(desk.events("killed")) == events
    desk.give(RearmRequest("file", "Ann", "checked", desk.wall))
    assert desk.engine.s.kill.level == "none"
    desk.give(RearmRequest("file", "Ann", "again", desk.wall))
    assert len(desk.events("rearmed")) == 1
    desk.record(
        "control.commands",
        {"command_id": "k", "command": "kill.trip", "arguments": {"scope": "own"}, "actor": "Ann", "reason": "test"},
    )
    assert desk.engine.s.kill.level == "stopped"


def test_days_end_at_five_in_new_york():
    desk = holding()
    ends = desk.engine.s.account.day_end
    desk.now = ends - SECOND
    desk.quotes()
    assert desk.events("day_ended") == []
    desk.now = ends + timedelta(minutes=1).seconds * SECOND
    desk.quotes()
    (event,) = desk.events("day_ended")
    assert event["values"]["nav"] == pytest.approx(desk.engine.s.account.day_start)
    assert event["values"]["return"] == pytest.approx(desk.engine.s.account.day_start / 1e6 - 1)


@pytest.mark.parametrize(("benchmark", "trips"), [(0.8, False), (2.5, True)])
def test_the_benchmark_of_psr_is_a_sharpe_ratio_of_a_year(benchmark: float, trips: bool):
    """The track record's own is 0.84 a year, 0.053 a session."""
    record = Account(returns=moments([0.01, -0.009] * 126))
    assert (judge_psr(record, Kill(), OrderTargets(PSR_BENCHMARK=benchmark)) is not None) == trips


def test_a_fill_is_the_brokers_liquidation_only_where_the_broker_says_so():
    desk = holding()
    report = desk.broker.execute("AAPL", -1, 100.0, 150.0, order=desk.order(desk.sent[0]))
    labels = {name: value for name, value in report["labels"].items() if name != "liquidation"}
    desk.report(report | {"labels": labels})
    fills = [fill for fill in desk.appended("order.fills") if fill["kind"] == "execution"]
    assert fills[-1]["liquidation"] is False
    assert desk.engine.s.kill.level == "none"
