"""The Data Plane's engine: raw observations in, records for topics out. Pure: time comes in with the data, nothing is read or logged.

    schema gate -> duplicates -> price sanity -> completeness -> freshness -> a slice, and beside it
    one quarantined record for each observation taken out, one GateState for each gate that changed

Everything that comes in is counted where it goes (conservation.py). Sources do not matter here: a new one needs no change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from data_plane.conservation import Ledger
from data_plane.gates import clock, freshness, schema, state
from data_plane.gates.clock import ClockGate, ClockSample
from data_plane.gates.freshness import LastHeard
from data_plane.gates.schema import Fault
from data_plane.gates.state import GateBook
from data_plane.observations import (
    Bars,
    Filing,
    Malformed,
    Observation,
    QuoteTick,
    RealtimeBar,
    TradeTick,
    Vintage,
    units,
)
from data_plane.outputs import QUARANTINE, Output, bad_slice, bar_row, quarantined, raw_json
from data_plane.published import PublishedIndex
from data_plane.reference_data import ReferenceGates, Verdict, fact_id, vintage_id
from data_plane.slices.assembly import STEP, Ready
from data_plane.slices.bars import BarSlices, punctuation
from data_plane.slices.frame import Frame
from data_plane.slices.stream import Stream
from triplane.domain.calendars import MARKET_CALENDAR
from triplane.domain.targets.data import DataTargets
from triplane.domain.timestamps import SECOND

# Why an observation is dropped without quarantine.
NOT_IN_UNIVERSE = "NOT_IN_UNIVERSE"
LATE = "LATE"
CONFLATED = "CONFLATED"
OUTSIDE_SESSION = "OUTSIDE_SESSION"

SOURCE_DOWN = "SOURCE_DOWN"
CONTRACT_UNKNOWN = "CONTRACT_UNKNOWN"


class DataEngine:
    """State machine of the Data Plane for one symbol group.

    `names` are the expected symbols in order, `calendar` the exchange calendar they share. Call `configure` for a new version of
    the configuration; it takes effect at the next slice.
    """

    def __init__(
        self, group: str, names: Sequence[str], targets: DataTargets, config_hash: str, calendar: str = MARKET_CALENDAR
    ) -> None:
        self.ledger = Ledger()
        self.published = PublishedIndex()
        self._frame = Frame(group, names, targets, config_hash, calendar)
        self._slices = BarSlices(self._frame)
        self._streams: dict[str, Stream] = {}
        self._reference = ReferenceGates()
        self._clock = ClockGate({})
        self._garbled: set[str] = set()
        """Sources of which something could not be read since they last said how they are."""

    # -- configuration and state ----------------------------------------------------------------------------------------------
    @property
    def names(self) -> tuple[str, ...]:
        """Symbols that a slice should carry."""
        return self._frame.names

    @property
    def targets(self) -> DataTargets:
        """Parameters in force."""
        return self._frame.targets

    @property
    def gates(self) -> GateBook:
        """State of the gates."""
        return self._frame.gates

    def configure(self, names: Sequence[str], targets: DataTargets, config_hash: str) -> list[Output]:
        """Take a new version. When names change, what was begun under the old ones is published first."""
        outputs: list[Output] = []
        if tuple(names) != self._frame.names:
            outputs = self.flush() + self._frame.leave(set(self._frame.names) - set(names))
            self._renumber(tuple(names))
        self._frame.configure(targets, config_hash)
        return outputs

    def _renumber(self, names: tuple[str, ...]) -> None:
        before = self._frame.row
        pairs = [(row, before[name]) for row, name in enumerate(names) if name in before]
        new, old = [row for row, _ in pairs], [row for _, row in pairs]
        self._frame.rename(names)
        self._slices.renumber(len(names), new, old)
        self._streams = {
            source: stream.renumbered(self._frame, source, new, old) for source, stream in sorted(self._streams.items())
        }

    def remember(self, topic: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Take over what an earlier run put on a topic of the plane, in log order."""
        if topic == "data.gates":
            self.gates.restore(records)
            return
        for record in records:
            self.published.learn(topic, record)
            if topic == "data.bars" and record["interval"] == "5s":
                stream = self._stream(record["source"])
                stream.bars.done = max(stream.bars.done, record["event_time"] - STEP)
                stream.last_bars = max(stream.last_bars, record["event_time"])
            elif topic in ("data.quotes", "data.trades"):
                ticks = self._stream(record["source"]).ticks
                ticks.last = max(ticks.last, record["event_time"])
            if topic == "data.bars" and record["symbols"]:
                self._slices.remember(record)
            elif topic in ("data.facts", "data.macro", QUARANTINE):
                self._reference.remember(topic, record)

    def compare_only(self, sources: Collection[str]) -> list[Output]:
        """Say whose clocks this run compares; what a run in another mode left closed of others is opened."""
        return self._frame.compare_only(sources)

    def pending(self) -> dict[str, int]:
        """Observations that the engine holds back, by source."""
        return {source: stream.pending for source, stream in sorted(self._streams.items())}

    def source_age(self, source: str, now: int) -> float:
        """Market seconds since the source's last bar; 0 when nothing has been expected of it."""
        stream = self._streams.get(source)
        return stream.heard.source_age(now) if stream else 0.0

    def _stream(self, source: str) -> Stream:
        stream = self._streams.get(source)
        if stream is None:
            stream = self._streams[source] = Stream(self._frame, source)
        return stream

    # -- observations ----------------------------------------------------------------------------------------------------------
    def take(self, observation: Observation) -> list[Output]:
        """One observation in, records out. Never raises on data: what cannot be judged is quarantined."""
        self.ledger.received[observation.source] += units(observation)
        if isinstance(observation, RealtimeBar):
            return self._counted(self._realtime(observation))
        if isinstance(observation, QuoteTick | TradeTick):
            return self._counted(self._tick(observation))
        if isinstance(observation, Bars):
            return self._counted(self._bars(observation))
        if isinstance(observation, Filing):
            return self._counted(self._filing(observation))
        if isinstance(observation, Vintage):
            return self._counted(self._vintage(observation))
        return self._counted(self._malformed(observation))

    def _counted(self, outputs: list[Output]) -> list[Output]:
        """Count what leaves, and hold back quarantined records that are on their topic already."""
        if not outputs:
            return outputs
        kept = []
        for output in outputs:
            if output.topic == QUARANTINE:
                if self.published.has_id(QUARANTINE, output.record["quarantine_id"]):
                    self.ledger.deduplicated[output.source] += output.units
                    continue
                self.ledger.quarantined[output.source] += output.units
            else:
                self.ledger.published[output.source] += output.units
            self.published.learn(output.topic, output.record)
            kept.append(output)
        return kept

    def _drop(self, source: str, code: str, count: int = 1) -> list[Output]:
        if count:
            self.ledger.dropped[source, code] += count
        return []

    def _malformed(self, item: Malformed) -> list[Output]:
        self._garbled.add(item.source)
        bad = quarantined(item.source, item.topic, item.symbol, item.code, item.detail, item.raw, item.time, item.time)
        return [bad, *self._frame.verdict(state.SCHEMA, item.source, "", Fault(item.code, item.detail), item.time)]

    def _realtime(self, bar: RealtimeBar) -> list[Output]:
        row = self._frame.row.get(bar.symbol)
        if row is None:
            return self._drop(bar.source, NOT_IN_UNIVERSE)
        fault = schema.realtime_fault(bar)
        if fault is not None:
            time = max(bar.start + STEP, 0)
            raw = bar_row(bar.symbol, "5s", time, bar[3:9], bar.trades)
            bad = quarantined(bar.source, "data.bars", bar.symbol, fault.code, fault.detail, raw, time, time)
            return [bad, *self._frame.verdict(state.SCHEMA, bar.source, "", fault, time)]
        assembler = self._stream(bar.source).bars
        if assembler.is_late(row, bar.start) or assembler.precedes(bar.start):
            return self._drop(bar.source, LATE)
        if assembler.repeats(row, bar.start):
            self.ledger.deduplicated[bar.source] += 1
            return []
        outputs = self._interval(bar.source, assembler.take()) if assembler.supersedes(bar.start) else []
        if assembler.add(row, bar):
            outputs += self._interval(bar.source, assembler.take())
        return outputs

    def _interval(self, source: str, ready: Ready) -> list[Output]:
        """A finished five-second interval. Quotes go first, so that a cut made for these bars has them."""
        frame, end = self._frame, ready.start + STEP
        session, _ = frame.session_at(ready.start)
        if not session:
            return self._drop(source, OUTSIDE_SESSION, len(ready.rows))
        stream = self._stream(source)
        if stream.heard.since == 0:
            self.resume(source, ready.start)
        outputs = self._ticks(source, stream, end, session)
        symbols = frame.names if len(ready.rows) == len(frame.names) else tuple(frame.names[row] for row in ready.rows)
        outputs += self._slices.judge(Bars(source, "5s", session, end, end, symbols, ready.values, ready.trades))
        stream.last_bars = max(stream.last_bars, end)
        stream.heard.heard(ready.rows, end)
        limit = frame.targets.BAR_FRESHNESS_S
        outputs += self._freshness(source, state.FRESHNESS, stream.heard, ready.rows.tolist(), end, limit)
        outputs += frame.verdict(state.FRESHNESS, source, "", None, end)
        return outputs + frame.verdict(state.SCHEMA, source, "", None, end)

    def _freshness(
        self, source: str, gate: str, heard: LastHeard, rows: Sequence[int], now: int, limit_s: float
    ) -> list[Output]:
        """Close the gates of names grown stale, and tell those among `rows` (heard now) that they are fresh."""
        names = self._frame.names
        outputs: list[Output] = []
        stale = heard.stale(now, limit_s)
        if stale.any():
            ages = heard.ages(now)
            for row in np.flatnonzero(stale).tolist():
                if not self.gates.is_open(state.CONTRACT, source, names[row]):
                    continue  # nothing of it can come, for the reason which that gate tells
                fault = Fault(freshness.STALE, f"{names[row]}: {ages[row]:.0f} s old, allowed {limit_s:g} s")
                outputs += self._frame.verdict(gate, source, names[row], fault, now)
        return outputs + self._frame.good_names(gate, source, {names[row] for row in rows if not stale[row]}, now)

    def _bars(self, bars: Bars) -> list[Output]:
        fault = schema.bars_fault(bars)
        if fault is not None:
            return self._bad_slice(bars, fault)
        ends = (bars.event_time, bars.available_time)
        if self.published.has_bars(bars.source, self._frame.group, bars.interval, *ends):
            self.ledger.deduplicated[bars.source] += len(bars.symbols)
            return []
        if not self._frame.row.keys() >= set(bars.symbols):
            known = [place for place, name in enumerate(bars.symbols) if name in self._frame.row]
            self._drop(bars.source, NOT_IN_UNIVERSE, len(bars.symbols) - len(known))
            symbols = tuple(bars.symbols[place] for place in known)
            bars = replace(bars, symbols=symbols, values=bars.values[known], trades=bars.trades[known])
        return self._slices.judge(bars) + self._frame.verdict(state.SCHEMA, bars.source, "", None, bars.available_time)

    def _bad_slice(self, bars: Bars, fault: Fault) -> list[Output]:
        time = max(bars.event_time, 0)
        return bad_slice(bars, fault.code, fault.detail, time) + self._frame.verdict(
            state.SCHEMA, bars.source, "", fault, time
        )

    def _tick(self, tick: QuoteTick | TradeTick) -> list[Output]:
        row = self._frame.row.get(tick.symbol)
        if row is None:
            return self._drop(tick.source, NOT_IN_UNIVERSE)
        quote = isinstance(tick, QuoteTick)
        fault = schema.quote_fault(tick) if isinstance(tick, QuoteTick) else schema.trade_fault(tick)
        if fault is not None:
            time, topic = max(tick.time, 0), "data.quotes" if quote else "data.trades"
            raw = raw_json(tick._asdict())
            return [quarantined(tick.source, topic, tick.symbol, fault.code, fault.detail, raw, time, time)]
        stream = self._stream(tick.source)
        if isinstance(tick, TradeTick):
            stream.ticks.trade(tick)
            return []
        if stream.ticks.quote(row, tick):
            self._drop(tick.source, CONFLATED)
        stream.ticks_heard.heard_one(row, tick.time)
        return []

    def _ticks(self, source: str, stream: Stream, now: int, session: str) -> list[Output]:
        """Quotes and trades, when a slice of them is due."""
        if not stream.ticks.due(now):
            return []
        outputs, updated = stream.ticks.slice(now, session, self._slices.last_closes(session))
        limit = self._frame.targets.QUOTE_FRESHNESS_S
        return outputs + self._freshness(source, state.QUOTE_FRESHNESS, stream.ticks_heard, updated, now, limit)

    def _filing(self, filing: Filing) -> list[Output]:
        if self.published.has_id("data.facts", fact_id(filing)):
            self.ledger.deduplicated[filing.source] += len(filing.facts)
            return []
        frame = self._frame
        verdict = self._reference.filing(filing, frame.targets.FACT_JUMP_MAX, frame.config_hash)
        return self._referenced(filing.source, filing.symbol, filing.available_time, state.FACT_SANITY, verdict)

    def _vintage(self, vintage: Vintage) -> list[Output]:
        if self.published.has_id("data.macro", vintage_id(vintage)):
            self.ledger.deduplicated[vintage.source] += len(vintage.values)
            return []
        frame = self._frame
        targets = frame.targets
        verdict = self._reference.vintage(
            vintage, targets.MACRO_JUMP_MAX, targets.MACRO_REVISION_MAX, frame.config_hash
        )
        return self._referenced(vintage.source, vintage.series, vintage.available_time, state.MACRO_SANITY, verdict)

    def _referenced(self, source: str, scope: str, time: int, gate: str, verdict: Verdict) -> list[Output]:
        self.ledger.deduplicated[source] += verdict.repeated
        self.ledger.released[source] += verdict.released
        bad = [output.record for output in verdict.outputs if output.topic == QUARANTINE]
        worst = Fault(bad[0]["code"], bad[0]["detail"]) if bad else None
        outputs = verdict.outputs + self._frame.verdict(gate, source, scope, worst, time)
        return outputs + self._frame.verdict(state.SCHEMA, source, "", verdict.fault, time)

    # -- time ------------------------------------------------------------------------------------------------------------------
    def resume(self, source: str, now: int) -> None:
        """Listening (re)starts at `now`: after a connect, a resubscription or a leap of the paper gateway's clock."""
        stream = self._stream(source)
        stream.heard.resume(now)
        stream.ticks_heard.resume(now)

    def advance(self, source: str, now: int) -> list[Output]:
        """Market time has come to `now` and everything that the source sent before has been taken.

        Ends an interval that is overdue. In a session in which the source is silent, publishes a punctuation (one for all intervals
        that passed since the last call, the latest) and closes the source's freshness gate once it is too old.
        """
        stream = self._stream(source)
        outputs = self._interval(source, stream.bars.take()) if stream.bars.overdue(now) else []
        session, _ = self._frame.session_at(now - 1)
        if session:
            outputs += self._ticks(source, stream, now // SECOND * SECOND, session)
            if stream.heard.since:
                outputs += self._silence(source, stream, now, session)
        return self._counted(outputs)

    def _silence(self, source: str, stream: Stream, now: int, session: str) -> list[Output]:
        outputs: list[Output] = []
        quiet = max(stream.last_bars, stream.heard.since)
        end = (now - STEP) // STEP * STEP
        if now >= quiet + 2 * STEP and not stream.bars.pending and self._frame.session_at(end - 1)[0] == session:
            stream.last_bars = end
            stream.bars.done = max(stream.bars.done, end - STEP)
            outputs.append(punctuation(self._frame, source, session, end))
        age, limit = stream.heard.source_age(now), self._frame.targets.BAR_FRESHNESS_S
        if age > limit:
            fault = Fault(freshness.SILENT, f"{source}: nothing for {age:.0f} s, allowed {limit:g} s")
            outputs += self._frame.verdict(state.FRESHNESS, source, "", fault, now)
        return outputs

    def compare_clock(self, source: str, sample: ClockSample | str, now: int) -> list[Output]:
        """Judge a comparison of the clock that stamps `source` with its reference, or (a sentence) that there can be none."""
        if isinstance(sample, str):
            fault: Fault | None = Fault(clock.UNKNOWN, sample)
        else:
            fault = self._clock.fault(sample, self._frame.targets.CLOCK_SKEW_MAX_S)
        return self._frame.verdict(state.CLOCK, source, "", fault, now)

    def source_state(self, source: str, up: bool, detail: str, now: int) -> list[Output]:
        """A provider has given up after its retries, or answers again; then, if all could be read, its schema gate opens as well."""
        outputs = self._answered(state.FRESHNESS, source, "", None if up else Fault(SOURCE_DOWN, detail), now)
        if up and source not in self._garbled:
            outputs += self._answered(state.SCHEMA, source, "", None, now)
        self._garbled.discard(source)
        return outputs

    def contract_state(self, source: str, symbol: str, problem: str, now: int) -> list[Output]:
        """A provider does not know a name's contract (one sentence), or (empty) has confirmed it."""
        if symbol not in self._frame.row:
            return []
        return self._answered(
            state.CONTRACT, source, symbol, Fault(CONTRACT_UNKNOWN, problem) if problem else None, now
        )

    def _answered(self, gate: str, source: str, scope: str, fault: Fault | None, now: int) -> list[Output]:
        """One good answer proves it, so no further ones are waited for."""
        outputs = self._frame.verdict(gate, source, scope, fault, now)
        while fault is None and not self.gates.is_open(gate, source, scope):
            outputs += self._frame.verdict(gate, source, scope, None, now)
        return outputs

    def flush(self) -> list[Output]:
        """Everything that is held back goes out, complete or not: at the end of a run and when names change."""
        outputs: list[Output] = []
        for source, stream in sorted(self._streams.items()):
            if stream.bars.pending:
                outputs += self._interval(source, stream.bars.take())
            if stream.ticks.pending:
                now = max(stream.last_bars, int(stream.ticks_heard.latest), stream.ticks.last + 1)
                session, _ = self._frame.session_at(now)
                outputs += stream.ticks.slice(now, session, self._slices.last_closes(session))[0]
        return self._counted(outputs)
