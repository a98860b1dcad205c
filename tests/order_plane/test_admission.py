"""What the engine is not even given: records with an unbelievable time or place."""

from __future__ import annotations

from order_plane.codes import Code
from order_plane.trading.admission import SEQ_AHEAD_MAX, refusal
from triplane.domain.timestamps import AHEAD_MAX

WALL = 1_800_000_000_000_000_000


def test_the_past_and_a_minute_ahead_are_believed() -> None:
    for topic in ("data.quotes", "data.bars"):
        assert refusal(topic, {"available_time": 0}, WALL, -1) is None
        assert refusal(topic, {"available_time": WALL + AHEAD_MAX}, WALL, -1) is None


def test_a_stamp_in_the_future_is_refused_with_its_distance() -> None:
    answer = refusal("data.quotes", {"available_time": WALL + AHEAD_MAX + 1}, WALL, -1)
    assert answer is not None
    assert answer[0] is Code.FROM_THE_FUTURE
    assert "2027-01-15 08:01:00 UTC" in answer[1]
    later = refusal("data.quotes", {"available_time": WALL + AHEAD_MAX + 1}, WALL - 5, -1)
    assert later == answer, "read again at another time, it is told in the same words"
    assert refusal("data.quotes", {"available_time": 2**63 - 1}, WALL, -1) is not None


def test_wall_time_topics_are_not_judged() -> None:
    assert refusal("control.config", {"available_time": WALL * 2}, WALL, -1) is None


def test_a_barrier_far_beyond_the_last_is_refused_and_any_plausible_one_is_not() -> None:
    def judged(seq: int, last: int) -> Code | None:
        answer = refusal("strategy.intents", {"available_time": WALL, "seq": seq}, WALL, last)
        return answer[0] if answer else None

    assert judged(763, -1) is None
    assert judged(5, 900) is None, "an older one is superseded, which the engine decides"
    assert judged(900 + SEQ_AHEAD_MAX, 900) is None
    assert judged(901 + SEQ_AHEAD_MAX, 900) is Code.SEQ_JUMP
    assert judged(SEQ_AHEAD_MAX + 1, -1) is Code.SEQ_JUMP


def test_of_a_clock_that_is_ahead_only_a_kill_is_taken() -> None:
    for command, code in (
        ("kill.rearm", Code.FROM_THE_FUTURE),
        ("order.release", Code.FROM_THE_FUTURE),
        ("kill.trip", None),
    ):
        answer = refusal("control.commands", {"command": command, "event_time": WALL + AHEAD_MAX + 1}, WALL, -1)
        assert (answer[0] if answer else None) is code
        assert refusal("control.commands", {"command": command, "event_time": WALL + AHEAD_MAX}, WALL, -1) is None
