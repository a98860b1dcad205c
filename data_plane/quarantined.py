"""A quarantined record read back as the observation that it was. What has no other shape than its bytes is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_plane.gates import schema
from data_plane.observations import BAR_COLUMNS, INTERVAL_NS, Bars, Fact, Filing, Vintage
from data_plane.reference_data import FILING_FIELDS
from data_plane.slices.frame import Frame


class NoObservation(ValueError):
    """It cannot be let out; the text is one sentence that says why."""


def interval_of(record: Mapping[str, Any]) -> str:
    """Interval of a quarantined bar; empty where it is none."""
    try:
        fields = json.loads(record["raw"]) if record["topic"] == "data.bars" else {}
        return str(fields.get("interval", "")) if isinstance(fields, dict) else ""
    except (ValueError, RecursionError):
        return ""


def observation(record: Mapping[str, Any], frame: Frame, available_time: int = 0) -> Bars | Filing | Vintage:
    """The bar, fact or macro value in a record of data.quarantine or data.decisions (source, topic, symbol, code, raw), as known from
    `available_time` (ns UTC). Raises NoObservation.
    """
    topic = record["topic"]
    if topic in ("data.quotes", "data.trades"):
        raise NoObservation("a quote or a trade of the past is no price of now, and newer ones have come; drop it")
    unreadable = f"it could not be read as an observation ({record['code']}), so there is nothing to let out; drop it"
    if topic not in ("data.bars", "data.facts", "data.macro"):
        raise NoObservation(f"what was meant for {topic} cannot be let out; drop it")
    if record["code"].startswith("SCHEMA_"):
        raise NoObservation(unreadable)
    try:
        fields = json.loads(record["raw"])
        if topic == "data.facts":
            return _filing(record, fields, available_time)
        if topic == "data.macro":
            return _vintage(record, fields, available_time)
        end = int(fields["end"])
        row = [float(fields[column]) for column in BAR_COLUMNS]
        interval, trades = str(fields["interval"]), int(fields["trades"])
        readable = interval in INTERVAL_NS and fields["symbol"] == record["symbol"]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise NoObservation(unreadable) from None
    session = frame.session_at(end - 1)[0] if schema.FIRST_TIME <= end <= schema.LAST_TIME else ""
    if not readable or not session:
        raise NoObservation(unreadable)
    values, counts = np.array([row]), np.array([trades], dtype=np.int64)
    return Bars(
        record["source"], interval, session, end, available_time, (record["symbol"],), values, counts, history=True
    )


def _filing(record: Mapping[str, Any], fields: Mapping[str, Any], available_time: int) -> Filing:
    """One fact of a filing. Records of releases that kept less of the filing have less."""
    about = {name: fields.get(name, "") for name in FILING_FIELDS} | {"cik": int(fields.get("cik", 0))}
    columns = {name: fields[name] for name in Fact._fields}
    fact = Fact(**columns | {"start": int(columns["start"]), "end": int(columns["end"])})
    fact = fact._replace(value=float(fact.value))
    if schema.fact_fault(fact) is not None:
        raise ValueError("its period is none")
    return Filing(record["source"], record["symbol"], **about, available_time=available_time, facts=(fact,))


def _vintage(record: Mapping[str, Any], fields: Mapping[str, Any], available_time: int) -> Vintage:
    """One value of a vintage."""
    value = (int(fields["date"]), float(fields["value"]))
    series, unit, start = str(fields["series"]), str(fields.get("unit", "")), str(fields["realtime_start"])
    return Vintage(record["source"], series, unit, start, available_time, False, (value,))
