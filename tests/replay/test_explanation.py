"""`explain`: the chain of one name at one barrier, from records put by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.replay.logs import HandLog
from triplane.replay.explanation import Explanation, ExplanationError, explain

ACCOUNT = "DU1"


def decided(seq: int = 7, **intents: Any) -> HandLog:
    """A log with one decision over KO, XOM and a held SPY."""
    log = HandLog()
    log.put("strategy.barriers", seq=seq, kind="decision", session="2018-02-05", t=seq)
    log.put(
        "strategy.factors", seq=seq, symbols=["KO", "XOM"], factors=["beta", "size"], exposures=[1.0, 2.0, 3.0, 4.0]
    )
    log.put(
        "strategy.signals", seq=seq, symbols=["KO", "XOM"], signals=["momentum", "reversal"], raw=[0.1, 0.2, 0.3, 0.4],
        scores=[1.0, 2.0, 3.0, 4.0], ic=[0.02, 0.03], weights=[0.4, 0.6], alpha=[0.001, -0.002],
        abstained=["reversal:XOM:FACTS_STALE", "reversal:XO:DEGENERATE"],
    )  # fmt: skip
    log.put("strategy.regime", seq=seq, state="Calm")
    log.put(
        "strategy.targets", account=ACCOUNT, seq=seq, symbols=["KO", "XOM"], outcome="SOLVED", current=[0.0, 0.1], target=[0.2, -0.3],
        alpha=[0.001, -0.002], cost=[1e-4, 2e-4], impact=[0.8, 0.9], held=["SPY:CLASS_NOT_TRADED until a later release"],
    )  # fmt: skip
    known: dict[str, Any] = {
        "outcome": "SOLVED", "symbols": ["KO", "XOM"], "con_ids": [1, 2], "target_qty": [10.0, -20.0], "target_weight": [0.2, -0.3],
        "reference_price": [45.0, 80.0], "sigma_daily": [0.01, 0.02], "adv": [1e7, 2e7], "held": ["SPY"], "held_codes": ["CLASS_NOT_TRADED"],
    }  # fmt: skip
    log.put("strategy.intents", seq=seq, account=ACCOUNT, intent_id=f"{ACCOUNT}/{seq}", **(known | intents))
    return log


def of(log: HandLog, what: str = "XOM") -> Explanation:
    return explain(log.recording(), what)


def test_each_number_is_the_names_own() -> None:
    found = of(decided())
    assert found.factors == {"beta": 2.0, "size": 4.0}
    assert found.signals == [
        {"signal": "momentum", "raw": 0.2, "score": 2.0, "ic": 0.02, "weight": 0.4, "abstains": ""},
        {"signal": "reversal", "raw": 0.4, "score": 4.0, "ic": 0.03, "weight": 0.6, "abstains": "FACTS_STALE"},
    ]
    assert found.alpha == -0.002
    assert (found.target["current"], found.target["target"], found.target["cost"]) == (0.1, -0.3, 2e-4)
    assert (found.intent["target_qty"], found.intent["adv"]) == (-20.0, 2e7)
    assert found.regime["state"] == "Calm"
    assert found.held == ""
    assert of(decided(), "ko").intent["target_qty"] == 10.0  # names may be typed small


def test_without_a_decision_it_says_so() -> None:
    assert of(decided()).verdict == "XOM: target -20 units (-30.00% of NAV); no order was sent: no decision yet"


def test_an_intent_that_waited_until_it_was_given_up_says_both() -> None:
    log = decided()
    about: dict[str, Any] = {"account": ACCOUNT, "intent_id": f"{ACCOUNT}/7/XOM", "symbol": "XOM"}
    log.put("order.decisions", decision_id="1", allowed=True, code="VOLUME_WAIT", **about)
    assert of(log).verdict.endswith("no order was sent: VOLUME_WAIT")
    log.put("order.events", event_id="1", kind="parent_closing", reason="SUPERSEDED", **about)
    assert of(log).verdict.endswith("no order was sent: VOLUME_WAIT, until SUPERSEDED")


def test_a_denied_name_gives_the_code() -> None:
    log = decided()
    log.put(
        "order.decisions",
        decision_id="1",
        account=ACCOUNT,
        intent_id=f"{ACCOUNT}/7/XOM",
        symbol="XOM",
        allowed=False,
        code="ADV_CAP",
    )
    log.put(
        "order.decisions",
        decision_id="2",
        account=ACCOUNT,
        intent_id=f"{ACCOUNT}/7/KO",
        symbol="KO",
        allowed=False,
        code="POV_CAP",
    )
    found = of(log)
    assert [d["code"] for d in found.decisions] == ["ADV_CAP"]
    assert found.verdict.endswith("no order was sent: ADV_CAP")


def test_fills_are_signed_and_only_executions_count() -> None:
    log = decided()
    name = f"{ACCOUNT}/7/XOM"
    log.put("order.decisions", decision_id="1", account=ACCOUNT, intent_id=name, allowed=True, code="OK")
    for number, kind in enumerate(("placing", "sent", "placing")):
        log.put("order.events", event_id=str(number), kind=kind, intent_id=name, order_ref=f"{name}/{number}/0")
    for number, kind in enumerate(("execution", "execution", "commission", "parent")):
        log.put(
            "order.fills",
            fill_id=str(number),
            exec_id=f"a.{number}.01",
            kind=kind,
            intent_id=name,
            side=-1,
            quantity=6.0 + number,
            arrival_mid=80.0,
        )
    found = of(log)
    assert len(found.orders) == 2
    assert found.verdict == "XOM: target -20 units (-30.00% of NAV); 2 orders, -13 units filled"
    assert found.parent["quantity"] == 9.0
    assert [f["kind"] for f in found.fills] == ["execution", "execution", "commission"]


def test_nothing_asked_for_is_told() -> None:
    with pytest.raises(ExplanationError, match="nothing was asked for"):
        of(decided(), " ")


def test_a_held_name_gives_the_fullest_reason() -> None:
    assert of(decided(), "SPY").verdict == "SPY has no intent at barrier 7: CLASS_NOT_TRADED until a later release"


def test_a_hold_of_everything_names_its_outcome() -> None:
    nothing: list[Any] = []
    names = (
        "symbols",
        "con_ids",
        "target_qty",
        "target_weight",
        "reference_price",
        "sigma_daily",
        "adv",
        "held",
        "held_codes",
    )
    log = decided(7, outcome="HOLD_INPUT", **dict.fromkeys(names, nothing))
    assert of(log).verdict == "XOM has no intent at barrier 7: HOLD_INPUT"


def test_a_name_of_a_decision_that_was_held_tells_both_and_no_figures_of_a_solution() -> None:
    nothing: list[Any] = []
    log = decided()
    log.put(
        "strategy.targets", account=ACCOUNT, seq=8, symbols=nothing, outcome="HOLD_UNIVERSE_MISSING", detail="too many: 20 of 20",
        held=["XOM:DATA_STALE no quote"], gross=0.0, volatility=0.0, nav=1e6,
    )  # fmt: skip
    log.put(
        "strategy.intents",
        seq=8,
        account=ACCOUNT,
        intent_id=f"{ACCOUNT}/8",
        outcome="HOLD_UNIVERSE_MISSING",
        held=["XOM"],
    )
    found = of(log)
    assert (
        found.verdict
        == "barrier 8 was held as a whole, HOLD_UNIVERSE_MISSING: too many: 20 of 20; XOM: DATA_STALE no quote"
    )
    assert (found.target["nav"], found.target["outcome"]) == (1e6, "HOLD_UNIVERSE_MISSING")
    assert not {"gross", "volatility"} & found.target.keys()


def test_an_intent_id_names_an_older_barrier() -> None:
    log = decided(6)
    later = decided(7, target_qty=[1.0, 2.0])
    log.records += [r for r in later.records if r.topic == "strategy.intents"]
    assert of(log).intent["target_qty"] == 2.0
    assert of(log, f"{ACCOUNT}/6/XOM").intent["target_qty"] == -20.0
    name = f"{ACCOUNT}/6/XOM"
    for child in (1, 2):
        ids: dict[str, Any] = {"client_id": 12, "order_id": child}
        log.put(
            "order.events", event_id=f"p{child}", kind="placing", intent_id=name, order_ref=f"{name}/{child}/0", **ids
        )
        log.put(
            "order.fills",
            fill_id=str(child),
            kind="execution",
            exec_id=f"x{child}",
            intent_id=name,
            order_ref=f"{name}/{child}/0",
            side=-1,
        )
    log.put("order.events", event_id="s", kind="order_status", status="Filled", filled=3.0, client_id=12, order_id=1)
    log.put("order.events", event_id="e", kind="error", code=201, text="too late", client_id=12, order_id=2)
    assert of(log, f"{name}/1/0").intent["target_qty"] == -20.0, "an order's reference names its intent"
    became = [(o["status"], o["filled"], o["answer"]) for o in of(log, name).orders]
    assert became == [("Filled", 3.0, ""), ("", 0.0, "error 201: too late")]
    (second,) = of(log, f"{name}/2/0").orders
    assert second["answer"] == "error 201: too late"
    assert [fill["order_ref"] for fill in of(log, f"{name}/2/0").fills] == [f"{name}/2/0"]
    with pytest.raises(
        ExplanationError, match=f"{name}/9/0 was never placed; that intent's latest orders are {name}/1/0"
    ):
        of(log, f"{name}/9/0")


@pytest.mark.parametrize(
    ("what", "words"),
    [("NOPE", "not in the universe"), ("DU9/7/XOM", f"barrier 7 was decided for account {ACCOUNT}, not for DU9"), (f"{ACCOUNT}/9/XOM", "no decision was made at barrier 9; the latest are 7"), ("a/b", "ACCOUNT/SEQ/SYMBOL"), ("a/b/c", "ACCOUNT/SEQ/SYMBOL"), (f"{ACCOUNT}/7/XOM/1", "XOM/1' is no intent and no order; write SYMBOL, ACCOUNT/SEQ/SYMBOL or"), (f"{ACCOUNT}/7/XOM/1/0/2", "is no intent and no order")],
)  # fmt: skip
def test_what_is_not_there_is_one_sentence(what: str, words: str) -> None:
    with pytest.raises(ExplanationError, match=words):
        of(decided(), what)


def test_an_empty_log_is_one_sentence() -> None:
    with pytest.raises(ExplanationError, match="no decision has been made yet"):
        explain(HandLog().recording(), "KO")


def test_missing_parts_stay_empty() -> None:
    log = decided()
    log.records = [
        r for r in log.records if r.topic not in ("strategy.factors", "strategy.targets", "strategy.barriers")
    ]
    found = of(log)
    assert (found.factors, found.barrier) == ({}, {})
    log.records = [r for r in log.records if r.topic != "strategy.signals"]
    assert math.isnan(of(log).alpha)


def test_a_decision_that_looked_at_no_name_says_what_held_it() -> None:
    log = HandLog()
    log.put("strategy.barriers", seq=7, kind="decision", session="2018-02-05", t=7)
    log.put("strategy.intents", seq=7, account=ACCOUNT, intent_id=f"{ACCOUNT}/7", outcome="HOLD_CONFIG_MISSING")
    with pytest.raises(
        ExplanationError, match=r"barrier 7 held everything \(HOLD_CONFIG_MISSING\) before any name was looked at"
    ):
        explain(log.recording(), "KO")
