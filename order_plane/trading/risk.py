"""Checks before every child order: pure, on the worst case per side, each with its limit, its code and its numbers (law L7).

Worst case: position plus all buys, position less all sells, open and unknown orders included, never netted. Where an exposure is already
beyond its limit, an order that can only shrink it, and pushes no other beyond its limit, passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from order_plane.codes import Code
from order_plane.market.quotes import Quote
from order_plane.trading.account import Exposure, Name
from triplane.domain.assets import Asset
from triplane.domain.lots import is_whole
from triplane.domain.targets import OrderTargets
from triplane.domain.timestamps import SECOND

TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Proposal:
    """A child order that may be sent. `price` is the limit, or the far touch for a market order."""

    ref: str
    order_id: int
    symbol: str
    side: int
    quantity: float
    price: float
    is_limit: bool


@dataclass(frozen=True, slots=True)
class Denial:
    """Why an order must not be sent, with the numbers that decided: `limit` and `value` are always among them."""

    code: Code
    detail: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Context:
    """Everything that the checks look at. Times are ns; quantities units; money in base currency."""

    targets: OrderTargets
    asset: Asset | None
    now: int
    wall: int
    killed: str
    gross_factor: float
    connected: bool
    reconciled: bool
    route_free: bool
    hold: str
    account_hold: str
    excluded: bool
    session: tuple[int, int] | None
    quote: Quote | None
    adv: float
    day_traded: float
    remaining: float
    key_used: bool
    opposite_open: float
    active: int
    orders_in_minute: int
    notional_in_minute: float
    message_allowed: bool
    exposure: Exposure
    available_funds: float
    reserved: float


Check = Callable[[Proposal, Context], Denial | None]


def notional(proposal: Proposal, asset: Asset) -> float:
    """Quantity times price times multiplier, base currency."""
    return proposal.quantity * proposal.price * asset.multiplier


def _permission(p: Proposal, c: Context) -> Denial | None:
    if c.killed:
        return Denial(Code.KILLED, f"The kill switch is tripped ({c.killed}).")
    if c.account_hold:
        return Denial(Code.ACCOUNT_HELD, f"The account is held: {c.account_hold}.")
    if not c.connected:
        return Denial(Code.DISCONNECTED, "The link to the broker is down.")
    if not c.reconciled:
        return Denial(Code.UNRECONCILED, "No reconciliation has passed since the last start, link loss or difference.")
    if c.hold:
        return Denial(Code.SYMBOL_HELD, f"{p.symbol} is held: {c.hold}.")
    if c.excluded:
        return Denial(Code.FOREIGN_POSITION, f"Triplane did not open the position in {p.symbol} and leaves it alone.")
    if not c.route_free:
        return Denial(Code.FIRST_ORDER_ALONE, "The first order of this connection is not acknowledged yet.")
    return None


def _asset(p: Proposal, c: Context) -> Denial | None:
    if c.asset is None:
        return Denial(Code.UNKNOWN_SYMBOL, f"{p.symbol} is not in the configured universe.")
    if c.asset.untradable_code() is not None:
        return Denial(Code.CLASS_NOT_TRADED, f"{c.asset.asset_class} is not traded in this release.")
    return None


def _numbers(p: Proposal, c: Context) -> Denial | None:
    if not (math.isfinite(p.quantity) and math.isfinite(p.price) and p.price > 0.0):
        return Denial(
            Code.NOT_A_NUMBER,
            "Quantity and price must be finite and the price positive.",
            {"quantity": p.quantity, "price": p.price},
        )
    if not (math.isfinite(c.adv) and c.adv > 0.0):
        return Denial(Code.NOT_A_NUMBER, "The average daily volume is not a positive number.", {"adv": c.adv})
    return None


def _key(p: Proposal, c: Context) -> Denial | None:
    return (
        Denial(Code.DUPLICATE_KEY, f"{p.ref} or order id {p.order_id} was written ahead before.")
        if c.key_used
        else None
    )


def _session(p: Proposal, c: Context) -> Denial | None:
    if c.session is None:
        return Denial(Code.SESSION_CLOSED, f"The exchange of {p.symbol} is closed.")
    left = (c.session[1] - c.now) / SECOND
    if left <= c.targets.CLOSE_BUFFER_S:
        return _deny(Code.CLOSE_BUFFER, "The session ends too soon", left, c.targets.CLOSE_BUFFER_S)
    return None


def _quote(p: Proposal, c: Context) -> Denial | None:
    quote = c.quote
    if quote is None or not quote.two_sided:
        return Denial(Code.QUOTE_MISSING, f"{p.symbol} has no two-sided quote.")
    if quote.halted:
        return Denial(Code.QUOTE_HALTED, f"{p.symbol} is halted.")
    if quote.status != "live":
        return Denial(Code.QUOTE_DELAYED, f"The quote of {p.symbol} is {quote.status}.")
    # Wall age catches a data plane that stopped while the stream is the clock; a market second is never longer than a wall second.
    age = max((c.now - quote.time) / SECOND, (c.wall - quote.wall) / SECOND)
    if age > c.targets.QUOTE_STALE_S:
        return _deny(Code.QUOTE_STALE, "The quote is too old", age, c.targets.QUOTE_STALE_S)
    if quote.bid > quote.ask:
        return Denial(Code.QUOTE_CROSSED, "The bid is above the ask.", {"bid": quote.bid, "ask": quote.ask})
    return None


def _order(p: Proposal, c: Context) -> Denial | None:
    asset, quote, limits = c.asset, c.quote, c.targets
    assert asset is not None
    assert quote is not None
    if p.quantity <= 0.0 or not is_whole(p.quantity, asset.lot_size) or p.quantity < asset.min_order:
        return _deny(
            Code.LOT,
            "The quantity is no whole number of lots or below the smallest order",
            p.quantity,
            max(asset.lot_size, asset.min_order),
        )
    if p.is_limit and not is_whole(p.price, asset.min_tick):
        return _deny(Code.TICK, "The price is not a multiple of the tick", p.price, asset.min_tick)
    distance = abs(p.price - quote.mid) / quote.mid
    if distance > limits.COLLAR:
        return _deny(Code.COLLAR, "The price is too far from the mid", distance, limits.COLLAR)
    if p.quantity > limits.ORDER_QTY_MAX:
        return _deny(Code.ORDER_QTY, "The quantity is too large", p.quantity, limits.ORDER_QTY_MAX)
    value = notional(p, asset)
    if value > limits.ORDER_NOTIONAL_MAX:
        return _deny(Code.ORDER_NOTIONAL, "The notional is too large", value, limits.ORDER_NOTIONAL_MAX)
    share = p.quantity / c.adv
    if share > limits.ORDER_ADV_MAX:
        return _deny(Code.ORDER_ADV, "The order is too large a share of adv", share, limits.ORDER_ADV_MAX)
    name = c.exposure.names[p.symbol]
    day = (c.day_traded + name.buys + name.sells + p.quantity) / c.adv
    if day > limits.ADV_DAY_CAP:
        return _deny(Code.DAY_ADV, "The day's share of adv is used up", day, limits.ADV_DAY_CAP)
    if p.quantity > c.remaining + TOLERANCE:
        return _deny(Code.CHILD_OVER_PARENT, "The target would be passed", p.quantity, c.remaining)
    return None


def _traffic(p: Proposal, c: Context) -> Denial | None:
    asset, limits = c.asset, c.targets
    assert asset is not None
    if c.opposite_open > 0.0:
        return _deny(Code.SELF_CROSS, "An own order on the other side may be live", c.opposite_open, 0.0)
    if c.active + 1 > limits.ACTIVE_PER_SIDE:
        return _deny(Code.ACTIVE_PER_SIDE, "Too many active orders", c.active + 1, limits.ACTIVE_PER_SIDE)
    if c.orders_in_minute + 1 > limits.ORDERS_PER_MINUTE:
        return _deny(
            Code.ORDERS_PER_MINUTE, "Too many orders in a minute", c.orders_in_minute + 1, limits.ORDERS_PER_MINUTE
        )
    value = c.notional_in_minute + notional(p, asset)
    if value > limits.NOTIONAL_PER_MINUTE:
        return _deny(Code.NOTIONAL_PER_MINUTE, "Too much notional in a minute", value, limits.NOTIONAL_PER_MINUTE)
    if not c.message_allowed:
        return Denial(Code.MESSAGE_RATE, "What is left of the message budget is kept for cancels.")
    return None


def after_order(p: Proposal, name: Name) -> Name:
    """The name's worst case with the order added."""
    buys = name.buys + (p.quantity if p.side > 0 else 0.0)
    sells = name.sells + (p.quantity if p.side < 0 else 0.0)
    return Name(name.position, buys, sells, name.unit)


def shrinks_name(p: Proposal, name: Name) -> bool:
    """Whether the order, however it fills, only brings the name's position closer to zero."""
    after = after_order(p, name)
    if p.side > 0:
        return name.position < 0.0 and after.longest <= TOLERANCE
    return name.position > 0.0 and after.shortest >= -TOLERANCE


def _portfolio(p: Proposal, c: Context) -> Denial | None:
    asset, limits, nav = c.asset, c.targets, c.exposure.nav
    assert asset is not None
    before = c.exposure.names[p.symbol]
    after = after_order(p, before)
    if not asset.shortable and p.side < 0 and after.shortest < -TOLERANCE:
        return _deny(Code.NO_SHORT, f"{p.symbol} may not be shorted", after.shortest, 0.0)
    if c.exposure.unpriced:
        return Denial(Code.NAV_UNKNOWN, f"{c.exposure.unpriced[0]} has no price, so exposure cannot be judged.")
    if nav <= 0.0:
        return Denial(Code.NAV_UNKNOWN, f"NAV is {nav:,.0f}, so limits cannot be judged.", {"nav": nav})
    if not math.isfinite(nav):
        why = f": {', '.join(c.exposure.unmarked)} held without a fresh mark" if c.exposure.unmarked else ""
        return Denial(Code.NAV_UNKNOWN, f"NAV is not known, so limits cannot be judged{why}.", {"nav": nav})
    shrinking = shrinks_name(p, before)
    box = after.worst / nav
    if box > limits.BOX_HARD and not (shrinking and after.worst <= before.worst):
        return _deny(Code.BOX, "The name's worst case is too large", box, limits.BOX_HARD)
    gross_limit = limits.GROSS_HARD * c.gross_factor
    gross = (c.exposure.gross - before.worst + after.worst) / nav
    if gross > gross_limit and not (shrinking and after.worst <= before.worst):
        return _deny(Code.GROSS, "The worst case of gross is too large", gross, gross_limit)
    # Only one end of net moves with an order; the other may be beyond its limit already, and this order then shrinks it.
    net_up = (c.exposure.net_up + (after.longest - before.longest) * before.unit) / nav
    net_down = (c.exposure.net_down + (after.shortest - before.shortest) * before.unit) / nav
    if p.side > 0 and net_up > limits.NET_HARD:
        return _deny(Code.NET, "The worst case of net is too long", net_up, limits.NET_HARD)
    if p.side < 0 and net_down < -limits.NET_HARD:
        return _deny(Code.NET, "The worst case of net is too short", net_down, -limits.NET_HARD)
    return None


def reservation(p: Proposal, name: Name, asset: Asset, targets: OrderTargets) -> float:
    """Funds that the order reserves: the initial margin on what may add exposure, worst case; base currency."""
    after = after_order(p, name)
    if p.side > 0:
        adding = max(after.longest, 0.0) - max(name.longest, 0.0)
    else:
        adding = max(-after.shortest, 0.0) - max(-name.shortest, 0.0)
    return min(adding, p.quantity) * p.price * asset.multiplier * targets.INITIAL_MARGIN


def _funds(p: Proposal, c: Context) -> Denial | None:
    assert c.asset is not None
    needed = reservation(p, c.exposure.names[p.symbol], c.asset, c.targets)
    if needed == 0.0:
        return None
    allowed = c.available_funds * c.targets.BUYING_POWER_USE
    if not c.reserved + needed <= allowed:  # NaN funds deny
        return _deny(Code.BUYING_POWER, "Funds are not enough", c.reserved + needed, allowed)
    return None


CHECKS: tuple[Check, ...] = (
    _permission,
    _asset,
    _key,
    _session,
    _quote,
    _numbers,
    _order,
    _traffic,
    _portfolio,
    _funds,
)


def check(proposal: Proposal, context: Context) -> Denial | None:
    """The first denial, in the order of CHECKS, or None when the order may be sent."""
    for test in CHECKS:
        denial = test(proposal, context)
        if denial is not None:
            return denial
    return None


def _deny(code: Code, words: str, value: float, limit: float) -> Denial:
    return Denial(
        code, f"{words}: {value:.6g} against a limit of {limit:.6g}.", {"value": float(value), "limit": float(limit)}
    )
