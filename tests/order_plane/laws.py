"""Laws L4 and L7 checked at every send, from what was told to the engine and sent by it: nothing of the engine's own books is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from order_plane.messages import BrokerReport, Input, LogInput, Place
from triplane.domain.targets import OrderTargets
from triplane.domain.timestamps import MINUTE, SECOND

DEAD_STATUS = {"Cancelled", "ApiCancelled"}


@dataclass
class Sent:
    symbol: str
    side: int
    quantity: float
    price: float
    time: int
    told: float = 0.0
    booked: float = 0.0
    dead: bool = False

    @property
    def open(self) -> float:
        return max(self.told - self.booked, 0.0) if self.dead else max(self.quantity - self.booked, 0.0)


@dataclass
class Watcher:
    """An independent ledger of one engine's conversation; `saw` before, `sends` for each Place of an input."""

    limits: OrderTargets
    sent: dict[str, Sent] = field(default_factory=dict)
    by_id: dict[int, str] = field(default_factory=dict)
    executions: dict[str, tuple[int, str, float, float]] = field(default_factory=dict)
    positions: dict[str, float] = field(default_factory=dict)
    quotes: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    cash: float = math.nan
    adv: dict[str, float] = field(default_factory=dict)
    wanted: dict[str, float] = field(default_factory=dict)
    now: int = 0
    refs: list[str] = field(default_factory=list)
    paid: dict[str, float] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def saw(self, item: Input) -> None:
        if isinstance(item, LogInput):
            record = item.record
            if item.topic in ("data.quotes", "data.bars"):
                self.now = max(self.now, record["available_time"])
            if item.topic == "data.quotes":
                for s, bid, ask, when in zip(
                    record["symbols"], record["bid"], record["ask"], record["quote_time"], strict=True
                ):
                    self.quotes[s] = (bid, ask, when)
            elif item.topic == "strategy.intents":
                self.wanted |= dict(zip(record["symbols"], record["target_qty"], strict=True))
                self.adv |= dict(zip(record["symbols"], record["adv"], strict=True))
        elif isinstance(item, BrokerReport):
            self._report(item.event)

    def _report(self, event: Mapping[str, Any]) -> None:
        kind = event["kind"]
        ref = event.get("order_ref") or self.by_id.get(event.get("order_id", 0), "")
        order = self.sent.get(ref)
        if kind == "execution":
            base, _, revision = event["exec_id"].rpartition(".")
            side = 1 if event["action"] == "BUY" else -1
            known = self.executions.get(base)
            if known is not None and int(revision) <= known[0]:
                return
            before = known[2] if known is not None else 0.0
            paid = known[3] if known is not None else 0.0
            value = event["quantity"] * event["last_price"]
            self.executions[base] = (int(revision), ref, event["quantity"], value)
            self.paid[event["symbol"]] = self.paid.get(event["symbol"], 0.0) + side * (value - paid)
            self.positions[event["symbol"]] = self.positions.get(event["symbol"], 0.0) + side * (
                event["quantity"] - before
            )
            if order is not None:
                order.booked += event["quantity"] - before
                if known is not None:  # a correction voids what a status told of the old quantity
                    order.told = max(order.told + event["quantity"] - before, 0.0)
        elif kind in ("order_status", "completed_order", "open_order") and order is not None:
            final = kind == "completed_order" and order.dead
            order.told = event["filled"] if final else max(order.told, event.get("filled", 0.0))
            status = event["status"]
            if (
                status in DEAD_STATUS
                or (kind == "completed_order" and status in ("Filled", "Inactive"))
                or status == "Filled"
            ):
                order.dead = True
            elif (
                status in ("Submitted", "PreSubmitted", "PendingSubmit")
                and order.dead
                and order.booked < order.quantity
            ):
                order.dead = False
        elif kind == "error" and order is not None and event["code"] in (201, 202):
            order.dead = True
        elif kind == "snapshot" and event["status"] == "complete" and math.isnan(self.cash):
            self.cash = event["values"]["TotalCashValue"]

    def abandoned(self, ref: str) -> None:
        self.sent[ref].dead = True
        self.sent[ref].told = self.sent[ref].booked

    def _worst(self, symbol: str) -> tuple[float, float]:
        buys = sum(o.open for o in self.sent.values() if o.symbol == symbol and o.side > 0)
        sells = sum(o.open for o in self.sent.values() if o.symbol == symbol and o.side < 0)
        position = self.positions.get(symbol, 0.0)
        return position + buys, position - sells

    def _fail(self, law: str, place: Place, detail: str) -> None:
        self.violations.append(f"{law}: {place.order_ref}: {detail}")

    def sends(self, place: Place) -> None:
        f, limits = place.fields, self.limits
        symbol, side = f["symbol"], 1 if f["action"] == "BUY" else -1
        if place.order_ref in self.sent:
            self._fail("L4", place, "sent twice")
        if f["order_id"] in self.by_id:
            self._fail("L4", place, "order id used twice")
        bid, ask, when = self.quotes[symbol]
        mid = (bid + ask) / 2
        price = f["limit_price"] or (ask if side > 0 else bid)
        longest, shortest = self._worst(symbol)
        before = max(abs(longest), abs(shortest))
        position = self.positions.get(symbol, 0.0)
        other = sum(o.open for o in self.sent.values() if o.symbol == symbol and o.side == -side)
        if other > 0:
            self._fail("L7", place, "crosses an own order")
        if (self.now - when) / SECOND > limits.QUOTE_STALE_S:
            self._fail("L7", place, "stale quote")
        if abs(price - mid) / mid > limits.COLLAR + 1e-9:
            self._fail("L7", place, "collar")
        if f["quantity"] > limits.ORDER_QTY_MAX or f["quantity"] * price > limits.ORDER_NOTIONAL_MAX + 1e-6:
            self._fail("L7", place, "order size")
        recent = [o for o in self.sent.values() if o.time > self.now - MINUTE]
        if sum(1 for o in recent if o.symbol == symbol) + 1 > limits.ORDERS_PER_MINUTE:
            self._fail("L7", place, "orders per minute")
        if sum(o.quantity * o.price for o in recent) + f["quantity"] * price > limits.NOTIONAL_PER_MINUTE + 1e-6:
            self._fail("L7", place, "notional per minute")
        if (
            sum(1 for o in self.sent.values() if o.symbol == symbol and o.side == side and not o.dead and o.open > 0)
            + 1
            > limits.ACTIVE_PER_SIDE
        ):
            self._fail("L7", place, "active per side")
        self.sent[place.order_ref] = Sent(symbol, side, f["quantity"], price, self.now)
        self.by_id[f["order_id"]] = place.order_ref
        self.refs.append(place.order_ref)
        longest, shortest = self._worst(symbol)
        target = self.wanted[symbol]
        if (side > 0 and longest > target + 1e-6) or (side < 0 and shortest < target - 1e-6):
            self._fail("L4", place, f"filled + open + unknown pass the target {target}: {longest} / {shortest}")
        self._portfolio(place, side, symbol, position, before, longest, shortest)

    def _portfolio(
        self, place: Place, side: int, symbol: str, position: float, before: float, longest: float, shortest: float
    ) -> None:
        limits = self.limits
        names = sorted({*self.positions, *(o.symbol for o in self.sent.values())})
        mids = {s: (self.quotes[s][0] + self.quotes[s][1]) / 2 for s in names}
        bought = sum(self.paid.get(s, 0.0) for s in names)
        nav = self.cash - bought + sum(self.positions.get(s, 0.0) * mids[s] for s in names)
        shrinking = (side > 0 and position < 0 and longest <= 1e-6) or (side < 0 and position > 0 and shortest >= -1e-6)
        worst = {s: self._worst(s) for s in names}
        after = max(abs(longest), abs(shortest))
        slack = 0.001  # commissions are not in this ledger
        if after * mids[symbol] / nav > limits.BOX_HARD * (1 + slack) and not (shrinking and after <= before):
            self._fail("L7", place, f"box {after * mids[symbol] / nav:.4f}")
        gross = sum(max(abs(a), abs(b)) * mids[s] for s, (a, b) in worst.items()) / nav
        if gross > limits.GROSS_HARD * (1 + slack) and not (shrinking and after <= before):
            self._fail("L7", place, f"gross {gross:.4f}")
        up = sum(a * mids[s] for s, (a, _) in worst.items()) / nav
        down = sum(b * mids[s] for s, (_, b) in worst.items()) / nav
        if (side > 0 and up > limits.NET_HARD * (1 + slack)) or (side < 0 and down < -limits.NET_HARD * (1 + slack)):
            self._fail("L7", place, f"net {up:.4f} / {down:.4f}")
