"""Periods by their own dates, and every version of a fact as it was known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.fundamentals.evaluation import Basis
from data_plane.fundamentals.history import FactHistory, HistoryError, Key
from data_plane.fundamentals.periods import FiscalCalendar, Period, Span, classify
from tests.data_plane.fundamentals_support import (
    company,
    day,
    define,
    filing,
    period,
    usd,
)

# Periods


@pytest.mark.parametrize(
    ("start", "end", "span"),
    [
        ("", "2023-12-31", Span.INSTANT),
        ("2023-01-01", "2023-03-31", Span.QUARTER),
        ("2022-08-29", "2022-11-20", Span.QUARTER),
        ("2022-09-25", "2022-12-31", Span.QUARTER),
        ("2023-05-08", "2023-09-03", Span.LONG_QUARTER),
        ("2023-01-01", "2023-06-30", Span.HALF),
        ("2022-08-29", "2023-02-12", Span.HALF),
        ("2023-01-01", "2023-09-30", Span.NINE_MONTHS),
        ("2022-08-29", "2023-05-07", Span.NINE_MONTHS),
        ("2022-09-25", "2023-07-01", Span.NINE_MONTHS),
        ("2023-01-01", "2023-12-31", Span.YEAR),
        ("2022-09-25", "2023-09-30", Span.YEAR),
        ("2023-01-01", "2023-01-31", Span.OTHER),
        ("2023-01-01", "2023-05-31", Span.OTHER),
        ("2022-01-01", "2023-06-30", Span.OTHER),
    ],
)
def test_spans(start: str, end: str, span: Span) -> None:
    assert classify(day(start) if start else 0, day(end)) is span


def test_a_calendar_has_quarters_between_cumulative_periods() -> None:
    year, nine, half, first = (
        period("2023-01-01", end) for end in ("2023-12-31", "2023-09-30", "2023-06-30", "2023-03-31")
    )
    calendar = FiscalCalendar.of({year: 1, nine: 1, half: 1, first: 1}, {year: 1})
    assert [slot.period.end for slot in calendar.slots] == [item.end for item in (first, half, nine, year)]
    assert {slot.year_start for slot in calendar.slots} == {day("2023-01-01")}
    assert calendar.years == (year,)
    assert calendar.quarter_before(3, 3) == 0
    assert calendar.quarter_before(0) is None
    assert calendar.year_before(0) is None
    assert calendar.trailing(day("2023-09-30")) is None, "the year before is not known"
    assert calendar.trailing(day("2022-06-30")) is None


def test_a_quarter_outside_every_year_has_no_year_start() -> None:
    old, late = period("2020-04-01", "2020-06-30"), period("2023-04-01", "2023-06-30")
    year = period("2021-01-01", "2021-12-31")
    calendar = FiscalCalendar.of({old: 1, late: 1, year: 1}, {year: 1})
    assert {slot.period: slot.year_start for slot in calendar.slots} == {old: 0, late: 0}


def test_overlapping_years_yield_to_the_one_most_facts_have() -> None:
    year, odd = period("2022-01-01", "2022-12-31"), period("2021-07-01", "2022-06-30")
    calendar = FiscalCalendar.of({year: 3, odd: 1}, {year: 3, odd: 1})
    assert calendar.years == (year,)


# Versions


def key(concept: str, start: str, end: str, unit: str = "USD") -> Key:
    return Key(f"us-gaap:{concept}", unit, Period(day(start) if start else 0, day(end)))


def test_a_later_filing_replaces_from_its_own_availability() -> None:
    history = FactHistory()
    for accession, available, amount in (("a", "2023-02-01", 1.0), ("c", "2023-04-01", 2.0), ("b", "2023-03-01", 1.0)):
        assert history.take(filing(accession, available, "10-K", [usd("Assets", "", "2022-12-31", amount)])) == 1
    asked = key("Assets", "", "2022-12-31")
    assert history.as_of(asked, day("2023-01-31")) is None
    for time in ("2023-02-01", "2023-03-15"):
        found = history.as_of(asked, day(time))
        assert found is not None
        assert (found.value, found.accession) == (1.0, "a"), "a repeated value is known since the first"
    assert history.as_of(asked, day("2023-04-01")) == (day("2023-04-01"), "c", 2.0)
    assert history.known_filings(day("2023-03-01")) == 2
    assert history.units("us-gaap:Assets") == ["USD"]
    assert not history.units("us-gaap:Liabilities")


def test_a_filing_twice_and_values_that_are_no_numbers_add_nothing() -> None:
    history = FactHistory()
    rows = [
        usd("Assets", "", "2022-12-31", 1.0),
        usd("Assets", "", "2022-12-31", 1.0),
        usd("Liabilities", "", "2022-12-31", math.nan),
    ]
    assert history.take(filing("a", "2023-02-01", "10-K", rows)) == 1
    assert history.take(filing("a", "2023-02-01", "10-K", rows)) == 0
    assert (history.facts, len(history.filings)) == (1, 1)


def test_two_companies_do_not_mix() -> None:
    history = FactHistory()
    history.take(filing("a", "2023-02-01", "10-K", []))
    with pytest.raises(HistoryError, match="CIK 2 and this history of CIK 1"):
        history.take(filing("b", "2023-02-01", "10-K", [], cik=2))


PERIODS = (("", "2022-12-31"), ("2022-01-01", "2022-12-31"), ("2022-01-01", "2022-09-30"), ("2022-10-01", "2022-12-31"))
FACTS = st.tuples(
    st.sampled_from(["Assets", "NetIncomeLoss", "Profit", "Sales"]), st.sampled_from(PERIODS), st.integers(1, 3)
)
FILINGS = st.lists(
    st.tuples(st.integers(1, 28), st.sampled_from(["10-K", "10-Q", "8-K", "10-K/A"]), st.lists(FACTS, max_size=6)),
    min_size=1,
    max_size=5,
)


@given(FILINGS, st.permutations(range(5)))
@settings(max_examples=100, deadline=None)
def test_the_order_of_arrival_changes_nothing_and_nothing_is_known_early(
    drawn: list[tuple[int, str, list[tuple[str, tuple[str, str], int]]]], order: list[int]
) -> None:
    filings = [
        filing(
            f"{place}", f"2023-02-{date:02}", form, [usd(concept, *dates, amount) for concept, dates, amount in facts]
        )
        for place, (date, form, facts) in enumerate(drawn)
    ]
    definitions = define(("margin", "flow", "ratio", "income / sales"), ("turns", "flow", "ratio", "sales / assets"))
    one = company(*filings, definitions=definitions)
    other = company(*(filings[place] for place in order if place < len(filings)), definitions=definitions)
    for item in filings:
        for time in (item.available_time - 1, item.available_time):
            known = company(*(entry for entry in filings if entry.available_time <= time), definitions=definitions)
            snapshot = one.as_of(time)
            assert snapshot == other.as_of(time) == known.as_of(time)
            assert all(found.available <= time for basis in Basis for found in snapshot.values[basis].values())
