"""The book: child orders, executions, positions and cash, folded from order.events alone.

Executions are identified by execId without its last part; `.02` after `.01` is a correction that replaces it (law L5). An order
found dead counts, until its executions arrived, what the broker says it filled. Quantities in units, positive with `side` +1 buy,
-1 sell; positions signed; cash in base currency.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from order_plane.ledger.child_order import Order
from order_plane.ledger.order_state import State, Step, Trigger, step
from order_plane.ledger.taken_over import Traded

EPSILON = 1e-9
INFERRED = "inferred/"
"""How the exec id of units begins that a person told of and no execution shows; the order's reference follows."""
MOST_TOLD = 3
"""Of so many orders of a name, or of all, a person may have told wrongly before a snapshot shows it."""
RECENT_NS = 3_600_000_000_000  # fills are remembered this long for participation windows


@dataclass(slots=True)
class Execution:
    """One execution as booked, its latest revision."""

    exec_id: str
    revision: int
    ref: str
    intent_id: str
    symbol: str
    con_id: int
    side: int
    quantity: float
    price: float
    broker_time: int
    booked_time: int
    own: bool
    multiplier: float = 1.0
    commission: float = 0.0
    charged: bool = False


@dataclass(slots=True)
class Position:
    """A position of ours at average cost. `realised` since ever, base currency, without fees."""

    quantity: float = 0.0
    avg_cost: float = 0.0
    realised: float = 0.0
    con_id: int = 0

    def fill(self, signed: float, price: float, multiplier: float) -> None:
        """Apply a signed quantity at a price; a trade that was busted is corrected to nothing."""
        if not signed:
            return
        before = self.quantity
        after = before + signed
        if before == 0.0 or before * signed > 0.0:
            self.avg_cost = (abs(before) * self.avg_cost + abs(signed) * price) / (abs(before) + abs(signed))
        else:
            closed = min(abs(before), abs(signed))
            self.realised += closed * (price - self.avg_cost) * (1.0 if before > 0 else -1.0) * multiplier
            if before * after < 0.0:
                self.avg_cost = price
        if abs(after) < EPSILON:
            after, self.avg_cost = 0.0, 0.0
        self.quantity = after


@dataclass(slots=True)
class ForeignOrder:
    """A live order in the account that our log does not know: it counts as open. `round` is the snapshot that last showed it."""

    symbol: str
    side: int
    quantity: float
    order_id: int
    client_id: int
    ref: str
    round: int


@dataclass(frozen=True, slots=True)
class Booked:
    """What an execution report did: a new booking or the correction of one. `before` is the booking it replaces.

    `inferred` is what is left of the units that a person had told of before the broker did; None where nobody had.
    """

    execution: Execution
    before: Execution | None
    late: bool
    inferred: Execution | None = None


def split_exec_id(exec_id: str) -> tuple[str, int]:
    """Identity and revision of an execId: `0000e0d5.6580.01.02` is revision 2 of `0000e0d5.6580.01`."""
    base, dot, tail = exec_id.rpartition(".")
    if dot and base and tail.isdigit():
        return base, int(tail)
    return exec_id, 0


@dataclass(slots=True)
class Book:
    """Everything that the log and the broker's reports say about orders and holdings."""

    orders: dict[str, Order] = field(default_factory=dict)
    live: dict[str, list[str]] = field(default_factory=dict)
    by_id: dict[str, str] = field(default_factory=dict)
    by_perm: dict[str, str] = field(default_factory=dict)
    executions: dict[str, Execution] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    excluded: dict[str, float] = field(default_factory=dict)
    foreign_orders: dict[str, ForeignOrder] = field(default_factory=dict)
    foreign_traded: dict[str, Traded] = field(default_factory=dict)
    """What others traded since the last comparison, by symbol."""
    recent: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    day_traded: dict[str, float] = field(default_factory=dict)
    reserving: list[str] = field(default_factory=list)
    cash: float = float("nan")
    fees: float = 0.0
    highest_id: int = 0
    next_valid_id: int = 0

    # -- reading ---------------------------------------------------------------------------------------------------------------
    def next_order_id(self) -> int:
        """max(nextValidId, highest written ahead, highest seen) + 1: a gateway restart can roll nextValidId back."""
        return max(self.next_valid_id, self.highest_id) + 1

    def position(self, symbol: str) -> float:
        """Our signed position."""
        held = self.positions.get(symbol)
        return held.quantity if held is not None else 0.0

    def live_orders(self, symbol: str) -> list[Order]:
        """Orders of a name that may still fill, oldest first."""
        return [self.orders[ref] for ref in self.live.get(symbol, ())]

    def all_live(self) -> list[Order]:
        """Orders that may still fill, by symbol, then oldest first."""
        return [self.orders[ref] for symbol in sorted(self.live) for ref in self.live[symbol]]

    def open_side(self, symbol: str, side: int) -> float:
        """Worst-case units of all open and unknown orders of a name on one side, foreign ones included; positive."""
        total = 0.0
        for ref in self.live.get(symbol, ()):
            order = self.orders[ref]
            if order.side == side:
                total += order.open_quantity
        for foreign in self.foreign_orders.values():
            if foreign.symbol == symbol and foreign.side == side:
                total += foreign.quantity
        return total

    def active(self, symbol: str, side: int) -> int:
        """Number of orders of a name on one side that may be active at the broker."""
        mine = sum(1 for order in self.live_orders(symbol) if order.side == side and not order.dead)
        return mine + sum(1 for o in self.foreign_orders.values() if o.symbol == symbol and o.side == side)

    def find(self, event: Mapping[str, Any]) -> Order | None:
        """Our order that a report is about: by orderRef, else permId, else (client id, order id)."""
        ref = event.get("order_ref", "")
        if ref:
            return self.orders.get(ref)
        perm_id = event.get("perm_id", 0)
        if perm_id and str(perm_id) in self.by_perm:
            return self.orders[self.by_perm[str(perm_id)]]
        key = f"{event.get('client_id', 0)}/{event.get('order_id', 0)}"
        known = self.by_id.get(key)
        order = self.orders[known] if known is not None else None
        if order is not None and perm_id and order.perm_id and order.perm_id != perm_id:
            return None
        return order

    def asked_to_cancel(self, order_id: int) -> Order | None:
        """The live order that a refused cancel is about, whichever client id sent it: no order id of ours is used twice."""
        return next((each for each in self.all_live() if each.order_id == order_id and each.cancel_wall), None)

    # -- folding ---------------------------------------------------------------------------------------------------------------
    def see_order_id(self, order_id: int) -> None:
        """Remember the highest order id that was ever written ahead or seen (requests have ids above 2e9)."""
        if order_id < 2_000_000_000:
            self.highest_id = max(self.highest_id, order_id)

    def add(self, order: Order) -> None:
        """A placing was written ahead."""
        self.orders[order.ref] = order
        self.live.setdefault(order.symbol, []).append(order.ref)
        self.by_id[f"{order.client_id}/{order.order_id}"] = order.ref
        self.see_order_id(order.order_id)
        if order.reserved > 0.0:
            self.reserving.append(order.ref)

    def trigger(self, order: Order, trigger: Trigger) -> Step:
        """Apply a trigger to an order and keep the list of live ones."""
        # What a person called filled is not proven: a broker that shows it live must not be taken for a late messenger.
        believed = order.state is State.FILLED and self._told(order.ref) is not None
        before = State.CANCELLED if believed else order.state
        result = step(before, trigger)
        if result.state is not before:
            order.state = result.state
        if trigger not in (Trigger.DOUBT, Trigger.ABSENT, Trigger.NOT_SENT, Trigger.CANCEL_REQUESTED):
            order.traced = True
            order.absent_wall = 0
        self.refresh(order)
        return result

    def refresh(self, order: Order) -> None:
        """Keep `live` true after a change of the order: live means not dead, or dead with executions still to come."""
        refs = self.live.setdefault(order.symbol, [])
        keep = not order.dead or order.open_quantity > EPSILON
        if keep and order.ref not in refs:
            refs.append(order.ref)
        elif not keep and order.ref in refs:
            refs.remove(order.ref)
        if not refs:
            del self.live[order.symbol]

    def book(self, event: Mapping[str, Any], symbol: str, own: bool, multiplier: float, now: int) -> Booked | None:
        """Book an execution report; None when it, or a later revision, is booked already.

        A foreign execution is remembered, and explains a change of position, but is not ours to book.
        """
        base, revision = split_exec_id(str(event["exec_id"]))
        before = self.executions.get(base)
        if before is not None and revision <= before.revision:
            return None
        order = self.find(event) if own else None
        execution = Execution(
            exec_id=str(event["exec_id"]),
            revision=revision,
            ref=order.ref if order else str(event.get("order_ref", "")),
            intent_id=order.intent_id if order else "",
            symbol=symbol,
            con_id=int(event.get("con_id", 0)),
            side=1 if event["action"] == "BUY" else -1,
            quantity=float(event["quantity"]),
            price=float(event["last_price"]),
            broker_time=int(event.get("broker_time", 0)),
            booked_time=now,
            own=own,
            multiplier=multiplier,
        )
        late = order is not None and order.dead and order.state is not State.FILLED and order.open_quantity <= EPSILON
        more = execution.quantity - (before.quantity if before is not None else 0.0)
        told = self._told(order.ref) if order is not None and more > 0.0 else None
        # Units that a person told of give way to the broker's own execution of them: both at once would be booked twice.
        inferred = self._retell(told, max(told.quantity - more, 0.0), told.price, now) if told is not None else None
        if before is not None:
            execution.commission, execution.charged = before.commission, before.charged
            self._move(before, -1.0, now)
            if order is not None:  # what a status told of the old quantity is void
                order.told_filled = max(order.told_filled + execution.quantity - before.quantity, 0.0)
        self.executions[base] = execution
        self._move(execution, 1.0, now)
        if order is not None:
            self._reopen(order)
        return Booked(execution, before, late and before is None, inferred)

    def tell(self, order: Order, units: float, price: float, now: int) -> Booked:
        """A person told of further units of an order that no execution shows: they are booked until the broker's own execution comes."""
        base = INFERRED + order.ref
        before = self.executions.get(base)
        if before is not None:
            whole = before.quantity + units
            return Booked(
                self._retell(before, whole, (before.quantity * before.price + units * price) / whole, now),
                before,
                False,
            )
        told = Execution(
            base, 0, order.ref, order.intent_id, order.symbol, order.con_id, order.side, units, price, 0, now, True, order.multiplier,
            charged=True,
        )  # fmt: skip
        self.executions[base] = told
        self._move(told, 1.0, now)
        return Booked(told, None, late=False)

    def settle_told(self, symbol: str, gap: float, now: int) -> list[Execution]:
        """A position that differs from ours by `gap` is taken over, and of what a person told in this name nothing may be taken off it later.

        Where the word on some orders explains the gap, it was wrong: their units are taken back, and returned, and the word on the others
        holds. Else all are a part of what is taken over.
        """
        told = [e for b, e in self.executions.items() if b.startswith(INFERRED) and e.symbol == symbol and e.quantity > EPSILON]  # fmt: skip
        sizes = [*range(1, min(len(told), MOST_TOLD) + 1), *([len(told)] if len(told) > MOST_TOLD else [])]
        several = (some for size in sizes for some in itertools.combinations(told, size))
        for some in several:
            if abs(gap + sum(each.side * each.quantity for each in some)) <= EPSILON:
                return [self._retell(each, 0.0, each.price, now) for each in some]
        for each in told:
            self.executions[INFERRED + each.ref] = replace(each, quantity=0.0)
            order = self.orders.get(each.ref)
            if order is not None:  # should the broker show it live, its executions alone tell what of it is left
                order.booked -= each.quantity
                order.value -= each.quantity * each.price
                self._reopen(order)
                self.refresh(order)
        return []

    def disprove(self, order: Order, filled: float, now: int) -> Execution | None:
        """The broker counts `filled` units of an order: what a person told of beyond that never was, and is taken back; its next revision.

        A count below what executions show is an old one, and disproves nothing.
        """
        told = self._told(order.ref)
        surplus = order.booked - filled
        if told is None or surplus <= EPSILON or filled < order.booked - told.quantity - EPSILON:
            return None
        order.told_filled = filled
        return self._retell(told, max(told.quantity - surplus, 0.0), told.price, now)

    def _told(self, ref: str) -> Execution | None:
        told = self.executions.get(INFERRED + ref)
        return told if told is not None and told.quantity > EPSILON else None

    def _retell(self, told: Execution, units: float, price: float, now: int) -> Execution:
        """The next revision of what a person told of."""
        base, revision = INFERRED + told.ref, told.revision + 1
        new = replace(told, exec_id=f"{base}.{revision:02d}", revision=revision, quantity=units, price=price)
        self.executions[base] = new
        if told.quantity > EPSILON:
            self._move(told, -1.0, now)
        if units > EPSILON:
            self._move(new, 1.0, now)
        if (order := self.orders.get(told.ref)) is not None:
            self._reopen(order)
        return new

    @staticmethod
    def _reopen(order: Order) -> None:
        """A filled order that lost units is over as a cancelled one is: the broker may show that it lives."""
        if order.state is State.FILLED and order.booked < order.quantity - EPSILON:
            order.state = State.CANCELLED

    def _move(self, execution: Execution, sign: float, now: int) -> None:
        signed = sign * execution.side * execution.quantity
        if not execution.own:
            self.foreign_traded.setdefault(execution.symbol, Traded()).add(signed, execution.price)
            return
        held = self.positions.setdefault(execution.symbol, Position(con_id=execution.con_id))
        held.fill(signed, execution.price, execution.multiplier)
        self.cash -= signed * execution.price * execution.multiplier
        # Units of another day that turned out not to be make no room today.
        traded = self.day_traded.get(execution.symbol, 0.0) + sign * execution.quantity
        self.day_traded[execution.symbol] = max(traded, 0.0)
        recent = [entry for entry in self.recent.get(execution.symbol, []) if entry[0] > now - RECENT_NS]
        self.recent[execution.symbol] = [*recent, (now, sign * execution.quantity)]
        order = self.orders.get(execution.ref)
        if order is None:
            return
        base = split_exec_id(execution.exec_id)[0]
        if base not in order.fills:
            order.fills.append(base)
        order.booked += sign * execution.quantity
        order.value += sign * execution.quantity * execution.price
        order.traced = True
        order.absent_wall = 0
        if order.booked >= max(order.quantity, order.other_quantity) - EPSILON:
            self.trigger(order, Trigger.FILL_COMPLETE)
        else:
            self.refresh(order)

    def charge(self, exec_id: str, commission: float) -> Execution | None:
        """Book a commission; a repeated one replaces the first. None when the execution is unknown or foreign."""
        execution = self.executions.get(split_exec_id(exec_id)[0])
        if execution is None or not execution.own:
            return None
        change = commission - execution.commission
        execution.commission, execution.charged = commission, True
        self.cash -= change
        self.fees += change
        return execution

    def forget(self, before: int) -> None:
        """Drop dead orders and executions booked before `before` (ns): the broker can no longer speak of them."""
        for ref in [
            r for r, o in self.orders.items() if o.dead and o.open_quantity <= EPSILON and o.placed_time < before
        ]:
            order = self.orders.pop(ref)
            self.by_id.pop(f"{order.client_id}/{order.order_id}", None)
            self.by_perm.pop(str(order.perm_id), None)
            if ref in self.reserving:
                self.reserving.remove(ref)
        for base in [base for base, execution in self.executions.items() if execution.booked_time < before]:
            del self.executions[base]
