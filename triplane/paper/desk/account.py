"""The simulated account: cash, positions at average cost, commissions, margin and account values. Pure arithmetic, USD.

Commission is IB's fixed schedule for US stocks: 0.005 a share, at least 1.00 and at most 1 % of the trade value an order
(interactivebrokers.com, "Commissions: Stocks, fixed"). Margin is a plain Reg T: half of gross initially, a quarter of longs plus
30 % of shorts for maintenance. No interest, no borrow fees, no dividends (the closes are adjusted for them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PER_SHARE: Final = 0.005
MINIMUM: Final = 1.0
MAXIMUM_SHARE: Final = 0.01
CURRENCY: Final = "USD"


def order_commission(quantity: float, notional: float) -> float:
    """Commission of an order of which `quantity` units worth `notional` were filled so far, USD."""
    if quantity <= 0:
        return 0.0
    return min(max(PER_SHARE * quantity, MINIMUM), MAXIMUM_SHARE * notional)


@dataclass(slots=True)
class Position:
    """Signed units and their average cost (commissions are not part of it)."""

    quantity: float = 0.0
    average_cost: float = 0.0
    realised: float = 0.0


@dataclass(slots=True)
class Account:
    """Cash and positions by symbol. Buy is +."""

    name: str
    cash: float
    positions: dict[str, Position] = field(default_factory=dict)
    realised: float = 0.0
    commissions: float = 0.0

    def open_position(self, symbol: str, quantity: float, price: float) -> None:
        """A position that is there from the beginning; it costs no cash."""
        self.positions[symbol] = Position(quantity, price)

    def fill(self, symbol: str, side: int, quantity: float, price: float, commission: float) -> float:
        """Book `quantity` (> 0) units at `price`; returns the profit realised, net of this commission."""
        position = self.positions.setdefault(symbol, Position())
        held = position.quantity
        traded = side * quantity
        closing = min(quantity, abs(held)) if held * traded < 0 else 0.0
        realised = closing * (price - position.average_cost) * (1 if held > 0 else -1)
        after = held + traded
        if closing < quantity:
            # What is not closing opens or adds: a reversal starts at the fill's price.
            opening = quantity - closing
            base = abs(held) if closing == 0 else 0.0
            position.average_cost = (base * position.average_cost + opening * price) / (base + opening)
        if after == 0:
            position.average_cost = 0.0
        position.quantity = after
        position.realised += realised
        self.cash -= traded * price + commission
        self.realised += realised - commission
        self.commissions += commission
        return realised - commission

    def correct(self, symbol: str, side: int, quantity: float, old: float, new: float) -> None:
        """A price correction of `quantity` units already booked: cash and average cost move by the difference."""
        self.cash -= side * quantity * (new - old)
        position = self.positions[symbol]
        if position.quantity * side > 0:
            position.average_cost += quantity * (new - old) / abs(position.quantity)

    def held(self) -> list[str]:
        """Symbols with a position, in order of name."""
        return sorted(symbol for symbol, position in self.positions.items() if position.quantity != 0)

    def values(self, marks: Mapping[str, float]) -> dict[str, float]:
        """Account values by IB's tag, USD; `marks` has a price for every held symbol."""
        longs = sum(p.quantity * marks[s] for s, p in sorted(self.positions.items()) if p.quantity > 0)
        shorts = sum(-p.quantity * marks[s] for s, p in sorted(self.positions.items()) if p.quantity < 0)
        unrealised = sum(
            p.quantity * (marks[s] - p.average_cost) for s, p in sorted(self.positions.items()) if p.quantity
        )
        gross = longs + shorts
        equity = self.cash + longs - shorts
        initial, maintenance = 0.5 * gross, 0.25 * longs + 0.30 * shorts
        return {
            "AvailableFunds": equity - initial,
            "BuyingPower": max(2.0 * (equity - initial), 0.0),
            "CashBalance": self.cash,
            "EquityWithLoanValue": equity,
            "ExcessLiquidity": equity - maintenance,
            "FullAvailableFunds": equity - initial,
            "FullInitMarginReq": initial,
            "FullMaintMarginReq": maintenance,
            "GrossPositionValue": gross,
            "InitMarginReq": initial,
            "MaintMarginReq": maintenance,
            "NetLiquidation": equity,
            "RealizedPnL": self.realised,
            "SettledCash": self.cash,
            "StockMarketValue": longs - shorts,
            "TotalCashBalance": self.cash,
            "TotalCashValue": self.cash,
            "UnrealizedPnL": unrealised,
        }
