"""Raw callbacks of the client, before its own order model sees them.

The client's `Trade` model marks live orders as cancelled (error 10349, a refused modify), drops repeated executions and counts a
correction as a second fill (see the protocol reference, section 6). So order callbacks do not reach it: they go to the listener as
they came. Everything else (market data, contract details, account values) still works as the client's users know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from triplane.broker import reports
from triplane.broker.client_library import IB, Client, Decoder, Wrapper
from triplane.broker.reports import Report

# "Farm connection is OK" notices: the broker repeats them all day and they say nothing about an order.
FARM_OK = frozenset({2104, 2106, 2107, 2108, 2119, 2158})

DIVIDENDS_TICK = 59


class Listener(Protocol):
    """Who hears the raw callbacks. Called on the event loop, in the order in which messages arrived; must not block or raise."""

    def on_report(self, report: Report) -> None:
        """An order, execution, commission or position message."""

    def on_error(self, request_id: int, code: int, text: str, *, of_request: bool) -> None:
        """An error message; `of_request` when it answers a request of the client rather than an order."""

    def on_answer(self, key: object, row: object) -> None:
        """One row of the answer to the request `key`."""

    def on_end(self, key: object) -> None:
        """The end marker of the request `key`."""

    def on_dividends(self, contract: Any, text: str) -> None:
        """IB's string of a subscribed contract's past and coming dividends."""

    def on_data(self) -> None:
        """Bytes arrived on the socket."""

    def on_next_order_id(self, order_id: int) -> None:
        """The broker's nextValidId."""


class RawWrapper(Wrapper):  # type: ignore[misc]
    """The client's Wrapper with order callbacks diverted to a listener."""

    def __init__(self, ib: Any, listener: Listener) -> None:
        self.listener = listener
        super().__init__(ib)

    # -- orders ----------------------------------------------------------------------------------------------------------------
    def openOrder(self, orderId: int, contract: Any, order: Any, orderState: Any) -> None:  # noqa: N802
        if order.whatIf:
            super().openOrder(orderId, contract, order, orderState)
            return
        report = reports.open_order(orderId, contract, order, orderState)
        self.listener.on_answer("open_orders", report)
        self.listener.on_report(report)

    def openOrderEnd(self) -> None:  # noqa: N802
        self.listener.on_end("open_orders")
        super().openOrderEnd()

    def completedOrder(self, contract: Any, order: Any, orderState: Any) -> None:  # noqa: N802
        report = reports.completed_order(contract, order, orderState)
        self.listener.on_answer("completed_orders", report)
        self.listener.on_report(report)

    def completedOrdersEnd(self) -> None:  # noqa: N802
        self.listener.on_end("completed_orders")
        super().completedOrdersEnd()

    def orderStatus(  # noqa: N802
        self,
        orderId: int,
        status: str,
        filled: float,
        remaining: float,
        avgFillPrice: float,
        permId: int,
        parentId: int,
        lastFillPrice: float,
        clientId: int,
        whyHeld: str,
        mktCapPrice: float = 0.0,
    ) -> None:
        self.listener.on_report(
            reports.order_status(
                orderId, status, filled, remaining, avgFillPrice, permId, lastFillPrice, clientId, whyHeld
            )
        )

    def execDetails(self, reqId: int, contract: Any, execution: Any) -> None:  # noqa: N802
        report = reports.execution(contract, execution, live=reqId == -1)
        if reqId != -1:
            self.listener.on_answer(reqId, report)
        self.listener.on_report(report)

    def execDetailsEnd(self, reqId: int) -> None:  # noqa: N802
        self.listener.on_end(reqId)
        super().execDetailsEnd(reqId)

    def commissionReport(self, commissionReport: Any) -> None:  # noqa: N802
        self.listener.on_report(reports.commission(commissionReport))

    # -- contracts -------------------------------------------------------------------------------------------------------------
    def contractDetails(self, reqId: int, contractDetails: Any) -> None:  # noqa: N802
        self.listener.on_answer(reqId, contractDetails)
        if reqId in self._futures:
            super().contractDetails(reqId, contractDetails)

    def contractDetailsEnd(self, reqId: int) -> None:  # noqa: N802
        self.listener.on_end(reqId)
        super().contractDetailsEnd(reqId)

    # -- account ---------------------------------------------------------------------------------------------------------------
    def position(self, account: str, contract: Any, posSize: float, avgCost: float) -> None:
        report = reports.position(account, contract, posSize, avgCost)
        self.listener.on_answer("positions", report)
        self.listener.on_report(report)
        super().position(account, contract, posSize, avgCost)

    def positionEnd(self) -> None:  # noqa: N802
        self.listener.on_end("positions")
        super().positionEnd()

    def accountUpdateMulti(  # noqa: N802
        self, reqId: int, account: str, modelCode: str, tag: str, val: str, currency: str
    ) -> None:
        self.listener.on_answer(reqId, (account, tag, val, currency))
        super().accountUpdateMulti(reqId, account, modelCode, tag, val, currency)

    def accountUpdateMultiEnd(self, reqId: int) -> None:  # noqa: N802
        self.listener.on_end(reqId)
        super().accountUpdateMultiEnd(reqId)

    # -- dividends -------------------------------------------------------------------------------------------------------------
    def tickString(self, reqId: int, tickType: int, value: str) -> None:  # noqa: N802
        if tickType != DIVIDENDS_TICK:
            super().tickString(reqId, tickType, value)
        elif (ticker := self.reqId2Ticker.get(reqId)) is not None:
            # The client only logs what it cannot read, and forgets the text.
            self.listener.on_dividends(ticker.contract, value)

    # -- connection ------------------------------------------------------------------------------------------------------------
    def nextValidId(self, reqId: int) -> None:  # noqa: N802
        self.listener.on_next_order_id(reqId)
        super().nextValidId(reqId)

    def error(self, reqId: int, errorCode: int, errorString: str, advancedOrderRejectJson: str = "") -> None:
        self.listener.on_error(reqId, errorCode, errorString, of_request=reqId in self._futures)
        super().error(reqId, errorCode, errorString, advancedOrderRejectJson)

    def tcpDataArrived(self) -> None:  # noqa: N802
        self.listener.on_data()
        super().tcpDataArrived()


class CheckedDecoder(Decoder):  # type: ignore[misc]
    """The client's decoder, but what it cannot decode is reported instead of only logged: it may have been a fill."""

    def __init__(self, wrapper: RawWrapper) -> None:
        super().__init__(wrapper, 0)
        self._listener = wrapper.listener

    def interpret(self, fields: list[str]) -> None:
        handlers: Mapping[int, Any] = self.handlers
        try:
            handlers[int(fields[0])](fields)
        except Exception as problem:
            self.logger.error("undecodable message %s: %r", fields[:1], problem)
            self._listener.on_report(reports.undecodable(fields, repr(problem)))


class RawIB(IB):  # type: ignore[misc]
    """The client with raw order callbacks; its asynchronous request methods are unchanged."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self.wrapper = RawWrapper(self, listener)
        self.client = Client(self.wrapper)
        self.client.decoder = CheckedDecoder(self.wrapper)
        self.client.apiEnd += self.disconnectedEvent

    def __del__(self) -> None:
        # The client disconnects in its finaliser, which logs through closed handlers at interpreter exit; sessions close themselves.
        return
