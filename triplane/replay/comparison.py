"""Recorded against replayed: identical bytes, equal within a tolerance, or the first divergence by topic, offset and field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from schemas import catalogue, codec
from triplane.replay.recording import digest
from triplane.runtime.kafka_in import LogRecord
from triplane.runtime.lost_log import REMEDY

TOLERANCE = 1e-9
"""Largest difference of floats between numeric fingerprints, relative above 1 and absolute below (law L1)."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first place where a replay differs from the log. `offset` is -1 when the log has no such record."""

    topic: str
    offset: int
    field: str
    recorded: str
    replayed: str
    missing: int = 0
    """Replayed records that come before the first one of the log and are nowhere on it."""

    def __str__(self) -> str:
        place = f"{self.topic}@{self.offset}" if self.offset >= 0 else f"{self.topic} after its last record"
        part = "whole record" if self.field == "*" else f"field {self.field}"
        hint = (
            "; a plane that was ended by force writes what is missing at its next start: start it, then replay again"
            if self.offset < 0
            else f"; the log begins with what the replay writes as number {self.missing + 1}: its beginning is lost, or another build "
            f"writes more; {REMEDY}"
            if self.missing
            else ""
        )
        return f"first divergence: {place} {part}: recorded {self.recorded}, replayed {self.replayed}{hint}"


@dataclass(frozen=True, slots=True)
class TopicVerdict:
    """Outcome for one topic. `sha` covers the recorded bodies; `worst` is the largest float difference seen."""

    topic: str
    records: int
    sha: str
    identical: bool
    worst: float = 0.0
    divergence: Divergence | None = None
    notes: list[str] = field(default_factory=list)
    last_bits: Divergence | None = None
    """The first record whose bytes differ by no more than the tolerance."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two values that differ: where, such as `[3]`, by how much, and both. `gap` is relative above 1 and absolute below."""

    path: str
    gap: float
    recorded: Any
    replayed: Any


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def difference(recorded: Any, replayed: Any, tolerance: float) -> Difference | None:
    """Where two values first differ by more than `tolerance`; None when they agree.

    Integers, strings and booleans must be equal; NaN equals NaN.
    """
    if isinstance(recorded, float) and isinstance(replayed, float):
        if recorded == replayed or (math.isnan(recorded) and math.isnan(replayed)):
            return None
        gap = abs(recorded - replayed) / max(1.0, abs(recorded), abs(replayed))
        return None if gap <= tolerance else Difference("", gap, recorded, replayed)
    if isinstance(recorded, list) and isinstance(replayed, list):
        if len(recorded) != len(replayed):
            return Difference("", math.inf, recorded, replayed)
        for index, pair in enumerate(zip(recorded, replayed, strict=True)):
            found = difference(*pair, tolerance)
            if found is not None:
                return replace(found, path=f"[{index}]{found.path}")
        return None
    if isinstance(recorded, Mapping) and isinstance(replayed, Mapping):
        for key in sorted(recorded.keys() | replayed.keys()):
            if key not in recorded or key not in replayed:
                return Difference(f"[{key!r}]", math.inf, recorded.get(key), replayed.get(key))
            found = difference(recorded[key], replayed[key], tolerance)
            if found is not None:
                return replace(found, path=f"[{key!r}]{found.path}")
        return None
    return None if recorded == replayed else Difference("", math.inf, recorded, replayed)


def _first(
    names: Iterable[str], recorded: Mapping[str, Any], replayed: Mapping[str, Any], tolerance: float
) -> Difference | None:
    """The first difference of two records, its path from the field's name on."""
    for name in names:
        found = difference(recorded[name], replayed[name], tolerance)
        if found is not None:
            return replace(found, path=name + found.path)
    return None


def _largest(recorded: Any, replayed: Any) -> float:
    """The largest gap between the floats of two values of one shape."""
    if isinstance(recorded, float) and isinstance(replayed, float):
        found = difference(recorded, replayed, 0.0)
        return 0.0 if found is None else found.gap
    if isinstance(recorded, list) and isinstance(replayed, list):
        return max((_largest(*pair) for pair in zip(recorded, replayed, strict=False)), default=0.0)
    if isinstance(recorded, Mapping) and isinstance(replayed, Mapping):
        return max((_largest(recorded[key], replayed[key]) for key in recorded.keys() & replayed.keys()), default=0.0)
    return 0.0


def _before(entry: catalogue.Topic, recorded: Sequence[LogRecord], produced: Sequence[Mapping[str, Any]]) -> int:
    """How many replayed records come before the log's first one; 0 where it is not among them, or one of those is on the log."""
    bodies = [codec.encode_body(entry.record, value) for value in produced]
    if recorded[0].body not in bodies:
        return 0
    place = bodies.index(recorded[0].body)
    return 0 if {record.body for record in recorded} & set(bodies[:place]) else place


def compare_topic(
    topic: str, recorded: Sequence[LogRecord], replayed: Iterable[Mapping[str, Any]], *, tail: int = 0
) -> TopicVerdict:
    """Compare the records of a topic, de-duplicated and in log order, with what the replay put out in order.

    Up to `tail` replayed records beyond the log's end are forgiven: a plane stopped between a barrier and its outputs had no
    chance to write them.
    """
    entry = catalogue.load()[topic]
    produced = [codec.defaults(entry.record) | dict(value) for value in replayed]
    divergence: Divergence | None = None
    last_bits: Divergence | None = None
    identical = True
    worst = 0.0
    for record, value in zip(recorded, produced, strict=False):
        if codec.encode_body(entry.record, value) == record.body:
            continue
        identical = False
        assert record.value is not None
        names = list(codec.defaults(entry.record))
        beyond = _first(names, record.value, value, TOLERANCE)
        if beyond is not None:
            worst = max(worst, beyond.gap)
            missing = _before(entry, recorded, produced) if record is recorded[0] else 0
            shown = _short(beyond.recorded), _short(beyond.replayed)
            divergence = Divergence(topic, record.offset, beyond.path, *shown, missing)
            break
        # Equal values with other bytes are zeros of either sign.
        within = _first(names, record.value, value, 0.0) or Difference("*", 0.0, "a zero of one sign", "the other")
        worst = max(worst, _largest(record.value, value))
        shown = _short(within.recorded), _short(within.replayed)
        last_bits = last_bits or Divergence(topic, record.offset, within.path, *shown)
    notes = []
    if divergence is None and len(produced) < len(recorded):
        extra = recorded[len(produced)]
        divergence = Divergence(topic, extra.offset, "*", "a record", "nothing")
    elif divergence is None and len(produced) > len(recorded):
        surplus = produced[len(recorded) :]
        if len(surplus) > tail:
            divergence = Divergence(topic, -1, "*", "nothing", _short(entry.identify(surplus[0])))
        else:
            notes.append(
                f"{len(surplus)} records of the last step are not on the log yet: the plane runs and is about to write them, or was stopped before it could"
            )
    return TopicVerdict(
        topic,
        len(recorded),
        digest(r.body for r in recorded),
        identical and divergence is None,
        worst,
        divergence,
        notes,
        last_bits,
    )
