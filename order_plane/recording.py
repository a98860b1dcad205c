"""order.events as a recording: its inputs again, a fold at start-up, and a re-run that must give the same bytes (law L1, L11).

order.events alone holds the exact interleaving of everything the engine was told: log records by reference (topic, partition, offset),
broker reports, kill requests and those clock ticks that caused something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from order_plane.engine import OrderEngine
from order_plane.ledger.owed import DECIDED
from order_plane.messages import Append, BrokerReport, ClockTick, Input, KillRequest, LogInput, RearmRequest, Start

Event = Mapping[str, Any]
Lookup = Callable[[str, int, int], Mapping[str, Any] | None]
"""(topic, partition, offset) -> record; None when it is not at hand."""

REPLAYED_TOPICS = ("order.events", "order.decisions", "order.fills", "order.account", "order.costs")


class RecordingError(ValueError):
    """The recording lacks a record that order.events names."""


def current(events: Iterable[Event]) -> Iterator[Event]:
    """Events without those that an older epoch wrote after a newer one had begun, and without repeated identities.

    Two that start at once may write one epoch: from the second one's beginning on neither counts (daemon/fence.py ends both).
    """
    epoch = 0
    seen: set[str] = set()
    begun: Event = {}
    for event in events:
        if event["epoch"] < epoch:
            continue
        if event["event_id"] in seen:
            if event["kind"] == "epoch" and event["epoch"] == begun.get("epoch") and event != begun:
                epoch = event["epoch"] + 1
            continue
        if event["kind"] == "epoch":
            begun = event
        epoch = event["epoch"]
        seen.add(event["event_id"])
        yield event


def place_of(event: Event) -> tuple[str, int, int]:
    """(topic, partition, offset) of the record that a `took` event names."""
    ((name, end),) = event["cut"].items()
    topic, _, partition = name.rpartition("-")
    return topic, int(partition), end - 1


def input_of(event: Event, lookup: Lookup) -> Input | None:
    """The input that an event records; None for events that the engine decided on. RecordingError when a record is missing."""
    kind, wall = event["kind"], event["wall_time"]
    if kind in DECIDED:
        return None
    if kind == "epoch":
        return Start(event["epoch"], event["client_id"], wall)
    if kind == "clock":
        return ClockTick(wall, event["available_time"])
    if kind == "kill_requested":
        labels = event["labels"]
        return KillRequest(event["text"], labels["scope"], event["reason"], labels["actor"], wall)
    if kind == "rearm_requested":
        return RearmRequest(event["text"], event["labels"]["actor"], event["reason"], wall)
    if kind == "took":
        topic, partition, offset = place_of(event)
        record = lookup(topic, partition, offset)
        if record is None:
            raise RecordingError(
                f"{topic} partition {partition} has no offset {offset}, which {event['event_id']} took; the recording is incomplete"
            )
        return LogInput(topic, partition, offset, record, wall)
    return BrokerReport(event, wall)


def replay_inputs(events: Iterable[Event], lookup: Lookup) -> Iterator[Input]:
    """The inputs of a recording, in the order in which the engine took them."""
    for event in current(events):
        item = input_of(event, lookup)
        if item is not None:
            yield item


def fold_log(engine: OrderEngine, events: Iterable[Event], lookup: Lookup) -> int:
    """Bring a new engine to the state of the log; returns the highest epoch seen. Data slices are not needed.

    Records that `lookup` does not have (None) are left out where they only matter for a moment; a missing intent, configuration
    or command raises RecordingError.
    """
    highest = 0
    for event in current(events):
        record = None
        if event["kind"] == "took":
            topic, partition, offset = place_of(event)
            if not topic.startswith("data.") or topic == "data.actions":
                record = lookup(topic, partition, offset)
                if record is None:
                    raise RecordingError(
                        f"{topic} partition {partition} has no offset {offset}, which order.events took; keep topics until they are archived"
                    )
        engine.fold(event, record)
        highest = max(highest, event["epoch"])
    return highest


def rerun(
    account: str, mode: str, simulated: bool, events: Iterable[Event], lookup: Lookup
) -> Iterator[tuple[Event, str, dict[str, Any]]]:
    """Re-run the engine over a recording: every (event of the causing input, topic, record) that it should have written, in order.

    At each epoch the engine starts, as the daemon does, from a fold of what was recorded until then: a crash may have lost the last
    outputs of an input, and what was not recorded did not happen.
    """
    shadow = OrderEngine(account, mode, simulated=simulated)
    engine = OrderEngine(account, mode, simulated=simulated)
    for event in current(events):
        item = input_of(event, lookup)
        if isinstance(item, Start):
            engine = OrderEngine(account, mode, simulated=simulated)
            engine.restore(shadow.state())
        if item is not None:
            for effect in engine.handle(item):
                if isinstance(effect, Append):
                    yield event, effect.topic, effect.record
        record = None
        if event["kind"] == "took" and isinstance(item, LogInput):
            record = item.record
        shadow.fold(event, record)
