"""Units that somebody else traded and that the book took over: what they were bought or sold for, and what of it is a flow.

Told by executions, a trade by hand is booked as our own fills are: its cash at once, at what was paid, and no flow. So NAV and its levels
see a loss on what is held and none on the trade. Where what was paid is no market price (an option that was exercised), or nobody told what was
paid, the units come in as a flow at the name's next mark; what was paid then shows as cash, a flow as well. Until that mark the levels
judge the account as it was before them. Pure.

Source: cash flows are left out of a return at the moment they come (GIPS 2020, time-weighted return).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

PAID_NEAR = 0.1
"""How far outside the last mark before a trade and the first after it, as a fraction, what was paid may be and still be a market price."""
PAID_ALONE = 0.5
"""The same where no mark from before the trade is known: a night may lie between."""


@dataclass(slots=True)
class Traded:
    """What others traded in one name since the last comparison: (signed units, price) of each execution."""

    trades: list[tuple[float, float]] = field(default_factory=list)

    def add(self, units: float, price: float) -> None:
        """One execution; one that is taken back has its units negated."""
        if (-units, price) in self.trades:
            self.trades.remove((-units, price))
        elif units:  # one that was corrected to nothing says nothing of the price
            self.trades.append((units, price))

    @property
    def units(self) -> float:
        """Units on balance, signed."""
        return sum(units for units, _ in self.trades)

    @property
    def told(self) -> dict[str, float]:
        """What they say of the units taken over: paid on balance, lowest and highest price. Empty without an execution."""
        if not self.trades:
            return {}
        prices = [price for _, price in self.trades]
        return {"paid": sum(units * price for units, price in self.trades), "low": min(prices), "high": max(prices)}


@dataclass(slots=True)
class TakenOver:
    """Units taken over in one comparison and not valued yet. `paid` is NaN where no execution told it; `before` is the mark of then, or 0.
    `since`: market time, ns UTC."""

    units: float
    before: float = 0.0
    paid: float = math.nan
    low: float = math.nan
    high: float = math.nan
    since: int = 0

    @property
    def told(self) -> bool:
        """Whether executions told what was paid: the book's cash has it."""
        return math.isfinite(self.paid)

    def outside(self, mark: float, multiplier: float) -> float:
        """What these units and their cash change NAV by at this mark, base currency."""
        return (self.units * mark - (self.paid if self.told else 0.0)) * multiplier

    def flow(self, mark: float, multiplier: float, *, silent: bool = False) -> float:
        """What of that is a flow, at the first mark after the trade. `silent`: there is none, and this is the one before it: what was paid is
        the newest price known then."""
        return 0.0 if self.told and (silent or self._at_market(mark)) else self.outside(mark, multiplier)

    def split(self, ratio: float) -> None:
        """`ratio` units for one."""
        self.units *= ratio
        self.before /= ratio
        self.low /= ratio
        self.high /= ratio

    def _at_market(self, mark: float) -> bool:
        marks, near = (mark, self.before or mark), PAID_NEAR if self.before else PAID_ALONE
        return min(marks) * (1.0 - near) <= self.low and self.high <= max(marks) * (1.0 + near)
