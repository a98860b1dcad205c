"""How the engine's own recorded decisions change the state."""

from __future__ import annotations

import math

from order_plane.codes import Code
from order_plane.ledger import fills
from order_plane.ledger.book import EPSILON, Booked, Position
from order_plane.ledger.child_order import Order
from order_plane.ledger.fold_base import DAY_NS, Event, FoldBase, Note
from order_plane.ledger.order_state import State, Trigger
from order_plane.ledger.state import (
    EVERYTHING,
    KEEP_NS,
    Parent,
)
from order_plane.ledger.taken_over import TakenOver
from triplane.domain import names


class DecisionFold(FoldBase):
    """The fold of what the engine decided."""

    def _parent_opened(self, event: Event, record: Event | None) -> list[Note]:
        s, values = self.state, event["values"]
        s.parents[event["intent_id"]] = Parent(
            intent_id=event["intent_id"],
            seq=event["seq"],
            symbol=event["symbol"],
            con_id=event["con_id"],
            target=values["target"],
            needed=event["quantity"],
            started=event["event_time"],
            deadline=event["good_till"],
            intent_config_hash=event["intent_config_hash"],
            arrival_mid=values["arrival_mid"],
            half_spread=values["half_spread"],
            sigma_daily=values["sigma_daily"],
            adv=values["adv"],
            volume_base=values["volume_base"],
            volume_start=values["volume_start"],
        )
        return []

    def _intents_decided(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        s.last_seq = max(s.last_seq, event["seq"])
        s.pending = [item for item in s.pending if item["seq"] != event["seq"]]
        return []

    def _parent_closing(self, event: Event, record: Event | None) -> list[Note]:
        parent = self.state.parents[event["intent_id"]]
        parent.closing, parent.closing_wall = event["reason"], self.state.wall
        return []

    def _parent_closed(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        parent = s.parents.pop(event["intent_id"])
        fill = fills.parent_fill(s, self.account, parent, self.universe, event, simulated=self.simulated)
        s.costs.learn(fill, self.targets)
        return [Note(Code.OK, record=self._remember_fill(fill))]

    def _placing(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        values = event["values"]
        order = Order(
            ref=event["order_ref"],
            intent_id=event["intent_id"],
            seq=event["seq"],
            symbol=event["symbol"],
            con_id=event["con_id"],
            child=event["child"],
            side=1 if event["action"] == "BUY" else -1,
            quantity=event["quantity"],
            order_type=event["order_type"],
            tif=event["tif"],
            limit_price=event.get("limit_price", 0.0),
            good_till=event.get("good_till", 0),
            client_id=event["client_id"],
            order_id=event["order_id"],
            placed_wall=event["wall_time"],
            placed_time=s.market_time,
            placed_event=s.events,
            reserved=values["reserved"],
            multiplier=values["multiplier"],
        )
        s.book.add(order)
        parent = s.parents.get(order.intent_id)
        if parent is not None:
            parent.side = order.side
            parent.next_child = max(parent.next_child, order.child + 1)
            parent.orders.append(order.ref)
        s.rates.add_order(order.symbol, s.market_time, values["notional"])
        s.bucket.spend(s.wall, self.targets.order)
        s.reconciling.active = True
        return []

    def _cancelling(self, event: Event, record: Event | None) -> list[Note]:
        order = self.state.book.orders.get(event["order_ref"])
        self.state.bucket.spend(self.state.wall, self.targets.order)
        if order is not None and not order.dead and event["order_id"] == order.order_id:
            self._ask_cancel(order, event["reason"])
        return []

    def _ask_cancel(self, order: Order, reason: str) -> None:
        order.cancel_wall, order.cancel_reason = max(self.state.wall, 1), reason
        self.state.book.trigger(order, Trigger.CANCEL_REQUESTED)

    def _global_cancel(self, event: Event, record: Event | None) -> list[Note]:
        self.state.kill.global_sent = True
        self.state.bucket.spend(self.state.wall, self.targets.order)
        for order in self.state.book.all_live():
            if not order.dead:
                self._ask_cancel(order, event["reason"])
        return []

    def _doubted(self, event: Event, record: Event | None) -> list[Note]:
        self.state.book.trigger(self.state.book.orders[event["order_ref"]], Trigger.DOUBT)
        return []

    def _missed(self, event: Event, record: Event | None) -> list[Note]:
        self.state.book.orders[event["order_ref"]].absent_wall = max(self.state.wall, 1)
        return []

    def _abandoned(self, event: Event, record: Event | None) -> list[Note]:
        order = self.state.book.orders[event["order_ref"]]
        order.told_filled = order.booked
        self.state.book.trigger(order, Trigger.ABSENT)
        return []

    def _resolved(self, event: Event, record: Event | None) -> list[Note]:
        """A person says what became of an order; units that no execution shows are booked as an inferred fill."""
        s = self.state
        order = s.book.orders[event["order_ref"]]
        notes = []
        if event["quantity"] > 0.0:
            told = s.book.tell(order, event["quantity"], event["last_price"], s.market_time)
            fill = fills.execution_fill(s, self.account, told, self.universe, event, simulated=self.simulated)
            kind = "inferred" if told.before is None else fill["kind"]
            notes.append(Note(Code.OK, record=self._remember_fill({**fill, "kind": kind})))
        order.told_filled = order.booked
        # Filled in part, it is over all the same, and the broker may show that it is not: only what is whole is filled.
        whole = order.booked >= max(order.quantity, order.other_quantity) - EPSILON
        over = State.FILLED if event["status"] == "filled" and whole else State.CANCELLED
        order.state = over if event["status"] in ("filled", "cancelled") else State.ABANDONED
        s.book.refresh(order)
        return notes

    def _held(self, event: Event, record: Event | None) -> list[Note]:
        self.state.holds[event["symbol"]] = event["reason"]
        return []

    def _released(self, event: Event, record: Event | None) -> list[Note]:
        reason = self.state.holds.pop(event["symbol"], None)
        if event["symbol"] == EVERYTHING and reason == Code.NAV_JUMP:  # where nothing jumped, nothing is to be forgiven
            self.state.account.forgiven = True
        return []

    def _snapshot_requested(self, event: Event, record: Event | None) -> list[Note]:
        r = self.state.reconciling
        r.pending, r.requested_wall, r.requested_event = True, self.state.wall, self.state.events
        r.round += 1
        r.touched, r.wanted, r.active = {}, "", False
        return []

    def _baseline(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        s.reconciling.baseline = True
        s.book.foreign_traded = {}
        for symbol, con_id, quantity, price in zip(
            event["symbols"], event["con_ids"], event["quantities"], event["prices"], strict=True
        ):
            if event["reason"] == "adopt":
                before = s.book.position(symbol)
                s.book.positions[symbol] = Position(before + quantity, price, 0.0, con_id)
            else:
                s.book.excluded[symbol] = quantity
        return []

    def _difference(self, event: Event, record: Event | None) -> list[Note]:
        s, symbol = self.state, event["symbol"]
        s.book.foreign_traded.pop(symbol, None)
        s.reconciling.suspects.pop(symbol, None)
        _, announced = s.reconciling.splits.get(symbol, (0.0, 0))
        if event["reason"] == Code.CORPORATE_ACTION:
            s.reconciling.splits.pop(symbol, None)
        theirs, labels = event["values"]["theirs"], event["labels"]
        if labels["into"] == "excluded":
            s.book.excluded[symbol] = s.book.excluded.get(symbol, 0.0) + theirs - event["values"]["ours"]
            if not s.book.excluded[symbol]:
                del s.book.excluded[symbol]
            return []
        notes = []
        if event["reason"] == Code.UNEXPLAINED:
            for untold in s.book.settle_told(symbol, theirs - event["values"]["ours"], s.market_time):
                fill = fills.execution_fill(
                    s, self.account, Booked(untold, untold, late=False), self.universe, event, simulated=self.simulated
                )
                notes.append(Note(Code.OK, record=self._remember_fill(fill)))
        for order in s.book.live_orders(symbol):
            if order.dead:  # fills that were told but never shown are part of the position that was taken over
                order.told_filled = order.booked
                s.book.refresh(order)
        held = s.book.positions.setdefault(symbol, Position(con_id=event["con_id"]))
        if event["reason"] == Code.CORPORATE_ACTION and theirs and held.quantity:
            self._split(symbol, held, theirs / held.quantity, announced)
        elif not held.quantity or held.quantity * theirs < 0.0:
            held.avg_cost = event["values"]["price"]
        if not notes and event["reason"] != Code.CORPORATE_ACTION:
            self._take_over(event)
        held.quantity = theirs
        return notes

    def _take_over(self, event: Event) -> None:
        """Units that nobody traded here: what was told of their cash is booked with them, what they are worth their next mark says."""
        s, symbol, values = self.state, event["symbol"], event["values"]
        units = values["theirs"] - values["ours"]
        if values.get("mark", 0.0) > 0.0:  # of an older build, which had a mark at once
            self._flow(units * values["mark"] * self.multiplier(symbol))
        elif "mark" in values or "before" in values:  # still older ones took them over with the cash
            told = {name: values[name] for name in ("paid", "low", "high") if name in values}
            s.book.cash -= told.get("paid", 0.0) * self.multiplier(symbol)
            taken = TakenOver(units, values.get("before", 0.0), **told, since=s.market_time)
            s.reconciling.unvalued.setdefault(symbol, []).append(taken)

    def _split(self, symbol: str, held: Position, ratio: float, announced: int) -> None:
        """A position shows a split: `ratio` units for one, which was announced at that market time (ns)."""
        market, known = self.state.market, self.state.account.marks
        held.avg_cost /= ratio
        mark = market.marks.get(symbol)
        if mark is not None and mark.time > announced:
            del market.marks[symbol]  # of before the split or after it, nobody knows: the next one is of after it
        elif mark is not None:
            mark.price /= ratio
        market.quotes.pop(symbol, None)
        if symbol in known:
            known[symbol] /= ratio
        for taken in self.state.reconciling.unvalued.get(symbol, []):
            taken.split(ratio)

    def _valued(self, event: Event, record: Event | None) -> list[Note]:
        """Units that were taken over have a mark: so much of them is a flow."""
        self.state.reconciling.unvalued.pop(event["symbol"], None)
        self._flow(event["values"]["worth"])
        return []

    def _flow(self, worth: float) -> None:
        """NAV changed by so much, base currency, without a profit or a loss of ours."""
        account = self.state.account
        account.day_flows += worth
        account.nav += worth
        # Of a flow that leaves nothing no drawdown can be told: the next NAV begins a new mark.
        if math.isfinite(account.nav):
            told = account.nav > 0.0 and account.nav - worth > 0.0
            account.high_water_mark *= account.nav / (account.nav - worth) if told else math.nan

    def _cash_set(self, event: Event, record: Event | None) -> list[Note]:
        cash, book = event["values"]["cash"], self.state.book
        if math.isfinite(book.cash):
            self._flow(cash - book.cash + event["values"].get("taken_over", 0.0))
        book.cash = cash
        return []

    def _reconciled(self, event: Event, record: Event | None) -> list[Note]:
        s, values = self.state, event["values"]
        r = s.reconciling
        r.passed = True
        r.suspects = dict(zip(event["symbols"], event["quantities"], strict=True))
        r.cash_suspect = values.get("cash_suspect", math.nan)
        untold = names.split(event["labels"].get("foreign", ""))
        s.book.foreign_traded = {name: traded for name, traded in s.book.foreign_traded.items() if name in untold}
        s.account.base_currency = event["labels"].get("base_currency", "") or s.account.base_currency
        if "available_funds" in values:
            s.account.available_funds = values["available_funds"]
            # What was placed before the snapshot is in the broker's figure; what came later is still only in ours.
            s.book.reserving = [ref for ref in s.book.reserving if s.book.orders[ref].placed_event > r.requested_event]
        return []

    def _kill_requested(self, event: Event, record: Event | None) -> list[Note]:
        self.state.kill.asked = event["wall_time"]
        return []

    def _killed(self, event: Event, record: Event | None) -> list[Note]:
        kill, labels = self.state.kill, event["labels"]
        kill.level, kill.reason, kill.scope, kill.actor = (
            labels["level"],
            event["reason"],
            labels["scope"],
            labels["actor"],
        )
        kill.since, kill.global_sent = self.state.market_time, False
        kill.asked = int(labels.get("asked", "") or event["wall_time"])
        return []

    def _rearmed(self, event: Event, record: Event | None) -> list[Note]:
        s = self.state
        s.kill.level, s.kill.reason, s.kill.actor, s.kill.since = "none", "", event["labels"]["actor"], s.market_time
        s.kill.global_sent = False
        account = s.account
        account.nav = event["values"].get("nav", account.nav)  # which older builds did not tell
        account.high_water_mark = account.nav
        account.day_start, account.day_flows = account.nav, 0.0
        account.returns = type(account.returns)()
        account.psr_month = ""
        s.rates.rejects = []
        return []

    def _day_ended(self, event: Event, record: Event | None) -> list[Note]:
        s, values = self.state, event["values"]
        if "return" in values:
            s.account.returns.add(values["return"])
        s.account.day_start, s.account.day_flows = values.get("nav", math.nan), 0.0
        s.account.day_end = event["good_till"]
        s.book.day_traded = {}
        s.book.forget(s.market_time - KEEP_NS)
        s.reconciling.splits = {k: v for k, v in s.reconciling.splits.items() if v[1] >= s.market_time - 2 * DAY_NS}
        s.fills = {key: fill for key, fill in s.fills.items() if fill["available_time"] >= s.market_time - KEEP_NS}
        if event["labels"].get("judged"):
            s.account.psr_month = event["labels"]["judged"]
        return []

    def _marked(self, event: Event, record: Event | None) -> list[Note]:
        account, values = self.state.account, event["values"]
        if "nav" in values:
            account.nav, account.high_water_mark = values["nav"], values["high_water_mark"]
            account.day_start = values["day_start"]
            account.day_flows = values.get("day_flows", account.day_flows)  # which older builds did not tell
            account.forgiven = bool(values.get("forgiven", 0.0))
        account.marks = dict(zip(event.get("symbols", []), event.get("prices", []), strict=True))
        account.states += 1
        account.published_wall = self.state.wall
        account.due = False
        return []
