"""A close is a measure for what comes soon after it: how old it may be, by the sessions of the calendar."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.daemon.past import Past
from data_plane.engine import DataEngine
from data_plane.observations import Bars
from data_plane.outputs import Output
from tests.data_plane.support import bad, bar, daily, engine, records, run, sessions

GAP = 10
OLD = sessions("2016-01-20", 8)
FAR = sessions("2016-10-03", 4)
YEAR = sessions("2017-01-03", 8 * (GAP + 1) + 1)


def names(price: float) -> dict[str, float]:
    return {"AAA": price, "BBB": 20.0 + price / 1000, "CCC": 30.0 + price / 1000}


def warm() -> list[Bars]:
    """Days of a usual turnover, AAA at 100."""
    return [daily(day, names(100.0 + place / 100)) for place, day in enumerate(OLD)]


def restarted(outputs: list[Output], symbols: tuple[str, ...] = ("AAA", "BBB", "CCC")) -> DataEngine:
    """An engine that knows what one before it put on its topics."""
    machine = engine(symbols)
    for topic in ("data.bars", "data.quarantine"):
        machine.remember(topic, records(outputs, topic))
    return machine


@pytest.mark.parametrize("price", [10_000.0, 1.0, 300.0, 50.0])
@pytest.mark.parametrize("restart", [False, True])
def test_a_close_of_long_ago_is_no_measure(price: float, restart: bool) -> None:
    """A unit, a spike and a split's ratio off the last good close, which is eight months old."""
    machine = engine()
    outputs = run(machine, warm())
    machine = restarted(outputs) if restart else machine
    after = run(machine, [daily(day, names(price + place / 100)) for place, day in enumerate(FAR)])
    assert bad(after) == []
    # From then on the new level counts.
    assert ("AAA", "UNIT_100X") in bad(run(machine, [daily("2016-10-07", names(price * 100.0))]))


@pytest.mark.parametrize(("gap", "codes"), [(GAP, ["UNIT_100X"]), (GAP + 1, [])])
def test_sessions_count_and_not_days(gap: int, codes: list[str]) -> None:
    """The tenth session after the last close is held against it, the eleventh is not; holidays and weekends are none."""
    day = sessions("2016-12-16", gap + 1)[-1]
    outputs = run(engine(), [daily("2016-12-16", names(100.0)), daily(day, names(1.0) | {"BBB": 20.1, "CCC": 30.1})])
    assert [code for _, code in bad(outputs)] == codes
    other = run(
        engine(BAR_GAP_SESSIONS=3),
        [daily("2016-12-16", names(100.0)), daily(sessions("2016-12-16", 5)[-1], names(1.0))],
    )
    assert bad(other) == []


def test_what_stays_off_its_level_does_not_become_right_by_that() -> None:
    """In the wrong unit for longer than a close counts, day by day; a restart amid it changes nothing."""
    wrong = [daily(day, names(1.0) | {"BBB": 20.1, "CCC": 30.1}) for day in sessions("2016-02-01", 3 * GAP)]
    machine = engine()
    outputs = run(machine, [*warm(), *wrong[: 2 * GAP]])
    assert bad(outputs) == [("AAA", "UNIT_100X")] * (2 * GAP)
    again = restarted(outputs)
    rest = [run(one, wrong[2 * GAP :]) for one in (machine, again)]
    assert bad(rest[0]) == [("AAA", "UNIT_100X")] * GAP
    assert records(rest[0], "data.bars") == records(rest[1], "data.bars")
    assert records(rest[0], "data.quarantine") == records(rest[1], "data.quarantine")


def test_bars_that_an_old_close_put_into_quarantine_do_not_keep_it_alive() -> None:
    """What was taken out far from the close is no bar that was rightly held against it."""
    log = run(engine(), warm()) + run(engine(BAR_GAP_SESSIONS=10_000), [*warm(), *(daily(d, names(1.0)) for d in FAR)])
    assert ("AAA", "UNIT_100X") in bad(log)
    after = run(restarted(log), [daily("2016-10-07", names(1.1))])
    assert bad(after) == []


def test_a_backfill_ages_a_close_by_what_it_took_out() -> None:
    wrong = [daily(day, names(1.0) | {"BBB": 20.1, "CCC": 30.1}) for day in sessions("2016-02-01", 2 * GAP)]
    log = run(engine(), [*warm(), *wrong])

    def backfilled(observation: Bars) -> list[Output]:
        machine = engine()
        past = Past(machine)
        for output in log:
            if output.topic in ("data.bars", "data.quarantine"):
                past.add(output.topic, output.record)
        past.before(observation)
        return machine.take(observation)

    following = sessions("2016-02-01", 2 * GAP + 1)[-1]
    assert bad(backfilled(daily(following, names(1.0) | {"BBB": 20.1, "CCC": 30.1}))) == [("AAA", "UNIT_100X")]
    assert bad(backfilled(daily(FAR[0], names(1.0)))) == []


def test_older_history_is_held_against_neighbours_that_are_near_only() -> None:
    """A span that is loaded before what is there, and one between two."""
    machine = engine()
    run(machine, [daily(day, names(1.0)) for day in FAR])
    assert bad(run(machine, warm())) == []
    assert bad(run(machine, [daily("2016-05-02", names(10_000.0)), daily("2016-05-03", names(100.0))]))[0] == (
        "AAA",
        "UNIT_100X",
    )
    assert bad(run(machine, [daily("2016-10-07", names(1.01))])) == []


def test_a_day_that_repeats_one_of_long_ago_is_no_frozen_one() -> None:
    for before, codes in ((OLD[-1], set()), ("2016-09-30", {"PRICE_FROZEN"})):
        machine, day = engine(), daily(before, names(100.0))
        run(machine, [day])
        again = replace(daily(FAR[0], names(100.0)), values=day.values)
        assert {code for _, code in bad(machine.take(again))} == codes


def test_the_usual_turnover_of_long_ago_makes_no_move_a_split() -> None:
    """Fewer than five days of the new stretch tell what is usual; in the old one the same day is held."""
    halved = {"AAA": 50.0, "BBB": 20.1, "CCC": 30.1}
    near = engine()
    run(near, warm())
    assert bad(run(near, [daily("2016-02-01", halved)])) == [("AAA", "SPLIT_SUSPECTED")]
    far = engine()
    run(far, [*warm(), daily(FAR[0], names(100.0))])
    assert bad(run(far, [daily(FAR[1], halved)])) == []


def test_a_bar_of_today_is_not_held_against_one_of_months_ago() -> None:
    machine = engine(("AAA",))
    run(machine, [bar("AAA", step, 1.0, day="2018-01-19") for step in range(3)])
    assert bad(run(machine, [bar("AAA", step, 100.0, day="2018-03-19") for step in range(3)])) == []
    machine = engine(("AAA",))
    run(machine, [bar("AAA", step, 1.0, day="2018-01-19") for step in range(3)])
    assert {
        code for _, code in bad(run(machine, [bar("AAA", step, 100.0, day="2018-01-24") for step in range(3)]))
    } == {"UNIT_100X"}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2, GAP, GAP + 1]), st.sampled_from([1.0, 100.0])), min_size=2, max_size=8),
    st.data(),
)
def test_a_restart_anywhere_judges_the_rest_alike(steps: list[tuple[int, float]], data: st.DataObject) -> None:
    """Days in either of two units after gaps of any kind: what a bar is held against is the same after a restart."""
    place, bars = 0, []
    for gap, price in steps:
        place += gap
        bars.append(daily(YEAR[place], {"AAA": price, "BBB": 20.0 + place / 1000}))
    until = data.draw(st.integers(1, len(bars) - 1))
    machine = engine(("AAA", "BBB"))
    log = run(machine, bars[:until])
    again = restarted(log, ("AAA", "BBB"))
    assert bad(run(machine, bars[until:])) == bad(run(again, bars[until:]))
