"""What every part of the engine shares: the names, the parameters in force, the gates, and the calendar."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from typing import NamedTuple

import numpy as np

from data_plane.gates.schema import FIRST_TIME, LAST_TIME, Fault
from data_plane.gates.state import CONTRACT, GateBook
from data_plane.observations import Ints
from data_plane.outputs import Output, gate_outputs
from triplane.domain import calendars
from triplane.domain.targets.data import DataTargets


class Coverage(NamedTuple):
    """What a source streams of the universe: the names whose five-second bars run, and the market seconds within which each other name
    is quoted once."""

    streamed: frozenset[str]
    round_s: float


class Frame:
    """Names in order (a name's place is its row in every array), parameters, configuration hash, gates, sessions."""

    def __init__(
        self,
        group: str,
        names: Sequence[str],
        targets: DataTargets,
        config_hash: str,
        calendar: str,
        topic: str = "data.bars",
        *,
        measured: bool = True,
    ) -> None:
        self.group = group
        self.measured = measured
        """Whether its bars have a volume: those of midpoints have none."""
        self.topic = topic
        """Where its slices of bars go."""
        self.calendar = calendar
        self.names: tuple[str, ...] = tuple(names)
        self.row: dict[str, int] = {name: row for row, name in enumerate(self.names)}
        self.targets = targets
        self.config_hash = config_hash
        self.gates = GateBook(targets.GATE_REOPEN_SLICES)
        self.coverage: dict[str, Coverage] = {}
        """Sources that cannot stream all names at once; others stream all."""
        self._session: tuple[int, int, str, int] = (0, 0, "", 0)
        self._horizon: tuple[int, int, int, int] = (0, 0, 0, 0)

    def rows(self, symbols: tuple[str, ...]) -> Ints:
        """Rows of names (n,), all of which are known. Most slices have them all, in order."""
        if symbols == self.names:
            return np.arange(len(symbols))
        return np.array([self.row[name] for name in symbols], dtype=np.int64)

    def rename(self, names: Sequence[str]) -> None:
        """Take new names; arrays have to be renumbered by their owners."""
        self.names = tuple(names)
        self.row = {name: row for row, name in enumerate(self.names)}

    def configure(self, targets: DataTargets, config_hash: str) -> None:
        """Take new parameters."""
        self.targets = targets
        self.config_hash = config_hash
        self.gates.reopen = targets.GATE_REOPEN_SLICES

    def verdict(self, gate: str, source: str, scope: str, fault: Fault | None, time: int) -> list[Output]:
        """Tell a gate a bad or (None) a good verdict; a record when its state changed."""
        if not FIRST_TIME <= time <= LAST_TIME:
            # The fault of a time that is none: at that time no record of the gate could follow it.
            time = 0
        if fault is None:
            return gate_outputs(self.gates.good(gate, source, scope, time), self.config_hash)
        return gate_outputs(self.gates.bad(gate, source, scope, fault.code, fault.detail, time), self.config_hash)

    def good_names(self, gate: str, source: str, names: set[str], time: int) -> list[Output]:
        """Tell the closed gates of these names a good verdict."""
        outputs: list[Output] = []
        for scope in self.gates.closed_scopes(gate, source):
            if scope in names:
                outputs += self.verdict(gate, source, scope, None, time)
        return outputs

    def leave(self, names: set[str]) -> list[Output]:
        """Open the gates of names that leave the universe."""
        return gate_outputs(self.gates.leave(names), self.config_hash)

    def vouched(self, gate: str, source: str, scope: str, time: int) -> list[Output]:
        """A person says that what closed a gate was right: it opens."""
        return gate_outputs(self.gates.vouched(gate, source, scope, time), self.config_hash)

    def unjudged(self, gate: str, source: str, names: Collection[str], detail: str) -> list[Output]:
        """Open a gate of names of which no verdict will come from now on."""
        return gate_outputs(self.gates.unjudged(gate, source, names, detail), self.config_hash)

    def compare_only(self, sources: Collection[str]) -> list[Output]:
        """Open the clock gates that nobody judges in this run."""
        return gate_outputs(self.gates.compare_only(sources), self.config_hash)

    def streamed(self, source: str) -> Ints | None:
        """Places of the names whose five-second bars a source streams; None: all."""
        coverage = self.coverage.get(source)
        if coverage is None:
            return None
        return np.array([row for row, name in enumerate(self.names) if name in coverage.streamed], dtype=np.int64)

    def awaited_count(self, source: str, interval: str) -> int:
        """How many names a live slice of a source should carry: those streamed for five-second bars, and no row without a contract,
        which a gate of its own tells."""
        awaited: AbstractSet[str] = self.row.keys()
        if interval == "5s" and source in self.coverage:
            awaited = awaited & self.coverage[source].streamed
        return len(awaited) - sum(scope in awaited for scope in self.gates.closed_scopes(CONTRACT, source))

    def passed(self, time: int) -> float:
        """Which part of its session has passed at `time`; 0 outside sessions."""
        session, _ = self.session_at(time)
        opens, closes, *_ = self._session
        return (time - opens) / (closes - opens) if session else 0.0

    def horizon(self, session: int) -> tuple[int, int]:
        """(first, last) ordinals of the sessions whose closes are a measure for a bar of `session`: BAR_GAP_SESSIONS either way."""
        reach = self.targets.BAR_GAP_SESSIONS
        if self._horizon[:2] != (session, reach):
            days = calendars.table(self.calendar).ordinals
            place = int(days.searchsorted(session, "left"))
            first = int(days[place - reach]) if place >= reach else 0
            last = int(days[place + reach]) if place + reach < len(days) else date.max.toordinal()
            self._horizon = (session, reach, first, last)
        return self._horizon[2:]

    def session_at(self, time: int) -> tuple[str, int]:
        """(session as YYYY-MM-DD, its ordinal) whose [open, close] holds `time`, or ("", 0)."""
        opens, closes, session, ordinal = self._session
        if opens <= time <= closes:
            return session, ordinal
        day = calendars.session_of(self.calendar, time)
        if day is None:
            return "", 0
        opens, closes = calendars.session_open(self.calendar, day), calendars.session_close(self.calendar, day)
        self._session = (opens, closes, day.isoformat(), day.toordinal())
        return self._session[2], self._session[3]

    def hours_at(self, time: int) -> tuple[int, int]:
        """[open, close] of the session that holds `time`, ns UTC, or (0, 0)."""
        return self._session[:2] if self.session_at(time)[0] else (0, 0)
