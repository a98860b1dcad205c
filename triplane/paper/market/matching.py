"""The matching engine: orders against the simulated book of each name. Pure: no clock, no randomness, no I/O.

Scenario -> behaviour, per 5-second step of market time and name:

- A marketable order takes at the touch, at once: at most what the step's capacity leaves (displayed size and a share of the step's
  volume, both sides of our own orders together), at touch + side * impact * mid, and never beyond its limit.
- Impact is on the whole parent and transient: when a parent's taken quantity grows from Q to Q + q, the slice is displaced by
  (C(Q + q) - C(Q)) / q with C(x) = Y sigma_daily x^(3/2) / adv^(1/2), so the parent's average displacement is
  Y sigma_daily sqrt(Q / adv) however it is cut into children (Almgren et al. 2005; Toth et al. 2011). Displayed prices do not move.
- A limit order that is not marketable rests. It fills at its limit when the market trades through it: half the passive share of the
  volume when the price is only touched, all of it when it is crossed. It causes no impact.
- Adaptive works inside the spread: it takes at mid + side * share * half spread with a smaller capacity the more patient it is.
- What does not fill in full stays until it is cancelled or expires; IOC expires after its first try.

Prices in the asset's currency, quantities in units (whole lots), fractions of mid, time int64 ns UTC.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

TAKE_SHARE: Final = 0.5  # of a step's volume that all our aggressive orders together may take
PASSIVE_SHARE: Final = 0.25  # of a step's volume that trades with resting orders at or through their price
ADAPTIVE: Final[dict[str, tuple[float, float]]] = {
    # priority: (share of the half spread that is paid, share of the capacity that is used)
    "Urgent": (0.75, 1.0),
    "Normal": (0.5, 0.5),
    "Patient": (0.25, 0.25),
}
PRICE_DECIMALS: Final = 4


class Quote(NamedTuple):
    """Best bid and ask with displayed sizes, and the mid that they are quoted around."""

    bid: float
    ask: float
    bid_size: float
    ask_size: float
    mid: float


class Traded(NamedTuple):
    """What the market traded in the step that ends at the quote."""

    high: float
    low: float
    volume: float


@dataclass(frozen=True, slots=True)
class Impact:
    """Y of the square-root law, daily volatility (fraction) and daily volume (units) of a name."""

    y: float
    sigma_daily: float
    adv: float

    def cost(self, quantity: float) -> float:
        """C(quantity): displacement summed over units, fraction of mid times units."""
        return self.y * self.sigma_daily * quantity * math.sqrt(quantity / self.adv)

    def slice(self, taken: float, quantity: float) -> float:
        """Average displacement of `quantity` units after `taken` ones of the same parent, fraction of mid."""
        return (self.cost(taken + quantity) - self.cost(taken)) / quantity


@dataclass(slots=True)
class WorkingOrder:
    """An order in the engine. `side` is +1 or -1; `limit` is None for market orders; `parent` groups children for impact."""

    key: int
    symbol: str
    side: int
    quantity: float
    limit: float | None
    parent: str
    expires: int
    immediate: bool = False
    adaptive: Literal["", "Urgent", "Normal", "Patient"] = ""
    lot: float = 1.0
    filled: float = 0.0
    resting: bool = False

    @property
    def remaining(self) -> float:
        """Units still to fill."""
        return self.quantity - self.filled


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill. `half_spread` and `displacement` are what was paid relative to `mid`, fractions (0 for passive fills)."""

    key: int
    symbol: str
    side: int
    quantity: float
    price: float
    mid: float
    half_spread: float
    displacement: float
    added_liquidity: bool


@dataclass(slots=True)
class _Market:
    quote: Quote
    impact: Impact
    left: dict[int, float]  # displayed size that is left to buy (+1) and to sell (-1) into
    volume_left: float
    taken: dict[tuple[str, int], float] = field(default_factory=dict)


class MatchingEngine:
    """All working orders of the account. Orders of a name are served first come, first served."""

    def __init__(self) -> None:
        self._orders: dict[int, WorkingOrder] = {}
        self._markets: dict[str, _Market] = {}

    def working(self) -> list[WorkingOrder]:
        """Orders that are not terminal, in the order in which they came."""
        return list(self._orders.values())

    def get(self, key: int) -> WorkingOrder | None:
        """The working order with this key."""
        return self._orders.get(key)

    def open_market(self, symbol: str, quote: Quote, impact: Impact, volume: float) -> None:
        """Begin a session: parents of earlier sessions have left no impact behind."""
        self._markets[symbol] = _Market(quote, impact, _displayed(quote), TAKE_SHARE * volume)

    def close_market(self) -> None:
        """No quotes until the next session; orders stay."""
        self._markets.clear()

    def quote(self, symbol: str) -> Quote | None:
        """The current quote, None while the market is closed."""
        market = self._markets.get(symbol)
        return market.quote if market else None

    def add(self, order: WorkingOrder) -> list[Trade]:
        """Accept an order and let it trade. An order that is filled or was immediate is gone afterwards."""
        if order.key in self._orders:
            raise ValueError(f"order {order.key} is already working; give each order its own key")
        if order.side not in (1, -1) or not order.remaining > 0:
            raise ValueError(f"order {order.key} needs side +1 or -1 and something left to fill")
        self._orders[order.key] = order
        return self._take(order)

    def modify(self, key: int, quantity: float, limit: float | None, immediate: bool, expires: int) -> list[Trade]:
        """Change size, price and expiry of a working order; a size at or below what is filled ends it."""
        order = self._orders[key]
        order.quantity, order.limit, order.immediate, order.expires = quantity, limit, immediate, expires
        if order.remaining <= 0:
            del self._orders[key]
            return []
        return self._take(order)

    def cancel(self, key: int) -> bool:
        """Take an order out; False when it is not working."""
        return self._orders.pop(key, None) is not None

    def expired(self, now: int) -> list[int]:
        """Take out the orders whose time has come and return their keys."""
        keys = [order.key for order in self._orders.values() if order.expires <= now]
        for key in keys:
            del self._orders[key]
        return keys

    def step(self, symbol: str, traded: Traded, quote: Quote, volume: float) -> list[Trade]:
        """One step of a name: resting orders meet what traded, then marketable ones take at the new quote.

        `volume` is what the market will trade in the step that now begins.
        """
        market = self._markets[symbol]
        orders = [order for order in self._orders.values() if order.symbol == symbol]
        trades = _passive(orders, traded)
        market.quote, market.left, market.volume_left = quote, _displayed(quote), TAKE_SHARE * volume
        for order in orders:
            if order.remaining > 0:
                trades.extend(self._take(order))
            else:
                del self._orders[order.key]
        return trades

    def _take(self, order: WorkingOrder) -> list[Trade]:
        market = self._markets.get(order.symbol)
        if market is None:
            return []
        trade = _aggress(order, market)
        if order.remaining <= 0 or order.immediate:
            del self._orders[order.key]
        return [trade] if trade else []


def _displayed(quote: Quote) -> dict[int, float]:
    return {1: quote.ask_size, -1: quote.bid_size}


def _whole(quantity: float, lot: float) -> float:
    # The small addend keeps 0.3 / 0.1 from losing a lot to the binary fraction.
    return math.floor(quantity / lot + 1e-9) * lot


def _aggress(order: WorkingOrder, market: _Market) -> Trade | None:
    """Fill what the touch, the capacity and the limit allow; notes whether the order rests."""
    quote = market.quote
    touch = quote.ask if order.side > 0 else quote.bid
    capacity = min(market.left[order.side], market.volume_left)
    if order.adaptive:
        share, pace = ADAPTIVE[order.adaptive]
        touch = quote.mid + share * (touch - quote.mid)
        capacity *= pace
    order.resting = order.limit is not None and order.side * (touch - order.limit) > 0
    quantity = _whole(min(order.remaining, capacity), order.lot)
    if order.resting or quantity <= 0:
        return None
    parent = (order.parent, order.side)
    taken = market.taken.get(parent, 0.0)
    if order.limit is not None:
        room = order.side * (order.limit - touch) / quote.mid
        quantity = _within(market.impact, taken, quantity, room, order.lot)
        if quantity <= 0:
            return None
    displacement = market.impact.slice(taken, quantity)
    price = round(touch + order.side * displacement * quote.mid, PRICE_DECIMALS)
    if order.limit is not None:
        price = min(price, order.limit) if order.side > 0 else max(price, order.limit)
    market.taken[parent] = taken + quantity
    market.left[order.side] -= quantity
    market.volume_left -= quantity
    order.filled += quantity
    half = order.side * (touch - quote.mid) / quote.mid
    return Trade(order.key, order.symbol, order.side, quantity, price, quote.mid, half, displacement, False)


def _within(impact: Impact, taken: float, quantity: float, room: float, lot: float) -> float:
    """Largest quantity, in lots, whose average displacement stays within `room`; the displacement grows with quantity."""
    if impact.slice(taken, quantity) <= room:
        return quantity
    low, high = 0, round(quantity / lot)
    while high - low > 1:
        middle = (low + high) // 2
        if impact.slice(taken, middle * lot) <= room:
            low = middle
        else:
            high = middle
    return low * lot


def _passive(orders: Iterable[WorkingOrder], traded: Traded) -> list[Trade]:
    """Fills of resting orders by what the market traded in the step, each at its own limit."""
    trades: list[Trade] = []
    left = {1: PASSIVE_SHARE * traded.volume, -1: PASSIVE_SHARE * traded.volume}
    for order in orders:
        if not order.resting or order.limit is None or order.adaptive:
            continue
        depth = order.limit - traded.low if order.side > 0 else traded.high - order.limit
        if depth < 0:
            continue
        available = left[order.side] if depth > 0 else left[order.side] / 2
        quantity = _whole(min(order.remaining, available), order.lot)
        if quantity <= 0:
            continue
        left[order.side] -= quantity
        order.filled += quantity
        trades.append(Trade(order.key, order.symbol, order.side, quantity, order.limit, order.limit, 0.0, 0.0, True))
    return trades
