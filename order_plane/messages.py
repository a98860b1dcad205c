"""What goes into the order engine and what comes out of it. Frozen values, nothing else.

Every input carries `wall`, the machine's clock (ns UTC) when the service took it: the engine has no clock of its own, and the value is
recorded with the input, so that a replay sees the same. Market time comes from the records (`available_time` of data slices) or, where
the wall clock *is* market time (shadow, live, a real paper account), from `ClockTick.market`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

KillScope = Literal["own", "account"]
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Start:
    """First input of every process: a new epoch. Later records of an older epoch are ignored by every fold.

    Orders that were written ahead and show no trace become unknown; nothing leaves before reconciliation has passed (law L11).
    """

    epoch: int
    client_id: int
    wall: int = 0


@dataclass(frozen=True, slots=True)
class LogInput:
    """One record of strategy.intents, data.quotes, data.bars, data.actions, control.config or control.commands.

    `topic` is the logical name, `offset` the record's own (the recorded cut holds offset + 1). Records that cannot change the order
    plane (history, other intervals, other accounts) are answered with no effect and are not recorded.
    """

    topic: str
    partition: int
    offset: int
    record: Record
    wall: int = 0


@dataclass(frozen=True, slots=True)
class BrokerReport:
    """One report of the broker as OrderEvent fields, as triplane/broker/reports.py makes them.

    Kinds: connected (order_id = nextValidId), disconnected, order_status, open_order, completed_order, execution, commission,
    position, error, undecodable, snapshot; and from the service itself: `not_sent` (order_ref: this placing was never given to the
    socket, and never will be), `paused` (the process stood still for more than 5 s of wall time), `passed_over` (cut: the record before it
    could not be decoded or believed; it changes nothing, and no later start reads it again).

    A snapshot's orders, executions and positions are reported one by one before the `snapshot` report that closes it.
    """

    event: Record
    wall: int = 0


@dataclass(frozen=True, slots=True)
class KillRequest:
    """Stop trading now. `source` says who: command, file, http, level or a monitor; `scope` whose orders are cancelled."""

    source: str
    scope: KillScope
    reason: str
    actor: str = ""
    wall: int = 0


@dataclass(frozen=True, slots=True)
class RearmRequest:
    """A person lifts the kill switch; without actor and reason it is refused. Commands on the log do the same (`kill.rearm`)."""

    source: str
    actor: str
    reason: str
    wall: int = 0


@dataclass(frozen=True, slots=True)
class ClockTick:
    """Wall time passes: timeouts, message budget, reconciliation interval. Send one at least every 250 ms while `engine.busy`,
    else every second. A tick that causes nothing is not recorded. `market` > 0 also advances market time."""

    wall: int
    market: int = 0


Input = Start | LogInput | BrokerReport | KillRequest | RearmRequest | ClockTick


@dataclass(frozen=True, slots=True)
class Append:
    """Write a record (fields left out take their default) to one of the order plane's topics, in the order of the effects."""

    topic: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Send a new order, once every Append before it is acknowledged by Kafka (write-ahead).

    `fields` are the placing event's. When the acknowledgement takes longer than `ack_timeout_s` of wall time, do not send: report
    `not_sent`. Between the acknowledgement and the socket the service checks the local kill latch once more.
    """

    order_ref: str
    fields: dict[str, Any]
    ack_timeout_s: float


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Ask to cancel one order. Needs only the local journal, not Kafka; goes ahead of every queued Place."""

    order_ref: str
    order_id: int


@dataclass(frozen=True, slots=True)
class GlobalCancel:
    """Ask to cancel every order of the account, manual and foreign ones included. Ahead of everything else."""

    reason: str


@dataclass(frozen=True, slots=True)
class RequestSnapshot:
    """Ask the broker for everything (open and completed orders, executions, positions, account values); answer with `snapshot`.

    Always answer, with status `incomplete` when it fails: an unanswered request is asked again after three broker timeouts.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Alert:
    """Tell a person. `code` is one of codes.Code; `detail` one sentence; `symbol` empty for the whole account."""

    code: str
    detail: str
    symbol: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


Effect = Append | Place | CancelOrder | GlobalCancel | RequestSnapshot | Alert
"""Effects of one input come in this order: Appends that inputs and decisions need, cancels, places, Appends that report, the rest.
Carry them out in order; only Place waits for acknowledgements."""
