"""Sanity of facts and macro values: jumps that are unit errors rather than news."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from data_plane.gates.schema import Fault
from data_plane.observations import Fact

FACT_JUMP = "FACT_JUMP"
FACT_NOT_A_NUMBER = "FACT_NOT_A_NUMBER"
FACT_CONFLICT = "FACT_CONFLICT"
FACT_FROM_FUTURE = "FACT_FROM_FUTURE"
MACRO_JUMP = "MACRO_JUMP"
MACRO_NOT_FINITE = "MACRO_NOT_FINITE"

DAY_NS = 86_400_000_000_000


def _times(one: float, other: float) -> float:
    """How many times the larger magnitude is the smaller one, both nonzero: at least 1, infinity at the extremes, NaN for a NaN."""
    small, large = sorted((abs(one), abs(other)))
    return math.nan if math.isnan(one) or math.isnan(other) else large / small


@dataclass(slots=True)
class _Level:
    value: float
    end: int
    candidate: float = math.nan


@dataclass(slots=True)
class FactMemory:
    """Latest good level per (symbol, concept, unit). Only instants are compared: flows cross zero and differ by period."""

    levels: dict[tuple[str, str, str], _Level] = field(default_factory=dict)

    def fault(self, symbol: str, fact: Fact, available_time: int, jump_max: float) -> Fault | None:
        """Judge one fact, filings in order of acceptance. A jump that the next filing repeats is accepted."""
        if not math.isfinite(fact.value):
            return Fault(FACT_NOT_A_NUMBER, f"{fact.concept} is {fact.value}")
        # Cover pages count shares some days after the period; a period that ends after acceptance is a wrong date. One day of slack
        # for period ends given as dates in another zone.
        if fact.end > available_time + DAY_NS:
            return Fault(FACT_FROM_FUTURE, f"{fact.concept} is for a period that ends after the filing was accepted")
        if fact.start != 0 or fact.value == 0.0:
            return None
        key = (symbol, fact.concept, fact.unit)
        level = self.levels.get(key)
        if level is None:
            self.levels[key] = _Level(fact.value, fact.end)
            return None
        ratio = _times(fact.value, level.value)
        # A candidate that is NaN agrees with nothing.
        if ratio > jump_max and not _times(fact.value, level.candidate) <= jump_max:
            level.candidate = fact.value
            detail = f"{fact.concept} {fact.value:g} is {ratio:.1f} times off {level.value:g}, allowed {jump_max:g}"
            return Fault(FACT_JUMP, detail)
        if fact.end >= level.end:
            self.levels[key] = _Level(fact.value, fact.end)
        return None


@dataclass(slots=True)
class MacroMemory:
    """Latest good observation per series. Only series in percent are compared: a point has no meaning for an index or a sum."""

    levels: dict[str, _Level] = field(default_factory=dict)

    def fault(self, series: str, unit: str, date: int, value: float, jump_max: float) -> Fault | None:
        """Judge one value, dates ascending within a vintage; NaN (the provider's dot) is a value like any other."""
        if math.isinf(value):
            return Fault(MACRO_NOT_FINITE, f"{series} is {value}")
        if math.isnan(value) or unit != "Percent":
            return None
        level = self.levels.get(series)
        jumped = level is not None and date >= level.end and abs(value - level.value) > jump_max
        # A candidate that is NaN agrees with nothing.
        if jumped and level is not None and not abs(value - level.candidate) <= jump_max:
            level.candidate = value
            return Fault(MACRO_JUMP, f"{series} went from {level.value:g} to {value:g}, allowed {jump_max:g} points")
        if level is None or date >= level.end:
            self.levels[series] = _Level(value, date)
        return None

    def hold(self, series: str, value: float) -> None:
        """Keep in mind a value that an earlier run refused as a jump, so that the next one may repeat it."""
        if series in self.levels:
            self.levels[series].candidate = value
