"""From weights to whole lots, without breaking a limit.

Weights are quantised to 1e-6 of NAV first, so that the last bits of a solver never move a lot, then rounded to lots towards zero.
What rounding still breaks (net, volatility) is repaired by giving up further lots, always towards zero, so the repair ends.
"""

from __future__ import annotations

import bisect

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.window import Array
from strategy_plane.portfolio.limits import ANNUAL, Limits

QUANTUM_DIGITS = 6
# A quotient this close below a whole number of lots is that number.
LOT_SLACK = 1e-9


def quantise(weights: Array) -> Array:
    """Weights rounded to 1e-6 of NAV."""
    return np.asarray(np.round(weights, QUANTUM_DIGITS))


def unbanded(weights: Array, limits: Limits, band: float) -> tuple[Array, NDArray[np.intp]]:
    """Weights (n) with changes smaller than `band` undone, and the names whose undone change was towards zero, largest change first.

    Where the rest breaks a limit, trading some of those after all is what may mend it.
    """
    change = np.abs(weights - limits.current)
    small = change < band
    reducing = np.flatnonzero(small & (change > 0.0) & (np.abs(weights) <= np.abs(limits.current)))
    return np.where(small, limits.current, weights), reducing[np.argsort(-change[reducing], kind="stable")]


def to_lots(
    weights: Array,
    limits: Limits,
    quantity: Array,
    unit: Array,
    lot: Array,
    min_order: Array,
    *,
    band: float,
    tolerance: float,
) -> Array | None:
    """Target quantities (n, units) for solved weights, every limit respected; None when lots cannot meet them.

    Changes smaller than `band` are undone. Where a limit needs some of them, as few as do are made, the largest first; where that does
    not suffice lots are given up, and where that does not either the band is given up, so that it never makes a decision impossible.
    """
    solved = quantise(weights)
    still, reducing = unbanded(solved, limits, band)

    def lots(made: int) -> Array:
        choice = still.copy()
        choice[reducing[:made]] = solved[reducing[:made]]
        return whole_lots(choice, limits, quantity, unit, lot, min_order)

    def suffices(made: int) -> bool:
        return limits.respected(lots(made) * unit, tolerance)

    if suffices(made := bisect.bisect_left(range(len(reducing)), True, key=suffices)):
        return lots(made)
    for whole in (lots(len(reducing)), whole_lots(solved, limits, quantity, unit, lot, min_order)):
        repaired = repair(whole, limits, quantity, unit, lot, tolerance)
        if repaired is not None:
            return repaired
    return None


def whole_lots(weights: Array, limits: Limits, quantity: Array, unit: Array, lot: Array, min_order: Array) -> Array:
    """Signed target quantities (n, units): lots towards zero, within participation; unchanged names keep their exact position.

    `quantity` are positions, `unit` the weight of one unit (price * multiplier / NAV). Trades below `min_order` units are not made.
    """
    target = np.where(weights == limits.current, quantity, weights / unit)
    lots = np.trunc(target / lot * (1.0 + LOT_SLACK))
    whole = np.where(target == quantity, quantity, lots * lot)
    # towards zero may sell up to a lot more than participation allows: stop at the last lot within it
    most = np.maximum(limits.participation, 0.0) / unit
    low, high = np.ceil((quantity - most) / lot - LOT_SLACK) * lot, np.floor((quantity + most) / lot + LOT_SLACK) * lot
    whole = np.where(whole == quantity, quantity, np.clip(whole, low, np.maximum(low, high)))
    tiny = np.abs(whole - quantity) < min_order
    return np.asarray(np.where(limits.free & ~tiny, whole, quantity) + 0.0)


def repair(
    quantity: Array, limits: Limits, positions: Array, unit: Array, lot: Array, tolerance: float
) -> Array | None:
    """Quantities (n) brought within every limit by giving up lots towards zero; None when that does not suffice."""
    quantity = quantity.copy()
    n = len(quantity)
    for _ in range(4 * n + 16):
        weights = quantity * unit
        excess = limits.excess(weights)
        broken = [name for name in ("BOX", "GROSS", "NET", "VOL") if excess[name] > tolerance]
        if not broken:
            return quantity if limits.respected(weights, tolerance) else None
        slope = _slope(broken[0], weights, limits)
        # how far each name may still move towards zero: not past zero, not past its participation
        room = np.minimum(np.abs(quantity), np.sign(quantity) * (quantity - positions) + limits.participation / unit)
        lots = np.floor(room / lot + LOT_SLACK)
        gain = np.where(limits.free & (lots >= 1), slope, 0.0)
        best = int(np.argmax(gain))
        if not gain[best] > 0:
            return None
        needed = np.ceil(excess[broken[0]] / (gain[best] * lot[best] * unit[best]) - LOT_SLACK)
        quantity[best] -= np.sign(quantity[best]) * lot[best] * min(float(lots[best]), max(float(needed), 1.0))
    return None


def _slope(limit: str, weights: Array, limits: Limits) -> Array:
    """How fast each limit falls per unit of |weight| given up (n)."""
    sign = np.sign(weights)
    if limit == "BOX":
        return np.asarray(((weights - limits.box > 0) | (-weights - limits.short > 0)).astype(np.float64))
    if limit == "GROSS":
        return limits.haircut
    if limit == "NET":
        return np.asarray(limits.haircut * sign * np.sign((limits.haircut * weights).sum()))
    risk = weights @ limits.root
    return np.asarray(ANNUAL * sign * (limits.root @ risk) / max(float(np.sqrt((risk**2).sum())), 1e-300))
