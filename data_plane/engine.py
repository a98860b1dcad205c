"""The Data Plane's engine: raw observations in, records for topics out. Pure: time comes in with the data, nothing is read or logged.

    schema gate -> duplicates -> price sanity, other sources -> completeness -> freshness -> a slice, and beside it
    one quarantined record for each observation taken out, one GateState for each gate that changed

Everything that comes in is counted where it goes (conservation.py). Sources do not matter here: a new one needs no change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from data_plane.conservation import NOT_IN_UNIVERSE, Ledger
from data_plane.fundamentals import publication
from data_plane.fundamentals.publication import FundamentalsAfterFilings
from data_plane.gates import clock, fact_completeness, schema, state
from data_plane.gates.clock import ClockGate, ClockSample
from data_plane.gates.schema import Fault
from data_plane.gates.state import GateBook
from data_plane.observations import (
    Bars,
    Chain,
    CorporateAction,
    Filing,
    Frames,
    Malformed,
    Observation,
    QuoteTick,
    RealtimeBar,
    TradeTick,
    Vintage,
    units,
)
from data_plane.outputs import DECISIONS, QUARANTINE, Output, bad_slice, quarantined
from data_plane.published import WATCHED, PublishedIndex
from data_plane.reference_data import ReferenceGates, Verdict, contradiction, fact_id, fact_mark, vintage_id
from data_plane.release import Releases
from data_plane.slices.actions import action_record, bad_action
from data_plane.slices.bars import BarSlices
from data_plane.slices.frame import Frame
from data_plane.slices.live import LiveData
from data_plane.slices.watched import Kind, WatchedSlices
from triplane.domain.calendars import MARKET_CALENDAR
from triplane.domain.targets.data import DataTargets

SOURCE_DOWN = "SOURCE_DOWN"
CONTRACT_UNKNOWN = "CONTRACT_UNKNOWN"


class DataEngine:
    """State machine of the Data Plane for one symbol group.

    `names` are the expected symbols in order, `calendar` the exchange calendar they share. Without `fundamentals` none are made, for who
    hands in filings in pieces. Call `configure` for a new version of the configuration; it takes effect at the next slice.
    """

    def __init__(
        self,
        group: str,
        names: Sequence[str],
        targets: DataTargets,
        config_hash: str,
        calendar: str = MARKET_CALENDAR,
        *,
        fundamentals: bool = True,
    ) -> None:
        self.ledger = Ledger()
        self.published = PublishedIndex()
        self._frame = Frame(group, names, targets, config_hash, calendar)
        self._slices = BarSlices(self._frame)
        self._live = LiveData(self._frame, self._slices, self.ledger)
        self._reference = ReferenceGates()
        self._fundamentals = FundamentalsAfterFilings(self.published.facts) if fundamentals else None
        self._watched = WatchedSlices()
        self.releases = Releases(self._frame, self._slices, self._watched, self._reference, self.published, self.ledger)
        """Decisions of people on what is in quarantine."""
        self._clock = ClockGate({})
        self._garbled: set[str] = set()
        """Sources of which something could not be read since they last said how they are."""

    # -- configuration and state ----------------------------------------------------------------------------------------------
    @property
    def names(self) -> tuple[str, ...]:
        """Symbols that a slice should carry."""
        return self._frame.names

    @property
    def calendars(self) -> set[str]:
        """Every exchange calendar that is asked."""
        return {self._frame.calendar, *self._watched.calendars}

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
            outputs = self._counted(self._live.flush()) + self._frame.leave(set(self._frame.names) - set(names))
            self._renumber(tuple(names))
        self._frame.configure(targets, config_hash)
        return outputs

    def watch(self, assets: Mapping[str, Kind]) -> None:
        """Which assets are not traded but loaded; call it after each `configure`, and before `remember`."""
        self._watched.watch(assets, self._frame.targets, self._frame.config_hash)

    def _renumber(self, names: tuple[str, ...]) -> None:
        before = self._frame.row
        pairs = [(row, before[name]) for row, name in enumerate(names) if name in before]
        new, old = [row for row, _ in pairs], [row for _, row in pairs]
        self._frame.rename(names)
        self._slices.renumber(len(names), new, old)
        self._live.renumber(new, old)

    def remember(self, topic: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Take over what an earlier run put on a topic of the plane, in log order."""
        if topic == "data.gates":
            self.gates.restore(records)
            return
        for record in records:
            self.published.learn(topic, record)
            self._live.remember(topic, record)
            if topic == "data.bars" and record["symbols"]:
                self._slices.remember(record)
            elif topic == WATCHED:
                self._watched.remember(record)
            elif topic == "data.rolls":
                self._watched.remember_roll(record)
            elif topic == "data.actions":
                self._slices.actions.learn(record)
            elif topic in ("data.facts", "data.macro", QUARANTINE):
                self._reference.remember(topic, record)
                if topic == QUARANTINE:
                    self.releases.taken_out(record)
                    self._slices.taken_out(record)
                    self._watched.taken_out(record)
            elif topic == DECISIONS:
                self.releases.remember(record)

    def take_up(self, outputs: Iterable[Output]) -> None:
        """Take over what an earlier run could not put on its topics any more, in the order in which it left the engine, after `remember`.

        It counts as received by this run, which sends it.
        """
        for output in outputs:
            self.ledger.received[output.source] += output.units
            self.remember(output.topic, [output.record])

    def lost(self, output: Output, code: str) -> None:
        """What had left the engine has been dropped on its way, for the reason `code`: it may be loaded again."""
        counted = self.ledger.quarantined if output.topic == QUARANTINE else self.ledger.published
        counted[output.source] -= output.units
        self.ledger.drop(output.source, code, output.units)
        self.published.forget(output.topic, output.record)

    def compare_only(self, sources: Collection[str]) -> list[Output]:
        """Say whose clocks this run compares; what a run in another mode left closed of others is opened."""
        return self._frame.compare_only(sources)

    def pending(self) -> dict[str, int]:
        """Observations that the engine holds back, by source."""
        return self._live.pending()

    def source_age(self, source: str, now: int) -> float:
        """Market seconds since the source's last bar; 0 when nothing has been expected of it."""
        return self._live.source_age(source, now)

    # -- observations ----------------------------------------------------------------------------------------------------------
    def take(self, observation: Observation) -> list[Output]:
        """One observation in, records out. Never raises on data: what cannot be judged is quarantined."""
        self.ledger.received[observation.source] += units(observation)
        if isinstance(observation, RealtimeBar):
            return self._counted(self._live.bar(observation))
        if isinstance(observation, QuoteTick | TradeTick):
            return self._counted(self._live.tick(observation))
        if isinstance(observation, Bars):
            return self._counted(self._bars(observation))
        if isinstance(observation, CorporateAction):
            return self._counted(self._action(observation))
        if isinstance(observation, Filing):
            return self._counted(self._filing(observation))
        if isinstance(observation, Vintage):
            return self._counted(self._vintage(observation))
        if isinstance(observation, Frames):
            return self._counted(self._frames(observation))
        if isinstance(observation, Chain):
            return self._counted(self._watched.chain(observation))
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
                self.releases.taken_out(output.record)
            else:
                self.ledger.published[output.source] += output.units
            self.published.learn(output.topic, output.record)
            kept.append(output)
        return kept

    def _malformed(self, item: Malformed) -> list[Output]:
        self._garbled.add(item.source)
        bad = quarantined(item.source, item.topic, item.symbol, item.code, item.detail, item.raw, item.time, item.time)
        return [bad, *self._frame.verdict(state.SCHEMA, item.source, "", Fault(item.code, item.detail), item.time)]

    def _bars(self, bars: Bars) -> list[Output]:
        fault = schema.bars_fault(bars)
        if fault is not None:
            return self._bad_slice(bars, fault)
        ends = (bars.event_time, bars.available_time)
        if self.published.has_bars(bars.source, bars.watched or self._frame.group, bars.interval, *ends):
            self.ledger.deduplicated[bars.source] += len(bars.symbols)
            return []
        if bars.watched:
            if bars.watched in self._watched:
                return self._watched.judge(self.releases.undecided(bars))
            self.ledger.drop(bars.source, NOT_IN_UNIVERSE, len(bars.symbols))
            return []
        if bars.symbols != self._frame.names and not self._frame.row.keys() >= set(bars.symbols):
            known = [place for place, name in enumerate(bars.symbols) if name in self._frame.row]
            self.ledger.drop(bars.source, NOT_IN_UNIVERSE, len(bars.symbols) - len(known))
            symbols = tuple(bars.symbols[place] for place in known)
            bars = replace(bars, symbols=symbols, values=bars.values[known], trades=bars.trades[known])
        bars = self.releases.undecided(bars)
        return self._slices.judge(bars) + self._frame.verdict(state.SCHEMA, bars.source, "", None, bars.available_time)

    def _bad_slice(self, bars: Bars, fault: Fault) -> list[Output]:
        time = max(bars.event_time, 0)
        if bars.watched:
            return bad_slice(bars, fault.code, fault.detail, time, WATCHED)
        return bad_slice(bars, fault.code, fault.detail, time) + self._frame.verdict(
            state.SCHEMA, bars.source, "", fault, time
        )

    def _action(self, action: CorporateAction) -> list[Output]:
        source, symbol, time = action.source, action.symbol, action.available_time
        fault = schema.action_fault(action)
        if fault is not None:
            return [bad_action(action, fault), *self._frame.verdict(state.SCHEMA, source, "", fault, time)]
        if symbol not in self._frame.row:
            self.ledger.drop(source, NOT_IN_UNIVERSE)
            return []
        known = self._slices.actions
        fault = known.fault(action, self._slices.last_daily_close(symbol), self._frame.targets.SPLIT_RATIO_MAX)
        if fault is not None:
            return [bad_action(action, fault), *self._frame.verdict(state.ACTION_SANITY, source, symbol, fault, time)]
        outputs: list[Output] = []
        identity = known.identity(action)
        if self.published.has_id("data.actions", identity):
            self.ledger.deduplicated[source] += 1
        else:
            outputs.append(action_record(action, identity))
            known.learn(outputs[0].record)
        outputs += self._frame.verdict(state.SCHEMA, source, "", None, time)
        # Actions are rare: the next one of the name may be a year off.
        return outputs + self._answered(state.ACTION_SANITY, source, symbol, None, time)

    def _filing(self, filing: Filing) -> list[Output]:
        frame = self._frame
        outputs: list[Output] = []
        if self.published.has_id("data.facts", fact_id(filing)):
            self.ledger.deduplicated[filing.source] += len(filing.facts)
        else:
            targets = frame.targets
            verdict = self._reference.filing(filing, targets.FACT_JUMP_MAX, targets.BALANCE_MAX, frame.config_hash)
            time = filing.available_time
            outputs = self._referenced(filing.source, filing.symbol, time, state.FACT_SANITY, verdict)
            for output in outputs:
                if output.topic == "data.facts":  # what is known after the filing rests on what of it goes out
                    self.published.facts.learn(output.record)
        if self._fundamentals is None:
            return outputs
        self._fundamentals.hand_in(filing)
        if not self.published.has_id(publication.TOPIC, publication.fundamental_id(filing)):
            outputs += self._fundamentals.after(filing, frame.config_hash)
        return outputs

    def _frames(self, frames: Frames) -> list[Output]:
        """Of a name's rows what contradicts the record, each an observation received; what a person decided on stands no more."""
        if frames.symbol not in self._frame.row:
            return []
        facts = self._reference.facts
        found = fact_completeness.faults(
            frames.rows,
            lambda accession, fact: (
                self.published.facts.has(frames.symbol, accession, fact)
                or fact_mark(frames.symbol, accession, fact) in self._reference.taken_out
            ),
            lambda fact: facts.on_record(frames.symbol, fact),
        )
        self.ledger.received[frames.source] += len(found)
        outputs = [contradiction(frames, row, fault) for row, fault in found]
        standing = [output for output in outputs if not self.releases.has_decided(output.record["quarantine_id"])]
        worst = Fault(standing[0].record["code"], standing[0].record["detail"]) if standing else None
        if worst is None and not frames.whole:
            return outputs
        return outputs + self._answered(state.FACT_COMPLETENESS, frames.source, frames.symbol, worst, frames.time)

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
        # Of what has been decided on already nothing is good or bad news.
        outputs = verdict.outputs + (self._frame.verdict(gate, source, scope, worst, time) if verdict.outputs else [])
        return outputs + self._frame.verdict(state.SCHEMA, source, "", verdict.fault, time)

    # -- time ------------------------------------------------------------------------------------------------------------------
    def resume(self, source: str, now: int) -> None:
        """Listening (re)starts at `now`: after a connect, a resubscription or a leap of the paper gateway's clock."""
        self._live.resume(source, now)

    def gap(self, source: str) -> None:
        """Something that the source sent may be missing before what comes next, as after a resubscription; see `LiveData.gap`."""
        self._live.gap(source)

    def cover(self, source: str, streamed: Collection[str] | None, round_s: float, now: int) -> list[Output]:
        """What a source streams from `now` on (None: all names), where it cannot stream all; see `LiveData.cover`."""
        return self._live.cover(source, streamed, round_s, now)

    def advance(self, source: str, now: int) -> list[Output]:
        """Market time has come to `now` and everything that the source sent before has been taken.

        Ends an interval that is overdue. In a session in which the source is silent, publishes a punctuation (one for all intervals
        that passed since the last call, the latest) and closes the source's freshness gate once it is too old.
        """
        return self._counted(self._live.advance(source, now))

    def flush(self, now: int = 0) -> list[Output]:
        """Everything that is held back goes out, complete or not: at the end of a run, at market time `now` where that is known."""
        return self._counted(self._live.end(now) + self._live.flush())

    # -- what sources say of themselves ----------------------------------------------------------------------------------------
    def compare_clock(self, source: str, sample: ClockSample | str, now: int) -> list[Output]:
        """Judge a comparison of the clock that stamps `source` with its reference, or (a sentence) that there can be none."""
        if isinstance(sample, str):
            fault: Fault | None = Fault(clock.UNKNOWN, sample)
        else:
            fault = self._clock.fault(sample, self._frame.targets.CLOCK_SKEW_MAX_S)
        self._live.clock_off(source, 0 if isinstance(sample, str) else sample.offset)
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
