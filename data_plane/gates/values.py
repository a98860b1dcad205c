"""Sanity of facts and macro values: signs that cannot be, and jumps that are unit errors rather than news."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from data_plane.gates.schema import Fault
from data_plane.observations import Fact

FACT_JUMP = "FACT_JUMP"
FACT_SCALE = "FACT_SCALE"
FACT_NEGATIVE = "FACT_NEGATIVE"
FACT_NOT_A_NUMBER = "FACT_NOT_A_NUMBER"
FACT_CONFLICT = "FACT_CONFLICT"
FACT_FROM_FUTURE = "FACT_FROM_FUTURE"
MACRO_JUMP = "MACRO_JUMP"
MACRO_NOT_FINITE = "MACRO_NOT_FINITE"

DAY_NS = 86_400_000_000_000
QUARTER_NS = 91.3 * DAY_NS


COUNTS: Final = frozenset(
    {
        "dei:EntityCommonStockSharesOutstanding",
        "us-gaap:CommonStockSharesOutstanding",
        "us-gaap:WeightedAverageNumberOfDilutedSharesOutstanding",
        "us-gaap:WeightedAverageNumberOfSharesOutstandingBasic",
    }
)
NEVER_NEGATIVE: Final = COUNTS | {
    "ifrs-full:Assets",
    "ifrs-full:EquityAndLiabilities",
    "us-gaap:Assets",
    "us-gaap:AssetsCurrent",
    "us-gaap:Goodwill",
    "us-gaap:LiabilitiesAndStockholdersEquity",
}
"""Totals and counts. Nothing that is net of something, and no revenues: an insurer's hold losses on investments."""
SIZES: Final = COUNTS | {
    "ifrs-full:Revenue",
    "us-gaap:RevenueFromContractWithCustomerExcludingAssessedTax",
    "us-gaap:RevenueFromContractWithCustomerIncludingAssessedTax",
    "us-gaap:Revenues",
    "us-gaap:SalesRevenueNet",
}
"""Flows and averages that hardly come near zero."""
COMPARED: Final = SIZES | {
    "ifrs-full:Assets",
    "ifrs-full:Equity",
    "ifrs-full:EquityAndLiabilities",
    "ifrs-full:EquityAttributableToOwnersOfParent",
    "ifrs-full:Liabilities",
    "ifrs-full:ProfitLoss",
    "us-gaap:Assets",
    "us-gaap:EarningsPerShareDiluted",
    "us-gaap:Liabilities",
    "us-gaap:LiabilitiesAndStockholdersEquity",
    "us-gaap:NetIncomeLoss",
    "us-gaap:StockholdersEquity",
    "us-gaap:StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest",
}
"""What is held against its history: the measures of a company's size. A single debt, lease or intangible goes from little to much, and
back, without anybody's mistake."""
THOUSAND, MILLION = 1e3, 1e6
SCALE_SLACK, SCALE_EXACT = 3.0, 1.005
"""What a value may differ beside the scale: from one period to another, and as restated for one."""
UNIT_LEAST: Final = 3
"""So many facts off by a scale, and more than are not, make a filing in another unit: what cannot be compared in it is off as well."""
PERIODS: Final = 24
"""Newest periods of a concept whose values are kept to compare restatements with."""


def _times(one: float, other: float) -> float:
    """How many times the larger magnitude is the smaller one, both nonzero: at least 1, infinity at the extremes, NaN for a NaN."""
    small, large = sorted((abs(one), abs(other)))
    return math.nan if math.isnan(one) or math.isnan(other) else large / small


def impossible(fact: Fact, available_time: int) -> Fault | None:
    """Fault of a fact that no history is needed for, or None."""
    if not math.isfinite(fact.value):
        return Fault(FACT_NOT_A_NUMBER, f"{fact.concept} is {fact.value}")
    if fact.value < 0.0 and fact.concept in NEVER_NEGATIVE:
        return Fault(FACT_NEGATIVE, f"{fact.concept} is {fact.value:g}")
    # Cover pages count shares some days after the period; a period that ends after acceptance is a wrong date. One day of slack
    # for period ends given as dates in another zone.
    if fact.end > available_time + DAY_NS:
        return Fault(FACT_FROM_FUTURE, f"{fact.concept} is for a period that ends after the filing was accepted")
    return None


def _is_scale(ratio: float, slack: float, scales: tuple[float, ...] = (THOUSAND, MILLION)) -> bool:
    """Whether a ratio of at least 1 is one of the scales, within a factor of `slack`."""
    return any(scale / slack <= ratio <= scale * slack for scale in scales)


@dataclass(slots=True)
class _Level:
    value: float
    end: int
    candidate: float = math.nan
    held: int = 0
    """When the candidate came, ns UTC: what stands twice in one filing does not confirm itself."""
    known: int = 0
    """When the value came, ns UTC."""


@dataclass(slots=True)
class FactMemory:
    """Latest good level of COMPARED per (symbol, concept, unit, quarters), and what was reported for the newest periods.

    Instants (0 quarters) are compared by FACT_JUMP_MAX. Flows, which cross zero and differ by length, are compared with their last value of the
    same length and only by the scales in which filers err: SIZES by a thousand, any by a million (a company earns a thousandth of the year
    before, but not 407 dollars). So is what a later filing says of the same period. Of share counts the others of the name and filing tell
    which of two scales is right.
    """

    levels: dict[tuple[str, str, str, int], _Level] = field(default_factory=dict)
    periods: dict[tuple[str, str, str], dict[tuple[int, int], _Level]] = field(default_factory=dict)

    def fault(
        self, symbol: str, fact: Fact, available_time: int, jump_max: float, counts: Sequence[tuple[str, float]] = ()
    ) -> Fault | None:
        """Judge one fact, filings in order of acceptance. A jump that a later filing repeats is accepted.

        `counts` are the filing's share counts, (concept, value).
        """
        alone = impossible(fact, available_time)
        if alone is not None:
            return alone
        if fact.value == 0.0 or fact.concept not in COMPARED:
            return None
        place, key = (fact.start, fact.end), (symbol, fact.concept, fact.unit)
        quarters = _quarters(fact)
        reported = self.periods.setdefault(key, {})
        level = self.levels.get((*key, quarters))
        if math.isfinite(jump_max):  # else it is on the log already
            doubt = _restated(fact, reported.get(place)) or _jumped(fact, level, quarters, jump_max)
            if doubt is not None:
                against, fault = doubt
                if not self._believed(symbol, fact, against, available_time, jump_max, counts):
                    against.candidate, against.held = fact.value, available_time
                    return fault
        reported.pop(place, None)
        reported[place] = _Level(fact.value, fact.end, known=available_time)
        if len(reported) > PERIODS:
            del reported[next(iter(reported))]
        if level is None or fact.end >= level.end:
            self.levels[(*key, quarters)] = _Level(fact.value, fact.end, known=available_time)
        return None

    def forget(self, symbol: str, fact: Fact) -> None:
        """A person has decided on a fact that was held: a later filing that repeats it does not confirm it."""
        for level in self._compared(symbol, fact):
            if level is not None and level.candidate == fact.value:
                level.candidate, level.held = math.nan, 0

    def hold(self, symbol: str, fact: Fact, code: str, available_time: int) -> None:
        """Keep in mind a fact that an earlier run refused, so that the next filing may repeat it; not where a value that came later
        has been accepted since."""
        before, level = self._compared(symbol, fact)
        against = level
        if code == FACT_SCALE:
            doubt = _restated(fact, before) or _jumped(fact, level, _quarters(fact), math.inf)
            against = None if doubt is None else doubt[0]
        if against is not None and (against.known, against.end) <= (available_time, fact.end):
            against.candidate, against.held = fact.value, available_time

    def units_off(
        self,
        symbol: str,
        facts: Sequence[Fact],
        available_time: int,
        jump_max: float,
        counts: Sequence[tuple[str, float]] = (),
    ) -> dict[str, int]:
        """Units in which a filing as a whole is a scale off: more of its facts are than are not. With how many are.

        What an earlier filing or the other share counts confirm is not: the name is of another size now.
        """
        off: Counter[str] = Counter()
        fine: Counter[str] = Counter()
        for fact in facts:
            if not math.isfinite(fact.value) or fact.value == 0.0 or fact.concept not in COMPARED:
                continue
            before, level = self._compared(symbol, fact)
            doubt = _restated(fact, before) or _jumped(fact, level, _quarters(fact), math.inf)
            good = doubt is None or self._believed(symbol, fact, doubt[0], available_time, jump_max, counts)
            (fine if good else off)[fact.unit] += before is not None or level is not None
        return {unit: count for unit, count in sorted(off.items()) if count >= UNIT_LEAST and count > fine[unit]}

    def on_record(self, symbol: str, fact: Fact) -> float | None:
        """What the newest filing says of the fact's period, of COMPARED and the newest periods; None where that is not remembered."""
        reported = self.periods.get((symbol, fact.concept, fact.unit), {}).get((fact.start, fact.end))
        return None if reported is None else reported.value

    def is_new(self, symbol: str, fact: Fact) -> bool:
        """Whether there is nothing to compare a fact with."""
        return self._compared(symbol, fact) == (None, None)

    def _compared(self, symbol: str, fact: Fact) -> tuple[_Level | None, _Level | None]:
        key = (symbol, fact.concept, fact.unit)
        return self.periods.get(key, {}).get((fact.start, fact.end)), self.levels.get((*key, _quarters(fact)))

    def _believed(
        self,
        symbol: str,
        fact: Fact,
        against: _Level,
        available_time: int,
        jump_max: float,
        counts: Sequence[tuple[str, float]],
    ) -> bool:
        """Whether a fact is right though it is far off `against`: the other share counts say so, or an earlier filing does."""
        others = self._others(symbol, fact, counts)
        votes = _votes(others, fact.value, jump_max) - _votes(others, against.value, jump_max)
        return votes > 0 or (votes == 0 and _confirmed(against, fact.value, available_time, jump_max))

    def _others(self, symbol: str, fact: Fact, counts: Sequence[tuple[str, float]]) -> list[float]:
        """Other share counts of the filing and the last ones of the name, for a fact that is one."""
        if fact.concept not in COUNTS:
            return []
        others = [value for concept, value in counts if concept != fact.concept]
        for concept in sorted(COUNTS - {fact.concept}):
            others += [level.value for n in (0, 1) if (level := self.levels.get((symbol, concept, fact.unit, n)))]
        return others

    def history(self, symbol: str, fact: Fact) -> tuple[float, float]:
        """(what was reported for the same instant before, the concept's last value), NaN where there is none."""
        before, last = self._compared(symbol, fact)
        return (math.nan if before is None else before.value), (math.nan if last is None else last.value)


def _quarters(fact: Fact) -> int:
    """Length of a fact's period in quarters, at least 1; 0 for an instant."""
    return 0 if fact.start == 0 else max(round((fact.end - fact.start) / QUARTER_NS), 1)


def _restated(fact: Fact, before: _Level | None) -> tuple[_Level, Fault] | None:
    """The value that an earlier filing gave for the same period, where this one is a thousand or a million times off it."""
    if before is None or not _is_scale(_times(fact.value, before.value), SCALE_EXACT):
        return None
    detail = f"{fact.concept} {fact.value:g} was {before.value:g} for the same period, another unit"
    return before, Fault(FACT_SCALE, detail)


def _jumped(fact: Fact, level: _Level | None, quarters: int, jump_max: float) -> tuple[_Level, Fault] | None:
    """The last value, where this one is too far off it."""
    if level is None:
        return None
    ratio = _times(fact.value, level.value)
    if quarters and fact.concept not in SIZES:
        scale = _is_scale(ratio, SCALE_SLACK, (MILLION,))
    else:
        scale = _is_scale(ratio, SCALE_SLACK)
    if scale:
        detail = f"{fact.concept} {fact.value:g} is {ratio:.0f} times off {level.value:g}, another unit"
        return level, Fault(FACT_SCALE, detail)
    if quarters or not ratio > jump_max:
        return None
    detail = f"{fact.concept} {fact.value:g} is {ratio:.1f} times off {level.value:g}, allowed {jump_max:g}"
    return level, Fault(FACT_JUMP, detail)


def _votes(others: Sequence[float], value: float, within: float) -> int:
    return sum(_times(other, value) <= within for other in others if other != 0.0)


def _confirmed(level: _Level, value: float, available_time: int, within: float) -> bool:
    """Whether an earlier filing said the same and was held for it. A candidate that is NaN agrees with nothing."""
    return level.held < available_time and _times(value, level.candidate) <= within


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

    def forget(self, series: str, value: float) -> None:
        """A person has decided on a value that was held: the next one that repeats it does not confirm it."""
        level = self.levels.get(series)
        if level is not None and level.candidate == value:
            level.candidate = math.nan

    def hold(self, series: str, date: int, value: float) -> None:
        """Keep in mind a value that an earlier run refused as a jump, so that the next one may repeat it; not where a later date has
        been accepted since."""
        level = self.levels.get(series)
        if level is not None and date >= level.end:
            level.candidate = value
