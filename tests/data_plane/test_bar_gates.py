"""Gates that need earlier bars or another source: frozen prices, volume and trades, sources that disagree, clocks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.engine import DataEngine
from data_plane.gates.frozen import REPEATED, FrozenMemory
from data_plane.observations import Bars, CorporateAction, TradeTick
from data_plane.outputs import Output
from tests.data_plane.support import (
    DAY,
    NAN,
    STEP,
    assert_conserved,
    assert_outputs_counted,
    bad,
    bar,
    daily,
    day_close,
    day_open,
    engine,
    gate_changes,
    lean_rows,
    quote,
    records,
    run,
    sessions,
)
from triplane.domain.targets.data import DataTargets
from triplane.domain.timestamps import MINUTE, SECOND, from_datetime

NAMES = ("AAA", "BBB", "CCC")
BEFORE = "2018-01-18"


# -- frozen prices ---------------------------------------------------------------------------------------------------------------
def flat(name: str, step: int, price: float, volume: float = 500.0) -> Any:
    return bar(name, step, price, high=price, low=price, volume=volume)


def test_a_bar_that_is_sent_again_and_again_is_taken_out_while_its_peers_move() -> None:
    machine = engine(COMPLETENESS_MIN=0.1)
    outputs = []
    for step in range(6):
        moved = 100.0 + 0.01 * step
        outputs += run(
            machine, [bar("AAA", step), bar("BBB", step, moved), bar("CCC", step, moved, volume=900.0 + step)]
        )
    assert bad(outputs) == [("AAA", "PRICE_FROZEN")] * (6 - REPEATED)
    assert gate_changes(outputs) == [("price_sanity", "AAA", False, "PRICE_FROZEN")]
    outputs = run(machine, [bar(name, step, 100.1 + step / 100) for step in (6, 7) for name in NAMES])
    assert gate_changes(outputs) == [("price_sanity", "AAA", True, "")]
    assert_conserved(machine)


def test_bars_that_stand_still_with_the_whole_market_or_without_volume_are_not_frozen() -> None:
    still = run(engine(), [bar(name, step) for step in range(20) for name in NAMES])
    assert bad(still) == []
    marks = [
        item
        for step in range(90)
        for item in (
            bar("AAA", step, volume=0.0)._replace(trades=0),
            bar("BBB", step, 100 + step / 1000),
            bar("CCC", step, 100 - step / 1000),
        )
    ]
    assert bad(run(engine(), marks)) == []
    alone = engine(("AAA",))
    assert bad(run(alone, [flat("AAA", step, 100.0, 500.0 + step) for step in range(90)])) == []


def test_how_long_a_flat_price_may_stand_is_what_the_name_is_used_to() -> None:
    machine = engine(COMPLETENESS_MIN=0.1, FROZEN_BARS=10)

    def feed(first: int, count: int, price: float) -> list[tuple[str, str]]:
        items = []
        for step in range(first, first + count):
            items += [
                flat("AAA", step, price, 500.0 + step),
                bar("BBB", step, 100 + step / 1e4),
                bar("CCC", step, 50 + step / 1e4),
            ]
        return bad(run(machine, items))

    assert feed(0, 9, 100.0) == []  # eight that stay: usual from now on
    assert feed(9, 24, 100.1) == []  # less than three times as long
    # 23 have become usual: the sixty-ninth that stays is one too many.
    assert len(feed(33, 70, 100.2)) == 1
    assert feed(103, 2, 100.3) == []


def test_a_day_that_repeats_the_last_one_is_no_day() -> None:
    machine = engine(COMPLETENESS_MIN=0.1)
    closes = {"AAA": 10.0, "BBB": 20.0, "CCC": 30.0}
    same = dict.fromkeys(closes, 1e6)
    first, second, third = sessions("2018-01-16", 3)
    assert bad(machine.take(daily(first, closes, volume=same))) == []
    assert bad(machine.take(daily(second, closes | {"CCC": 30.3}, volume=same))) == [
        ("AAA", "PRICE_FROZEN"),
        ("BBB", "PRICE_FROZEN"),
    ]
    # Another volume, or one price all day long (two odd lots of a quiet name), is another day.
    level = {"AAA": 10.0}
    third_day = daily(third, closes | {"CCC": 30.6}, volume={**same, "BBB": 999.0}, high=level, low=level)
    assert bad(machine.take(third_day)) == []
    # The same session again, as a name that joins gets it, repeats nothing.
    joined = replace(third_day, available_time=third_day.available_time + 1)
    assert bad(machine.take(joined)) == []
    assert_conserved(machine)


def test_a_restart_remembers_the_day_that_is_repeated_and_how_long_a_price_stands() -> None:
    machine = engine(COMPLETENESS_MIN=0.1)
    before = run(machine, [daily(BEFORE, dict.fromkeys(NAMES, 10.0), volume=dict.fromkeys(NAMES, 1e6))])
    for step in range(3):
        before += run(
            machine, [bar("AAA", step, 10.0), bar("BBB", step, 10 + step / 100), bar("CCC", step, 10 + step / 100)]
        )
    after = engine(COMPLETENESS_MIN=0.1)
    after.remember("data.bars", records(before, "data.bars"))
    more = [bar("AAA", 3, 10.0), bar("BBB", 3, 10.1), bar("CCC", 3, 10.1)]
    assert bad(run(machine, more)) == bad(run(after, more)) == [("AAA", "PRICE_FROZEN")]
    after.configure(("CCC", "AAA"), DataTargets(), "h")  # what is known moves with its name
    assert bad(after.take(daily(DAY, {"AAA": 10.0, "CCC": 10.1}, volume={"AAA": 1e6}))) == [("AAA", "PRICE_FROZEN")]


def restarted(outputs: list[Output], names: tuple[str, ...]) -> DataEngine:
    machine = engine(names)
    for topic in ("data.bars", "data.gates", "data.quarantine"):
        machine.remember(topic, records(outputs, topic))
    return machine


def test_a_frozen_run_that_ends_after_a_restart_is_not_usual() -> None:
    def step(machine: DataEngine, number: int, *, stuck: bool) -> list[Output]:
        price = 100.0 + number % 7 / 10
        moving = [bar(name, number, price) for name in ("BBB", "CCC")]
        return run(machine, [flat("AAA", number, 100.0 if stuck else price, 500.0 + number), *moving])

    machine = engine(FROZEN_BARS=30)
    before = step(machine, 1, stuck=False)
    for number in range(2, 60):
        before += step(machine, number, stuck=True)
    assert len(bad(before)) > 20
    again = engine(FROZEN_BARS=30)
    for topic in ("data.bars", "data.gates", "data.quarantine"):
        again.remember(topic, records(before, topic))
    taken_out = []
    for each in (machine, again):
        after = [*step(each, 60, stuck=False), *step(each, 61, stuck=False)]
        for number in range(62, 110):
            after += step(each, number, stuck=True)
        taken_out.append(bad(after))
    assert taken_out[0] == taken_out[1]
    assert len(taken_out[0]) > 10


def test_a_joined_name_takes_nobodys_memory_over_a_restart() -> None:
    names, days = ("AAA", "BBB"), sessions("2017-01-03", 210)
    machine = engine(names)
    before = run(machine, [daily(day, {"AAA": 100.0 + place % 2}) for place, day in enumerate(days[:-1])])
    known = day_close(days[-2]) + 1
    joined = [daily(day, {"BBB": 50.0 + place % 2}) for place, day in enumerate(days[:-1])]
    before += run(machine, [replace(item, available_time=known) for item in joined])
    again = restarted(before, names)
    last = daily(days[-1], {"AAA": 50.5}, history=False)  # half the price at the usual turnover
    assert bad(machine.take(last)) == bad(again.take(last)) == [("AAA", "SPLIT_SUSPECTED")]


def test_older_history_is_judged_by_itself_and_is_no_reference_for_what_comes() -> None:
    old, new = sessions("2015-01-05", 8), sessions("2018-01-08", 9)
    machine = engine(("AAA",))
    outputs = run(machine, [daily(day, {"AAA": 100.0}) for day in new[:8]])
    closes = [20.0, 20.1, 90.0, 20.2, 2020.0, 20.3, 20.4, 20.5]
    taken = run(machine, [daily(day, {"AAA": close}) for day, close in zip(old, closes, strict=True)])
    assert [code for _, code in bad(taken)] == ["PRICE_SPIKE", "UNIT_100X"]
    again = restarted(outputs + taken, ("AAA",))
    assert bad(again.take(daily(new[8], {"AAA": 101.0}, history=False))) == []
    same = daily(new[7], {"AAA": 100.0}).values
    assert bad(machine.take(replace(daily(new[8], {"AAA": 100.0}), values=same))) == [("AAA", "PRICE_FROZEN")]
    assert bad(machine.take(daily(sessions(new[8], 2)[1], {"AAA": 101.0}, history=False))) == []


def test_what_a_person_let_out_teaches_a_restart_no_more_than_the_run_that_let_it_out() -> None:
    machine, days = engine(("AAA",)), sessions("2018-01-08", 9)
    log = [
        output
        for place, day in enumerate(days[:8])
        for output in machine.take(daily(day, {"AAA": 100.0 + place if place < 7 else 10_000.0}, history=False))
    ]
    (found,) = records(log, "data.quarantine")
    command = {
        "event_time": 1,
        "available_time": 0,
        "command_id": "c",
        "command": "data.release",
        "actor": "ann",
        "reason": "right",
        "arguments": {"quarantine_id": found["quarantine_id"], "repair": "yes"},
    }
    log += machine.releases.carry_out(command, found, day_close(days[7]) + 1, 106.0)
    log += machine.take(CorporateAction("x", "AAA", "split", days[8], day_open(days[7]), 2.0))
    again = restarted(log, ("AAA",))
    again.remember("data.actions", records(log, "data.actions"))
    last = daily(days[8], {"AAA": 100.0}, history=False)  # in old shares
    assert bad(machine.take(last)) == bad(again.take(last)) == [("AAA", "SPLIT_NOT_APPLIED")]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=40), st.integers(2, 6))
def test_one_name_at_a_time_is_judged_as_written(steps: list[tuple[int, int]], bars_max: int) -> None:
    """Against the rule spelt out in a loop: two peers always move, the name's close and volume are drawn from a few."""
    memory = FrozenMemory.empty(3)
    previous: tuple[int, int] | None = None
    run_length = longest = 0
    for number, (close, volume) in enumerate(steps):
        rows = np.arange(3)
        price = np.array([10.0 + close, 20 + number / 10, 30 + number / 10])
        values = np.column_stack([price, price, price, price, [volume, 7.0, 7.0], price])
        frozen = memory.judge(rows, values, number + 1, 1, daily=False, bars_max=bars_max)
        limit = max(3 * longest, bars_max)
        if volume and previous is not None:
            if previous[0] == close:
                run_length += 1
            else:
                longest = max(longest, run_length if run_length < limit else 0)
                run_length = 0
            assert bool(frozen[0]) == (run_length >= limit)
        else:
            assert not frozen[0]
        assert not frozen[1:].any()
        previous = (close, volume)


# -- volume and trades -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("volume", "trades", "code"),
    [
        (100.0, 0, "VOLUME_WITHOUT_TRADES"),
        (0.0, 10, "TRADES_WITHOUT_VOLUME"),
        (0.0, 9, ""),  # odd lots, in lots
        (0.0, 1, ""),
        (100.0, -1, ""),
        (0.0, -1, ""),
        (0.0, 0, ""),
        (100.0, 1, ""),
    ],
)
def test_volume_and_trades_come_together(volume: float, trades: int, code: str) -> None:
    outputs = run(engine(("AAA",)), [bar("AAA", 0, volume=volume)._replace(trades=trades)])
    assert bad(outputs) == ([("AAA", code)] if code else [])


# -- sources that disagree -------------------------------------------------------------------------------------------------------
def test_a_source_that_contradicts_another_is_kept_off_until_they_agree() -> None:
    machine = engine(("AAA", "BBB"), GATE_REOPEN_SLICES=1)
    days = sessions("2018-01-16", 3)
    outputs: list[Output] = []
    for day, theirs in zip(days, (100.5, 103.0, 100.9), strict=True):
        outputs += machine.take(
            daily(
                day,
                {"AAA": 100.0, "BBB": 50.0},
                volume={"AAA": 1e6 + len(outputs)},
                low={"BBB": 48 + len(outputs) / 100},
            )
        )
        outputs += machine.take(
            daily(day, {"AAA": theirs, "BBB": 50.1}, source="other", low={"BBB": 48.5 + len(outputs) / 100})
        )
    assert bad(outputs) == [("AAA", "SOURCES_DISAGREE")]
    [record] = records(outputs, "data.quarantine")
    assert record["source"] == "other"
    assert "close 103 by other, 100 by ibkr" in record["detail"]
    assert gate_changes(outputs) == [
        ("cross_source", "AAA", False, "SOURCES_DISAGREE"),
        ("cross_source", "AAA", True, ""),
    ]
    assert {r["source"] for r in records(outputs, "data.gates")} == {"other"}
    assert_outputs_counted(machine, outputs)
    assert_conserved(machine)
    restarted = engine(("AAA", "BBB"))
    restarted.remember("data.bars", records(outputs, "data.bars"))
    late = replace(daily(days[2], {"AAA": 110.0}, source="third"), available_time=day_open("2018-01-22"))
    assert bad(restarted.take(late)) == [("AAA", "SOURCES_DISAGREE")]


def test_a_source_that_now_comes_first_is_confirmed_by_the_one_that_follows() -> None:
    machine = engine(("AAA",))
    days = sessions("2018-01-08", 3)
    outputs = run(machine, [daily(days[0], {"AAA": 100.0}, source="a"), daily(days[0], {"AAA": 103.0}, source="b")])
    assert gate_changes(outputs) == [("cross_source", "AAA", False, "SOURCES_DISAGREE")]
    for day in days[1:]:
        assert not machine.gates.is_open("cross_source", "b", "AAA")
        outputs = run(machine, [daily(day, {"AAA": 101.0}, source=source) for source in ("b", "a")])
    assert gate_changes(outputs) == [("cross_source", "AAA", True, "")]


def test_older_history_leaves_the_newest_closes_for_the_other_sources() -> None:
    machine = engine(("AAA",))
    new, old = sessions("2018-01-08", 2), sessions("2015-01-05", 8)
    run(machine, [daily(new[0], {"AAA": 100.0}, source="a"), *(daily(day, {"AAA": 20.0}, source="a") for day in old)])
    assert bad(machine.take(daily(new[0], {"AAA": 103.0}, source="b"))) == [("AAA", "SOURCES_DISAGREE")]
    # Nor does the turnover of then make half the price at today's turnover news.
    machine = engine(("AAA",))
    days = sessions("2018-01-08", 9)
    run(machine, [daily(day, {"AAA": 100.0}) for day in days[:8]])
    run(machine, [daily(day, {"AAA": 20.0}, volume={"AAA": 1e3}) for day in sessions("2015-01-05", 30)])
    assert bad(machine.take(daily(days[8], {"AAA": 50.0}))) == [("AAA", "SPLIT_SUSPECTED")]


def test_a_source_that_nobody_contradicts_any_more_is_open() -> None:
    machine = engine(("AAA", "BBB"))
    days = sessions("2018-01-08", 12)
    both = {"AAA": 100.0, "BBB": 50.0}
    run(machine, [daily(days[0], both, source="a"), daily(days[0], {"AAA": 103.0, "BBB": 53.0}, source="b")])
    changes = [gate_changes(run(machine, [daily(day, both, source="b")])) for day in days[1:]]
    opened = [("cross_source", name, True, "") for name in ("AAA", "BBB")]
    assert [change for change in changes if change] == [opened]
    assert changes.index(opened) + 1 == 8  # the first session after ten days


def test_closes_of_other_sessions_or_intervals_are_not_compared() -> None:
    machine = engine(("AAA",))
    first, second = sessions("2018-01-17", 2)
    outputs = run(machine, [daily(first, {"AAA": 100.0}), daily(second, {"AAA": 110.0}, source="other")])
    outputs += run(machine, [bar("AAA", 0, 105.0), bar("AAA", 0, 109.0, source="other")])
    assert bad(outputs) == []


# -- clocks ----------------------------------------------------------------------------------------------------------------------
def test_a_source_whose_time_leaps_back_closes_the_clock_gate_and_a_late_bar_does_not() -> None:
    machine = engine(BAR_FRESHNESS_S=3600, COMPLETENESS_MIN=0.1)
    run(machine, [bar(name, step) for step in range(100, 103) for name in NAMES])
    # One name's bars from a minute and a half ago, between the others' new ones.
    late = [item for step in range(103, 106) for item in (bar("AAA", step - 18), bar("BBB", step), bar("CCC", step))]
    assert [change for change in gate_changes(run(machine, late)) if change[0] == "clock"] == []
    dropped = machine.ledger.dropped["ibkr", "LATE"]
    outputs = run(machine, [bar(name, 50) for name in NAMES])
    assert gate_changes(outputs) == [("clock", "main", False, "CLOCK_BACKWARDS")]
    assert machine.ledger.dropped["ibkr", "LATE"] == dropped + 3
    assert "went back by 275 s, allowed 60 s" in records(outputs, "data.gates")[0]["detail"]
    assert machine.compare_only(["machine"]) == []  # which judges another clock, and not this
    # Its time is back where it was: two intervals later it is believed again.
    outputs = run(machine, [bar(name, step) for step in range(106, 110) for name in NAMES])
    assert ("clock", "main", True, "") in gate_changes(outputs)
    assert_conserved(machine)


def test_trades_tell_of_a_leap_as_well_and_a_restart_keeps_the_time() -> None:
    machine = engine()
    before = run(machine, [bar(name, step) for step in range(100, 102) for name in NAMES])
    restarted = engine()
    restarted.remember("data.bars", records(before, "data.bars"))
    old = [TradeTick("ibkr", name, day_open() + 100 * SECOND, 100.0, 1.0) for name in NAMES]
    assert gate_changes(run(restarted, old[:1] * 9)) == []  # one name has been told late
    assert gate_changes(run(restarted, old)) == [("clock", "main", False, "CLOCK_BACKWARDS")]
    assert gate_changes(run(engine(), old)) == []
    # One trade with a time to come makes nothing that follows late.
    astray = TradeTick("ibkr", "AAA", day_open() + 3600 * SECOND, 100.0, 1.0)
    assert gate_changes(run(machine, [astray, *(bar(name, step) for step in (102, 103) for name in NAMES)])) == []
    # A quiet name's quote is old without any clock being wrong.
    assert gate_changes(run(machine, [quote(name, day_open() + SECOND) for name in NAMES])) == []


def test_one_bar_stamped_ahead_ends_nothing() -> None:
    machine = engine()
    outputs = run(machine, [bar(name, step) for step in range(3) for name in NAMES])
    assert run(machine, [bar("AAA", 3, day="2018-01-22")]) == []
    for step in range(3, 40):
        outputs += run(machine, [bar(name, step) for name in NAMES])
        outputs += machine.advance("ibkr", day_open() + (step + 1) * STEP)
    assert [record["missing"] for record in records(outputs, "data.bars")] == [[]] * 40
    assert bad(outputs) == [("AAA", "TIME_AHEAD")]
    [record] = records(outputs, "data.quarantine")
    assert record["available_time"] == day_open() + 4 * STEP
    assert json.loads(record["raw"])["end"] == day_open("2018-01-22") + 4 * STEP
    assert [change for change in gate_changes(outputs) if change[0] == "clock"] == []
    assert_conserved(machine)
    # Held back when names change, it is no bar of the new ones.
    machine.take(bar("AAA", 3, day="2018-01-22"))
    assert machine.pending() == {"ibkr": 1}
    assert bad(machine.configure(("BBB",), machine.targets, "hash-2")) == []  # it is in quarantine already
    assert machine.pending() == {"ibkr": 0}
    assert_conserved(machine)


@pytest.mark.parametrize("names", [("AAA",), NAMES])
@pytest.mark.parametrize("told", [False, True])
def test_a_new_session_begins_with_one_name(names: tuple[str, ...], told: bool) -> None:
    machine, outputs = engine(names), list[Output]()
    for day in ("2018-01-19", "2018-01-22"):
        for step in range(4):
            for name in names:
                outputs += machine.take(bar(name, step, day=day))
                if told:
                    outputs += machine.advance("ibkr", day_open(day) + step * STEP + SECOND)
    slices = records(outputs, "data.bars")
    assert [(record["session"], record["event_time"] // STEP % 4) for record in slices if record["symbols"]] == [
        (day, (day_open(day) // STEP + step + 1) % 4) for day in ("2018-01-19", "2018-01-22") for step in range(4)
    ]
    assert all(record["missing"] == [] for record in slices if record["symbols"])
    assert bad(outputs) == []
    assert_conserved(machine)


# -- real panels -----------------------------------------------------------------------------------------------------------------
def test_real_intraday_bars_pass(shared_data: Path) -> None:
    """Minute bars of shares, each day's names side by side. All 69,194 minute and second bars there pass; here are a day's and a split's."""
    root = shared_data / "intraday" / "lean" / "Data" / "equity" / "usa" / "minute"
    total = 0
    for day in ("20131007", "20140609"):
        bars_at: dict[int, dict[str, list[float]]] = {}
        for path in sorted(root.glob(f"*/{day}_trade.zip")):
            for row in lean_rows(path):
                bars_at.setdefault(int(row[0]), {})[path.parts[-2].upper()] = [
                    *(float(x) / 1e4 for x in row[1:5]),
                    float(row[5]),
                    NAN,
                ]
        machine = DataEngine("main", sorted({name for bars in bars_at.values() for name in bars}), DataTargets(), "h")
        session = f"{day[:4]}-{day[4:6]}-{day[6:]}"
        start = from_datetime(datetime.fromisoformat(session).replace(tzinfo=UTC))
        for milliseconds, bars in sorted(bars_at.items()):
            end = start + milliseconds * 1_000_000 + MINUTE
            slice_ = Bars(
                "file", "1m", session, end, end, tuple(bars), np.array(list(bars.values())), np.full(len(bars), -1)
            )
            assert bad(machine.take(slice_)) == []
            total += len(bars)
    assert total > 3_000
