"""What the log tells of the quarantine: records, what people decided on them, and which one an id means."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from triplane.cli import context

if TYPE_CHECKING:
    from data_plane.gates.repairs import Repair

TOPICS = ("data.quarantine", "strategy.quarantine", "order.quarantine")
DECISIONS = "data.decisions"
PRICES = ("open", "high", "low", "close")
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
    if not wanted:
        raise context.CommandError("an empty id names nothing; `triplane quarantine list` has the ids")
    exact = [record for record in records if record["quarantine_id"] == wanted]
    found = exact or [record for record in records if record["quarantine_id"].startswith(wanted)]
    if not found:
        raise context.CommandError(f"nothing in quarantine has the id {wanted!r}; `triplane quarantine list` has them")
    if len(found) > 1:
        some = ", ".join(record["quarantine_id"] for record in found[:3])
        raise context.CommandError(f"{len(found)} ids begin with {wanted!r} ({some}, ...); give more of it")
    return found[0]


def decoded(raw: bytes) -> dict[str, Any]:
    """What came in as fields; empty where it is no JSON object."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record or decision for JSON: what came in as fields where it has any, else as text."""
    raw: Any = decoded(record["raw"]) or record["raw"].decode("utf-8", "backslashreplace")
    return {**record, "raw": raw}


def repairs_of(records: Sequence[Mapping[str, Any]]) -> list[tuple[Repair | None, float]]:
    """Of each record the repair that suggests itself, None where only a person can tell, and the last good close before it: NaN where
    there is none, or it is no bar. Reads the log once where one is a bar."""
    from data_plane.daemon.decisions import last_good_closes
    from data_plane.gates.repairs import suggested

    found: list[tuple[Repair | None, float]] = [(None, math.nan)] * len(records)
    came = [decoded(record["raw"]) for record in records]
    bars = {place: bar for place, each in enumerate(came) if (bar := bar_of(each))}
    asked = [(records[place], str(came[place].get("interval", ""))) for place in bars]
    closes = last_good_closes(context.connected_settings(), asked) if bars else []
    for (place, bar), last_good in zip(bars.items(), closes, strict=True):
        found[place] = suggested(records[place]["code"], bar, last_good), last_good
    return found


def bar_of(came: Mapping[str, Any]) -> dict[str, float]:
    """Prices of a bar by name; empty where it is none, or one of them no number."""
    try:
        return {name: float(came[name]) for name in PRICES} | {"wap": float(came.get("wap", "nan"))}
    except (KeyError, TypeError, ValueError):
        return {}
