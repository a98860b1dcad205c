"""Bars that are stamped ahead: whose word moves market time, and what they are called when nobody decides on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from data_plane.gates.clock import ClockSample
from data_plane.outputs import Output
from data_plane.sources.ibkr import IbkrSource
from tests.data_plane.ibkr_rig import ACCOUNT, Rig
from tests.data_plane.support import STEP, assert_conserved, bad, bar, day_open, engine, gate_changes, records, run
from triplane.domain.timestamps import SECOND
from triplane.runtime.settings import Settings

HOUR = 3600 * SECOND
NAMES = ("AAA", "BBB", "CCC")


class Gateway:
    """Answers with the time that it is given; `meanwhile` is what comes after the answer, in the same read of the socket."""

    is_connected = True

    def __init__(self, now: int) -> None:
        self.now = now
        self.meanwhile: Callable[[], None] = lambda: None

    async def server_time(self, timeout: float) -> int:
        now = self.now
        self.meanwhile()
        return now


async def _source(real: bool, mode: Literal["paper", "shadow"] = "paper") -> tuple[Rig, IbkrSource, Gateway, list[str]]:
    bench = Rig(Settings(gateway_port=1, account=ACCOUNT, mode=mode))
    source, gateway = IbkrSource(bench.context), Gateway(day_open() + HOUR)
    source._session = gateway  # type: ignore[assignment]
    names = [asset.symbol for asset in bench.context.assets()]
    source._requests.contracts.update(dict.fromkeys(names))
    for wall in range(4) if real else ():
        source._speed.sample(wall, gateway.now + wall * SECOND)
    assert source._speed.real == real
    await source._time()
    return bench, source, gateway, names


def _hear(source: IbkrSource, name: str, start: int) -> None:
    source._on_bar(name, start, 10.0, 10.0, 10.0, 10.0, 100.0, 10.0, 1)


@pytest.mark.parametrize("real", [False, True])
async def test_one_bar_that_is_stamped_ahead_moves_no_clock(real: bool) -> None:
    bench, source, gateway, names = await _source(real)
    begin = gateway.now
    for step in range(4):
        for name in names:
            _hear(source, name, begin + step * STEP)
        if step == 1:
            _hear(source, names[0], begin + HOUR)
        assert bench.clock.now() == begin + (step + 1) * STEP
        gateway.now = begin + (step + 1) * STEP
        await source._time()
        bench.context.advance("ibkr", bench.clock.now())
    assert bad(bench.outputs) == [(names[0], "TIME_AHEAD")]
    assert [record["missing"] for record in bench.slices("5s")] == [[]] * 4
    assert source._newest == gateway.now
    assert source._day is not None
    assert_conserved(bench.engine)


@pytest.mark.parametrize(("real", "moved"), [(False, HOUR + STEP), (True, 60 * SECOND)])
async def test_names_that_agree_move_the_clock_as_far_as_the_gateway_bears_them_out(real: bool, moved: int) -> None:
    """A simulated market leaps over its nights before its gateway is asked; a gateway that keeps pace does not."""
    bench, source, gateway, names = await _source(real)
    _hear(source, names[0], gateway.now + HOUR)
    assert bench.clock.now() == gateway.now
    _hear(source, names[1], gateway.now + HOUR)
    assert bench.clock.now() == gateway.now + moved
    assert source._newest == gateway.now + HOUR + STEP  # held against the gateway's clock all the same: the gate closes


async def test_a_bar_ahead_that_the_gateways_next_answer_bears_out_is_taken() -> None:
    bench, source, gateway, names = await _source(True)
    _hear(source, names[0], gateway.now + HOUR)
    gateway.now += HOUR + STEP
    await source._time()
    assert bench.clock.now() == source._newest == gateway.now
    bench.context.advance("ibkr", bench.clock.now())
    assert bad(bench.outputs) == []


async def test_an_answer_is_not_held_against_a_bar_that_came_after_it() -> None:
    """At a leap of a simulated market: the time was told before it, the first bar came after it, and one read of the socket has both."""
    bench, source, gateway, names = await _source(False)
    await source._look()
    begin = gateway.now + HOUR
    gateway.meanwhile = lambda: _hear(source, names[0], begin)
    await source._look()
    assert bench.engine.pending() == {"ibkr": 1}
    gateway.now, gateway.meanwhile = begin + SECOND, lambda: None
    await source._look()
    assert bad(bench.outputs) == []
    # Where one is ahead each time, the others' bars are not held up.
    gateway.meanwhile = lambda: _hear(source, names[0], begin + HOUR)
    for _ in range(4):
        await source._look()
    assert bad(bench.outputs) == [(names[0], "TIME_AHEAD")]
    source._session = None
    source._ahead.waiting.append(bar("AAA", 1500))
    await source._leave()  # what an earlier connection said is no news on the next
    assert source._ahead.waiting == []


@pytest.mark.parametrize(("slow_s", "codes"), [(120, ["CLOCK_SKEWED"]), (-120, ["CLOCK_SKEWED"]), (0, []), (-5, [])])
async def test_the_gateways_time_judges_the_machines_clock_where_that_stamps(slow_s: int, codes: list[str]) -> None:
    """It tells whole seconds, so a second more is borne on the side of a fast clock. One name is heard, and all of its bars are taken."""
    bench, source, gateway, names = await _source(False, "shadow")
    begin = gateway.now
    bench.clock.advance(begin - slow_s * SECOND)
    bench.tell_time = bench.context.tell_time = lambda now: None  # type: ignore[method-assign]
    for step in range(4):
        _hear(source, names[0], begin + (step - 1) * STEP)
        await source._look()
        gateway.now += STEP
        bench.clock.advance(gateway.now - slow_s * SECOND)
    assert bad(bench.outputs) == []
    assert [code for gate, _, _, code in bench.gates() if gate == "clock"] == codes
    bench.outputs += bench.engine.flush(bench.clock.now())
    assert bad(bench.outputs) == []
    if slow_s > -120:  # by a clock that is as fast as that everything comes late
        assert sum(names[0] in record["symbols"] for record in bench.slices("5s")) == 4


@pytest.mark.parametrize("compared", ["machine", "ibkr"])
def test_a_machine_clock_that_is_behind_makes_no_bar_wrong(compared: str) -> None:
    """One name is heard, live, where the machine's clock is two minutes slow: an NTP server or the gateway says so."""
    machine, outputs = engine(), list[Output]()
    behind, wall = 120 * SECOND, day_open() + HOUR
    machine.advance("ibkr", wall - behind)
    for step in range(6):
        now = wall + step * STEP
        outputs += machine.compare_clock(compared, ClockSample("time.example", now, -behind), now - behind)
        outputs += machine.take(bar("AAA", (now - day_open()) // STEP - 1))
        outputs += machine.advance("ibkr", now - behind)
    outputs += machine.flush(wall + 6 * STEP - behind)
    assert bad(outputs) == []
    assert sum("AAA" in record["symbols"] for record in records(outputs, "data.bars")) == 6
    assert gate_changes(outputs)[0] == ("clock", "", False, "CLOCK_SKEWED")  # which is what holds
    # It is put right: an hour ahead is wrong again.
    machine.compare_clock(compared, ClockSample("time.example", wall, 0), wall)
    outputs = machine.take(bar("AAA", 1500)) + machine.advance("ibkr", wall + 8 * STEP)
    assert bad(outputs) == [("AAA", "TIME_AHEAD")]
    assert_conserved(machine)


def test_what_waits_at_the_end_of_a_stream_is_called_what_it_is() -> None:
    start = [bar(name, step) for step in range(2) for name in NAMES]
    first = bar("AAA", 0, day="2018-01-22")  # the next session's, and nobody's else yet
    unknown = engine()
    outputs = run(unknown, [*start, first]) + unknown.flush()
    assert bad(outputs) == [("AAA", "TIME_UNCONFIRMED")]
    assert "before anything confirmed its time" in records(outputs, "data.quarantine")[0]["detail"]
    right, wrong = engine(), engine()
    outputs = run(right, [*start, first]) + right.flush(day_open("2018-01-22") + 7 * SECOND)
    assert bad(outputs) == []
    assert [record["session"] for record in records(outputs, "data.bars")][-1] == "2018-01-22"
    outputs = run(wrong, [*start, first]) + wrong.flush(day_open() + 3 * STEP)
    assert bad(outputs) == [("AAA", "TIME_AHEAD")]
    for each in (unknown, right, wrong):
        assert each.pending() == {"ibkr": 0}
        assert_conserved(each)


def test_a_bar_that_waits_outlives_a_change_of_names_unless_its_own_leaves() -> None:
    machine = engine()
    run(machine, [bar(name, step) for step in range(2) for name in NAMES])
    run(machine, [bar("AAA", 0, day="2018-01-22")])
    assert bad(machine.configure(("AAA", "BBB"), machine.targets, "hash-2")) == []
    assert machine.pending() == {"ibkr": 1}
    outputs = machine.take(bar("BBB", 0, day="2018-01-22"))
    assert records(outputs, "data.bars")[-1]["symbols"] == ["AAA", "BBB"]
    run(machine, [bar("AAA", 0, day="2018-01-23")])
    assert bad(machine.configure(("BBB",), machine.targets, "hash-3")) == []
    assert machine.ledger.dropped["ibkr", "NOT_IN_UNIVERSE"] == 1
    assert_conserved(machine)
