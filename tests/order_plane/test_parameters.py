"""Every parameter of the order section changes what the engine puts out. A field without a scenario fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from order_plane.messages import GlobalCancel, RequestSnapshot
from tests.order_plane.desk import Broker, Desk, targets
from triplane.domain.calendars import session_close, sessions
from triplane.domain.targets import OrderTargets, Targets
from triplane.domain.timestamps import SECOND

Scenario = Callable[[Targets], Desk]


def outcome(desk: Desk) -> dict[str, Any]:
    """What an outsider sees, without the configuration's hash, which differs anyway."""
    costs = desk.appended("order.costs")
    return {
        "sent": [{k: v for k, v in place.fields.items() if k != "config_hash"} for place in desk.sent],
        "patience": [place.ack_timeout_s for place in desk.sent],
        "cancelled": [(cancel.order_ref, record) for cancel, record in zip(desk.cancelled, range(10**6), strict=False)],
        "cancel times": [event["wall_time"] for event in desk.events("cancelling")],
        "codes": [(record["symbol"], record["code"]) for record in desk.appended("order.decisions")],
        "alerts": [(alert.code, alert.symbol) for alert in desk.alerts],
        "global": sum(isinstance(effect, GlobalCancel) for effect in desk.effects),
        "snapshots": [event["wall_time"] for event in desk.events("snapshot_requested") if event["reason"] != "quiet"],
        "asked": sum(isinstance(effect, RequestSnapshot) for effect in desk.effects),
        "states": [
            (event["kind"], event["wall_time"]) for event in desk.events() if event["kind"] in ("doubted", "abandoned")
        ],
        "baseline": [event["reason"] for event in desk.events("baseline")],
        "kills": [
            (event["reason"], event["labels"]["level"], event["labels"]["scope"]) for event in desk.events("killed")
        ],
        "costs": [(e["linear"], e["linear_sd"], e["impact"], e["impact_sd"]) for e in costs],
    }


def trade(
    settings: Targets, wanted: dict[str, float] | None = None, volume: float = 1e6, rounds: int = 4, **quotes: Any
) -> Desk:
    """Open, take intents, fill what is sent, let time pass."""
    desk = Desk(settings=settings).open(volume)
    desk.intents(1, wanted or {"AAPL": 500.0})
    for _ in range(rounds):
        desk.fill_all()
        desk.pass_time(5, volume, **quotes)
    return desk


def thin(settings: Targets) -> Desk:
    return trade(settings, {"AAPL": 2_000.0}, volume=2_000.0, rounds=15)


def watched(settings: Targets) -> Desk:
    """A minute of volume before the intents."""
    desk = Desk(settings=settings).open(2_000.0)
    for _ in range(12):
        desk.pass_time(5, 2_000.0)
    desk.intents(1, {"AAPL": 2_000.0})
    return desk


def large(settings: Targets) -> Desk:
    return trade(settings, {"AAPL": 1_500.0, "BAC": -6_000.0, "JPM": 1_500.0})


def resting(settings: Targets) -> Desk:
    """An order that nobody fills while the market runs away."""
    desk = Desk(settings=settings).open()
    desk.intents(1, {"AAPL": 500.0})
    for step in range(45):
        desk.pass_time(10, mids={"AAPL": 160.0 + step * 0.2})
    return desk


def silent(settings: Targets) -> Desk:
    """A broker that drops an order without a word, and answers snapshots."""
    desk = Desk(settings=settings, auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    desk.intents(1, {"AAPL": 500.0})
    for _ in range(40):
        desk.tick(1.0)
        if desk.engine.s.reconciling.pending:
            for report in desk.broker.snapshot():
                desk.report(report)
    return desk


def burst(settings: Targets) -> Desk:
    desk = Desk(settings=settings).open()
    desk.intents(1, dict.fromkeys(("AAPL", "BAC", "GE", "JPM", "KO"), 100.0))
    return desk


def crash(settings: Targets, price: float = 100.0) -> Desk:
    desk = trade(settings, {"AAPL": 1_000.0}, rounds=1)
    desk.intents(2, {"AAPL": 1_000.0, "KO": 100.0})
    desk.pass_time(5, mids={"AAPL": price})
    return desk


def months(settings: Targets) -> Desk:
    """Sixty sessions of small losses."""
    desk = trade(settings, {"AAPL": 1_000.0}, rounds=1)
    price = 160.0
    for day in sessions("XNYS", date(2018, 2, 6), date(2018, 4, 30)):
        price *= 0.9965 if day.day % 2 else 1.002
        desk.now = session_close("XNYS", day) - 900 * SECOND
        desk.wall += 600 * SECOND
        desk.bars()
        desk.quotes(mids={"AAPL": round(price, 2)})
    return desk


def rejects(settings: Targets) -> Desk:
    desk = Desk(settings=settings, auto=False).open()
    for report in desk.broker.snapshot():
        desk.report(report)
    desk.quotes()
    for seq in range(1, 6):
        desk.intents(seq, {"AAPL": 100.0})
        desk.report(
            {"kind": "error", "order_id": desk.sent[-1].fields["order_id"], "client_id": 12, "code": 201, "text": "no"}
        )
        if desk.engine.s.kill.level == "stopped":
            break
    return desk


def near_the_close(settings: Targets) -> Desk:
    desk = Desk(settings=settings).open()
    desk.pass_time(24 * 60)  # 15:54
    desk.intents(1, {"AAPL": 100.0})
    return desk


def stale(settings: Targets) -> Desk:
    desk = Desk(settings=settings).open()
    desk.now += 15 * SECOND
    desk.bars()
    desk.intents(1, {"AAPL": 100.0})
    return desk


def learning(settings: Targets) -> Desk:
    """A dozen parents, each a little dearer than the last, one absurd."""
    desk = Desk(settings=settings).open()
    for seq in range(1, 13):
        desk.intents(seq, {"AAPL": 100.0 * seq})
        for order in [o for o in desk.broker.orders.values() if o.live]:
            worse = 0.03 if seq == 7 else 0.0004 * seq
            execution = desk.broker.fill(order, order.quantity, 160.0 * (1 + worse), when=desk.now)
            desk.report(execution)
            desk.report(desk.broker.commission(execution, 1.0))
        desk.pass_time(5)
    return desk


def dear(settings: Targets) -> Desk:
    """Large parents that always pay far too much."""
    desk = Desk(settings=settings).open()
    for seq in range(1, 31):
        desk.intents(seq, {"AAPL": 150.0 if seq % 2 else 0.0}, adv=[4_000.0], sigma_daily=[0.2])
        for order in [o for o in desk.broker.orders.values() if o.live]:
            execution = desk.broker.fill(order, order.quantity, 160.0 * (1 + order.side * 0.08), when=desk.now)
            desk.report(execution)
            desk.report(desk.broker.commission(execution, 0.0))
        desk.pass_time(5)
    return desk


def cheap(settings: Targets) -> Desk:
    """Large parents that are always paid for trading."""
    desk = Desk(settings=settings).open()
    for seq in range(1, 31):
        desk.intents(seq, {"AAPL": 150.0 if seq % 2 else 0.0}, adv=[4_000.0], sigma_daily=[0.2])
        for order in [o for o in desk.broker.orders.values() if o.live]:
            execution = desk.broker.fill(order, order.quantity, 160.0 * (1 - order.side * 0.02), when=desk.now)
            desk.report(execution)
            desk.report(desk.broker.commission(execution, 0.0))
        desk.pass_time(5)
    return desk


def foreign(settings: Targets) -> Desk:
    desk = Desk(settings=settings, broker=Broker(positions={"KO": 40.0})).open()
    desk.intents(1, {"KO": 0.0})
    return desk


def poor(settings: Targets) -> Desk:
    desk = Desk(settings=settings, broker=Broker(funds=70_000.0)).open()
    desk.intents(1, {"AAPL": 820.0})
    return desk


def ticking(settings: Targets) -> Desk:
    desk = Desk(settings=settings).open()
    for _ in range(130):
        desk.tick(1.0)
    return desk


def both(scenario: Scenario, **common: Any) -> Scenario:
    """A scenario under further settings that make the parameter matter."""
    return lambda settings: scenario(Targets.model_validate({"order": settings.order.model_dump() | common}))


SCENARIOS: dict[str, tuple[Scenario, Any]] = {
    "POV_CAP": (thin, 0.2),
    "POV_WINDOW_S": (watched, 20.0),
    "ADV_DAY_CAP": (large, 2e-5),
    "MESSAGES_PER_S": (burst, 12.0),
    "CANCEL_RESERVE": (burst, 38),
    "PARENT_EXPIRY_S": (resting, 100.0),
    "CHILD_GOOD_TILL_S": (burst, 300.0),
    "EXECUTION": (burst, "market"),
    "ADAPTIVE_PRIORITY": (both(burst, EXECUTION="adaptive"), "Urgent"),
    "REQUOTE_S": (resting, 60.0),
    "LIMIT_OFFSET": (burst, 0.002),
    "MIN_CHILD_NOTIONAL": (thin, 50_000.0),
    "ORDER_NOTIONAL_MAX": (large, 100_000.0),
    "ORDER_QTY_MAX": (large, 1_000.0),
    "ORDER_ADV_MAX": (large, 5e-5),
    "COLLAR": (burst, 0.0001),
    "QUOTE_STALE_S": (stale, 10.0),
    "BOX_HARD": (large, 0.2),
    "GROSS_HARD": (large, 0.5),
    "NET_HARD": (large, 0.2),
    "ACTIVE_PER_SIDE": (both(burst, ORDER_QTY_MAX=10.0), 3),
    "ORDERS_PER_MINUTE": (both(burst, ORDER_QTY_MAX=10.0), 4),
    "NOTIONAL_PER_MINUTE": (large, 300_000.0),
    "BUYING_POWER_USE": (poor, 0.5),
    "INITIAL_MARGIN": (poor, 1.0),
    "CLOSE_BUFFER_S": (near_the_close, 600.0),
    "ACK_TIMEOUT_S": (burst, 3.0),
    "BROKER_TIMEOUT_S": (silent, 9.0),
    "RECONCILE_S": (ticking, 20.0),
    "ABSENT_AFTER_S": (silent, 12.0),
    "FOREIGN_POSITIONS": (foreign, "adopt"),
    "NAV_JUMP_MAX": (crash, 0.01),
    "KILL_PNL": (both(crash, MAX_DD_KILL_SWITCH=0.9), -0.5),
    "MAX_DD_KILL_SWITCH": (both(crash, KILL_PNL=-0.9), 0.01),
    "PSR_KILL_SWITCH": (both(months, PSR_MIN_OBS=20), 0.0),
    "PSR_BENCHMARK": (both(months, PSR_MIN_OBS=20), -5.0),
    "PSR_MIN_OBS": (months, 30),
    "REJECTS_KILL": (rejects, 3),
    "KILL_SCOPE": (both(crash, KILL_PNL=-0.01), "account"),
    "COST_HALF_LIFE": (learning, 12.0),
    "COST_PRIOR_PARENTS": (learning, 100.0),
    "COST_OUTLIER_SD": (learning, 1.0),
    "LINEAR_MAX": (both(learning, COST_OUTLIER_SD=20.0), 0.0006),
    "IMPACT_Y_MIN": (cheap, 0.9),
    "IMPACT_Y_MAX": (both(dear, COST_OUTLIER_SD=20.0), 1.1),
}


@pytest.mark.parametrize("name", list(OrderTargets.model_fields))
def test_the_parameter_changes_an_output(name):
    scenario, changed = SCENARIOS[name]
    default = outcome(scenario(Targets()))
    assert outcome(scenario(Targets())) == default  # the scenario itself does not vary
    assert outcome(scenario(targets(**{name: changed}))) != default


def test_no_scenario_is_left_over():
    assert SCENARIOS.keys() == OrderTargets.model_fields.keys()
    assert all(getattr(OrderTargets(), name) != changed for name, (_, changed) in SCENARIOS.items())
    assert not math.isnan(OrderTargets().POV_CAP)
