"""Server messages as frames (layouts of server version 176). Prices in the contract's currency, sizes in units, times as IB writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from triplane.domain.timestamps import SECOND
from triplane.paper.market.history import Row
from triplane.paper.protocol.contracts import Contract, ib_time
from triplane.paper.protocol.order_fields import C11
from triplane.paper.protocol.wire import SERVER_VERSION, UNSET_DOUBLE, Field, frame

BID, ASK, LAST, HIGH, LOW, VOLUME, CLOSE, OPEN, LAST_TIME, HALTED = 1, 2, 4, 6, 7, 8, 9, 14, 45, 49
DIVIDENDS: Final = 59
BID_SIZE, ASK_SIZE, LAST_SIZE, SHORTABLE, SHORTABLE_SHARES = 0, 3, 5, 46, 89
# Delayed ticks are their own types, in this order of the live ones.
DELAYED: Final = {
    BID: 66,
    ASK: 67,
    LAST: 68,
    BID_SIZE: 69,
    ASK_SIZE: 70,
    LAST_SIZE: 71,
    HIGH: 72,
    LOW: 73,
    VOLUME: 74,
    CLOSE: 75,
    OPEN: 76,
}
DELAYED_LAST_TIME: Final = 88


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill as the broker tells it. `side` +1 or -1, `cumulative` and `average` after it; `realised` net of commission."""

    exec_id: str
    ns: int
    client_id: int
    order_id: int
    perm_id: int
    order_ref: str
    symbol: str
    side: int
    quantity: float
    price: float
    cumulative: float
    average: float
    commission: float
    realised: float
    opens: bool
    added_liquidity: bool


def hello(connected: str) -> bytes:
    """The handshake's answer."""
    return frame(SERVER_VERSION, connected)


def error(req_id: int, code: int, text: str) -> bytes:
    """An error or notice; req_id -1 means that it belongs to no request."""
    return frame("4", "2", req_id, code, text, "")


def managed_accounts(account: str) -> bytes:
    """The accounts of the login."""
    return frame("15", "1", account)


def next_valid_id(order_id: int) -> bytes:
    """The next order id."""
    return frame("9", "1", order_id)


def current_time(ns: int) -> bytes:
    """Market time, whole seconds."""
    return frame("49", "1", ns // SECOND)


def simple(msg_id: int, *fields: Field) -> bytes:
    """A message that is its id and plain fields, such as an end marker."""
    return frame(msg_id, *fields)


def account_value(tag: str, value: str, currency: str, account: str) -> bytes:
    """updateAccountValue."""
    return frame("6", "2", tag, value, currency, account)


def account_multi(req_id: int, account: str, model: str, tag: str, value: str, currency: str) -> bytes:
    """accountUpdateMulti."""
    return frame("73", "1", req_id, account, model, tag, value, currency)


def account_summary(req_id: int, account: str, tag: str, value: str, currency: str) -> bytes:
    """accountSummary."""
    return frame("63", "1", req_id, account, tag, value, currency)


def portfolio(
    contract: Contract,
    quantity: float,
    mark: float,
    average_cost: float,
    unrealised: float,
    realised: float,
    account: str,
) -> bytes:
    """updatePortfolio; this one message has primaryExchange and no exchange."""
    v = contract.values
    return frame(
        "7", "8", v["conId"], v["symbol"], v["secType"], v["lastTradeDateOrContractMonth"], v["strike"], v["right"], v["multiplier"],
        v["primaryExchange"], v["currency"], v["localSymbol"], v["tradingClass"], quantity, mark, quantity * mark, average_cost,
        unrealised, realised, account,
    )  # fmt: skip


def position(account: str, contract: Contract, quantity: float, average_cost: float) -> bytes:
    """position."""
    return frame("61", "3", account, *(contract.values[name] for name in C11), quantity, average_cost)


def order_status(
    order_id: int,
    status: str,
    filled: float,
    remaining: float,
    average: float,
    perm_id: int,
    last_price: float,
    client_id: int,
    why_held: str,
) -> bytes:
    """orderStatus."""
    return frame("3", order_id, status, filled, remaining, average, perm_id, 0, last_price, client_id, why_held, 0)


def exec_details(req_id: int, contract: Contract, execution: Execution, account: str) -> bytes:
    """execDetails, exactly the 31 fields that the clients take; req_id -1 for a live fill."""
    e = execution
    return frame(
        "11", req_id, e.order_id, *(contract.values[name] for name in C11), e.exec_id, ib_time(e.ns), account, contract.asset.exchange,
        "BOT" if e.side > 0 else "SLD", e.quantity, e.price, e.perm_id, e.client_id, 0, e.cumulative, e.average, e.order_ref, "", "", "",
        1 if e.added_liquidity else 2,
    )  # fmt: skip


def commission_report(execution: Execution, currency: str) -> bytes:
    """commissionReport; the realised profit of an opening fill is unset, as IB sends it."""
    realised: Field = UNSET_DOUBLE if execution.opens else execution.realised
    return frame("59", "1", execution.exec_id, execution.commission, currency, realised, "", "")


def tick_price(req_id: int, kind: int, price: float, size: float) -> bytes:
    """tickPrice with its size."""
    return frame("1", "6", req_id, kind, price, size, "0")


def tick_size(req_id: int, kind: int, size: float) -> bytes:
    """tickSize."""
    return frame("2", "6", req_id, kind, size)


def tick_generic(req_id: int, kind: int, value: float) -> bytes:
    """tickGeneric."""
    return frame("45", "6", req_id, kind, value)


def tick_string(req_id: int, kind: int, value: str) -> bytes:
    """tickString."""
    return frame("46", "6", req_id, kind, value)


def real_time_bar(req_id: int, start: int, values: Sequence[Field]) -> bytes:
    """realtimeBar; `start` ns UTC, `values` open, high, low, close, volume, volume-weighted price, count."""
    return frame("50", "3", req_id, start // SECOND, *values)


def historical_data(req_id: int, rows: Sequence[Row], daily: bool, format_date: int) -> bytes:
    """historicalData: dates YYYYMMDD for daily bars, else epoch seconds (format 2) or time with zone (format 1)."""
    fields: list[Field] = []
    for row in rows:
        when = f"{row.day:%Y%m%d}" if daily else str(row.start // SECOND) if format_date == 2 else ib_time(row.start)
        fields += (when, row.open, row.high, row.low, row.close, row.volume, row.wap, row.count)
    return frame("17", req_id, ib_time(rows[0].start), ib_time(rows[-1].start), len(rows), *fields)


def symbol_samples(req_id: int, contracts: Iterable[Contract]) -> bytes:
    """symbolSamples."""
    found = list(contracts)
    fields: list[Field] = []
    for c in found:
        fields += (
            c.con_id,
            c.values["symbol"],
            c.values["secType"],
            c.asset.primary_exchange,
            c.asset.currency,
            0,
            c.asset.name,
            "",
        )
    return frame("79", req_id, len(found), *fields)


def market_rule(rule_id: int, bands: Sequence[tuple[float, float]]) -> bytes:
    """marketRule."""
    return frame("93", rule_id, len(bands), *(value for band in bands for value in band))
