"""From the desk's events to the journal and to clients: who is told what, in which order, and which faults get in between.

Live order messages go to the placing client and to the master client id. The sequences are those of a real gateway:

- accept: openOrder, orderStatus
- fill: execDetails, openOrder, orderStatus, commissionReport, position (to those who subscribed)
- end: orderStatus(Cancelled), error 202
- refuse: an error on the order id, nothing else
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict

from triplane.paper.desk.account import CURRENCY
from triplane.paper.desk.journal import Journal
from triplane.paper.desk.order import Ended, Event, Filled, Order, Refused, Shown
from triplane.paper.desk.orders import Desk
from triplane.paper.protocol import messages as m
from triplane.paper.protocol.messages import Execution
from triplane.paper.protocol.order_fields import open_order
from triplane.paper.server.client import Client
from triplane.paper.server.faults import Faults


class Reports:
    """Tells clients and the journal about orders."""

    def __init__(
        self,
        desk: Desk,
        journal: Journal,
        faults: Faults,
        clients: Callable[[], Iterable[Client]],
        master_client_id: int | None,
    ) -> None:
        self.desk = desk
        self.journal = journal
        self.faults = faults
        self._clients = clients
        self._master = master_client_id

    def publish(self, events: Iterable[Event], now: int, order_ref: str = "") -> bool:
        """Journal each event, then tell it; whether there were fills. `now` is market time, `order_ref` that of the message answered."""
        delay = 0.0
        filled = False
        for event in events:
            self._record(event, now, order_ref)
            match event:
                case Shown(order, margins, acknowledges):
                    delay = self.faults.ack_delay() if acknowledges else delay
                    self._tell(order.client_id, self._shown(order, margins), delay)
                case Refused(client_id, order_id, code, text):
                    self._tell(client_id, m.error(order_id, code, text), delay)
                case Ended(order, text):
                    self._tell(order.client_id, self._status(order) + m.error(order.order_id, 202, text), delay)
                case Filled(order, execution):
                    filled = True
                    self._tell_fill(order, execution, delay, now)
        if filled:
            self._tell_positions()
        return filled

    def open_order(self, order: Order) -> bytes:
        """openOrder and orderStatus of an order as it is."""
        return self._shown(order, None)

    def _record(self, event: Event, now: int, order_ref: str) -> None:
        match event:
            case Shown(order, None, True):
                self.journal.append(
                    "ack", now, orderRef=order.order_ref, client_id=order.client_id, order_id=order.order_id, perm_id=order.perm_id,
                    status=order.status, values=order.values, terms=asdict(order.terms),
                )  # fmt: skip
            case Filled(order, execution):
                self.journal.append(
                    "execution", now, orderRef=order.order_ref, execution=asdict(execution), status=order.status
                )
            case Ended(order, text):
                self.journal.append(
                    "ended", now, orderRef=order.order_ref, perm_id=order.perm_id, status=order.status, text=text
                )
            case Refused(client_id, order_id, code, text):
                known = self.desk.find(client_id, order_id)
                ref = order_ref or (known.order_ref if known else "")
                self.journal.append(
                    "refused", now, orderRef=ref, client_id=client_id, order_id=order_id, code=code, text=text
                )
            case Shown():
                pass  # a change of state that follows from other lines, or the answer to a what-if

    def _tell(self, client_id: int, data: bytes, delay: float) -> None:
        for client in list(self._clients()):
            if client.client_id in (client_id, self._master):
                client.send_order(data, delay)

    def _tell_fill(self, order: Order, execution: Execution, delay: float, now: int) -> None:
        if self.faults.use("disconnect_mid_fill"):
            for client in list(self._clients()):
                if client.client_id == order.client_id:
                    client.abort()
            return
        contract, account = order.contract, self.desk.account.name
        detail = m.exec_details(-1, contract, execution, account)
        commission = m.commission_report(execution, CURRENCY)
        if self.faults.use("suppress_executions"):
            detail = commission = b""
        copies = 2 if self.faults.use("duplicate_executions") else 1
        self._tell(order.client_id, detail * copies + self._shown(order, None) + commission * copies, delay)
        if self.faults.use("correct_executions"):
            corrected = self.desk.correct(execution, round(execution.price + 0.01 * execution.side, 4))
            self.journal.append(
                "correction", now, orderRef=order.order_ref, replaces=execution.exec_id, execution=asdict(corrected)
            )
            self._tell(
                order.client_id,
                m.exec_details(-1, contract, corrected, account) + m.commission_report(corrected, CURRENCY),
                delay,
            )

    def _tell_positions(self) -> None:
        subscribers = [client for client in self._clients() if client.positions]
        if subscribers:
            data = self.positions()
            for client in subscribers:
                client.send(data)

    def positions(self) -> bytes:
        """All positions, those that went to zero today included, as IB sends them."""
        account = self.desk.account
        return b"".join(
            m.position(account.name, self.desk.contracts.by_symbol[symbol], position.quantity, position.average_cost)
            for symbol, position in sorted(account.positions.items())
        )

    def _shown(self, order: Order, margins: object) -> bytes:
        fields = order.fields()
        if isinstance(margins, dict):
            return open_order(order.order_id, order.contract.values, {**fields, **margins})
        return open_order(order.order_id, order.contract.values, fields) + self._status(order)

    @staticmethod
    def _status(order: Order) -> bytes:
        remaining = max(order.terms.quantity - order.filled, 0.0)
        return m.order_status(
            order.order_id,
            order.status,
            order.filled,
            remaining,
            order.average,
            order.perm_id,
            order.last_price,
            order.client_id,
            "",
        )
