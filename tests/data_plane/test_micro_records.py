"""Order flow in the engine: its records on data.micro, when they go out, what they are known at, and what a restart leaves of it."""

from __future__ import annotations

from typing import Any

import pytest

from data_plane.observations import QuoteTick, TradeTick
from schemas.codec import encode_body
from tests.data_plane.support import STEP, assert_conserved, bar, day_close, day_open, engine, quote, records, run
from triplane.domain.targets.data import DataTargets
from triplane.domain.timestamps import MINUTE, SECOND

NAMES = ("AAA", "BBB", "CCC")
OPEN, CLOSE = day_open(), day_close()


def second(symbol: str, at: float, bid_size: float, **change: Any) -> QuoteTick:
    return quote(symbol, OPEN + round(at * SECOND))._replace(bid_size=bid_size, **change)


def test_the_engine_publishes_order_flow_before_the_bars_of_the_same_instant() -> None:
    machine = engine()
    outputs = run(
        machine,
        [
            second("AAA", 1, 200.0),
            second("AAA", 2, 250.0),
            second("BBB", 2, 100.0, status="delayed"),
            TradeTick("ibkr", "AAA", OPEN + 3 * SECOND, 100.01, 30.0),
            *(bar(name, 0) for name in NAMES),
        ],
    )
    [output] = [output for output in outputs if output.topic == "data.micro"]
    record = output.record
    assert output.units == 0  # its quotes and trades are counted where they go themselves
    assert (record["event_time"], record["available_time"], record["group"]) == (OPEN + STEP, OPEN + STEP, "main")
    assert (record["symbols"], record["ofi"], record["signed_volume"]) == (["AAA"], [50.0], [30.0])
    assert (record["depth"], record["mid"], record["increments"]) == ([275.0], [100.0], [1])
    assert record["config_hash"] == "hash-1"
    topics = [output.topic for output in outputs]
    assert topics.index("data.quotes") < topics.index("data.micro") < topics.index("data.bars")
    encode_body("MicroSlice", record)
    assert_conserved(machine)


def test_a_slice_a_second_where_time_is_told_that_often() -> None:
    machine = engine()
    run(machine, [second("AAA", 0, 200.0)])
    for number in range(1, 8):
        [record] = records(machine.advance("ibkr", OPEN + number * SECOND + SECOND // 3), "data.micro")
        # What came in since the full second is in it, so it cannot be known before the look at the clock.
        assert (record["event_time"], record["available_time"]) == (
            OPEN + number * SECOND,
            OPEN + number * SECOND + SECOND // 3,
        )
        assert record["increments"] == [min(number - 1, 1)]
        assert records(machine.advance("ibkr", OPEN + number * SECOND + SECOND // 2), "data.micro") == []
        run(machine, [second("AAA", number + 0.6, 200.0 + number)])
    # Quiet seconds have none.
    machine.advance("ibkr", OPEN + 20 * SECOND)
    assert records(machine.advance("ibkr", OPEN + 21 * SECOND), "data.micro") == []
    # What goes by before the open and after the close is forgotten, and the last second before it is not.
    run(machine, [quote("AAA", CLOSE - SECOND // 2), quote("AAA", CLOSE + SECOND)])
    [record] = records(machine.advance("ibkr", CLOSE + 2 * SECOND), "data.micro")
    assert (record["event_time"], record["increments"]) == (CLOSE, [1])
    assert machine.advance("ibkr", CLOSE + 3 * SECOND) == []


def test_flow_that_waited_for_overdue_bars_is_known_when_they_are_given_up() -> None:
    machine = engine(MICRO_SLICE_S=5)
    run(machine, [second("AAA", 1, 200.0), bar("AAA", 0), second("AAA", 9, 210.0)])
    [record] = records(machine.advance("ibkr", OPEN + 2 * STEP), "data.micro")
    assert (record["event_time"], record["available_time"], record["ofi"]) == (OPEN + STEP, OPEN + 2 * STEP, [10.0])


@pytest.mark.parametrize("how", ["resume", "gap"])
def test_a_reconnect_and_a_resubscription_break_the_chain_and_the_first_look_does_not(how: str) -> None:
    machine = engine()
    run(machine, [second("AAA", 1, 200.0)])
    outputs = run(machine, [bar(name, 0) for name in NAMES]) + run(machine, [second("AAA", 6, 260.0)])
    outputs += run(machine, [bar(name, 1) for name in NAMES])
    assert [record["ofi"] for record in records(outputs, "data.micro")] == [[0.0], [60.0]]
    if how == "gap":
        age = machine.source_age("ibkr", OPEN + 60 * SECOND)
        machine.gap("ibkr")
        assert machine.source_age("ibkr", OPEN + 60 * SECOND) == age == 50  # who was silent still is
    else:
        machine.resume("ibkr", OPEN + 11 * SECOND)
    outputs = run(machine, [second("AAA", 12, 900.0), *(bar(name, 2) for name in NAMES)])
    assert [record["increments"] for record in records(outputs, "data.micro")] == [[0]]


def test_a_restart_repeats_no_slice_and_begins_new_chains() -> None:
    before = run(engine(), [second("AAA", 1, 200.0), *(bar(name, 0) for name in NAMES)])
    again = engine()
    again.remember("data.micro", records(before, "data.micro"))
    run(again, [second("AAA", 2, 300.0)])
    # Neither at the time of the slice that is out nor, where the market is played again from an earlier hour, before it.
    assert records(again.advance("ibkr", OPEN + 4 * SECOND), "data.micro") == []
    assert records(again.advance("ibkr", OPEN + STEP), "data.micro") == []
    [record] = records(again.advance("ibkr", OPEN + 6 * SECOND), "data.micro")
    assert (record["event_time"], record["increments"]) == (OPEN + 6 * SECOND, [0])


def test_a_changed_universe_publishes_what_was_begun_and_begins_anew() -> None:
    machine = engine()
    run(machine, [second("AAA", 1, 200.0), second("CCC", 1, 200.0), *(bar(name, 0) for name in NAMES)])
    run(machine, [second("AAA", 6, 210.0)])
    [record] = records(machine.configure(("CCC", "AAA"), DataTargets(), "hash-2"), "data.micro")
    assert (record["symbols"], record["ofi"], record["event_time"]) == (["AAA"], [10.0], OPEN + 6 * SECOND)
    run(machine, [second("CCC", 7, 500.0)])
    assert records(machine.advance("ibkr", OPEN + 6 * SECOND), "data.micro") == []  # that slice is out
    outputs = run(machine, [bar("CCC", 1), bar("AAA", 1)])
    [record] = records(outputs, "data.micro")
    assert (record["symbols"], record["increments"], record["config_hash"]) == (["CCC"], [0], "hash-2")


def test_a_night_of_quotes_is_not_kept() -> None:
    machine = engine()
    for number in range(1, 50):
        run(machine, [quote("AAA", CLOSE + number * MINUTE)] * 20)
        assert machine.advance("ibkr", CLOSE + number * MINUTE) == []
        machine.resume("ibkr", CLOSE + number * MINUTE)
    flow = machine._live._streams["ibkr"].micro
    assert (len(flow._quotes), len(flow._quote_rows), len(flow._breaks)) == (0, 0, 1)
