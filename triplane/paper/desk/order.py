"""One order as the broker keeps it, and what can become of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from triplane.domain.ids import parse_order_ref
from triplane.paper.desk.order_checks import Terms
from triplane.paper.market.matching import WorkingOrder
from triplane.paper.protocol.contracts import Contract, ib_time
from triplane.paper.protocol.messages import Execution

ACTIVE: Final = frozenset({"PreSubmitted", "Submitted"})


@dataclass(slots=True)
class Order:
    """An order as the broker keeps it."""

    client_id: int
    order_id: int
    perm_id: int
    contract: Contract
    values: dict[str, str]
    terms: Terms
    status: str
    filled: float = 0.0
    notional: float = 0.0
    last_price: float = 0.0
    commission: float = 0.0
    ended: int = 0

    @property
    def order_ref(self) -> str:
        """The client's own key."""
        return self.values["orderRef"]

    @property
    def active(self) -> bool:
        """Whether it may still trade."""
        return self.status in ACTIVE

    @property
    def average(self) -> float:
        """Average fill price, 0 without fills."""
        return self.notional / self.filled if self.filled else 0.0

    def fields(self) -> dict[str, str]:
        """Fields of openOrder by name."""
        return {**self.values, "clientId": str(self.client_id), "permId": str(self.perm_id), "status": self.status}

    def completed_fields(self) -> dict[str, str]:
        """Fields of completedOrder by name."""
        return {
            **self.fields(),
            "filledQuantity": f"{self.filled:g}",
            "completedTime": ib_time(self.ended),
            "completedStatus": "Filled Size: " + f"{self.filled:g}"
            if self.status == "Filled"
            else "Cancelled by Trader",
        }


@dataclass(frozen=True, slots=True)
class Shown:
    """openOrder and orderStatus are due. `margins` is set for the answer to a what-if."""

    order: Order
    margins: Mapping[str, str] | None = None
    acknowledges: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The order is over without being filled: orderStatus, then error 202."""

    order: Order
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An error on an order id of a client."""

    client_id: int
    order_id: int
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Filled:
    """A fill; the order shows its state after it."""

    order: Order
    execution: Execution


Event = Shown | Ended | Refused | Filled


def snapshot_of(order: Order) -> Order:
    """A copy of an order as it is now; events keep the state of their moment."""
    return replace(order, values=dict(order.values))


def parent_of(order: Order) -> str:
    """What impact is summed over: the intent that an orderRef names, else the order by itself."""
    ref = parse_order_ref(order.order_ref)
    return ref.intent_id if ref else str(order.perm_id)


def working(order: Order) -> WorkingOrder:
    """The order as the matching engine has it."""
    t = order.terms
    return WorkingOrder(
        order.perm_id, order.contract.symbol, t.side, t.quantity, t.limit, parent_of(order), t.expires, t.immediate, t.adaptive,
        order.contract.asset.lot_size, order.filled,
    )  # fmt: skip
