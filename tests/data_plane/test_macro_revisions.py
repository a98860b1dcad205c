"""Revisions beyond a series' history: held, confirmed or not, over restarts and repeated looks; and on real vintages."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.gates.revisions import MACRO_REVISION, MACRO_REVISION_UNIT, RevisionMemory
from data_plane.gates.values import DAY_NS
from data_plane.macro import fred_md
from data_plane.observations import Vintage
from data_plane.outputs import Output
from tests.data_plane import fred_files
from tests.data_plane.support import assert_conserved, assert_outputs_counted, engine, gate_changes, records, run
from triplane.domain.targets.data import DataTargets

NAN = math.nan
ALLOWED = DataTargets().MACRO_REVISION_MAX
LEVELS, PERCENT = "Billions of Dollars", "Percent"
COUNT = 24
EPOCH = date(1970, 1, 1).toordinal()


def vintage(start: str, values: dict[int, float], unit: str = LEVELS, series: str = "S") -> Vintage:
    """Values by day number."""
    available = (date.fromisoformat(start).toordinal() - EPOCH) * DAY_NS
    rows = tuple((day * DAY_NS, value) for day, value in values.items())
    return Vintage("fred", series, unit, start, available, False, rows)


def level(day: int) -> float:
    """A series that grows by 1 % a day: its usual size is 1.4826 %, and five of them are 7.4 %."""
    return round(100.0 * 1.01**day, 4)


def rate(day: int) -> float:
    """A rate that moves by a tenth of a point: five usual sizes are 0.74 points."""
    return round(2.0 + 0.1 * (day % 3), 2)


def grown(path: Callable[[int], float] = level, unit: str = LEVELS, count: int = COUNT) -> RevisionMemory:
    memory = RevisionMemory()
    first = vintage("2020-01-01", {day: path(day) for day in range(count)}, unit)
    assert set(memory.judge(first, ALLOWED).faults) == {None}  # nothing is known, so nothing is a revision
    memory.accept("S", first.realtime_start, first.values)
    return memory


def codes(memory: RevisionMemory, values: dict[int, float], unit: str = LEVELS, start: str = "2020-02-01") -> list[str]:
    return [fault.code if fault else "" for fault in memory.judge(vintage(start, values, unit), ALLOWED).faults]


@pytest.mark.parametrize(
    ("path", "unit", "factor", "shift", "expected"),
    [
        (level, LEVELS, 1.07, 0.0, ""),
        (level, LEVELS, 0.935, 0.0, ""),
        (level, LEVELS, 1.08, 0.0, MACRO_REVISION),
        (level, LEVELS, 0.92, 0.0, MACRO_REVISION),
        (level, LEVELS, 10.0, 0.0, MACRO_REVISION_UNIT),
        (level, LEVELS, 0.001, 0.0, MACRO_REVISION_UNIT),
        (level, LEVELS, 30.0, 0.0, MACRO_REVISION),
        (level, LEVELS, -1.0, 0.0, MACRO_REVISION_UNIT),
        (level, LEVELS, 0.0, 0.0, MACRO_REVISION_UNIT),  # it has never been zero
        (rate, PERCENT, 1.0, 0.7, ""),
        (rate, PERCENT, 1.0, -0.8, MACRO_REVISION),
        (rate, PERCENT, 0.01, 0.0, MACRO_REVISION_UNIT),
        (rate, PERCENT, -1.0, 0.0, MACRO_REVISION_UNIT),
        (rate, PERCENT, 0.0, 0.0, MACRO_REVISION),  # a rate may be zero: only its distance counts
    ],
)
def test_what_is_beyond_the_history(
    path: Callable[[int], float], unit: str, factor: float, shift: float, expected: str
) -> None:
    assert codes(grown(path, unit), {7: path(7) * factor + shift}, unit) == [expected]


def test_the_sentence_has_the_numbers() -> None:
    judged = grown().judge(vintage("2020-02-01", {7: 150.0}), ALLOWED)
    [fault] = judged.faults
    assert fault is not None
    assert fault.detail == (
        "S of 1970-01-08 was revised from 107.213 to 150 on 2020-02-01, 0.336 log points, allowed 0.0738 log points"
    )


def test_dots_new_observations_and_old_vintages_are_no_revisions() -> None:
    memory = grown()
    assert codes(memory, {7: NAN, COUNT: 1e9}) == ["", ""]
    assert codes(memory, {7: 1e9}, start="2020-01-01") == [""]
    assert codes(memory, {7: 1e9}, start="2019-12-31") == [""]
    # A number that returns after a dot is compared with the one before it.
    memory.accept("S", "2020-02-01", [(7 * DAY_NS, NAN)])
    assert codes(memory, {7: 150.0}, start="2020-03-01") == [MACRO_REVISION]
    assert codes(memory, {7: 107.0}, start="2020-03-01") == [""]


def test_without_any_history_only_slips_are_seen() -> None:
    memory = grown(count=2)
    assert codes(memory, {0: 150.0}) == [""]
    assert codes(memory, {0: 1000.0}) == [MACRO_REVISION_UNIT]
    # A rate of a tenth may well be one percent.
    assert codes(grown(rate, PERCENT, 2), {0: 20.0}, PERCENT) == [""]


def test_a_series_that_crosses_zero_is_measured_in_points() -> None:
    balance = lambda day: float((day % 3) - 1) * 10.0  # noqa: E731
    memory = grown(balance)
    assert codes(memory, {0: 20.0}) == [""]  # from -10: twice 14.8 points is allowed five times
    assert codes(memory, {0: 90.0}) == [MACRO_REVISION]
    assert codes(memory, {0: 10.0}) == [""]  # the sign turns, within what is usual


def test_past_revisions_widen_what_is_allowed_by_their_usual_size() -> None:
    memory = grown()
    for month in range(2, 8):
        moved = [(day * DAY_NS, level(day) * (1.05 if month % 2 else 0.96)) for day in range(4)]
        memory.accept("S", f"2020-0{month}-01", moved)
    # The usual revision is now 9 %, six times the usual change.
    assert codes(memory, {1: level(1) * 1.4}, start="2020-09-01") == [""]
    assert codes(memory, {1: level(1) * 2.5}, start="2020-09-01") == [MACRO_REVISION]


def test_a_new_base_passes_and_teaches_nothing() -> None:
    memory = grown()
    based = {day: level(day) * 0.8 for day in range(COUNT)}
    assert set(codes(memory, based)) == {""}
    # One of them that is off the common factor does not.
    assert codes(memory, based | {5: level(5)})[5] == MACRO_REVISION
    # Less than half of the history is no new base.
    assert set(codes(memory, dict(list(based.items())[:11]))) == {MACRO_REVISION}
    memory.accept("S", "2020-02-01", [(day * DAY_NS, value) for day, value in based.items()])
    assert codes(memory, {7: level(7)}, start="2020-03-01") == [MACRO_REVISION]  # the old base is 25 % off
    assert codes(memory, {7: level(7) * 0.8 * 1.07}, start="2020-03-01") == [""]


# -- through the engine --------------------------------------------------------------------------------------------------------
FIRST = vintage("2020-01-01", {day: level(day) for day in range(COUNT)})


def quarantined(outputs: list[Output]) -> list[tuple[str, int]]:
    return [(bad["code"], bad["event_time"] // DAY_NS) for bad in records(outputs, "data.quarantine")]


def published(outputs: list[Output]) -> list[tuple[str, list[int], list[float]]]:
    return [
        (record["vintage_id"], [time // DAY_NS for time in record["observation_time"]], record["values"])
        for record in records(outputs, "data.macro")
    ]


def test_a_value_is_held_until_the_next_vintage_leaves_it_as_it_is() -> None:
    machine = engine()
    outputs = machine.take(FIRST)
    held = vintage("2020-02-01", {7: 150.0, 8: level(8) * 1.01, COUNT: level(COUNT)})
    second = machine.take(held)
    assert quarantined(second) == [(MACRO_REVISION, 7)]
    assert published(second) == [("S/2020-02-01", [8, COUNT], [level(8) * 1.01, level(COUNT)])]
    assert gate_changes(second) == [("macro_sanity", "S", False, MACRO_REVISION)]
    # The next vintage does not name it: the provider stands by it. It is known from then, not from before.
    third = machine.take(vintage("2020-03-01", {COUNT + 1: level(COUNT + 1)}))
    assert published(third) == [("S/2020-03-01", [7, COUNT + 1], [150.0, level(COUNT + 1)])]
    assert machine.ledger.released == Counter(fred=1)
    assert_conserved(machine)
    assert_outputs_counted(machine, outputs + second + third)
    # It is the value now, and is let out once.
    fourth = machine.take(vintage("2020-04-01", {7: 151.0}))
    assert published(fourth) == [("S/2020-04-01", [7], [151.0])]
    assert machine.ledger.released == Counter(fred=1)


def test_a_value_that_is_taken_back_is_never_published() -> None:
    machine = engine()
    run(machine, [FIRST, vintage("2020-02-01", {7: 150.0})])
    outputs = run(machine, [vintage("2020-03-01", {7: 107.5}), vintage("2020-04-01", {COUNT: level(COUNT)})])
    assert [values for _, _, values in published(outputs)] == [[107.5], [level(COUNT)]]
    assert machine.ledger.released == Counter()
    assert_conserved(machine)


def test_a_value_that_is_restated_alike_is_accepted() -> None:
    machine = engine()
    run(machine, [FIRST, vintage("2020-02-01", {7: 150.0})])
    assert quarantined(machine.take(vintage("2020-03-01", {7: 300.0}))) == [(MACRO_REVISION, 7)]  # another one again
    assert published(machine.take(vintage("2020-04-01", {7: 299.0}))) == [("S/2020-04-01", [7], [299.0])]
    assert_conserved(machine)


def test_a_slip_is_not_confirmed_by_silence_but_by_a_restatement() -> None:
    machine = engine()
    run(machine, [FIRST, vintage("2020-02-01", {7: level(7) * 10})])
    assert published(machine.take(vintage("2020-03-01", {COUNT: level(COUNT)}))) == [
        ("S/2020-03-01", [COUNT], [level(COUNT)])
    ]
    assert published(machine.take(vintage("2020-04-01", {7: level(7) * 10.1}))) == [
        ("S/2020-04-01", [7], [level(7) * 10.1])
    ]
    assert_conserved(machine)


def test_another_unit_holds_the_whole_vintage_and_the_next_one_confirms_it() -> None:
    machine = engine()
    machine.take(FIRST)
    millions = {day: level(day) * 1000 for day in range(COUNT + 1)}
    second = machine.take(vintage("2020-02-01", millions))
    assert quarantined(second) == [(MACRO_REVISION, day) for day in range(COUNT + 1)]
    assert published(second) == []
    assert "restated 1000 times as large" in records(second, "data.quarantine")[0]["detail"]
    third = machine.take(vintage("2020-03-01", {COUNT: level(COUNT) * 1001, COUNT + 1: level(COUNT + 1) * 1000}))
    [(_, days, values)] = published(third)
    assert days == list(range(COUNT + 2))
    assert values[:2] == [level(0) * 1000, level(1) * 1000]
    assert machine.ledger.released == Counter(fred=COUNT)
    # What is usual has not changed with the unit.
    assert quarantined(machine.take(vintage("2020-04-01", {3: level(3) * 1200}))) == [(MACRO_REVISION, 3)]
    assert_conserved(machine)


def test_what_is_infinite_is_never_confirmed() -> None:
    machine = engine()
    machine.take(FIRST)
    machine.take(
        vintage("2020-02-01", {day: level(day) * 1000 for day in range(COUNT)} | {COUNT: math.inf, COUNT + 1: NAN})
    )
    [(_, days, values)] = published(machine.take(vintage("2020-03-01", {COUNT + 2: level(COUNT + 2) * 1000})))
    assert days == [*range(COUNT), COUNT + 1, COUNT + 2]  # the dot came with them
    assert math.isnan(values[-2])


def test_a_confirmed_rate_is_the_level_that_the_next_is_compared_with() -> None:
    first = vintage("2020-01-01", {day: rate(day) for day in range(COUNT)}, PERCENT)
    machine = engine(MACRO_JUMP_MAX=2.0)
    revised = vintage("2020-02-01", {COUNT - 1: 4.1}, PERCENT)  # 1.9 points: no jump, but beyond its revisions
    assert quarantined(run(machine, [first, revised])) == [(MACRO_REVISION, COUNT - 1)]
    run(machine, [vintage("2020-03-01", {}, PERCENT)])
    assert quarantined(machine.take(vintage("2020-04-01", {COUNT: 5.0}, PERCENT))) == []


def test_a_second_look_at_a_vintage_does_not_confirm_it() -> None:
    """A vintage of which nothing was published has no record that says so: a source hands it in at each look."""
    machine = engine()
    machine.take(FIRST)
    bad = vintage("2020-02-01", {7: 150.0})
    assert quarantined(machine.take(bad)) == [(MACRO_REVISION, 7)]
    assert records(machine.take(bad), "data.macro") == []
    assert machine.ledger.deduplicated["fred"] == 1  # its record is there already
    run(machine, [vintage("2020-03-01", {7: 107.5})])
    assert records(machine.take(bad), "data.macro") == []
    # Corrected under the same date it is another value.
    assert published(machine.take(vintage("2020-02-01", {9: 109.0}))) == [("S/2020-02-01", [9], [109.0])]
    assert_conserved(machine)


def test_a_second_look_does_not_confirm_a_rate_that_jumped() -> None:
    machine = engine()
    machine.take(vintage("2020-01-01", {1: 1.4}, PERCENT))
    jumped = vintage("2020-01-02", {2: 14.0}, PERCENT)
    assert quarantined(machine.take(jumped)) == [("MACRO_JUMP", 2)]
    assert machine.take(jumped) == []
    assert published(machine.take(vintage("2020-01-03", {3: 14.1}, PERCENT))) == [("S/2020-01-03", [3], [14.1])]


def test_a_restart_remembers_a_rate_that_jumped() -> None:
    before = run(engine(), [vintage("2020-01-01", {1: 1.4}, PERCENT), vintage("2020-01-02", {2: 14.0}, PERCENT)])
    again = engine()
    for topic in ("data.macro", "data.quarantine"):
        again.remember(topic, records(before, topic))
    second = again.take(vintage("2020-01-02", {2: 14.0}, PERCENT))
    assert (published(second), quarantined(second)) == ([], [])  # refused as before, and told already
    assert published(again.take(vintage("2020-01-03", {3: 14.1}, PERCENT))) == [("S/2020-01-03", [3], [14.1])]
    # Without a level nothing is a jump, whatever was refused.
    alone = engine()
    alone.remember("data.quarantine", records(before, "data.quarantine"))
    assert published(alone.take(vintage("2020-01-03", {3: 9.0}, PERCENT))) == [("S/2020-01-03", [3], [9.0])]


@pytest.mark.parametrize("last", [107.5, None])
def test_a_restart_remembers_what_is_held(last: float | None) -> None:
    held = vintage("2020-02-01", {7: 150.0, 8: level(8) * 10})
    following = vintage("2020-03-01", {COUNT: level(COUNT)} | ({} if last is None else {7: last}))
    whole = engine()
    before = run(whole, [FIRST, held])
    again = engine()
    for topic in ("data.macro", "data.quarantine"):
        again.remember(topic, records(before, topic))
    assert again.take(FIRST) == []
    assert records(again.take(held), "data.quarantine") == []  # told already
    assert published(again.take(following)) == published(whole.take(following))
    assert again.ledger.released == whole.ledger.released == (Counter() if last else Counter(fred=1))
    # After another restart nothing is let out twice.
    third = engine()
    logged = before + run(engine(), [FIRST, held, following])[len(before) :]
    for topic in ("data.macro", "data.quarantine"):
        third.remember(topic, records(logged, topic))
    assert published(third.take(vintage("2020-04-01", {COUNT + 1: level(COUNT + 1)}))) == [
        ("S/2020-04-01", [COUNT + 1], [level(COUNT + 1)])
    ]


def test_what_was_unreadable_is_not_taken_for_a_value() -> None:
    machine = engine()
    record = {
        "source": "fred",
        "symbol": "DTB3",
        "topic": "data.macro",
        "available_time": 1,
        "raw": b"<html>",
        "quarantine_id": "fred/1",
        "code": "BODY_MALFORMED",
        "detail": "",
    }
    machine.remember("data.quarantine", [record, record | {"raw": b"[]", "quarantine_id": "fred/2"}])
    assert len(published(machine.take(FIRST))) == 1


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([1.0, 10.0, -1.0, 0.0, 5e-324, 1.7e308])


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["2020-01-01", "2020-02-01", "2020-03-01", "2020-04-01"]),
            st.lists(st.tuples(st.integers(0, 30), numbers), max_size=30),
            st.sampled_from([LEVELS, PERCENT, ""]),
        ),
        max_size=12,
    )
)
def test_whatever_comes_is_judged_and_counted(stream: list[tuple[str, list[tuple[int, float]], str]]) -> None:
    machine = engine()
    outputs: list[Output] = []
    for start, values, unit in stream:
        rows = tuple((day * DAY_NS, value) for day, value in values)
        outputs += machine.take(replace(vintage(start, {}, unit), values=rows))
        assert_conserved(machine)
    assert_outputs_counted(machine, outputs)
    ids = [record["vintage_id"] for record in records(outputs, "data.macro")]
    assert len(ids) == len(set(ids))


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), numbers)
def test_no_date_and_no_number_raises(time: int, value: float) -> None:
    memory = RevisionMemory()
    for start in ("2020-01-01", "2020-02-01", "2020-03-01"):
        item = Vintage("fred", "S", LEVELS, start, 1, False, tuple((time, number) for number in (1.0, value)))
        judged = memory.judge(item, ALLOWED)
        assert len(judged.faults) == 2
        memory.accept("S", start, [(time, value)])
        memory.hold("S", start, time, value, MACRO_REVISION)


# -- real vintages -------------------------------------------------------------------------------------------------------------
def test_no_real_revision_of_gdp_is_refused_and_errors_are(shared_data: Path) -> None:
    """33 years of vintages with five benchmark revisions; each of a sample of its revisions is also judged with an error in it."""
    errors: dict[str, Callable[[float], float]] = {
        "ten times": lambda value: value * 10,
        "a tenth": lambda value: value / 10,
        "sign": lambda value: -value,
        "millions": lambda value: value * 1000,
        "a digit lost": lambda value: math.floor(value / 10),
        "a quarter more": lambda value: value * 1.25,
        "a tenth more": lambda value: value * 1.1,
    }
    memory = RevisionMemory()
    judged = refused = trials = 0
    caught: Counter[str] = Counter()
    for item in fred_files.gdp_vintages(shared_data):
        values = sorted(item.values)
        faults = memory.judge(item, ALLOWED).faults
        state = memory.series.get("GDP")
        revised = [
            place for place, (day, value) in enumerate(values) if state and day in state.known and value == value
        ]
        judged += len(revised)
        refused += sum(fault is not None for fault in faults)
        for place in revised[::40]:
            trials += 1
            for name, error in errors.items():
                day, value = values[place]
                wrong = replace(item, values=(*values[:place], (day, error(value)), *values[place + 1 :]))
                caught[name] += memory.judge(wrong, ALLOWED).faults[place] is not None
        memory.accept("GDP", item.realtime_start, values)
    assert (judged, refused) == (2641, 0)
    assert trials >= 250
    assert {name: caught[name] / trials for name in errors if name != "a tenth more"} == dict.fromkeys(
        [name for name in errors if name != "a tenth more"], 1.0
    )
    # 10 % is less than five quarters' growth: the gate does not claim to see it.
    assert caught["a tenth more"] < trials


def test_seventeen_months_of_revisions_of_126_series(shared_data: Path) -> None:
    """From FRED-MD's file of August 2021 to that of January 2023, as if all of it came in one vintage and nothing was known of revisions."""
    panels = []
    for name in ("2021-08.csv.gz", "2023-01_current.csv.gz"):
        with gzip.open(shared_data / "fred" / "fred_md" / name, "rt", encoding="utf-8") as file:
            panels.append(fred_md.parse(file.read()))
    old, new = panels
    count = judged = 0
    refused: Counter[str] = Counter()
    for place, series in enumerate(old.names):
        if series not in new.names:
            continue
        count += 1
        before, after = old.levels[:, place], new.levels[: len(old.dates), new.names.index(series)]
        days = [day.toordinal() - EPOCH for day in old.dates]
        both = np.isfinite(before) & np.isfinite(after)
        memory = RevisionMemory()
        first = vintage(
            "2021-08-02", {day: value for day, value in zip(days, before.tolist(), strict=True) if value == value}
        )
        memory.accept("S", first.realtime_start, first.values)
        changed = {day: value for day, value, ok in zip(days, after.tolist(), both, strict=True) if ok}
        judged += len(changed)
        refused[series] = sum(
            fault is not None for fault in memory.judge(vintage("2023-01-03", changed), ALLOWED).faults
        )
    assert (count, judged) == (126, 93_722)
    # All are months of 2019 to 2021, when these series moved and were revised as never before.
    assert sum(refused.values()) == 78
    assert sum(number > 0 for number in refused.values()) == 7
