"""What a decision or an order may be waiting for leaves at once; other market data may be gathered on its way to Kafka."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from data_plane.daemon.urgency import may_wait
from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE, SECOND, from_datetime

DECISION = calendars.decision_time("XNYS", date(2018, 2, 5), "15:30")
CLOSE = calendars.session_close("XNYS", date(2018, 2, 5))


@pytest.mark.parametrize(
    ("at", "waits"),
    [
        (DECISION - MINUTE - 1, True),
        (DECISION - MINUTE, False),
        (DECISION, False),
        (DECISION + 6 * MINUTE, False),
        (CLOSE, False),
        (CLOSE + 1, True),
        (DECISION - 60 * MINUTE, True),
    ],
)
def test_nothing_waits_from_a_minute_before_a_decision_to_the_close(at: int, waits: bool) -> None:
    for topic in ("data.bars", "data.quotes", "data.trades", "data.micro"):
        assert may_wait(topic, {"available_time": at}, ("15:30",)) is waits


def test_an_early_close_moves_the_hour_and_a_day_without_session_has_none() -> None:
    half = calendars.decision_time("XNYS", date(2018, 7, 3), "15:30")
    assert datetime.fromtimestamp(half / SECOND, UTC).hour == 16  # 12:30 in New York
    assert not may_wait("data.bars", {"available_time": half}, ("15:30",))
    sunday = from_datetime(datetime(2018, 2, 4, 20, 30, tzinfo=UTC))
    assert may_wait("data.bars", {"available_time": sunday}, ("15:30",))
    for far in (0, 10**15, -(10**18), 2**62):  # outside every calendar
        assert may_wait("data.bars", {"available_time": far}, ("15:30",))


def test_another_hour_of_the_configuration_is_another_minute() -> None:
    assert may_wait("data.bars", {"available_time": DECISION - 271 * MINUTE - 1}, ("11:00",))
    assert not may_wait("data.bars", {"available_time": DECISION - 271 * MINUTE}, ("11:00",))
    assert not may_wait("data.bars", {"available_time": DECISION}, ("11:00",))  # a session that keeps its old hour, too
    # Decided at eleven, moved to half past three: its orders work.
    for hours in (("11:00", "15:30"), ("15:30", "11:00")):
        assert not may_wait("data.quotes", {"available_time": DECISION - 269 * MINUTE}, hours)


def test_minutes_that_fill_a_gap_wait_and_what_is_rare_never_does() -> None:
    assert may_wait("data.bars", {"available_time": DECISION, "interval": "1m"}, ("15:30",))
    assert not may_wait("data.bars", {"available_time": DECISION, "interval": "5s"}, ("15:30",))
    for topic in ("data.gates", "data.facts", "data.macro", "data.quarantine"):
        assert not may_wait(topic, {"available_time": DECISION - 60 * MINUTE}, ("15:30",))
