"""Fundamentals of made-up filings: derived periods, currencies, balances, staleness and formulas."""

from __future__ import annotations

import pytest

from data_plane.fundamentals.evaluation import Basis, Context, Missing, Value
from tests.data_plane.fundamentals_support import (
    QUARTERS,
    company,
    cumulative,
    day,
    define,
    filing,
    missing,
    numbers,
    period,
    usd,
    value,
)

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
