"""What the broker knows, asked for in one go: open and completed orders, executions, positions, account values.

A snapshot that is cut short by an error, a timeout or a lost link is *incomplete* and proves nothing: it never means "flat".
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from triplane.broker.client_library import ExecutionFilter
from triplane.broker.reports import Report, number
from triplane.broker.session import LINK_LOST, BrokerError, BrokerSession
from triplane.domain import names


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One answer to all questions. Only a `complete` one may be compared with anything."""

    account: str
    complete: bool
    problems: tuple[str, ...]
    """Why it is incomplete: each reason once, since a link that ends cuts every question short in the same words."""
    open_orders: tuple[Report, ...] = ()
    completed_orders: tuple[Report, ...] = ()
    executions: tuple[Report, ...] = ()
    positions: tuple[Report, ...] = ()
    values: dict[str, float] = field(default_factory=dict)
    """Account values in the base currency by IB's tag; cash per currency as `CashBalance.<currency>`."""
    base_currency: str = ""
    touched: tuple[str, ...] = ()
    """Symbols that traded while the questions were open: positions may be from before or after, so they are not compared."""

    def report(self) -> Report:
        """As OrderEvent fields of kind `snapshot`; the orders and executions were reported one by one before it."""
        rows = sorted(self.positions, key=lambda row: (row["symbol"], row["con_id"]))
        return {
            "kind": "snapshot",
            "account": self.account,
            "status": "complete" if self.complete else "incomplete",
            "text": "; ".join(self.problems),
            "symbols": [row["symbol"] for row in rows],
            "con_ids": [row["con_id"] for row in rows],
            "quantities": [row["quantities"][0] for row in rows],
            "prices": [row["prices"][0] for row in rows],
            "values": dict(sorted(self.values.items())),
            "refs": sorted(row["order_ref"] for row in self.open_orders if row["order_ref"]),
            "labels": {"base_currency": self.base_currency, "touched": names.join(self.touched)},
        }


async def take(session: BrokerSession, timeout: float = 10.0) -> Snapshot:
    """Ask everything at once and wait at most `timeout` wall seconds. Never raises a BrokerError: it returns an incomplete one."""
    touched: set[str] = set()
    lost: list[str] = []

    def watch(report: Report) -> None:
        if report["kind"] == "execution" and report["labels"]["live"] == "1":
            touched.add(report["symbol"])
        elif report["kind"] == "undecodable" or (report["kind"] == "error" and report["code"] in LINK_LOST):
            lost.append(report["text"])

    if not session.link.up:
        return Snapshot(session.account, False, ("the link to the broker's servers is down",))
    client = session.ib.client
    executions_id = session.new_request_id()
    account_id = session.new_request_id()
    session.taps.append(watch)
    try:
        answers = await asyncio.gather(
            session.collect("open_orders", client.reqAllOpenOrders, timeout),
            session.collect("completed_orders", lambda: client.reqCompletedOrders(False), timeout),
            session.collect(executions_id, lambda: client.reqExecutions(executions_id, ExecutionFilter()), timeout),
            session.collect("positions", client.reqPositions, timeout),
            session.collect(
                account_id, lambda: client.reqAccountUpdatesMulti(account_id, session.account, "", False), timeout
            ),
            return_exceptions=True,
        )
    finally:
        session.taps.remove(watch)
    if session.is_connected:
        client.cancelAccountUpdatesMulti(account_id)
    problems = lost
    rows: list[list[Report]] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            if not isinstance(answer, BrokerError):
                raise answer
            problems.append(str(answer))
            rows.append([])
        else:
            rows.append(answer)
    open_orders, completed, executions, positions, account_rows = rows
    values, base = account_values([tuple(row) for row in account_rows], session.account)
    if not problems and "NetLiquidation" not in values:
        problems.append("the broker told no NetLiquidation for the account")
    if not problems and not session.is_connected:
        problems.append("the link to the broker's servers was lost")
    return Snapshot(
        session.account,
        not problems,
        tuple(dict.fromkeys(problems)),
        tuple(open_orders),
        tuple(completed),
        tuple(executions),
        tuple(row for row in positions if row["account"] == session.account),
        values,
        base,
        tuple(sorted(touched)),
    )


def account_values(rows: list[tuple[str, ...]], account: str) -> tuple[dict[str, float], str]:
    """Numbers of the account in its base currency, from (account, tag, value, currency) rows; and that currency.

    The base currency is the one in which the broker states NetLiquidation. Values that are not numbers are left out.
    """
    mine = [row for row in rows if row[0] == account]
    base = next((currency for _, tag, _, currency in mine if tag == "NetLiquidation" and currency != "BASE"), "")
    values: dict[str, float] = {}
    for _, tag, text, currency in mine:
        try:
            value = number(text)
        except ValueError:
            continue
        if tag == "CashBalance":
            values[f"CashBalance.{currency}"] = value
        elif currency in ("", base):
            values[tag] = value
    return values, base
