"""The limits of a book as one object, and how far a book is beyond each: our own check after every solve and every rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.window import Array

# Daily volatility times this is annualised volatility.
ANNUAL = math.sqrt(252.0)


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """What the weights w (n, fractions of NAV, signed) must respect; everything per name has shape n.

    gross: sum h |w| <= gross; net: |sum h w| <= net; volatility: |root' w| <= volatility (daily); -short <= w <= box on free names;
    |w - current| <= participation on free names; w = current on the others.
    """

    current: Array
    free: NDArray[np.bool_]
    haircut: Array
    gross: float
    net: float
    volatility: float
    box: Array
    short: Array
    participation: Array
    root: Array

    def excess(self, weights: Array) -> dict[str, float]:
        """By how much each limit is exceeded, fractions of NAV (annualised volatility for VOL); negative is room."""
        held = ~self.free
        trade = np.abs(weights - self.current)

        def worst(values: Array) -> float:
            return float(values.max(initial=-np.inf))

        return {
            "GROSS": float((self.haircut * np.abs(weights)).sum()) - self.gross,
            "NET": abs(float((self.haircut * weights).sum())) - self.net,
            "VOL": ANNUAL * (float(np.sqrt(((weights @ self.root) ** 2).sum())) - self.volatility),
            "BOX": max(worst((weights - self.box)[self.free]), worst((-weights - self.short)[self.free])),
            "ADV": worst((trade - self.participation)[self.free]),
            "HELD": worst(trade[held]),
        }

    def respected(self, weights: Array, tolerance: float) -> bool:
        """Whether no limit is exceeded by more than `tolerance`; NaN is never within a limit."""
        return bool(np.isfinite(weights).all()) and all(value <= tolerance for value in self.excess(weights).values())

    def binding(self, weights: Array, symbols: list[str], tolerance: float) -> list[str]:
        """Limits that bind: GROSS, NET, VOL, BOX:SYMBOL, SHORT:SYMBOL, ADV:SYMBOL."""
        excess = self.excess(weights)
        result = [name for name in ("GROSS", "NET", "VOL") if excess[name] >= -tolerance]
        for name, room in (
            ("BOX", self.box - weights),
            ("SHORT", self.short + weights),
            ("ADV", self.participation - np.abs(weights - self.current)),
        ):
            tight = self.free & (room <= tolerance)
            if name == "SHORT":
                tight &= weights < 0
            result.extend(f"{name}:{symbols[column]}" for column in np.flatnonzero(tight))
        return result

    def strain(self, symbols: list[str], names: int = 3) -> str:
        """Why no book may be within reach: the limits that the current one exceeds, and the largest positions that cannot be traded."""
        over = [f"{limit} by {value:.4f}" for limit, value in self.excess(self.current).items() if value > 0.0]
        frozen = np.where(self.free, 0.0, self.haircut * np.abs(self.current))
        largest = [column for column in np.argsort(-frozen, kind="stable")[:names] if frozen[column] > 0.0]
        told = [f"the book as it stands exceeds {', '.join(over)}"] if over else []
        if largest:
            told.append(
                "cannot be traded: " + ", ".join(f"{symbols[c]} {self.current[c]:+.4f} of NAV" for c in largest)
            )
        return "; ".join(told)


def reachable(limit: Array | float, current: Array, participation: Array) -> Array:
    """A limit on |w| per name that one trade can meet: names beyond `limit` must come half of what they may trade nearer.

    Without this, one name that drifted over its box would make the whole program infeasible.
    """
    return np.maximum(limit, current - 0.5 * participation)
