"""What the data plane's gates say about market data: a closed gate holds its name, or everything its source publishes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

CONTRACT = "contract"
"""The gate of a name that the broker does not know."""


class GateBoard:
    """Closed gates, and which sources publish market data.

    A closed gate of another source (EDGAR, FRED) holds nothing by itself: what was known stays known until it is stale.
    """

    def __init__(self) -> None:
        self._closed: dict[tuple[str, str, str], str] = {}  # (gate, source, scope) -> code
        self._market: list[str] = []

    def observe(self, source: str) -> None:
        """Note that a source publishes bars or quotes."""
        if source not in self._market:
            self._market = sorted([*self._market, source])

    def fold(self, record: Mapping[str, Any]) -> None:
        """Take a GateState."""
        key = (record["gate"], record["source"], record["scope"])
        if record["open"]:
            self._closed.pop(key, None)
        else:
            self._closed[key] = record["code"]

    def closed(self, symbols: Mapping[str, int], groups: Collection[str]) -> tuple[str, dict[int, str]]:
        """The gate that closes a whole market source ("" when none), and the gate that closes each held name's column.

        An empty scope is the whole source, that of a symbol group all that we trade of it. Any other one is of a name that has left the
        universe, and holds nothing.
        """
        whole = ""
        names: dict[int, str] = {}
        for gate, source, scope in sorted(self._closed):
            if source not in self._market and gate != "clock":
                continue
            if scope in symbols:
                if names.get(symbols[scope]) != CONTRACT:  # the cause of what else is closed of this name
                    names[symbols[scope]] = gate
            elif not whole and (not scope or scope in groups):
                whole = gate
        return whole, names

    def state(self) -> dict[str, Any]:
        """For snapshots."""
        return {"closed": [[*key, code] for key, code in sorted(self._closed.items())], "market": list(self._market)}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> GateBoard:
        """A board that continues from `state()`."""
        board = cls()
        board._closed = {(g, s, c): code for g, s, c, code in state["closed"]}
        board._market = list(state["market"])
        return board
