"""What the gateway accepts as an order, and the error code with which it refuses the rest. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

from triplane.paper.market.history import RequestError, parse_end
from triplane.paper.market.matching import ADAPTIVE
from triplane.paper.protocol.contracts import Contract
from triplane.paper.protocol.requests import PlaceOrder

NEVER: Final = 2**62
Adaptive = Literal["", "Urgent", "Normal", "Patient"]
# Fields that would change what the order does and that the simulation has not; each is refused rather than ignored.
_NOT_SIMULATED: Final = (
    "ocaGroup", "parentId", "goodAfterTime", "allOrNone", "minQty", "cashQty", "trailStopPrice", "trailingPercent", "percentOffset",
    "blockOrder", "sweepToFill", "notHeld", "discretionaryAmt",
)  # fmt: skip
_UNSET: Final = frozenset({"", "0", "0.0", "1.7976931348623157e+308", "2147483647"})


class Refusal(Exception):
    """Why an order is refused: IB's error code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Terms:
    """An order as the matching engine needs it. `expires` in ns UTC."""

    side: int
    quantity: float
    limit: float | None
    expires: int
    immediate: bool
    adaptive: Adaptive
    what_if: bool


def check(request: PlaceOrder, contract: Contract | None, account: str, now: int, close: int) -> Terms:
    """The terms of an order; `close` is when a DAY order of now expires. Raises Refusal."""
    values = request.values
    if contract is None:
        raise Refusal(200, "No security definition has been found for the request")
    if not contract.priced:
        raise Refusal(201, f"Order rejected - reason:The simulation has no market for {contract.symbol}")
    used = [*request.unsupported, *(name for name in _NOT_SIMULATED if values[name] not in _UNSET)]
    if used:
        raise _invalid(f"{used[0]} is not simulated")
    if values["account"] not in ("", account):
        raise _invalid(f"Invalid account code {values['account']}")
    if values["transmit"] == "0":
        raise _invalid("orders that are not transmitted are not simulated")
    sides = {"BUY": 1, "SELL": -1, "SSHORT": -1}
    if values["action"] not in sides:
        raise _invalid(f"Invalid side {values['action']}")
    quantity = _number(values, "totalQuantity")
    lots = quantity / contract.asset.lot_size
    if quantity <= 0:
        raise _invalid("Size value should be greater than zero")
    if abs(lots - round(lots)) > 1e-9:
        raise Refusal(10243, "Fractional-sized order cannot be placed via API")
    limit = _limit(values)
    adaptive = _adaptive(values)
    expires, immediate = _expiry(values, now, close)
    return Terms(sides[values["action"]], quantity, limit, expires, immediate, adaptive, values["whatIf"] == "1")


def check_price(limit: float | None, contract: Contract) -> None:
    """Refuse (110) a limit that is off the price grid of the contract's market rule."""
    if limit is None:
        return
    tick = 0.0001 if limit < 1.0 else contract.asset.min_tick
    ticks = limit / tick
    if limit <= 0 or abs(ticks - round(ticks)) > 1e-6:
        raise Refusal(110, "The price does not conform to the minimum price variation for this contract.")


def _limit(values: Mapping[str, str]) -> float | None:
    kind = values["orderType"]
    if kind == "MKT":
        return None
    if kind != "LMT":
        raise Refusal(387, f"Unsupported order type for this exchange and security type: {kind}")
    if values["lmtPrice"] in _UNSET:
        raise _invalid("a limit order needs a limit price")
    return _number(values, "lmtPrice")


def _adaptive(values: Mapping[str, str]) -> Adaptive:
    strategy = values["algoStrategy"]
    if not strategy:
        return ""
    if strategy != "Adaptive":
        raise Refusal(439, f"The algorithm definition is not found: {strategy}")
    priority = values.get("algo:adaptivePriority", "Normal")
    if priority not in ADAPTIVE:
        raise Refusal(441, f"Algo attributes validation failed: adaptivePriority {priority}")
    return cast(Adaptive, priority)


def _expiry(values: Mapping[str, str], now: int, close: int) -> tuple[int, bool]:
    match values["tif"]:
        case "" | "DAY":
            return close, False
        case "IOC":
            return close, True
        case "GTC":
            return NEVER, False
        case "GTD":
            try:
                until = parse_end(values["goodTillDate"])
            except RequestError as error:
                raise _invalid(f"goodTillDate: {error}") from None
            if until <= now:
                raise Refusal(201, "Order rejected - reason:The good till date has passed")
            return until, False
        case other:
            raise _invalid(f"Invalid time in force {other}")


def _number(values: Mapping[str, str], name: str) -> float:
    try:
        number = float(values[name])
    except ValueError:
        raise _invalid(f"{name} is not a number") from None
    if not math.isfinite(number):
        raise _invalid(f"{name} is not finite")
    return number


def _invalid(cause: str) -> Refusal:
    return Refusal(321, f"Error validating request.-'bK' : cause - {cause}")
