"""Which gates are open: closed by the first bad verdict, reopened by several good ones in a row.

A gate is known by (gate, source, scope); the scope is a symbol, a symbol group, or empty for the whole source. A gate that was
never closed is open and has no record. Only changes leave this module, as GateState records for data.gates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

SCHEMA = "schema"
COMPLETENESS = "completeness"
FRESHNESS = "freshness"
QUOTE_FRESHNESS = "quote_freshness"
QUOTE_SANITY = "quote_sanity"
CLOCK = "clock"
CONTRACT = "contract"
PRICE_SANITY = "price_sanity"
CROSS_SOURCE = "cross_source"
ACTION_SANITY = "action_sanity"
FACT_SANITY = "fact_sanity"
FACT_COMPLETENESS = "fact_completeness"
MACRO_SANITY = "macro_sanity"


class GateKey(NamedTuple):
    """What a gate guards."""

    gate: str
    source: str
    scope: str


@dataclass(slots=True)
class _Closed:
    code: str
    since: int
    good: int = 0


class GateBook:
    """All closed gates. `reopen` is GATE_REOPEN_SLICES: good verdicts in a row that open a closed gate."""

    def __init__(self, reopen: int) -> None:
        self.reopen = reopen
        self._closed: dict[GateKey, _Closed] = {}
        self._told: dict[GateKey, int] = {}
        """Time of each gate's newest record. Readers fold a gate by time and know a record by it, and history that is loaded again is
        older than what was told: each record of a gate is later than the one before."""

    def restore(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take over the gates that an earlier run left closed, from data.gates in log order.

        A record that is older than what was told of its gate since says nothing: one that had waited on disk, or was sent again.
        """
        for record in records:
            key = GateKey(record["gate"], record["source"], record["scope"])
            if record["available_time"] < self._told.get(key, record["available_time"]):
                continue
            self._told[key] = record["available_time"]
            if record["open"]:
                self._closed.pop(key, None)
            else:
                self._closed[key] = _Closed(record["code"], record["since"])

    def is_open(self, gate: str, source: str, scope: str = "") -> bool:
        """Whether data may pass."""
        return GateKey(gate, source, scope) not in self._closed

    def code(self, gate: str, source: str, scope: str = "") -> str:
        """Why a gate is closed; empty when it is open."""
        state = self._closed.get(GateKey(gate, source, scope))
        return "" if state is None else state.code

    def closed_for(self, gate: str, source: str, scope: str) -> tuple[str, int, int]:
        """(code, closed since, time of the newest record) of a gate, ns UTC; ("", 0, 0) when it is open."""
        key = GateKey(gate, source, scope)
        state = self._closed.get(key)
        return ("", 0, 0) if state is None else (state.code, state.since, self._told.get(key, state.since))

    def closed(self) -> list[tuple[GateKey, str, int]]:
        """(key, code, closed since) of every closed gate, sorted by key."""
        return [(key, state.code, state.since) for key, state in sorted(self._closed.items())]

    def closed_scopes(self, gate: str, source: str) -> list[str]:
        """Scopes of one gate that are closed, sorted: those that a good verdict is worth telling."""
        return sorted(key.scope for key in self._closed if key.gate == gate and key.source == source)

    def bad(self, gate: str, source: str, scope: str, code: str, detail: str, time: int) -> list[dict[str, Any]]:
        """A bad verdict at `time` (ns UTC): closes the gate; a change of code alone is a change as well."""
        key = GateKey(gate, source, scope)
        state = self._closed.get(key)
        if state is not None:
            state.good = 0
            if state.code == code:
                return []
            state.code = code
            return [self._record(key, False, code, detail, time, state.since)]
        record = self._record(key, False, code, detail, time)
        self._closed[key] = _Closed(code, record["since"])
        return [record]

    def good(self, gate: str, source: str, scope: str, time: int) -> list[dict[str, Any]]:
        """A good verdict at `time`: opens the gate when it is the last one needed."""
        key = GateKey(gate, source, scope)
        state = self._closed.get(key)
        if state is None:
            return []
        state.good += 1
        if state.good < self.reopen:
            return []
        del self._closed[key]
        detail = f"{self.reopen} good in a row after {state.code}"
        return [self._record(key, True, "", detail, time)]

    def leave(self, scopes: Collection[str]) -> list[dict[str, Any]]:
        """Open what is closed of these scopes: their names have left the universe, and no verdict on them will come any more."""
        return self._unjudged(
            [key for key in sorted(self._closed) if key.scope in scopes], "the name left the universe"
        )

    def vouched(self, gate: str, source: str, scope: str, time: int) -> list[dict[str, Any]]:
        """Open a gate at `time`: a person says that what closed it was right."""
        key = GateKey(gate, source, scope)
        if self._closed.pop(key, None) is None:
            return []
        return [self._record(key, True, "", "a person let out what closed it", time)]

    def compare_only(self, sources: Collection[str]) -> list[dict[str, Any]]:
        """Open the clock gates of other sources: a run in another mode closed them, and no verdict on them will come in this one.

        Those of a group stay: whether a source's time runs backwards is judged in every mode.
        """
        others = [key for key in sorted(self._closed) if key[::2] == (CLOCK, "") and key.source not in sources]
        return self._unjudged(others, "this mode compares another clock")

    def unjudged(self, gate: str, source: str, scopes: Collection[str], detail: str) -> list[dict[str, Any]]:
        """Open one gate's closed `scopes`, on which no verdict will come while that is so."""
        wanted = frozenset(scopes)
        keys = [GateKey(gate, source, scope) for scope in self.closed_scopes(gate, source) if scope in wanted]
        return self._unjudged(keys, detail)

    def _unjudged(self, keys: Iterable[GateKey], detail: str) -> list[dict[str, Any]]:
        records = []
        for key in keys:
            time = max(self._told.get(key, 0), self._closed.pop(key).since)
            records.append(self._record(key, True, "", detail, time))
        return records

    def _record(
        self, key: GateKey, is_open: bool, code: str, detail: str, time: int, since: int | None = None
    ) -> dict[str, Any]:
        """One transition; a record of the past (an old filing) is told of after what was told before it. `since`: that time by default."""
        time = self._told[key] = max(time, self._told.get(key, time - 1) + 1)
        return {
            "event_time": time,
            "available_time": time,
            "gate": key.gate,
            "source": key.source,
            "scope": key.scope,
            "open": is_open,
            "code": code,
            "detail": detail,
            "since": time if since is None else since,
        }
