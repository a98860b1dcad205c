"""What the engine hands to its shell: records for topics, each with the observations that it accounts for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from data_plane.observations import BAR_COLUMNS, Bars, Floats, Ints

QUARANTINE = "data.quarantine"
DECISIONS = "data.decisions"
GATES = "data.gates"
LAST_TIME = 2**63 - 1


class Output(NamedTuple):
    """A record for a topic. `units` observations of `source` leave the engine with it (0 for gates and punctuations)."""

    topic: str
    record: dict[str, Any]
    source: str
    units: int


def gate_outputs(records: Iterable[dict[str, Any]], config_hash: str) -> list[Output]:
    """Gate changes as outputs."""
    return [Output(GATES, {**record, "config_hash": config_hash}, record["source"], 0) for record in records]


def raw_json(fields: Mapping[str, Any]) -> bytes:
    """A decoded observation as bytes: what came in, with NaN and infinities spelled out, keys in their given order."""
    plain = {
        key: repr(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in fields.items()
    }
    return json.dumps(plain, separators=(",", ":")).encode()


def quarantined(
    source: str, topic: str, symbol: str, code: str, detail: str, raw: bytes, event_time: int, available_time: int
) -> Output:
    """A QuarantinedRecord of one observation. Its identity is what it is, not when it was seen, so a second look adds nothing."""
    digest = blake2b(b"\0".join([topic.encode(), symbol.encode(), code.encode(), raw]), digest_size=12).hexdigest()
    record = {
        # What is quarantined for its time may have one that no record can hold; `raw` has it as it came.
        "event_time": min(max(event_time, -LAST_TIME), LAST_TIME),
        "available_time": min(max(available_time, -LAST_TIME), LAST_TIME),
        "quarantine_id": f"{source}/{digest}",
        "source": source,
        "topic": topic,
        "partition": -1,
        "offset": -1,
        "symbol": symbol,
        "code": code,
        "detail": detail,
        "raw": raw,
    }
    return Output(QUARANTINE, record, source, 1)


def bad_slice(bars: Bars, code: str, detail: str, time: int, topic: str = "data.bars") -> list[Output]:
    """Each bar of a slice that is bad as a whole, for quarantine."""
    outputs = []
    for place, symbol in enumerate(bars.symbols):
        row = bars.values[place].tolist() if place < len(bars.values) else []
        fields = {
            "symbol": symbol,
            "place": place,
            "interval": bars.interval,
            "end": bars.event_time,
            "values": str(row),
        }
        outputs.append(quarantined(bars.source, topic, symbol, code, detail, raw_json(fields), time, time))
    return outputs


def bar_columns(values: Floats, trades: Ints) -> dict[str, list[Any]]:
    """The vectors of a BarSlice."""
    columns: dict[str, list[Any]] = dict(zip(BAR_COLUMNS, values.T.tolist(), strict=True))
    columns["trades"] = trades.tolist()
    return columns


def bar_row(symbol: str, interval: str, event_time: int, values: Sequence[float], trades: int) -> bytes:
    """One name's bar as raw bytes."""
    return raw_json(
        {
            "symbol": symbol,
            "interval": interval,
            "end": event_time,
            **dict(zip(BAR_COLUMNS, values, strict=True)),
            "trades": trades,
        }
    )
