"""What a decision on something in quarantine does to its gate, and that what is decided on is so for good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from data_plane.observations import Observation
from data_plane.outputs import QUARANTINE
from tests.data_plane.release_support import (
    DAYS,
    GOOD,
    NOW,
    a_bar,
    a_fact,
    command,
    decide,
    quarantined,
    restarted,
    vintage,
)
from tests.data_plane.support import (
    assert_conserved,
    daily,
    engine,
    filing,
    gate_changes,
    records,
    run,
)
from triplane.domain.timestamps import DAY


def two_facts(accession: str = "2", available: int = NOW - 8) -> list[Observation]:
    return [filing("1", 1e6, 1e6, available=NOW - 9), filing(accession, 5e9, 4e9, available=available)]


@pytest.mark.parametrize("gate_lost", [False, True])
@pytest.mark.parametrize(("drops", "opens"), [((0, 0), True), ((0, 1), True), ((1, 0), True), ((1, 1), False)])
def test_a_gate_opens_once_all_that_closed_it_is_decided_on_and_something_let_out(
    drops: tuple[int, int], opens: bool, gate_lost: bool
) -> None:
    machine = engine()
    log = run(machine, two_facts())
    both = quarantined(log)
    assert [each["code"] for each in both] == ["FACT_JUMP"] * 2
    given_ = [command(bad, drop=bool(drop)) for bad, drop in zip(both, drops, strict=True)]
    first = machine.releases.carry_out(given_[0], both[0], NOW)
    assert gate_changes(first) == []
    second = machine.releases.carry_out(given_[1], both[1], NOW + 1)
    assert gate_changes(second) == [("fact_sanity", "AAA", True, "")] * opens
    if gate_lost:
        left = [output for output in [*first, *second] if output.topic != "data.gates"]
        machine = restarted(log, left)
        rest = machine.releases.carry_out(given_[0], both[0], NOW + 2)
        assert [output.record for output in rest] == records(second, "data.gates")
    assert machine.gates.is_open("fact_sanity", "edgar", "AAA") == opens


def test_what_did_not_reach_its_topic_keeps_no_gate_closed() -> None:
    machine = engine()
    kept, lost = quarantined(run(machine, two_facts()))
    machine.published.forget(QUARANTINE, lost)  # the spool was full
    assert gate_changes(decide(machine, kept)[1]) == [("fact_sanity", "AAA", True, "")]


@pytest.mark.parametrize(
    ("kind", "following", "code"),
    [
        (a_fact, filing("3", 9e13, available=NOW + 9), "FACT_JUMP"),
        (a_bar, replace(daily(DAYS[2], GOOD), available_time=NOW + 9), "UNIT_100X"),  # the one let out is its reference
    ],
)
def test_a_decision_of_an_earlier_run_opens_no_gate_that_has_closed_anew_since(
    kind: Any, following: Observation, code: str
) -> None:
    machine = engine()
    log = run(machine, kind())
    (bad,) = quarantined(log)
    given_ = command(bad)
    log += machine.releases.carry_out(given_, bad, NOW)
    log += machine.take(following)
    assert gate_changes(log)[-1][2:] == (False, code)
    again = restarted(log)
    assert not again.releases.owes(given_)
    assert again.releases.carry_out(given_, bad, NOW + 10) == []


def test_what_is_older_than_the_gate_s_closing_neither_opens_it_nor_keeps_it_closed() -> None:
    machine = engine(GATE_REOPEN_SLICES=1)
    log = run(machine, [*a_fact(), filing("3", 1.1e6, available=NOW - 7), filing("4", 9e9, available=NOW - 6)])
    older, newer = quarantined(log)
    assert machine.gates.closed_for("fact_sanity", "edgar", "AAA") == ("FACT_JUMP", NOW - 6, NOW - 6)
    assert gate_changes(decide(machine, older)[1]) == []
    assert gate_changes(decide(machine, newer)[1]) == [("fact_sanity", "AAA", True, "")]
    another = restarted(log)
    assert gate_changes(decide(another, newer)[1]) == [("fact_sanity", "AAA", True, "")]


@pytest.mark.parametrize("drop", [False, True])
def test_a_bar_that_another_source_contradicts_opens_the_gate_of_that(drop: bool) -> None:
    machine = engine()
    outputs = run(machine, [daily(DAYS[0], GOOD, source="other"), daily(DAYS[0], GOOD | {"AAA": 103.0})])
    (bad,) = quarantined(outputs)
    assert bad["code"] == "SOURCES_DISAGREE"
    assert gate_changes(decide(machine, bad, drop=drop)[1]) == [("cross_source", "AAA", True, "")] * (not drop)


# -- for good ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("how", [{"drop": True}, {}])
def test_a_bar_that_was_decided_on_is_not_judged_anew_under_another_limit(how: dict[str, bool], restart: bool) -> None:
    machine = engine()
    days = [daily(DAYS[0], GOOD), daily(DAYS[1], GOOD | {"AAA": 370.0}), daily(DAYS[2], GOOD)]
    log = run(machine, days)
    (bad,) = quarantined(log)
    log += decide(machine, bad, **how)[1]
    if restart:
        machine = restarted(log)
    machine.configure(list(GOOD), machine.targets.model_copy(update={"DAILY_JUMP_MAX": 5.0}), "hash-2")
    loaded = [replace(day, available_time=NOW + 7) for day in days]
    before = machine.ledger.deduplicated["ibkr"]
    outputs = run(machine, loaded)
    assert machine.ledger.deduplicated["ibkr"] == before + 1
    assert not quarantined(outputs)
    assert [each["symbols"] for each in records(outputs, "data.bars")] == [[*GOOD], ["BBB", "CCC"], [*GOOD]]
    other = run(machine, [replace(daily(DAYS[1], GOOD | {"AAA": 369.0}), available_time=NOW + 8)])
    assert records(other, "data.bars")[0]["symbols"] == [*GOOD]
    assert_conserved(machine)


def test_a_dropped_level_is_not_confirmed_by_what_repeats_it() -> None:
    machine = engine(GATE_REOPEN_SLICES=1)
    (jump,) = quarantined(run(machine, a_fact()))
    (point,) = quarantined(run(machine, [vintage(DAYS[0], (DAY, 1.0)), vintage(DAYS[1], (2 * DAY, 9.0))]))
    (spike,) = quarantined(run(machine, [daily(DAYS[0], GOOD), daily(DAYS[1], GOOD | {"AAA": 370.0})]))
    assert [each["code"] for each in (jump, point, spike)] == ["FACT_JUMP", "MACRO_JUMP", "PRICE_SPIKE"]
    for each in (jump, point, spike):
        decide(machine, each, drop=True)
    again: list[Observation] = [
        filing("3", 5e9, available=NOW - 7),
        vintage(DAYS[2], (3 * DAY, 9.0)),
        daily(DAYS[2], GOOD | {"AAA": 370.0}),
    ]
    assert [len(quarantined(machine.take(each))) for each in again] == [1, 1, 1]
    more: list[Observation] = [
        filing("4", 5e9, available=NOW - 6),
        vintage(DAYS[3], (4 * DAY, 9.0)),
        daily(DAYS[3], GOOD | {"AAA": 370.0}),
    ]
    assert not quarantined(run(machine, more))


def test_a_dropped_macro_level_is_not_confirmed_after_a_restart() -> None:
    machine = engine()
    log = run(machine, [vintage(DAYS[0], (DAY, 1.0)), vintage(DAYS[1], (2 * DAY, 9.0))])
    (point,) = quarantined(log)
    log += decide(machine, point, drop=True)[1]
    again = restarted(log)
    assert quarantined(again.take(vintage(DAYS[2], (3 * DAY, 9.0))))


def test_a_filing_of_which_all_is_decided_on_tells_its_gate_nothing() -> None:
    machine = engine()
    late = a_fact()[1]
    (bad,) = quarantined(run(machine, a_fact()))
    decide(machine, bad, drop=True)
    assert run(machine, [late] * 5) == []
    assert not machine.gates.is_open("fact_sanity", "edgar", "AAA")
