"""The state machine of one child order: every state, every trigger, every transition, in one table.

Unknown is a state (law L6): a timeout, a lost link or an unlisted error code leads there and nowhere else, and only positive
evidence, or proof of absence, leads out. Every state but the dead ones counts as open in every limit; a dead one still counts
what the broker says was filled and what was not booked yet.

Sources: Interactive Brokers order states and message codes (TWS API reference); the rules in the execution reference page.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class State(StrEnum):
    """Where a child order stands, as far as we know."""

    PLACING = "placing"
    SUBMITTED = "submitted"
    HELD = "held"
    MODIFY_PENDING = "modify_pending"
    CANCEL_PENDING = "cancel_pending"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    ABANDONED = "abandoned"


class Trigger(StrEnum):
    """What can happen to an order."""

    ACKNOWLEDGED = "acknowledged"
    HOLD = "hold"
    AMENDED = "amended"
    AMEND_REFUSED = "amend_refused"
    CANCEL_REQUESTED = "cancel_requested"
    CANCEL_SEEN = "cancel_seen"
    CANCEL_REFUSED = "cancel_refused"
    CANCEL_CONFIRMED = "cancel_confirmed"
    FILL_COMPLETE = "fill_complete"
    REFUSED = "refused"
    EXPIRE = "expire"
    DOUBT = "doubt"
    ABSENT = "absent"
    NOT_SENT = "not_sent"


MEANING: dict[State, str] = {
    State.PLACING: "Written ahead; no sign from the broker yet.",
    State.SUBMITTED: "The broker has it and it may fill.",
    State.HELD: "The broker holds it (Inactive, locate, precaution, session): it may still fill.",
    State.MODIFY_PENDING: "The broker shows other terms than ours; the larger of both counts.",
    State.CANCEL_PENDING: "A cancel was asked for; it may still fill.",
    State.UNKNOWN: "Its fate is not known; it counts as open and is never sent again.",
    State.FILLED: "Completely filled.",
    State.CANCELLED: "The broker confirmed the cancel.",
    State.REJECTED: "The broker refused it.",
    State.EXPIRED: "Its good-till time passed and the broker ended it.",
    State.ABANDONED: "Proven absent at the broker, or never sent.",
}

DEAD = frozenset({State.FILLED, State.CANCELLED, State.REJECTED, State.EXPIRED, State.ABANDONED})

S, T = State, Trigger
_SAME: None = None
# One row a state: trigger -> next state; None keeps the state and is expected (repeated or late messages); a missing pair keeps the
# state and is an anomaly, which asks for a snapshot and alerts.
TABLE: dict[State, dict[Trigger, State | None]] = {
    S.PLACING: {
        T.ACKNOWLEDGED: S.SUBMITTED,
        T.HOLD: S.HELD,
        T.AMENDED: S.MODIFY_PENDING,
        T.AMEND_REFUSED: S.UNKNOWN,
        T.CANCEL_REQUESTED: S.CANCEL_PENDING,
        T.CANCEL_SEEN: S.CANCEL_PENDING,
        T.CANCEL_CONFIRMED: S.CANCELLED,
        T.FILL_COMPLETE: S.FILLED,
        T.REFUSED: S.REJECTED,
        T.EXPIRE: S.EXPIRED,
        T.DOUBT: S.UNKNOWN,
        T.NOT_SENT: S.ABANDONED,
    },
    S.SUBMITTED: {
        T.ACKNOWLEDGED: _SAME,
        T.HOLD: S.HELD,
        T.AMENDED: S.MODIFY_PENDING,
        T.AMEND_REFUSED: _SAME,
        T.CANCEL_REQUESTED: S.CANCEL_PENDING,
        T.CANCEL_SEEN: S.CANCEL_PENDING,
        T.CANCEL_CONFIRMED: S.CANCELLED,
        # A refusal of an acknowledged order may answer a modify, so it does not prove that the order is dead.
        T.FILL_COMPLETE: S.FILLED,
        T.REFUSED: S.UNKNOWN,
        T.EXPIRE: S.EXPIRED,
        T.DOUBT: S.UNKNOWN,
    },
    S.HELD: {
        T.ACKNOWLEDGED: S.SUBMITTED,
        T.HOLD: _SAME,
        T.AMENDED: S.MODIFY_PENDING,
        T.AMEND_REFUSED: _SAME,
        T.CANCEL_REQUESTED: S.CANCEL_PENDING,
        T.CANCEL_SEEN: S.CANCEL_PENDING,
        T.CANCEL_CONFIRMED: S.CANCELLED,
        T.FILL_COMPLETE: S.FILLED,
        T.REFUSED: S.REJECTED,
        T.EXPIRE: S.EXPIRED,
        T.DOUBT: S.UNKNOWN,
    },
    S.MODIFY_PENDING: {
        T.ACKNOWLEDGED: S.SUBMITTED,
        T.HOLD: S.HELD,
        T.AMENDED: _SAME,
        T.AMEND_REFUSED: S.SUBMITTED,
        T.CANCEL_REQUESTED: S.CANCEL_PENDING,
        T.CANCEL_SEEN: S.CANCEL_PENDING,
        T.CANCEL_CONFIRMED: S.CANCELLED,
        # 104, 105, 110 or 201 on a modify leaves the old revision live.
        T.FILL_COMPLETE: S.FILLED,
        T.REFUSED: S.SUBMITTED,
        T.EXPIRE: S.EXPIRED,
        T.DOUBT: S.UNKNOWN,
    },
    S.CANCEL_PENDING: {
        # Messages that crossed our cancel: it stays asked for.
        T.ACKNOWLEDGED: _SAME,
        T.HOLD: _SAME,
        T.AMENDED: _SAME,
        T.AMEND_REFUSED: _SAME,
        T.CANCEL_REQUESTED: _SAME,
        T.CANCEL_SEEN: _SAME,
        T.CANCEL_REFUSED: S.UNKNOWN,
        T.CANCEL_CONFIRMED: S.CANCELLED,
        T.FILL_COMPLETE: S.FILLED,
        T.REFUSED: S.UNKNOWN,
        T.EXPIRE: S.EXPIRED,
        T.DOUBT: S.UNKNOWN,
        T.NOT_SENT: S.ABANDONED,  # taken back while it still waited for its acknowledgement
    },
    S.UNKNOWN: {
        T.ACKNOWLEDGED: S.SUBMITTED,
        T.HOLD: S.HELD,
        T.AMENDED: S.MODIFY_PENDING,
        T.AMEND_REFUSED: _SAME,
        T.CANCEL_REQUESTED: _SAME,
        T.CANCEL_SEEN: S.CANCEL_PENDING,
        T.CANCEL_REFUSED: _SAME,
        T.CANCEL_CONFIRMED: S.CANCELLED,
        T.FILL_COMPLETE: S.FILLED,
        T.REFUSED: S.REJECTED,
        T.EXPIRE: S.EXPIRED,
        T.DOUBT: _SAME,
        T.ABSENT: S.ABANDONED,
        T.NOT_SENT: S.ABANDONED,
    },
    S.FILLED: {
        T.ACKNOWLEDGED: _SAME,
        T.CANCEL_SEEN: _SAME,
        T.CANCEL_REFUSED: _SAME,
        T.CANCEL_CONFIRMED: _SAME,
        T.FILL_COMPLETE: _SAME,
        T.AMENDED: _SAME,
        T.AMEND_REFUSED: _SAME,
        T.HOLD: _SAME,
        T.DOUBT: _SAME,
    },
    S.CANCELLED: {
        # A live order believed dead is the worst of all: it becomes unknown, and a snapshot tells.
        T.ACKNOWLEDGED: S.UNKNOWN,
        T.AMENDED: S.UNKNOWN,
        T.HOLD: _SAME,
        T.CANCEL_SEEN: _SAME,
        T.CANCEL_REFUSED: _SAME,
        T.CANCEL_CONFIRMED: _SAME,
        T.FILL_COMPLETE: S.FILLED,
        T.EXPIRE: _SAME,
        T.DOUBT: _SAME,
    },
    S.REJECTED: {
        T.ACKNOWLEDGED: S.UNKNOWN,
        T.AMENDED: S.UNKNOWN,
        T.HOLD: _SAME,
        T.REFUSED: _SAME,
        T.CANCEL_CONFIRMED: _SAME,
        T.CANCEL_SEEN: _SAME,
        T.CANCEL_REFUSED: _SAME,
        T.FILL_COMPLETE: S.FILLED,
        T.DOUBT: _SAME,
        T.EXPIRE: _SAME,
    },
    S.EXPIRED: {
        T.ACKNOWLEDGED: S.UNKNOWN,
        T.AMENDED: S.UNKNOWN,
        T.HOLD: _SAME,
        T.CANCEL_SEEN: _SAME,
        T.CANCEL_REFUSED: _SAME,
        T.CANCEL_CONFIRMED: _SAME,
        T.FILL_COMPLETE: S.FILLED,
        T.EXPIRE: _SAME,
        T.DOUBT: _SAME,
    },
    S.ABANDONED: {
        T.ACKNOWLEDGED: S.UNKNOWN,
        T.AMENDED: S.UNKNOWN,
        T.HOLD: S.UNKNOWN,
        T.CANCEL_SEEN: S.UNKNOWN,
        T.REFUSED: S.REJECTED,
        T.CANCEL_CONFIRMED: S.CANCELLED,
        T.CANCEL_REFUSED: _SAME,
        T.FILL_COMPLETE: S.FILLED,
        T.DOUBT: _SAME,
        T.ABSENT: _SAME,
        T.NOT_SENT: _SAME,
    },
}


@dataclass(frozen=True, slots=True)
class Step:
    """Result of a trigger. `anomaly`: the report contradicts the state, so a snapshot has to tell."""

    state: State
    anomaly: bool


def step(state: State, trigger: Trigger) -> Step:
    """The next state. Never raises: what the table does not expect keeps the state and is an anomaly.

    A dead order that turns out to live becomes unknown, and is an anomaly as well.
    """
    row = TABLE[state]
    if trigger not in row:
        return Step(state, True)
    after = row[trigger]
    if after is None:
        return Step(state, False)
    return Step(after, state in DEAD and after is State.UNKNOWN)


_STATUS: dict[str, Trigger] = {
    "ApiPending": T.ACKNOWLEDGED,
    "PendingSubmit": T.ACKNOWLEDGED,
    "PreSubmitted": T.ACKNOWLEDGED,
    "Submitted": T.ACKNOWLEDGED,
    "Inactive": T.HOLD,
    "PendingCancel": T.CANCEL_SEEN,
    "ApiCancelled": T.CANCEL_CONFIRMED,
    "Cancelled": T.CANCEL_CONFIRMED,
    "Filled": T.FILL_COMPLETE,
}


def of_status(status: str, *, completed: bool = False) -> Trigger:
    """Trigger of a broker status; one that is not on the list is doubt. `completed`: from completedOrder, which is final."""
    if completed and status == "Inactive":
        return T.REFUSED
    return _STATUS.get(status, T.DOUBT)


Topic = Literal["order", "link_lost", "link_restored", "notice"]


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """What an error code means. `trigger` None: it changes nothing. `alert`: a person should know."""

    topic: Topic
    trigger: Trigger | None
    alert: bool
    meaning: str


_ORDER: Topic = "order"
ERRORS: dict[int, ErrorRule] = {
    103: ErrorRule(_ORDER, T.REFUSED, True, "order id was used before"),
    104: ErrorRule(_ORDER, T.AMEND_REFUSED, True, "a filled order cannot be modified"),
    105: ErrorRule(_ORDER, T.AMEND_REFUSED, True, "the modified order does not match the original"),
    109: ErrorRule(_ORDER, T.HOLD, True, "price outside the precautionary range"),
    110: ErrorRule(_ORDER, T.REFUSED, True, "price does not conform to the tick"),
    135: ErrorRule(_ORDER, T.DOUBT, True, "no order with this id to cancel"),
    136: ErrorRule(_ORDER, T.CANCEL_REFUSED, True, "the order cannot be cancelled"),
    161: ErrorRule(_ORDER, T.CANCEL_REFUSED, True, "the order is not in a cancellable state"),
    163: ErrorRule(_ORDER, T.HOLD, True, "price violates the percentage constraint"),
    200: ErrorRule(_ORDER, T.REFUSED, True, "no such contract"),
    201: ErrorRule(_ORDER, T.REFUSED, False, "order rejected"),
    202: ErrorRule(_ORDER, T.CANCEL_CONFIRMED, False, "order cancelled"),
    203: ErrorRule(_ORDER, T.REFUSED, True, "the contract may not be traded by this account"),
    321: ErrorRule(_ORDER, T.REFUSED, True, "the request failed the server's validation"),
    383: ErrorRule(_ORDER, T.HOLD, True, "size violates the precautionary constraint"),
    387: ErrorRule(_ORDER, T.REFUSED, True, "order type not supported for this contract"),
    399: ErrorRule(_ORDER, T.HOLD, False, "order message; the order is live or will be"),
    404: ErrorRule(_ORDER, T.HOLD, True, "held while shares to short are located"),
    451: ErrorRule(_ORDER, T.HOLD, True, "value violates the precautionary constraint"),
    2109: ErrorRule(_ORDER, None, False, "outside-hours attribute ignored"),
    10147: ErrorRule(_ORDER, T.DOUBT, True, "the order to cancel is not found"),
    10148: ErrorRule(_ORDER, T.CANCEL_REFUSED, False, "the order cannot be cancelled any more"),
    10349: ErrorRule(_ORDER, None, False, "time in force was set by a preset; the order is live"),
    326: ErrorRule("link_lost", None, True, "client id in use"),
    502: ErrorRule("link_lost", None, True, "cannot connect"),
    504: ErrorRule("link_lost", None, True, "not connected"),
    1100: ErrorRule("link_lost", None, True, "gateway lost its servers"),
    1300: ErrorRule("link_lost", None, True, "socket port was reset"),
    2110: ErrorRule("link_lost", None, True, "TWS lost its servers"),
    1101: ErrorRule("link_restored", None, False, "servers back, data subscriptions lost"),
    1102: ErrorRule("link_restored", None, False, "servers back, data subscriptions kept"),
    2103: ErrorRule("notice", None, True, "market data farm broken"),
    2105: ErrorRule("notice", None, True, "historical data farm broken"),
    2157: ErrorRule("notice", None, True, "security definition farm broken"),
}
_UNLISTED_ORDER = ErrorRule(_ORDER, T.DOUBT, True, "not on our list")
_UNLISTED = ErrorRule("notice", None, True, "not on our list")
_WARNING = ErrorRule("notice", None, False, "warning of the data service")


def of_error(code: int, *, about_order: bool) -> ErrorRule:
    """Rule of an error code. Unlisted codes: doubt when about an order, else a notice (2100..2169 are the broker's own warnings)."""
    rule = ERRORS.get(code)
    if rule is not None:
        return rule if about_order or rule.topic != _ORDER else _UNLISTED
    if about_order:
        return _UNLISTED_ORDER
    return _WARNING if 2100 <= code < 2170 else _UNLISTED


def table_markdown() -> str:
    """The transition table for docs/orders.md: rows are states, columns triggers; `·` keeps the state, `!` is an anomaly."""
    head = "| state | " + " | ".join(trigger.value for trigger in Trigger) + " |"
    lines = [head, "|---" * (len(Trigger) + 1) + "|"]
    for state in State:
        cells = []
        for trigger in Trigger:
            result = step(state, trigger)
            text = "·" if result.state is state else result.state.value
            cells.append(
                ("!" if trigger not in TABLE[state] else text)
                + ("!" if result.anomaly and trigger in TABLE[state] else "")
            )
        lines.append(f"| {state.value} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def errors_markdown() -> str:
    """The error codes for docs/orders.md."""
    lines = ["| code | about | effect | alert | meaning |", "|---|---|---|---|---|"]
    for code, rule in sorted(ERRORS.items()):
        effect = rule.trigger.value if rule.trigger else ("none" if rule.topic in ("order", "notice") else rule.topic)
        lines.append(f"| {code} | {rule.topic} | {effect} | {'yes' if rule.alert else 'no'} | {rule.meaning} |")
    lines.append("| any other, with an order id | order | doubt | yes | not on our list: the order is unknown |")
    return "\n".join(lines) + "\n"
