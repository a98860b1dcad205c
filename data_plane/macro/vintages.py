"""The point-in-time store of macro series: every value with the time from which it was known, and the series as known at any time.

A value of an observation (a quarter, a day) is known from its release until the next value of the same observation replaces it, or
until the provider takes it away without another (`realtime_end` in the past). Three states are distinct:

    a number     what the provider says
    NaN          the provider lists the observation and says that it has no value (FRED prints a dot)
    absent       the provider does not list the observation, or does no longer

What comes first decides nothing: rows may be taken in any order, twice, and split as the provider's pages split them.
Source of the dates: https://fred.stlouisfed.org/docs/api/fred/realtime_period.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_plane.observations import Floats, Ints, Vintage
from data_plane.point_in_time import release_available
from triplane.domain.timestamps import midnight

FOREVER = np.iinfo(np.int64).max
OPEN_END = date.max
"""FRED's 9999-12-31: the value is still the one."""


class VintageConflict(ValueError):
    """Two different values for one observation on one release date."""


class Row(NamedTuple):
    """One value of one observation and the real-time period in which it was the provider's.

    `observation` is midnight UTC of the observation's date, ns. `realtime_start` and `realtime_end` are both inclusive. The value can be
    used from `known_from` and, where the provider took it away, no longer from `known_until` (both ns UTC).
    """

    observation: int
    value: float
    realtime_start: date
    realtime_end: date
    known_from: int
    known_until: int


def row(observation: date, value: float, realtime_start: date, realtime_end: date = OPEN_END) -> Row:
    """A row as FRED gives it: usable from the session after its release, as `release_available` reads release dates.

    Raises ValueError when the real-time period ends before it starts.
    """
    if realtime_end < realtime_start:
        raise ValueError(
            f"observation {observation}: realtime_end {realtime_end} lies before realtime_start {realtime_start}; correct the row"
        )
    until = FOREVER if realtime_end == OPEN_END else release_available(realtime_end + timedelta(days=1))
    return Row(midnight(observation), value, realtime_start, realtime_end, release_available(realtime_start), until)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A series as known at one time; n observations, ascending."""

    observations: Ints
    """(n,) midnight UTC of the observation dates, ns."""
    values: Floats
    """(n,) in the series' unit; NaN where the provider says that there is none."""
    realtime_start: Ints
    """(n,) release date of each value as a proleptic ordinal (`date.toordinal`)."""
    pseudo: NDArray[np.bool_]
    """(n,) whether the value is history that was loaded when the series was first kept, or later in bulk: nobody can tell from it what
    was known before, since it may have been revised already."""

    def __len__(self) -> int:
        return len(self.observations)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """All rows in order of (observation, known_from, realtime_start); `first` are the places at which an observation's rows begin."""

    observations: Ints
    values: Floats
    starts: Ints
    ends: Ints
    known_from: Ints
    known_until: Ints
    pseudo: NDArray[np.bool_]
    first: Ints


class SeriesVintages:
    """Every value that one series ever had."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, date], Row] = {}
        self._table: _Table | None = None

    def __len__(self) -> int:
        """Rows held: one a value of an observation."""
        return len(self._rows)

    def take(self, vintage: Vintage) -> None:
        """Take what became known on one date. Raises VintageConflict as `take_rows` does, ValueError when realtime_start is no date.

        A vintage names what is new or changed; what it does not name stays as it was.
        """
        start = date.fromisoformat(vintage.realtime_start)
        self.take_rows(
            Row(observation, value, start, OPEN_END, vintage.available_time, FOREVER)
            for observation, value in vintage.values
        )

    def take_rows(self, rows: Iterable[Row]) -> None:
        """Take rows in any order. The same row again changes nothing, except that an end that was open may close.

        Raises VintageConflict when another value is known for the same observation and release date; the rows before it are kept.
        """
        for new in rows:
            key = (new.observation, new.realtime_start)
            old = self._rows.get(key)
            if old is not None:
                if not _same(old.value, new.value):
                    day = datetime.fromtimestamp(new.observation / 1e9, UTC).date()
                    raise VintageConflict(
                        f"observation {day} has two values of {new.realtime_start}, {old.value:g} and {new.value:g}; "
                        "one release date has one value, so drop one of the sources"
                    )
                if old.realtime_end <= new.realtime_end:
                    continue
            self._rows[key] = new
            self._table = None

    def vintage_dates(self) -> tuple[date, ...]:
        """Release dates, ascending."""
        return tuple(sorted({start for _, start in self._rows}))

    def as_of(self, time: int) -> Snapshot:
        """The series as it could be used at a time (ns UTC): release dates count from the session after them."""
        table = self._compiled()
        return _select(table, table.known_from <= time, table.known_until > time)

    def on(self, day: date) -> Snapshot:
        """The series as the provider shows it for a real-time date, without the wait for the next session."""
        table, ordinal = self._compiled(), day.toordinal()
        return _select(table, table.starts <= ordinal, table.ends >= ordinal)

    def first_prints(self) -> Snapshot:
        """The first value of each observation, leaving out history that was loaded in bulk."""
        table = self._compiled()
        keep = table.first[~table.pseudo[table.first]]
        return _at(table, keep)

    def revisions(self, observation: int) -> tuple[tuple[date, float], ...]:
        """(release date, value) of one observation (ns UTC), oldest first; empty when there is none."""
        found = ((row.realtime_start, row.value) for row in self._rows.values() if row.observation == observation)
        return tuple(sorted(found, key=lambda pair: pair[0]))

    def _compiled(self) -> _Table:
        if self._table is None:
            self._table = _compile(list(self._rows.values()))
        return self._table


class VintageStore:
    """The vintages of many series."""

    def __init__(self) -> None:
        self._series: dict[str, SeriesVintages] = {}

    def take(self, vintage: Vintage) -> None:
        """Take a vintage of its series. Raises as `SeriesVintages.take` does."""
        self.series(vintage.series).take(vintage)

    def series(self, name: str) -> SeriesVintages:
        """The vintages of a series, empty when nothing was taken yet."""
        return self._series.setdefault(name, SeriesVintages())

    def names(self) -> tuple[str, ...]:
        """Series that something was taken of, sorted."""
        return tuple(sorted(name for name, series in self._series.items() if len(series)))

    def as_of(self, name: str, time: int) -> Snapshot:
        """A series as it could be used at a time (ns UTC)."""
        return self.series(name).as_of(time)


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _compile(rows: list[Row]) -> _Table:
    rows.sort(key=lambda row: (row.observation, row.known_from, row.realtime_start))
    observations = np.array([row.observation for row in rows], dtype=np.int64)
    starts = np.array([row.realtime_start.toordinal() for row in rows], dtype=np.int64)
    first = np.flatnonzero(np.diff(observations, prepend=observations[:1] - 1)) if rows else np.zeros(0, np.int64)
    pseudo = np.zeros(len(rows), dtype=np.bool_)
    pseudo[first] = _pseudo(observations[first], starts[first])
    return _Table(
        observations,
        np.array([row.value for row in rows], dtype=np.float64),
        starts,
        np.array([row.realtime_end.toordinal() for row in rows], dtype=np.int64),
        np.array([row.known_from for row in rows], dtype=np.int64),
        np.array([row.known_until for row in rows], dtype=np.int64),
        pseudo,
        first,
    )


def _pseudo(observations: Ints, starts: Ints) -> NDArray[np.bool_]:
    """(n,) for the first row of each observation, ascending: whether it came in bulk.

    The first vintage's newest observation may have been news, all older ones were not. Later, an observation older than every one
    known until then is history that the provider added; a gap that is filled is not.
    """
    found = np.zeros(len(observations), dtype=np.bool_)
    if not len(observations):
        return found
    earliest = starts == starts.min()
    found[earliest] = True
    found[np.flatnonzero(earliest)[-1]] = False
    # Oldest observation known before each release date.
    order = np.argsort(starts, kind="stable")
    oldest = np.minimum.accumulate(observations[order])
    before = np.searchsorted(starts[order], starts, side="left") - 1
    known = before >= 0
    found[known] |= observations[known] < oldest[before[known]]
    return found


def _select(table: _Table, started: NDArray[np.bool_], not_ended: NDArray[np.bool_]) -> Snapshot:
    """The last started row of each observation, unless it has ended."""
    if not len(table.first):
        return _at(table, table.first)
    # Rows of an observation are in order of their start: the last of those that have started is the count of them.
    last = table.first + np.add.reduceat(started.astype(np.int64), table.first) - 1
    last = last[last >= table.first]
    return _at(table, last[not_ended[last]])


def _at(table: _Table, places: Ints) -> Snapshot:
    return Snapshot(table.observations[places], table.values[places], table.starts[places], table.pseudo[places])
