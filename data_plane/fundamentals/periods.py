"""Which period a fact covers, and the fiscal calendar of the company that reports it.

A fact is placed by its own `start` and `end`. The `fy` and `fp` of SEC's companyfacts describe the filing that carries the row, not
the period of the row: the comparative year in a 10-K for 2020 is marked 2020, FY as well, and so are the quarters it tabulates.
Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces (companyfacts), checked on real files.

Times are midnight UTC of a calendar day, in ns; an end is inclusive, so the next period starts one day after it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

DAY_NS = 86_400_000_000_000

# Filers mistype context dates by a day or two (CAT and IBM in 2009-2011), and 52-week filers print month ends for them (DE in 2015).
SLIP_DAYS = 4


class Span(StrEnum):
    """How long a period is, in the terms of a fiscal calendar."""

    INSTANT = "instant"
    QUARTER = "quarter"
    LONG_QUARTER = "long quarter"
    """16 or 17 weeks: the last quarter of a year of 12, 12, 12 and 16 weeks."""
    HALF = "half"
    NINE_MONTHS = "nine months"
    YEAR = "year"
    OTHER = "other"


# Least and most days, both inclusive. A day's slack on either side of whole weeks: calendar quarters have 90 to 92 days, years 365 or
# 366. Quarter 12-14 weeks, long quarter 16-17, half 24-27, nine months 36-40, year 52-53.
SPAN_DAYS = (
    (Span.QUARTER, 83, 99),
    (Span.LONG_QUARTER, 111, 120),
    (Span.HALF, 167, 191),
    (Span.NINE_MONTHS, 251, 281),
    (Span.YEAR, 363, 372),
)
# A year of 53 weeks has 371 days; one of 52 weeks 364, a calendar year at most 366.
LONG_YEAR_DAYS = 369

CUMULATIVE = (Span.QUARTER, Span.HALF, Span.NINE_MONTHS, Span.YEAR)


class Period(NamedTuple):
    """A stretch of whole days, both ends inclusive, ns UTC; `start` 0 makes it an instant."""

    start: int
    end: int

    @property
    def days(self) -> int:
        """Days it covers; 0 for an instant."""
        return 0 if self.start == 0 else (self.end - self.start) // DAY_NS + 1

    @property
    def span(self) -> Span:
        """How long it is."""
        return classify(self.start, self.end)


def classify(start: int, end: int) -> Span:
    """The span of a fact's dates (ns UTC, inclusive; `start` 0 for an instant)."""
    if start == 0:
        return Span.INSTANT
    days = (end - start) // DAY_NS + 1
    for span, least, most in SPAN_DAYS:
        if least <= days <= most:
            return span
    return Span.OTHER


class Slot(NamedTuple):
    """One fiscal quarter. `year_start` is the first day of its fiscal year, 0 when that is not known."""

    period: Period
    year_start: int


class Trailing(NamedTuple):
    """How twelve months are put together: `year` alone, or `year` less `prior` plus `current` (year to date, now and a year before),
    or, without a year, four quarters in a row. `period` is what they cover."""

    period: Period
    year: Period | None
    prior: Period | None
    current: Period | None


@dataclass(frozen=True, slots=True)
class FiscalCalendar:
    """The periods that a company reports, as far as they are known; all tuples ascend in time."""

    years: tuple[Period, ...]
    """Fiscal years of 52 or 53 weeks, from annual reports."""
    transitions: tuple[Period, ...]
    """What lies between two fiscal years that do not meet: a change of fiscal year end."""
    slots: tuple[Slot, ...]
    """Fiscal quarters, reported directly or as the rest of two cumulative periods."""
    cumulative: Mapping[int, Mapping[Span, Period]]
    """Periods by first day and span."""
    variants: Mapping[Period, tuple[Period, ...]]
    """Periods under dates that are a few days off, by the dates that most facts have."""
    slot_ending: Mapping[int, int]
    """Place in `slots` by last day."""
    year_ending: Mapping[int, int]
    """Place in `years` by last day."""

    @classmethod
    def of(cls, reported: Mapping[Period, int], annual: Mapping[Period, int]) -> FiscalCalendar:
        """From the periods of flow facts and how many facts have each: `reported` in any filing, `annual` in annual reports.

        Twelve months that only quarterly reports have are no fiscal year: some companies report a rolling year of cash flow.
        """
        periods, variants = _without_slips(reported)
        years = _years(annual, variants)
        starts = {year.start for year in years} | {year.end + DAY_NS for year in years}
        cumulative: dict[int, dict[Span, Period]] = defaultdict(dict)
        for period in periods:
            span = period.span
            if span in CUMULATIVE and (span is not Span.YEAR or period in years):
                cumulative[period.start][span] = period
                if span in (Span.HALF, Span.NINE_MONTHS):
                    starts.add(period.start)
        slots = _slots(periods, cumulative, sorted(starts))
        transitions = tuple(
            Period(before.end + DAY_NS, after.start - DAY_NS)
            for before, after in pairwise(years)
            if after.start - before.end > DAY_NS
        )
        return cls(
            years,
            transitions,
            slots,
            dict(cumulative),
            variants,
            {slot.period.end: place for place, slot in enumerate(slots)},
            {year.end: place for place, year in enumerate(years)},
        )

    @property
    def newest_end(self) -> int:
        """Last day of the newest period of any span, 0 without one."""
        ends = {*self.slot_ending, *self.year_ending}
        ends.update(period.end for spans in self.cumulative.values() for period in spans.values())
        return max(ends, default=0)

    def is_long(self, year: Period) -> bool:
        """Whether a fiscal year has 53 weeks."""
        return year.days >= LONG_YEAR_DAYS

    def quarter_before(self, place: int, steps: int = 1) -> int | None:
        """Place of the quarter `steps` before, when all those between are known and adjoin."""
        for _ in range(steps):
            before = adjoining(self.slot_ending, self.slots[place].period.start - DAY_NS)
            if before is None:
                return None
            place = before
        return place

    def year_before(self, place: int, steps: int = 1) -> int | None:
        """Place of the fiscal year `steps` before, when all those between are known and adjoin."""
        for _ in range(steps):
            before = adjoining(self.year_ending, self.years[place].start - DAY_NS)
            if before is None:
                return None
            place = before
        return place

    def trailing(self, end: int) -> Trailing | None:
        """The twelve months that end on a day, or None when the reported periods cannot make them."""
        place = self.year_ending.get(end)
        if place is not None:
            year = self.years[place]
            return Trailing(year, year, None, None)
        slot = self.slot_ending.get(end)
        start = self.slots[slot].year_start if slot is not None else 0
        if start == 0:
            start = next((first for first, spans in self.cumulative.items() if _ends(spans, end)), 0)
        last = adjoining(self.year_ending, start - DAY_NS)
        if last is not None:
            year = self.years[last]
            current = next((period for period in self.cumulative.get(start, {}).values() if period.end == end), None)
            prior = self.cumulative.get(year.start, {}).get(current.span) if current is not None else None
            if current is not None and prior is not None:
                return Trailing(Period(prior.end + DAY_NS, end), year, prior, current)
        first_slot = self.quarter_before(slot, 3) if slot is not None else None
        if first_slot is None:
            return None
        period = Period(self.slots[first_slot].period.start, end)
        return Trailing(period, None, None, None) if period.span is Span.YEAR else None


def adjoining(places: Mapping[int, int], end: int) -> int | None:
    """The place under a day or, failing that, under the nearest day that a slip away is."""
    for days in range(SLIP_DAYS + 1):
        for day in (end - days * DAY_NS, end + days * DAY_NS):
            if day in places:
                return places[day]
    return None


def _ends(spans: Mapping[Span, Period], end: int) -> bool:
    return any(period.end == end for period in spans.values())


def _near(one: Period, other: Period) -> bool:
    return (
        one.span is other.span
        and abs(one.start - other.start) <= SLIP_DAYS * DAY_NS
        and abs(one.end - other.end) <= SLIP_DAYS * DAY_NS
    )


def _without_slips(reported: Mapping[Period, int]) -> tuple[tuple[Period, ...], dict[Period, tuple[Period, ...]]]:
    """Periods in order of their end, each under the dates that most facts give it, and the other dates of each."""
    ranked = sorted(reported, key=lambda period: (-reported[period], period))
    by_end: dict[int, list[Period]] = defaultdict(list)
    slips: dict[Period, list[Period]] = defaultdict(list)
    kept: list[Period] = []
    bucket = (SLIP_DAYS + 1) * DAY_NS
    for period in ranked:
        if period.span in (Span.OTHER, Span.INSTANT):
            continue
        place = period.end // bucket
        rivals = (rival for near in (place - 1, place, place + 1) for rival in by_end[near])
        owner = next((rival for rival in rivals if _near(rival, period)), None)
        if owner is None:
            by_end[place].append(period)
            kept.append(period)
        else:
            slips[owner].append(period)
    return tuple(sorted(kept, key=lambda period: (period.end, period.start))), {
        period: tuple(others) for period, others in slips.items()
    }


def _years(annual: Mapping[Period, int], variants: Mapping[Period, tuple[Period, ...]]) -> tuple[Period, ...]:
    """Years that do not overlap, those first that most facts have."""
    owners = {other: period for period, others in variants.items() for other in others}
    votes: Counter[Period] = Counter()
    for period, count in annual.items():
        if period.span is Span.YEAR:
            votes[owners.get(period, period)] += count
    years: list[Period] = []
    slack = SLIP_DAYS * DAY_NS
    for period in sorted(votes, key=lambda candidate: (-votes[candidate], candidate)):
        if all(period.start > other.end - slack or period.end < other.start + slack for other in years):
            years.append(period)
    return tuple(sorted(years))


def _slots(
    periods: Iterable[Period], cumulative: Mapping[int, Mapping[Span, Period]], starts: list[int]
) -> tuple[Slot, ...]:
    """Quarters: what lies between two cumulative periods with one start, and what is reported as a quarter."""
    slots: dict[int, Slot] = {}
    for start in starts:
        spans = cumulative.get(start, {})
        before = None
        for span in CUMULATIVE:
            period = spans.get(span)
            if period is not None:
                first = start if span is Span.QUARTER else before.end + DAY_NS if before is not None else 0
                slot = Period(first, period.end)
                if slot.span in (Span.QUARTER, Span.LONG_QUARTER):
                    slots[slot.end] = Slot(slot, start)
            before = period
    for period in periods:
        if period.span is Span.QUARTER and period.end not in slots:
            slots[period.end] = Slot(period, _year_start(period, starts, cumulative))
    return tuple(sorted(slots.values()))


def _year_start(period: Period, starts: list[int], cumulative: Mapping[int, Mapping[Span, Period]]) -> int:
    """First day of the fiscal year that holds a quarter: the latest known start, unless its year ended before."""
    for start in reversed(starts):
        if abs(start - period.start) <= SLIP_DAYS * DAY_NS:
            return period.start
        if start < period.start:
            year = cumulative.get(start, {}).get(Span.YEAR)
            within = period.end <= year.end if year is not None else Period(start, period.end).days <= SPAN_DAYS[-1][2]
            return start if within else 0
    return 0
