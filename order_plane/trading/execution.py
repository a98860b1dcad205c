"""Parents at work: which child next, at what price, and which orders to take back.

A child is what the throttle allows of what remains to the target, never more than each order limit, in whole lots. Limit children reach
LIMIT_OFFSET through the touch, so that they trade at once but never at any price; adaptive ones are handed to the broker's algorithm;
market ones are judged at the far touch. Nothing is ever modified: a child that rests away from the market is cancelled, confirmed final,
and a new one under a new key replaces it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from order_plane.codes import Code
from order_plane.ledger.book import EPSILON
from order_plane.ledger.child_order import Order
from order_plane.ledger.order_state import State
from order_plane.ledger.state import EngineState, Parent
from order_plane.market.throttle import pov_allowance
from order_plane.trading.account import Exposure
from order_plane.trading.intents import expected_position, remaining
from order_plane.trading.risk import Denial, Proposal
from triplane.domain.assets import Asset
from triplane.domain.ids import OrderRef
from triplane.domain.lots import round_price, round_quantity
from triplane.domain.targets import OrderTargets
from triplane.domain.timestamps import SECOND

# So many children that the broker got after their good-till time end a parent: one clock is wrong, and each try is as late.
# Those whose answer is still to come count as well, or a plane that works off a standstill sends a dozen before the first answer.
TOO_LATE_MAX = 3


@dataclass(frozen=True, slots=True)
class Child:
    """The next child of a parent, before the risk checks. `rest` is what remains to the target, in units."""

    proposal: Proposal
    rest: float


def live_of(state: EngineState, parent: Parent) -> list[Order]:
    """The parent's orders that may still fill."""
    return [order for order in state.book.live_orders(parent.symbol) if order.intent_id == parent.intent_id]


def _orders_of(state: EngineState, parent: Parent) -> list[Order]:
    """All orders of the parent that the book still knows, live or not."""
    return [state.book.orders[ref] for ref in parent.orders if ref in state.book.orders]


def _too_late(orders: list[Order]) -> int:
    return sum(order.too_late for order in orders)


def side_of(state: EngineState, parent: Parent) -> int:
    """+1 or -1; 0 when orders in flight already make the target. Fixed by the first child."""
    if parent.side:
        return parent.side
    difference = parent.target - expected_position(state, parent.symbol)
    return 0 if abs(difference) <= EPSILON else 1 if difference > 0 else -1


def touch(state: EngineState, symbol: str, side: int) -> float:
    """The price on the other side of the book; NaN when there is none."""
    quote = state.market.quotes.get(symbol)
    if quote is None or not quote.two_sided:
        return math.nan
    return quote.ask if side > 0 else quote.bid


def price_of(far: float, side: int, asset: Asset, targets: OrderTargets) -> float:
    """Limit price on the tick grid, at most LIMIT_OFFSET through the touch; the touch itself for a market order."""
    if targets.EXECUTION == "market" or not math.isfinite(far):
        return far
    return round_price(far * (1.0 + side * targets.LIMIT_OFFSET), asset.min_tick, "BUY" if side > 0 else "SELL")


def _allowance(state: EngineState, parent: Parent, side: int, targets: OrderTargets) -> float:
    """Units that participation in volume allows now."""
    now = state.market_time
    window = now - round(targets.POV_WINDOW_S * SECOND)
    live = state.book.open_side(parent.symbol, side)
    recent = sum(units for time, units in state.book.recent.get(parent.symbol, ()) if time > window)
    booked = sum(state.book.orders[ref].booked for ref in parent.orders if ref in state.book.orders)
    return pov_allowance(
        state.market.volume(parent.symbol),
        now,
        base=parent.volume_base,
        done=booked - parent.done_before + live,
        done_in_window=recent + live,
        targets=targets,
    )


def next_child(
    state: EngineState, parent: Parent, asset: Asset, targets: OrderTargets, exposure: Exposure, account: str
) -> Child | Denial | None:
    """The next child, the reason to wait, or None when nothing remains to be sent."""
    side = side_of(state, parent)
    if side == 0:
        return None
    rest = remaining(state, parent.symbol, parent.target, side)
    whole = round_quantity(max(rest, 0.0), asset.lot_size)
    if whole < asset.min_order:
        return None
    orders = _orders_of(state, parent)
    silent = sum(order.state is State.PLACING for order in orders)
    if silent and silent + _too_late(orders) >= TOO_LATE_MAX:
        return Denial(Code.UNANSWERED, Code.UNANSWERED.meaning, {"rest": rest, "unanswered": float(silent)})
    price = price_of(touch(state, parent.symbol, side), side, asset, targets)
    quantity = whole
    if math.isfinite(price) and price > 0.0:
        name = exposure.names[parent.symbol]
        day = targets.ADV_DAY_CAP * parent.adv - state.book.day_traded.get(parent.symbol, 0.0) - name.buys - name.sells
        caps = {
            "volume": _allowance(state, parent, side, targets),
            "day": day,
            "quantity": targets.ORDER_QTY_MAX,
            "adv": targets.ORDER_ADV_MAX * parent.adv,
            "notional": targets.ORDER_NOTIONAL_MAX / (price * asset.multiplier),
        }
        allowed = min(whole, *caps.values())
        quantity = round_quantity(max(allowed, 0.0), asset.lot_size)
        too_small = quantity < asset.min_order or (
            quantity < whole and quantity * price * asset.multiplier < targets.MIN_CHILD_NOTIONAL
        )
        if too_small:
            tightest = min(caps, key=lambda each: caps[each])
            code, limit = CAPS[tightest]
            return Denial(
                code,
                f"{limit} allows {max(caps[tightest], 0.0):g} of {rest:g} units now, which is no child of useful size.",
                {"rest": rest, "allowed": max(allowed, 0.0), **{f"cap_{name}": cap for name, cap in caps.items()}},
            )
    ref = str(OrderRef(account, parent.seq, parent.symbol, parent.next_child, 0))
    proposal = Proposal(
        ref, state.book.next_order_id(), parent.symbol, side, quantity, price, is_limit=targets.EXECUTION != "market"
    )
    return Child(proposal, rest)


CAPS = {
    "volume": (Code.VOLUME_WAIT, "Observed volume"),
    "day": (Code.DAY_ADV, "ADV_DAY_CAP"),
    "quantity": (Code.ORDER_QTY, "ORDER_QTY_MAX"),
    "adv": (Code.ORDER_ADV, "ORDER_ADV_MAX"),
    "notional": (Code.ORDER_NOTIONAL, "ORDER_NOTIONAL_MAX"),
}
"""What keeps a child small, with its code and the name of the limit."""


def terms(now: int, session_end: int, targets: OrderTargets) -> dict[str, Any]:
    """Order type, time in force and algorithm of a child, as OrderEvent fields. GTD is a dead man's timer, in whole seconds."""
    if targets.EXECUTION == "market":
        return {"order_type": "MKT", "tif": "DAY"}
    if targets.EXECUTION == "adaptive":  # IB's algorithms take no good-till date
        return {
            "order_type": "LMT",
            "tif": "DAY",
            "algo": "Adaptive",
            "labels": {"adaptive_priority": targets.ADAPTIVE_PRIORITY},
        }
    until = min(now + round(targets.CHILD_GOOD_TILL_S * SECOND), session_end)
    return {"order_type": "LMT", "tif": "GTD", "good_till": until // SECOND * SECOND}


def cancel_reason(state: EngineState, order: Order, targets: OrderTargets, killed: bool) -> str:
    """Why an order should be asked to be cancelled now, or the empty text."""
    if order.dead:
        return ""
    if order.cancel_wall and state.wall - order.cancel_wall < targets.BROKER_TIMEOUT_S * SECOND:
        return ""
    if killed:
        return Code.KILLED
    if order.cancel_reason:  # asked for before, not confirmed: ask again
        return order.cancel_reason
    if order.state is State.PLACING:
        return ""  # nothing to cancel until the broker shows it; a timeout makes it unknown
    parent = state.parents.get(order.intent_id)
    if parent is not None and parent.closing:
        return parent.closing
    if order.state is not State.SUBMITTED or order.order_type != "LMT" or order.limit_price <= 0.0:
        return ""
    far = touch(state, order.symbol, order.side)
    rests = order.side * (far - order.limit_price) > 0.0
    if rests and state.market_time - order.placed_time >= targets.REQUOTE_S * SECOND:
        return Code.REQUOTE
    return ""


def closing_reason(
    state: EngineState, parent: Parent, asset: Asset | None, session_end: int, targets: OrderTargets
) -> str:
    """Why a parent should stop working, or the empty text. `session_end` 0: the session is over."""
    if parent.closing:
        return ""
    if state.market_time >= parent.deadline or (session_end == 0 and parent.orders) or asset is None:
        return Code.PARENT_EXPIRED
    orders = _orders_of(state, parent)
    if any(order.state is State.REJECTED for order in orders):
        return Code.REJECTED  # what the broker refuses once, it refuses again; the next barrier decides
    ends = next((order.ends for order in orders if order.ends), "")
    if ends:
        return ends  # what kept this child keeps the next
    if any(order.cancelled_by_others for order in orders):
        return Code.FOREIGN_CANCEL  # who cancels by hand does not want the rest sent again five seconds later
    if _too_late(orders) >= TOO_LATE_MAX:
        return Code.TOO_LATE
    if state.book.live_orders(parent.symbol):
        return ""  # its own, or an older parent's on their way out: they may still change what is needed
    side = side_of(state, parent)
    rest = remaining(state, parent.symbol, parent.target, side) if side else 0.0
    return Code.DONE if round_quantity(max(rest, 0.0), asset.lot_size) < asset.min_order else ""
