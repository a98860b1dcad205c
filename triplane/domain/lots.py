"""Lots and ticks: quantities and prices as the exchange accepts them, never beyond a limit.

The arithmetic is decimal on the shortest decimal form of each number, so 0.3 is three lots of 0.1, and a result never exceeds
the number it was rounded down from, not even by a last bit: converting to the nearest float keeps order.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Literal

PRICE_MIN, PRICE_MAX = 1e-9, 1e9
"""What lies outside is no price but a damaged record, and its square is no number: a name with such a one has none."""
_EXACT = Context(prec=400)
_LARGEST = 1e18

LotRounding = Literal["zero", "nearest"]
Side = Literal["BUY", "SELL"]


@lru_cache(maxsize=4096)
def _step(size: float, what: str) -> Decimal:
    if not (math.isfinite(size) and size > 0):
        raise ValueError(f"{what} {size!r} is not a positive number; correct it in assets.csv")
    return Decimal(repr(float(size)))


def _steps(value: float, step: Decimal, rounding: str) -> Decimal:
    if not (math.isfinite(value) and abs(value) <= _LARGEST):
        raise ValueError(f"{value!r} cannot be rounded; only finite numbers up to {_LARGEST:g} can")
    ratio = _EXACT.divide(Decimal(repr(float(value))), step)
    return ratio.to_integral_value(rounding=rounding, context=_EXACT)


def _value(count: Decimal, step: Decimal) -> float:
    return float(_EXACT.multiply(count, step)) + 0.0  # + 0.0: no negative zero


def whole_lots(quantity: float, lot_size: float) -> int:
    """How many whole lots |quantity| (units) holds, >= 0; never rounded up."""
    return int(_steps(abs(quantity), _step(lot_size, "lot size"), ROUND_DOWN))


def round_quantity(
    quantity: float,
    lot_size: float,
    *,
    rounding: LotRounding = "zero",
    largest: float = math.inf,
    smallest: float = -math.inf,
) -> float:
    """A signed target quantity (units, buy +) as a multiple of `lot_size`, inside [`smallest`, `largest`].

    `zero` never adds exposure; `nearest` is closer to the target (ties to the even lot) and is brought back by as many lots as
    a limit asks for. The limits are exact: `largest` 29.9 with lots of 1 gives at most 29. When no multiple of the lot lies
    inside, ValueError.
    """
    lot = _step(lot_size, "lot size")
    count = _steps(quantity, lot, ROUND_DOWN if rounding == "zero" else ROUND_HALF_EVEN)
    if largest < math.inf:
        count = min(count, _steps(largest, lot, ROUND_FLOOR))
    if smallest > -math.inf:
        lowest = _steps(smallest, lot, ROUND_CEILING)
        if largest < math.inf and lowest > _steps(largest, lot, ROUND_FLOOR):
            raise ValueError(
                f"no multiple of lot {lot_size!r} lies within {smallest!r} .. {largest!r}; widen the limits"
            )
        count = max(count, lowest)
    return _value(count, lot)


def is_whole(quantity: float, lot_size: float) -> bool:
    """Whether `quantity` (units) is a multiple of `lot_size`."""
    lot = _step(lot_size, "lot size")
    return _value(_steps(quantity, lot, ROUND_HALF_EVEN), lot) == quantity + 0.0


def round_price(price: float, tick: float, side: Side) -> float:
    """A limit price (asset's currency) on the tick grid, never worse than `price` for the trader: BUY down, SELL up.

    A BUY below one tick becomes 0.0, which no exchange takes: the caller denies it.
    """
    step = _step(tick, "tick")
    return _value(_steps(price, step, ROUND_FLOOR if side == "BUY" else ROUND_CEILING), step)
