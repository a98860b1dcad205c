"""Rolls of a future's chain, found as the closes of its contracts come: one FuturesRoll each, and one where the series begins.

A roll is said once the last session is over in which the old contract is held, by the last session up to then that has a close of both.
All of it follows from the slices and the schedule, so a run that is killed in between says the same roll later; one that another rule brings is
known from the newest slice on.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any, Final, NamedTuple

from data_plane.futures import Held, contract_name
from triplane.domain import calendars

NONE: Final = float("nan")
PATIENCE: Final = 10
"""Sessions with a close of the new contract, after that of its schedule, in which a roll waits for one with a close of both."""


class Roll(NamedTuple):
    """The first session of the new contract, when it was true (ns UTC), and the session whose closes are compared; empty for none."""

    first: str
    time: int
    compared: str = ""


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
        identity = self._identity(None, begins, first)
        is_older = not self._begun or first < self._begun
        if is_older and begins.first.isoformat() <= first and identity not in self._said:
            opens = calendars.session_open(self._calendar, date.fromisoformat(first))
            yield self._record(identity, None, begins, Roll(first, opens))
        for old, new in pairwise(held):
            identity = self._identity(old, new)
            past = first <= old.last.isoformat() <= newest and identity not in self._said
            if past and (roll := self._roll(old, new)) is not None:
                yield self._record(identity, old, new, roll)

    def _roll(self, old: Held, new: Held) -> Roll | None:
        """Where a roll takes place that its schedule has in the past: at the last session up to then with a close of both contracts in
        which the old one was held; else, as where another rule came into force, at the first one since. None while that is to come,
        PATIENCE sessions at most."""
        left, entered = self._name(old), self._name(new)
        begin, last = old.first.isoformat(), old.last.isoformat()
        both = [each for each in self._sessions if left in self._closes[each] and entered in self._closes[each]]
        until = [each for each in both if begin <= each <= last]
        since = [each for each in both if each > last]
        closes = calendars.session_close(self._calendar, old.last)
        if until:
            return Roll(new.first.isoformat(), closes, until[-1])
        if since:
            day = date.fromisoformat(since[0])
            following = calendars.next_session(self._calendar, day).isoformat()
            return Roll(following, calendars.session_close(self._calendar, day), since[0])
        if sum(each > last and entered in self._closes[each] for each in self._sessions) < PATIENCE:
            return None
        return Roll(new.first.isoformat(), closes)

    def _identity(self, old: Held | None, new: Held, first: str = "") -> str:
        """Of a roll the contracts; of the beginning of a series, which older history moves, its first session as well."""
        return "/".join([self._source, self._symbol, self._name(old), self._name(new), *([first] if first else [])])

    def _name(self, held: Held | None) -> str:
        return contract_name(self._symbol, held.contract.month) if held is not None else ""

    def _record(self, identity: str, old: Held | None, new: Held, roll: Roll) -> dict[str, Any]:
        self._said.add(identity)
        self._begun = min(self._begun or roll.first, roll.first)
        closes = self._closes.get(roll.compared, {})
        return {
            "event_time": roll.time,
            "available_time": self._known[self._sessions[0 if old is None else -1]],
            "source": self._source,
            "roll_id": identity,
            "symbol": self._symbol,
            "from_contract": self._name(old),
            "to_contract": self._name(new),
            "from_con_id": old.contract.con_id if old is not None else 0,
            "to_con_id": new.contract.con_id,
            "first_session": roll.first,
            "compared_session": roll.compared,
            "from_close": closes.get(self._name(old), NONE),
            "to_close": closes.get(self._name(new), NONE),
        }
