"""The engine over bars: slices, punctuation, de-duplication, gates, configuration and restarts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from data_plane.observations import TradeTick
from data_plane.published import PublishedIndex
from schemas import catalogue
from schemas.codec import encode_body
from tests.data_plane.support import (
    DAY,
    STEP,
    assert_conserved,
    bar,
    daily,
    day_close,
    day_open,
    engine,
    filing,
    gate_changes,
    quote,
    records,
    run,
)
from triplane.domain.targets.data import DataTargets
from triplane.domain.timestamps import MINUTE, SECOND

NAMES = ("AAA", "BBB", "CCC")


def full_step(step: int, price: float = 100.0, names: tuple[str, ...] = NAMES) -> list:
    return [bar(name, step, price) for name in names]


def test_a_slice_goes_out_with_the_last_expected_name() -> None:
    machine = engine()
    assert run(machine, full_step(0)[:2]) == []
    assert machine.pending() == {"ibkr": 2}
    outputs = machine.take(full_step(0)[2])
    [record] = records(outputs, "data.bars")
    assert record["symbols"] == ["AAA", "BBB", "CCC"]
    assert record["missing"] == []
    assert (record["event_time"], record["available_time"]) == (day_open() + STEP, day_open() + STEP)
    assert (record["interval"], record["session"], record["history"], record["config_hash"]) == (
        "5s",
        DAY,
        False,
        "hash-1",
    )
    assert record["close"] == [100.0] * 3
    assert record["trades"] == [10] * 3
    for output in outputs:
        encode_body(
            catalogue.load()[output.topic].record, output.record
        )  # what the engine makes is what the schema takes
    assert_conserved(machine)


def test_the_next_interval_ends_an_incomplete_one_and_absent_names_are_not_waited_for() -> None:
    machine = engine(COMPLETENESS_MIN=0.5)
    run(machine, full_step(0))
    outputs = run(machine, [bar("AAA", 1), bar("CCC", 1), bar("AAA", 2)])
    [record] = records(outputs, "data.bars")
    assert (record["symbols"], record["missing"]) == (["AAA", "CCC"], ["BBB"])
    # BBB is not waited for any more ...
    [record] = records(run(machine, [bar("CCC", 2)]), "data.bars")
    assert record["missing"] == ["BBB"]
    # ... is late once when it is back, and waited for again after that.
    assert run(machine, [bar("BBB", 2)]) == []
    assert machine.ledger.dropped["ibkr", "LATE"] == 1
    assert records(run(machine, [bar("AAA", 3), bar("CCC", 3)]), "data.bars") == []
    [record] = records(run(machine, [bar("BBB", 3)]), "data.bars")
    assert record["missing"] == []
    assert_conserved(machine)


def test_time_ends_an_interval_when_nothing_else_comes() -> None:
    machine = engine()
    run(machine, [bar("AAA", 0)])
    assert records(machine.advance("ibkr", day_open() + STEP + 4 * SECOND), "data.bars") == []
    [record] = records(machine.advance("ibkr", day_open() + 2 * STEP), "data.bars")
    assert record["symbols"] == ["AAA"]


def test_repeated_late_early_and_unknown_bars_are_counted() -> None:
    machine = engine()
    run(machine, [bar("AAA", 5), bar("AAA", 5), bar("ZZZ", 5), bar("BBB", 4)])
    assert machine.ledger.deduplicated["ibkr"] == 1
    assert machine.ledger.dropped["ibkr", "NOT_IN_UNIVERSE"] == 1
    assert machine.ledger.dropped["ibkr", "LATE"] == 1
    assert machine.take(bar("BBB", 5)._replace(start=day_open() + 1))[0].record["code"] == "SCHEMA_BAD_TIME"
    night = [bar(name, 0)._replace(start=day_close() + 3_600 * SECOND) for name in NAMES]
    assert [o.topic for o in run(machine, night)].count("data.bars") == 1  # the interval that was running
    assert machine.ledger.dropped["ibkr", "OUTSIDE_SESSION"] == 1  # only the name of the last slice was waited for
    assert machine.ledger.dropped["ibkr", "LATE"] == 3
    assert_conserved(machine)


def test_a_bad_print_is_taken_out_alone() -> None:
    machine = engine(COMPLETENESS_MIN=0.5)
    run(machine, full_step(0))
    outputs = run(machine, [bar("AAA", 1), bar("BBB", 1, 10_000.0), bar("CCC", 1)])
    [record] = records(outputs, "data.bars")
    assert (record["symbols"], record["missing"]) == (["AAA", "CCC"], ["BBB"])
    [bad] = records(outputs, "data.quarantine")
    assert (bad["symbol"], bad["code"], bad["topic"]) == ("BBB", "UNIT_100X", "data.bars")
    assert b'"close":10000.0' in bad["raw"]
    assert gate_changes(outputs) == [("price_sanity", "BBB", False, "UNIT_100X")]
    outputs = run(machine, [*full_step(2), *full_step(3)])
    assert gate_changes(outputs) == [("price_sanity", "BBB", True, "")]
    assert_conserved(machine)


@pytest.mark.parametrize("trades", [-1, 3])
def test_a_bar_without_a_volume_is_taken_out_where_bars_have_one(trades: int) -> None:
    """Bars of midpoints have none; they are of assets that are not traded (test_watched.py)."""
    machine = engine(("AAA", "BBB"))
    machine.take(bar("AAA", 0, volume=math.nan)._replace(trades=trades))
    outputs = machine.take(bar("BBB", 0))
    assert [(r["symbol"], r["code"]) for r in records(outputs, "data.quarantine")] == [("AAA", "PRICE_NOT_A_NUMBER")]
    assert records(outputs, "data.bars")[0]["missing"] == ["AAA"]
    assert_conserved(machine)


def test_a_name_without_a_contract_is_not_missed_by_completeness() -> None:
    """A wrong row would else close the gate of all for good."""
    machine = engine(COMPLETENESS_MIN=0.9)
    absent = full_step(0)[-1].symbol
    machine.contract_state("ibkr", absent, "the broker knows no such name", day_open())
    outputs = run(machine, [bar for step in range(20) for bar in full_step(step) if bar.symbol != absent])
    assert gate_changes(outputs) == []  # nor is it told as stale: its quotes and bars cannot come


def test_an_incomplete_slice_closes_the_completeness_gate() -> None:
    machine = engine(COMPLETENESS_MIN=0.9)
    run(machine, full_step(0))
    outputs = run(machine, [bar("AAA", 1), bar("BBB", 1), bar("AAA", 2)])
    assert gate_changes(outputs) == [("completeness", "main", False, "INCOMPLETE")]
    # The minutes that went by unheard were asked name by name, and a late answer is of another session.
    begin = day_open() + MINUTE
    minutes = replace(
        daily("2018-01-18", {"AAA": 1.0}), interval="1m", event_time=begin, available_time=begin, history=False
    )
    assert gate_changes(engine(COMPLETENESS_MIN=0.9).take(minutes)) == []
    # History may lack names that were listed later.
    assert gate_changes(engine().take(daily("2018-01-18", {"AAA": 1.0}))) == []


def test_a_silent_name_is_noticed_by_the_slices_of_the_others_and_a_silent_source_by_time() -> None:
    machine = engine(BAR_FRESHNESS_S=10, COMPLETENESS_MIN=0.1)
    run(machine, full_step(0))
    outputs = run(machine, [bar(name, step) for step in range(1, 5) for name in ("AAA", "BBB")])
    assert ("freshness", "CCC", False, "DATA_STALE") in gate_changes(outputs)
    now = day_open() + 5 * STEP
    assert machine.advance("ibkr", now + 4 * SECOND) == []
    outputs = machine.advance("ibkr", now + 15 * SECOND)
    [pulse] = records(outputs, "data.bars")
    assert (pulse["event_time"], pulse.get("symbols", []), pulse.get("missing", [])) == (now + 2 * STEP, [], [])
    assert gate_changes(outputs) == [("freshness", "", False, "SOURCE_SILENT")]
    assert machine.source_age("ibkr", now + 15 * SECOND) == 15
    # A bar from before the interval that the newest punctuation told of comes too late.
    assert machine.take(bar("AAA", 5)) == []
    assert machine.ledger.dropped["ibkr", "LATE"] == 1
    outputs = run(machine, [item for step in range(20, 23) for item in full_step(step)])
    assert ("freshness", "CCC", True, "") in gate_changes(outputs)
    assert ("freshness", "", True, "") in gate_changes(outputs)


def test_a_leap_of_the_market_clock_makes_nobody_stale() -> None:
    machine = engine(BAR_FRESHNESS_S=10)
    run(machine, full_step(0))
    later = day_open() + 5 * 60 * MINUTE
    machine.resume("ibkr", later)
    assert machine.advance("ibkr", later) == []
    assert machine.source_age("ibkr", later) == 0
    # Outside sessions nothing is expected either.
    machine.resume("ibkr", day_close())
    assert machine.advance("ibkr", day_close() + 60 * MINUTE) == []


def test_no_punctuation_before_anything_was_expected() -> None:
    assert engine().advance("ibkr", day_open() + 60 * MINUTE) == []
    assert engine().source_age("ibkr", day_open()) == 0.0


def test_a_second_backfill_publishes_nothing() -> None:
    days = {"2018-01-17": 100.0, "2018-01-18": 101.0}
    slices = [daily(day, dict.fromkeys(NAMES, price)) for day, price in days.items()]
    machine = engine()
    first = run(machine, slices)
    assert len(records(first, "data.bars")) == 2
    assert run(machine, slices) == []
    # Neither does one after a restart that has read the topic, whatever became of the names.
    restarted = engine()
    restarted.remember("data.bars", records(first, "data.bars"))
    assert run(restarted, slices) == []
    assert restarted.ledger.deduplicated["ibkr"] == 6
    # It knows the last closes as well: a bad print after the restart is caught.
    outputs = restarted.take(daily("2018-01-19", {"AAA": 10_000.0, "BBB": 102.0, "CCC": 102.0}))
    assert [bad["code"] for bad in records(outputs, "data.quarantine")] == ["UNIT_100X"]
    assert_conserved(restarted)


def test_a_restart_in_a_session_continues_after_the_last_slice() -> None:
    machine = engine()
    before = run(machine, [quote("AAA", day_open()), TradeTick("ibkr", "AAA", day_open(), 100.0, 1.0), *full_step(0)])
    restarted = engine()
    for topic in ("data.bars", "data.quotes", "data.trades", "data.micro", "data.quarantine"):
        restarted.remember(topic, records(before, topic))
    assert run(restarted, full_step(0)) == []
    assert restarted.ledger.dropped["ibkr", "LATE"] == 3
    # A quote slice of the same instant would be a second record with one identity.
    assert restarted.advance("ibkr", day_open() + STEP) == []
    assert len(records(run(restarted, full_step(1)), "data.bars")) == 1


def test_minutes_are_published_once_and_in_order() -> None:
    end = day_open() + MINUTE
    minute = replace(
        daily(DAY, dict.fromkeys(NAMES, 100.0), history=False), interval="1m", event_time=end, available_time=end
    )
    machine = engine()
    assert len(records(machine.take(minute), "data.bars")) == 1
    assert machine.take(minute) == []
    later = replace(minute, event_time=end + MINUTE, available_time=end + MINUTE)
    assert len(records(machine.take(later), "data.bars")) == 1


def test_a_new_configuration_counts_from_the_next_slice() -> None:
    machine = engine(BAR_JUMP_MAX=0.15)
    run(machine, full_step(0))
    run(machine, full_step(1)[:2])
    assert machine.configure(NAMES, DataTargets(BAR_JUMP_MAX=0.5), "hash-2") == []
    [record] = records(run(machine, full_step(1)[2:]), "data.bars")
    assert record["config_hash"] == "hash-2"
    assert len(records(run(machine, full_step(2, 130.0)), "data.bars")[0]["symbols"]) == 3
    assert machine.targets.BAR_JUMP_MAX == 0.5


def test_a_changed_universe_publishes_what_was_begun_and_keeps_what_is_known() -> None:
    machine = engine()
    run(
        machine,
        [
            daily("2018-01-18", dict.fromkeys(NAMES, 100.0)),
            *full_step(0),
            quote("AAA", day_open() + 6 * SECOND),
            bar("AAA", 1),
        ],
    )
    outputs = machine.configure(("CCC", "DDD", "AAA"), DataTargets(), "hash-2")
    assert [o.topic for o in outputs if o.topic != "data.gates"] == ["data.quotes", "data.micro", "data.bars"]
    assert machine.pending() == {"ibkr": 0}
    assert machine.names == ("CCC", "DDD", "AAA")
    outputs = run(machine, [bar("AAA", 2), bar("DDD", 2, 7.0), bar("CCC", 2, 10_000.0)])
    [record] = records(outputs, "data.bars")
    assert (record["symbols"], record["missing"]) == (["DDD", "AAA"], ["CCC"])  # CCC's last close is still known
    run(machine, [bar("BBB", 3)])
    assert machine.ledger.dropped["ibkr", "NOT_IN_UNIVERSE"] == 1
    assert_conserved(machine)


def test_the_end_of_a_run_holds_nothing_back() -> None:
    machine = engine()
    outputs = run(
        machine,
        [
            *full_step(0),
            quote("BBB", day_open() + 6 * SECOND),
            TradeTick("ibkr", "CCC", day_open() + 6 * SECOND, 100.0, 1.0),
            bar("AAA", 1),
        ],
    )
    outputs += machine.flush()
    assert machine.pending() == {"ibkr": 0}
    assert_conserved(machine)
    assert machine.flush() == []
    quotes_only = engine()
    run(quotes_only, [quote("AAA", day_open() + SECOND)])
    assert [o.topic for o in quotes_only.flush()] == ["data.quotes", "data.micro"]


def test_what_did_not_reach_its_topic_may_be_loaded_again() -> None:
    machine = engine()
    slice_ = daily("2018-01-18", dict.fromkeys(NAMES, 100.0))
    [bars] = records(machine.take(slice_), "data.bars")
    [facts] = records(machine.take(filing("1", 100.0)), "data.facts")
    machine.published.forget("data.bars", bars)
    machine.published.forget("data.facts", facts)
    machine.published.forget("data.gates", {})
    assert records(machine.take(slice_), "data.bars") == [bars]
    assert records(machine.take(filing("1", 100.0)), "data.facts") == [facts]


def test_gates_that_an_earlier_run_closed_stay_closed() -> None:
    machine = engine(GATE_REOPEN_SLICES=1)
    changes = records(
        run(machine, [*full_step(0), bar("AAA", 1, 10_000.0), bar("BBB", 1), bar("CCC", 1)]), "data.gates"
    )
    restarted = engine(GATE_REOPEN_SLICES=1)
    restarted.remember("data.gates", changes)
    assert not restarted.gates.is_open("price_sanity", "ibkr", "AAA")
    assert ("price_sanity", "AAA", True, "") in gate_changes(run(restarted, full_step(2)))


def test_a_daily_bar_that_never_reached_its_topic_is_asked_for_again() -> None:
    """A spool that is full drops a joined name's newest slice: at the next start the name lacks its history, and is loaded."""
    index = PublishedIndex()
    whole = {
        "source": "ibkr",
        "group": "main",
        "interval": "1d",
        "session": "2018-01-18",
        "event_time": 5,
        "available_time": 5,
    }
    index.learn("data.bars", whole | {"symbols": ["AAA"], "close": [47.0]})
    alone = whole | {"available_time": 9, "symbols": ["BBB"], "close": [47.0]}
    index.learn("data.bars", alone)
    assert index.newest_daily("ibkr", "main") == {"AAA": 5, "BBB": 5}
    index.forget("data.bars", alone)
    assert index.newest_daily("ibkr", "main") == {"AAA": 5}
    assert index.has_bars("ibkr", "main", "1d", 5, 5)
    assert not index.has_bars("ibkr", "main", "1d", 5, 9)


def test_a_name_whose_history_is_being_loaded_is_not_judged_by_a_close_of_years_ago():
    """A row that was put back: its history comes from the oldest bar on, while the market goes on with today's prices."""
    machine = engine(("AAA",))
    out = run(machine, [daily("2015-01-20", {"AAA": 20.0}), daily("2015-01-21", {"AAA": 20.2})])
    out += run(machine, [bar("AAA", step, 100.0) for step in range(3)])
    assert records(out, "data.quarantine") == []
    near = run(engine(("AAA",)), [daily("2018-01-18", {"AAA": 20.0}), *(bar("AAA", step, 90.0) for step in range(3))])
    assert [record["code"] for record in records(near, "data.quarantine")][:1] == ["PRICE_SPIKE"]
