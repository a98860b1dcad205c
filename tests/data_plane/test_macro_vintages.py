"""What was known when: against a plain re-reading of all rows, and on GDP's real vintages."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.macro.vintages import (
    FOREVER,
    OPEN_END,
    Row,
    SeriesVintages,
    Snapshot,
    VintageConflict,
    VintageStore,
    row,
)
from data_plane.observations import Vintage
from data_plane.point_in_time import release_available
from tests.data_plane import fred_files
from triplane.domain.timestamps import midnight

Q1, Q2, Q3 = date(2020, 1, 1), date(2020, 4, 1), date(2020, 7, 1)


def pairs(snapshot: Snapshot) -> list[tuple[int, float]]:
    return list(zip(snapshot.observations.tolist(), snapshot.values.tolist(), strict=True))


def built(rows: list[Row]) -> SeriesVintages:
    series = SeriesVintages()
    series.take_rows(rows)
    return series


def test_a_value_counts_from_the_session_after_its_release() -> None:
    series = built([row(Q1, 1.0, date(2020, 4, 30)), row(Q1, 2.0, date(2020, 5, 29))])  # Thursday, Friday
    friday, monday = release_available(date(2020, 4, 30)), release_available(date(2020, 5, 29))
    assert pairs(series.as_of(friday - 1)) == []
    assert pairs(series.as_of(friday)) == [(midnight(Q1), 1.0)]
    assert pairs(series.as_of(monday - 1)) == [(midnight(Q1), 1.0)]
    assert pairs(series.as_of(monday)) == [(midnight(Q1), 2.0)]
    assert date.fromordinal(int(series.as_of(monday).realtime_start[0])) == date(2020, 5, 29)
    # The provider itself shows it on the day.
    assert pairs(series.on(date(2020, 5, 28))) == [(midnight(Q1), 1.0)]
    assert pairs(series.on(date(2020, 5, 29))) == [(midnight(Q1), 2.0)]
    assert series.revisions(midnight(Q1)) == ((date(2020, 4, 30), 1.0), (date(2020, 5, 29), 2.0))
    assert series.revisions(midnight(Q2)) == ()


def test_a_dot_is_a_value_and_absent_is_none() -> None:
    series = built(
        [
            row(Q1, 1.0, date(2020, 4, 30)),
            row(Q2, math.nan, date(2020, 4, 30)),
            row(Q3, 3.0, date(2020, 4, 30), date(2020, 5, 28)),
        ]
    )
    before = series.on(date(2020, 5, 28))
    assert before.observations.tolist() == [midnight(day) for day in (Q1, Q2, Q3)]
    assert np.isnan(before.values).tolist() == [False, True, False]
    after = series.on(date(2020, 5, 29))
    assert after.observations.tolist() == [midnight(Q1), midnight(Q2)]  # Q3 was taken away, the dot stays
    # Taken away for use from the session after the last day on which it stood.
    end = release_available(date(2020, 5, 29))
    assert midnight(Q3) in series.as_of(end - 1).observations
    assert midnight(Q3) not in series.as_of(end).observations


def test_a_row_is_refused_where_its_period_ends_before_it_starts() -> None:
    with pytest.raises(ValueError, match="realtime_end 2020-04-29 lies before realtime_start 2020-04-30"):
        row(Q1, 1.0, date(2020, 4, 30), date(2020, 4, 29))


def test_the_same_row_again_changes_nothing_and_another_value_is_refused() -> None:
    series = built([row(Q1, 1.0, date(2020, 4, 30)), row(Q2, math.nan, date(2020, 4, 30))])
    series.take_rows([row(Q1, 1.0, date(2020, 4, 30)), row(Q2, math.nan, date(2020, 4, 30))])
    assert len(series) == 2
    with pytest.raises(VintageConflict, match=r"observation 2020-01-01 has two values of 2020-04-30, 1 and 1\.5"):
        series.take_rows([row(Q1, 1.5, date(2020, 4, 30))])
    # An end that is told later closes the row, and one that was told stays.
    ended = row(Q1, 1.0, date(2020, 4, 30), date(2020, 6, 1))
    for order in ([ended, row(Q1, 1.0, date(2020, 4, 30))], [row(Q1, 1.0, date(2020, 4, 30)), ended]):
        assert len(built(order).on(date(2020, 6, 2))) == 0


def test_history_loaded_in_bulk_is_told_from_what_was_known() -> None:
    first, second, third = date(2020, 4, 30), date(2020, 7, 30), date(2020, 10, 29)
    early, earlier = date(2019, 10, 1), date(1950, 1, 1)
    series = built(
        [
            row(early, 1.0, first),
            row(Q1, 2.0, first),
            row(Q2, 3.0, second),
            row(earlier, 0.1, second),  # history that was added later
            row(Q1, 2.5, second),  # a revision of it is news
            row(Q3, 4.0, third),
        ]
    )
    snapshot = series.on(third)
    assert snapshot.observations.tolist() == [midnight(day) for day in (earlier, early, Q1, Q2, Q3)]
    assert snapshot.pseudo.tolist() == [True, True, False, False, False]
    assert pairs(series.first_prints()) == [(midnight(Q1), 2.0), (midnight(Q2), 3.0), (midnight(Q3), 4.0)]
    assert series.vintage_dates() == (first, second, third)


def test_a_store_keeps_series_apart() -> None:
    store = VintageStore()
    day = midnight(Q1)
    store.take(Vintage("fred", "A", "", "2020-04-30", 100, False, ((day, 1.0),)))
    store.take(Vintage("fred", "B", "", "2020-04-30", 200, False, ((day, 2.0),)))
    store.take(Vintage("fred", "A", "", "2020-05-29", 300, False, ((day, 1.5),)))
    assert store.names() == ("A", "B")
    assert pairs(store.as_of("A", 299)) == [(day, 1.0)]
    assert pairs(store.as_of("A", 300)) == [(day, 1.5)]
    assert pairs(store.as_of("B", 199)) == []
    assert len(store.as_of("C", FOREVER)) == 0
    assert len(store.series("C").first_prints()) == 0
    assert store.names() == ("A", "B")
    with pytest.raises(ValueError, match="isoformat"):
        store.take(Vintage("fred", "A", "", "soon", 1, False, ((day, 1.0),)))


starts = st.integers(0, 12).map(lambda n: date(2020, 1, 2) + timedelta(days=n))
some_rows = st.lists(
    st.builds(
        lambda place, start, length, value: row(
            Q1 + timedelta(days=place),
            value,
            start,
            OPEN_END if length is None else start + timedelta(days=length),
        ),
        st.integers(0, 4),
        starts,
        st.none() | st.integers(0, 6),
        st.floats(-5, 5) | st.just(math.nan),
    ),
    max_size=25,
    unique_by=lambda made: (made.observation, made.realtime_start),
)


@settings(deadline=None)
@given(some_rows, st.randoms(use_true_random=False), starts)
def test_rows_in_any_order_give_what_a_plain_reading_gives(rows: list[Row], random: object, day: date) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    series = SeriesVintages()
    for each in shuffled:  # one by one, asked in between
        series.take_rows([each])
        series.on(day)
    time = release_available(day)

    def plain(key: str, started: object, over: object) -> list[tuple[int, float]]:
        found = []
        for observation in sorted({each.observation for each in rows}):
            known = [each for each in rows if each.observation == observation and getattr(each, key) <= started]
            newest = max(known, key=lambda each: each.realtime_start, default=None)
            if newest is not None and not over(newest):  # type: ignore[operator]
                found.append((observation, newest.value))
        return found

    assert repr(pairs(series.on(day))) == repr(plain("realtime_start", day, lambda each: each.realtime_end < day))
    assert repr(pairs(series.as_of(time))) == repr(plain("known_from", time, lambda each: each.known_until <= time))
    # No later row reaches back.
    earlier = [each for each in rows if each.known_from <= time]
    assert repr(pairs(built(earlier).as_of(time))) == repr(pairs(series.as_of(time)))


# -- real vintages -------------------------------------------------------------------------------------------------------------
def test_gdp_is_what_was_known_on_the_day(shared_data: Path) -> None:
    series = SeriesVintages()
    for vintage in fred_files.gdp_vintages(shared_data)[::-1]:
        series.take(vintage)
    fourth = midnight(date(2007, 10, 1))
    known = {day: dict(pairs(series.on(date.fromisoformat(day)))) for day in ("2008-01-30", "2008-02-28", "2008-03-27")}
    assert [known[day][fourth] for day in known] == [14080.8, 14084.1, 14074.2]
    # Released on Wednesday 30 January 2008, usable from Thursday's open.
    assert fourth not in dict(pairs(series.as_of(release_available(date(2008, 1, 29)))))
    assert dict(pairs(series.as_of(release_available(date(2008, 1, 30)))))[fourth] == 14080.8
    # On 28 October 1999 the quarters before the revision's reach were dots for one day.
    quarter = midnight(date(1959, 1, 1))
    seen = [dict(pairs(series.on(date(1999, 10, day))))[quarter] for day in (27, 28, 29)]
    assert seen[0] == 496.3
    assert math.isnan(seen[1])
    assert seen[2] == 496.1
    assert len(series.vintage_dates()) == 395
    assert len(series) == 3201


def test_the_store_agrees_with_alfred_for_another_real_time_period(shared_data: Path) -> None:
    """ALFRED was asked twice: for everything, and for what it showed until 2019-01-01. Cutting the first gives the second."""
    series = SeriesVintages()
    for vintage in fred_files.gdp_vintages(shared_data):
        series.take(vintage)
    cut = date(2019, 1, 1)
    rows = fred_files.body(shared_data, fred_files.GDP_TO_2018)["observations"]
    last = {each["date"]: each["value"] for each in rows if each["realtime_end"] == cut.isoformat()}
    ours = {
        date.fromordinal(719_163 + time // 86_400_000_000_000).isoformat(): "." if math.isnan(value) else value
        for time, value in pairs(series.on(cut))
    }
    assert {day: "." if value == "." else float(value) for day, value in last.items()} == ours
    assert len(ours) == 291  # 1946-01-01 to 2018-07-01


def test_the_pseudo_values_of_gdp_are_its_bulk_loads(shared_data: Path) -> None:
    series = SeriesVintages()
    for vintage in fred_files.gdp_vintages(shared_data):
        series.take(vintage)
    prints = series.first_prints()
    # FRED's own list of first releases (output_type 4) begins with 1991-10-01; ours has the newest of the first vintage before it.
    theirs = fred_files.body(shared_data, "series_observations__GDP__out=4__rt-start=1776-07-04")["observations"]
    assert [midnight(date.fromisoformat(each["date"])) for each in theirs] == prints.observations[1:].tolist()
    assert [float(each["value"]) for each in theirs] == prints.values[1:].tolist()
    first = series.on(date(1991, 12, 4))
    assert (len(first), int(first.pseudo.sum())) == (131, 130)
    # 1946 to 1958 were added a year later.
    second = series.on(date(1992, 12, 22))
    assert int(second.pseudo[second.observations < midnight(date(1959, 1, 1))].sum()) == 52
