"""What is on the plane's topics already, by catalogue identity: what a second backfill must not publish again.

Daily bars, actions, facts, vintages and quarantined records are kept one by one, since they are loaded in any order and more history may be
asked for later. Intraday slices only ever grow, so their latest time is enough and memory stays flat; so it is with quotes and
trades, whose latest time each stream of the engine keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from data_plane.published_facts import RELEASED, PublishedFacts

Identity = tuple[str, ...]

FACTS: Final = "data.facts"
_ID_FIELDS = {
    "data.actions": "action_id",
    "data.facts": "fact_id",
    "data.fundamentals": "fundamental_id",
    "data.macro": "vintage_id",
    "data.quarantine": "quarantine_id",
    "data.rolls": "roll_id",
}
WATCHED: Final = "data.watched"
BAR_TOPICS: Final = ("data.bars", WATCHED)
"""Slices of the universe, and of assets that nobody trades here: the group tells them apart."""


RECENT_SESSIONS: Final = 10
"""Sessions whose daily closes are kept."""


class Released(NamedTuple):
    """A record by which a person let something out of quarantine: its topic, identity, and availability (ns UTC)."""

    topic: str
    identity: str
    available_time: int


def released_id(identity: str, quarantine_id: str) -> str:
    """Identity on data.facts or data.macro of what is let out, beside the `identity` of the filing or vintage that it came with."""
    return f"{identity}{RELEASED}{quarantine_id.partition('/')[2]}"


def unreleased_id(identity: str) -> str:
    """The filing or vintage that a record on data.facts or data.macro came with."""
    return identity.partition(RELEASED)[0]


class PublishedIndex:
    """Identities on the topics of bars, actions, facts, fundamentals, macro, rolls and quarantine."""

    def __init__(self) -> None:
        self._daily: dict[tuple[str, str], dict[tuple[int, int], str]] = {}
        self._daily_names: dict[tuple[str, str], dict[str, int]] = {}
        self._recent: dict[tuple[str, str], dict[str, list[tuple[Sequence[str], Sequence[float]]]]] = {}
        """Names and closes of each daily slice of the newest sessions."""
        self._latest: dict[Identity, int] = {}
        self._minutes: dict[Identity, set[int]] | None = None
        """Ends of one-minute slices, where they are kept one by one."""
        self.facts = PublishedFacts()
        self._splits: dict[str, int] = {}
        """Ex-date (ns UTC) of each name's latest split."""
        self._ids: dict[str, set[str]] = {topic: set() for topic in _ID_FIELDS}
        self._late: set[tuple[str, str, str, int, int]] = set()
        """Intraday slices that were known only after their end: what a person let out, one by one."""
        self._released: dict[str, Released] = {}

    def keep_minutes(self) -> None:
        """From now on one-minute slices are kept one by one, so that older ones may be loaded after newer ones."""
        self._minutes = {}

    def learn(self, topic: str, record: Mapping[str, Any]) -> None:
        """Note a record that is, or is about to be, on a topic."""
        for quarantine_id, released in _released(topic, record):
            self._released[quarantine_id] = released
        if topic in BAR_TOPICS:
            if record["interval"] == "1d":
                key, end = (record["source"], record["group"]), record["event_time"]
                self._daily.setdefault(key, {})[end, record["available_time"]] = record["session"]
                if record["symbols"] and not record.get("released"):
                    recent = self._recent.setdefault(key, {})
                    recent.setdefault(record["session"], []).append((record["symbols"], record["close"]))
                    if len(recent) > RECENT_SESSIONS:
                        del recent[min(recent)]
                newest = self._daily_names.setdefault(key, {})
                newest.update((name, end) for name in record["symbols"] if newest.get(name, 0) < end)
            else:
                stream = (topic, record["source"], record["group"], record["interval"])
                self._raise(stream, record["event_time"])
                if self._minutes is not None and record["interval"] == "1m":
                    self._minutes.setdefault(stream, set()).add(record["event_time"])
                if record["available_time"] > record["event_time"]:
                    self._late.add(_slice(record))
        elif topic in self._ids:
            self._ids[topic].add(record[_ID_FIELDS[topic]])
            if topic == FACTS:
                self.facts.learn(record)
            elif topic == "data.actions" and record["kind"] == "split":
                self._splits[record["symbol"]] = max(self._splits.get(record["symbol"], 0), record["event_time"])

    def forget(self, topic: str, record: Mapping[str, Any]) -> None:
        """A record did not reach its topic after all: what is kept one by one may then be loaded again."""
        for quarantine_id, _ in _released(topic, record):
            self._released.pop(quarantine_id, None)
        if topic in BAR_TOPICS and record["interval"] == "1d":
            key, end = (record["source"], record["group"]), record["event_time"]
            self._daily.get(key, {}).pop((end, record["available_time"]), None)
            newest = self._daily_names.get(key, {})
            for name in record["symbols"]:
                if newest.get(name) == end:  # its history is then asked for again, from the beginning
                    del newest[name]
        elif topic in BAR_TOPICS and self._minutes is not None:
            stream = (topic, record["source"], record["group"], record["interval"])
            self._minutes.get(stream, set()).discard(record["event_time"])
        elif topic in self._ids:
            self._ids[topic].discard(record[_ID_FIELDS[topic]])
            if topic == FACTS:
                self.facts.forget(record)

    def _raise(self, key: Identity, time: int) -> None:
        self._latest[key] = max(self._latest.get(key, 0), time)

    def has_bars(self, source: str, group: str, interval: str, event_time: int, available_time: int) -> bool:
        """Whether a slice of this interval, end and availability is there; for intraday, also when a later one is.

        One-minute slices that are kept one by one count by their end alone.
        """
        if interval == "1d":
            return (event_time, available_time) in self._daily.get((source, group), {})
        if interval == "1m" and self._minutes is not None:
            return event_time in self._minutes.get(("data.bars", source, group, interval), ())
        return event_time <= self.latest_bars(source, group, interval)

    def free_availability(self, source: str, group: str, interval: str, event_time: int, earliest: int) -> int:
        """The first moment from `earliest` on (ns UTC) that no slice of this interval and end has: with it a slice is a new one."""
        available = earliest
        if interval == "1d":
            while self.has_bars(source, group, interval, event_time, available):
                available += 1
        while (source, group, interval, event_time, available) in self._late:
            available += 1
        return available

    def released(self, quarantine_id: str) -> Released | None:
        """What let this out of quarantine, or None."""
        return self._released.get(quarantine_id)

    def has(self, topic: str, record: Mapping[str, Any]) -> bool:
        """Whether a record of a kind that is kept one by one is there."""
        if topic in BAR_TOPICS:
            one_by_one = record["interval"] == "1d" or (record["interval"] == "1m" and self._minutes is not None)
            times = (record["event_time"], record["available_time"])
            return one_by_one and self.has_bars(record["source"], record["group"], record["interval"], *times)
        return topic in self._ids and self.has_id(topic, record[_ID_FIELDS[topic]])

    def has_id(self, topic: str, identity: str) -> bool:
        """Whether a record with this identity is on the topic."""
        return identity in self._ids[topic]

    def last_split(self, symbol: str) -> int:
        """Ex-date of a name's latest split on record, as its midnight in ns UTC; 0 without one."""
        return self._splits.get(symbol, 0)

    def latest_bars(self, source: str, group: str, interval: str) -> int:
        """End of the latest intraday slice, ns UTC; 0 when there is none."""
        return self._latest.get(("data.bars", source, group, interval), 0)

    def daily_sessions(self, source: str, group: str) -> set[str]:
        """Sessions (YYYY-MM-DD) whose daily slice is there."""
        return set(self._daily.get((source, group), {}).values())

    def recent_closes(self, source: str, group: str) -> dict[str, dict[str, float]]:
        """Closes by name as they were published, of each of the newest sessions (YYYY-MM-DD, in order); what a person let out is left out."""
        return {
            session: {
                name: float(close)
                for symbols, closes in slices
                for name, close in zip(symbols, closes, strict=True)
                if close > 0.0
            }
            for session, slices in sorted(self._recent.get((source, group), {}).items())
        }

    def newest_availability(self, source: str, group: str) -> int:
        """Latest availability of a daily slice, ns UTC; 0 when there is none."""
        return max((available for _, available in self._daily.get((source, group), {})), default=0)

    def newest_daily(self, source: str, group: str) -> dict[str, int]:
        """End of each name's newest daily bar, ns UTC; a name without one is not in it."""
        return dict(self._daily_names.get((source, group), {}))


def _slice(record: Mapping[str, Any]) -> tuple[str, str, str, int, int]:
    source, group, interval = record["source"], record["group"], record["interval"]
    return source, group, interval, record["event_time"], record["available_time"]


def _released(topic: str, record: Mapping[str, Any]) -> Iterator[tuple[str, Released]]:
    """What a record let out of quarantine, by id."""
    if topic in BAR_TOPICS:
        for quarantine_id in record.get("released", ()):
            yield quarantine_id, Released(topic, "/".join(map(str, _slice(record))), record["available_time"])
    elif topic in ("data.facts", "data.macro"):
        identity = record[_ID_FIELDS[topic]]
        digest = identity.partition(RELEASED)[2]
        if digest:
            yield f"{record['source']}/{digest}", Released(topic, identity, record["available_time"])
