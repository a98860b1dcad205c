"""Fundamentals on SEC's real companyfacts files. Every expected number was read from the file by hand; the accession says where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import cache
from pathlib import Path

import pytest

from data_plane.fundamentals.definitions import standard
from data_plane.fundamentals.evaluation import Basis, Context, Missing, Value
from data_plane.fundamentals.periods import DAY_NS, Period, Span
from data_plane.fundamentals.shares import Split
from data_plane.fundamentals.statements import Fundamentals, Snapshot
from data_plane.observations import Filing
from data_plane.sources.edgar.companyfacts import parse_facts
from tests.data_plane.fundamentals_support import (
    AAPL,
    AMD,
    APH,
    FULL,
    GOOGL,
    KMB,
    LPA,
    PG,
    SNOW,
    TSLA,
    acceptance,
    day,
    document,
    real,
    subset,
)

US = tuple(name for name in FULL if name != LPA)
AAPL_SPLITS = (Split(day("2014-06-09"), 7), Split(day("2020-08-31"), 4))
TSLA_SPLITS = (Split(day("2020-08-31"), 5), Split(day("2022-08-25"), 3))


def company(filings: Iterable[Filing], splits: Sequence[Split] | None = None) -> Fundamentals:
    """A company that has taken all these filings."""
    fundamentals = Fundamentals(splits=splits)
    for filing in filings:
        fundamentals.take(filing)
    return fundamentals


@cache
def whole(shared: Path, name: str) -> Fundamentals:
    """A company that has taken its full file; nobody gives it more."""
    return company(real(shared, name))


def available(filings: Iterable[Filing], accession: str) -> int:
    """When a filing could be known."""
    return next(filing.available_time for filing in filings if filing.accession == accession)


def value(fundamentals: Fundamentals, time: int, name: str, basis: Basis) -> Value:
    """A value that must be there."""
    found = fundamentals.at(time).value(name, basis)
    assert isinstance(found, Value), found
    return found


def at_period(fundamentals: Fundamentals, time: int, name: str, basis: Basis, end: str) -> Value | None:
    """A value of the period that ended on a date, of the newest 40."""
    return next((item for item in fundamentals.at(time).series(name, basis, 40) if item and item.end == day(end)), None)


def test_an_amended_annual_report_counts_from_its_own_acceptance(shared_data: Path) -> None:
    """AAPL FY2009: EPS 6.29 in the 10-K 0001193125-09-214859, 9.08 in the 10-K/A 0001193125-10-012091."""
    filings = real(shared_data, AAPL)
    apple = company(filings, ())
    amended = available(filings, "0001193125-10-012091")
    before, after = (value(apple, time, "eps_diluted", Basis.YEAR) for time in (amended - 1, amended))
    assert (before.value, after.value) == (6.29, 9.08)
    assert before.available == available(filings, "0001193125-09-214859")
    assert after.available == amended


def test_an_amended_quarterly_report_mends_a_scale(shared_data: Path) -> None:
    """KMB's 10-Q 0000055785-10-000019 gives assets of 18,997 (millions); its 10-Q/A 0000055785-10-000026 of 18,997,000,000."""
    filings = real(shared_data, KMB)
    kmb = whole(shared_data, KMB)
    amended = available(filings, "0000055785-10-000026")
    assert value(kmb, amended - 1, "total_assets", Basis.INSTANT).value == 18_997
    assert value(kmb, amended, "total_assets", Basis.INSTANT).value == 18_997_000_000


def test_a_restated_nine_months_is_not_taken_from_a_year_as_first_reported(shared_data: Path) -> None:
    """KMB operating income of 2024: year 3,210 (10-K 0000055785-25-000013), nine months 2,662. The 10-Q 0001628280-25-047387 recasts
    the nine months to 2,280 for a business sold, the 8-K 0001628280-25-055209 later the year to 2,700."""
    filings = real(shared_data, KMB)
    kmb = whole(shared_data, KMB)
    nine_months, year = (
        available(filings, accession) for accession in ("0001628280-25-047387", "0001628280-25-055209")
    )
    for time, expected in ((nine_months - 1, 548e6), (nine_months, 548e6), (year - 1, 548e6), (year, 420e6)):
        found = at_period(kmb, time, "operating_income", Basis.QUARTER, "2024-12-31")
        assert found is not None
        assert (found.value, found.how) == (expected, "year - nine months")


def test_year_to_date_cash_flow_becomes_quarters_and_twelve_months(shared_data: Path) -> None:
    """AAPL reports cash flow cumulatively: FY2023 34,005, 62,565 (0000320193-23-000064), 88,945, 110,543 million."""
    apple = whole(shared_data, AAPL)
    time = day("2023-11-10")
    quarters = [item.value for item in apple.at(time).series("operating_cash_flow", Basis.QUARTER, 4) if item]
    assert quarters == [34_005e6, 28_560e6, 26_380e6, 21_598e6]
    assert value(apple, time, "operating_cash_flow", Basis.TTM).value == 110_543e6
    # Half of FY2023: the year before (122,151, 0000320193-22-000108) less its half (75,132, 0000320193-22-000059) and this one.
    half = value(apple, day("2023-05-10"), "operating_cash_flow", Basis.TTM)
    assert half.value == 122_151e6 - 75_132e6 + 62_565e6
    assert half.how == "year - prior year to date + year to date"


def test_years_of_53_weeks(shared_data: Path) -> None:
    """AAPL's FY2023 began with a quarter of 14 weeks; AMD's FY2022 ended with one."""
    apple = whole(shared_data, AAPL).at(day("2023-11-10"))
    calendar = apple.reported.calendar
    year = calendar.years[-1]
    assert year == Period(day("2022-09-25"), day("2023-09-30"))
    assert calendar.is_long(year)
    assert not calendar.is_long(calendar.years[-2])
    assert calendar.slots[-4].period == Period(day("2022-09-25"), day("2022-12-31"))
    assert calendar.slots[-4].period.days == 98
    amd = whole(shared_data, AMD)
    # 10-K 0000002488-23-000047: revenue 23,601, net income 1,320; 10-Q 0000002488-22-000170: 18,002 and 1,299 in nine months.
    assert value(amd, day("2023-03-01"), "revenue", Basis.QUARTER).value == 5_599e6
    income = value(amd, day("2023-03-01"), "net_income", Basis.QUARTER)
    assert (income.value, income.start, income.end) == (21e6, day("2022-09-25"), day("2022-12-31"))


def test_quarters_of_12_and_16_weeks(shared_data: Path) -> None:
    """COST: net income of FY2023 6,292 (10-K 0000909832-23-000042) less 4,132 in 36 weeks (0000909832-23-000028): 17 weeks."""
    costco = company(subset(shared_data, "COST"))
    found = value(costco, day("2023-11-01"), "net_income", Basis.QUARTER)
    assert (found.value, found.start, found.end) == (2_160e6, day("2023-05-08"), day("2023-09-03"))
    assert Period(found.start, found.end).span is Span.LONG_QUARTER
    assert value(costco, day("2023-11-01"), "net_income", Basis.TTM).value == 6_292e6


def test_a_calendar_year_is_no_year_of_53_weeks(shared_data: Path) -> None:
    """KMB reports calendar quarters."""
    calendar = whole(shared_data, KMB).at(day("2026-03-01")).reported.calendar
    assert {year.days for year in calendar.years} == {365, 366}
    assert not any(calendar.is_long(year) for year in calendar.years)
    assert not calendar.transitions


def test_a_change_of_fiscal_year_end_leaves_a_transition_period(shared_data: Path) -> None:
    """GS moved its year end from November to December: 2008-11-29 to 2008-12-26 is in neither year (10-K 0000950123-10-018464)."""
    goldman = company(subset(shared_data, "GS"))
    view = goldman.at(day("2010-03-10"))
    assert view.reported.calendar.transitions == (Period(day("2008-11-29"), day("2008-12-26")),)
    assert view.series("net_income", Basis.YEAR, 2)[0] is None, "the year before does not adjoin"
    quarter = at_period(goldman, day("2010-03-10"), "net_income", Basis.QUARTER, "2009-09-25")
    assert quarter is not None
    assert quarter.value == 3_188e6


def test_dates_that_slip_by_a_day_are_one_year(shared_data: Path) -> None:
    """CAT's 10-K 0001104659-11-008938 dates 2009 from 2008-12-31, its 10-K 0000018230-10-000092 from 2009-01-01: net income 895."""
    caterpillar = company(subset(shared_data, "CAT"))
    for time in (day("2010-03-01"), day("2011-03-01")):
        years = caterpillar.at(time).reported.calendar.years
        assert [year.end for year in years] == [
            day(f"{year}-12-31") for year in range(2007, 2010 + (time > day("2011-01-01")))
        ]
        found = caterpillar.at(time).series("net_income", Basis.YEAR, len(years))
        assert all(found), "the years adjoin"
        assert found[2] is not None
        assert found[2].value == 895e6


def test_a_rolling_twelve_months_is_no_fiscal_year(shared_data: Path) -> None:
    """AMZN's 10-Q 0001193125-12-317409 gives the operating cash flow of 2011-07-01 to 2012-06-30 as 3,222 million."""
    amazon = company(subset(shared_data, "AMZN"))
    view = amazon.at(day("2012-08-01"))
    assert [year.end for year in view.reported.calendar.years][-1] == day("2011-12-31")
    found = view.value("operating_cash_flow", Basis.TTM)
    assert isinstance(found, Value)
    assert (found.value, found.how, found.start) == (3_222e6, "reported", day("2011-07-01"))


@pytest.mark.parametrize("given", [True, False])
def test_apple_splits_bring_every_share_to_one_basis(shared_data: Path, given: bool) -> None:
    """AAPL 4:1: year 11.89 (0000320193-19-000119), nine months 8.86 and 10.16 (0000320193-20-000062) before; year 2020 3.28 after."""
    filings = real(shared_data, AAPL)
    apple = company(filings, AAPL_SPLITS if given else None)
    before, between = day("2020-08-30"), day("2020-09-15")
    assert value(apple, before, "eps_diluted", Basis.TTM).value == pytest.approx(11.89 - 8.86 + 10.16)
    # Between the ex-date and the next filing only the list of splits can know.
    factor = 4 if given else 1
    assert value(apple, between, "eps_diluted", Basis.TTM).value == pytest.approx(13.19 / factor)
    assert value(apple, between, "eps_diluted", Basis.QUARTER).value == pytest.approx(2.58 / factor)
    after = apple.at(available(filings, "0000320193-20-000096"))
    years = [item.value for item in after.series("eps_diluted", Basis.YEAR, 4) if item]
    # FY2017's 9.21 (0000320193-17-000070) is not restated in the 10-K for 2020; the three after it are.
    assert years == pytest.approx([9.21 / 4, 2.98, 2.97, 3.28])
    counts = [item.value for item in after.series("shares_diluted", Basis.YEAR, 9) if item]
    assert max(counts) / min(counts) < 1.7, "share counts of nine years through two splits"


def test_a_given_split_before_its_ex_date_changes_nothing(shared_data: Path) -> None:
    apple, plain = company(real(shared_data, AAPL), AAPL_SPLITS), company(real(shared_data, AAPL), ())
    time = day("2014-06-08")
    for name in ("eps_diluted", "shares_diluted"):
        assert apple.at(time).series(name, Basis.QUARTER, 8) == plain.at(time).series(name, Basis.QUARTER, 8)


def test_tesla_splits(shared_data: Path) -> None:
    """TSLA 3:1: year 2021 4.90 (0000950170-22-000796), half of 2022 4.82, 9 months of 2022 2.55 and of 2021 0.95 (0000950170-22-019867)."""
    filings = real(shared_data, TSLA)
    tesla = company(filings, TSLA_SPLITS)
    assert value(tesla, day("2022-08-24"), "eps_diluted", Basis.QUARTER).value == pytest.approx(1.95)
    assert value(tesla, day("2022-09-15"), "eps_diluted", Basis.QUARTER).value == pytest.approx(0.65)
    after = available(filings, "0000950170-22-019867")
    assert value(tesla, after, "eps_diluted", Basis.TTM).value == pytest.approx(4.90 / 3 - 0.95 + 2.55)
    # Diluted shares: 1,155 million in the second quarter (0000950170-22-012936), 3,468 million in the third.
    counts = [item.value for item in tesla.at(after).series("shares_diluted", Basis.QUARTER, 2) if item]
    assert counts == [3_465e6, 3_468e6]
    # 2019: -4.92 a share in the 10-K 0001564590-20-004475, which is -0.33 after 5:1 and 3:1.
    oldest = at_period(tesla, after, "eps_diluted", Basis.YEAR, "2019-12-31")
    assert oldest is not None
    assert oldest.value == pytest.approx(-0.98 / 3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (AAPL, [("2014-07-24", 7), ("2020-10-30", 4)]),
        (APH, [("2014-11-05", 2), ("2021-04-30", 2), ("2024-07-27", 2)]),
        (TSLA, [("2020-10-26", 5), ("2022-10-24", 3)]),
        (GOOGL, [("2022-07-28", 20)]),
        (AMD, []),
        (KMB, []),
        (PG, []),
        (SNOW, []),
    ],
)
def test_splits_show_in_restatements(shared_data: Path, name: str, expected: list[tuple[str, float]]) -> None:
    """Without a list, a split counts from the first filing that restates; AMD, KMB, PG and SNOW had none."""
    filings = real(shared_data, name)
    basis = whole(shared_data, name).at(filings[-1].available_time).reported.share_basis
    found = [(split.time // DAY_NS * DAY_NS, split.ratio) for split in basis.splits]
    assert found == [(day(date), ratio) for date, ratio in expected]
    assert len(basis.notes) == len(expected)
    assert all("give the splits" in note for note in basis.notes)


def test_a_missing_split_is_noted(shared_data: Path) -> None:
    apple = company(real(shared_data, AAPL), AAPL_SPLITS[:1])
    (note,) = apple.at(day("2020-11-10")).reported.share_basis.notes
    assert "0000320193-20-000096" in note
    assert "4:1" in note
    assert not company(real(shared_data, AAPL), AAPL_SPLITS).at(day("2020-11-10")).reported.share_basis.notes


def test_a_recapitalisation_has_the_ratio_of_its_counts(shared_data: Path) -> None:
    """LPA restates 168,142,740 shares of 2023 to 28,600,000 and 0.019 a share to 0.11 (20-F 0001997711-25-000030)."""
    filings = real(shared_data, LPA)
    basis = whole(shared_data, LPA).at(filings[-1].available_time).reported.share_basis
    assert [split.ratio for split in basis.splits] == [pytest.approx(28_600_000 / 168_142_740)]
    oldest = whole(shared_data, LPA).at(filings[-1].available_time).series("eps_basic", Basis.YEAR, 4)[0]
    assert oldest is not None
    assert oldest.value == pytest.approx(0.025 * 168_142_740 / 28_600_000)


def test_tag_changes_leave_no_gap(shared_data: Path) -> None:
    """AAPL: SalesRevenueNet to 2018-06, Revenues in the 10-K for 2018, RevenueFromContractWithCustomer... from 2019 on."""
    apple = whole(shared_data, AAPL)
    expected = {"2018-06-30": 53_265e6, "2018-09-29": 62_900e6, "2018-12-29": 84_310e6}
    tags = set()
    for end, revenue in expected.items():
        known = day("2019-02-10")
        found = at_period(apple, known, "revenue", Basis.QUARTER, end)
        assert found is not None
        assert found.value == revenue
    for time in ("2018-08-10", "2018-11-20", "2019-02-10"):
        tags.add(value(apple, day(time), "revenue", Basis.QUARTER).source)
        assert all(apple.at(day(time)).series("revenue", Basis.QUARTER, 12))
        assert value(apple, day(time), "revenue", Basis.TTM)
    assert tags == {
        "us-gaap:SalesRevenueNet",
        "us-gaap:Revenues",
        "us-gaap:RevenueFromContractWithCustomerExcludingAssessedTax",
    }
    # Year 2018 as Revenues, the quarters on either side of it under other tags: 265,595 - 88,293 + 84,310.
    twelve = value(apple, day("2019-02-10"), "revenue", Basis.TTM)
    assert twelve.value == 261_612e6


def test_a_zero_under_a_better_tag_is_no_value(shared_data: Path) -> None:
    """ETN's 10-K 0001551182-14-000011 gives Revenues 0 and SalesRevenueNet 22,046 million for 2013."""
    found = value(company(subset(shared_data, "ETN")), day("2014-03-10"), "revenue", Basis.YEAR)
    assert (found.value, found.source) == (22_046e6, "us-gaap:SalesRevenueNet")


def test_a_stray_tag_does_not_beat_an_established_one(shared_data: Path) -> None:
    """PG's 10-K 0000080424-14-000057 gives its revenue in the United States as Revenues, 29,400; SalesRevenueNet is 83,062 million."""
    found = value(whole(shared_data, PG), day("2014-08-20"), "revenue", Basis.YEAR)
    assert (found.value, found.source) == (83_062e6, "us-gaap:SalesRevenueNet")


def test_the_cover_page_counts_shares_after_the_balance_sheet(shared_data: Path) -> None:
    """AAPL's 10-Q 0000320193-24-000006: 15,441,881,000 shares on 2024-01-19 (dei), 15,460,223,000 on 2023-12-30 (us-gaap)."""
    found = value(whole(shared_data, AAPL), day("2024-02-10"), "shares_outstanding", Basis.INSTANT)
    assert (found.value, found.source) == (15_441_881_000, "dei:EntityCommonStockSharesOutstanding")
    # GOOGL counts each class on its cover and has no total there: 13,078 million on 2022-06-30 (0001652044-22-000071).
    found = value(whole(shared_data, GOOGL), day("2022-08-10"), "shares_outstanding", Basis.INSTANT)
    assert (found.value, found.source) == (13_078e6, "us-gaap:CommonStockSharesOutstanding")


def test_a_foreign_filer_with_ifrs(shared_data: Path) -> None:
    """LPA's 20-F 0001997711-25-000030: revenue 43,862,372, a loss of -19,426,051 and assets of 607,019,578 USD; no quarters."""
    filings = real(shared_data, LPA)
    snapshot = company(filings).as_of(filings[-1].available_time)
    assert snapshot.currency == "USD"
    assert snapshot.periods[Basis.QUARTER] is None
    assert all(missing.code == "NO_PERIOD" for missing in snapshot.absent[Basis.QUARTER].values())
    revenue, assets = snapshot.values[Basis.TTM]["revenue"], snapshot.values[Basis.INSTANT]["total_assets"]
    assert (revenue.value, revenue.source, revenue.unit) == (43_862_372, "ifrs-full:Revenue", "USD")
    assert assets.value == 607_019_578
    equity = snapshot.values[Basis.INSTANT]["total_equity"].value
    assert assets.value == snapshot.values[Basis.INSTANT]["total_liabilities"].value + equity
    assert len(snapshot.values[Basis.YEAR]) >= 100


def test_a_foreign_filer_keeps_its_currency(shared_data: Path) -> None:
    """ASML's 20-F 0000937966-25-000009: net income 7,571,600,000 and assets 48,589,600,000 EUR."""
    snapshot = company(subset(shared_data, "ASML")).as_of(day("2025-04-01"))
    assert snapshot.currency == "EUR"
    income = snapshot.values[Basis.YEAR]["net_income"]
    assert (income.value, income.unit) == (7_571_600_000, "EUR")
    assert snapshot.values[Basis.INSTANT]["total_assets"].value == 48_589_600_000
    money = {definition.name for definition in standard().values() if definition.unit == "money"}
    assert {item.unit for basis in Basis for item in snapshot.values[basis].values() if item.name in money} == {"EUR"}


def test_companyfacts_marks_the_filing_and_not_the_period(shared_data: Path) -> None:
    """In AAPL's 10-K for 2020 (0000320193-20-000096) the years 2018 to 2020 and the quarters of 2019 are all marked 2020, FY."""
    content = document(shared_data / "sec" / "companyfacts" / f"{AAPL}.json.gz")
    rows = content["facts"]["us-gaap"]["EarningsPerShareDiluted"]["units"]["USD/shares"]
    annual = [row for row in rows if row["accn"] == "0000320193-20-000096"]
    assert len(annual) == 11
    assert {(row["fy"], row["fp"]) for row in annual} == {(2020, "FY")}
    assert {Period(day(row["start"]), day(row["end"])).span for row in annual} == {Span.QUARTER, Span.YEAR}


def test_repeated_rows_add_nothing(shared_data: Path) -> None:
    """AAPL's net cash of FY2023 stands in three 10-Ks; it is known since the first (0000320193-23-000106)."""
    filings = real(shared_data, AAPL)
    apple = company(filings)
    found = at_period(apple, filings[-1].available_time, "operating_cash_flow", Basis.YEAR, "2023-09-30")
    assert found is not None
    assert found.available == available(filings, "0000320193-23-000106")
    assert sum(apple.take(filing) for filing in filings) == 0
    assert apple.history.facts == sum(len(filing.facts) for filing in filings)


@pytest.mark.parametrize("name", FULL)
def test_nothing_is_known_before_its_filing(shared_data: Path, name: str, counts: Callable[[int, int], int]) -> None:
    """Just before and at a filing's time, the answers are those of a history that ends there, taken in the opposite order."""
    filings = real(shared_data, name)
    everything = whole(shared_data, name)
    every = max(1, len(filings) // counts(2, 40))
    for last in range(1, len(filings) + 1, every):
        time = filings[last - 1].available_time
        for moment in (time - 1, time):
            known = [filing for filing in filings if filing.available_time <= moment]
            snapshot = everything.as_of(moment)
            assert snapshot == company(reversed(known)).as_of(moment)
            assert all(item.available <= moment for basis in Basis for item in snapshot.values[basis].values())


@pytest.mark.parametrize("name", US)
def test_quarters_add_up_to_years(shared_data: Path, name: str) -> None:
    """At each annual report: four quarters make the year within a thousandth, but for quarters restated within the year."""
    filings = real(shared_data, name)
    fundamentals = whole(shared_data, name)
    checked = wrong = 0
    for filing in filings:
        if not filing.form.startswith("10-K"):
            continue
        view = fundamentals.at(filing.available_time)
        year, quarter = view.newest(Basis.YEAR), view.newest(Basis.QUARTER)
        if not isinstance(year, Context) or not isinstance(quarter, Context) or year.period.end != quarter.period.end:
            continue
        for field in ("revenue", "net_income", "operating_cash_flow", "capital_expenditure", "income_tax_expense"):
            total, quarters = view.value(field, Basis.YEAR), view.series(field, Basis.QUARTER, 4)
            if isinstance(total, Missing) or None in quarters:
                continue
            checked += 1
            wrong += abs(sum(item.value for item in quarters if item) - total.value) > 0.001 * abs(total.value)
            twelve = view.value(field, Basis.TTM)
            assert isinstance(twelve, Value)
            assert twelve.value == total.value
    assert checked >= 15
    assert wrong <= 0.05 * checked


def test_quarters_add_up_to_years_in_many_companies(shared_data: Path) -> None:
    """The same of 42 companies of which the files hold core concepts. What does not fit was restated within the year, or is a quarterly
    table that the filer tagged wrongly (AMZN's 10-K 0001193125-13-028520 gives the quarters of 2011 under the dates of 2012)."""
    checked = wrong = 0
    for path in sorted((shared_data / "sec" / "companyfacts_subset91").glob("*.json.gz")):
        filings = subset(shared_data, path.name.removesuffix(".json.gz"))
        fundamentals = company(filings, ())
        for filing in filings:
            if filing.form != "10-K":
                continue
            view = fundamentals.at(filing.available_time)
            year, quarter = view.newest(Basis.YEAR), view.newest(Basis.QUARTER)
            if isinstance(year, Missing) or isinstance(quarter, Missing) or year.period.end != quarter.period.end:
                continue
            for field in ("revenue", "net_income", "operating_cash_flow"):
                total, quarters = view.value(field, Basis.YEAR), view.series(field, Basis.QUARTER, 4)
                if isinstance(total, Value) and None not in quarters:
                    checked += 1
                    wrong += abs(sum(item.value for item in quarters if item) - total.value) > 0.001 * abs(total.value)
    assert checked >= 1_200
    assert wrong <= 0.015 * checked


@pytest.mark.parametrize("name", FULL)
def test_assets_are_liabilities_and_equity(shared_data: Path, name: str) -> None:
    """At each filing; TSLA's convertible notes in mezzanine equity have no tag in 2013-2015, some 1 to 4 % of its assets."""
    filings = real(shared_data, name)
    fundamentals = whole(shared_data, name)
    checked = wrong = 0
    for filing in filings:
        values = fundamentals.at(filing.available_time)
        assets, both = (values.value(field, Basis.INSTANT) for field in ("total_assets", "liabilities_and_equity"))
        parts = [
            values.value(field, Basis.INSTANT) for field in ("total_liabilities", "total_equity", "mezzanine_equity")
        ]
        if isinstance(assets, Missing) or isinstance(both, Missing) or isinstance(parts[0], Missing):
            continue
        assert both.value == assets.value
        checked += 1
        rest = assets.value - sum(part.value for part in parts if isinstance(part, Value))
        wrong += abs(rest) > 0.001 * assets.value
        assert abs(rest) < 0.05 * assets.value
    assert checked >= 2
    assert wrong == 0 or name == TSLA


def share(snapshot: Snapshot, names: Iterable[str], bases: Iterable[Basis]) -> float:
    """Part of the definitions that have a value on any of the bases."""
    wanted = list(names)
    return sum(any(name in snapshot.values[basis] for basis in bases) for name in wanted) / len(wanted)


@pytest.mark.parametrize("name", US)
def test_most_definitions_have_a_value(shared_data: Path, name: str) -> None:
    """Of those whose tags the company ever used, or that are formulas alone: 78 % in the newest report, 86 % with the last year's."""
    filings = real(shared_data, name)
    fundamentals = whole(shared_data, name)
    snapshot = fundamentals.as_of(filings[-1].available_time)
    used = [
        definition.name
        for definition in standard().values()
        if not definition.tags or any(fundamentals.history.units(tag.concept) for tag in definition.tags)
    ]
    assert len(used) >= 150
    assert share(snapshot, used, (Basis.TTM, Basis.INSTANT)) >= 0.78
    assert share(snapshot, used, (Basis.TTM, Basis.INSTANT, Basis.YEAR)) >= 0.86
    for basis in Basis:
        assert not set(snapshot.values[basis]) & set(snapshot.absent[basis])
        assert len(snapshot.values[basis]) + len(snapshot.absent[basis]) == len(standard())


def test_filings_of_the_edgar_source_give_what_its_concepts_hold(shared_data: Path) -> None:
    """The parser of the source keeps few concepts; from these its filings give the same values as from all."""
    content = document(shared_data / "sec" / "companyfacts" / f"{AAPL}.json.gz")
    accepted = acceptance(shared_data / "sec" / "submissions", 320193)
    parsed = [item for item in parse_facts("AAPL", content, accepted, date(2009, 1, 1), 0) if isinstance(item, Filing)]
    apple, careful = company(parsed), whole(shared_data, AAPL)
    time = parsed[-1].available_time
    for name, basis in (("revenue", Basis.TTM), ("eps_diluted", Basis.TTM), ("total_assets", Basis.INSTANT)):
        assert value(apple, time, name, basis) == value(careful, time, name, basis)


def test_silence_makes_everything_stale(shared_data: Path) -> None:
    """TSLA's file ends on 2022-10-24: all is there 400 days later, nothing the day after."""
    filings = real(shared_data, TSLA)
    tesla, last = whole(shared_data, TSLA), filings[-1].available_time
    assert tesla.as_of(last + 400 * DAY_NS).values[Basis.QUARTER]
    silent = tesla.as_of(last + 401 * DAY_NS)
    assert not any(silent.values.values())
    assert {missing.code for missing in silent.absent[Basis.YEAR].values()} == {"STALE"}
