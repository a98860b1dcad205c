"""Lots or shares: the day's volume against what is usual by now, constructed and on real volumes."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.engine import DataEngine
from data_plane.gates.size_units import SESSIONS, VolumeMemory, in_lots, volume_by_now
from data_plane.observations import CorporateAction
from data_plane.outputs import Output
from tests.data_plane.support import DAY, bad, daily, day_close, day_open, engine, gate_changes, quote, records
from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE

NAMES = ("AAA", "BBB", "CCC")


@given(st.floats(1e3, 1e9), st.floats(0.1, 1.0), st.floats(0.11, 3.2))
def test_lots_are_told_from_quiet_and_busy_days(usual: float, passed: float, activity: float) -> None:
    by_now = volume_by_now(np.array([usual]), passed)
    assert in_lots(by_now * activity / 100.0, by_now).tolist() == [True]
    for factor in (activity, 10.0 * activity, 0.1 * activity / 0.11 * 0.4, 100.0 * activity):
        assert in_lots(by_now * factor, by_now).tolist() == [False]


def test_what_is_unknown_is_no_evidence() -> None:
    nan = np.nan
    assert not in_lots(np.array([0.0, nan, 5.0, np.inf]), np.array([1e6, 1e6, nan, 1e6])).any()
    assert np.isnan(volume_by_now(np.array([1e6]), 0.05)).all()


def test_the_usual_volume_is_the_median_of_the_last_sessions_and_moves_with_its_name() -> None:
    memory = VolumeMemory.empty(3)
    rows = np.array([0, 2])
    for session in range(1, SESSIONS // 2):
        memory.learn(rows, np.array([100.0, 7.0]), session)
    assert np.isnan(memory.usual()).all()
    memory.learn(rows, np.array([np.nan, 8.0]), 90)
    memory.learn(np.array([0]), np.array([500.0]), 90)
    memory.learn(rows, np.array([1e9, 1e9]), 89)  # older than what is known
    assert memory.usual()[[0, 2]].tolist() == [100.0, 7.0]
    assert np.isnan(memory.usual()[1])
    for session in range(100, 100 + SESSIONS):
        memory.learn(np.array([0]), np.array([session * 10.0]), session)
    assert memory.renumbered(2, [1], [0]).usual()[1] == 1045.0


def with_history(**data: object) -> DataEngine:
    machine = engine(NAMES, **data)
    for day in calendars.sessions("XNYS", date(2018, 1, 19) - timedelta(days=20), date(2018, 1, 18)):
        machine.take(daily(day.isoformat(), dict.fromkeys(NAMES, 100.0)))  # a million a day
    return machine


def quotes(machine: DataEngine, at: int, volume: float) -> list[Output]:
    """Quotes of all names; the day's volume of BBB is `volume`, and the slice that carries them."""
    machine.resume("ibkr", at)
    for name in NAMES:
        machine.take(quote(name, at)._replace(volume=volume if name == "BBB" else 4e5))
    return machine.advance("ibkr", at)


def test_a_name_in_lots_is_taken_out_and_held_until_its_sizes_are_in_shares() -> None:
    machine = with_history()
    early = quotes(machine, day_open() + 30 * MINUTE, 900.0)
    assert gate_changes(early) == []  # too early to say
    outputs = quotes(machine, day_open() + 200 * MINUTE, 4_000.0)
    assert gate_changes(outputs) == [("quote_sanity", "BBB", False, "SIZE_IN_LOTS")]
    (taken_out,) = records(outputs, "data.quarantine")
    assert (taken_out["code"], taken_out["symbol"]) == ("SIZE_IN_LOTS", "BBB")
    assert "day's volume 4000" in taken_out["detail"]
    assert records(outputs, "data.quotes")[0]["symbols"] == ["AAA", "CCC"]
    told = [gate_changes(quotes(machine, day_open() + (201 + n) * MINUTE, 4e5)) for n in range(2)]
    assert told == [[], [("quote_sanity", "BBB", True, "")]]


@pytest.mark.parametrize("history", [True, False])
def test_a_split_on_record_is_no_change_of_units(history: bool) -> None:
    machine = engine(NAMES)
    for day in calendars.sessions("XNYS", date(2018, 1, 19) - timedelta(days=20), date(2018, 1, 18)):
        machine.take(daily(day.isoformat(), dict.fromkeys(NAMES, 1.0), history=history))
    ratios = {"BBB": 1 / 40, "CCC": 40.0}
    machine.take(CorporateAction("ibkr", "BBB", "split", DAY, day_open() - MINUTE, ratio=1 / 40))
    machine.take(CorporateAction("ibkr", "CCC", "split", DAY, day_open() - MINUTE, ratio=40.0))
    for name in ("BBB", "CCC"):  # 200 of 390 minutes of an ordinary day
        machine.take(quote(name, day_open() + 200 * MINUTE)._replace(volume=5e5 * ratios[name]))
    assert bad(machine.advance("ibkr", day_open() + 200 * MINUTE)) == []
    for name in ("BBB", "CCC"):
        machine.take(quote(name, day_open() + 201 * MINUTE)._replace(volume=5e3 * ratios[name]))
    # A history may have been in the new shares all along: then nobody can tell.
    expected = [(name, "SIZE_IN_LOTS") for name in (("BBB",) if history else ("BBB", "CCC"))]
    assert bad(machine.advance("ibkr", day_open() + 201 * MINUTE)) == expected


def test_a_restart_knows_the_usual_volume() -> None:
    first, later = with_history(), engine(NAMES)
    history = [
        record
        for day in calendars.sessions("XNYS", date(2018, 1, 3), date(2018, 1, 18))
        for record in records(engine(NAMES).take(daily(day.isoformat(), dict.fromkeys(NAMES, 100.0))), "data.bars")
    ]
    later.remember("data.bars", history)
    for machine in (first, later):
        outputs = quotes(machine, day_close() - MINUTE, 10_000.0)
        assert gate_changes(outputs) == [("quote_sanity", "BBB", False, "SIZE_IN_LOTS")]


def test_five_years_of_real_volumes_hold_nobody_by_mistake(shared_data: Path) -> None:
    panel = pl.read_parquet(
        shared_data / "daily" / "sp500_cnuge_2013_2018.parquet", columns=["symbol", "date", "volume"]
    )
    volumes = panel.pivot(on="symbol", index="date", values="volume").sort("date").drop("date").to_numpy().astype(float)
    memory, rows = VolumeMemory.empty(volumes.shape[1]), np.arange(volumes.shape[1])
    judged = mistaken = found = 0
    for session, day in enumerate(volumes, 1):
        if session % 5 == 0:  # each one is in the docs
            by_now = volume_by_now(memory.usual(), 1.0)
            judged += int((np.isfinite(by_now) & (day > 0)).sum())
            mistaken += int(in_lots(day, by_now).sum())
            found += int(in_lots(day / 100.0, by_now).sum())
        memory.learn(rows, np.nan_to_num(day), session)
    assert judged > 120_000
    assert mistaken <= 2  # of all: a day of which the file lacks most, and a spin-off
    assert found / judged > 0.98
