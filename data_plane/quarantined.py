"""A quarantined record read back as the observation that it was. What has no other shape than its bytes is none."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from data_plane.gates import fact_completeness, schema
from data_plane.observations import BAR_COLUMNS, INTERVAL_NS, Bars, Fact, Filing, Vintage
from data_plane.published import BAR_TOPICS, WATCHED
from data_plane.reference_data import FILING_FIELDS
from data_plane.slices.frame import Frame


class NoObservation(ValueError):
    """It cannot be let out; the text is one sentence that says why."""


def interval_of(record: Mapping[str, Any]) -> str:
    """Interval of a quarantined bar; empty where it is none."""
    try:
        fields = json.loads(record["raw"]) if record["topic"] in BAR_TOPICS else {}
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
    if topic not in _READERS:
        raise NoObservation(f"what was meant for {topic} cannot be let out; drop it")
    if record["code"] in fact_completeness.CODES:
        raise NoObservation(
            "a frame does not tell since when its value is known; `triplane data reparse --source edgar` brings the filing's own "
            "where a parser missed it, else drop it"
        )
    if record["code"].startswith("SCHEMA_"):
        raise NoObservation(unreadable)
    with contextlib.suppress(Exception):  # a provider may have sent anything, and a command is read again at each start
        fields = json.loads(record["raw"])
        if isinstance(fields, dict):
            return _READERS[topic](record, fields, frame, available_time)
    raise NoObservation(unreadable)


def lacking(record: Mapping[str, Any]) -> list[str]:
    """Fields of its filing or vintage that earlier releases did not keep in a record that `observation` reads."""
    needed = {"data.facts": FILING_FIELDS, "data.macro": ("unit",)}.get(record["topic"], ())
    fields = json.loads(record["raw"]) if needed else {}
    return [name for name in needed if name not in fields]


def _bar(record: Mapping[str, Any], fields: Mapping[str, Any], frame: Frame, available_time: int) -> Bars:
    """One name's bar, in the session that holds its end."""
    end = int(fields["end"])
    row = [float(fields[column]) for column in BAR_COLUMNS]
    interval, trades = _text(fields["interval"]), int(fields["trades"])
    session = frame.session_at(end - 1)[0] if schema.FIRST_TIME <= end <= schema.LAST_TIME else ""
    if interval not in INTERVAL_NS or fields["symbol"] != record["symbol"] or not session:
        raise ValueError("it is no bar of that name in a session")
    values, counts = np.array([row]), np.array([trades], dtype=np.int64)
    about = (record["source"], interval, session, end, available_time)
    watched = frame.group if record["topic"] == WATCHED else ""
    return Bars(*about, (record["symbol"],), values, counts, history=True, watched=watched)


def _filing(record: Mapping[str, Any], fields: Mapping[str, Any], frame: Frame, available_time: int) -> Filing:
    """One fact of a filing; what `lacking` names is empty."""
    about: dict[str, Any] = {name: _text(fields.get(name, "")) for name in FILING_FIELDS if name != "cik"}
    columns: dict[str, Any] = {name: _text(fields[name]) for name in ("concept", "unit", "fiscal_period")}
    columns |= {name: int(fields[name]) for name in ("start", "end", "fiscal_year")}
    fact = Fact(**columns, value=float(fields["value"]))
    if schema.fact_fault(fact) is not None:
        raise ValueError("its period is none")
    cik = int(fields.get("cik", 0))
    return Filing(record["source"], record["symbol"], cik, **about, available_time=available_time, facts=(fact,))


def _vintage(record: Mapping[str, Any], fields: Mapping[str, Any], frame: Frame, available_time: int) -> Vintage:
    """One value of a vintage; what `lacking` names is empty."""
    date, value = int(fields["date"]), float(fields["value"])
    series, unit, start = _text(fields["series"]), _text(fields.get("unit", "")), _text(fields["realtime_start"])
    if schema.macro_date_fault(series, date) is not None:
        raise ValueError("its date is none")
    return Vintage(record["source"], series, unit, start, available_time, False, ((date, value),))


def _text(value: Any) -> str:
    """A text that can be written to a topic."""
    if not isinstance(value, str):
        raise TypeError("it is no text")
    value.encode()
    return value


_READERS: Final[Mapping[str, Callable[..., Bars | Filing | Vintage]]] = {
    "data.bars": _bar,
    WATCHED: _bar,
    "data.facts": _filing,
    "data.macro": _vintage,
}
