"""The records of fills: executions, corrections, commissions and closed parents, each a pure function of state and event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_plane.ledger.book import INFERRED, Booked, Execution
from order_plane.ledger.state import EngineState, Parent
from triplane.domain.assets import Universe


def execution_fill(
    state: EngineState,
    account: str,
    booked: Booked,
    universe: Universe | None,
    event: Mapping[str, Any],
    *,
    simulated: bool,
) -> dict[str, Any]:
    """FillRecord of an execution or a correction. A correction has the whole new execution, not the difference."""
    execution = booked.execution
    asset = universe[execution.symbol] if universe is not None and execution.symbol in universe else None
    return {
        **_common(state, account, execution, simulated),
        "fill_id": f"{account}/{execution.exec_id}",
        "kind": "correction" if booked.before is not None else "execution",
        "profile": asset.cost_profile if asset else "",
        "currency": asset.currency if asset else "",
        "liquidation": event.get("labels", {}).get("liquidation", "0") == "1",
    }


def commission_fill(
    state: EngineState, account: str, execution: Execution, event: Mapping[str, Any], number: int, *, simulated: bool
) -> dict[str, Any]:
    """FillRecord of a commission report: separate, since it may be late, repeated or negative."""
    values = event.get("values", {})
    return {
        **_common(state, account, execution, simulated),
        "fill_id": f"{account}/{execution.exec_id}/commission/{number}",
        "kind": "commission",
        "commission": execution.commission,
        "realised_pnl": float(values.get("realised_pnl", 0.0)),
        "currency": event.get("labels", {}).get("currency", ""),
    }


def _common(state: EngineState, account: str, execution: Execution, simulated: bool) -> dict[str, Any]:
    order = state.book.orders.get(execution.ref)
    return {
        "event_time": execution.broker_time or state.market_time,
        "available_time": state.market_time,
        "account": account,
        "exec_id": execution.exec_id,
        "order_ref": execution.ref,
        "intent_id": execution.intent_id,
        "seq": order.seq if order else 0,
        "symbol": execution.symbol,
        "con_id": execution.con_id,
        "side": execution.side,
        "quantity": execution.quantity,
        "price": execution.price,
        "broker_time": execution.broker_time,
        "simulated": simulated,
    }


def parent_executions(state: EngineState, parent: Parent) -> list[Execution]:
    """What the broker executed of a parent's orders, oldest first. What a person only told of is not among it: costs are learned from this."""
    book = state.book
    refs = [ref for ref in parent.orders if ref in book.orders]
    bases = [base for ref in refs for base in book.orders[ref].fills if base != INFERRED + ref]
    return [book.executions[base] for base in bases if base in book.executions]


def parent_fill(
    state: EngineState,
    account: str,
    parent: Parent,
    universe: Universe | None,
    event: Mapping[str, Any],
    *,
    simulated: bool,
) -> dict[str, Any]:
    """FillRecord of a closed parent, from its parent_closed event: what costs are learned from.

    `price` is the volume-weighted price of its executions, `commission` what was reported until it closed; nothing filled gives
    quantity 0 and price 0.
    """
    executions = parent_executions(state, parent)
    quantity = sum(execution.quantity for execution in executions)
    paid = sum(execution.quantity * execution.price for execution in executions)
    asset = universe[parent.symbol] if universe is not None and parent.symbol in universe else None
    values = event["values"]
    ends = [e.broker_time or e.booked_time for e in executions]
    return {
        "event_time": max([parent.started, *ends]) if executions else state.market_time,
        "available_time": state.market_time,
        "fill_id": f"{parent.intent_id}/parent",
        "kind": "parent",
        "account": account,
        "intent_id": parent.intent_id,
        "seq": parent.seq,
        "symbol": parent.symbol,
        "con_id": parent.con_id,
        "profile": asset.cost_profile if asset else "",
        "side": parent.side,
        "quantity": quantity,
        "price": paid / quantity if quantity > 0.0 else 0.0,
        "currency": asset.currency if asset else "",
        "commission": sum(execution.commission for execution in executions),
        "arrival_mid": parent.arrival_mid,
        "half_spread": parent.half_spread,
        "sigma_daily": parent.sigma_daily,
        "adv": parent.adv,
        # What superseded orders left unfilled comes on top of what was needed when the parent was opened.
        "target_quantity": max(parent.needed, quantity),
        "final_mid": values["final_mid"],
        "volume": values["volume"],
        "started": parent.started,
        "config_hash": event["config_hash"],
        "simulated": simulated,
    }
