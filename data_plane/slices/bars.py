"""A cross-section of bars through price sanity, the other sources' closes and completeness, and its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from typing import Any

import numpy as np

from data_plane.gates import completeness, prices, state
from data_plane.gates.prices import Adjusted, PriceMemory
from data_plane.gates.schema import Fault
from data_plane.gates.size_units import VolumeMemory, volume_by_now
from data_plane.observations import VOLUME, Bars, Floats, Ints
from data_plane.outputs import Output, bar_columns, bar_row, quarantined
from data_plane.quarantined import interval_of
from data_plane.slices.actions import ActionMemory
from data_plane.slices.earlier import EarlierBars
from data_plane.slices.frame import Frame


class BarSlices:
    """Price memory per interval; what passes becomes a BarSlice, what does not a quarantined record a name."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._memories: dict[str, PriceMemory] = {}
        self._older: dict[str, PriceMemory] = {}
        """Of history that is loaded after newer bars: judged by itself, and no reference for what comes."""
        self._off: dict[tuple[str, str], set[int]] = {}
        """Sessions (ordinals) of bars that earlier runs took out for their level, by interval and name, until they are settled."""
        self._earlier = EarlierBars(frame)
        self.actions = ActionMemory()
        self._volumes = VolumeMemory.empty(len(frame.names))

    def memory(self, interval: str) -> PriceMemory:
        """Last good closes of one interval, aligned with the names."""
        memory = self._memories.get(interval)
        if memory is None:
            memory = self._memories[interval] = PriceMemory.empty(len(self._frame.names))
        return memory

    def last_closes(self, session: str) -> Floats:
        """Last good intraday close of each name, its daily one where there is none, else NaN; as of `session` (YYYY-MM-DD or empty)."""
        intraday, daily = self.memory("5s").close, self._daily_closes(session)
        if session:
            day = date.fromisoformat(session).toordinal()
            first, last = self._frame.horizon(day)
            near = self.memory("5s").session
            intraday = self._adjusted("5s", np.where((near >= first) & (near <= last), intraday, np.nan), day)
            daily = self._adjusted("1d", daily, day)
        return np.where(np.isnan(intraday), daily, intraday)

    def last_daily_close(self, symbol: str) -> tuple[float, int]:
        """(last good daily close, ordinal of its session) of a name; NaN and 0 where there is none."""
        daily, row = self.memory("1d"), self._frame.row[symbol]
        return float(daily.close[row]), int(daily.session[row])

    def _daily_closes(self, session: str) -> Floats:
        """Last good daily closes; NaN where the last is far from `session`: while a name's history is being loaded it is years off."""
        daily = self.memory("1d")
        if not session:
            return daily.close
        first, last = self._frame.horizon(date.fromisoformat(session).toordinal())
        return np.where((daily.session >= first) & (daily.session <= last), daily.close, np.nan)

    def _adjusted(self, interval: str, closes: Floats, day: int) -> Floats:
        return self.actions.adjusted(closes, self.memory(interval).session, day, self._frame.row)

    def _actions_between(self, interval: str, rows: Ints, fallback: Floats, day: int) -> Adjusted | None:
        """What actions make of the closes that a bar of the session `day` is compared with; None where none lies between.

        `fallback` (names,) are daily closes, NaN where there is nothing to fall back on.
        """
        memory, daily = self.memory(interval), self.memory("1d")
        known, otherwise = self._adjusted(interval, memory.close, day), self._adjusted("1d", fallback, day)
        if known is memory.close and otherwise is fallback:
            return None
        return Adjusted(known[rows], otherwise[rows], memory.history[rows], daily.history[rows])

    def volume_by_now(self, session: str, now: int) -> Floats:
        """Usual volume of each name in a session until `now`, as the last daily bars have it; NaN where it cannot be told (yet)."""
        if not session:
            return volume_by_now(self._volumes.usual(), 0.0)
        day = date.fromisoformat(session).toordinal()
        shares = self.actions.shares(self._volumes.sessions, day, self._frame.row)
        usual = self._volumes.usual() if shares is None else self._volumes.usual_in(shares, self.memory("1d").history)
        return volume_by_now(usual, self._frame.passed(now))

    def renumber(self, names: int, new: list[int], old: list[int]) -> None:
        """The name at row `old[i]` is now at row `new[i]` of `names`."""
        for interval, before in sorted(self._memories.items()):
            after = PriceMemory.empty(names)
            for column in fields(PriceMemory):
                getattr(after, column.name)[new] = getattr(before, column.name)[old]
            self._memories[interval] = after
        self._older = {}
        self._earlier.renumber(names, new, old)
        self._volumes = self._volumes.renumbered(names, new, old)

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
        end = record["event_time"]
        if record.get("released"):
            pairs = [(row, close) for row, close in pairs if end >= memory.time[row]]
        rows = [row for row, _ in pairs]
        memory.close[rows] = [close for _, close in pairs]
        memory.session[rows] = session
        memory.heard[rows] = np.maximum(memory.heard[rows], session)
        memory.time[rows] = end
        if record.get("released"):  # as `vouch` does
            return
        memory.history[rows] = record["history"]
        self._earlier.remember(record)
        if record["interval"] == "1d":
            volume = dict(zip(record["symbols"], record["volume"], strict=True))
            known = [volume[self._frame.names[row]] for row in rows]
            self._volumes.learn(np.array(rows, dtype=np.int64), np.array(known, dtype=np.float64), session)

    def taken_out(self, record: Mapping[str, Any]) -> None:
        """Note a quarantined bar of an earlier run: one off the level of the last close says that the name was heard of then."""
        if record["topic"] != self._frame.topic or record["code"] not in prices.LEVEL_CODES:
            return
        _, session = self._frame.session_at(record["event_time"] - 1)
        if session and (interval := interval_of(record)):
            self._off.setdefault((interval, record["symbol"]), set()).add(session)

    def _settle(self) -> None:
        """Age the closes by what was taken out after them, as `judge` did then."""
        for (interval, name), sessions in sorted(self._off.items()):
            if (row := self._frame.row.get(name)) is None:
                continue
            memory = self.memory(interval)
            for session in sorted(sessions):
                heard = int(memory.heard[row])
                if heard and heard < self._frame.horizon(session)[0]:
                    memory.start_anew(np.array([row]))
                elif 0 < heard < session:
                    memory.heard[row] = session
        self._off = {}

    def vouch(self, name: str, interval: str, session: str, event_time: int, close: float) -> None:
        """A person says that a bar is right: its close is the reference for what follows, unless a later bar has passed."""
        memory, row = self.memory(interval), self._frame.row[name]
        if event_time < memory.time[row]:
            return
        memory.close[row], memory.session[row] = close, date.fromisoformat(session).toordinal()
        first, _ = self._frame.horizon(int(memory.heard[row]))
        memory.heard[row] = max(memory.session[row], memory.heard[row] if memory.session[row] >= first else 0)
        memory.time[row] = event_time
        memory.candidate[row], memory.agreed[row] = np.nan, 0

    def is_reference(self, name: str, interval: str, event_time: int) -> bool:
        """Whether the next bar of a name is compared with the one that ended at `event_time` (ns UTC)."""
        row = self._frame.row.get(name)
        return row is not None and int(self.memory(interval).time[row]) == event_time

    def forget(self, name: str, interval: str, close: float) -> None:
        """A person has decided on a bar that was taken out: the next one that agrees with it does not confirm it."""
        memory, row = self.memory(interval), self._frame.row.get(name)
        if row is not None and memory.candidate[row] == close:
            memory.candidate[row], memory.agreed[row] = np.nan, 0

    def judge(self, bars: Bars) -> list[Output]:
        """Judge a slice whose schema is good and whose names are all known; one record of them comes last but for gates."""
        frame, targets = self._frame, self._frame.targets
        source, time = bars.source, bars.available_time
        rows = frame.rows(bars.symbols)
        daily = bars.interval == "1d"
        day = date.fromisoformat(bars.session).toordinal()
        if self._off:
            self._settle()
        others, contradicted, confirmed = self._earlier.judge(bars, rows, day)
        fallback = np.full(len(frame.names), np.nan) if daily else self._daily_closes(bars.session)
        memory = self.memory(bars.interval)
        older = rows[memory.session[rows] > day]
        if len(older):
            past = self._older.setdefault(bars.interval, PriceMemory.empty(len(frame.names)))
            memory.exchange(past, older)
        first, _ = frame.horizon(day)
        if (gone := memory.heard[rows] < first).any():
            memory.start_anew(rows[gone])
        codes = prices.judge_with_memory(
            memory,
            rows,
            bars.values if frame.measured else _judged(bars),
            day,
            within=targets.DAILY_JUMP_MAX if daily else targets.BAR_JUMP_MAX,
            across=targets.DAILY_JUMP_MAX,
            fallback=fallback[rows],
            confirm=targets.GATE_REOPEN_SLICES,
            trades=bars.trades,
            quiet=self._earlier.quiet(bars, rows),
            adjusted=self._actions_between(bars.interval, rows, fallback, day),
            others=others,
            history=bars.history,
        )
        good = codes == prices.PASS
        memory.time[rows[good]] = bars.event_time
        if len(older):
            memory.exchange(past, older)
        if daily:
            self._volumes.learn(rows[good], bars.values[good, VOLUME], day)
        outputs: list[Output] = []
        symbols, values, trades = list(bars.symbols), bars.values, bars.trades
        if not good.all():
            for place in np.flatnonzero(~good).tolist():
                outputs += self._take_out(bars, place, int(codes[place]), contradicted)
            symbols = [symbols[place] for place in np.flatnonzero(good).tolist()]
            values, trades, rows = values[good], trades[good], rows[good]
        self._earlier.learn(source, bars.interval, rows, values, day)
        for agreeing, places in confirmed.items():
            names = {bars.symbols[place] for place in np.flatnonzero(good & places).tolist()}
            outputs += frame.good_names(state.CROSS_SOURCE, agreeing, names, time)
        if daily and frame.gates.closed_scopes(state.CROSS_SOURCE, source):
            alone = self._earlier.alone(bars, rows, day)
            names = {symbols[place] for place in np.flatnonzero(alone).tolist()}
            outputs += frame.unjudged(state.CROSS_SOURCE, source, names, "no other source tells of the name any more")
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
        outputs.append(Output(frame.topic, record, source, len(symbols)))
        # One-minute bars fill what went by unheard, often hours ago: they say nothing of the names that are heard now.
        if not bars.history and bars.interval != "1m":
            awaited = frame.awaited_count(source, bars.interval)
            fault = completeness.fault(len(symbols), awaited, targets.COMPLETENESS_MIN)
            outputs += frame.verdict(state.COMPLETENESS, source, frame.group, fault, time)
        return outputs

    def _take_out(self, bars: Bars, place: int, code: int, contradicted: Mapping[int, Fault]) -> list[Output]:
        name, row = bars.symbols[place], bars.values[place].tolist()
        trades, gate = int(bars.trades[place]), state.PRICE_SANITY
        detail = f"{name} {bars.interval} bar: open {row[0]:g}, high {row[1]:g}, low {row[2]:g}, close {row[3]:g}, volume {row[4]:g}"
        if code in (prices.NO_TRADES, prices.NO_VOLUME):
            detail += f", trades {trades}"
        fault = Fault(prices.CODES[code], detail)
        if code == prices.DISAGREE:
            gate, fault = state.CROSS_SOURCE, contradicted[place]
        raw = bar_row(name, bars.interval, bars.event_time, row, trades)
        bad = quarantined(bars.source, self._frame.topic, name, *fault, raw, bars.event_time, bars.available_time)
        bad.record["adjusted_until"] = bars.asked
        return [bad, *self._frame.verdict(gate, bars.source, name, fault, bars.available_time)]


def _judged(bars: Bars) -> Floats:
    """Values for price sanity of bars of midpoints: where one has neither volume nor trades nothing is wrong with its volume."""
    unmeasured = np.isnan(bars.values[:, VOLUME]) & (bars.trades < 0)
    if not unmeasured.any():
        return bars.values
    values = bars.values.copy()
    values[unmeasured, VOLUME] = 0.0
    return values


def punctuation(
    frame: Frame, source: str, session: str, end: int, *, known: int = 0, missing: Sequence[str] = ()
) -> Output:
    """The record that says that a source was silent in the interval that ended at `end`, which was known at `known` (0: then).

    Of one between others, which is lost, it names all as missing.
    """
    record = {
        "event_time": end,
        "available_time": known or end,
        "group": frame.group,
        "source": source,
        "interval": "5s",
        "session": session,
        "config_hash": frame.config_hash,
    }
    if missing:
        record["missing"] = list(missing)
    return Output("data.bars", record, source, 0)
