"""The simulated path: one path at every interval, exact closes, the same on every run."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date

import numpy as np
import pytest

from triplane.domain import calendars
from triplane.paper.market.liquidity import true_cost
from triplane.paper.market.path import Bars, Session, Steps, aggregate, daily_sigma, refine, simulate_session, tick_size
from triplane.paper.market.prices import PricesError, load_closes

CLOSES = load_closes()
DAYS = [date(2018, 2, 5), date(2018, 2, 6), date(2018, 7, 3), date(1990, 1, 3), date(2008, 10, 10), date(2022, 12, 28)]


def simulated(day: date, seed: int = 7) -> tuple[Session, Steps]:
    opens, closes = calendars.session_open("XNYS", day), calendars.session_close("XNYS", day)
    session = simulate_session(CLOSES, CLOSES.row(day), opens, closes, seed)
    return session, refine(session, CLOSES, seed)


def assert_same(coarse: Bars, fine: Bars, *, wap: bool) -> None:
    assert (coarse.start, coarse.step) == (fine.start, fine.step)
    for name in ("open", "high", "low", "close", "volume", "count"):
        np.testing.assert_array_equal(getattr(coarse, name), getattr(fine, name), err_msg=name)
    if wap:
        np.testing.assert_allclose(coarse.wap, fine.wap, rtol=1e-12)


def assert_bars(bars: Bars) -> None:
    assert np.all(bars.high >= np.maximum(bars.open, bars.close))
    assert np.all(bars.low <= np.minimum(bars.open, bars.close))
    assert np.all(bars.low > 0)
    assert np.all((bars.wap >= bars.low - 1e-9) & (bars.wap <= bars.high + 1e-9))
    assert np.all((bars.volume >= 0) & (bars.count <= bars.volume))
    np.testing.assert_array_equal(bars.count > 0, bars.volume > 0)
    np.testing.assert_array_equal(bars.open[1:], bars.close[:-1])


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_all_intervals_are_one_path_that_ends_on_the_real_close(day: date) -> None:
    session, steps = simulated(day)
    minutes = len(session.minutes.volume)
    assert minutes == (calendars.session_close("XNYS", day) - calendars.session_open("XNYS", day)) // 60_000_000_000
    assert_bars(session.minutes)
    assert_bars(steps.bars)
    assert_same(session.minutes, aggregate(steps.bars, 12), wap=False)
    daily = aggregate(session.minutes, minutes)
    from_steps = aggregate(steps.bars, 12 * minutes)
    assert_same(
        daily,
        Bars(**{f: getattr(from_steps, f) for f in from_steps.__dataclass_fields__} | {"wap": daily.wap}),
        wap=True,
    )
    assert_same(daily, aggregate(aggregate(session.minutes, 30), minutes // 30), wap=True)
    np.testing.assert_array_equal(daily.close[0], CLOSES.values[CLOSES.row(day)])
    np.testing.assert_array_equal(steps.mid[-1], daily.close[0])


def test_an_early_close_is_shorter() -> None:
    assert len(simulated(date(2018, 7, 3))[0].minutes.volume) == 210


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_prices_are_on_the_grid_but_for_the_close(day: date) -> None:
    session, steps = simulated(day)
    for prices in (session.minutes.open, session.minutes.close[:-1], steps.bars.close[:-1], steps.bid, steps.ask):
        ticks = prices / session.tick
        np.testing.assert_allclose(ticks, np.rint(ticks), atol=1e-6)
    assert np.all(steps.ask > steps.bid)
    assert np.all(steps.bid > 0)
    assert np.all((steps.bid_size >= 100) & (steps.ask_size % 100 == 0))


def test_quotes_show_the_true_half_spread() -> None:
    days = calendars.sessions("XNYS", date(2018, 1, 19), date(2018, 2, 16))
    shown = np.mean([((s.ask - s.bid) / (2 * s.mid)).mean(axis=0) for s in (simulated(day)[1] for day in days)], axis=0)
    truth = np.array([true_cost(symbol).half_spread for symbol in CLOSES.symbols])
    np.testing.assert_allclose(shown, truth, rtol=0.02)


def test_volumes_are_around_their_true_median() -> None:
    days = calendars.sessions("XNYS", date(2017, 1, 3), date(2017, 12, 29))
    totals = np.array(
        [
            simulate_session(
                CLOSES, CLOSES.row(d), calendars.session_open("XNYS", d), calendars.session_close("XNYS", d), 7
            ).minutes.volume.sum(axis=0)
            for d in days
        ]
    )
    truth = np.array([true_cost(symbol).adv for symbol in CLOSES.symbols])
    np.testing.assert_allclose(np.median(totals, axis=0), truth, rtol=0.15)


def test_the_seed_changes_the_path_and_nothing_else_does() -> None:
    day = date(2018, 2, 5)
    one, other = simulated(day), simulated(day)
    np.testing.assert_array_equal(one[1].mid, other[1].mid)
    assert np.any(one[1].mid != simulated(day, seed=8)[1].mid)


def test_the_path_is_the_same_under_every_hash_seed() -> None:
    code = (
        "import hashlib; from tests.paper.test_path import simulated, date; s, t = simulated(date(2018, 2, 5));"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in (s.minutes.high, t.bid, t.ask_size, t.bars.volume))).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "4242")
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == 64


def test_sigma_is_that_of_the_sessions_before() -> None:
    row = CLOSES.row(date(2018, 2, 5))
    sigma = daily_sigma(CLOSES, row)
    expected = np.diff(np.log(CLOSES.values[row - 64 : row]), axis=0).std(axis=0)
    np.testing.assert_array_equal(sigma, expected)
    np.testing.assert_array_equal(daily_sigma(CLOSES, 5), np.full(20, 0.02))


def test_the_first_day_has_nothing_to_come_from() -> None:
    with pytest.raises(PricesError, match="choose a later session"):
        simulate_session(CLOSES, 0, 0, 1, 7)


def test_empty_ranges_and_ragged_groups() -> None:
    session, _ = simulated(date(2018, 2, 5))
    assert len(aggregate(session.minutes, 10, 5, 5).volume) == 0
    ragged = aggregate(session.minutes, 60, 0, 90)
    assert len(ragged.volume) == 2
    np.testing.assert_array_equal(ragged.volume.sum(axis=0), session.minutes.volume[:90].sum(axis=0))
    quiet = Bars(
        0,
        1,
        *(session.minutes.open[:2],) * 4,
        session.minutes.volume[:2] * 0,
        session.minutes.open[:2],
        session.minutes.count[:2] * 0,
    )
    np.testing.assert_array_equal(aggregate(quiet, 2).wap[0], quiet.close[1])


def test_tick_bands() -> None:
    np.testing.assert_array_equal(tick_size(np.array([0.5, 1.0, 400.0])), [1e-4, 1e-2, 1e-2])
