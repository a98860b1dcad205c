"""The records of decisions on intents and on child orders, each a pure function of state and verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_plane.codes import Code
from order_plane.ledger.state import EngineState, Parent
from order_plane.trading.risk import Denial, Proposal


def finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """Numbers as the record wants them: floats, in name order."""
    return {name: float(numbers[name]) for name in sorted(numbers)}


def intent_decision(
    state: EngineState,
    account: str,
    decision_id: str,
    record: Mapping[str, Any],
    symbol: str,
    code: str,
    detail: str,
    numbers: Mapping[str, float],
    config_hash: str,
) -> dict[str, Any]:
    """RiskDecision on one name's intent."""
    return {
        "event_time": state.market_time,
        "available_time": state.market_time,
        "decision_id": decision_id,
        "account": account,
        "seq": record["seq"],
        "symbol": symbol,
        "intent_id": f"{account}/{record['seq']}/{symbol}" if symbol else f"{account}/{record['seq']}",
        "allowed": code == Code.OK,
        "code": str(code),
        "detail": detail,
        "numbers": finite(numbers),
        "config_hash": config_hash,
        "intent_config_hash": record["config_hash"],
    }


def child_decision(
    state: EngineState,
    account: str,
    decision_id: str,
    parent: Parent,
    proposal: Proposal | None,
    verdict: Denial,
    config_hash: str,
) -> dict[str, Any]:
    """RiskDecision on one child order, or on the wait for one."""
    numbers = dict(verdict.numbers)
    if proposal is not None:
        numbers |= {"quantity": proposal.side * proposal.quantity, "price": proposal.price}
    return {
        "event_time": state.market_time,
        "available_time": state.market_time,
        "decision_id": decision_id,
        "account": account,
        "seq": parent.seq,
        "symbol": parent.symbol,
        "intent_id": parent.intent_id,
        "order_ref": proposal.ref if proposal else "",
        "child": parent.next_child,
        "allowed": verdict.code is Code.OK,
        "code": str(verdict.code),
        "detail": verdict.detail,
        "numbers": finite(numbers),
        "config_hash": config_hash,
        "intent_config_hash": parent.intent_config_hash,
    }
