"""Facts and macro vintages through their gates: one record a filing, one a vintage, each value judged by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from data_plane.gates import balance, revisions, schema
from data_plane.gates.revisions import Judgement, RevisionMemory
from data_plane.gates.schema import Fault
from data_plane.gates.values import (
    COUNTS,
    FACT_CONFLICT,
    FACT_JUMP,
    FACT_SCALE,
    MACRO_JUMP,
    FactMemory,
    MacroMemory,
    impossible,
)
from data_plane.observations import Fact, Filing, FramedFact, Frames, Vintage
from data_plane.outputs import Output, quarantined, raw_json
from data_plane.published import unreleased_id

FILING_FIELDS = ("cik", "accession", "form", "filed", "acceptance")
"""What a quarantined fact keeps of its filing."""


@dataclass(slots=True)
class Verdict:
    """What became of one filing or vintage. `repeated` counts values that stand twice and equal in it or that a person has decided on,
    `released` values of earlier vintages that were quarantined and go out with it."""

    outputs: list[Output]
    repeated: int
    fault: Fault | None
    released: int = 0


@dataclass(slots=True)
class ReferenceGates:
    """State of the fact and macro gates."""

    facts: FactMemory = field(default_factory=FactMemory)
    macro: MacroMemory = field(default_factory=MacroMemory)
    revisions: RevisionMemory = field(default_factory=RevisionMemory)
    barred: dict[tuple[str, str, int], tuple[str, Fault]] = field(default_factory=dict)
    """Quarantined macro values (as text, so that NaN equals itself) by series, release date and observation. A source hands a vintage
    in again at each look until something of it is on the topic: without this, its own repetition would confirm it."""
    taken_out: set[int] = field(default_factory=set)
    """Hashes of the facts (`fact_mark`) that are in quarantine: they were received, and are not lacking."""
    settled: set[tuple[Any, ...]] = field(default_factory=set)
    """Places (`fact_place`, `value_place`) of quarantined values that a person let out or dropped: they are not judged anew."""

    def filing(self, filing: Filing, jump_max: float, balance_max: float, config_hash: str) -> Verdict:
        """Judge a filing; good facts become one FactSet, each bad one a quarantined record."""
        fault = schema.filing_fault(filing)
        outputs: list[Output] = []
        sound: list[Fact] = []
        repeated = 0
        seen: dict[tuple[str, str, int, int], float] = {}

        def take_out(fact: Fact, why: Fault) -> None:
            outputs.append(_bad_fact(filing, fact, why))
            self.taken_out.add(fact_mark(filing.symbol, filing.accession, fact))

        for fact in filing.facts:
            if self.settled and fact_place(fact_id(filing), fact) in self.settled:
                repeated += 1
                continue
            place = fact[:4]
            verdict = fault or schema.fact_fault(fact)
            if verdict is None and place in seen:
                if seen[place] == fact.value:
                    repeated += 1
                    continue
                verdict = Fault(
                    FACT_CONFLICT, f"{fact.concept} stands twice in one filing: {seen[place]:g} and {fact.value:g}"
                )
            if verdict is None:
                verdict = impossible(fact, filing.available_time)
            if verdict is not None:
                take_out(fact, verdict)
                continue
            seen[place] = fact.value
            sound.append(fact)
        unbalanced = balance.faults(sound, partial(self.facts.history, filing.symbol), balance_max)
        counts = [(fact.concept, fact.value) for fact in sound if fact.concept in COUNTS]
        units_off = self.facts.units_off(filing.symbol, sound, filing.available_time, jump_max, counts)
        good: list[Fact] = []
        for number, fact in enumerate(sound):
            verdict = unbalanced.get(number)
            if verdict is None and fact.unit in units_off and self.facts.is_new(filing.symbol, fact):
                verdict = Fault(
                    FACT_SCALE,
                    f"{fact.concept} {fact.value:g} stands with {units_off[fact.unit]} others in another unit",
                )
            if verdict is None:
                verdict = self.facts.fault(filing.symbol, fact, filing.available_time, jump_max, counts)
            if verdict is not None:
                take_out(fact, verdict)
            else:
                good.append(fact)
        if good:
            outputs.append(Output("data.facts", fact_set(filing, good, config_hash), filing.source, len(good)))
        return Verdict(outputs, repeated, fault)

    def vintage(self, vintage: Vintage, jump_max: float, revision_max: float, config_hash: str) -> Verdict:
        """Judge a vintage; good values become one MacroVintage, each bad one a quarantined record.

        Values of earlier vintages that it confirms go out with it, as known from now.
        """
        fault = schema.vintage_fault(vintage)
        outputs: list[Output] = []
        values = sorted(vintage.values)
        if fault is None:
            misdated = [(pair, schema.macro_date_fault(vintage.series, pair[0])) for pair in values]
            outputs += [_bad_value(vintage, *pair, bad) for pair, bad in misdated if bad is not None]
            values = [pair for pair, bad in misdated if bad is None]
            vintage = replace(vintage, values=tuple(values))
        judged = Judgement((fault,) * len(values)) if fault else self.revisions.judge(vintage, revision_max)
        good: list[tuple[int, float]] = []
        repeated = 0
        for date, value in judged.confirmed:  # as `remember` will do with the record
            self.macro.fault(vintage.series, vintage.unit, date, value, float("inf"))
        for (date, value), revision in zip(values, judged.faults, strict=True):
            if self.settled and value_place(vintage_id(vintage), date, value) in self.settled:
                repeated += 1
                continue
            place = (vintage.series, vintage.realtime_start, date)
            text, before = self.barred.get(place, ("", None))
            verdict = (before if text == repr(value) else None) or revision
            verdict = verdict or self.macro.fault(vintage.series, vintage.unit, date, value, jump_max)
            if verdict is None:
                good.append((date, value))
                continue
            if fault is None:
                self._bar(place, value, verdict)
            outputs.append(_bad_value(vintage, date, value, verdict))
        # First what is confirmed: it is older than what this vintage says.
        good = sorted([*judged.confirmed, *good])
        self.revisions.accept(vintage.series, vintage.realtime_start, good)
        if good:
            outputs.append(Output("data.macro", macro_vintage(vintage, good, config_hash), vintage.source, len(good)))
        return Verdict(outputs, repeated, fault, len(judged.confirmed))

    def _bar(self, place: tuple[str, str, int], value: float, fault: Fault) -> None:
        self.barred[place] = (repr(value), fault)
        if fault.code in revisions.CODES:
            self.revisions.hold(place[0], place[1], place[2], value, fault.code)

    def let_out(self, observation: Filing | Vintage) -> None:
        """A person says that a fact or a macro value is right: levels and usual sizes learn it."""
        self.settle(observation)
        if isinstance(observation, Filing):
            for fact in observation.facts:
                self.facts.fault(observation.symbol, fact, observation.available_time, float("inf"))
            return
        for date, value in observation.values:
            self.macro.fault(observation.series, observation.unit, date, value, float("inf"))
        self.revisions.accept(observation.series, observation.realtime_start, observation.values)

    def settle(self, observation: Filing | Vintage) -> None:
        """A person has decided on it: it is not judged again, and neither its repetition nor a later vintage's silence confirms it."""
        if isinstance(observation, Filing):
            for fact in observation.facts:
                self.settled.add(fact_place(fact_id(observation), fact))
                self.facts.forget(observation.symbol, fact)
            return
        for date, value in observation.values:
            self.settled.add(value_place(vintage_id(observation), date, value))
            self.revisions.forget(observation.series, observation.realtime_start, date)
            self.macro.forget(observation.series, value)

    def remember(self, topic: str, record: Mapping[str, Any]) -> None:
        """Take over levels, and macro values that were held, from a record of an earlier run, in log order within a topic."""
        if topic == "data.facts":
            columns = ("concepts", "units", "period_start", "period_end", "values", "fiscal_year", "fiscal_period")
            for row in zip(*(record[column] for column in columns), strict=True):
                fact, identity = Fact(*row), record["fact_id"]
                self.facts.fault(record["symbol"], fact, record["available_time"], float("inf"))
                if unreleased_id(identity) != identity:
                    self.settled.add(fact_place(unreleased_id(identity), fact))
        elif topic == "data.macro":
            rows = list(zip(record["observation_time"], record["values"], strict=True))
            for date, value in rows:
                self.macro.fault(record["series"], record["unit"], date, value, float("inf"))
            self.revisions.accept(record["series"], record["realtime_start"], rows)
            vintage = unreleased_id(record["vintage_id"])
            if vintage != record["vintage_id"]:
                self.settled |= {value_place(vintage, date, value) for date, value in rows}
        elif record["topic"] == "data.macro":
            self._remember_barred(record)
        elif record["topic"] == "data.facts":
            self._remember_taken_out(record)

    def _remember_taken_out(self, record: Mapping[str, Any]) -> None:
        try:
            fields = json.loads(record["raw"])
            fact = Fact(*(fields[column] for column in Fact._fields))
            fact = fact._replace(start=int(fact.start), end=int(fact.end), value=float(fact.value))
            accession = str(fields["accession"])
            hash(fact)  # a list for a unit is none
        except (ValueError, KeyError, TypeError, OverflowError):
            return  # of another version, or no fact of a filing
        self.taken_out.add(fact_mark(record["symbol"], accession, fact))
        held = record["code"] in (FACT_JUMP, FACT_SCALE)
        if held and fact_place(f"{record['symbol']}/{accession}", fact) not in self.settled:
            self.facts.hold(record["symbol"], fact, record["code"], record["available_time"])

    def _remember_barred(self, record: Mapping[str, Any]) -> None:
        try:
            fields = json.loads(record["raw"])
            place = (str(fields["series"]), str(fields["realtime_start"]), int(fields["date"]))
            value = float(fields["value"])
        except (ValueError, KeyError, TypeError):
            return  # a payload that could not be read: nothing of it was judged
        if value_place(f"{place[0]}/{place[1]}", place[2], value) in self.settled:
            return
        self._bar(place, value, Fault(record["code"], record["detail"]))
        if record["code"] == MACRO_JUMP:
            self.macro.hold(place[0], place[2], value)


def fact_id(filing: Filing) -> str:
    """Identity of a filing's facts on data.facts."""
    return f"{filing.symbol}/{filing.accession}{f'/{filing.part}' if filing.part else ''}"


def vintage_id(vintage: Vintage) -> str:
    """Identity of a vintage on data.macro."""
    return f"{vintage.series}/{vintage.realtime_start}"


def fact_place(filing: str, fact: Fact) -> tuple[Any, ...]:
    """Which fact of a filing (by `fact_id`) it is, with its value as text, so that NaN equals itself."""
    return (filing, *fact[:4], repr(fact.value))


def fact_mark(symbol: str, accession: str, fact: Fact) -> int:
    """A number for a filing's fact with its value; two that differ have the same once in 2^64."""
    return hash((symbol, accession, *fact[:4], repr(fact.value)))


def value_place(vintage: str, date: int, value: float) -> tuple[Any, ...]:
    """Which value of a vintage (by `vintage_id`) it is, as `fact_place`."""
    return vintage, date, repr(value)


def _bad_fact(filing: Filing, fact: Fact, fault: Fault) -> Output:
    about = {name: getattr(filing, name) for name in FILING_FIELDS}
    raw = raw_json({**about, **fact._asdict()})
    return quarantined(
        filing.source, "data.facts", filing.symbol, fault.code, fault.detail, raw, fact.end, filing.available_time
    )


def contradiction(frames: Frames, row: FramedFact, fault: Fault) -> Output:
    """A row of a frame that differs from what is on record, for quarantine. Nothing in it can be let out: it has no time of acceptance."""
    fact = row.fact
    raw = raw_json(
        {
            "frame": row.frame,
            "cik": frames.cik,
            "accn": row.accession,
            "start": fact.start,
            "end": fact.end,
            "val": fact.value,
        }
    )
    return quarantined(frames.source, "data.facts", frames.symbol, fault.code, fault.detail, raw, fact.end, frames.time)


def _bad_value(vintage: Vintage, date: int, value: float, fault: Fault) -> Output:
    fields = {"series": vintage.series, "unit": vintage.unit, "realtime_start": vintage.realtime_start}
    raw = raw_json({**fields, "date": date, "value": value})
    return quarantined(
        vintage.source, "data.macro", vintage.series, fault.code, fault.detail, raw, date, vintage.available_time
    )


def fact_set(filing: Filing, facts: Sequence[Fact], config_hash: str) -> dict[str, Any]:
    """FactSet of some of a filing's facts."""
    return {
        "event_time": max(fact.end for fact in facts),
        "available_time": filing.available_time,
        "source": filing.source,
        "fact_id": fact_id(filing),
        "symbol": filing.symbol,
        "cik": filing.cik,
        "accession": filing.accession,
        "form": filing.form,
        "filed": filing.filed,
        "acceptance": filing.acceptance,
        "concepts": [fact.concept for fact in facts],
        "units": [fact.unit for fact in facts],
        "period_start": [fact.start for fact in facts],
        "period_end": [fact.end for fact in facts],
        "values": [fact.value for fact in facts],
        "fiscal_year": [fact.fiscal_year for fact in facts],
        "fiscal_period": [fact.fiscal_period for fact in facts],
        "config_hash": config_hash,
    }


def macro_vintage(vintage: Vintage, values: Sequence[tuple[int, float]], config_hash: str) -> dict[str, Any]:
    """MacroVintage of some of a vintage's values, dates ascending."""
    return {
        "event_time": values[-1][0],
        "available_time": vintage.available_time,
        "source": vintage.source,
        "vintage_id": vintage_id(vintage),
        "series": vintage.series,
        "unit": vintage.unit,
        "realtime_start": vintage.realtime_start,
        "observation_time": [date for date, _ in values],
        "values": [value for _, value in values],
        "pseudo_point_in_time": vintage.pseudo_point_in_time,
        "config_hash": config_hash,
    }
