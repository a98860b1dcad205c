"""Factors and raw signals: streamed equals whole panel (L2), the future changes nothing (L3), and both equal naive loops."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_plane.inputs.panel import PricePanel
from strategy_plane.risk.covariance import EwmaMoments
from strategy_plane.risk.market_model import MarketModel, sector_means
from strategy_plane.signals import cross_section as signals
from strategy_plane.signals import factors
from tests.strategy_plane import naive
from tests.strategy_plane.world import World, universe_of, xnys
from triplane.domain.targets import StrategyTargets

SECTORS = np.array([0, 0, 1, 1, 2, -1])
N = len(SECTORS)


def random_panel(seed, rows, holes):
    rng = np.random.default_rng(seed)
    closes = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (rows, N)) + rng.normal(0, 0.01, (rows, 1)), axis=0))
    closes[rng.random((rows, N)) < holes] = np.nan
    for i in range(N):
        if rng.random() < 0.4:
            closes[: rng.integers(0, rows), i] = np.nan
    return closes


def market_targets(min_names, min_obs, corr, vol):
    return StrategyTargets().model_copy(
        update={"SECTOR_MIN_NAMES": min_names, "COV_MIN_OBS": min_obs, "CORR_HALF_LIFE": corr, "VOL_HALF_LIFE": vol}
    )


class Stream:
    """Panel, market model and moments fed bar by bar."""

    def __init__(self, closes, *, min_names=2, min_obs=10, corr=30.0, vol=12.0):
        self.panel = PricePanel([f"S{i}" for i in range(closes.shape[1])])
        self.market = MarketModel(closes.shape[1])
        self.moments = EwmaMoments(closes.shape[1])
        members = np.ones(closes.shape[1], dtype=bool)
        for t, row in enumerate(closes):
            session = (date(2000, 1, 1) + timedelta(days=t)).isoformat()
            record = {
                "session": session,
                "symbols": self.panel.symbols,
                "close": row.tolist(),
                "volume": [1.0] * len(row),
            }
            self.panel.offer({**record, "history": True})
            returns = self.panel.advance(session)
            self.market.update(returns, members, SECTORS, market_targets(min_names, min_obs, corr, vol))
            self.moments.update(returns, vol, corr)


@given(st.integers(0, 2**31 - 1), st.integers(30, 90), st.floats(0, 0.25))
@settings(max_examples=40, deadline=None)
def test_every_raw_signal_streamed_equals_the_whole_panel(seed, rows, holes):
    """Law L2, and the formulas against loops that share no code."""
    closes = random_panel(seed, rows, holes)
    stream = Stream(closes)
    t = rows - 1
    mom = factors.momentum(stream.panel.returns.tail(39), stream.panel.age, 40, 5, 9.0)
    np.testing.assert_allclose(mom, naive.momentum(closes, t, 40, 5, 9.0), rtol=0, atol=1e-12)
    rev = factors.reversal(stream.market.residuals.tail(7), stream.panel.age, 7, 2.5)
    expected = naive.reversal(closes, t, SECTORS, 7, 2.5, min_names=2, min_obs=10, beta_half_life=30.0)
    np.testing.assert_allclose(rev, expected, rtol=0, atol=1e-12)
    rates = np.full(rows, 0.0001)
    pos = factors.own_trend(
        stream.panel.returns.tail(39), rates[-39:], stream.moments.volatility(), stream.panel.age, 40, 1.5
    )
    np.testing.assert_allclose(pos, naive.own_trend(closes, t, 40, 1.5, rates, 12.0), rtol=1e-12, atol=1e-12)


@given(st.integers(0, 2**31 - 1), st.floats(0, 0.25), st.integers(2, 4))
@settings(max_examples=25, deadline=None)
def test_residuals_streamed_equal_the_whole_panel(seed, holes, min_names):
    closes = random_panel(seed, 50, holes)
    stream = Stream(closes, min_names=min_names)
    expected, _ = naive.residuals(closes, SECTORS, min_names, 10, 30.0)
    np.testing.assert_allclose(stream.market.residuals.all(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        stream.market.specific_volatility(), naive.ewma_volatility(_without_leading_gaps(expected), 12.0), rtol=1e-10
    )


def _without_leading_gaps(residuals):
    """Sessions in which nobody traded do not age the specific variance, as they do not age the betas."""
    return residuals[np.isfinite(residuals).any(axis=1)]


def test_momentum_without_a_lag_uses_the_newest_return():
    returns = np.full((39, 1), 0.0)
    returns[-1] = 0.5
    value = factors.momentum(returns, np.array([100]), 40, 0, 10.0)
    assert value == pytest.approx([0.5])


def test_a_lag_as_long_as_the_window_leaves_nothing_to_multiply():
    value = factors.momentum(np.full((39, 1), 0.01), np.array([100]), 40, 63, 10.0)
    assert value.tolist() == [0.0]


def test_a_name_with_too_few_returns_abstains():
    returns = np.full((39, 2), 0.01)
    returns[:9, 0] = np.nan
    assert np.isnan(factors.momentum(returns, np.array([100, 100]), 40, 5, 10.0)).tolist() == [True, False]
    assert np.isnan(factors.momentum(returns[:0], np.array([100, 100]), 40, 5, 10.0)).all()


def test_an_alone_name_keeps_a_residual():
    values = np.array([0.01, 0.03, 0.02, 0.07, 0.05])
    sectors = np.array([0, 0, 1, -1, -1])
    usable = np.ones(5, dtype=bool)
    assert sector_means(values, sectors, usable, 2) == pytest.approx([0.02, 0.02, 0.0, 0.0, 0.0])
    assert sector_means(values, np.full(5, -1), usable, 2).tolist() == [0.0] * 5


def test_no_market_return_no_residual():
    model = MarketModel(2)
    members = np.ones(2, dtype=bool)
    targets = market_targets(2, 5, 10.0, 10.0)
    assert np.isnan(model.update(np.full(2, np.nan), members, np.array([0, 0]), targets))
    assert np.isnan(model.residuals.all()).all()
    assert np.isnan(model.specific_volatility()).all()


@given(st.integers(0, 2**31 - 1), st.integers(80, 110))
@settings(max_examples=3, deadline=None)
def test_cutting_the_future_never_changes_the_past(seed, cut):
    """Law L3 for every factor, raw value, score and alpha: two engines that share the past agree on it, whatever comes later."""
    rows, n = 120, 9
    rng = np.random.default_rng(seed)
    closes = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (rows, n)), axis=0))
    closes[rng.random((rows, n)) < 0.03] = np.nan
    other = closes.copy()
    other[cut:] *= np.exp(rng.normal(0, 0.1, (rows - cut, n)))
    targets = {
        "strategy": {"MOM_LOOKBACK": 40, "POS_LOOKBACK": 40, "COV_MIN_OBS": 20, "IC_HORIZON": 5, "IC_MIN_OBS": 10}
    }
    recorded = []
    for prices in (closes, other, closes[:cut]):
        world = World(prices, xnys("2016-01-04", rows)[: len(prices)], universe_of(n), targets=targets, fits=False)
        outputs = [world.warmup([row]) for row in range(len(prices))]
        recorded.append(outputs)
    for row in range(cut):
        np.testing.assert_equal(recorded[0][row], recorded[1][row])
        np.testing.assert_equal(recorded[0][row], recorded[2][row])
    scores = np.array(recorded[0][cut - 1]["strategy.signals"]["scores"])
    assert np.isfinite(scores).sum() > n
    assert recorded[0][-1] != recorded[1][-1]


@pytest.mark.parametrize("column", range(3))
def test_raw_signals_of_the_engine_on_real_closes(column):
    """The engine's own raw values on the 20 real closes equal the naive ones."""
    world, outputs, rates = _real_world()
    record = outputs["strategy.signals"]
    raw = np.array(record["raw"]).reshape(3, -1)[column]
    members = [i for i, a in enumerate(world.assets) if a.asset_class == "Equity"]
    closes = world.closes[:320, members]
    if column == 0:
        expected = naive.momentum(closes, 319, 252, 21, 126.0)
    elif column == 1:
        names = sorted({a.sector for a in world.assets if a.sector})
        sectors = np.array([names.index(world.assets[i].sector) for i in members])
        expected = naive.reversal(closes, 319, sectors, 21, 5.0, min_names=2, min_obs=60, beta_half_life=252.0)
    else:
        expected = naive.own_trend(closes, 319, 252, 2.0, rates, 42.0)
    assert np.isfinite(raw).all()
    np.testing.assert_allclose(raw, expected, rtol=1e-12, atol=1e-12)


_REAL: list[Any] = []


def _real_world():
    if not _REAL:
        from tests.strategy_plane.world import demo_world

        world = demo_world(330)
        outputs = world.warmup(range(320))
        percent = []
        for row in range(320):
            newest = max(
                (d for d in range(0, 320, 21) if world.close_time(d) - 86400 * 10**9 <= _end_of(world, row)), default=0
            )
            d = (1.2 + 0.001 * newest) / 100
            percent.append(365 * d / (360 - 91 * d) / 252)
        _REAL.extend([world, outputs, percent])
    return _REAL


def _end_of(world, row):
    from datetime import date

    midnight = (date.fromisoformat(world.sessions[row]) - date(1970, 1, 1)).days * 86400 * 10**9
    return midnight + 86400 * 10**9 - 1


@pytest.mark.parametrize("column", [0, 100, 400])
def test_raw_signals_on_real_members_of_the_index(shared_data, column):
    """S&P 500 members 2013-2018 with their late listings and missing days, a few at a time, against the naive loops."""
    import polars as pl

    frame = pl.read_parquet(shared_data / "daily" / "sp500_cnuge_2013_2018.parquet")
    wide = frame.pivot(on="symbol", index="date", values="close").sort("date").drop("date")
    closes = wide.select(wide.columns[column : column + N]).to_numpy().astype(float)[-420:]
    stream = Stream(closes, min_obs=60, corr=252.0, vol=42.0)
    t = len(closes) - 1
    mom = factors.momentum(stream.panel.returns.tail(251), stream.panel.age, 252, 21, 126.0)
    np.testing.assert_allclose(mom, naive.momentum(closes, t, 252, 21, 126.0), rtol=0, atol=1e-12)
    rev = factors.reversal(stream.market.residuals.tail(21), stream.panel.age, 21, 5.0)
    expected = naive.reversal(closes, t, SECTORS, 21, 5.0, min_names=2, min_obs=60, beta_half_life=252.0)
    np.testing.assert_allclose(rev, expected, rtol=0, atol=1e-12)
    pos = factors.own_trend(
        stream.panel.returns.tail(251), np.full(251, 4e-5), stream.moments.volatility(), stream.panel.age, 252, 2.0
    )
    np.testing.assert_allclose(pos, naive.own_trend(closes, t, 252, 2.0, np.full(420, 4e-5), 42.0), atol=1e-10)
    assert np.isfinite(mom).any()


def test_names_of_signals_are_fixed():
    assert signals.SIGNALS == ("MOM", "REV", "POS")
