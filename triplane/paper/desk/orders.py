"""The broker's order desk: order ids, states, executions and error codes around the matching engine. Pure: time is passed in.

Scenario -> behaviour:

- An unknown (client id, order id) is a new order; a known one that is working is a modify of size, price or time in force; a filled
  one is refused with 104, a cancelled one with 103, another contract, side or type with 105. A refused modify leaves the order live.
- Only the placing client id finds an order to modify or cancel it: others get 10147. A finished order gets 10148. A global cancel
  reaches the orders of all clients.
- A duplicate `orderRef` is not refused; it is counted.
- While the market is closed an order waits as PreSubmitted, with warning 399, and becomes Submitted at the next open.
- What-if answers with margins and never trades. At most 20 active orders per contract and side (201).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from triplane.paper.desk.account import CURRENCY, Account, order_commission
from triplane.paper.desk.order import Ended, Event, Filled, Order, Refused, Shown, snapshot_of, working
from triplane.paper.desk.order_checks import Refusal, Terms, check, check_price
from triplane.paper.market.history import parse_end
from triplane.paper.market.matching import MatchingEngine, Trade
from triplane.paper.protocol.contracts import Contract, Contracts, midnight_before
from triplane.paper.protocol.decoding import query_of
from triplane.paper.protocol.messages import Execution
from triplane.paper.protocol.requests import Executions, PlaceOrder

MAX_ACTIVE: Final = 20


class Venue(Protocol):
    """What the desk needs to know of the market."""

    def is_open(self) -> bool:
        """Whether orders trade now."""

    def mark(self, symbol: str) -> float:
        """Price to value a position at."""

    def day_close(self) -> int:
        """When a DAY order of now expires: this session's close, or the next one's while closed, ns UTC."""


@dataclass(slots=True)
class Desk:
    """All orders of the account and what became of them."""

    account: Account
    contracts: Contracts
    engine: MatchingEngine
    venue: Venue
    orders: dict[int, Order] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    next_perm_id: int = 1_000_001
    next_order_id: int = 1
    _keys: dict[tuple[int, int], int] = field(default_factory=dict)

    def active(self) -> list[Order]:
        """Orders that may still trade, oldest first."""
        return [order for order in self.orders.values() if order.active]

    def find(self, client_id: int, order_id: int) -> Order | None:
        """The order that this client placed under this id."""
        perm_id = self._keys.get((client_id, order_id))
        return None if perm_id is None else self.orders[perm_id]

    def place(self, client_id: int, request: PlaceOrder, now: int) -> list[Event]:
        """A placeOrder message: new, modify or what-if."""
        known = self.find(client_id, request.order_id)
        try:
            if known is not None and not known.active:
                raise Refusal(
                    *(
                        (104, "Cannot modify a filled order.")
                        if known.status == "Filled"
                        else (103, "Duplicate order id")
                    )
                )
            contract = self.contracts.find(query_of(request.values))
            terms = check(request, contract, self.account.name, now, self.venue.day_close())
            assert contract is not None
            check_price(terms.limit, contract)
            if terms.what_if:
                return [self._what_if(client_id, request, contract, terms)]
            if known is not None:
                return self._modify(known, request, contract, terms, now)
            self._check_funds(contract, terms)
            return self._new(client_id, request, contract, terms, now)
        except Refusal as refusal:
            return [Refused(client_id, request.order_id, refusal.code, refusal.text)]

    def cancel(self, client_id: int, order_id: int, now: int) -> list[Event]:
        """A cancelOrder message."""
        order = self.find(client_id, order_id)
        if order is None:
            return [Refused(client_id, order_id, 10147, f"OrderId {order_id} that needs to be cancelled is not found.")]
        if not order.active:
            text = f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {order.status}."
            return [Refused(client_id, order_id, 10148, text)]
        return [self._end(order, now)]

    def global_cancel(self, now: int) -> list[Event]:
        """reqGlobalCancel: every client's orders."""
        return [self._end(order, now) for order in self.active()]

    def market_opened(self) -> list[Event]:
        """Orders that waited for the open become Submitted."""
        waiting = [order for order in self.active() if order.status == "PreSubmitted"]
        for order in waiting:
            order.status = "Submitted"
        return [Shown(order) for order in waiting]

    def traded(self, trades: Iterable[Trade], now: int) -> list[Event]:
        """Book the engine's trades."""
        return [self._book(trade, now) for trade in trades]

    def sweep(self, now: int) -> list[Event]:
        """End immediate orders that the engine gave up after their first try at an open."""
        return [
            self._end(order, now, "Immediate or cancel")
            for order in self.active()
            if self.engine.get(order.perm_id) is None
        ]

    def expire(self, now: int) -> list[Event]:
        """End the orders whose time has come."""
        return [self._end(self.orders[key], now, "Order expired") for key in self.engine.expired(now)]

    def executions_since_midnight(self, query: Executions, now: int) -> list[Execution]:
        """Executions of today (New York) that match a filter; client id 0 means all clients. A bad time raises RequestError."""
        since = max(midnight_before(now), parse_end(query.time) if query.time else 0)
        sides = {"BUY": 1, "BOT": 1, "SELL": -1, "SLD": -1}
        return [
            e
            for e in self.executions
            if e.ns >= since
            and query.client_id in (0, e.client_id)
            and query.account in ("", self.account.name)
            and query.symbol in ("", self.contracts.by_symbol[e.symbol].values["symbol"])
            and (not query.side or sides.get(query.side.upper()) == e.side)
        ]

    def completed_today(self, now: int) -> list[Order]:
        """Orders that ended today (New York)."""
        since = midnight_before(now)
        return [order for order in self.orders.values() if not order.active and order.ended >= since]

    # --- restoring from the journal -------------------------------------------------------------------------------------------

    def restore_order(
        self, client_id: int, order_id: int, perm_id: int, request: PlaceOrder, terms: Terms, status: str
    ) -> None:
        """An order that was acknowledged or modified before a restart."""
        contract = self.contracts.find(query_of(request.values))
        if contract is None:
            raise ValueError(
                f"the journal has an order on {request.values['symbol']}, which assets.csv has no more; restore its row"
            )
        known = self.orders.get(perm_id)
        if known is not None:
            known.values, known.terms, known.status = dict(request.values), terms, status
        else:
            self._register(Order(client_id, order_id, perm_id, contract, dict(request.values), terms, status))

    def restore_execution(self, execution: Execution) -> None:
        """A fill from before a restart."""
        self.executions.append(execution)
        self._apply(
            self.orders[execution.perm_id],
            execution.side,
            execution.quantity,
            execution.price,
            execution.commission,
            execution.ns,
        )

    def resume(self, now: int) -> list[Event]:
        """After restoring: hand the orders that still work to the engine, where they may trade at once."""
        return [
            event for order in self.active() for event in self.traded(self.engine.add(working(order)), now)
        ] + self.sweep(now)

    # --- inside ---------------------------------------------------------------------------------------------------------------

    def _register(self, order: Order) -> None:
        self.orders[order.perm_id] = order
        self._keys[order.client_id, order.order_id] = order.perm_id
        self.next_perm_id = max(self.next_perm_id, order.perm_id + 1)
        self.next_order_id = max(self.next_order_id, order.order_id + 1)

    def _new(self, client_id: int, request: PlaceOrder, contract: Contract, terms: Terms, now: int) -> list[Event]:
        active = sum(1 for o in self.active() if o.contract is contract and o.terms.side == terms.side)
        if active >= MAX_ACTIVE:
            raise Refusal(
                201,
                f"Order rejected - reason:Only {MAX_ACTIVE} working orders are allowed on either side of a contract",
            )
        status = "Submitted" if self.venue.is_open() else "PreSubmitted"
        values = {**request.values, "account": self.account.name, "tif": request.values["tif"] or "DAY"}
        order = Order(client_id, request.order_id, self.next_perm_id, contract, values, terms, status)
        self._register(order)
        # Shown before it trades: the clients find a commission's order by the permId that openOrder carried.
        events: list[Event] = [Shown(snapshot_of(order), acknowledges=True)]
        if status == "PreSubmitted":
            text = "Order Message:\nWarning: Your order will not be placed at the exchange until the next session opens"
            events.append(Refused(client_id, request.order_id, 399, text))
        return events + self._settle(lambda: self.engine.add(working(order)), now)

    def _modify(self, order: Order, request: PlaceOrder, contract: Contract, terms: Terms, now: int) -> list[Event]:
        same = (
            order.contract is contract,
            order.terms.side == terms.side,
            (order.terms.limit is None) == (terms.limit is None),
        )
        if not all(same) or order.terms.adaptive != terms.adaptive:
            raise Refusal(105, "Order being modified does not match the original order")
        if terms.quantity < order.filled:
            raise Refusal(201, "Order rejected - reason:The size is below what is already filled")
        if terms.quantity > order.terms.quantity:
            self._check_funds(contract, replace(terms, quantity=terms.quantity - order.terms.quantity))
        order.values = {**request.values, "account": self.account.name, "tif": request.values["tif"] or "DAY"}
        order.terms = terms
        if terms.quantity == order.filled:
            order.status, order.ended = "Filled", now
        shown: list[Event] = [Shown(snapshot_of(order), acknowledges=True)]
        trade = lambda: self.engine.modify(order.perm_id, terms.quantity, terms.limit, terms.immediate, terms.expires)  # noqa: E731
        return shown + self._settle(trade, now)

    def _settle(self, act: Callable[[], list[Trade]], now: int) -> list[Event]:
        """Let an order meet the book; what is left of an immediate one ends."""
        return self.traded(act(), now) + self.sweep(now)

    def _end(self, order: Order, now: int, reason: str = "") -> Event:
        self.engine.cancel(order.perm_id)
        order.status, order.ended = "Cancelled", now
        return Ended(order, f"Order Canceled - reason:{reason}")

    def _book(self, trade: Trade, now: int) -> Event:
        order = self.orders[trade.key]
        filled = order.filled + trade.quantity
        commission = order_commission(filled, order.notional + trade.quantity * trade.price) - order.commission
        held = self.account.positions.get(trade.symbol)
        opens = held is None or held.quantity * trade.side >= 0
        realised = self._apply(order, trade.side, trade.quantity, trade.price, commission, now)
        number = len(self.executions) + 1
        execution = Execution(
            exec_id=f"0000{order.perm_id:x}.{number:08x}.01.01", ns=now, client_id=order.client_id, order_id=order.order_id,
            perm_id=order.perm_id, order_ref=order.order_ref, symbol=trade.symbol, side=trade.side, quantity=trade.quantity,
            price=trade.price, cumulative=order.filled, average=order.average, commission=commission, realised=realised, opens=opens,
            added_liquidity=trade.added_liquidity,
        )  # fmt: skip
        self.executions.append(execution)
        return Filled(snapshot_of(order), execution)

    def _apply(self, order: Order, side: int, quantity: float, price: float, commission: float, now: int) -> float:
        order.filled += quantity
        order.notional += quantity * price
        order.last_price = price
        order.commission += commission
        if order.filled >= order.terms.quantity - 1e-9:
            order.status, order.ended = "Filled", now
        return self.account.fill(order.contract.symbol, side, quantity, price, commission)

    def correct(self, execution: Execution, price: float) -> Execution:
        """Replace an execution by one at another price: same id but for the part after the last period, as IB corrects."""
        index = self.executions.index(execution)
        stem, _, version = execution.exec_id.rpartition(".")
        corrected = replace(execution, exec_id=f"{stem}.{int(version) + 1:02d}", price=price)
        self.executions[index] = corrected
        self.account.correct(execution.symbol, execution.side, execution.quantity, execution.price, price)
        self.orders[execution.perm_id].notional += execution.quantity * (price - execution.price)
        return corrected

    def _values(self) -> dict[str, float]:
        return self.account.values({symbol: self.venue.mark(symbol) for symbol in self.account.positions})

    def _margin_change(self, contract: Contract, terms: Terms) -> float:
        """Change of the initial margin when the order fills, USD; only what adds to |position| costs."""
        held = self.account.positions.get(contract.symbol)
        before = held.quantity if held else 0.0
        after = before + terms.side * terms.quantity
        return 0.5 * (abs(after) - abs(before)) * self.venue.mark(contract.symbol)

    def _check_funds(self, contract: Contract, terms: Terms) -> None:
        change, available = self._margin_change(contract, terms), self._values()["AvailableFunds"]
        if change > 0 and change > available:
            raise Refusal(
                201,
                "Order rejected - reason:YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED POSITION YOUR AVAILABLE FUNDS "
                f"[{available:.2f} {CURRENCY}] MUST EXCEED THE INITIAL MARGIN [{change:.2f} {CURRENCY}]",
            )

    def _what_if(self, client_id: int, request: PlaceOrder, contract: Contract, terms: Terms) -> Event:
        now, change = self._values(), self._margin_change(contract, terms)
        commission = order_commission(terms.quantity, terms.quantity * self.venue.mark(contract.symbol))
        maintenance = change / 2
        margins = {
            "initMarginBefore": now["InitMarginReq"],
            "maintMarginBefore": now["MaintMarginReq"],
            "equityWithLoanBefore": now["EquityWithLoanValue"],
            "initMarginChange": change,
            "maintMarginChange": maintenance,
            "equityWithLoanChange": -commission,
            "initMarginAfter": now["InitMarginReq"] + change,
            "maintMarginAfter": now["MaintMarginReq"] + maintenance,
            "equityWithLoanAfter": now["EquityWithLoanValue"] - commission,
            "commission": commission,
        }
        texts = {name: f"{value:.2f}" for name, value in margins.items()} | {"commissionCurrency": CURRENCY}
        return Shown(
            Order(client_id, request.order_id, 0, contract, dict(request.values), terms, "PreSubmitted"), texts
        )
