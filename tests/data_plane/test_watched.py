"""Slices of assets that are not traded, and the rolls of a future's chain, without a gateway."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.engine import DataEngine
from data_plane.futures import FutureContract, Held, continuous, contract_name, schedule
from data_plane.observations import VOLUME, Bars, Chain
from data_plane.outputs import Output
from data_plane.release import RELEASE
from data_plane.slices.watched import Kind
from tests.data_plane.support import assert_conserved, bad, bar, daily, engine, gate_changes, records, run
from triplane.domain import calendars

CALENDARS = {"MES": "CMES", "EUR.USD": "24/5", "SPY": "XNYS"}
KINDS = {symbol: Kind(calendar, symbol != "EUR.USD") for symbol, calendar in CALENDARS.items()}
MONTHS = ("201712", "201803", "201806", "201809")
CHAIN = [
    FutureContract(int(month), f"MES{month}", "MES", month, date(int(month[:4]), int(month[4:]), 15))
    for month in MONTHS
]
NAMES = [contract_name("MES", month) for month in MONTHS]
HELD = tuple(schedule(CHAIN, 5, "CMES", date(2017, 11, 1)))
SESSIONS = calendars.sessions("CMES", date(2017, 11, 1), HELD[-1].last)


def watching(**data: object) -> DataEngine:
    machine = engine(("AAA", "BBB"), **data)
    machine.watch(KINDS)
    return machine


def watched(asset: str, day: date, closes: dict[str, float], **change: Any) -> Bars:
    made = daily("2018-01-19", closes)
    made.values[:, VOLUME] += day.toordinal() % 1000  # no day repeats the one before it
    close = calendars.session_close(CALENDARS.get(asset, "XNYS"), day)
    return replace(
        made, **{"watched": asset, "session": day.isoformat(), "event_time": close, "available_time": close, **change}
    )


def chain(held: Sequence[Held] = HELD) -> Chain:
    return Chain("ibkr", "MES", 0, tuple(held))


def slices(prices: np.ndarray[Any, Any], days: Sequence[date] = SESSIONS) -> list[Bars]:
    """Slices of a chain's closes (days, contracts), NaN where a contract has none."""
    found = []
    for day, row in zip(days, prices.tolist(), strict=True):
        closes = {name: close for name, close in zip(NAMES, row, strict=True) if not math.isnan(close)}
        found.append(watched("MES", day, closes))
    return found


def test_a_slice_of_an_asset_goes_out_by_itself_and_moves_no_gate() -> None:
    machine = watching()
    day = date(2018, 1, 21)  # a Sunday: no session in New York
    bars = watched("EUR.USD", date(2018, 1, 19), {"EUR.USD": 1.2})
    bars.values[:, 4:] = np.nan
    bars.trades[:] = -1
    outputs = run(machine, [bars, bars, replace(bars, watched="XAU.USD", symbols=("XAU.USD",))])
    (record,) = records(outputs, "data.watched")
    assert (record["group"], record["symbols"], record["close"]) == ("EUR.USD", ["EUR.USD"], [1.2])
    assert (record["session"], record["missing"], record["trades"]) == ("2018-01-19", [], [-1])
    assert math.isnan(record["volume"][0])
    assert not records(outputs, "data.bars")
    assert not gate_changes(outputs)
    assert machine.ledger.deduplicated["ibkr"] == 1
    assert machine.ledger.dropped["ibkr", "NOT_IN_UNIVERSE"] == 1
    assert_conserved(machine)
    assert not calendars.is_session("XNYS", day)


def test_a_bad_print_is_taken_out_and_a_person_may_let_it_out() -> None:
    machine = watching()
    days = calendars.sessions("XNYS", date(2018, 1, 16), date(2018, 1, 19))
    closes = (279.0, 27900.0, 280.0, 281.0)
    outputs = run(machine, [watched("SPY", day, {"SPY": close}) for day, close in zip(days, closes, strict=True)])
    assert bad(outputs) == [("SPY", "UNIT_100X")]
    assert not gate_changes(outputs)
    (taken_out,) = records(outputs, "data.quarantine")
    assert taken_out["topic"] == "data.watched"
    assert [record["symbols"] for record in records(outputs, "data.watched")] == [["SPY"], [], ["SPY"], ["SPY"]]
    assert records(outputs, "data.watched")[1]["missing"] == ["SPY"]

    again = watching()
    again.remember("data.watched", records(outputs, "data.watched"))
    again.remember("data.quarantine", [taken_out])
    command = {
        "command_id": "c1",
        "command": RELEASE,
        "actor": "ann",
        "reason": "no",
        "event_time": 1,
        "arguments": {"quarantine_id": taken_out["quarantine_id"], "repair": "yes"},
    }
    known = outputs[-1].record["available_time"] + 1
    let_out, decision = again.releases.carry_out(command, taken_out, known, 279.0)
    assert let_out.topic == "data.watched"
    assert (let_out.record["group"], let_out.record["close"]) == ("SPY", [pytest.approx(279.0)])
    assert (let_out.record["released"], let_out.record["history"]) == ([taken_out["quarantine_id"]], True)
    assert decision.record["action"] == "repaired"
    assert_conserved(again)
    # What was let out is not let out again, whoever reads the command once more.
    later = watching()
    later.remember("data.watched", [*records(outputs, "data.watched"), let_out.record])
    later.remember("data.quarantine", [taken_out])
    later.remember("data.decisions", [decision.record])
    assert later.releases.carry_out(command, taken_out, known, 279.0) == []


@pytest.mark.parametrize(("asset", "passes"), [("EUR.USD", True), ("SPY", False), ("", False)])
def test_only_a_midpoint_has_no_volume(asset: str, passes: bool) -> None:
    day, name = date(2018, 1, 19), asset or "AAA"
    bars = watched(asset, day, {name: 100.0}) if asset else daily(day.isoformat(), {name: 100.0})
    bars.values[:, VOLUME], bars.trades[:] = np.nan, -1
    outputs = run(watching(), [bars])
    assert (bad(outputs) == []) == passes
    if not asset:  # nor does one that streams
        unmeasured = bar("AAA", 0, volume=math.nan)._replace(trades=-1)
        assert len(bad(run(watching(), [unmeasured, bar("AAA", 2)]))) == 1


def test_a_slice_of_a_watched_asset_that_contradicts_itself_is_in_quarantine_for_its_topic() -> None:
    outputs = run(watching(), [watched("SPY", date(2018, 1, 19), {"SPY": 280.0}, session="yesterday")])
    assert [record["topic"] for record in records(outputs, "data.quarantine")] == ["data.watched"]
    assert len(outputs) == 1


def adjusted(rolls: list[dict[str, Any]], days: Sequence[date]) -> tuple[list[str], list[float], list[float]]:
    """Held contract, offset and factor of each session, by what the records say, as their description has it."""
    names, offsets, factors = [], [], []
    real = {roll["to_contract"]: roll for roll in sorted(rolls, key=lambda roll: roll["from_contract"] != "")}
    ordered = sorted(real.values(), key=lambda roll: roll["first_session"])
    for day in days:
        begun = [roll for roll in ordered if roll["first_session"] <= day.isoformat()]
        later = [roll for roll in ordered if day.isoformat() < roll["first_session"] <= days[-1].isoformat()]
        names.append(begun[-1]["to_contract"])
        offsets.append(sum(roll["to_close"] - roll["from_close"] for roll in reversed(later)))
        factors.append(math.prod(roll["to_close"] / roll["from_close"] for roll in reversed(later)))
    return names, offsets, factors


def listed(prices: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A chain's closes with a contract's own only from ten sessions before the roll into it to the one out of it: a roll without a close of
    both before it finds none behind it either."""
    days = np.array([day.toordinal() for day in SESSIONS])
    wide = np.full((len(SESSIONS), len(NAMES)), np.nan)
    for place, held in enumerate(HELD):
        first = int(np.searchsorted(days, held.first.toordinal()))
        last = int(np.searchsorted(days, held.last.toordinal()))
        rows = slice(max(first - 10 * (place > 0), 0), last + 1)
        wide[rows, place] = prices[rows, place]
    return wide


def whole(seed: int, holes: float) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    level = 2500.0 * np.exp(np.cumsum(rng.normal(0, 0.01, len(SESSIONS))))
    prices = np.round((level[:, None] + 8.0 * np.arange(len(NAMES))) * 4) / 4
    prices[rng.random(prices.shape) < holes] = np.nan
    return listed(prices)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    holes=st.sampled_from([0.0, 0.3]),
    cuts=st.lists(st.integers(1, len(SESSIONS)), max_size=3),
)
def test_rolls_adjust_as_the_series_does_however_often_a_run_was_killed(
    seed: int, holes: float, cuts: list[int]
) -> None:
    prices = whole(seed, holes)
    bars = slices(prices)
    undisturbed = run(watching(DAILY_JUMP_MAX=5.0), [chain(), *bars])
    log: list[Output] = []
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), len(bars)], strict=True):
        machine = watching(DAILY_JUMP_MAX=5.0)
        for topic in ("data.watched", "data.rolls"):
            machine.remember(topic, records(log, topic))
        told = run(machine, [chain(), *bars[first:last]])
        # Killed before the last of it was on the log.
        log += told[:-1] if last < len(bars) and told and told[-1].topic == "data.rolls" else told
        assert_conserved(machine)
    for topic in ("data.watched", "data.rolls"):
        key = "roll_id" if topic == "data.rolls" else "session"
        expected = sorted(records(undisturbed, topic), key=lambda record: record[key])
        found = sorted(records(log, topic), key=lambda record: record[key])
        assert repr(found) == repr(expected)
    days = [day for day, row in zip(SESSIONS, prices, strict=True) if np.isfinite(row).any()]
    ordinals = np.array([day.toordinal() for day in days])
    rows = np.isfinite(prices).any(axis=1)
    series = continuous(HELD, ordinals, prices[rows])
    names, offsets, factors = adjusted(records(log, "data.rolls"), days)
    assert names == [NAMES[column] for column in series.column]
    assert np.allclose(offsets, series.offset, equal_nan=True)
    assert np.allclose(factors, series.factor, equal_nan=True)


def test_a_roll_is_known_when_its_last_session_is_over_and_older_history_joins_before_it() -> None:
    bars = slices(whole(1, 0.0))
    last = SESSIONS.index(HELD[1].last)
    machine = watching()
    begun, rolled = records(run(machine, [chain(), *bars[40 : last + 1]]), "data.rolls")
    assert (begun["from_contract"], begun["to_contract"], begun["compared_session"]) == ("", "MESH2018", "")
    assert begun["first_session"] == SESSIONS[40].isoformat()
    assert math.isnan(begun["to_close"])
    assert (rolled["from_contract"], rolled["to_contract"]) == ("MESH2018", "MESM2018")
    assert (rolled["from_con_id"], rolled["to_con_id"]) == (201803, 201806)
    assert rolled["first_session"] == HELD[2].first.isoformat()
    assert rolled["compared_session"] == HELD[1].last.isoformat()
    assert rolled["event_time"] == rolled["available_time"] == bars[last].available_time
    assert rolled["config_hash"] == "hash-1"

    # Whoever loads what lies before knows of a session what came before it (`daemon/past.py`), but for what has been said.
    before = watching()
    before.remember("data.rolls", [begun, rolled])
    older = records(run(before, [chain(), *bars[:40]]), "data.rolls")
    assert [(roll["from_contract"], roll["to_contract"]) for roll in older] == [
        ("", "MESZ2017"),
        ("MESZ2017", "MESH2018"),
    ]
    assert older[1]["available_time"] == bars[27].available_time
    assert older[1]["to_close"] - older[1]["from_close"] == 8.0


def test_another_rule_moves_the_rolls_to_come_alone() -> None:
    bars = slices(whole(1, 0.0))
    last = SESSIONS.index(HELD[1].last)
    machine = watching()
    said = records(run(machine, [chain(), *bars[: last + 1]]), "data.rolls")
    assert len(said) == 3
    earlier = schedule(CHAIN, 30, "CMES", date(2017, 11, 1))
    assert earlier[0].last < HELD[0].last
    more = records(run(machine, [chain(earlier), *bars[last + 1 :]]), "data.rolls")
    assert [(roll["from_contract"], roll["first_session"]) for roll in more] == [
        ("MESM2018", SESSIONS[SESSIONS.index(HELD[3].first) - 9].isoformat())  # after the first that was loaded of it
    ]
    # As it is after a start.
    again = watching()
    again.remember("data.watched", records(run(watching(), [chain(), *bars[: last + 1]]), "data.watched"))
    again.remember("data.rolls", said)
    assert records(run(again, [chain(earlier), *bars[last + 1 :]]), "data.rolls") == more


def test_a_rule_that_rolls_earlier_takes_effect_with_the_next_session_that_has_both() -> None:
    """What lies behind was loaded by the old rule: the next contract is in none of its slices."""
    prices = whole(1, 0.0)
    last = SESSIONS.index(HELD[1].last)
    edited = last - 15
    assert np.isnan(prices[:edited, 2]).all()
    machine = watching()
    assert len(records(run(machine, [chain(), *slices(prices)[:edited]]), "data.rolls")) == 2
    earlier = schedule(CHAIN, 30, "CMES", SESSIONS[0])
    assert earlier[1].last < SESSIONS[edited - 1]
    prices[edited:last, 2] = prices[edited:last, 1] + 8.0
    prices[edited, 2] = np.nan  # the broker has it a day late
    after = slices(prices)
    assert records(run(machine, [chain(earlier), after[edited]]), "data.rolls") == []
    (roll,) = records(run(machine, [after[edited + 1]]), "data.rolls")
    assert (roll["from_contract"], roll["to_contract"]) == ("MESH2018", "MESM2018")
    assert roll["compared_session"] == SESSIONS[edited + 1].isoformat()
    assert roll["first_session"] == SESSIONS[edited + 2].isoformat()
    assert roll["to_close"] - roll["from_close"] == 8.0

    # Where none comes, the series goes on all the same, and cannot be compared.
    alone = watching()
    prices[edited:last, 1], prices[edited, 2] = np.nan, 2600.0
    run(alone, [chain(), *slices(prices)[:edited]])
    told = [records(run(alone, [chain(earlier), each]), "data.rolls") for each in slices(prices)[edited:last]]
    assert [len(found) for found in told[:10]] == [0] * 9 + [1]
    (roll,) = (roll for found in told for roll in found)
    assert (roll["to_contract"], roll["compared_session"]) == ("MESM2018", "")
    assert math.isnan(roll["to_close"])


def test_a_roll_that_was_not_said_is_by_the_slices_that_are_there() -> None:
    """A run that was killed between a slice and its roll, or that begins after the old contract has been left."""
    bars, last = slices(whole(1, 0.0)), SESSIONS.index(HELD[1].last)
    first = run(watching(), [chain(), *bars[: last + 1]])
    *known, roll = records(first, "data.rolls")
    machine = watching()
    machine.remember("data.watched", records(first, "data.watched"))
    machine.remember("data.rolls", known)
    assert records(run(machine, [chain()]), "data.rolls") == [roll]


def test_older_history_of_its_first_contract_moves_the_beginning_of_a_series() -> None:
    bars = slices(whole(1, 0.0))
    (begun,) = records(run(watching(), [chain(), *bars[10:20]]), "data.rolls")
    before = watching()
    before.remember("data.rolls", [begun])
    (moved,) = records(run(before, [chain(), *bars[:10]]), "data.rolls")
    assert (moved["to_contract"], moved["first_session"]) == ("MESZ2017", SESSIONS[0].isoformat())
    assert moved["roll_id"] != begun["roll_id"]


def test_names_of_contracts_are_the_exchange_s_with_a_whole_year() -> None:
    assert [contract_name("ES", month) for month in ("201801", "201803", "202712")] == ["ESF2018", "ESH2018", "ESZ2027"]
    for month in ("", "2018", "201813", "201800", "maybe!"):
        with pytest.raises(ValueError, match=r"month|invalid"):
            contract_name("ES", month)
