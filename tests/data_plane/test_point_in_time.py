"""Law L3 for reported facts and macro values: nothing is usable before the world could know it. On real SEC and FRED documents."""

from __future__ import annotations

import gzip
import json
import math
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.gates.values import impossible
from data_plane.observations import Filing, Malformed, Vintage
from data_plane.point_in_time import filing_available, open_after, read_acceptance, release_available
from data_plane.sources.edgar.companyfacts import parse_facts
from data_plane.sources.edgar.source import Submissions
from data_plane.sources.fred.answers import parse_observations, parse_value
from triplane.domain.calendars import session_open
from triplane.domain.timestamps import at, from_datetime, iso, to_datetime

NEW_YORK = ZoneInfo("America/New_York")


def load(path: Path) -> dict[str, Any]:
    with gzip.open(path, "rt") as file:
        document: dict[str, Any] = json.load(file)
    return document


@pytest.mark.parametrize(
    ("text", "reading", "utc"),
    [
        # 06:01 UTC would be 01:01 in New York, when EDGAR is closed.
        ("2026-01-30T06:01:32.000Z", "eastern", "2026-01-30T11:01:32Z"),
        # 02:30 in New York is impossible, 02:30 UTC is 21:30 of the evening before.
        ("2018-01-20T02:30:00.000Z", "utc", "2018-01-20T02:30:00Z"),
        # Either is possible: the later one.
        ("2018-02-01T16:30:00.000Z", "eastern", "2018-02-01T21:30:00Z"),
        ("2018-07-02T16:30:00.000Z", "eastern", "2018-07-02T20:30:00Z"),
        # Neither is: the later one.
        ("2018-02-01T04:00:00.000Z", "eastern", "2018-02-01T09:00:00Z"),
        # An explicit offset needs no guess.
        ("2018-02-01T16:30:00-05:00", "utc", "2018-02-01T21:30:00Z"),
    ],
)
def test_the_false_z_is_read_by_impossible_hours(text: str, reading: str, utc: str) -> None:
    acceptance = read_acceptance(text)
    assert (acceptance.reading, iso(acceptance.time)) == (reading, utc)


@given(st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001
def test_no_reading_is_earlier_than_a_possible_true_one(stamp: datetime) -> None:
    """Whichever zone the filer's time was in, and EDGAR being open then, the reading is not before it."""
    read = read_acceptance(stamp.isoformat() + "Z").time
    for zone in (NEW_YORK, ZoneInfo("UTC")):
        truth = stamp.replace(tzinfo=zone)
        if 6 <= truth.astimezone(NEW_YORK).hour < 22:
            other = stamp.replace(tzinfo=NEW_YORK if zone is not NEW_YORK else ZoneInfo("UTC"))
            only = not 6 <= other.astimezone(NEW_YORK).hour < 22
            assert read >= from_datetime(truth) or not only
            if zone is NEW_YORK:
                assert read == from_datetime(truth)


def test_a_filing_is_usable_from_its_acceptance_or_its_filing_day() -> None:
    assert iso(filing_available(date(2018, 2, 2), "2018-02-02T08:01:37.000Z")) == "2018-02-02T13:01:37Z"
    # Accepted in the evening, it carries the next day's date and is disseminated then.
    assert filing_available(date(2018, 2, 2), "2018-02-01T21:05:00.000Z") == at(date(2018, 2, 2), time(6))
    # Without an acceptance time: the next session after it was filed (a Friday).
    assert filing_available(date(2018, 2, 2), "") == session_open("XNYS", date(2018, 2, 5))
    assert open_after(date(1980, 1, 1)) == session_open("XNYS", date(1990, 1, 2))
    assert release_available(date(2018, 2, 2)) == session_open("XNYS", date(2018, 2, 5))


def test_facts_of_real_filers_are_not_usable_before_acceptance(shared_data: Path) -> None:
    readings: dict[str, set[str]] = {}
    for cik in ("0000320193", "0001318605", "0000002488", "0000055785"):
        submissions = Submissions.parse(load(shared_data / "sec" / "submissions" / f"CIK{cik}.json.gz"))
        document = load(shared_data / "sec" / "companyfacts" / f"CIK{cik}.json.gz")
        found = parse_facts("X", document, submissions.acceptance, date(2012, 1, 1), 0)
        filings = [item for item in found if isinstance(item, Filing)]
        assert len(filings) > 30
        assert not [item for item in found if isinstance(item, Malformed)]
        assert [f.available_time for f in filings] == sorted(f.available_time for f in filings)
        for filing in filings:
            filed = date.fromisoformat(filing.filed)
            assert filing.available_time >= at(filed, time(6))
            if filing.acceptance:
                assert filing.available_time >= read_acceptance(filing.acceptance).time
                assert filing.available_time >= from_datetime(datetime.fromisoformat(filing.acceptance))  # as true UTC
                readings.setdefault(cik, set()).add(read_acceptance(filing.acceptance).reading)
            else:
                assert filing.available_time > at(filed + timedelta(days=1), time(0))
        # A period's number cannot be known before the period is over: what says otherwise has a wrong date, and the gate takes it out.
        early = [(fact, f.available_time) for f in filings for fact in f.facts if fact.end > f.available_time]
        assert len(early) <= 1
        assert [impossible(*each) for each in early].count(None) == 0
    assert readings["0000320193"] == {"eastern"}


def test_restated_facts_come_with_the_filing_that_restates_them(shared_data: Path) -> None:
    """The same concept and period with another value in a later filing: each value is known from its own filing on."""
    submissions = Submissions.parse(load(shared_data / "sec" / "submissions" / "CIK0000002488.json.gz"))
    document = load(shared_data / "sec" / "companyfacts" / "CIK0000002488.json.gz")
    filings = [
        f for f in parse_facts("AMD", document, submissions.acceptance, date(2010, 1, 1), 0) if isinstance(f, Filing)
    ]
    known: dict[tuple[str, str, int, int], list[tuple[int, float]]] = {}
    for filing in filings:
        for fact in filing.facts:
            known.setdefault(fact[:4], []).append((filing.available_time, fact.value))
    restated = {key: values for key, values in known.items() if len({value for _, value in values}) > 1}
    assert restated
    for values in restated.values():
        assert [time for time, _ in values] == sorted(time for time, _ in values)

    # Cutting the future never changes the past: facts known at t are the same whether or not later filings exist.
    cut = sorted(filing.available_time for filing in filings)[len(filings) // 2]
    last = to_datetime(cut).date().isoformat()
    past = {
        "cik": document["cik"],
        "facts": {
            taxonomy: {
                name: {
                    "units": {
                        unit: [row for row in rows if row["filed"] <= last] for unit, rows in concept["units"].items()
                    }
                }
                for name, concept in concepts.items()
            }
            for taxonomy, concepts in document["facts"].items()
        },
    }
    truncated = [
        f for f in parse_facts("AMD", past, submissions.acceptance, date(2010, 1, 1), 0) if isinstance(f, Filing)
    ]
    assert [f for f in truncated if f.available_time <= cut] == [f for f in filings if f.available_time <= cut]


def test_revised_vintages_are_known_from_their_release(shared_data: Path) -> None:
    rows = load(
        shared_data / "fred" / "api_json" / "series_observations__GDP__rt-end=9999-12-31__rt-start=1776-07-04.json.gz"
    )["observations"]
    vintages = [item for item in parse_observations("GDP", rows, 0) if isinstance(item, Vintage)]
    assert sum(len(vintage.values) for vintage in vintages) == len(rows)
    assert [v.realtime_start for v in vintages] == sorted(v.realtime_start for v in vintages)
    assert [v.pseudo_point_in_time for v in vintages] == [True] + [False] * (len(vintages) - 1)
    for vintage in vintages:
        released = date.fromisoformat(vintage.realtime_start)
        assert vintage.available_time == open_after(released)
        assert vintage.available_time > at(released + timedelta(days=1), time(0))
        assert all(day < vintage.available_time for day, _ in vintage.values)
    # 2012 Q1 was revised: what is known at a time is the newest vintage released before it.
    quarter = from_datetime(datetime(2012, 1, 1, tzinfo=ZoneInfo("UTC")))
    seen = [(v.available_time, value) for v in vintages for day, value in v.values if day == quarter]
    assert len({value for _, value in seen}) > 2
    assert seen == sorted(seen, key=lambda pair: pair[0])
    # Truncation: vintages known at t do not depend on later ones.
    cut = seen[1][0]
    earlier = [row for row in rows if open_after(date.fromisoformat(row["realtime_start"])) <= cut]
    assert repr(parse_observations("GDP", earlier, 0)) == repr([v for v in vintages if v.available_time <= cut])


def test_a_series_without_vintages_is_no_point_in_time_history(shared_data: Path) -> None:
    rows = load(shared_data / "fred" / "api_json" / "series_observations__DGS1MO.json.gz")["observations"]
    [vintage] = parse_observations("DGS1MO", rows, 0, "Percent")
    assert isinstance(vintage, Vintage)
    assert vintage.pseudo_point_in_time
    assert len(vintage.values) == len(rows)
    assert vintage.unit == "Percent"
    dots = [row for row in rows if row["value"] == "."]
    assert dots
    assert sum(math.isnan(value) for _, value in vintage.values) == len(dots)


def test_what_cannot_be_read_is_quarantined_and_the_rest_is_not() -> None:
    good = {"realtime_start": "2018-01-19", "date": "2018-01-18", "value": "1.42"}
    bad: list[Any] = [
        {**good, "value": "n/a"}, {**good, "value": "inf"}, {**good, "date": "soon"}, {**good, "realtime_start": "never"},
        {"date": "2018-01-18"}, 7, None,
    ]  # fmt: skip
    found = parse_observations("DTB3", [good, *bad], 5)
    assert [item.values for item in found if isinstance(item, Vintage)] == [
        ((from_datetime(datetime(2018, 1, 18, tzinfo=ZoneInfo("UTC"))), 1.42),)
    ]
    broken = [item for item in found if isinstance(item, Malformed)]
    assert len(broken) == len(bad)
    assert {item.time for item in broken} == {5}
    assert math.isnan(parse_value("."))


def test_rows_of_companyfacts_that_cannot_be_read_are_quarantined_and_the_rest_is_not() -> None:
    good = {
        "end": "2017-09-30",
        "val": 5e9,
        "accn": "1-17-1",
        "fy": 2017,
        "fp": "FY",
        "form": "10-K",
        "filed": "2017-11-03",
    }
    rows: list[Any] = [
        good, {**good, "val": "many"}, {**good, "end": None}, {**good, "accn": ""}, 3,
        {**good, "accn": "1-17-2", "filed": "once"}, {**good, "accn": "1-10-1", "filed": "2010-11-03"},
    ]  # fmt: skip
    document = {"cik": 7, "facts": {"dei": {"EntityCommonStockSharesOutstanding": {"units": {"shares": rows}}}}}
    found = parse_facts("AAA", document, {}, date(2015, 1, 1), 5)
    [filing] = [item for item in found if isinstance(item, Filing)]
    assert [fact.value for fact in filing.facts] == [5e9]
    assert len([item for item in found if isinstance(item, Malformed)]) == 5
    with pytest.raises((KeyError, TypeError)):
        parse_facts("AAA", {"facts": []}, {}, date(2015, 1, 1), 5)
