"""The schedule of market data lines: within the budget, fair, and in favour of whom it is told to be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.sources.ibkr.lines import (
    LEAST_LINES,
    NO_LIMIT,
    TRY_AGAIN_MOST_S,
    TRY_AGAIN_S,
    Budget,
    LineScheduler,
    streamed_count,
)

slots = st.tuples(
    st.sets(st.integers(0, 30), min_size=1).map(lambda numbers: tuple(f"N{number}" for number in sorted(numbers))),
    st.integers(4, 40),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(slots, min_size=1, max_size=25), st.integers(1, 8), st.lists(st.sampled_from(["N3", "N7", "N40"])))
def test_every_slot_keeps_the_budget_and_nobody_waits_longer_than_the_longest_queue(
    sequence: list[tuple[tuple[str, ...], int]], round_slots: int, first: list[str]
) -> None:
    scheduler = LineScheduler()
    waited: dict[str, int] = {}
    longest, narrowest = 0, 10**9
    for names, lines in sequence:
        plan = scheduler.plan(names, lines, 2, round_slots, first, next_slot=True)
        assert plan.lines <= lines
        assert len({*plan.streamed, *plan.quoted}) == len(plan.streamed) + len(plan.quoted)
        assert {*plan.streamed, *plan.quoted} <= set(names)
        assert plan.streamed
        favoured = [name for name in dict.fromkeys(first) if name in names]
        assert list(plan.streamed[: len(favoured)]) == favoured[: len(plan.streamed)]
        assert list(plan.every_trade) == [name for name in favoured if name in plan.streamed][:2]
        rest = set(names) - set(plan.streamed)
        if not rest:
            assert (plan.round_slots, plan.quoted) == (0, ())
        else:
            assert plan.round_slots == -(-len(rest) // len(plan.quoted))
            longest, narrowest = max(longest, len(rest)), min(narrowest, len(plan.quoted))
        waited = {name: waited.get(name, 0) + 1 for name in rest - set(plan.quoted)}
        assert all(slots < -(-longest // narrowest) for slots in waited.values())
        again = scheduler.plan(names, lines, 2, round_slots, first)
        assert again == plan  # within a slot nothing moves


@given(st.integers(1, 4000), st.integers(4, 400), st.integers(1, 30))
def test_as_many_are_streamed_as_leave_everybody_a_turn_in_time(names: int, lines: int, round_slots: int) -> None:
    streamed = streamed_count(names, lines, round_slots)
    if 2 * names <= lines:
        assert streamed == names
        return

    def in_time(count: int) -> bool:
        return count <= (lines - 1) // 2 and names - count <= round_slots * (lines - 2 * count)

    assert 1 <= streamed <= (lines - 1) // 2
    best = max((count for count in range(lines // 2 + 1) if in_time(count)), default=0)
    assert streamed == min(max(best, lines // 16, 1), (lines - 1) // 2)


def test_a_hundred_lines_among_two_hundred_and_among_three_thousand_names() -> None:
    for count, expected in ((50, (50, 0, 0)), (200, (36, 28, 6)), (3000, (6, 88, 35))):
        plan = LineScheduler().plan([f"N{number}" for number in range(count)], 100, 5, 6)
        assert (len(plan.streamed), len(plan.quoted), plan.round_slots) == expected


def test_two_lines_stream_one_name_and_nobody_has_a_turn() -> None:
    plan = LineScheduler().plan(["AAA", "BBB", "CCC"], LEAST_LINES, 2, 6)
    assert (plan.streamed, plan.quoted, plan.round_slots) == (("AAA",), (), 0)
    assert streamed_count(3, 1, 6) == 0


@given(st.lists(st.tuples(st.integers(0, 120), st.floats(0.1, 4000.0)), max_size=60))
def test_a_budget_is_never_less_than_a_name_needs_and_comes_back(free: list[tuple[int, float]]) -> None:
    """`free`: lines that others leave, for how long; whoever asks for more than these is refused all that is beyond."""
    budget, now = Budget(LEAST_LINES), 0.0
    for left, span in free:
        tries = 0
        until = now + span
        while now < until:
            asked, before = budget.limit(100, now), budget.granted
            assert LEAST_LINES <= asked <= 100
            if asked > left:
                tries += before > max(left, LEAST_LINES)
                for _ in range(asked - left):
                    budget.refused(left, now)
                assert budget.granted == max(left, LEAST_LINES)
            now += 5.0
        assert tries <= 1 + span / TRY_AGAIN_S
    for _ in range(int((TRY_AGAIN_MOST_S + 7 * TRY_AGAIN_S) / 5.0) + 8):
        budget.limit(100, now)
        now += 5.0
    assert budget.granted == NO_LIMIT


def test_what_stays_refused_is_tried_for_ever_more_rarely() -> None:
    budget, tried = Budget(LEAST_LINES), list[int]()
    budget.refused(16, 0.0)
    for second in range(4000):
        if budget.limit(100, float(second)) > 16:
            tried.append(second)
            budget.refused(16, float(second))
    assert tried == [60, 180, 420, 900, 1860, 2820, 3780]
