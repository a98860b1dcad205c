"""What earlier bars of a source say about the next one: runs of unchanged bars, usual turnover, and the closes of other sources."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_plane.gates import prices
from data_plane.gates.cross_source import DISAGREE, DailyCloses
from data_plane.gates.frozen import FrozenMemory
from data_plane.gates.prices import Codes
from data_plane.gates.schema import Fault
from data_plane.gates.splits import UsualTurnover
from data_plane.observations import BAR_COLUMNS, CLOSE, Bars, Floats, Ints
from data_plane.slices.frame import Frame

RECALLED = 200
"""Newest ends of slices, of each source and interval, that are read again after a restart: longer runs of flat bars begin anew."""


class EarlierBars:
    """Memories per source, aligned with the names of `frame`. `judge` and then `learn` for each slice."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._frozen: dict[tuple[str, str], FrozenMemory] = {}
        self._older: dict[tuple[str, str], FrozenMemory] = {}
        """Of history that is loaded after newer bars."""
        self._turnover: dict[str, UsualTurnover] = {}
        self._closes = DailyCloses(len(frame.names))
        self._remembered: dict[tuple[str, str], dict[int, list[Mapping[str, Any]]]] = {}
        """Slices by their end: a name that joined has its own beside the others'."""

    def renumber(self, names: int, new: list[int], old: list[int]) -> None:
        """The name at row `old[i]` is now at row `new[i]` of `names`; the frame has its new names already."""
        self._frozen = {key: one.renumbered(names, new, old) for key, one in sorted(self._frozen.items())}
        self._older = {}
        self._turnover = {key: one.renumbered(names, new, old) for key, one in sorted(self._turnover.items())}
        self._closes = self._closes.renumbered(names, new, old)

    def remember(self, record: Mapping[str, Any]) -> None:
        """Note a slice that an earlier run published; the newest ones are read when the first bar comes.

        What a person let out is none of them: nobody has learnt from it when it was.
        """
        if record.get("released"):
            return
        ends = self._remembered.setdefault((record["source"], record["interval"]), {})
        ends.setdefault(record["event_time"], []).append(record)
        if len(ends) > RECALLED:
            del ends[min(ends)]

    def _recall(self) -> None:
        row_of = self._frame.row
        for (source, interval), ends in sorted(self._remembered.items()):
            for record in (record for _, records in sorted(ends.items()) for record in records):
                known = [place for place, name in enumerate(record["symbols"]) if name in row_of]
                rows = np.array([row_of[record["symbols"][place]] for place in known], dtype=np.int64)
                values = np.column_stack([np.asarray(record[column], dtype=np.float64) for column in BAR_COLUMNS])
                session = date.fromisoformat(record["session"]).toordinal()
                self._frozen_bars(source, interval, rows, values[known], record["event_time"], session)
                self._frozen[source, interval].recalled(self._frame.targets.FROZEN_BARS)
                self.learn(source, interval, rows, values[known], session)
        self._remembered = {}

    def _frozen_bars(
        self, source: str, interval: str, rows: Ints, values: Floats, time: int, session: int
    ) -> NDArray[np.bool_]:
        key, names = (source, interval), len(self._frame.names)
        daily, bars_max = interval == "1d", self._frame.targets.FROZEN_BARS
        memory = self._frozen.get(key)
        if memory is None:
            memory = self._frozen[key] = FrozenMemory.empty(names)
        since, _ = self._frame.horizon(session)
        older = memory.time[rows] > time
        if not older.any():
            return memory.judge(rows, values, time, session, daily=daily, bars_max=bars_max, since=since)
        past = self._older.get(key)
        if past is None:
            past = self._older[key] = FrozenMemory.empty(names)
        frozen = np.zeros(len(rows), dtype=np.bool_)
        for one, places in ((past, older), (memory, ~older)):
            if places.any():
                frozen[places] = one.judge(
                    rows[places], values[places], time, session, daily=daily, bars_max=bars_max, since=since
                )
        return frozen

    def quiet(self, bars: Bars, rows: Ints) -> NDArray[np.bool_] | None:
        """Which bars of a daily slice have a turnover that is no news; None for other intervals, of which no day's turnover is known."""
        if bars.interval != "1d":
            return None
        usual = self._turnover.get(bars.source)
        return np.zeros(len(rows), dtype=np.bool_) if usual is None else usual.quiet(rows, bars.values)

    def judge(
        self, bars: Bars, rows: Ints, session: int
    ) -> tuple[Codes | None, dict[int, Fault], dict[str, NDArray[np.bool_]]]:
        """(codes (n,) of bars that are frozen or contradicted, None where all pass; the faults of the gate `cross_source` by place; which
        bars agree with another source's, by each source that they speak for)."""
        if self._remembered:
            self._recall()
        codes: Codes | None = None
        frozen = self._frozen_bars(bars.source, bars.interval, rows, bars.values, bars.event_time, session)
        if frozen.any():
            codes = np.where(frozen, np.int8(prices.FROZEN), np.int8(prices.PASS))
        faults: dict[int, Fault] = {}
        confirmed: dict[str, NDArray[np.bool_]] = {}
        if bars.interval == "1d":
            closes, limit = bars.values[:, CLOSE], self._frame.targets.CROSS_SOURCE_MAX
            apart, confirmed, others = self._closes.compare(bars.source, rows, closes, session, limit)
            if apart.any():
                codes = np.where(apart, np.int8(prices.DISAGREE), np.int8(prices.PASS) if codes is None else codes)
                for place in np.flatnonzero(apart).tolist():
                    said = ", ".join(f"{theirs[place]:g} by {name}" for name, theirs in others)
                    detail = f"{bars.symbols[place]} {bars.session}: close {closes[place]:g} by {bars.source}, {said}, allowed {limit:.2%}"
                    faults[place] = Fault(DISAGREE, detail)
        return codes, faults, confirmed

    def alone(self, bars: Bars, rows: Ints, session: int) -> NDArray[np.bool_]:
        """Which bars (n,) of a daily slice no other source can confirm any more."""
        return self._closes.alone(bars.source, rows, session)

    def learn(self, source: str, interval: str, rows: Ints, values: Floats, session: int) -> None:
        """Take the bars (n, 6) of a slice that passed."""
        if interval != "1d":
            return
        newest = self._closes.learn(source, rows, values[:, CLOSE], session)
        usual = self._turnover.get(source)
        if usual is None:
            usual = self._turnover[source] = UsualTurnover.empty(len(self._frame.names))
        usual.learn(rows[newest], values[newest], session, self._frame.horizon(session)[0])
