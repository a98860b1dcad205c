"""What the topics hold, taken up by an engine as its observations come to it in time.

A daemon remembers everything before it judges what is new. Whoever loads a stretch of the past would then judge it by what came years
later: a share's price by that after its split, a filing by a balance sheet that it preceded. What people decided on quarantined values, and
corporate actions, count whenever they were told.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

from data_plane.engine import DataEngine
from data_plane.gates.prices import LEVEL_CODES
from data_plane.observations import Bars, Filing, Frames, Observation, Vintage
from data_plane.outputs import DECISIONS, LAST_TIME, QUARANTINE
from data_plane.published import WATCHED
from data_plane.quarantined import interval_of

_WHENEVER = ("data.actions", "data.rolls", DECISIONS)
Stream = tuple[str, str]
Time = tuple[int, str, int]
"""When a record counts in its stream: ns UTC or 0, a release date or nothing, and 1 for what was taken out of that moment, else 0."""


class Past:
    """Records of earlier runs by stream: all bars, the filings of each name, the vintages of each series."""

    def __init__(self, engine: DataEngine) -> None:
        self._engine = engine
        self._found: dict[Stream, list[tuple[Time, str, Mapping[str, Any]]]] = defaultdict(list)
        self._streams: dict[Stream, deque[tuple[Time, str, Mapping[str, Any]]]] = {}

    def add(self, topic: str, record: Mapping[str, Any]) -> None:
        """A record of a topic, in log order within it, decisions after what is in quarantine; all before the first observation.

        Its identity is taken at once.
        """
        if topic in _WHENEVER:
            self._engine.remember(topic, [record])
            return
        self._engine.published.learn(topic, record)
        placed = _place(topic, record)
        if placed is not None:
            self._found[placed[0]].append((placed[1], topic, record))

    def before(self, observation: Observation) -> None:
        """Let the engine remember what came before an observation that it is about to judge."""
        stream, until = _moment(observation)
        if stream in self._found:
            self._streams[stream] = deque(sorted(self._found.pop(stream), key=lambda item: item[0]))
        waiting = self._streams.get(stream)
        while waiting and waiting[0][0] < until:
            _, topic, record = waiting.popleft()
            self._engine.remember(topic, [record])


def _place(topic: str, record: Mapping[str, Any]) -> tuple[Stream, Time] | None:
    """Stream and time of a record; None for one that no judgement rests on."""
    if topic == "data.bars":
        if record["interval"] == "5s" or not record["symbols"]:
            return None
        return (topic, ""), (record["event_time"], "", 0)
    if topic == WATCHED:
        return (topic, record["group"]), (record["event_time"], "", 0)
    if topic == "data.facts":
        return (topic, record["symbol"]), (record["available_time"], "", 0)
    if topic == "data.macro":
        return (topic, record["series"]), (0, record["realtime_start"], 0)
    if topic == QUARANTINE and record["topic"] == "data.bars" and record["code"] in LEVEL_CODES:
        return None if interval_of(record) == "5s" else (("data.bars", ""), (record["event_time"], "", 1))
    if topic == QUARANTINE and record["topic"] == "data.facts":
        return ("data.facts", record["symbol"]), (record["available_time"], "", 1)
    if topic == QUARANTINE and record["topic"] == "data.macro":
        try:
            fields = json.loads(record["raw"])
            return ("data.macro", str(fields["series"])), (0, str(fields["realtime_start"]), 1)
        except (ValueError, KeyError, TypeError):
            return None  # a payload that could not be read: nothing of it was judged
    return None


def _moment(observation: Observation) -> tuple[Stream, Time]:
    """The stream that an observation belongs to, and up to when (exclusive) its past reaches."""
    if isinstance(observation, Bars):
        stream = (WATCHED, observation.watched) if observation.watched else ("data.bars", "")
        return stream, (observation.event_time, "", 0)
    if isinstance(observation, Filing):
        return ("data.facts", observation.symbol), (observation.available_time, "", 1)
    if isinstance(observation, Frames):  # they tell of all filings
        return ("data.facts", observation.symbol), (LAST_TIME + 1, "", 0)
    if isinstance(observation, Vintage):
        # What was taken out of this very vintage counts: its own repetition must not confirm it.
        return ("data.macro", observation.series), (0, observation.realtime_start, 2)
    return ("", ""), (0, "", 0)
