"""A source that cannot stream every name: what slices carry, and whom the gates wait for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.engine import DataEngine
from data_plane.outputs import Output
from tests.data_plane.support import STEP, assert_conserved, bar, day_open, engine, gate_changes, quote, records
from triplane.domain.timestamps import SECOND

NAMES = ("AAA", "BBB", "CCC", "DDD")


def at(step: int) -> int:
    return day_open() + step * STEP


def streaming(*names: str, round_s: float = 60.0, **data: object) -> DataEngine:
    machine = engine(NAMES, **data)
    assert machine.cover("ibkr", names, round_s, at(0)) == []
    return machine


def step(machine: DataEngine, number: int, *names: str) -> list[Output]:
    """Bars of a step in this order."""
    return [output for name in names for output in machine.take(bar(name, number))]


def test_a_slice_goes_out_with_the_last_streamed_name_and_lists_the_others_as_missing() -> None:
    machine = streaming("AAA", "BBB")
    assert step(machine, 0, "AAA") == []
    (record,) = records(step(machine, 0, "BBB"), "data.bars")
    assert (record["symbols"], record["missing"]) == (["AAA", "BBB"], ["CCC", "DDD"])
    for number in range(1, 20):  # a minute and a half: nobody is stale or missed
        assert gate_changes(step(machine, number, "AAA", "BBB")) == []
    assert machine.gates.closed() == []
    # Half of what is streamed is half of what there should be.
    machine.take(bar("AAA", 20))
    assert gate_changes(machine.advance("ibkr", at(22))) == [("completeness", "main", False, "INCOMPLETE")]
    assert_conserved(machine)


def test_a_name_that_is_streamed_from_now_on_is_stale_from_now_on_and_one_that_is_not_is_judged_no_more() -> None:
    machine = streaming("AAA", "BBB", COMPLETENESS_MIN=0.1)
    for number in range(12):
        step(machine, number, "AAA", "BBB")
    machine.cover("ibkr", ["AAA", "CCC"], 60.0, at(12))
    assert records(step(machine, 12, "AAA"), "data.bars")  # who has just begun is not waited for
    changes = [change for number in range(13, 24) for change in gate_changes(step(machine, number, "AAA"))]
    assert changes == [("freshness", "CCC", False, "DATA_STALE")]  # 35 s later, and BBB never
    assert gate_changes(machine.cover("ibkr", ["AAA", "BBB"], 60.0, at(24))) == [("freshness", "CCC", True, "")]
    assert gate_changes(machine.cover("ibkr", None, 0.0, at(24))) == []
    # All are streamed again: each is waited for once it has been heard, and stale 30 s from here.
    step(machine, 24, "AAA", "BBB", "CCC", "DDD")
    step(machine, 25, "AAA", "BBB", "CCC", "DDD")
    assert step(machine, 26, "AAA", "BBB", "CCC") == []
    (record,) = records(step(machine, 26, "DDD"), "data.bars")
    assert record["missing"] == []


def test_a_quote_is_stale_when_it_is_older_than_the_limit_and_the_round() -> None:
    machine = streaming("AAA", round_s=60.0, QUOTE_FRESHNESS_S=20.0, COMPLETENESS_MIN=0.1)
    for name in NAMES:
        machine.take(quote(name, at(0)))
    told = []
    for number in range(1, 20):
        machine.take(quote("AAA", at(number)))
        if number == 10:
            machine.take(quote("BBB", at(number)))  # its turn
        told += [(number, *change) for change in gate_changes(step(machine, number, "AAA"))]
    assert told == [
        (17, "quote_freshness", "CCC", False, "DATA_STALE"),
        (17, "quote_freshness", "DDD", False, "DATA_STALE"),
    ]  # 85 s after listening began, where 80 are allowed


def test_a_changed_universe_keeps_what_is_streamed() -> None:
    machine = streaming("AAA", "BBB")
    machine.configure(("EEE", "BBB", "AAA"), machine.targets, "hash-2")
    assert step(machine, 0, "AAA") == []
    (record,) = records(step(machine, 0, "BBB"), "data.bars")
    assert (record["symbols"], record["missing"]) == (["BBB", "AAA"], ["EEE"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("cover"), st.none() | st.sets(st.sampled_from(NAMES))),
            st.tuples(st.just("bar"), st.tuples(st.sampled_from(NAMES), st.integers(0, 6))),
            st.tuples(st.just("time"), st.integers(0, 8)),
        ),
        max_size=40,
    )
)
def test_whatever_is_covered_each_bar_is_published_once_or_dropped_with_a_code(events: list) -> None:
    machine = engine(NAMES, COMPLETENESS_MIN=0.1)
    outputs: list[Output] = []
    now = 0
    for kind, what in events:
        if kind == "cover":
            outputs += machine.cover("ibkr", what, 10.0, at(now))
        elif kind == "bar":
            now = max(now, what[1])
            outputs += machine.take(bar(*what))
        else:
            now = max(now, what)
            outputs += machine.advance("ibkr", at(now) + SECOND)
    outputs += machine.flush()
    ends = [(name, r["event_time"]) for r in records(outputs, "data.bars") for name in r.get("symbols", [])]
    assert len(ends) == len(set(ends))
    assert_conserved(machine)
