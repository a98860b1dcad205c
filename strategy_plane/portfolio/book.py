"""The book that a decision starts from: what is held, at which prices, and what it costs to change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.account import AccountBook
from strategy_plane.inputs.assets_table import AssetsTable
from strategy_plane.inputs.panel import PricePanel
from strategy_plane.inputs.quotes import QuoteBoard
from strategy_plane.inputs.window import Array
from triplane.domain.targets import StrategyTargets


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """What is held and what it costs to change, n tradable names: units, prices, and per-unit weights."""

    quantity: Array
    price: Array
    unit: Array  # weight of one unit: price * multiplier / NAV
    current: Array  # weights, fractions of NAV
    adv: Array  # units
    lot: Array
    min_order: Array
    haircut: Array
    shortable: NDArray[np.bool_]
    half_spread: Array
    linear: Array  # learned, fraction of notional
    impact: Array  # learned Y
    fixed_gross: float = 0.0  # of positions outside the tradable names
    fixed_net: float = 0.0

    @classmethod
    def empty(cls) -> Book:
        """A book without names."""
        none = np.zeros(0)
        flags: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        return cls(none, none, none, none, none, none, none, none, flags, none, none, none)


def price_book(
    table: AssetsTable, account: AccountBook, quotes: QuoteBoard, panel: PricePanel, targets: StrategyTargets
) -> tuple[Book, str]:
    """The book at the quotes' mids, and a name that is held but has no price at all (empty when there is none).

    A name without a two-sided quote is marked by the order plane's mark, else by its last close: it will be held, but its
    weight counts in the limits.
    """
    names = table.tradable
    position, mark = account.positions(table.symbols)
    price = quotes.mid()
    for fallback in (mark, panel.last_close):
        price = np.where(np.isfinite(price), price, fallback)
    lacking = (position != 0) & ~np.isfinite(price)
    if lacking.any():
        return Book.empty(), table.symbols[int(np.flatnonzero(lacking)[0])]
    linear, impact = account.costs(
        [table.cost_profiles[column] for column in names], targets.LAMBDA_INIT, targets.IMPACT_Y_INIT
    )
    unit = price * table.multiplier / account.nav
    weight = np.where(position != 0, position * unit, 0.0)
    outside = (table.risk_weight * weight)[~table.members]
    book = Book(
        quantity=position[names],
        price=price[names],
        unit=np.where(np.isfinite(unit[names]), unit[names], 1.0),
        current=weight[names],
        adv=panel.adv()[names],
        lot=table.lot_size[names],
        min_order=table.min_order[names],
        haircut=table.risk_weight[names],
        shortable=table.shortable[names],
        half_spread=quotes.half_spread()[names],
        linear=linear,
        impact=impact,
        fixed_gross=float(np.abs(outside).sum()),
        fixed_net=float(outside.sum()),
    )
    return book, ""
