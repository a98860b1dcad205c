"""Names that daily slices of a span lack: what is published once is not completed, but for what a person lets out of quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data_plane.outputs import DECISIONS, QUARANTINE
from data_plane.quarantined import interval_of
from data_plane.release import DROPPED
from data_plane.sources.span import Span
from triplane.domain.assets import Universe


def not_traded(universe: Universe) -> str:
    """Which names of assets.csv no source of bars is asked for, in a sentence; empty where all are."""
    others = [each.symbol for each in universe.assets if each.untradable_code() is not None]
    return f"not loaded, since equities alone are traded: {', '.join(others)}" if others else ""


class Absent(NamedTuple):
    """One name's bar that a session lacks (YYYY-MM-DD), and its id in quarantine; empty where no bar of it ever came."""

    session: str
    symbol: str
    quarantine_id: str


class AbsentNames:
    """Of one source's daily slices on the log. A name is not missed before its first bar, nor a bar that a person dropped."""

    def __init__(self, source: str, group: str, names: Sequence[str], span: Span) -> None:
        self._source, self._group, self._names = source, group, frozenset(names)
        self._first, self._last = span.start.isoformat(), span.end.isoformat()
        self._begins: dict[str, str] = {}
        self._lacks: dict[str, frozenset[str]] = {}
        self._ends: dict[str, int] = {}
        self._taken_out: dict[tuple[str, int], str] = {}
        self._dropped: set[str] = set()

    def learn(self, topic: str, record: Mapping[str, Any]) -> None:
        """A record that is, or is about to be, on a topic."""
        if topic == DECISIONS and record["action"] == DROPPED:
            self._dropped.add(record["quarantine_id"])
        elif topic not in ("data.bars", QUARANTINE) or record["source"] != self._source:
            return
        elif topic == QUARANTINE:
            if interval_of(record) == "1d":
                self._taken_out[record["symbol"], record["event_time"]] = record["quarantine_id"]
        elif record["interval"] == "1d" and record["group"] == self._group:
            session = record["session"]
            for name in record["symbols"]:
                if session < self._begins.get(name, "9"):
                    self._begins[name] = session
            if self._first <= session <= self._last:
                self._ends[session] = record["event_time"]
                self._lacks[session] = self._lacks.get(session, self._names).difference(record["symbols"])

    def found(self) -> list[Absent]:
        """By session and name."""
        absent = []
        for session, names in sorted(self._lacks.items()):
            for name in sorted(names):
                quarantine_id = self._taken_out.get((name, self._ends[session]), "")
                if self._begins.get(name, "9") <= session and quarantine_id not in self._dropped:
                    absent.append(Absent(session, name, quarantine_id))
        return absent
