"""The plan of historical requests against an oracle that looks at every bar, and along real holidays and early closes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.published import PublishedIndex
from data_plane.sources.ibkr.chunks import STEPS, plan, published_spans
from schemas import codec
from triplane.domain import calendars
from triplane.domain.timestamps import DAY, SECOND, from_datetime

BEGIN = from_datetime(
    datetime(2017, 11, 20, tzinfo=UTC)
)  # Thanksgiving and the half day after it are in the first week


def ns(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


def bars(size: str, calendar: str, start: int, end: int) -> list[tuple[int, int]]:
    """Every bar (start, end) of the calendar's sessions wholly within [start, end): whole sessions from an hour on."""
    found, bar = [], STEPS[size].bar_s * SECOND
    day = date.fromordinal(date(1970, 1, 1).toordinal() + start // DAY) - timedelta(days=2)
    while calendars.session_open(calendar, day := calendars.next_session(calendar, day)) < end:
        low, close = calendars.session_open(calendar, day), calendars.session_close(calendar, day)
        while low < close:
            high = close if bar >= 3600 * SECOND else min(low + bar, close)
            if start <= low and high <= end:
                found.append((low, high))
            low = high
    return found


def held(bar: tuple[int, int], have: list[tuple[int, int]]) -> bool:
    """Whether spans hold a bar, alone or together."""
    time = bar[0]
    while time < bar[1]:
        beyond = max((high for low, high in have if low <= time < high), default=time)
        if beyond == time:
            return False
        time = beyond
    return True


minutes = st.integers(0, 14 * 24 * 60).map(lambda minute: BEGIN + minute * 60 * SECOND)
odd = st.tuples(minutes, st.integers(-59, 59)).map(lambda pair: pair[0] + pair[1] * SECOND)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["30 secs", "1 min", "2 mins", "20 mins", "30 mins", "1 hour", "1 day"]),
    st.sampled_from(sorted(calendars.CALENDARS)),
    odd, odd, st.lists(st.tuples(odd, odd), max_size=3),
)  # fmt: skip
def test_a_plan_covers_what_is_missing_and_nothing_twice(
    size: str, calendar: str, start: int, end: int, have: list[tuple[int, int]]
) -> None:
    requests = plan(size, start, end, calendar, have)
    step = STEPS[size]
    for one, other in pairwise(requests):
        assert one.end <= other.start
    everything = bars(size, calendar, start, end)
    covered = [bar for bar in everything if any(r.start <= bar[0] and bar[1] <= r.end for r in requests)]
    assert covered == [bar for bar in everything if not held(bar, have)]
    assert sum(r.end - r.start for r in requests) >= sum(high - low for low, high in covered)
    if step.days == 0:
        assert sum(r.end - r.start for r in requests) == sum(high - low for low, high in covered)
    for request in requests:
        number, unit = request.duration.split()
        if step.seconds:
            assert unit == "S"
            assert int(number) * SECOND == request.end - request.start <= step.seconds * SECOND
            assert request.first == request.last
            assert calendars.session_open(calendar, request.first) <= request.start
            assert request.end <= calendars.session_close(calendar, request.last)
        else:
            assert unit == "D"
            assert int(number) == len(calendars.sessions(calendar, request.first, request.last))
            assert (request.last - request.first).days < step.days


def test_five_second_bars_come_by_the_hour_from_the_open_and_stop_at_an_early_close() -> None:
    thanksgiving = plan("5 secs", ns("2017-11-22T20:30"), ns("2017-11-25T00:00"), "XNYS")
    assert [(r.ends, r.duration) for r in thanksgiving] == [
        ("20171122-21:00:00", "1800 S"),  # the last half hour before the holiday
        ("20171124-15:30:00", "3600 S"), ("20171124-16:30:00", "3600 S"), ("20171124-17:30:00", "3600 S"),
        ("20171124-18:00:00", "1800 S"),  # a close at 13:00 in New York
    ]  # fmt: skip
    assert plan("5 secs", ns("2017-11-23T00:00"), ns("2017-11-24T00:00"), "XNYS") == []
    assert plan("1 day", ns("2017-11-24T00:00"), ns("2017-11-20T00:00"), "XNYS") == []


def test_daily_bars_come_by_the_year_and_what_is_there_is_left_out() -> None:
    whole = plan("1 day", ns("2015-01-01T00:00"), ns("2018-01-20T00:00"), "XNYS")
    assert [(r.first.isoformat(), r.last.isoformat(), r.duration) for r in whole] == [
        ("2015-01-02", "2015-12-31", "252 D"), ("2016-01-04", "2016-12-30", "252 D"), ("2017-01-03", "2018-01-02", "252 D"),
        ("2018-01-03", "2018-01-19", "12 D"),
    ]  # fmt: skip
    index = PublishedIndex()
    days = calendars.sessions("XNYS", date(2015, 1, 1), date(2018, 1, 19))
    for day in days[:-3] + days[-2:-1]:
        close = calendars.session_close("XNYS", day)
        record = {"interval": "1d", "source": "ibkr", "group": "main", "event_time": close, "available_time": close}
        index.learn("data.bars", record | {"session": day.isoformat(), "symbols": ["KO"], "close": [47.0]})
    have = published_spans(index, "ibkr", "main", "1d", "XNYS")
    rest = plan("1 day", ns("2015-01-01T00:00"), ns("2018-01-20T00:00"), "XNYS", have)
    assert [(r.first, r.duration) for r in rest] == [(days[-3], "1 D"), (days[-1], "1 D")]


def test_a_plan_goes_on_at_the_last_published_bar() -> None:
    index = PublishedIndex()
    assert published_spans(index, "ibkr", "main", "1m", "XNYS") == []
    end = ns("2018-01-19T15:01")
    record = {"interval": "1m", "source": "ibkr", "group": "main", "event_time": end, "available_time": end}
    index.learn("data.bars", {**codec.defaults("BarSlice"), **record})
    have = published_spans(index, "ibkr", "main", "1m", "XNYS")
    (rest,) = plan("1 min", ns("2018-01-18T00:00"), ns("2018-01-19T15:10:30"), "XNYS", have)
    assert (rest.start, rest.ends, rest.duration) == (ns("2018-01-19T15:01"), "20180119-15:10:00", "540 S")


def test_currencies_are_asked_for_session_by_session_over_the_week_end() -> None:
    requests = plan("1 min", ns("2018-01-19T12:00"), ns("2018-01-22T12:00"), "24/5")
    assert [(r.ends, r.duration) for r in requests] == [
        ("20180120-00:00:00", "43200 S"),
        ("20180122-12:00:00", "43200 S"),
    ]


def test_a_bar_size_that_ib_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="bar size '7 mins' cannot be planned; use one of 1 secs, 5 secs"):
        plan("7 mins", 0, 1, "XNYS")
