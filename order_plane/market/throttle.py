"""How fast and how much: participation in observed volume, share of adv in a day, messages to the broker, orders and notional a minute.

Message budget: the generic cell rate algorithm (ITU-T I.371) in integer nanoseconds, so that when it was asked does not change what it
says. Participation: Almgren et al. (2005) measure impact at participation rates; POV_CAP bounds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from order_plane.market.quotes import Volume
from triplane.domain.targets import OrderTargets
from triplane.domain.timestamps import MINUTE, SECOND


@dataclass(slots=True)
class Bucket:
    """Messages to the broker. `earliest` is the wall time at which the budget will be whole again."""

    earliest: int = 0

    def allows(self, wall: int, targets: OrderTargets, *, cancel: bool) -> bool:
        """Whether one more message may go. Orders leave CANCEL_RESERVE messages of a second's budget for cancels."""
        interval = round(SECOND / targets.MESSAGES_PER_S)
        whole = max(int(targets.MESSAGES_PER_S), 1)
        reserve = 0 if cancel else min(targets.CANCEL_RESERVE, whole - 1)
        return max(self.earliest, wall) + interval - wall <= (whole - reserve) * interval

    def spend(self, wall: int, targets: OrderTargets) -> None:
        """One message went out."""
        self.earliest = max(self.earliest, wall) + round(SECOND / targets.MESSAGES_PER_S)


@dataclass(slots=True)
class Rates:
    """Orders and notional of the last minute of market time."""

    orders: dict[str, list[int]] = field(default_factory=dict)
    notional: list[tuple[int, float]] = field(default_factory=list)
    rejects: list[int] = field(default_factory=list)

    def add_order(self, symbol: str, now: int, notional: float) -> None:
        """An order was written ahead."""
        self.orders[symbol] = [time for time in self.orders.get(symbol, []) if time > now - MINUTE] + [now]
        self.notional = [(time, value) for time, value in self.notional if time > now - MINUTE] + [(now, notional)]

    def add_reject(self, now: int) -> None:
        """The broker refused an order."""
        self.rejects = [time for time in self.rejects if time > now - MINUTE] + [now]

    def orders_within(self, symbol: str, now: int) -> int:
        """Orders of a name in the last minute."""
        return sum(1 for time in self.orders.get(symbol, ()) if time > now - MINUTE)

    def notional_within(self, now: int) -> float:
        """Notional of all orders in the last minute."""
        return sum(value for time, value in self.notional if time > now - MINUTE)

    def rejects_within(self, now: int) -> int:
        """Rejects in the last minute."""
        return sum(1 for time in self.rejects if time > now - MINUTE)


def pov_allowance(
    volume: Volume, now: int, *, base: float, done: float, done_in_window: float, targets: OrderTargets
) -> float:
    """Units that a parent may add now: the smaller of what POV_CAP leaves of the window and of everything since `base`.

    `base` is the volume's total POV_WINDOW_S before the parent started; `done` what the parent filled and has open since,
    `done_in_window` what was filled in the last window and is open. Never negative.
    """
    window = volume.total - volume.until(now - round(targets.POV_WINDOW_S * SECOND))
    since = volume.total - base
    return max(min(targets.POV_CAP * window - done_in_window, targets.POV_CAP * since - done), 0.0)
