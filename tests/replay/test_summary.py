"""The summary of a recording, against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.replay.logs import HandLog
from triplane.replay.summary import Summary, max_drawdown, summarise

ACCOUNT = "DU1"


def decision(log: HandLog, seq: int, symbols: list[str], outcome: str = "SOLVED", session: str = "2018-02-05") -> None:
    log.put("strategy.barriers", seq=seq, kind="decision", session=session, t=100 * seq)
    n = len(symbols)
    numbers: dict[str, Any] = {
        name: [0.0] * n for name in ("target_qty", "target_weight", "reference_price", "sigma_daily", "adv")
    }
    log.put(
        "strategy.intents",
        seq=seq,
        account=ACCOUNT,
        intent_id=f"{ACCOUNT}/{seq}",
        outcome=outcome,
        symbols=symbols,
        con_ids=[0] * n,
        **numbers,
    )


def verdict(log: HandLog, seq: int, symbol: str, code: str = "OK", ref: str = "") -> None:
    number = sum(record.topic == "order.decisions" for record in log.records)
    log.put(
        "order.decisions",
        decision_id=str(number),
        account=ACCOUNT,
        intent_id=f"{ACCOUNT}/{seq}/{symbol}",
        symbol=symbol,
        allowed=code == "OK",
        code=code,
        order_ref=ref,
    )


def nav(log: HandLog, at: int, value: float, reconciled: bool = True) -> None:
    number = sum(record.topic == "order.account" for record in log.records)
    log.put("order.account", account=ACCOUNT, state_id=str(number), event_time=at, nav=value, reconciled=reconciled)


def of(log: HandLog) -> Summary:
    return summarise(log.recording())


def test_everything_accounted_for_has_no_problems() -> None:
    log = HandLog()
    log.put("strategy.barriers", seq=1, kind="warmup")
    decision(log, 2, ["KO", "XOM"])
    decision(log, 3, [], outcome="HOLD_DATA", session="2018-02-06")
    verdict(log, 2, "KO")
    verdict(log, 2, "KO", ref="r")
    verdict(log, 2, "XOM", "ADV_CAP")
    found = of(log)
    assert found.problems == []
    assert (found.warmup_barriers, found.decision_barriers, found.sessions, found.intents) == (1, 2, 2, 2)
    assert found.holds == {"HOLD_DATA": 1}
    assert found.decisions == {"ADV_CAP": 1, "OK": 1}  # one an intent; the order's own is a later one
    assert found.later_decisions == {}
    verdict(log, 2, "KO", "VOLUME_WAIT")
    assert of(log).later_decisions == {"VOLUME_WAIT": 1}


def test_sessions_without_a_decision_are_named() -> None:
    log = HandLog()
    for seq, day in enumerate(("2018-02-01", "2018-02-02", "2018-02-07"), 1):  # a weekend lies between, which is none
        decision(log, seq, [], outcome="HOLD_DATA", session=day)
    assert of(log).missed == ("2018-02-05", "2018-02-06")
    assert of(HandLog()).missed == ()


def test_an_intent_without_a_decision_is_a_problem_and_an_orders_decision_is_none() -> None:
    log = HandLog()
    decision(log, 2, ["KO", "XOM"])
    verdict(log, 2, "KO")
    verdict(log, 2, "XOM", ref="only the order's")
    assert of(log).problems == [f"intent {ACCOUNT}/2/XOM has no decision of the Order Plane"]


def test_a_decision_barrier_without_intents_is_a_problem() -> None:
    log = HandLog()
    log.put("strategy.barriers", seq=5, kind="decision", t=1)
    assert of(log).problems == ["barrier 5 has no intents, not even a hold"]


def test_repeats_count_once() -> None:
    log = HandLog()
    decision(log, 2, ["KO"])
    decision(log, 2, ["KO"])
    verdict(log, 2, "KO")
    assert (of(log).decision_barriers, of(log).intents) == (1, 1)


def test_orders_that_the_broker_refused_are_counted_once() -> None:
    log = HandLog()
    for order_id in (1, 2, 3):
        log.put("order.events", event_id=f"placing {order_id}", kind="placing", client_id=12, order_id=order_id)
    for number, (order_id, code) in enumerate(((1, 201), (1, 201), (2, 202), (4, 201), (3, 399))):
        log.put("order.events", event_id=f"error {number}", kind="error", client_id=12, order_id=order_id, code=code)
    assert (of(log).orders, of(log).refused) == (3, 1)


def test_money() -> None:
    log = HandLog()
    nav(log, 50, 5.0)  # before the run
    nav(log, 60, 1000.0)  # the last one before the first decision: what its orders find
    decision(log, 1, [])
    nav(log, 110, 1200.0)
    nav(log, 115, 1.0, reconciled=False)
    nav(log, 116, math.nan)
    nav(log, 120, 900.0)
    nav(log, 130, 1100.0)
    log.put(
        "order.fills", fill_id="1", exec_id="a.01", kind="execution", side=1, quantity=10.0, price=20.0, simulated=True
    )
    log.put("order.fills", fill_id="2", exec_id="inferred/b", kind="inferred", side=-1, quantity=5.0, price=10.0)
    log.put("order.fills", fill_id="3", kind="commission", commission=1.5)
    log.put("order.fills", fill_id="4", kind="commission", commission=2.5)
    found = of(log)
    assert (found.nav_start, found.nav_end, found.pnl) == (1000.0, 1100.0, 100.0)
    assert found.max_drawdown == pytest.approx(0.25)
    log.put(
        "order.account", account=ACCOUNT, state_id="peak", event_time=140, nav=1100.0, reconciled=True, drawdown=0.27
    )
    assert of(log).max_drawdown == 0.27  # of a peak between two records
    assert found.turnover == pytest.approx(250 / np.mean([1000, 1200, 900, 1100]))
    assert (found.fills, found.commission, found.simulated) == (2, 4.0, True)


def test_costs_are_signed_and_weighted_by_notional() -> None:
    log = HandLog()
    log.put(
        "order.fills",
        fill_id="1",
        kind="parent",
        side=1,
        quantity=100.0,
        target_quantity=200.0,
        price=10.1,
        arrival_mid=10.0,
    )
    log.put(
        "order.fills",
        fill_id="2",
        kind="parent",
        side=-1,
        quantity=50.0,
        target_quantity=50.0,
        price=20.2,
        arrival_mid=20.0,
    )
    log.put(
        "order.fills",
        fill_id="3",
        kind="parent",
        side=1,
        quantity=0.0,
        target_quantity=10.0,
        price=0.0,
        arrival_mid=5.0,
    )
    log.put(
        "order.costs",
        account=ACCOUNT,
        estimate_id="1",
        profiles=["Standard"],
        linear=[1e-4],
        linear_sd=[1e-5],
        impact=[0.5],
        impact_sd=[0.1],
        parents=[1.0],
    )
    log.put(
        "order.costs",
        account=ACCOUNT,
        estimate_id="2",
        profiles=["Standard"],
        linear=[2e-4],
        linear_sd=[1e-5],
        impact=[0.7],
        impact_sd=[0.1],
        parents=[2.0],
    )
    found = of(log)
    # 1 % paid on 1010, 1 % earned on 1010.
    assert found.realised_cost == pytest.approx(0.0, abs=1e-12)
    assert found.fill_rate == pytest.approx(150 / 260)
    assert (found.learned_linear, found.learned_impact, found.learned_from, found.parents) == (2e-4, 0.7, 2, 3)


def test_latency_needs_both_ends() -> None:
    log = HandLog()
    for number, (cause, sent) in enumerate([(1_000_000_000, 1_010_000_000), (2_000_000_000, 2_030_000_000), (0, 5)]):
        headers = {"cause_ingest_time": str(cause).encode(), "sent_time": str(sent).encode()}
        log.put("order.events", headers, event_id=str(number), kind="placing" if number else "sent")
    found = of(log)
    assert found.latencies == 2
    assert found.latency_s[0] == pytest.approx(0.02)
    assert found.orders == 2


def test_an_empty_recording_has_no_numbers_and_no_problems() -> None:
    found = of(HandLog())
    assert found.problems == []
    assert math.isnan(found.fill_rate)
    assert math.isnan(found.pnl)
    assert found.max_drawdown == 0.0


@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=50))
def test_drawdown_is_the_worst_fall_between_any_two_moments(path: list[float]) -> None:
    naive = max((1 - path[j] / path[i] for i in range(len(path)) for j in range(i, len(path))), default=0.0)
    assert max_drawdown(np.array(path)) == pytest.approx(naive)


def test_an_execution_counts_once_however_often_it_was_corrected() -> None:
    """A correction has the whole new execution; one to nothing took it back."""
    log = HandLog()
    nav(log, 1, 1000.0)
    booked = [
        ("execution", "a.01", 10.0), ("execution", "b.01", 5.0), ("correction", "a.02", 8.0), ("inferred", "inferred/c", 4.0),
        ("correction", "inferred/c.01", 0.0), ("commission", "a.02", 8.0),
    ]  # fmt: skip
    for kind, name, quantity in booked:
        log.put(
            "order.fills",
            account=ACCOUNT,
            kind=kind,
            fill_id=f"{kind}/{name}",
            exec_id=name,
            quantity=quantity,
            price=2.0,
        )
    found = of(log)
    assert found.fills == 2
    assert found.turnover == pytest.approx((8.0 + 5.0) * 2.0 / 1000.0)
