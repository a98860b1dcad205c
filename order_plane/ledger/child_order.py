"""A child order: what was written ahead of it, and what the broker has told of it since. Quantities in units, positive with `side` +1 buy, -1 sell."""

from __future__ import annotations

from dataclasses import dataclass, field

from order_plane.ledger.order_state import DEAD, State


@dataclass(slots=True)
class Order:
    """One child order. `told_filled` is what the broker's status says, `booked` what its executions add up to."""

    ref: str
    intent_id: str
    seq: int
    symbol: str
    con_id: int
    child: int
    side: int
    quantity: float
    order_type: str
    tif: str
    limit_price: float
    good_till: int
    client_id: int
    order_id: int
    placed_wall: int
    placed_time: int
    placed_event: int
    reserved: float = 0.0
    multiplier: float = 1.0
    state: State = State.PLACING
    perm_id: int = 0
    traced: bool = False
    told_filled: float = 0.0
    booked: float = 0.0
    value: float = 0.0
    other_quantity: float = 0.0
    other_price: float = 0.0
    cancel_wall: int = 0
    cancel_reason: str = ""
    absent_wall: int = 0
    too_late: bool = False
    """The broker got it after its good-till time and never took it."""
    ends: str = ""
    """Why its parent sends no other; empty where the next child may fare better."""
    fills: list[str] = field(default_factory=list)

    @property
    def dead(self) -> bool:
        """No further fill is possible, as far as the broker told."""
        return self.state in DEAD

    @property
    def cancelled_by_others(self) -> bool:
        """Whether the broker ended it by a cancel that was not ours."""
        return self.state is State.CANCELLED and not self.cancel_reason

    @property
    def open_quantity(self) -> float:
        """Units that may still be added to the position by this order, worst case; `max(old, new)` while terms differ."""
        if self.state in DEAD:
            return max(self.told_filled - self.booked, 0.0)
        return max(max(self.quantity, self.other_quantity) - self.booked, 0.0)

    @property
    def worst_price(self) -> float:
        """The higher of our limit and the one the broker shows; 0 for a market order."""
        return max(self.limit_price, self.other_price)
