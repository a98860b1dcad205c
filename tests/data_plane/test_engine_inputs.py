"""The engine over everything but bars alone: quotes, trades, facts, vintages, clocks, providers, and what goes to quarantine."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from data_plane.gates.clock import ClockSample
from data_plane.observations import Malformed, TradeTick, Vintage
from tests.data_plane.support import (
    STEP,
    assert_conserved,
    bar,
    daily,
    day_open,
    engine,
    filing,
    gate_changes,
    quote,
    records,
    run,
)
from triplane.domain.timestamps import SECOND

NAMES = ("AAA", "BBB", "CCC")


def full_step(step: int, price: float = 100.0, names: tuple[str, ...] = NAMES) -> list:
    return [bar(name, step, price) for name in names]


def test_quotes_travel_with_the_bars_once_an_interval() -> None:
    machine = engine()
    start = day_open()
    outputs = run(
        machine,
        [
            quote("AAA", start + SECOND),
            quote("AAA", start + 2 * SECOND, 99.98),
            quote("BBB", start + SECOND),
            *full_step(0),
        ],
    )
    [record] = records(outputs, "data.quotes")
    assert record["symbols"] == ["AAA", "BBB"]
    assert record["bid"] == [99.98, 99.99]
    assert record["quote_time"] == [start + 2 * SECOND, start + SECOND]
    assert record["status"] == ["live", "live"]
    assert record["halted"] == [False, False]
    # The slice precedes the bars of the same instant, so that a cut made for these bars has it.
    topics = [output.topic for output in outputs]
    assert topics.index("data.quotes") < topics.index("data.bars")
    assert machine.ledger.dropped["ibkr", "CONFLATED"] == 1
    # Without anything new there is no slice; with something new for one name all known names are told.
    assert records(run(machine, full_step(1)), "data.quotes") == []
    [record] = records(run(machine, [quote("BBB", start + 11 * SECOND), *full_step(2)]), "data.quotes")
    assert record["symbols"] == ["AAA", "BBB"]
    assert_conserved(machine)


def test_a_bad_quote_is_taken_out_until_a_good_one_comes() -> None:
    machine = engine(GATE_REOPEN_SLICES=1)
    start = day_open()
    outputs = run(
        machine, [quote("AAA", start, 101.0, 100.0), quote("BBB", start, 100.0, 100.0, "delayed"), *full_step(0)]
    )
    [record] = records(outputs, "data.quotes")
    assert (record["symbols"], record["status"]) == (["BBB"], ["delayed"])
    [bad] = records(outputs, "data.quarantine")
    assert (bad["symbol"], bad["code"], bad["topic"]) == ("AAA", "BID_ABOVE_ASK", "data.quotes")
    assert gate_changes(outputs) == [("quote_sanity", "AAA", False, "BID_ABOVE_ASK")]
    outputs = run(machine, [quote("AAA", start + STEP), *full_step(1)])
    assert records(outputs, "data.quotes")[0]["symbols"] == ["AAA", "BBB"]
    assert gate_changes(outputs) == [("quote_sanity", "AAA", True, "")]
    assert machine.take(quote("ZZZ", start)) == []
    assert machine.take(quote("AAA", 7))[0].record["code"] == "SCHEMA_BAD_TIME"
    assert_conserved(machine)


def test_stale_quotes_close_their_names_gate() -> None:
    machine = engine(QUOTE_FRESHNESS_S=10)
    start = day_open()
    run(
        machine,
        [quote("AAA", start + SECOND), quote("BBB", start + SECOND), quote("CCC", start + SECOND), *full_step(0)],
    )
    outputs = [o for step in range(1, 5) for o in run(machine, [quote("AAA", start + step * STEP), *full_step(step)])]
    assert [change for change in gate_changes(outputs) if change[1] == "BBB"] == [
        ("quote_freshness", "BBB", False, "DATA_STALE")
    ]


def test_trades_are_judged_against_the_last_close() -> None:
    machine = engine()
    run(machine, full_step(0))
    time = day_open() + 6 * SECOND
    trades = [
        TradeTick("ibkr", "AAA", time, 100.1, 5.0),
        TradeTick("ibkr", "AAA", time, 10_010.0, 5.0),
        TradeTick("ibkr", "BBB", time, 99.0, 1.0),
    ]
    outputs = run(machine, [*trades, *full_step(1)])
    [record] = records(outputs, "data.trades")
    assert (record["symbols"], record["price"], record["size"]) == (["AAA", "BBB"], [100.1, 99.0], [5.0, 1.0])
    assert [bad["code"] for bad in records(outputs, "data.quarantine")] == ["UNIT_100X"]
    assert machine.take(TradeTick("ibkr", "ZZZ", time, 1.0, 1.0)) == []
    assert machine.take(TradeTick("ibkr", "AAA", time, math.nan, 1.0))[0].record["code"] == "SCHEMA_NOT_A_NUMBER"
    assert_conserved(machine)


def test_names_outside_the_universe_leave_a_slice_and_a_broken_slice_is_quarantined_name_by_name() -> None:
    machine = engine()
    outputs = machine.take(daily("2018-01-18", {"AAA": 100.0, "ZZZ": 5.0}))
    assert records(outputs, "data.bars")[0]["symbols"] == ["AAA"]
    assert machine.ledger.dropped["ibkr", "NOT_IN_UNIVERSE"] == 1
    broken = replace(daily("2018-01-19", {"AAA": 100.0, "BBB": 5.0}), values=np.zeros((1, 6)))
    outputs = machine.take(broken)
    assert {(bad["symbol"], bad["code"]) for bad in records(outputs, "data.quarantine")} == {
        ("AAA", "SCHEMA_SHAPE"),
        ("BBB", "SCHEMA_SHAPE"),
    }
    assert gate_changes(outputs) == [("schema", "", False, "SCHEMA_SHAPE")]
    assert_conserved(machine)


def test_an_unreadable_payload_is_kept_once() -> None:
    machine = engine()
    item = Malformed("edgar", "data.facts", "AAA", "BODY_MALFORMED", "not JSON", b"<html>", day_open())
    outputs = machine.take(item)
    [record] = records(outputs, "data.quarantine")
    assert (record["raw"], record["partition"], record["offset"]) == (b"<html>", -1, -1)
    assert gate_changes(outputs) == [("schema", "", False, "BODY_MALFORMED")]
    assert records(machine.take(replace(item, time=day_open() + 1)), "data.quarantine") == []
    restarted = engine()
    restarted.remember("data.quarantine", [record])
    assert records(restarted.take(item), "data.quarantine") == []
    assert_conserved(machine)


def test_facts_pass_value_by_value() -> None:
    machine = engine(FACT_JUMP_MAX=10)
    [first] = records(machine.take(filing("1", 100.0, 200.0)), "data.facts")
    assert (first["fact_id"], first["values"]) == ("AAA/1", [100.0, 200.0])
    assert machine.take(filing("1", 100.0, 200.0)) == []
    outputs = machine.take(filing("2", 5_000.0, 210.0))
    assert records(outputs, "data.facts")[0]["values"] == [210.0]
    assert [bad["code"] for bad in records(outputs, "data.quarantine")] == ["FACT_JUMP"]
    assert gate_changes(outputs) == [("fact_sanity", "AAA", False, "FACT_JUMP")]
    # Twice and equal is one, twice and different is none.
    third = filing("3", 100.0)
    outputs = machine.take(replace(third, facts=(*third.facts, *third.facts, third.facts[0]._replace(value=101.0))))
    assert records(outputs, "data.facts")[0]["values"] == [100.0]
    assert [bad["code"] for bad in records(outputs, "data.quarantine")] == ["FACT_CONFLICT"]
    outputs = machine.take(filing("", 1.0))
    assert records(outputs, "data.facts") == []
    assert gate_changes(outputs)[-1] == ("schema", "", False, "SCHEMA_NO_IDENTITY")
    assert_conserved(machine)
    restarted = engine(FACT_JUMP_MAX=10)
    restarted.remember("data.facts", [first])
    assert [bad["code"] for bad in records(restarted.take(filing("9", 1e6)), "data.quarantine")] == ["FACT_JUMP"]


def test_vintages_pass_value_by_value() -> None:
    machine = engine(MACRO_JUMP_MAX=1)
    day = 86_400 * SECOND

    def vintage(start: str, *values: tuple[int, float]) -> Vintage:
        return Vintage(
            "fred", "DTB3", "Percent", start, 10**18, False, tuple((date * day, value) for date, value in values)
        )

    outputs = machine.take(vintage("2018-01-19", (1, 1.4), (2, math.nan), (3, 9.9)))
    [record] = records(outputs, "data.macro")
    assert (record["vintage_id"], record["observation_time"]) == ("DTB3/2018-01-19", [day, 2 * day])
    assert [bad["code"] for bad in records(outputs, "data.quarantine")] == ["MACRO_JUMP"]
    assert machine.take(vintage("2018-01-19", (1, 1.4))) == []
    restarted = engine(MACRO_JUMP_MAX=1)
    restarted.remember("data.macro", [record])
    assert [bad["code"] for bad in records(restarted.take(vintage("2018-01-22", (4, 7.0))), "data.quarantine")] == [
        "MACRO_JUMP"
    ]
    assert records(machine.take(vintage("", (1, 1.4))), "data.macro") == []
    assert_conserved(machine)


def test_clock_and_provider_gates() -> None:
    machine = engine(GATE_REOPEN_SLICES=2)
    now = day_open()
    assert machine.compare_clock("ibkr", ClockSample("gateway", now, SECOND), now) == []
    assert gate_changes(machine.compare_clock("ibkr", ClockSample("gateway", now, 9 * SECOND), now)) == [
        ("clock", "", False, "CLOCK_SKEWED")
    ]
    assert gate_changes(machine.compare_clock("ibkr", "no answer", now)) == [("clock", "", False, "CLOCK_UNKNOWN")]
    machine.compare_clock("ibkr", ClockSample("gateway", now, 0), now)
    assert gate_changes(machine.compare_clock("ibkr", ClockSample("gateway", now, 0), now)) == [("clock", "", True, "")]
    assert gate_changes(machine.source_state("edgar", False, "gone", now)) == [("freshness", "", False, "SOURCE_DOWN")]
    assert gate_changes(machine.source_state("edgar", True, "", now)) == [("freshness", "", True, "")]
    assert machine.source_state("edgar", True, "", now) == []


def test_a_provider_that_can_be_read_again_opens_its_schema_gate_at_once() -> None:
    """What has not changed is not handed in again, so no good filing need come for a long time."""
    machine, now = engine(GATE_REOPEN_SLICES=5), day_open()
    page = Malformed("edgar", "data.facts", "", "BODY_MALFORMED", "HTML", b"<html>", now)
    assert gate_changes(machine.take(page)) == [("schema", "", False, "BODY_MALFORMED")]
    # The round in which it came ends well for the other names: that proves nothing of this one.
    assert gate_changes(machine.source_state("edgar", True, "", now)) == []
    assert gate_changes(machine.source_state("fred", True, "", now)) == []
    assert gate_changes(machine.source_state("edgar", True, "", now + 1)) == [("schema", "", True, "")]
    assert gate_changes(machine.source_state("edgar", True, "", now + 2)) == []
    name = machine.names[0]
    assert gate_changes(machine.contract_state("ibkr", name, "unknown", now)) == [
        ("contract", name, False, "CONTRACT_UNKNOWN")
    ]
    assert gate_changes(machine.contract_state("ibkr", name, "", now)) == [("contract", name, True, "")]
    assert machine.contract_state("ibkr", "NOT.OURS", "unknown", now) == []
