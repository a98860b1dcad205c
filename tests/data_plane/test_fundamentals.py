"""Point-in-time fundamentals on made-up filings: periods, versions, splits, derived periods and formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.fundamentals import shares
from data_plane.fundamentals.definitions import Definitions, load
from data_plane.fundamentals.evaluation import Basis, Context, Missing, Value
from data_plane.fundamentals.history import FactHistory, HistoryError, Key
from data_plane.fundamentals.periods import FiscalCalendar, Period, Span, classify
from data_plane.fundamentals.shares import ShareBasis, Split, SplitError
from data_plane.fundamentals.statements import Fundamentals
from data_plane.observations import Filing
from tests.data_plane.fundamentals_support import day, filing

Row = tuple[str, str, str, str, float]


def usd(concept: str, start: str, end: str, value: float) -> Row:
    """A fact in USD."""
    return (concept, "USD", start, end, value)


def company(
    *filings: Filing, definitions: Definitions | None = None, splits: Sequence[Split] | None = None
) -> Fundamentals:
    """A company that has taken these filings."""
    fundamentals = Fundamentals(definitions, splits)
    for item in filings:
        fundamentals.take(item)
    return fundamentals


def value(fundamentals: Fundamentals, time: str, name: str, basis: Basis) -> Value:
    """A value that must be there."""
    found = fundamentals.at(day(time)).value(name, basis)
    assert isinstance(found, Value), found
    return found


def missing(fundamentals: Fundamentals, time: str, name: str, basis: Basis) -> Missing:
    """A reason that must be there."""
    found = fundamentals.at(day(time)).value(name, basis)
    assert isinstance(found, Missing), found
    return found


def numbers(fundamentals: Fundamentals, time: str, name: str, basis: Basis, count: int) -> list[float | None]:
    """Values of a series."""
    return [item.value if item else None for item in fundamentals.at(day(time)).series(name, basis, count)]


QUARTERS = (("01-01", "03-31"), ("04-01", "06-30"), ("07-01", "09-30"), ("10-01", "12-31"))
FILED = ("05-01", "08-01", "11-01")


def cumulative(year: int, totals: Sequence[float], concept: str = "NetIncomeLoss") -> list[Filing]:
    """Three 10-Q and a 10-K of a calendar year, each with the year to date alone: it takes as many as `totals` has."""
    made = []
    for place, total in enumerate(totals):
        accession = f"{year}-{place + 1}"
        row = usd(concept, f"{year}-01-01", f"{year}-{QUARTERS[place][1]}", total)
        filed = f"{year}-{FILED[place]}" if place < 3 else f"{year + 1}-02-15"
        made.append(filing(accession, filed, "10-Q" if place < 3 else "10-K", [row]))
    return made


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


def period(start: str, end: str) -> Period:
    return Period(day(start), day(end))


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


# Derived periods


def test_quarters_from_cumulative_values() -> None:
    made = company(*cumulative(2022, [10, 30, 60, 100]), *cumulative(2023, [15, 40]))
    assert numbers(made, "2023-08-01", "net_income", Basis.QUARTER, 7) == [None, 10, 20, 30, 40, 15, 25]
    found = value(made, "2023-03-01", "net_income", Basis.QUARTER)
    assert (found.how, found.start, found.end) == ("year - nine months", day("2022-10-01"), day("2022-12-31"))
    assert found.available == day("2023-02-15")
    assert value(made, "2022-08-15", "net_income", Basis.QUARTER).how == "half - quarter"
    assert value(made, "2022-11-15", "net_income", Basis.QUARTER).how == "nine months - half"


def test_twelve_months_three_ways() -> None:
    made = company(*cumulative(2022, [10, 30, 60, 100]), *cumulative(2023, [15, 40]))
    assert missing(made, "2022-12-01", "net_income", Basis.TTM).code == "NO_PERIOD"
    assert value(made, "2023-03-01", "net_income", Basis.TTM).value == 100
    half = value(made, "2023-08-01", "net_income", Basis.TTM)
    assert (half.value, half.start, half.end) == (100 - 30 + 40, day("2022-07-01"), day("2023-06-30"))
    assert numbers(made, "2023-08-01", "net_income", Basis.TTM, 4) == [None, 100, 105, 110]
    # Without the annual report: four quarters reported one by one.
    single = company(
        *(
            filing(f"{place}", filed, "10-Q", [usd("NetIncomeLoss", f"{start}", f"{end}", amount)])
            for place, (start, end, filed, amount) in enumerate(
                [
                    ("2022-04-01", "2022-06-30", "2022-08-01", 1),
                    ("2022-07-01", "2022-09-30", "2022-11-01", 2),
                    ("2022-10-01", "2022-12-31", "2023-02-01", 3),
                    ("2023-01-01", "2023-03-31", "2023-05-01", 4),
                ]
            )
        )
    )
    found = value(single, "2023-05-01", "net_income", Basis.TTM)
    assert (found.value, found.how, found.start) == (10, "four quarters", day("2022-04-01"))


def test_the_fourth_quarter_without_nine_months() -> None:
    rows = [usd("NetIncomeLoss", f"2022-{start}", f"2022-{end}", 10) for start, end in QUARTERS[:3]]
    made = company(
        filing("q", "2022-11-01", "10-Q", rows),
        filing("k", "2023-02-01", "10-K", [usd("NetIncomeLoss", "2022-01-01", "2022-12-31", 100)]),
        filing(
            "c",
            "2023-02-02",
            "10-K",
            [usd("OperatingIncomeLoss", "2022-01-01", f"2022-{end}", 1) for _, end in QUARTERS[2:]],
        ),
    )
    found = value(made, "2023-03-01", "net_income", Basis.QUARTER)
    assert (found.value, found.how) == (70, "year - quarter - quarter - quarter")
    assert missing(made, "2023-03-01", "revenue", Basis.QUARTER).code == "NOT_REPORTED"


def test_a_gap_gives_no_value() -> None:
    first, half, nine, year = cumulative(2022, [10, 30, 60, 100])
    made = company(first, half, year)
    assert value(made, "2022-08-01", "net_income", Basis.QUARTER).value == 20
    gap = missing(made, "2023-03-01", "net_income", Basis.QUARTER)
    assert gap.code == "NO_PERIOD", "the quarters three and four cannot be told apart"
    assert value(made, "2023-03-01", "net_income", Basis.YEAR).value == 100
    made.take(nine)
    assert value(made, "2023-03-01", "net_income", Basis.QUARTER).value == 40
    # A year and a first quarter, without the first quarter of the year before.
    late = company(year, *cumulative(2023, [15]))
    assert value(late, "2023-05-01", "net_income", Basis.QUARTER).value == 15
    assert missing(late, "2023-05-01", "net_income", Basis.TTM).code == "NO_PERIOD"


def test_a_restated_part_is_not_mixed_with_a_year_as_first_reported() -> None:
    recast = usd("NetIncomeLoss", "2022-01-01", "2022-09-30", 45)
    made = company(
        *cumulative(2022, [10, 30, 60, 100]),
        filing("r", "2023-11-01", "10-Q", [recast]),
        filing("s", "2024-02-01", "10-K", [usd("NetIncomeLoss", "2022-01-01", "2022-12-31", 80)]),
    )
    for time, expected, available in (("2023-11-01", 40, "2023-02-15"), ("2024-02-01", 35, "2024-02-01")):
        found = made.at(day(time)).series("net_income", Basis.QUARTER, 1)[-1]
        assert found is not None
        assert (found.value, found.available) == (expected, day(available))
    alone = company(
        *cumulative(2022, [10, 30, 60, 100]),
        filing("s", "2024-02-01", "10-K", [usd("NetIncomeLoss", "2022-01-01", "2022-12-31", 80)]),
    )
    assert value(alone, "2024-02-01", "net_income", Basis.QUARTER).value == 40, "the year alone was recast"
    assert value(alone, "2024-02-01", "net_income", Basis.YEAR).value == 80


@pytest.mark.parametrize(
    ("comparative", "expected", "source"),
    [
        (("09-30", 55.0), 45.0, "us-gaap:Revenues"),  # the new tag can alone
        (("06-30", 30.0), 40.0, "us-gaap:Revenues + us-gaap:SalesRevenueNet"),  # both say the same of the half
        (("06-30", 29.0), None, ""),  # they do not: the new one is another thing
        (None, None, ""),  # nothing tells
    ],
)
def test_tags_are_mixed_only_where_they_agree(
    comparative: tuple[str, float] | None, expected: float | None, source: str
) -> None:
    rows = [usd("Revenues", "2022-01-01", "2022-12-31", 100)]
    if comparative:
        rows.append(usd("Revenues", "2022-01-01", f"2022-{comparative[0]}", comparative[1]))
    net = [usd("NetIncomeLoss", "2022-01-01", f"2022-{end}", 1) for _, end in QUARTERS]
    made = company(*cumulative(2022, [10, 30, 60], "SalesRevenueNet"), filing("k", "2023-02-15", "10-K", [*rows, *net]))
    found = made.at(day("2023-03-01")).value("revenue", Basis.QUARTER)
    assert (found.value if isinstance(found, Value) else None) == expected
    assert not isinstance(found, Value) or found.source == source
    total = value(made, "2023-03-01", "revenue", Basis.TTM)
    assert (total.value, total.source) == (100, "us-gaap:Revenues")


def test_a_zero_yields_to_a_value_further_down_the_ladder() -> None:
    year = ("2022-01-01", "2022-12-31")
    rows = [usd("Revenues", *year, 0), usd("SalesRevenueNet", *year, 100), usd("Goodwill", "", "2022-12-31", 0)]
    balances = [usd("Assets", "", "2022-12-31", 10), usd("Cash", "", "2022-12-31", 3)]
    balances.append(usd("CashAndCashEquivalentsAtCarryingValue", "", "2022-12-31", 0))
    made = company(filing("k", "2023-02-15", "10-K", [*rows, *balances]))
    assert value(made, "2023-03-01", "revenue", Basis.YEAR).source == "us-gaap:SalesRevenueNet"
    assert value(made, "2023-03-01", "cash", Basis.INSTANT).value == 3
    assert value(made, "2023-03-01", "goodwill", Basis.INSTANT).value == 0, "a zero alone is a value"


def test_a_stray_tag_yields_to_an_established_one_that_says_otherwise() -> None:
    sales = cumulative(2022, [10, 30, 60], "SalesRevenueNet")
    year = ("2022-01-01", "2022-12-31")
    for stray, source in ((40.0, "us-gaap:SalesRevenueNet"), (100.2, "us-gaap:Revenues")):
        rows = [usd("Revenues", *year, stray), usd("SalesRevenueNet", *year, 100)]
        made = company(*sales, filing("k", "2023-02-15", "10-K", rows))
        assert value(made, "2023-03-01", "revenue", Basis.YEAR).source == source
    # Three periods of one against four of the other: neither is stray, and the ladder decides.
    rows = [usd("Revenues", f"2022-{start}", f"2022-{end}", 5) for start, end in QUARTERS[1:3]]
    rows += [usd("Revenues", *year, 40), usd("SalesRevenueNet", *year, 100)]
    made = company(*sales, filing("k", "2023-02-15", "10-K", rows))
    assert value(made, "2023-03-01", "revenue", Basis.YEAR).value == 40


def test_a_rolling_year_of_a_quarterly_report_is_no_fiscal_year() -> None:
    rolling = usd("NetIncomeLoss", "2022-07-01", "2023-06-30", 111)
    half = [usd("NetIncomeLoss", "2023-01-01", "2023-06-30", 45)]
    made = company(*cumulative(2022, [10, 30, 60, 100]), filing("q", "2023-08-01", "10-Q", [rolling, *half]))
    view = made.at(day("2023-08-01"))
    assert view.reported.calendar.years == (period("2022-01-01", "2022-12-31"),)
    assert day("2022-07-01") not in view.reported.calendar.cumulative
    found = value(made, "2023-08-01", "net_income", Basis.TTM)
    assert (found.value, found.how) == (111, "reported")


def test_twelve_months_do_not_mix_tags_that_disagree() -> None:
    net = [usd("NetIncomeLoss", "2022-01-01", f"2022-{end}", 1) for _, end in QUARTERS]
    net += [usd("NetIncomeLoss", "2023-01-01", "2023-06-30", 1)]
    old = [
        usd("SalesRevenueNet", "2022-01-01", "2022-06-30", 30),
        usd("SalesRevenueNet", "2023-01-01", "2023-06-30", 35),
    ]
    for prior, expected in ((30.0, 105.0), (29.0, None)):
        new = [usd("Revenues", "2022-01-01", "2022-12-31", 100), usd("Revenues", "2022-01-01", "2022-06-30", prior)]
        made = company(
            filing("k", "2023-02-15", "10-K", [*net[:4], *new]), filing("q", "2023-08-01", "10-Q", [net[4], *old])
        )
        found = made.at(day("2023-08-01")).value("revenue", Basis.TTM)
        assert (found.value if isinstance(found, Value) else None) == expected


def test_years_and_facts_under_dates_that_slip() -> None:
    """Most facts date the year 2022 from 2 January, one tag from the 1st; balance sheets are a day off as well."""
    slipped = ("2022-01-02", "2022-12-31")
    rows = [
        usd("NetIncomeLoss", *slipped, 20),
        usd("OperatingIncomeLoss", *slipped, 30),
        usd("Revenues", "2022-01-01", "2022-12-31", 300),
    ]
    balances = [usd("Assets", "", "2021-12-30", 900), usd("Assets", "", "2022-12-30", 1100)]
    made = company(
        filing("a", "2022-02-15", "10-K", [usd("NetIncomeLoss", "2021-01-01", "2021-12-31", 10), balances[0]]),
        filing("b", "2023-02-15", "10-K", [*rows, balances[1]]),
    )
    assert numbers(made, "2023-03-01", "net_income", Basis.YEAR, 2) == [10, 20]
    assert value(made, "2023-03-01", "revenue", Basis.YEAR).value == 300
    assert value(made, "2023-03-01", "asset_turnover", Basis.YEAR).value == pytest.approx(0.3)
    assert value(made, "2023-03-01", "asset_growth", Basis.INSTANT).value == pytest.approx(1100 / 900 - 1)


def test_averages_are_weighted_by_days() -> None:
    concept = "WeightedAverageNumberOfDilutedSharesOutstanding"
    rows = [
        (concept, "shares", "2023-01-01", f"2023-{end}", count)
        for (_, end), count in zip(QUARTERS, (100, 110, 120, 130), strict=True)
    ]
    nets = [usd("NetIncomeLoss", "2023-01-01", f"2023-{end}", 1) for _, end in QUARTERS]
    made = company(filing("k", "2024-02-01", "10-K", [*rows, *nets]))
    last = value(made, "2024-02-01", "shares_diluted", Basis.QUARTER)
    assert last.value == pytest.approx((130 * 365 - 120 * 273) / 92)
    assert value(made, "2024-02-01", "shares_diluted", Basis.TTM).value == 130
    more = company(
        filing("k", "2024-02-01", "10-K", [*rows, *nets]),
        filing(
            "q",
            "2024-05-01",
            "10-Q",
            [(concept, "shares", "2024-01-01", "2024-03-31", 140), usd("NetIncomeLoss", "2024-01-01", "2024-03-31", 1)],
        ),
    )
    found = value(more, "2024-05-01", "shares_diluted", Basis.TTM)
    assert found.value == pytest.approx((130 * 365 - 100 * 90 + 140 * 91) / 366)


# Splits


def test_a_share_basis_multiplies_what_lies_between() -> None:
    basis = ShareBasis((Split(10, 2), Split(20, 3)), (10, 18), "given")
    assert basis.factor(5, 9) == 1
    assert basis.factor(5, 10) == 2
    assert basis.factor(5, 25) == 6
    assert basis.factor(12, 25) == 3
    assert basis.factor(19, 25) == 1
    assert basis.factor(19, 19) == pytest.approx(1 / 3), "counted in shares that do not trade yet"
    assert shares.rebase(12.0, "USD/shares", 3) == 4
    assert shares.rebase(12.0, "shares", 3) == 36
    assert shares.rebase(12.0, "USD", 3) == 12


def per_share(accession: str, available: str, eps: float, count: float, form: str = "10-K") -> Filing:
    """EPS and share counts of 2022."""
    year = ("2022-01-01", "2022-12-31")
    return filing(
        accession,
        available,
        form,
        [
            ("EarningsPerShareDiluted", "USD/shares", *year, eps),
            ("EarningsPerShareBasic", "USD/shares", *year, eps),
            ("WeightedAverageNumberOfDilutedSharesOutstanding", "shares", *year, count),
            usd("NetIncomeLoss", *year, 100),
        ],
    )


def test_a_split_read_from_a_restatement() -> None:
    made = company(per_share("a", "2023-02-01", 4.00, 25.0), per_share("b", "2023-08-01", 1.00, 100.0, "10-Q"))
    basis = made.at(day("2023-08-01")).reported.share_basis
    assert basis.splits == (Split(day("2023-08-01"), 4),)
    assert not made.at(day("2023-07-31")).reported.share_basis.splits
    assert value(made, "2023-08-01", "eps_diluted", Basis.YEAR).value == 1.0


def test_a_reverse_split_and_one_seen_once_only() -> None:
    made = company(
        per_share("a", "2023-02-01", 0.20, 1000.0),
        per_share("b", "2023-08-01", 2.00, 100.0, "10-Q"),
        per_share("c", "2023-11-01", 2.00, 100.0, "10-Q"),
    )
    assert [split.ratio for split in made.at(day("2023-12-01")).reported.share_basis.splits] == [pytest.approx(0.1)]


@pytest.mark.parametrize(
    ("eps", "count"),
    [
        (3.0, 25.0),  # earnings corrected, not the shares
        (4.0, 100.0),  # shares corrected, not the earnings
        (2.0, 25.0),  # half the earnings alone
        (0.02, 5000.0),  # too small a value to tell a ratio
        (4.0, 25_000.0),  # a count in another scale
        (3.92, 25.5),  # shares corrected by 2 %, and so the earnings a share
    ],
)
def test_what_is_no_split(eps: float, count: float) -> None:
    made = company(per_share("a", "2023-02-01", 4.0, 25.0), per_share("b", "2023-08-01", eps, count, "10-K/A"))
    assert not made.at(day("2023-08-01")).reported.share_basis.splits


@pytest.mark.parametrize("ratio", [1.1, 5.88])
def test_an_unusual_ratio_is_that_of_the_counts(ratio: float) -> None:
    eps, count = round(4.0 / ratio, 2), 25e6 * ratio
    made = company(per_share("a", "2023-02-01", 4.0, 25e6), per_share("b", "2023-08-01", eps, count, "10-Q"))
    assert [split.ratio for split in made.at(day("2023-08-01")).reported.share_basis.splits] == [pytest.approx(ratio)]


def test_a_ratio_that_most_changes_do_not_have_is_no_split() -> None:
    year = ("2022-01-01", "2022-12-31")
    others = ("IncrementalCommonShares", "TreasuryStockShares", "CommonStockSharesIssued", "PreferredStockSharesIssued")
    old, new = per_share("a", "2023-02-01", 4.0, 25.0), per_share("b", "2023-08-01", 1.0, 100.0, "10-Q")
    rows = [
        [(concept, "shares", *year, 50.0 * (place + 5) ** power) for place, concept in enumerate(others)]
        for power in (1, 2)
    ]
    made = company(old, new, filing("a", "2023-02-01", "10-K", rows[0]), filing("b", "2023-08-01", "10-Q", rows[1]))
    assert not made.at(day("2023-08-01")).reported.share_basis.splits


def test_earnings_alone_make_no_split() -> None:
    year = ("2022-01-01", "2022-12-31")
    concepts = ("EarningsPerShareDiluted", "EarningsPerShareBasic", "IncomeLossFromContinuingOperationsPerDilutedShare")
    made = company(
        *(
            filing(accession, available, "10-K", [(concept, "USD/shares", *year, eps) for concept in concepts])
            for accession, available, eps in (("a", "2023-02-01", 4.0), ("b", "2023-08-01", 2.0))
        )
    )
    assert not made.at(day("2023-08-01")).reported.share_basis.splits


def test_a_count_in_another_scale_is_left_out() -> None:
    concept = "WeightedAverageNumberOfDilutedSharesOutstanding"
    years = [(concept, "shares", f"{year}-01-01", f"{year}-12-31", 25e6) for year in (2019, 2020, 2021)]
    made = company(
        filing("o", "2022-02-01", "10-K", years),
        per_share("a", "2023-02-01", 4.0, 25e6),
        per_share("b", "2023-08-01", 4.0, 25.0, "10-K/A"),
    )
    found = value(made, "2023-08-01", "shares_diluted", Basis.YEAR)
    assert (found.value, found.available) == (25e6, day("2023-02-01"))


def test_given_splits_and_a_filing_ahead_of_the_ex_date() -> None:
    old, new = per_share("a", "2023-02-01", 4.00, 25.0), per_share("b", "2023-08-01", 1.00, 100.0, "10-Q")
    split = Split(day("2023-08-20"), 4)
    made = company(old, new, per_share("c", "2023-11-01", 1.00, 100.0, "10-Q"), splits=[split])
    # From 1 August the filings count in new shares; the market does from the 20th.
    for time, expected in (("2023-07-31", 4.0), ("2023-08-01", 4.0), ("2023-08-20", 1.0), ("2023-11-01", 1.0)):
        assert value(made, time, "eps_diluted", Basis.YEAR).value == expected
    assert not made.at(day("2023-11-01")).reported.share_basis.notes
    assert made.at(day("2023-07-31")).reported.share_basis.books == (split.time,), "not known before the filing"
    (note,) = company(old, new, splits=[]).at(day("2023-08-01")).reported.share_basis.notes
    assert "b restates 3 facts by 4:1" in note
    with pytest.raises(SplitError, match="positive number"):
        company(old, splits=[Split(1, 0)]).at(day("2023-08-01"))


def test_reverse_splits_are_told_as_such() -> None:
    old, new = per_share("a", "2023-02-01", 0.40, 250.0), per_share("b", "2023-08-01", 4.00, 25.0, "10-Q")
    (note,) = company(old, new).at(day("2023-08-01")).reported.share_basis.notes
    assert "split 1:10" in note


# Currencies, balances and staleness


def test_a_translation_for_convenience_is_not_the_currency() -> None:
    year = ("2022-01-01", "2022-12-31")
    made = company(
        filing(
            "a",
            "2023-04-01",
            "20-F",
            [
                ("ifrs-full:Revenue", "CNY", "2021-01-01", "2021-12-31", 600.0),
                ("ifrs-full:Revenue", "CNY", *year, 700.0),
                ("ifrs-full:Revenue", "USD", *year, 100.0),
                ("ifrs-full:Assets", "CNY", "", "2021-12-31", 1000.0),
                ("ifrs-full:Assets", "CNY", "", "2022-12-31", 1400.0),
                ("ifrs-full:Assets", "USD", "", "2022-12-31", 200.0),
                ("ifrs-full:DilutedEarningsLossPerShare", "USD/shares", *year, 1.0),
                ("ifrs-full:DilutedEarningsLossPerShare", "CNY/shares", *year, 7.0),
                ("ifrs-full:CurrentAssets", "USD", "", "2022-12-31", 50.0),
            ],
        )
    )
    revenue, earnings = (value(made, "2023-05-01", name, Basis.YEAR) for name in ("revenue", "eps_diluted"))
    assert (revenue.value, revenue.unit, earnings.value, earnings.unit) == (700, "CNY", 7, "CNY/shares")
    assert missing(made, "2023-05-01", "current_assets", Basis.INSTANT).code == "NOT_REPORTED"
    assert value(made, "2023-05-01", "asset_turnover", Basis.YEAR).value == pytest.approx(700 / 1200)
    assert value(made, "2023-05-01", "asset_growth", Basis.INSTANT).value == pytest.approx(0.4)
    assert value(made, "2023-05-01", "revenue_growth", Basis.TTM).value == pytest.approx(700 / 600 - 1)
    assert numbers(made, "2023-05-01", "total_assets", Basis.INSTANT, 3) == [None, 1000, 1400]
    assert numbers(made, "2023-05-01", "total_assets", Basis.YEAR, 2) == [1000, 1400]
    assert numbers(made, "2023-05-01", "revenue", Basis.TTM, 3) == [None, 600, 700]


def test_a_change_of_currency_takes_the_new_one() -> None:
    made = company(
        filing(
            "a",
            "2022-04-01",
            "20-F",
            [("ifrs-full:Revenue", "EUR", f"{year}-01-01", f"{year}-12-31", 600.0) for year in (2019, 2020, 2021)],
        ),
        filing("b", "2023-04-01", "20-F", [("ifrs-full:Revenue", "USD", "2022-01-01", "2022-12-31", 700.0)]),
    )
    assert made.as_of(day("2023-03-31")).currency == "EUR"
    assert made.as_of(day("2023-04-01")).currency == "USD"
    assert numbers(made, "2023-04-01", "revenue", Basis.YEAR, 2) == [None, 700]


def test_balance_dates_that_slip_are_one() -> None:
    made = company(
        filing(
            "a", "2023-02-01", "10-K", [usd("Assets", "", "2022-12-31", 10), usd("Liabilities", "", "2022-12-30", 4)]
        ),
        filing("b", "2024-02-01", "10-K", [usd("Assets", "", "2022-12-30", 10), usd("Assets", "", "2023-12-31", 11)]),
    )
    view = made.at(day("2024-02-01"))
    assert view.reported.balance_dates == (day("2022-12-31"), day("2023-12-31"))
    assert value(made, "2023-03-01", "total_assets", Basis.INSTANT).value == 10
    assert view.reported.balance_date(day("2022-12-29")) == day("2022-12-31")
    assert view.reported.balance_date(day("2022-06-30")) == day("2022-06-30")
    found = view.reported.instant(made.definitions["total_liabilities"], day("2022-12-31"))
    assert found is not None
    assert found.value == 4


def test_the_cover_page_of_the_next_report_does_not_count() -> None:
    dei = "dei:EntityCommonStockSharesOutstanding"
    made = company(
        filing(
            "a", "2023-02-01", "10-K", [usd("Assets", "", "2022-12-31", 10), (dei, "shares", "", "2023-01-20", 100.0)]
        ),
        filing(
            "b", "2023-05-01", "10-Q", [usd("Assets", "", "2023-03-31", 11), (dei, "shares", "", "2023-04-20", 90.0)]
        ),
    )
    assert value(made, "2023-03-01", "shares_outstanding", Basis.INSTANT).value == 100
    view = made.at(day("2023-05-01"))
    definition = made.definitions["shares_outstanding"]
    readings = [view.reported.instant(definition, date) for date in view.reported.balance_dates]
    assert [reading.value for reading in readings if reading] == [100, 90]


def test_before_the_first_filing_and_after_the_last() -> None:
    made = company(*cumulative(2022, [10, 30, 60, 100]))
    assert missing(made, "2022-01-01", "net_income", Basis.YEAR) == Missing("STALE", "no filing by then")
    assert value(made, "2024-03-21", "net_income", Basis.YEAR).value == 100
    gone = missing(made, "2024-03-22", "net_income", Basis.YEAR)
    assert (gone.code, gone.detail) == ("STALE", "no filing for 401 days")
    snapshot = company().as_of(day("2024-01-01"))
    assert (snapshot.currency, snapshot.periods[Basis.YEAR]) == ("USD", None)
    assert snapshot.get("revenue", Basis.YEAR) is None


def test_filings_without_statements_do_not_keep_a_period_fresh() -> None:
    made = company(*cumulative(2022, [10, 30, 60, 100]), filing("p", "2024-06-01", "DEF 14A", []))
    old = missing(made, "2024-08-01", "net_income", Basis.YEAR)
    assert old.code == "STALE"
    assert "ended 579 days before" in old.detail


def test_what_is_no_balance_and_what_is_none_but_a_balance() -> None:
    made = company(
        *cumulative(2022, [10, 30, 60, 100]), filing("b", "2023-02-16", "10-K", [usd("Assets", "", "2022-12-31", 5)])
    )
    assert missing(made, "2023-03-01", "net_income", Basis.INSTANT).code == "NO_PERIOD"
    assert missing(made, "2023-03-01", "total_assets", Basis.QUARTER).code == "NO_PERIOD"
    assert value(made, "2023-03-01", "total_assets", Basis.YEAR).end == day("2022-12-31")
    with pytest.raises(KeyError):
        made.at(day("2023-03-01")).value("nonsense", Basis.YEAR)
    with pytest.raises(KeyError):
        made.at(day("2023-03-01")).series("nonsense", Basis.YEAR, 1)
    context = made.at(day("2023-03-01")).newest(Basis.YEAR)
    assert context == Context(Basis.YEAR, period("2022-01-01", "2022-12-31"))


# Formulas


def define(*entries: tuple[str, str, str, str]) -> Definitions:
    """income (flow, anchor), assets (balance, anchor), debt, and (name, kind, unit, formula)."""
    text = ""
    for name, kind, *concepts in (
        ("income", "flow", "NetIncomeLoss", "Profit"),
        ("assets", "instant", "Assets"),
        ("debt", "instant", "Debt"),
        ("sales", "flow", "Sales"),
    ):
        anchor = "anchor = true\n" if name in ("income", "assets") else ""
        tags = [f"us-gaap:{concept}" for concept in concepts]
        text += f'[[fundamental]]\nname="{name}"\nstatement="income"\nkind="{kind}"\nunit="money"\nmeaning="m"\ntags={tags}\n{anchor}'
    for name, kind, unit, formula in entries:
        text += f'[[fundamental]]\nname="{name}"\nstatement="income"\nkind="{kind}"\nunit="{unit}"\nmeaning="m"\nformula="{formula}"\n'
    return load(text)


@pytest.mark.parametrize(
    ("formula", "quarter", "twelve", "year"),
    [
        ("income * 2 - income / 4 + -income", 30.0, 82.5, 75.0),
        ("opening(assets)", 1004.0, 1001.0, 1000.0),
        ("average(assets)", 1004.5, 1003.0, 1002.0),
        ("assets", 1005.0, 1005.0, 1004.0),
        ("lag(income, 2)", 30.0, None, None),
        ("lag(income, 1)", 25.0, None, None),
        ("year_ago(income)", 30.0, None, None),
        ("sum(sales, income, assets)", 1045.0, 1115.0, 1104.0),
        ("first(sales, income)", 40.0, 110.0, 100.0),
        ("max(income, assets)", 1005.0, 1005.0, 1004.0),
        ("min(income, assets)", 40.0, 110.0, 100.0),
        ("max(income, sales)", None, None, None),
        ("sum(sales, debt)", 7.0, 7.0, None),
        ("average(debt)", None, None, None),
        ("opening(debt)", None, None, None),
        ("income + sales", None, None, None),
        ("income * 1 / (1 - 1)", None, None, None),
    ],
)
def test_functions(formula: str, quarter: float | None, twelve: float | None, year: float | None) -> None:
    """Income by quarter is 30, 15, 30, 25 and 40; assets grow by 1 a quarter from 1,000."""
    rows = [
        usd("NetIncomeLoss", "2022-01-01", f"2022-{end}", total)
        for (_, end), total in zip(QUARTERS, (30, 45, 75, 100), strict=True)
    ]
    balances = [usd("Assets", "", f"2022-{end}", 1001.0 + place) for place, (_, end) in enumerate(QUARTERS)]
    balances += [usd("Assets", "", "2021-12-31", 1000.0), usd("Assets", "", "2023-03-31", 1005.0)]
    made = company(
        filing("k", "2023-02-01", "10-K", [*rows, *balances[:5]]),
        filing(
            "q",
            "2023-05-01",
            "10-Q",
            [usd("NetIncomeLoss", "2023-01-01", "2023-03-31", 40.0), balances[5], usd("Debt", "", "2023-03-31", 7.0)],
        ),
        definitions=define(("x", "flow", "money", formula)),
    )
    found = {basis: made.at(day("2023-05-01")).value("x", basis) for basis in (Basis.QUARTER, Basis.TTM, Basis.YEAR)}
    for basis, expected in ((Basis.QUARTER, quarter), (Basis.TTM, twelve), (Basis.YEAR, year)):
        got = found[basis]
        assert (got.value if isinstance(got, Value) else None) == expected, basis
        assert not isinstance(got, Value) or got.source == formula
        assert not isinstance(got, Value) or got.how == "formula"
        assert not isinstance(got, Value) or got.available <= day("2023-05-01")
