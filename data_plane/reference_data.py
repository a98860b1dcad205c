"""Facts and macro vintages through their gates: one record a filing, one a vintage, each value judged by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from data_plane.gates import revisions, schema
from data_plane.gates.revisions import Judgement, RevisionMemory
from data_plane.gates.schema import Fault
from data_plane.gates.values import FACT_CONFLICT, MACRO_JUMP, FactMemory, MacroMemory
from data_plane.observations import Fact, Filing, Vintage
from data_plane.outputs import Output, quarantined, raw_json


@dataclass(slots=True)
class Verdict:
    """What became of one filing or vintage. `repeated` counts values that stand twice and equal in it, `released` values of earlier
    vintages that were quarantined and go out with it."""

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

    def filing(self, filing: Filing, jump_max: float, config_hash: str) -> Verdict:
        """Judge a filing; good facts become one FactSet, each bad one a quarantined record."""
        fault = schema.filing_fault(filing)
        outputs: list[Output] = []
        good: list[Fact] = []
        repeated = 0
        seen: dict[tuple[str, str, int, int], float] = {}
        for fact in filing.facts:
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
                verdict = self.facts.fault(filing.symbol, fact, filing.available_time, jump_max)
            if verdict is not None:
                outputs.append(_bad_fact(filing, fact, verdict))
                continue
            seen[place] = fact.value
            good.append(fact)
        if good:
            outputs.append(Output("data.facts", _fact_set(filing, good, config_hash), filing.source, len(good)))
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
        for date, value in judged.confirmed:  # as `remember` will do with the record
            self.macro.fault(vintage.series, vintage.unit, date, value, float("inf"))
        for (date, value), revision in zip(values, judged.faults, strict=True):
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
            outputs.append(Output("data.macro", _macro_vintage(vintage, good, config_hash), vintage.source, len(good)))
        return Verdict(outputs, 0, fault, len(judged.confirmed))

    def _bar(self, place: tuple[str, str, int], value: float, fault: Fault) -> None:
        self.barred[place] = (repr(value), fault)
        if fault.code in revisions.CODES:
            self.revisions.hold(place[0], place[1], place[2], value, fault.code)

    def remember(self, topic: str, record: Mapping[str, Any]) -> None:
        """Take over levels, and macro values that were held, from a record of an earlier run, in log order within a topic."""
        if topic == "data.facts":
            columns = ("concepts", "units", "period_start", "period_end", "values", "fiscal_year", "fiscal_period")
            for row in zip(*(record[column] for column in columns), strict=True):
                self.facts.fault(record["symbol"], Fact(*row), record["available_time"], float("inf"))
        elif topic == "data.macro":
            rows = list(zip(record["observation_time"], record["values"], strict=True))
            for date, value in rows:
                self.macro.fault(record["series"], record["unit"], date, value, float("inf"))
            self.revisions.accept(record["series"], record["realtime_start"], rows)
        elif record["topic"] == "data.macro":
            self._remember_barred(record)

    def _remember_barred(self, record: Mapping[str, Any]) -> None:
        try:
            fields = json.loads(record["raw"])
            place = (str(fields["series"]), str(fields["realtime_start"]), int(fields["date"]))
            value = float(fields["value"])
        except (ValueError, KeyError, TypeError):
            return  # a payload that could not be read: nothing of it was judged
        self._bar(place, value, Fault(record["code"], record["detail"]))
        if record["code"] == MACRO_JUMP:
            self.macro.hold(place[0], value)


def fact_id(filing: Filing) -> str:
    """Identity of a filing's facts on data.facts."""
    return f"{filing.symbol}/{filing.accession}{f'/{filing.part}' if filing.part else ''}"


def vintage_id(vintage: Vintage) -> str:
    """Identity of a vintage on data.macro."""
    return f"{vintage.series}/{vintage.realtime_start}"


def _bad_fact(filing: Filing, fact: Fact, fault: Fault) -> Output:
    raw = raw_json({"accession": filing.accession, "filed": filing.filed, **fact._asdict()})
    return quarantined(
        filing.source, "data.facts", filing.symbol, fault.code, fault.detail, raw, fact.end, filing.available_time
    )


def _bad_value(vintage: Vintage, date: int, value: float, fault: Fault) -> Output:
    raw = raw_json({"series": vintage.series, "realtime_start": vintage.realtime_start, "date": date, "value": value})
    return quarantined(
        vintage.source, "data.macro", vintage.series, fault.code, fault.detail, raw, date, vintage.available_time
    )


def _fact_set(filing: Filing, facts: list[Fact], config_hash: str) -> dict[str, Any]:
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


def _macro_vintage(vintage: Vintage, values: list[tuple[int, float]], config_hash: str) -> dict[str, Any]:
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
