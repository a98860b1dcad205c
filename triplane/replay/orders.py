"""The Order Plane again: recorded inputs in their recorded interleaving through the same engine.

order.events holds the interleaving; intents, configuration, commands and market data are looked up by the offsets it names. A plane
that was killed may have lost the last outputs of the input it was working on: those are forgiven where the next recorded input is a
new epoch, or the log's end; and a plane that runs is writing what follows from the inputs that came while the log was read. Nothing
else is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from order_plane import recording as order_recording
from order_plane.ledger.owed import DECIDED
from schemas import catalogue, codec
from triplane.replay.comparison import TopicVerdict, compare_topic
from triplane.replay.recording import Recording
from triplane.replay.strategy import ReplayError, without
from triplane.runtime.lost_log import REMEDY

OUTPUTS = order_recording.REPLAYED_TOPICS


def verify(
    recording: Recording, account: str, progress: Callable[[int, int], None] | None = None
) -> list[TopicVerdict]:
    """Re-run the order engine and compare every record of its topics. Raises ReplayError when a referenced record is missing."""
    events = [record.value for record in recording.raw["order.events"] if record.value is not None]
    if not events:
        raise without(recording, "order.events", OUTPUTS, "the Order Plane has not run yet")
    index = _index(recording)
    first = events[0]
    if first["kind"] != "epoch":
        raise ReplayError(
            f"order.events begins with {first['kind']!r} and not with the start of an order plane: records of the log are lost; {REMEDY}"
        )
    mode, simulated = _mode_of(recording, first)
    produced: dict[str, list[Mapping[str, Any]]] = {name: [] for name in OUTPUTS}
    forgiven = _Forgiven(recording)
    seen = _FirstProduced()
    done = 0
    try:
        for cause, topic, record in order_recording.rerun(account, mode, simulated, events, index.get):
            if forgiven.is_lost(cause, topic, record) or not seen.accept(topic, record):
                continue
            produced[topic].append(record)
            if progress is not None and topic == "order.events":
                done += 1
                progress(min(done, len(events)), len(events))
    except order_recording.RecordingError as error:
        raise ReplayError(str(error)) from None
    current = {event["event_id"] for event in order_recording.current(events)}
    verdicts = []
    for name in OUTPUTS:
        recorded = recording.records[name]
        if name == "order.events":  # what a superseded instance wrote after its successor began is no part of the state
            recorded = [r for r in recorded if r.value is not None and r.value["event_id"] in current]
        verdicts.append(compare_topic(name, recorded, produced[name]))
    return verdicts


class _Lookup(dict[tuple[str, int, int], Mapping[str, Any]]):
    def get(self, topic: str, partition: int, offset: int) -> Mapping[str, Any] | None:  # type: ignore[override]
        return super().get((topic, partition, offset))


def _index(recording: Recording) -> _Lookup:
    """Every decodable record by place; duplicates too, for the plane may have taken any of them."""
    index = _Lookup()
    for name, records in recording.raw.items():
        if name.startswith("order."):
            continue
        for record in records:
            if record.value is not None:
                index[(record.topic, record.partition, record.offset)] = record.value
    return index


class _FirstProduced:
    """Recent fills are published again at each start; like a reader of the log, the comparison takes the first per identity."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, tuple[Any, ...]]] = set()

    def accept(self, topic: str, record: Mapping[str, Any]) -> bool:
        entry = catalogue.load()[topic]
        identity = (topic, entry.identify(codec.defaults(entry.record) | dict(record)))
        if identity in self._seen:
            return False
        self._seen.add(identity)
        return True


class _Forgiven:
    """Which outputs a plane had no chance to write: those of an epoch's last input, and of what came while the log was read.

    The plane publishes what follows from an event once that is on the log, so where the event was lost, so was the rest, even if a later
    epoch wrote something else under the same identity. Ask in the order in which the engine produced.
    """

    def __init__(self, recording: Recording) -> None:
        raw = [record for record in recording.raw["order.events"] if record.value is not None]
        counted = {id(event) for event in order_recording.current(record.value for record in raw if record.value)}
        inputs = [
            (record.offset, record.value)
            for record in raw
            if id(record.value) in counted and record.value and record.value["kind"] not in DECIDED
        ]
        self._known = {
            name: {catalogue.load()[name].identify(r.value) for r in recording.records[name] if r.value is not None}
            for name in OUTPUTS
        }
        # What a superseded instance wrote too late is on the log and counts for nothing: to the fold it was lost.
        identify = catalogue.load()["order.events"].identify
        self._known["order.events"] = {
            identify(record.value) for record in raw if record.value and id(record.value) in counted
        }
        last = {
            before["event_id"] for (_, before), (_, after) in itertools.pairwise(inputs) if after["kind"] == "epoch"
        }
        fresh = {event["event_id"] for offset, event in inputs if offset >= recording.settled}
        self._last = last | fresh | {inputs[-1][1]["event_id"]}
        self._cause, self._event_lost = "", False
        self.count = 0

    def is_lost(self, cause: Mapping[str, Any], topic: str, record: Mapping[str, Any]) -> bool:
        """True for an output that is not on the log and whose input was the last before a new epoch or the end, or not settled yet."""
        if cause["event_id"] != self._cause:
            self._cause, self._event_lost = cause["event_id"], False
        if self._cause not in self._last:
            return False
        entry = catalogue.load()[topic]
        lost = entry.identify(codec.defaults(entry.record) | dict(record)) not in self._known[topic]
        if topic == "order.events":
            self._event_lost = lost
        else:
            lost = lost or self._event_lost
        self.count += lost
        return lost


def _mode_of(recording: Recording, epoch: Mapping[str, Any]) -> tuple[str, bool]:
    """Mode and simulated flag that the plane ran under, as its epoch record says."""
    labels = epoch["labels"]
    if "mode" not in labels:
        raise ReplayError("order.events begins without the mode it ran in; the recording is of an older release")
    return labels["mode"], labels.get("simulated", "false") == "true"
