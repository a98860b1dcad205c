"""How the broker's reports change the state: evidence in, transitions and bookings out (laws L5, L6)."""

from __future__ import annotations

from order_plane.codes import Code
from order_plane.ledger import fills
from order_plane.ledger.book import Booked, ForeignOrder, split_exec_id
from order_plane.ledger.child_order import Order
from order_plane.ledger.fold_base import Event, FoldBase, Note
from order_plane.ledger.order_state import State, Trigger, of_error, of_status
from order_plane.ledger.state import (
    KEEP_NS,
    Link,
)
from triplane.domain.ids import parse_order_ref
from triplane.domain.timestamps import SECOND

# Five-second bars tell our market time, the broker ends an order by its own clock: so far (ns) ours may be behind, some bars and their way.
EXPIRY_LAG = 30 * SECOND


class ReportFold(FoldBase):
    """The fold of what the broker said."""

    def _connected(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        s.link = Link(connected=True, since_event=s.events)
        s.book.next_valid_id = event.get("order_id", 0)
        s.reconciling.passed = s.reconciling.pending = False
        return [Note(Code.UNRECONCILED, "connected", snapshot=True)]

    def _disconnected(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        s.link.connected = False
        s.reconciling.passed = s.reconciling.pending = False
        self._doubt_unacknowledged()
        return [Note(Code.DISCONNECTED, "The connection to the broker ended.", alert=True)]

    def _doubt_unacknowledged(self) -> None:
        for order in self.state.book.all_live():
            if order.state is State.PLACING:
                self.state.book.trigger(order, Trigger.DOUBT)

    def _step(self, order: Order, trigger: Trigger, what: str) -> list[Note]:
        before, before_dead = order.state, order.dead
        result = self.state.book.trigger(order, trigger)
        if trigger is not Trigger.DOUBT:
            self._prove(order)
        if result.anomaly:
            detail = f"{order.ref} was {before.value} when the broker said {what}."
            return [Note(Code.ANOMALY, detail, order.symbol, order, alert=True, snapshot=True)]
        if result.state is State.UNKNOWN and before is not State.UNKNOWN:
            return [Note(Code.ANOMALY, f"{order.ref} is unknown after {what}.", order.symbol, order, snapshot=True)]
        if result.state is State.REJECTED and before is not State.REJECTED:
            self.state.rates.add_reject(self.state.market_time)
            return [Note(Code.REJECTED, f"{order.ref} was refused: {what}.", order.symbol, order, alert=True)]
        if result.state is State.HELD and before is not State.HELD:
            return [
                Note(
                    Code.HELD_AT_BROKER, f"{order.ref} is held at the broker: {what}.", order.symbol, order, alert=True
                )
            ]
        if result.state is State.CANCELLED and not before_dead and order.cancelled_by_others:
            return self._foreign_cancel(order, what)
        return []

    def _foreign_cancel(self, order: Order, what: str) -> list[Note]:
        parent = self.state.parents.get(order.intent_id)
        if parent is None or parent.closing or self.state.kill.level == "stopped":
            return []  # it was on its way out
        detail = f"{order.ref} was cancelled, and not by us: {what}. The rest of {order.intent_id} is not sent; the next barrier decides again."
        return [Note(Code.FOREIGN_CANCEL, detail, order.symbol, order, alert=True)]

    def _prove(self, order: Order) -> None:
        """An answer to an order of this connection proves the order route."""
        if order.placed_event > self.state.link.since_event:
            self.state.link.proven = True

    def _of_status(self, order: Order, event: Event, *, completed: bool = False) -> Trigger:
        trigger = of_status(event.get("status", ""), completed=completed)
        return Trigger.EXPIRE if trigger is Trigger.CANCEL_CONFIRMED and self._ran_out(order) else trigger

    def _ran_out(self, order: Order) -> bool:
        """Whether the end of an order is that of its good-till time."""
        lag = 0 if order.cancel_reason else EXPIRY_LAG
        return bool(order.good_till) and self.state.market_time >= order.good_till - lag

    def _order_status(self, event: Event, record: Event | None) -> list[Note]:
        book = self.state.book
        book.see_order_id(event.get("order_id", 0))
        order = book.find(event)
        if order is None:
            foreign = book.foreign_orders.get(str(event.get("perm_id", 0)))
            if foreign is not None:
                foreign.quantity = event.get("remaining", 0.0)
                if of_status(event["status"]) in (Trigger.CANCEL_CONFIRMED, Trigger.FILL_COMPLETE):
                    del book.foreign_orders[str(event["perm_id"])]
            return []
        self._name(order, event)
        notes = self._disprove(order, event)
        order.told_filled = max(order.told_filled, event.get("filled", 0.0))
        return [*notes, *self._step(order, self._of_status(order, event), f"status {event['status']!r}")]

    def _disprove(self, order: Order, event: Event) -> list[Note]:
        """The broker's count of what was filled is its word on what a person told of."""
        s = self.state
        if "filled" not in event or of_status(event.get("status", "")) is Trigger.FILL_COMPLETE:
            return []  # a filled order whose count is not told
        untold = s.book.disprove(order, event["filled"], s.market_time)
        if untold is None:
            return []
        record = fills.execution_fill(
            s, self.account, Booked(untold, untold, late=False), self.universe, event, simulated=self.simulated
        )
        # One report may be wrong, and its name would be ordered again: it waits until snapshots have shown whose word holds.
        s.reconciling.suspects.setdefault(order.symbol, 0.0)
        detail = f"The broker counts {event['filled']:g} units of {order.ref} as filled; what a person told of it beyond that is taken back."
        return [
            Note(
                Code.ANOMALY,
                detail,
                order.symbol,
                order,
                alert=True,
                snapshot=True,
                record=self._remember_fill(record),
            )
        ]

    def _name(self, order: Order, event: Event) -> None:
        if event.get("perm_id") and not order.perm_id:
            order.perm_id = event["perm_id"]
            self.state.book.by_perm[str(order.perm_id)] = order.ref

    def _open_order(self, event: Event, record: Event | None) -> list[Note]:
        book = self.state.book
        book.see_order_id(event.get("order_id", 0))
        order = book.find(event)
        if order is None:
            return self._foreign_order(event)
        if order.perm_id and event.get("perm_id") and order.perm_id != event["perm_id"]:
            new = str(event["perm_id"]) not in book.foreign_orders
            self._remember_foreign(event, order.symbol)
            # A number of another client's names another order of ours, or none.
            ours = event["client_id"] == self.state.client_id
            detail = f"{order.ref} is live twice at the broker (permanent ids {order.perm_id} and {event['perm_id']})."
            return [
                Note(
                    Code.DOUBLE_ORDER,
                    detail,
                    order.symbol,
                    order,
                    alert=new,
                    snapshot=True,
                    order_id=event["order_id"] if ours else 0,
                )
            ]
        self._name(order, event)
        trigger = self._of_status(order, event)
        if trigger is Trigger.FILL_COMPLETE:
            # It names no filled quantity and may come before the executions: until those are booked, the units are on their way.
            order.told_filled = max(order.told_filled, event["quantity"])
        price = event.get("limit_price", 0.0)
        differs = abs(event["quantity"] - order.quantity) > 1e-9 or abs(price - order.limit_price) > 1e-9
        if trigger is Trigger.ACKNOWLEDGED and differs:
            order.other_quantity, order.other_price = event["quantity"], price
            notes = self._step(order, Trigger.AMENDED, "other terms than ours")
            if order.state is State.MODIFY_PENDING:
                detail = f"{order.ref} stands at the broker as {event['quantity']:g} @ {price:g}, ours is {order.quantity:g} @ {order.limit_price:g}."
                notes.append(Note(Code.ANOMALY, detail, order.symbol, order, alert=True))
            book.refresh(order)
            return notes
        if trigger is Trigger.ACKNOWLEDGED:
            order.other_quantity = order.other_price = 0.0
        return self._step(order, trigger, f"open with status {event['status']!r}")

    def _remember_foreign(self, event: Event, symbol: str) -> None:
        remaining = event["quantity"] - event.get("filled", 0.0)
        self.state.book.foreign_orders[str(event.get("perm_id", 0))] = ForeignOrder(
            symbol,
            1 if event["action"] == "BUY" else -1,
            remaining,
            event.get("order_id", 0),
            event.get("client_id", 0),
            event.get("order_ref", ""),
            self.state.reconciling.round,
        )

    def _foreign_order(self, event: Event) -> list[Note]:
        s = self.state
        symbol = self.symbol_of(event["symbol"], event.get("con_id", 0))
        if of_status(event["status"]) in (Trigger.CANCEL_CONFIRMED, Trigger.FILL_COMPLETE):
            s.book.foreign_orders.pop(str(event.get("perm_id", 0)), None)
            return []
        new = str(event.get("perm_id", 0)) not in s.book.foreign_orders
        self._remember_foreign(event, symbol)
        ref = parse_order_ref(event.get("order_ref", ""))
        if ref is not None and ref.account == self.account and new:
            detail = f"The broker has {event['order_ref']}, which our log does not know; resolve it by hand."
            return [Note(Code.UNKNOWN_ORDER, detail, symbol, alert=True)]
        return []

    def _completed_order(self, event: Event, record: Event | None) -> list[Note]:
        book = self.state.book
        order = (
            book.find({"order_ref": event.get("order_ref", ""), "perm_id": event.get("perm_id", 0)})
            if event.get("order_ref")
            else None
        )
        if order is None:
            book.foreign_orders.pop(str(event.get("perm_id", 0)), None)
            return []
        if order.perm_id and event.get("perm_id") and order.perm_id != event["perm_id"]:
            return []  # a twin of the order ended, not the order itself
        self._name(order, event)
        notes = self._disprove(order, event)
        if order.dead:  # what the broker keeps of a final order is its last word on what was filled
            order.told_filled = event.get("filled", 0.0)
            book.refresh(order)
            return notes
        order.told_filled = max(order.told_filled, event.get("filled", 0.0))
        what = f"completed with status {event['status']!r}"
        return [*notes, *self._step(order, self._of_status(order, event, completed=True), what)]

    def _execution(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        ref = parse_order_ref(event.get("order_ref", ""))
        order = s.book.find(event)
        own = order is not None or (ref is not None and ref.account == self.account)
        symbol = order.symbol if order is not None else self.symbol_of(event["symbol"], event.get("con_id", 0))
        s.book.see_order_id(event.get("order_id", 0))
        if 0 < event.get("broker_time", 0) < s.market_time - KEEP_NS:
            # Its first report may be forgotten, so booking it might count it twice; a position that misses it shows in a snapshot.
            return []
        before = order.state if order is not None else None
        booked = s.book.book(event, symbol, own, self.multiplier(symbol), s.market_time)
        if s.reconciling.pending and event.get("labels", {}).get("live", "1") == "1":
            s.reconciling.touched[symbol] = 1
        if booked is None:
            return []
        notes: list[Note] = []
        if own:
            given_way = [Booked(booked.inferred, booked.inferred, late=False)] if booked.inferred is not None else []
            for each in (*given_way, booked):
                fill = fills.execution_fill(s, self.account, each, self.universe, event, simulated=self.simulated)
                notes.append(Note(Code.OK, record=self._remember_fill(fill)))
        if order is not None and before in (State.PLACING, State.UNKNOWN) and order.state is before:
            notes += self._step(order, Trigger.ACKNOWLEDGED, "an execution")
        if order is not None:
            self._prove(order)
        if event.get("labels", {}).get("liquidation", "0") == "1":
            notes.append(
                Note(
                    Code.BROKER_LIQUIDATION,
                    f"The broker liquidated {booked.execution.quantity:g} {symbol}.",
                    symbol,
                    alert=True,
                )
            )
        notes += self._oddities(event, booked, order, own, symbol)
        return notes

    def _oddities(self, event: Event, booked: Booked, order: Order | None, own: bool, symbol: str) -> list[Note]:
        notes = []
        if own and order is None:
            detail = f"Execution {event['exec_id']} carries {event['order_ref']}, which our log does not know; it was booked."
            notes.append(Note(Code.UNKNOWN_ORDER, detail, symbol, alert=True))
        if booked.late and order is not None:
            notes.append(
                Note(
                    Code.LATE_EXECUTION,
                    f"{order.ref} was {order.state.value} when {event['exec_id']} came; it was booked.",
                    symbol,
                    order,
                    alert=True,
                )
            )
        if own and event.get("labels", {}).get("live", "1") == "0" and booked.before is None:
            detail = f"{booked.execution.side * booked.execution.quantity:+g} {symbol} was learned from a snapshot ({event['exec_id']})."
            notes.append(Note(Code.EXECUTION_MISSED, detail, symbol, order))
        return notes

    def _commission(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        execution = s.book.executions.get(split_exec_id(event["exec_id"])[0])
        amount = float(event["values"].get("commission", 0.0))
        if execution is not None and execution.charged and execution.commission == amount:
            return []
        charged = s.book.charge(event["exec_id"], amount)
        if charged is None:
            return []
        fill = fills.commission_fill(s, self.account, charged, event, s.events, simulated=self.simulated)
        return [Note(Code.OK, record=self._remember_fill(fill))]

    def _error(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        code, order_id = event["code"], event.get("order_id", 0)
        order = s.book.find({"client_id": event.get("client_id", 0), "order_id": order_id}) if order_id else None
        # Sent under another client id, which alone may cancel it: the broker says what became of it.
        if order is None and order_id:
            order = s.book.asked_to_cancel(order_id)
        rule = of_error(code, about_order=order is not None)
        words = f"error {code} ({rule.meaning}): {event.get('text', '')}"
        if rule.topic == "link_lost":
            s.link.servers = False
            s.reconciling.passed = s.reconciling.pending = False
            return [Note(Code.DISCONNECTED, words, alert=True)]
        if rule.topic == "link_restored":
            s.link.servers = True
            return [Note(Code.UNRECONCILED, words, snapshot=True)]
        notes = []
        if order is not None and rule.trigger is not None:
            if rule.trigger is Trigger.REFUSED and self._came_too_late(order, event):
                return self._expire_unseen(order, words)
            trigger = rule.trigger
            if trigger is Trigger.CANCEL_CONFIRMED and self._ran_out(order):
                trigger = Trigger.EXPIRE
            notes = self._step(order, trigger, words)
        if rule.alert and not any(note.alert for note in notes):
            listed = rule.meaning != "not on our list"
            symbol = order.symbol if order is not None else ""
            notes.append(Note(Code.ANOMALY if listed else Code.UNLISTED_ERROR, words, symbol, order, alert=True))
        return notes

    def _came_too_late(self, order: Order, event: Event) -> bool:
        """Whether a refused order was never acknowledged and its time was over: by our market time, or in the broker's words.

        The broker's clock may be past an order's good-till time before ours is, so the words count as well.
        """
        if order.state not in (State.PLACING, State.UNKNOWN) or not order.good_till:
            return False
        text = event.get("text", "").lower()
        return self.state.market_time >= order.good_till or ("good till" in text and "passed" in text)

    def _expire_unseen(self, order: Order, words: str) -> list[Note]:
        """Slowness is not a refusal of what we wanted: it alerts, and does not count toward the storm that stops trading."""
        order.too_late = True
        notes = self._step(order, Trigger.EXPIRE, words)
        detail = f"{order.ref} came to the broker after its good-till time: {words}"
        return [*notes, Note(Code.TOO_LATE, detail, order.symbol, order, alert=True)]

    def _undecodable(self, event: Event, record: Event | None) -> list[Note]:
        return [Note(Code.UNDECODABLE, event.get("text", ""), alert=True, snapshot=True)]

    def _snapshot(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        s.reconciling.pending = False
        s.reconciling.finished_wall = s.wall
        if event["status"] == "complete":
            for key in [k for k, o in s.book.foreign_orders.items() if o.round < s.reconciling.round]:
                del s.book.foreign_orders[key]
        return []

    def _not_sent(self, event: Event, record: Event | None) -> list[Note]:
        order = self.state.book.orders.get(event["order_ref"])
        if order is None or order.traced:
            return [Note(Code.ANOMALY, f"{event['order_ref']} cannot be unsent.", alert=True)]
        self.state.book.trigger(order, Trigger.NOT_SENT)
        order.ends = event.get("labels", {}).get("ends", "")
        return [
            Note(Code.NOT_SENT, f"{order.ref} was not sent: {event.get('text', '')}", order.symbol, order, alert=True)
        ]

    def _paused(self, event: Event, record: Event | None) -> list[Note]:
        self.state.reconciling.passed = False
        self._doubt_unacknowledged()
        return [
            Note(Code.UNRECONCILED, "The process stood still; everything is checked again.", alert=True, snapshot=True)
        ]
