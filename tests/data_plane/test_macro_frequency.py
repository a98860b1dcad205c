"""Frequencies, periods and the end of series: by the calendar, and on what FRED says of 3,100 real series."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.macro.frequency import (
    Frequency,
    Kind,
    Period,
    days_overdue,
    discontinued,
    expected_release,
    from_fred,
    infer,
    release_lag,
)
from tests.data_plane import fred_files

FRIDAY = 4
BUSINESS = Frequency(Kind.DAILY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Daily", BUSINESS),
        ("Daily, Close", BUSINESS),
        ("Daily, 7-Day", Frequency(Kind.DAILY, weekends=True)),
        ("Weekly, Ending Friday", Frequency(Kind.WEEKLY, ending=FRIDAY)),
        ("Weekly", Frequency(Kind.WEEKLY)),
        ("Biweekly, Ending Wednesday", Frequency(Kind.BIWEEKLY, ending=2)),
        ("Monthly", Frequency(Kind.MONTHLY)),
        ("Quarterly, End of Period", Frequency(Kind.QUARTERLY)),
        ("Semiannual", Frequency(Kind.SEMIANNUAL)),
        ("Annual", Frequency(Kind.ANNUAL)),
        ("Not Applicable", None),
    ],
)
def test_freds_words(text: str, expected: Frequency | None) -> None:
    assert from_fred(text) == expected


def test_periods_begin_or_end_on_their_date() -> None:
    day = date(2024, 1, 1)
    assert Frequency(Kind.MONTHLY).period(day) == Period(day, date(2024, 1, 31))
    assert Frequency(Kind.QUARTERLY).period(date(2023, 10, 1)) == Period(date(2023, 10, 1), date(2023, 12, 31))
    assert Frequency(Kind.SEMIANNUAL).period(day) == Period(day, date(2024, 6, 30))
    assert Frequency(Kind.ANNUAL).period(day) == Period(day, date(2024, 12, 31))
    assert Frequency(Kind.WEEKLY, ending=FRIDAY).period(date(2024, 1, 5)) == Period(
        date(2023, 12, 30), date(2024, 1, 5)
    )
    assert Frequency(Kind.BIWEEKLY).period(date(2024, 1, 17)) == Period(date(2024, 1, 4), date(2024, 1, 17))
    assert BUSINESS.period(day) == Period(day, day)


def test_the_following_observation() -> None:
    friday = date(2024, 1, 5)
    assert BUSINESS.following(friday) == date(2024, 1, 8)
    assert Frequency(Kind.DAILY, weekends=True).following(friday) == date(2024, 1, 6)
    assert Frequency(Kind.WEEKLY).following(friday) == date(2024, 1, 12)
    assert Frequency(Kind.QUARTERLY).following(date(2023, 10, 1)) == date(2024, 1, 1)


@settings(deadline=None)
@given(
    st.sampled_from([kind for kind in Kind if kind is not Kind.DAILY]),
    st.booleans(),
    st.dates(date(1950, 1, 1), date(2030, 1, 1)),
    st.integers(3, 40),
    st.randoms(use_true_random=False),
)
def test_frequency_is_known_from_dates_in_any_order(
    kind: Kind, repeated: bool, start: date, count: int, random: Random
) -> None:
    frequency = Frequency(kind, ending=start.weekday() if kind.days else None)
    days = [start.replace(day=1) if kind.months else start]
    for _ in range(count - 1):
        days.append(frequency.following(days[-1]))
    # The periods tile the time without gap or overlap.
    periods = [frequency.period(day) for day in days]
    assert all(b.first - a.last == timedelta(days=1) for a, b in itertools.pairwise(periods))
    if repeated:
        days += days[:2]
    random.shuffle(days)
    assert infer(days) == frequency


@settings(deadline=None)
@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.booleans(), st.integers(14, 60))
def test_days_with_and_without_weekends(start: date, weekends: bool, count: int) -> None:
    frequency = Frequency(Kind.DAILY, weekends)
    days = [start if weekends or start.weekday() < 5 else frequency.following(start)]
    for _ in range(count):
        days.append(frequency.following(days[-1]))
    assert infer(days) == frequency


def test_no_frequency_where_there_is_none() -> None:
    assert infer([]) is None
    assert infer([date(2024, 1, 1), date(2024, 2, 1)]) is None
    assert infer([date(2024, 1, 1), date(2024, 1, 4), date(2024, 1, 9), date(2024, 1, 11)]) is None
    # Every second month is none of FRED's frequencies, nor is a quarter with a month between.
    assert infer([date(2024, month, 1) for month in (1, 3, 5, 7)]) is None
    assert infer([date(2024, month, 1) for month in (1, 4, 7, 8, 11)]) is None
    # Seven days apart, but on no weekday in particular.
    assert infer([date(2024, 1, 1) + timedelta(days=n) for n in (0, 7, 14, 22, 29, 37, 44)]) is None


def test_a_release_is_due_after_the_period_and_its_lag() -> None:
    quarterly = Frequency(Kind.QUARTERLY)
    prints = [(date(2023, 7, 1), date(2023, 10, 26)), (date(2023, 10, 1), date(2024, 1, 25))]
    assert release_lag(quarterly, prints) == 25.5
    assert expected_release(quarterly, date(2023, 10, 1), 25.0) == date(2024, 4, 25)  # as it was
    assert days_overdue(quarterly, date(2023, 10, 1), date(2024, 4, 20), 25.0) == -5
    assert days_overdue(quarterly, date(2023, 10, 1), date(2024, 4, 26), 25.0) == 1
    assert expected_release(quarterly, date(2023, 10, 1)) == date(2024, 8, 13)  # the slowest that is usual
    with pytest.raises(ValueError, match="no first print is known"):
        release_lag(quarterly, [])


def test_the_end_of_a_series() -> None:
    monthly, newest = Frequency(Kind.MONTHLY), date(2024, 1, 1)
    # February's is due by 15 March (lag 15); three months' patience ends in the middle of June.
    assert discontinued("Some Index", monthly, newest, date(2024, 6, 13), 15.0) == ""
    ended = discontinued("Some Index", monthly, newest, date(2024, 6, 15), 15.0)
    assert ended == "nothing came since the observation of 2024-01-01; the next was due by 2024-03-15, 92 days ago"
    assert discontinued("Some Index", monthly, newest, date(2024, 6, 15), 15.0, gaps=4.0) == ""
    assert "title" in discontinued("Some Index (DISCONTINUED)", monthly, newest, newest)
    assert discontinued("Some Index", None, newest, date(2040, 1, 1)) == ""
    # A shut government: six weeks without a daily value are no end.
    assert discontinued("Rate", BUSINESS, date(2025, 10, 1), date(2025, 11, 13)) == ""
    assert discontinued("Rate", BUSINESS, date(2025, 10, 1), date(2025, 12, 13)) != ""


# -- real series ---------------------------------------------------------------------------------------------------------------
def test_dates_alone_tell_the_series_that_fred_calls_discontinued(shared_data: Path) -> None:
    found: Counter[tuple[bool, bool]] = Counter()
    for entry in fred_files.all_series(shared_data):
        frequency = from_fred(entry["frequency"])
        assert frequency is not None, entry["frequency"]
        newest, today = (date.fromisoformat(entry[key]) for key in ("observation_end", "realtime_start"))
        titled = "DISCONTINUED" in entry["title"]
        assert bool(discontinued(entry["title"], frequency, newest, today)) >= titled
        found[titled, bool(discontinued("", frequency, newest, today))] += 1
    # The one that is missed is a bond that matured the day before. The 56 without the word have stood still for 1.5 years or more.
    assert found == {(True, True): 147, (True, False): 1, (False, False): 2907, (False, True): 56}


def test_frequencies_inferred_from_real_observations_are_freds(shared_data: Path) -> None:
    said = {entry["id"]: entry["frequency"] for entry in fred_files.all_series(shared_data)}
    checked = 0
    for path in sorted((shared_data / "fred" / "api_json").glob("series_observations__*.json.gz")):
        name = path.name.removesuffix(".json.gz")
        rows = fred_files.body(shared_data, name).get("observations", [])
        series = name.split("__")[1]
        if series not in said or len({each["date"] for each in rows}) < 3:
            continue
        assert infer([date.fromisoformat(each["date"]) for each in rows]) == from_fred(said[series]), series
        checked += 1
    assert checked >= 60


def test_a_week_is_dated_by_its_end(shared_data: Path) -> None:
    rows = fred_files.body(shared_data, "series_observations__WGS10YR")["observations"]
    assert {date.fromisoformat(each["date"]).weekday() for each in rows} == {FRIDAY}
    frequency = infer([date.fromisoformat(each["date"]) for each in rows])
    assert frequency == Frequency(Kind.WEEKLY, ending=FRIDAY)
    assert frequency is not None
    assert frequency.period(date(2025, 1, 10)) == Period(date(2025, 1, 4), date(2025, 1, 10))


def test_gdp_comes_a_month_after_its_quarter(shared_data: Path) -> None:
    rows = fred_files.body(shared_data, "series_observations__GDP__out=4__rt-start=1776-07-04")["observations"]
    prints = [(date.fromisoformat(each["date"]), date.fromisoformat(each["realtime_start"])) for each in rows]
    quarterly = Frequency(Kind.QUARTERLY)
    lag = release_lag(quarterly, prints)
    assert lag == 29.0
    assert expected_release(quarterly, date(2024, 7, 1), lag) == date(2025, 1, 29)  # it came on 30 January 2025
