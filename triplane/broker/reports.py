"""What the broker said, as the fields of an OrderEvent record: plain dictionaries, one per raw callback.

Pure functions of the client's objects. Nothing is inferred here: a field the broker did not send keeps its default, and unset
numbers become 0. Signs and units as in the record: quantities in units and positive, `action` BUY or SELL, times ns UTC.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from triplane.broker.client_library import UNSET_DOUBLE, UNSET_INTEGER
from triplane.domain import names
from triplane.domain.timestamps import from_datetime

Report = dict[str, Any]

_SIDE = {"BOT": "BUY", "SLD": "SELL", "BUY": "BUY", "SELL": "SELL", "SSHORT": "SELL"}


def number(value: Any) -> float:
    """A float of what the client holds; 0.0 for None, empty, NaN and the protocol's "unset" values."""
    if value is None or value == "":
        return 0.0
    result = float(value)
    if not math.isfinite(result) or result in (UNSET_DOUBLE, float(UNSET_INTEGER)):
        return 0.0
    return result


def whole(value: Any) -> int:
    """An int of what the client holds; 0 when unset."""
    return int(number(value))


def connected(account: str, client_id: int, next_order_id: int, library: str, server_version: int) -> Report:
    """The session is up: `order_id` is the smallest id that the broker says may be used next."""
    return {
        "kind": "connected",
        "account": account,
        "client_id": client_id,
        "order_id": next_order_id,
        "labels": {"library": library, "server_version": str(server_version)},
    }


def disconnected(account: str, client_id: int, text: str) -> Report:
    """The socket is gone; every order without a final state is unknown from here on."""
    return {"kind": "disconnected", "account": account, "client_id": client_id, "text": text}


def name_of(contract: Any) -> str:
    """The broker's name of an instrument: a share's (`names.share_name`); the local symbol of anything else, since an option or a
    future bears its underlying's symbol as well, and would be taken for the shares.
    """
    if str(contract.secType) in ("STK", ""):
        return names.share_name(str(contract.symbol), str(contract.currency))
    return str(contract.localSymbol) or f"{contract.symbol} {contract.secType}"


def order_fields(contract: Any, order: Any) -> Report:
    """What openOrder and completedOrder have in common."""
    report: Report = {
        "account": str(order.account),
        "order_ref": str(order.orderRef),
        "symbol": name_of(contract),
        "con_id": whole(contract.conId),
        "perm_id": whole(order.permId),
        "action": str(order.action),
        "order_type": str(order.orderType),
        "tif": str(order.tif),
        "quantity": number(order.totalQuantity),
        "limit_price": number(order.lmtPrice),
        "algo": str(order.algoStrategy or ""),
        "labels": {},
    }
    if order.goodTillDate:
        report["labels"]["good_till_date"] = str(order.goodTillDate)
    return report


def open_order(order_id: int, contract: Any, order: Any, state: Any) -> Report:
    """openOrder: an order as the broker holds it, its own permanent id and status included."""
    report = order_fields(contract, order) | {
        "kind": "open_order",
        "order_id": int(order_id),
        "client_id": whole(order.clientId),
        "status": str(state.status),
    }
    if state.warningText:
        report["text"] = str(state.warningText)
    return report


def completed_order(contract: Any, order: Any, state: Any) -> Report:
    """completedOrder: an order of today that is final. The broker gives no order id, no client id and no cancelled quantity."""
    report = order_fields(contract, order) | {
        "kind": "completed_order",
        "status": str(state.status),
        "filled": number(order.filledQuantity),
    }
    if state.completedStatus:
        report["text"] = str(state.completedStatus)
    if state.completedTime:
        report["labels"]["completed_time"] = str(state.completedTime)
    return report


def order_status(
    order_id: int,
    status: str,
    filled: Any,
    remaining: Any,
    avg_price: Any,
    perm_id: int,
    last_price: Any,
    client_id: int,
    why_held: str,
) -> Report:
    """orderStatus: it names no orderRef; the order is found by (client_id, order_id) or perm_id."""
    report: Report = {
        "kind": "order_status",
        "order_id": int(order_id),
        "client_id": int(client_id),
        "perm_id": int(perm_id),
        "status": status,
        "filled": number(filled),
        "remaining": number(remaining),
        "avg_price": number(avg_price),
        "last_price": number(last_price),
        "labels": {},
    }
    if why_held:
        report["labels"]["why_held"] = why_held
    return report


def execution(contract: Any, execution_: Any, *, live: bool) -> Report:
    """execDetails: one fill. `live` is False for an answer to a request for executions, which repeats what may be known."""
    moment = execution_.time
    broker_time = from_datetime(moment) if isinstance(moment, datetime) and moment.tzinfo is not None else 0
    return {
        "kind": "execution",
        "account": str(execution_.acctNumber),
        "order_ref": str(execution_.orderRef),
        "exec_id": str(execution_.execId),
        "symbol": name_of(contract),
        "con_id": whole(contract.conId),
        "order_id": whole(execution_.orderId),
        "client_id": whole(execution_.clientId),
        "perm_id": whole(execution_.permId),
        "action": _SIDE.get(str(execution_.side), str(execution_.side)),
        "quantity": number(execution_.shares),
        "last_price": number(execution_.price),
        "avg_price": number(execution_.avgPrice),
        "filled": number(execution_.cumQty),
        "broker_time": broker_time,
        "labels": {
            "live": "1" if live else "0",
            "liquidation": "1" if whole(execution_.liquidation) else "0",
            "currency": str(contract.currency),
            "exchange": str(execution_.exchange),
        },
    }


def commission(report: Any) -> Report:
    """commissionReport: may be late, repeated, unset, negative or in another currency; `values` has what was set."""
    values = {"commission": number(report.commission)}
    if number(report.realizedPNL):
        values["realised_pnl"] = number(report.realizedPNL)
    return {
        "kind": "commission",
        "exec_id": str(report.execId),
        "values": values,
        "labels": {"currency": str(report.currency)},
    }


def position(account: str, contract: Any, quantity: float, avg_cost: float) -> Report:
    """position: the broker's signed position in `quantities`, average cost in `prices`."""
    return {
        "kind": "position",
        "account": account,
        "symbol": name_of(contract),
        "con_id": whole(contract.conId),
        "symbols": [name_of(contract)],
        "con_ids": [whole(contract.conId)],
        "quantities": [number(quantity)],
        "prices": [number(avg_cost)],
        "labels": {"currency": str(contract.currency), "sec_type": str(contract.secType)},
    }


def error(order_id: int, client_id: int, code: int, text: str) -> Report:
    """error: about the order `order_id`, or about the connection when that is 0. What a code means is the engine's business."""
    return {"kind": "error", "order_id": order_id, "client_id": client_id, "code": int(code), "text": text}


def undecodable(fields: list[str], problem: str) -> Report:
    """A message that the client could not decode. It may have been a fill, so a reconciliation has to follow."""
    return {
        "kind": "undecodable",
        "text": f"{problem}: {','.join(fields)[:500]}",
        "labels": {"message": fields[0] if fields else ""},
    }
