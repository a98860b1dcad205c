"""Rolls of a future's chain, found as the closes of its contracts come: one FuturesRoll each, and one where the series begins.

A roll is said once the first session is over from which on the old contract is left, by the last session before that has a close of both.
All of it follows from the slices and the schedule, so a run that is killed in between says the same roll later; one that another rule brings is
known from the newest slice on.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any, Final

from data_plane.futures import Held, contract_name
from triplane.domain import calendars

NONE: Final = float("nan")


class ChainRolls:
    """One asset's, by one source. Sessions are dates in ISO form, which sort as they follow each other."""

    def __init__(self, source: str, symbol: str, calendar: str) -> None:
        self._source = source
        self._symbol = symbol
        self._calendar = calendar
        self._held: tuple[Held, ...] = ()
        self._closes: dict[str, dict[str, float]] = {}
        """By session and contract."""
        self._known: dict[str, int] = {}
        """When a session's slice was available, ns UTC."""
        self._sessions: list[str] = []
        """Those of which a slice is there, in order."""
        self._said: set[str] = set()
        self._begun = ""
        """The first session of which a contract has been said to be held."""

    def schedule(self, held: Sequence[Held]) -> None:
        """Which contract is held when."""
        self._held = tuple(held)

    def learn(self, record: Mapping[str, Any]) -> None:
        """A slice that is, or is about to be, on its topic; the first of a session counts."""
        session = record["session"]
        if session not in self._known:
            insort(self._sessions, session)
            self._known[session] = record["available_time"]
            self._closes[session] = dict(zip(record["symbols"], record["close"], strict=True))

    def said(self, record: Mapping[str, Any]) -> None:
        """A roll that is on its topic."""
        self._said.add(record["roll_id"])
        self._begun = min(self._begun or record["first_session"], record["first_session"])

    def due(self) -> Iterator[dict[str, Any]]:
        """Rolls, and the beginning of the series, that can be said and have not been, as records without a configuration's hash."""
        sessions, held = self._sessions, self._held
        if not sessions or not held:
            return
        first, newest = sessions[0], sessions[-1]
        begins = next((each for each in held if each.last.isoformat() >= first), held[-1])
        # By whatever rule it was said, a session keeps its contract.
        is_older = not self._begun or first < self._begun
        if is_older and begins.first.isoformat() <= first and (identity := self._new(None, begins)):
            opens = calendars.session_open(self._calendar, date.fromisoformat(first))
            yield self._record(identity, None, begins, first, opens, self._known[first])
        for old, new in pairwise(held):
            last = old.last.isoformat()
            if first <= last <= newest and (identity := self._new(old, new)):
                closes = calendars.session_close(self._calendar, old.last)
                yield self._record(identity, old, new, new.first.isoformat(), closes, self._known[newest])

    def _name(self, held: Held | None) -> str:
        return contract_name(self._symbol, held.contract.month) if held is not None else ""

    def _new(self, old: Held | None, new: Held) -> str:
        """A roll's identity; empty where it has been said."""
        identity = f"{self._source}/{self._symbol}/{self._name(old)}/{self._name(new)}"
        if identity in self._said:
            return ""
        self._said.add(identity)
        return identity

    def _record(
        self, identity: str, old: Held | None, new: Held, first: str, event_time: int, available_time: int
    ) -> dict[str, Any]:
        self._begun = min(self._begun or first, first)
        compared, before, after = self._compared(old, new) if old is not None else ("", NONE, NONE)
        return {
            "event_time": event_time,
            "available_time": available_time,
            "source": self._source,
            "roll_id": identity,
            "symbol": self._symbol,
            "from_contract": self._name(old),
            "to_contract": self._name(new),
            "from_con_id": old.contract.con_id if old is not None else 0,
            "to_con_id": new.contract.con_id,
            "first_session": first,
            "compared_session": compared,
            "from_close": before,
            "to_close": after,
        }

    def _compared(self, old: Held, new: Held) -> tuple[str, float, float]:
        """The last session with a close of both in which the old contract was held, and the closes."""
        left, entered = self._name(old), self._name(new)
        low, high = old.first.isoformat(), old.last.isoformat()
        for session in reversed(self._sessions):
            closes = self._closes[session]
            if low <= session <= high and left in closes and entered in closes:
                return session, closes[left], closes[entered]
        return "", NONE, NONE
