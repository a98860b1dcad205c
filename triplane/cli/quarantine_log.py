"""What the log tells of the quarantine: records, what people decided on them, and which one an id means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triplane.cli import context

TOPICS = ("data.quarantine", "strategy.quarantine", "order.quarantine")
DECISIONS = "data.decisions"
OPEN, DROPPED, RELEASED = "open", "dropped", "released"


def read() -> list[dict[str, Any]]:
    """Quarantined records, the first of each id."""
    from triplane.runtime.kafka_in import read_all

    found: dict[str, dict[str, Any]] = {}
    for record in read_all(context.connected_settings(), TOPICS):
        if record.value is not None:
            found.setdefault(record.value["quarantine_id"], dict(record.value))
    return list(found.values())


def decisions() -> dict[str, list[dict[str, Any]]]:
    """What people decided, by quarantine id, in the log's order, the first of each command."""
    from triplane.runtime.kafka_in import read_all

    found: dict[str, dict[str, Any]] = {}
    for record in read_all(context.connected_settings(), (DECISIONS,)):
        if record.value is not None:
            found.setdefault(record.value["command_id"], dict(record.value))
    by_id: dict[str, list[dict[str, Any]]] = {}
    for decision in found.values():
        by_id.setdefault(decision["quarantine_id"], []).append(decision)
    return by_id


def state_of(decided: Sequence[Mapping[str, Any]]) -> str:
    """What the decisions on one record make of it: open, released (repaired or not) or dropped."""
    standing = next((each["action"] for each in decided if each["action"] != "refused"), OPEN)
    return standing if standing in (OPEN, DROPPED) else RELEASED


def one(records: Sequence[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """The record of an id, or of the beginning of one. Raises CommandError where that is none or several."""
    exact = [record for record in records if record["quarantine_id"] == wanted]
    found = exact or [record for record in records if record["quarantine_id"].startswith(wanted)]
    if not found:
        raise context.CommandError(f"nothing in quarantine has the id {wanted!r}; `triplane quarantine list` has them")
    if len(found) > 1:
        some = ", ".join(record["quarantine_id"] for record in found[:3])
        raise context.CommandError(f"{len(found)} ids begin with {wanted!r} ({some}, ...); give more of it")
    return found[0]
