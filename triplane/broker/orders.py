"""Orders onto the socket: raw messages only, so that nothing is sent twice and nothing is judged here.

`IB.placeOrder` sends and then asserts; `IB.cancelOrder` marks orders cancelled on its own (protocol reference, section 6). These
functions write one message each and return; what became of it is in the reports. Who may send, and when, is the order plane's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from triplane.broker.client_library import Contract, Order, TagValue
from triplane.broker.session import BrokerSession, BrokerUnavailable
from triplane.domain.ids import ORDER_REF_MAX
from triplane.domain.timestamps import to_datetime

Tif = Literal["DAY", "IOC", "GTD"]
TIFS = ("DAY", "IOC", "GTD")
ADAPTIVE_PRIORITIES = ("Urgent", "Normal", "Patient")


class OrderFieldError(ValueError):
    """An order that must not be sent because its fields contradict each other."""


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """Fields of one order message. `quantity` in units, positive; `limit_price` 0 for a market order; `good_till` ns UTC."""

    order_ref: str
    account: str
    symbol: str
    con_id: int
    action: Literal["BUY", "SELL"]
    order_type: Literal["LMT", "MKT"]
    quantity: float
    limit_price: float = 0.0
    tif: Tif = "DAY"
    good_till: int = 0
    algo: Literal["", "Adaptive"] = ""
    algo_priority: Literal["Urgent", "Normal", "Patient"] = "Normal"
    exchange: str = "SMART"
    primary_exchange: str = ""
    currency: str = "USD"
    sec_type: str = "STK"


def contract_of(request: OrderRequest) -> Any:
    """The client's Contract: by contract id when it is known, else by symbol and exchange."""
    return Contract(
        conId=request.con_id,
        symbol=request.symbol,
        secType=request.sec_type,
        exchange=request.exchange,
        primaryExchange=request.primary_exchange,
        currency=request.currency,
    )


def order_of(request: OrderRequest) -> Any:
    """The client's Order. Raises OrderFieldError for fields that IB would refuse or, worse, reinterpret."""
    ref = request.order_ref
    if not ref or len(ref) > ORDER_REF_MAX or not ref.isascii():
        raise OrderFieldError(f"order ref {ref!r} must be 1 to {ORDER_REF_MAX} ASCII characters")
    if not request.account:
        raise OrderFieldError(f"{ref}: an order without an account is sent to whichever the login prefers; name one")
    if request.action not in ("BUY", "SELL"):
        raise OrderFieldError(f"{ref}: action {request.action!r} is neither BUY nor SELL")
    if not request.quantity > 0 or request.quantity != int(request.quantity):
        raise OrderFieldError(f"{ref}: quantity {request.quantity!r} is not a positive whole number of units")
    if request.order_type not in ("LMT", "MKT"):
        raise OrderFieldError(f"{ref}: order type {request.order_type!r} is neither LMT nor MKT")
    if (request.order_type == "LMT") != (request.limit_price > 0):
        raise OrderFieldError(f"{ref}: {request.order_type} with limit price {request.limit_price!r}")
    if request.tif not in TIFS:
        # GTC is cancelled by IB at corporate actions and survives a crash of ours: never sent.
        raise OrderFieldError(f"{ref}: time in force {request.tif!r} is not one of {', '.join(TIFS)}")
    if (request.tif == "GTD") != (request.good_till > 0):
        raise OrderFieldError(f"{ref}: time in force {request.tif} with good-till {request.good_till}")
    order = Order()
    order.action = request.action
    order.totalQuantity = float(request.quantity)
    order.orderType = request.order_type
    order.tif = request.tif
    order.account = request.account
    order.orderRef = ref
    if request.order_type == "LMT":
        order.lmtPrice = float(request.limit_price)
    if request.tif == "GTD":
        order.goodTillDate = to_datetime(request.good_till).strftime("%Y%m%d-%H:%M:%S")  # IB's UTC notation
    if request.algo:
        if request.algo != "Adaptive" or request.algo_priority not in ADAPTIVE_PRIORITIES:
            raise OrderFieldError(
                f"{ref}: algo {request.algo!r}/{request.algo_priority!r} is not Adaptive with a known priority"
            )
        order.algoStrategy = request.algo
        order.algoParams = [TagValue("adaptivePriority", request.algo_priority)]
    return order


def _client(session: BrokerSession) -> Any:
    if not session.is_connected:
        raise BrokerUnavailable("the broker connection is down; nothing was sent")
    return session.ib.client


def place(session: BrokerSession, order_id: int, request: OrderRequest) -> None:
    """Write one placeOrder message. With the id of a live order it is a modify, so ids come from the write-ahead record.

    Raises OrderFieldError or BrokerUnavailable, and then nothing was sent. Returning proves nothing about the broker.
    """
    if order_id <= 0:
        raise OrderFieldError(f"{request.order_ref}: order id {order_id} is not positive")
    contract, order = contract_of(request), order_of(request)
    _client(session).placeOrder(order_id, contract, order)


def cancel(session: BrokerSession, order_id: int) -> None:
    """Ask to cancel an order of this client id. The order is live until the broker says otherwise. Raises BrokerUnavailable."""
    _client(session).cancelOrder(order_id)


def global_cancel(session: BrokerSession) -> None:
    """Ask to cancel every order of the account, manual and foreign ones included. Raises BrokerUnavailable."""
    _client(session).reqGlobalCancel()
