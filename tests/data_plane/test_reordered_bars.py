"""Five-second bars that come in the wrong order, twice or not at all: what is held, what is told, and that nothing is uncounted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from data_plane.engine import DataEngine
from data_plane.observations import RealtimeBar
from data_plane.outputs import Output
from data_plane.slices.assembly import RECENT, STEP
from tests.data_plane.support import assert_conserved, bar, day_open, engine, gate_changes, records, run
from triplane.domain.timestamps import SECOND

NAMES = ("AAA", "BBB", "CCC")


def full_step(step: int) -> list[RealtimeBar]:
    """The bars of all names of interval number `step`."""
    return [bar(name, step) for name in NAMES]


def end(step: int) -> int:
    """When interval number `step` of the day ends."""
    return day_open() + (step + 1) * STEP


def slices(outputs: list[Output]) -> list[tuple[int, int, int]]:
    """(interval, steps after its end at which it was known, names) of each slice; with no name it is a punctuation or a lost interval."""
    return [
        (
            (record["event_time"] - day_open()) // STEP - 1,
            (record["available_time"] - record["event_time"]) // STEP,
            len(record.get("symbols", ())),
        )
        for record in records(outputs, "data.bars")
    ]


def test_an_interval_that_was_overtaken_goes_out_before_the_one_that_overtook_it() -> None:
    machine = engine()
    run(machine, full_step(0))
    assert run(machine, full_step(2)) == []
    assert machine.pending() == {"ibkr": 3}
    outputs = run(machine, full_step(1))
    assert slices(outputs) == [(1, 1, 3), (2, 0, 3)]
    assert slices(run(machine, full_step(3))) == [(3, 0, 3)]
    assert machine.ledger.dropped == {}
    assert_conserved(machine)


def test_what_lacks_of_an_overtaken_interval_holds_the_others_a_step_at_most() -> None:
    for end_by_time in (False, True):
        machine = engine(COMPLETENESS_MIN=0.1)
        run(machine, [*full_step(0), *full_step(2), bar("AAA", 1)])
        assert machine.advance("ibkr", end(2) + STEP - SECOND) == []
        outputs = machine.advance("ibkr", end(2) + STEP) if end_by_time else run(machine, [bar("AAA", 3)])
        assert slices(outputs) == [(1, 1, 1), (2, 0, 3)]
        assert machine.take(bar("BBB", 1)) == []
        assert machine.ledger.dropped["ibkr", "LATE"] == 1
        assert_conserved(machine)


def test_a_lost_interval_is_named_and_delays_the_next_by_a_step_at_most() -> None:
    for end_by_time in (False, True):
        machine = engine()
        run(machine, [*full_step(0), *full_step(2)])
        outputs = machine.advance("ibkr", end(3)) if end_by_time else run(machine, full_step(3))
        lost, *others = records(outputs, "data.bars")
        assert (lost["event_time"], lost["available_time"], lost["missing"]) == (end(1), end(2), list(NAMES))
        assert [each["missing"] for each in others] == [[]] * len(others)
        assert slices(outputs)[1:] == [(2, 0, 3), (3, 0, 3)][: len(others)]
        outputs += run(machine, [*full_step(3), *full_step(4)])
        changes = [(gate, opened, code) for gate, _, opened, code in gate_changes(outputs)]
        assert changes == [("completeness", False, "INCOMPLETE"), ("completeness", True, "")]
        assert_conserved(machine)


def test_an_interval_that_a_punctuation_told_of_still_comes_and_is_told_once() -> None:
    machine = engine(BAR_FRESHNESS_S=3600)
    run(machine, full_step(0))
    assert slices(machine.advance("ibkr", end(2))) == [(1, 0, 0)]
    assert run(machine, full_step(2)) == []
    assert slices(run(machine, full_step(1))) == [(1, 1, 3), (2, 0, 3)]
    # Of one that is lost the punctuation is all that is said.
    assert slices(machine.advance("ibkr", end(4))) == [(3, 0, 0)]
    assert slices(run(machine, [*full_step(4), *full_step(5)])) == [(4, 0, 3), (5, 0, 3)]
    # Two steps of silence are no sign of a reordering: the next slice waits for nothing.
    machine.advance("ibkr", end(7))
    machine.advance("ibkr", end(8))
    assert slices(run(machine, full_step(8))) == [(8, 0, 3)]
    assert_conserved(machine)


def test_after_a_reconnect_nothing_is_said_to_be_lost() -> None:
    machine = engine(BAR_FRESHNESS_S=3600)
    run(machine, full_step(0))
    machine.resume("ibkr", end(2))
    assert slices(run(machine, [*full_step(3), *full_step(4)])) == [(3, 0, 3), (4, 0, 3)]


def test_a_bar_that_comes_again_is_a_repetition_and_another_one_is_late() -> None:
    machine = engine()
    run(machine, full_step(0))
    run(machine, full_step(0))
    assert (machine.ledger.deduplicated["ibkr"], machine.ledger.dropped) == (3, {})
    machine.take(bar("AAA", 0, 101.0))
    assert machine.ledger.dropped == {("ibkr", "LATE"): 1}
    run(machine, [item for step in range(1, RECENT + 1) for item in full_step(step)])
    machine.take(bar("AAA", 0))  # nobody knows it any more
    assert machine.ledger.dropped == {("ibkr", "LATE"): 2}
    assert_conserved(machine)


@given(
    swaps=st.sets(st.integers(0, 5)),
    lost=st.sets(st.integers(0, 11), max_size=2),
    again=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2)), max_size=4),
    looks=st.sets(st.integers(0, 11)),
)
def test_whatever_comes_in_whatever_order_is_counted_and_each_interval_told_once(
    swaps: set[int], lost: set[int], again: list[tuple[int, int]], looks: set[int]
) -> None:
    machine: DataEngine = engine(BAR_FRESHNESS_S=3600)
    order = [step for pair in range(6) for step in ((1, 0) if pair in swaps else (0, 1)) for step in (2 * pair + step,)]
    outputs: list[Output] = []
    repeated = 0
    for place, step in enumerate(order):
        came = [] if step in lost else [step]
        more = [order[place - back] for at, back in again if at == place and place >= back]
        more = [each for each in more if each not in lost]
        repeated += len(NAMES) * len(more)
        for item in [item for each in came + more for item in full_step(each)]:
            outputs += machine.take(item)
            assert_conserved(machine)
            assert machine.pending().get("ibkr", 0) <= 2 * len(NAMES)
        if place in looks:
            outputs += machine.advance("ibkr", end(max(order[: place + 1])))
    outputs += machine.flush()
    assert_conserved(machine)
    told = [step for step, _, names in slices(outputs) if names]
    assert told == sorted(set(told))
    known = [record["available_time"] for record in records(outputs, "data.bars")]
    assert known == sorted(known)
    if not lost and 0 not in swaps:  # the first interval of all has none before it that could be waited for
        assert told == list(range(12))
        assert machine.ledger.dropped == {}
        assert machine.ledger.deduplicated["ibkr"] == repeated
