"""What blocks each symbol, from records through the codec."""

from __future__ import annotations

from datetime import date, time
from typing import Any

from tests.replay.logs import HandLog
from triplane.cli.status import blocked
from triplane.domain.timestamps import at


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


def test_a_hold_of_the_whole_account_holds_everything() -> None:
    found = blocked({}, {}, record("order.account", **ACCOUNT, held=["*:NAV_JUMP", "KO:ANOMALY"]), [])
    assert found == {"": ["NAV_JUMP"], "KO": ["ANOMALY"]}


def test_an_unknown_nav_names_the_position_that_has_no_mark() -> None:
    nan = float("nan")
    rows = {"symbols": ["KO", "XOM"], "position": [5.0, 0.0], "mark": [nan, nan], "unmarked": ["KO"]}
    found = blocked({}, {}, record("order.account", **ACCOUNT, nav=nan, **rows), [])[""]
    assert found == ["NAV_UNKNOWN: KO has had no quote since the order plane started, or lost its row of assets.csv"]
    found = blocked({}, {}, record("order.account", **ACCOUNT, nav=nan), [])[""]
    assert found == ["NAV_UNKNOWN: the broker has not told the cash yet"]


def test_closed_gates_block_their_scope() -> None:
    since = {"event_time": at(date(2018, 2, 5), time(15, 30)), "source": "ibkr"}
    gates = [
        record("data.gates", gate="freshness", scope="all", code="STALE", detail="62 s > 60 s", **since),
        record("data.gates", gate="price", scope="KO", code="JUMP", **since),
    ]
    assert blocked({}, {}, {}, gates) == {
        "": ["gate freshness of ibkr closed since 2018-02-05 15:30 New York: STALE 62 s > 60 s"],
        "KO": ["gate price of ibkr closed since 2018-02-05 15:30 New York: JUMP"],
    }
