"""What blocks each symbol, from records through the codec."""

from __future__ import annotations

from typing import Any

from tests.replay.logs import HandLog
from triplane.cli.status import blocked


def record(topic: str, **fields: Any) -> dict[str, Any]:
    value = HandLog().put(topic, **fields).value
    assert value is not None
    return value


INTENTS = {"outcome": "SOLVED", "held": ["SPY", "AAPL"], "held_codes": ["CLASS_NOT_TRADED", "DATA_DELAYED"]}
ACCOUNT = {"account": "DU1", "reconciled": True, "kill_level": "none"}


def test_nothing_known_blocks_nothing() -> None:
    assert blocked({}, {}, {}, []) == {}
    assert (
        blocked(
            record("strategy.intents", **(INTENTS | {"held": [], "held_codes": []})),
            {},
            record("order.account", **ACCOUNT),
            [],
        )
        == {}
    )


def test_a_reason_with_numbers_replaces_its_bare_code() -> None:
    targets = record(
        "strategy.targets", outcome="SOLVED", held=["AAPL:WARMING momentum 180/252 bars", "SPY:CLASS_NOT_TRADED"]
    )
    found = blocked(
        record("strategy.intents", **(INTENTS | {"held_codes": ["CLASS_NOT_TRADED", "WARMING"]})), targets, {}, []
    )
    assert found == {"SPY": ["CLASS_NOT_TRADED"], "AAPL": ["WARMING momentum 180/252 bars"]}


def test_two_reasons_of_one_name_both_show() -> None:
    found = blocked(
        record("strategy.intents", **INTENTS),
        {},
        record("order.account", **ACCOUNT, held=["AAPL:SYMBOL_HELD"], excluded=["AAPL"]),
        [],
    )
    assert found["AAPL"] == ["DATA_DELAYED", "SYMBOL_HELD", "FOREIGN_POSITION"]


def test_a_hold_of_everything_says_why() -> None:
    intents = record("strategy.intents", outcome="HOLD_INFEASIBLE")
    targets = record("strategy.targets", outcome="HOLD_INFEASIBLE", detail="box and gross contradict each other")
    assert blocked(intents, targets, {}, [])[""] == ["HOLD_INFEASIBLE: box and gross contradict each other"]


def test_an_account_that_is_not_reconciled_or_killed() -> None:
    found = blocked(
        {}, {}, record("order.account", account="DU1", kill_level="full", kill_reason="MAX_DD at 0.16"), []
    )[""]
    assert found[0].startswith("NOT_RECONCILED")
    assert found[1] == "KILL_SWITCH full: MAX_DD at 0.16; `triplane kill rearm` lifts it"


def test_closed_gates_block_their_scope() -> None:
    gates = [
        record("data.gates", gate="freshness", source="ibkr", scope="all", code="STALE", detail="62 s > 60 s"),
        record("data.gates", gate="price", source="ibkr", scope="KO", code="JUMP"),
    ]
    assert blocked({}, {}, {}, gates) == {
        "": ["gate freshness of ibkr closed: STALE 62 s > 60 s"],
        "KO": ["gate price of ibkr closed: JUMP"],
    }
