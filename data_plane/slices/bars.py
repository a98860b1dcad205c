"""A cross-section of bars through price sanity and completeness, and its record on data.bars."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np

from data_plane.gates import completeness, prices, state
from data_plane.gates.prices import PriceMemory
from data_plane.gates.schema import Fault
from data_plane.observations import Bars, Floats
from data_plane.outputs import Output, bar_columns, bar_row, quarantined
from data_plane.slices.frame import Frame

REFERENCE_DAYS = 10
"""Calendar days after which a daily close says nothing of today's prices; no holidays are longer."""


class BarSlices:
    """Price memory per interval; what passes becomes a BarSlice, what does not a quarantined record a name."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._memories: dict[str, PriceMemory] = {}

    def memory(self, interval: str) -> PriceMemory:
        """Last good closes of one interval, aligned with the names."""
        memory = self._memories.get(interval)
        if memory is None:
            memory = self._memories[interval] = PriceMemory.empty(len(self._frame.names))
        return memory

    def last_closes(self, session: str) -> Floats:
        """Last good intraday close of each name, its daily one where there is none, else NaN."""
        intraday = self.memory("5s").close
        return np.where(np.isnan(intraday), self._daily_closes(session), intraday)

    def _daily_closes(self, session: str) -> Floats:
        """Last good daily closes; NaN where the last is old: of a name whose history is being loaded it is years old at first."""
        daily = self.memory("1d")
        if not session:
            return daily.close
        age = date.fromisoformat(session).toordinal() - daily.session
        return np.where(age <= REFERENCE_DAYS, daily.close, np.nan)

    def renumber(self, names: int, new: list[int], old: list[int]) -> None:
        """The name at row `old[i]` is now at row `new[i]` of `names`."""
        for interval, before in sorted(self._memories.items()):
            after = PriceMemory.empty(names)
            for column in ("close", "session", "candidate", "agreed"):
                getattr(after, column)[new] = getattr(before, column)[old]
            self._memories[interval] = after

    def remember(self, record: Mapping[str, Any]) -> None:
        """Take over the closes of a slice that an earlier run published, but for names of which a later session is known.

        Older history may have been loaded after newer.
        """
        row_of, session = self._frame.row, date.fromisoformat(record["session"]).toordinal()
        memory = self.memory(record["interval"])
        pairs = [
            (row_of[name], close)
            for name, close in zip(record["symbols"], record["close"], strict=True)
            if name in row_of and memory.session[row_of[name]] <= session
        ]
        rows = [row for row, _ in pairs]
        memory.close[rows] = [close for _, close in pairs]
        memory.session[rows] = session

    def judge(self, bars: Bars) -> list[Output]:
        """Judge a slice whose schema is good and whose names are all known; one data.bars record comes last but for gates."""
        frame, targets = self._frame, self._frame.targets
        source, time = bars.source, bars.available_time
        rows = np.array([frame.row[name] for name in bars.symbols], dtype=np.int64)
        daily = bars.interval == "1d"
        codes = prices.judge_with_memory(
            self.memory(bars.interval),
            rows,
            bars.values,
            date.fromisoformat(bars.session).toordinal(),
            within=targets.DAILY_JUMP_MAX if daily else targets.BAR_JUMP_MAX,
            across=targets.DAILY_JUMP_MAX,
            fallback=np.full(len(rows), np.nan) if daily else self._daily_closes(bars.session)[rows],
            confirm=targets.GATE_REOPEN_SLICES,
        )
        good = codes == prices.PASS
        outputs: list[Output] = []
        symbols, values, trades = list(bars.symbols), bars.values, bars.trades
        if not good.all():
            for place in np.flatnonzero(~good).tolist():
                outputs += self._take_out(bars, place, prices.CODES[codes[place]])
            symbols = [symbols[place] for place in np.flatnonzero(good).tolist()]
            values, trades = values[good], trades[good]
        present, expected = set(symbols), bars.symbols if bars.of_joined else frame.names
        outputs += frame.good_names(state.PRICE_SANITY, source, present, time)
        record = {
            "event_time": bars.event_time,
            "available_time": time,
            "group": frame.group,
            "source": source,
            "interval": bars.interval,
            "session": bars.session,
            "history": bars.history,
            "symbols": symbols,
            **bar_columns(values, trades),
            "missing": [] if len(symbols) == len(expected) else [name for name in expected if name not in present],
            "config_hash": frame.config_hash,
        }
        outputs.append(Output("data.bars", record, source, len(symbols)))
        # One-minute bars fill what went by unheard, often hours ago: they say nothing of the names that are heard now.
        if not bars.history and bars.interval != "1m":
            # A row without a contract is told by a gate of its own, and is no silence of the market's.
            expected_count = len(frame.names) - len(frame.gates.closed_scopes(state.CONTRACT, source))
            fault = completeness.fault(len(symbols), expected_count, targets.COMPLETENESS_MIN)
            outputs += frame.verdict(state.COMPLETENESS, source, frame.group, fault, time)
        return outputs

    def _take_out(self, bars: Bars, place: int, code: str) -> list[Output]:
        name, row = bars.symbols[place], bars.values[place].tolist()
        detail = f"{name} {bars.interval} bar: open {row[0]:g}, high {row[1]:g}, low {row[2]:g}, close {row[3]:g}, volume {row[4]:g}"
        raw = bar_row(name, bars.interval, bars.event_time, row, int(bars.trades[place]))
        bad = quarantined(bars.source, "data.bars", name, code, detail, raw, bars.event_time, bars.available_time)
        return [
            bad,
            *self._frame.verdict(state.PRICE_SANITY, bars.source, name, Fault(code, detail), bars.available_time),
        ]


def punctuation(frame: Frame, source: str, session: str, end: int) -> Output:
    """The record that says that a source was silent in the interval that ended at `end`."""
    record = {
        "event_time": end,
        "available_time": end,
        "group": frame.group,
        "source": source,
        "interval": "5s",
        "session": session,
        "config_hash": frame.config_hash,
    }
    return Output("data.bars", record, source, 0)
