"""Sessions against exchange_calendars itself and against days that history is certain of."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triplane.domain import calendars
from triplane.domain.calendars import CalendarError
from triplane.domain.timestamps import DAY, HOUR, MINUTE, NEW_YORK, at, iso

days = st.dates(calendars.FIRST_DAY, calendars.LAST_DAY)


@pytest.mark.parametrize("name", sorted(calendars.CALENDARS))
def test_the_table_is_that_of_exchange_calendars(name: str):
    import exchange_calendars

    source = exchange_calendars.get_calendar(name, start="1990-01-01", end="2035-12-31")
    table = calendars.table(name)
    assert [date.fromordinal(int(day)) for day in table.ordinals] == [stamp.date() for stamp in source.sessions]
    assert table.opens.tolist() == [stamp.value for stamp in source.opens.astype("datetime64[ns, UTC]")]
    assert table.closes.tolist() == [stamp.value for stamp in source.closes.astype("datetime64[ns, UTC]")]
    assert not table.opens.flags.writeable


@pytest.mark.parametrize("name", sorted(calendars.CALENDARS))
def test_regular_hours_written_here_are_those_of_exchange_calendars(name: str):
    import exchange_calendars

    source = exchange_calendars.get_calendar(name, start="1990-01-01", end="2035-12-31")
    kind = calendars.CALENDARS[name]
    assert kind.zone == str(source.tz)
    assert (kind.opens, kind.closes) == (source.open_times[-1][1], source.close_times[-1][1])
    assert (kind.open_offset, kind.close_offset) == (source.open_offset, source.close_offset)
    matching = sum(
        calendars.regular_hours(name, day) == (calendars.session_open(name, day), calendars.session_close(name, day))
        for day in calendars.sessions(name, date(2018, 1, 1), date(2018, 12, 31))
    )
    assert matching > 245


def test_history_that_is_certain():
    assert calendars.sessions("XNYS", date(2018, 2, 2), date(2018, 2, 6)) == [
        date(2018, 2, 2),
        date(2018, 2, 5),
        date(2018, 2, 6),
    ]
    assert not calendars.is_session("XNYS", date(2018, 12, 5))  # day of mourning for George H. W. Bush
    assert not calendars.is_session("XNYS", date(2001, 9, 12))
    assert not calendars.is_session("XNYS", date(2018, 2, 19))
    assert iso(calendars.session_open("XNYS", date(2018, 2, 5))) == "2018-02-05T14:30:00Z"
    assert iso(calendars.session_close("XNYS", date(2018, 7, 3))) == "2018-07-03T17:00:00Z"  # early, summer time
    assert iso(calendars.session_close("XNYS", date(2018, 11, 23))) == "2018-11-23T18:00:00Z"  # early, winter time
    assert calendars.next_session("XNYS", date(2018, 2, 16)) == date(2018, 2, 20)
    assert calendars.previous_session("XNYS", date(2018, 2, 20)) == date(2018, 2, 16)
    assert calendars.next_session("XNYS", date(2018, 2, 17)) == date(2018, 2, 20)


def test_decision_time_keeps_its_distance_from_an_early_close():
    assert iso(calendars.decision_time("XNYS", date(2018, 2, 5), "15:30")) == "2018-02-05T20:30:00Z"
    assert iso(calendars.decision_time("XNYS", date(2018, 7, 2), "15:30")) == "2018-07-02T19:30:00Z"
    assert iso(calendars.decision_time("XNYS", date(2018, 7, 3), "15:30")) == "2018-07-03T16:30:00Z"
    # What lies before the open of a half day is moved behind it, where names have been quoted.
    assert iso(calendars.decision_time("XNYS", date(2018, 7, 3), "10:00")) == "2018-07-03T13:31:00Z"
    assert iso(calendars.decision_time("XNYS", date(2018, 7, 3), "12:32")) == "2018-07-03T13:32:00Z"
    assert calendars.decision_time("XNYS", date(2018, 7, 2), "23:00") == calendars.session_close(
        "XNYS", date(2018, 7, 2)
    )
    # A session that begins the evening before, and one that ends at midnight.
    assert iso(calendars.decision_time("CMES", date(2018, 2, 6), "15:30")) == "2018-02-06T21:30:00Z"
    assert iso(calendars.decision_time("24/7", date(2018, 2, 6), "15:30")) == "2018-02-06T15:30:00Z"


@given(days, st.times(min_value=time(13, 0), max_value=time(15, 59)))
def test_a_decision_is_inside_its_session_at_a_constant_distance_from_the_close(day: date, clock: time):
    session = calendars.previous_session("XNYS", max(day, date(1990, 1, 3)))
    decision = calendars.decision_time("XNYS", session, clock.strftime("%H:%M"))
    assert calendars.session_open("XNYS", session) <= decision < calendars.session_close("XNYS", session)
    assert calendars.session_of("XNYS", decision) == session
    assert calendars.session_close("XNYS", session) - decision == 16 * HOUR - (clock.hour * 60 + clock.minute) * MINUTE


@given(days)
def test_neighbours_agree(day: date):
    if not date(1990, 1, 3) <= day <= date(2035, 12, 27):
        return
    following = calendars.next_session("XNYS", day)
    before = calendars.previous_session("XNYS", day)
    between = calendars.sessions("XNYS", before, following)
    assert between == ([before, day, following] if calendars.is_session("XNYS", day) else [before, following])
    assert calendars.next_session("XNYS", before) == (day if calendars.is_session("XNYS", day) else following)


@given(st.integers(at(date(1990, 1, 3), time(0)), at(date(2035, 12, 28), time(0))))
def test_session_of_is_the_session_that_holds_the_instant(ns: int):
    found = calendars.session_of("XNYS", ns)
    day = date(1970, 1, 1) + timedelta(days=ns // DAY)  # a New York session lies within one UTC day
    if found is None:
        assert not calendars.is_session("XNYS", day) or not (
            calendars.session_open("XNYS", day) <= ns <= calendars.session_close("XNYS", day)
        )
    else:
        assert found == day
        assert calendars.session_open("XNYS", found) <= ns <= calendars.session_close("XNYS", found)


def test_session_of_includes_both_ends_and_nothing_beyond():
    day = date(2018, 2, 5)
    opens, closes = calendars.session_open("XNYS", day), calendars.session_close("XNYS", day)
    assert calendars.session_of("XNYS", opens) == calendars.session_of("XNYS", closes) == day
    assert calendars.session_of("XNYS", opens - 1) is None
    assert calendars.session_of("XNYS", closes + 1) is None
    assert calendars.session_of("XNYS", at(date(1989, 12, 29), time(12))) is None
    midnight = calendars.session_open("24/7", day)
    assert midnight == calendars.session_close("24/7", day - timedelta(days=1))
    assert calendars.session_of("24/7", midnight) == day


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: calendars.session_open("XNYZ", date(2018, 2, 5)),
            "calendar 'XNYZ' is unknown; use one of 24/5, 24/7, CMES, XNYS",
        ),
        (lambda: calendars.session_open("XNYS", date(2018, 2, 4)), "2018-02-04 is no session of XNYS"),
        (lambda: calendars.session_close("XNYS", date(2035, 12, 30)), "is no session of XNYS"),
        (lambda: calendars.is_session("XNYS", date(1989, 12, 29)), "outside the XNYS table"),
        (lambda: calendars.sessions("XNYS", date(2018, 1, 1), date(2036, 1, 1)), "outside the XNYS table"),
        (lambda: calendars.next_session("XNYS", date(2035, 12, 31)), "raise LAST_DAY"),
        (lambda: calendars.previous_session("XNYS", date(1990, 1, 1)), "lower FIRST_DAY"),
    ],
)
def test_what_the_table_does_not_hold_is_an_error(call, sentence: str):
    with pytest.raises(CalendarError, match=sentence):
        call()


def test_the_module_does_not_import_pandas():
    code = "import sys, triplane.domain.calendars, triplane.domain.assets, triplane.runtime.configuration; print('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_nothing_depends_on_today():
    assert calendars.session_close("XNYS", date(2035, 12, 31)) == at(date(2035, 12, 31), time(16), NEW_YORK)
