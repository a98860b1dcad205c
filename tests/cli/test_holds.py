"""What blocks each symbol and until when, from records through the codec."""

from __future__ import annotations

import dataclasses
from datetime import date, time
from typing import Any

from schemas import codec
from tests.replay.logs import HandLog
from triplane.cli.holds import Hold, abstentions, behind, closed_gates, divided, holds
from triplane.cli.status import next_decision, reference_sources
from triplane.domain.timestamps import SECOND, at

DECISION = at(date(2018, 2, 5), time(15, 50))
NEXT = at(date(2018, 2, 6), time(15, 50))


def record(topic: str, **fields: Any) -> dict[str, Any]:
    value = HandLog().put(topic, **fields).value
    assert value is not None
    return value


def reasons(found: list[Hold]) -> dict[str, list[str]]:
    return {symbol: [hold.reason for hold in found if hold.symbol == symbol] for symbol in {h.symbol for h in found}}


INTENTS = {"outcome": "SOLVED", "held": ["SPY", "AAPL"], "held_codes": ["CLASS_NOT_TRADED", "DATA_DELAYED"]}
ACCOUNT = {"account": "DU1", "reconciled": True, "kill_level": "none", "nav": 1e6}


def test_nothing_known_blocks_nothing() -> None:
    assert holds({}, {}, {}, []) == []
    intents = record("strategy.intents", **(INTENTS | {"held": [], "held_codes": []}))
    assert holds(intents, {}, record("order.account", **ACCOUNT), []) == []


def test_a_reason_with_numbers_replaces_its_bare_code_and_tells_how_many_sessions_more() -> None:
    targets = record(
        "strategy.targets", outcome="SOLVED", held=["AAPL:WARMING momentum 180/252 bars", "SPY:CLASS_NOT_TRADED"]
    )
    found = holds(
        record("strategy.intents", **(INTENTS | {"held_codes": ["CLASS_NOT_TRADED", "WARMING"]})), targets, {}, []
    )
    assert found == [
        Hold("strategy", "AAPL", "WARMING momentum 180/252 bars", "72 more sessions"),
        Hold("strategy", "SPY", "CLASS_NOT_TRADED", "until a later release"),
    ]
    assert str(found[0]) == "AAPL held: WARMING momentum 180/252 bars [strategy plane, 72 more sessions]"
    targets["held"] = ["AAPL:WARMING momentum 251/252 bars"]
    assert holds({}, targets, {}, [])[0].until == "1 more session"


def test_what_the_strategy_held_stays_until_it_decides_again() -> None:
    intents = record("strategy.intents", **INTENTS)
    found = holds(intents, {}, {}, [], (), lambda: NEXT)[0]
    assert str(found) == (
        "AAPL held: DATA_DELAYED [strategy plane, at least until it decides again at 2018-02-06 15:50 New York]"
    )
    assert holds(intents, {}, {}, [])[0].until == "at least until it decides again"


def test_when_the_next_session_decides() -> None:
    barrier = record("strategy.barriers", session="2018-02-05")
    config = record("control.config", values='{"strategy": {"REBALANCE": "15:50"}}')
    assert next_decision(barrier, config) == NEXT
    assert next_decision(barrier, config | {"values": '{"strategy": {"REBALANCE": "15:30"}}'}) == NEXT - 20 * 60 * 10**9
    friday = barrier | {"session": "2018-02-16"}  # Monday was Presidents' Day
    assert next_decision(friday, config) == at(date(2018, 2, 20), time(15, 50))
    assert next_decision({}, config) == next_decision(barrier, {}) == 0
    assert next_decision(barrier | {"session": ""}, config) == 0


def test_two_reasons_of_one_name_both_show() -> None:
    found = holds(
        record("strategy.intents", **INTENTS),
        {},
        record("order.account", **ACCOUNT, held=["AAPL:SYMBOL_HELD"], excluded=["AAPL"]),
        [],
    )
    assert reasons(found)["AAPL"] == ["DATA_DELAYED", "SYMBOL_HELD", "FOREIGN_POSITION"]
    assert [hold.plane for hold in found if hold.symbol == "AAPL"] == ["strategy", "order", "order"]
    assert "`triplane order release 'AAPL' --reason WHY`" in found[1].until


def test_a_hold_of_everything_says_why() -> None:
    intents = record("strategy.intents", outcome="HOLD_INFEASIBLE")
    targets = record("strategy.targets", outcome="HOLD_INFEASIBLE", detail="box and gross contradict each other")
    found = holds(intents, targets, {}, [])
    assert reasons(found)[""] == ["HOLD_INFEASIBLE: box and gross contradict each other"]
    assert str(found[0]).startswith("everything held: HOLD_INFEASIBLE")


def test_an_account_that_is_not_reconciled_or_killed() -> None:
    found = holds(
        {}, {}, record("order.account", account="DU1", nav=1e6, kill_level="full", kill_reason="MAX_DD at 0.16"), []
    )
    assert found[0].reason.startswith("NOT_RECONCILED")
    assert found[0].until == "tried again every RECONCILE_S"
    assert found[1].reason == "KILL_SWITCH full: MAX_DD at 0.16"
    assert "`triplane kill rearm --actor NAME --reason WHY`" in found[1].until
    held = record("strategy.intents", outcome="HOLD_KILLED")
    assert "kill rearm" in holds(held, {}, {}, [])[0].until


def test_a_hold_of_the_whole_account_holds_everything() -> None:
    found = holds({}, {}, record("order.account", **ACCOUNT, held=["*:NAV_JUMP", "KO:ANOMALY"]), [])
    assert reasons(found) == {"": ["NAV_JUMP"], "KO": ["ANOMALY"]}
    assert "`triplane order release '*' --reason WHY`" in found[0].until


def test_a_nav_that_is_not_positive_holds_everything_and_says_so() -> None:
    found = reasons(holds({}, {}, record("order.account", **(ACCOUNT | {"nav": -175_209.0})), []))
    assert found == {"": ["NAV_UNKNOWN: NAV is -175,209, so limits cannot be judged"]}


def test_an_unknown_nav_names_the_position_that_has_no_mark() -> None:
    nan = float("nan")
    rows = {"symbols": ["KO", "XOM"], "position": [5.0, 0.0], "mark": [nan, nan], "unmarked": ["KO"]}
    found = reasons(holds({}, {}, record("order.account", **(ACCOUNT | rows | {"nav": nan})), []))[""]
    assert found == [
        "NAV_UNKNOWN: no quote of KO for days or since the order plane started, or its row of assets.csv is gone"
    ]
    found = reasons(holds({}, {}, record("order.account", **(ACCOUNT | {"nav": nan})), []))[""]
    assert found == ["NAV_UNKNOWN: the broker has not told the cash yet"]


def decision(symbol: str, code: str, seq: int = 5, allowed: bool = False) -> dict[str, Any]:
    return record("order.decisions", symbol=symbol, seq=seq, code=code, detail="Because.", allowed=allowed)


def test_what_the_order_plane_last_refused_of_a_name_shows_while_its_intent_is_in_force() -> None:
    valid = {"event_time": DECISION, "valid_until": DECISION + 60}
    intents = record("strategy.intents", **(INTENTS | valid), seq=5)
    decisions = [
        decision("KO", "OK", allowed=True),
        decision("KO", "QUOTE_STALE"),
        decision("XOM", "QUOTE_STALE"),
        decision("XOM", "OK", allowed=True),
        decision("GE", "AT_TARGET"),
        decision("SPY", "CLASS_NOT_TRADED"),
        decision("MRK", "KILLED"),
        decision("IBM", "COLLAR", seq=4),
        decision("", "HOLD_WARMING"),
    ]
    account = record("order.account", **ACCOUNT, event_time=DECISION + 60)
    found = holds(intents, {}, account, [], decisions)
    assert reasons(found) == {"AAPL": ["DATA_DELAYED"], "SPY": ["CLASS_NOT_TRADED"], "KO": ["QUOTE_STALE: Because."]}
    assert next(hold.plane for hold in found if hold.symbol == "KO") == "order"
    over = record("order.account", **ACCOUNT, event_time=DECISION + 61)
    assert "KO" not in reasons(holds(intents, {}, over, [], decisions))


def test_closed_gates_block_their_scope() -> None:
    since = {"event_time": at(date(2018, 2, 5), time(15, 30)), "source": "ibkr"}
    gates = [
        record("data.gates", gate="freshness", scope="all", code="STALE", detail="62 s > 60 s", **since),
        record("data.gates", gate="price", scope="KO", code="JUMP", **since),
    ]
    found = holds({}, {}, {}, gates)
    assert reasons(found) == {
        "": ["gate freshness of ibkr closed since 2018-02-05 15:30 New York: STALE 62 s > 60 s"],
        "KO": ["gate price of ibkr closed since 2018-02-05 15:30 New York: JUMP"],
    }
    assert {hold.plane for hold in found} == {"data"}


def test_a_closed_gate_of_a_source_without_prices_holds_nothing() -> None:
    """As the strategy has it; until some source of prices is known nothing can be traded, and the gate may be why."""
    gates = [
        record("data.gates", gate="freshness", source="ibkr", code="SOURCE_SILENT"),
        record("data.gates", gate="freshness", source="fred", code="SOURCE_DOWN", detail="no answer."),
        record("data.gates", gate="clock", source="fred", code="CLOCK_AHEAD"),
    ]
    holding, beside = divided(gates, {"ibkr"}, reference_sources)
    assert holding == [gates[0], gates[2]]
    (sentence,) = beside
    assert sentence.startswith("gate freshness of fred closed: SOURCE_DOWN no answer")
    assert sentence.endswith(
        "it holds nothing by itself: what is known of it stays in use until it is stale, and what is not known has a hold of its own"
    )
    assert divided(gates, set(), reference_sources) == (holding, beside)  # before any price has come


def test_a_signal_that_has_no_score_says_for_whom_and_why() -> None:
    slice_ = record(
        "strategy.signals", symbols=["AAPL", "KO"], signals=["MOM", "POS"],
        abstained=["MOM:KO:FACTS_STALE", "POS:AAPL:TBILL_STALE", "POS:KO:TBILL_STALE", "REV:KO:WARMING"],
    )  # fmt: skip
    assert abstentions(slice_) == [
        "MOM abstains for KO: FACTS_STALE",
        "POS abstains for all 2 names: TBILL_STALE",
    ]
    assert abstentions({}) == []


def test_an_order_plane_that_works_off_a_standstill_is_said_to_be_behind() -> None:
    account = record("order.account", **ACCOUNT, event_time=DECISION)
    assert behind(record("data.quotes", available_time=DECISION + 299 * SECOND), account) == ""
    told = behind(record("data.quotes", available_time=NEXT), account)
    assert "up to 2018-02-05 15:50 New York, and the newest quotes are of 2018-02-06 15:50 New York" in told
    ahead = record("order.account", **ACCOUNT, event_time=NEXT + 6 * 86_400 * SECOND)
    assert "stamped ahead of the market, and time does not go back" in behind(
        record("data.quotes", available_time=NEXT), ahead
    )
    assert behind({}, account) == behind(record("data.quotes", available_time=NEXT), {}) == ""


def test_a_gate_record_that_names_no_gate_is_passed_over_and_told() -> None:
    """The strategy plane holds nothing for it either: `everything held: gate  of  closed since 1969` was no hold."""
    log = HandLog()
    blank = dataclasses.replace(log.put("data.gates"), value=codec.defaults("GateState"))
    shut = log.put("data.gates", gate="freshness", source="ibkr", code="STALE")
    again = log.put("data.gates", gate="price", source="ibkr", open=True)
    clock = log.put("data.gates", gate="clock", code="CLOCK")  # holds everything, whoever's clock it is
    closed, passed_over = closed_gates([blank, shut, again, clock, log.put_malformed("data.gates")])
    assert closed == [shut.value, clock.value]
    (sentence,) = passed_over
    assert sentence.startswith("data.gates-0@0 names no gate of a source")
    assert reasons(holds({}, {}, {}, closed))[""] == [
        "gate freshness of ibkr closed: STALE",
        "gate clock closed: CLOCK",
    ]
