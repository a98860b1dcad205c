"""Faults that tests and chaos runs ask for over HTTP, and what is left of each.

| fault | fields (default) | effect |
|---|---|---|
| drop | | every connection is cut at once |
| hang | seconds (5) | nothing is read, answered or sent, and the market stands, for so many wall seconds |
| stall | seconds (5) | what is sent next to a client ends in the midst of a message, and the rest comes so many wall seconds later |
| delay_acks | seconds (1), count (1) | order messages to clients of the next orders come late, in order |
| suppress_executions | count (1) | no live execDetails and commissionReport; orderStatus still tells, and so does reqExecutions |
| duplicate_executions | count (1) | execDetails and commissionReport come twice |
| correct_executions | count (1) | each is followed by its correction, one tick worse: same id, last part + 1 |
| disconnect_mid_fill | count (1) | the fill is booked, then the owner's connection is cut before it is told |
| order_error | code, text, live (false), count (1) | the next order gets this error; with live it is accepted all the same (10349, 399, 404) |
| modify_error | code, text, count (1) | the next modify is refused, the old revision stays live |
| cancel_error | code, text, count (1) | the next cancel is refused (161) |
| history_error | code (162), text, count (1) | the next historical request fails |
| tick_error | code (10189), text, count (1) | the next tick-by-tick request fails |
| notice | code, text | an error that belongs to no request, to every client (1100, 1101, 1102, 2110) |
| next_valid_id | value or back (10) | the next order id that clients are told is rolled back |
| market_data | symbol, mode (delayed), code | live, delayed (ticks 66-76, error 10167), frozen (type 2, the quote of the moment), lots (sizes in hundreds), none (`code` (354), then nothing) or silent |
| bad_print | symbol, factor (100), count (1) | the prices of its next five-second bars are multiplied |
| clock | seconds (-172800), count (1), client_id (all) | the next answers to who asks for the time are so far off |
| repeat_bars | count (1) | the five-second bars of an interval come twice, to who is sent bars next |
| reorder_bars | count (1) | they come after those of the interval that follows, and in order again |
| clear | | every fault is forgotten |

Faults that are armed (delay_acks to clock) may name a market time, `at`, as ns or ISO time (New York unless it has a zone): until then they wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, get_args

from triplane.domain.timestamps import NEW_YORK, SECOND, from_datetime, iso, to_datetime

Mode = Literal["live", "delayed", "frozen", "lots", "none", "silent"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
COUNTED: Final = (
    "suppress_executions", "duplicate_executions", "correct_executions", "disconnect_mid_fill", "repeat_bars", "reorder_bars",
)  # fmt: skip
ERRORS: Final = ("order_error", "modify_error", "cancel_error", "history_error", "tick_error")
_DEFAULT_CODES: Final[Mapping[str, int]] = {"history_error": 162, "tick_error": 10189}
AT: Final = "at"
CLEAR: Final = "clear"
# Done at once by the gateway; nothing of them stays here.
IMMEDIATE: Final = ("drop", "hang", "stall", "notice", "next_valid_id")
KINDS: Final = (*IMMEDIATE, "delay_acks", *COUNTED, *ERRORS, "market_data", "bad_print", "clock", CLEAR)

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
    10189: "Failed to request tick-by-tick data: No market data permissions",
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
    bad_prints: dict[str, deque[float]] = field(default_factory=dict)
    """Factors of the next bars by symbol."""
    printed: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Start and factor of the latest bar by symbol: every subscriber gets the same."""
    clock_errors: list[tuple[int | None, float]] = field(default_factory=list)
    """(client id or None for any, market seconds) of the next answers."""
    waiting: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Faults that wait for a market time, ns UTC, in that order."""

    def arm(self, body: Mapping[str, Any], symbols: Collection[str]) -> None:
        """Arm a fault that stays until it is used. What cannot be understood raises FaultError and changes nothing."""
        kind = kind_of(body)
        if AT in body:
            now = {key: value for key, value in body.items() if key != AT}
            if kind in (*IMMEDIATE, CLEAR):
                raise FaultError(f"{kind} cannot wait for a market time; leave `at` out")
            Faults().arm(now, symbols)
            self.waiting = sorted([*self.waiting, (moment(body[AT], AT), now)], key=lambda pair: pair[0])
            return
        count = number(body, "count", 1, 1, 10_000)
        if kind in COUNTED:
            self.counts[kind] = self.counts.get(kind, 0) + int(count)
        elif kind in ERRORS:
            error = injected(body, _DEFAULT_CODES.get(kind))
            self.errors.setdefault(kind, deque()).extend([error] * int(count))
        elif kind == "delay_acks":
            self.ack_delays.extend([number(body, "seconds", 1.0, 0.0, 600.0)] * int(count))
        elif kind == "market_data":
            symbol, mode = _symbol(body, symbols), body.get("mode", "delayed")
            if mode not in MODES:
                raise FaultError(f"mode {mode!r} is unknown; use one of {', '.join(MODES)}")
            self.modes[symbol] = mode
            self.no_data[symbol] = injected(body, 354)
        elif kind == "bad_print":
            symbol, factor = _symbol(body, symbols), number(body, "factor", 100.0, 1e-6, 1e6)
            self.bad_prints.setdefault(symbol, deque()).extend([factor] * int(count))
        elif kind == "clock":
            client = body.get("client_id")
            if client is not None and (isinstance(client, bool) or not isinstance(client, int)):
                raise FaultError(f"client_id is {client!r}; give a client id as a whole number, or leave it out")
            seconds = number(body, "seconds", -172_800.0, -1e8, 1e8)
            self.clock_errors.extend([(client, seconds)] * int(count))
        elif kind == CLEAR:
            for armed in (self.counts, self.errors, self.ack_delays, self.modes):
                armed.clear()
            for lying in (self.bad_prints, self.clock_errors, self.waiting):
                lying.clear()

    def due(self, now: int, symbols: Collection[str]) -> list[dict[str, Any]]:
        """Arm what has waited for a market time up to `now`; returns it."""
        due = [body for at, body in self.waiting if at <= now]
        if due:
            self.waiting = self.waiting[len(due) :]
            for body in due:
                self.arm(body, symbols)
        return due

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

    def print_factor(self, symbol: str, start: int) -> float:
        """Factor of the prices of the bar that begins at `start`; 1 unless a bad print is armed, which it uses up."""
        was, factor = self.printed.get(symbol, (0, 1.0))
        if was == start:
            return factor
        queue = self.bad_prints.get(symbol)
        if not queue:
            return 1.0
        factor = queue.popleft()
        self.printed[symbol] = (start, factor)
        return factor

    def clock_error(self, client_id: int) -> int:
        """ns by which the answer to this client's question for the time is off, used up."""
        for place, (client, seconds) in enumerate(self.clock_errors):
            if client in (None, client_id):
                del self.clock_errors[place]
                return int(seconds * SECOND)
        return 0

    def armed(self) -> dict[str, Any]:
        """What is armed, for people."""
        found: dict[str, Any] = {kind: left for kind, left in sorted(self.counts.items()) if left}
        found |= {kind: [error.code for error in queue] for kind, queue in sorted(self.errors.items()) if queue}
        if self.ack_delays:
            found["delay_acks"] = list(self.ack_delays)
        prints = {symbol: list(queue) for symbol, queue in sorted(self.bad_prints.items()) if queue}
        found |= {"bad_print": prints} if prints else {}
        found |= {"clock": [seconds for _, seconds in self.clock_errors]} if self.clock_errors else {}
        found |= {"waiting": [{**body, AT: iso(at)} for at, body in self.waiting]} if self.waiting else {}
        quiet = {symbol: mode for symbol, mode in sorted(self.modes.items()) if mode != "live"}
        return found | ({"market_data": quiet} if quiet else {})


def kind_of(body: Mapping[str, Any]) -> str:
    """The fault's kind; an unknown one raises FaultError."""
    kind = body.get("fault")
    if kind not in KINDS:
        raise FaultError(f"fault {kind!r} is unknown; use one of {', '.join(KINDS)}")
    return str(kind)


def _symbol(body: Mapping[str, Any], symbols: Collection[str]) -> str:
    symbol = body.get("symbol")
    if not isinstance(symbol, str) or symbol not in symbols:
        raise FaultError(f"symbol {symbol!r} is not quoted here; use one of {', '.join(sorted(symbols))}")
    return symbol


def moment(value: Any, name: str) -> int:
    """A market time as ns UTC, given as such or as ISO time (New York unless it has a zone); else FaultError."""
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            ns = value
        else:
            when = datetime.fromisoformat(value)
            ns = from_datetime(when if when.tzinfo else when.replace(tzinfo=NEW_YORK))
        to_datetime(ns, NEW_YORK)  # what is no time at all is refused here
        return ns
    except (TypeError, ValueError, OverflowError, OSError):
        raise FaultError(f"{name} is {value!r}; give an ISO time such as 2018-01-19T15:25") from None


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
