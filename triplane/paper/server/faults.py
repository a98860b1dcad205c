"""Faults that tests and chaos runs ask for over HTTP, and what is left of each.

| fault | fields (default) | effect |
|---|---|---|
| drop | | every connection is cut at once |
| hang | seconds (5) | nothing is read, answered or sent, and the market stands, for so many wall seconds |
| delay_acks | seconds (1), count (1) | order messages to clients of the next orders come late, in order |
| suppress_executions | count (1) | no live execDetails and commissionReport; orderStatus still tells, and so does reqExecutions |
| duplicate_executions | count (1) | execDetails and commissionReport come twice |
| correct_executions | count (1) | each is followed by its correction, one tick worse: same id, last part + 1 |
| disconnect_mid_fill | count (1) | the fill is booked, then the owner's connection is cut before it is told |
| order_error | code, text, live (false), count (1) | the next order gets this error; with live it is accepted all the same (10349, 399, 404) |
| modify_error | code, text, count (1) | the next modify is refused, the old revision stays live |
| cancel_error | code, text, count (1) | the next cancel is refused (161) |
| history_error | code (162), text, count (1) | the next historical request fails |
| notice | code, text | an error that belongs to no request, to every client (1100, 1101, 1102, 2110) |
| next_valid_id | value or back (10) | the next order id that clients are told is rolled back |
| market_data | symbol, mode (delayed), code | live, delayed (ticks 66-76, error 10167), frozen (type 2, the quote of the moment), lots (sizes in hundreds), none (`code` (354), then nothing) or silent |
| clear | | every fault is forgotten |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

Mode = Literal["live", "delayed", "frozen", "lots", "none", "silent"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
COUNTED: Final = ("suppress_executions", "duplicate_executions", "correct_executions", "disconnect_mid_fill")
ERRORS: Final = ("order_error", "modify_error", "cancel_error", "history_error")
# Done at once by the gateway; nothing of them stays here.
IMMEDIATE: Final = ("drop", "hang", "notice", "next_valid_id")
KINDS: Final = (*IMMEDIATE, "delay_acks", *COUNTED, *ERRORS, "market_data", "clear")
_TEXTS: Final[Mapping[int, str]] = {
    103: "Duplicate order id",
    110: "The price does not conform to the minimum price variation for this contract.",
    161: "Cancel attempted when order is not in a cancellable state.",
    162: "Historical Market Data Service error message:HMDS query returned no data",
    201: "Order rejected - reason:injected by a fault",
    354: "Requested market data is not subscribed.",
    399: "Order Message:\nWarning: injected by a fault",
    404: "Order held while securities are located.",
    1100: "Connectivity between IBKR and Trader Workstation has been lost.",
    1101: "Connectivity between IBKR and Trader Workstation has been restored - data lost.",
    1102: "Connectivity between IBKR and Trader Workstation has been restored - data maintained.",
    2110: "Connectivity between Trader Workstation and server is broken. It will be restored automatically.",
    10089: "Requested market data requires additional subscription for API.",
    10090: "Part of requested market data is not subscribed. Subscription-independent ticks are still active.",
    10168: "Requested market data is not subscribed. Delayed market data is not enabled.",
    10197: "No market data during competing live session",
    10349: "Order TIF was set to DAY based on order preset.",
}


class FaultError(ValueError):
    """A fault that cannot be understood."""


@dataclass(frozen=True, slots=True)
class InjectedError:
    """An error code to send; `live` keeps the order."""

    code: int
    text: str
    live: bool = False


@dataclass(slots=True)
class Faults:
    """Faults that are armed."""

    counts: dict[str, int] = field(default_factory=dict)
    errors: dict[str, deque[InjectedError]] = field(default_factory=dict)
    ack_delays: deque[float] = field(default_factory=deque)
    modes: dict[str, Mode] = field(default_factory=dict)
    no_data: dict[str, InjectedError] = field(default_factory=dict)
    """What a line in mode `none` is told."""

    def arm(self, body: Mapping[str, Any], symbols: Collection[str]) -> None:
        """Arm a fault that stays until it is used. What cannot be understood raises FaultError and changes nothing."""
        kind = kind_of(body)
        count = number(body, "count", 1, 1, 10_000)
        if kind in COUNTED:
            self.counts[kind] = self.counts.get(kind, 0) + int(count)
        elif kind in ERRORS:
            error = injected(body, 162 if kind == "history_error" else None)
            self.errors.setdefault(kind, deque()).extend([error] * int(count))
        elif kind == "delay_acks":
            self.ack_delays.extend([number(body, "seconds", 1.0, 0.0, 600.0)] * int(count))
        elif kind == "market_data":
            symbol, mode = body.get("symbol"), body.get("mode", "delayed")
            if symbol not in symbols:
                raise FaultError(f"symbol {symbol!r} is not quoted here; use one of {', '.join(sorted(symbols))}")
            if mode not in MODES:
                raise FaultError(f"mode {mode!r} is unknown; use one of {', '.join(MODES)}")
            self.modes[str(symbol)] = mode
            self.no_data[str(symbol)] = injected(body, 354)
        elif kind == "clear":
            for armed in (self.counts, self.errors, self.ack_delays, self.modes):
                armed.clear()

    def use(self, kind: str) -> bool:
        """Whether a counted fault is armed; uses it up once."""
        left = self.counts.get(kind, 0)
        if left:
            self.counts[kind] = left - 1
        return left > 0

    def next_error(self, kind: str) -> InjectedError | None:
        """The next armed error of a kind, used up."""
        queue = self.errors.get(kind)
        return queue.popleft() if queue else None

    def ack_delay(self) -> float:
        """Wall seconds by which the next order's messages are late, used up."""
        return self.ack_delays.popleft() if self.ack_delays else 0.0

    def mode(self, symbol: str) -> Mode:
        """Whether a symbol's data is live, delayed or silent."""
        return self.modes.get(symbol, "live")

    def armed(self) -> dict[str, Any]:
        """What is armed, for people."""
        found: dict[str, Any] = {kind: left for kind, left in sorted(self.counts.items()) if left}
        found |= {kind: [error.code for error in queue] for kind, queue in sorted(self.errors.items()) if queue}
        if self.ack_delays:
            found["delay_acks"] = list(self.ack_delays)
        quiet = {symbol: mode for symbol, mode in sorted(self.modes.items()) if mode != "live"}
        return found | ({"market_data": quiet} if quiet else {})


def kind_of(body: Mapping[str, Any]) -> str:
    """The fault's kind; an unknown one raises FaultError."""
    kind = body.get("fault")
    if kind not in KINDS:
        raise FaultError(f"fault {kind!r} is unknown; use one of {', '.join(KINDS)}")
    return str(kind)


def number(body: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    """A numeric field within [low, high]; else FaultError."""
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise FaultError(f"{name} is {value!r}; give a number from {low:g} to {high:g}")
    return value


def injected(body: Mapping[str, Any], default_code: int | None = None) -> InjectedError:
    """The error code and text of a fault."""
    code = body.get("code", default_code)
    if isinstance(code, bool) or not isinstance(code, int):
        raise FaultError(f"code is {code!r}; give IB's error code as a whole number")
    text = body.get("text") or _TEXTS.get(code, f"Error {code}, injected by a fault")
    return InjectedError(code, str(text), bool(body.get("live", False)))
