"""Nanoseconds and calendar forms, there and back."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triplane.domain.timestamps import DAY, HOUR, MINUTE, NEW_YORK, SECOND, at, from_datetime, iso, to_datetime

moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds


@given(moments)
def test_microseconds_are_exact(moment: datetime):
    assert to_datetime(from_datetime(moment)) == moment


@given(st.integers(-(10**18), 4 * 10**18))
def test_nanoseconds_are_cut_to_microseconds(ns: int):
    assert from_datetime(to_datetime(ns)) == ns // 1000 * 1000


@given(moments, st.sampled_from(["America/New_York", "Europe/Zurich", "Asia/Tokyo"]))
def test_a_zone_changes_the_face_and_not_the_instant(moment: datetime, zone: str):
    ns = from_datetime(moment)
    shown = to_datetime(ns, ZoneInfo(zone))
    assert shown.tzinfo == ZoneInfo(zone)
    assert from_datetime(shown) == ns


def test_known_instants():
    assert from_datetime(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert at(date(2018, 2, 5), time(9, 30)) == from_datetime(datetime(2018, 2, 5, 14, 30, tzinfo=UTC))
    assert at(date(2018, 7, 2), time(9, 30), NEW_YORK) == from_datetime(datetime(2018, 7, 2, 13, 30, tzinfo=UTC))
    assert iso(at(date(2018, 2, 5), time(16))) == "2018-02-05T21:00:00Z"
    assert (MINUTE, HOUR, DAY) == (60 * SECOND, 3600 * SECOND, 86400 * SECOND)


def test_a_naive_moment_is_refused():
    with pytest.raises(ValueError, match="has no time zone"):
        from_datetime(datetime(2018, 2, 5))  # noqa: DTZ001
