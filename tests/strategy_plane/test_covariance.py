"""Covariance: streamed equals pairwise sums over the whole panel, always positive definite, shrunk as the formula says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_plane.risk.covariance import EwmaMoments, estimate, repair, shrink_correlation
from tests.strategy_plane import naive


def random_returns(seed, rows, n, holes):
    rng = np.random.default_rng(seed)
    returns = rng.normal(size=(rows, 1)) * 0.01 + rng.normal(size=(rows, n)) * rng.uniform(0.005, 0.03, n)
    returns[rng.random((rows, n)) < holes] = np.nan
    returns[: rng.integers(0, rows + 1), 0] = np.nan
    return returns


def streamed(returns, vol=20.0, corr=60.0):
    moments = EwmaMoments(returns.shape[1])
    for row in returns:
        moments.update(row, vol, corr)
    return moments


@given(st.integers(0, 2**31 - 1), st.integers(1, 60), st.integers(1, 6), st.floats(0, 0.4))
@settings(deadline=None, max_examples=50)
def test_streamed_moments_equal_the_whole_panel(seed, rows, n, holes):
    """Law L2."""
    returns = random_returns(seed, rows, n, holes)
    moments = streamed(returns)
    np.testing.assert_allclose(moments.volatility(), naive.ewma_volatility(returns, 20.0), rtol=1e-12)
    correlation, effective = naive.correlation(returns, 60.0)
    got, got_effective = moments.raw_correlation()
    np.testing.assert_allclose(got, correlation, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got_effective, effective, rtol=1e-10, atol=1e-12)
    assert moments.count.tolist() == np.isfinite(returns).sum(axis=0).tolist()


@given(st.integers(0, 2**31 - 1), st.integers(1, 80), st.integers(1, 8), st.floats(0, 0.6), st.floats(1e-6, 0.1))
@settings(deadline=None, max_examples=80)
def test_always_positive_definite_with_unit_diagonal(seed, rows, n, holes, floor):
    moments = streamed(random_returns(seed, rows, n, holes))
    result = estimate(moments, np.arange(n), floor)
    assert np.allclose(np.diagonal(result.correlation), 1.0)
    assert np.allclose(result.correlation, result.correlation.T)
    assert np.linalg.eigvalsh(result.correlation)[0] > 0
    np.testing.assert_allclose(result.root @ result.root.T, result.matrix, rtol=1e-9, atol=1e-18)
    assert 0.0 <= result.intensity <= 1.0
    assert (result.sigma > 0).all()


def test_repair_lifts_an_indefinite_matrix_and_leaves_a_good_one():
    bad = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    assert np.linalg.eigvalsh(bad)[0] < 0
    fixed = repair(bad, 1e-3)
    assert np.linalg.eigvalsh(fixed)[0] > 0
    assert np.diagonal(fixed).tolist() == [1.0, 1.0, 1.0]
    assert repair(np.eye(3), 1e-3).tolist() == np.eye(3).tolist()


def test_intensity_is_noise_over_spread():
    correlation = np.array([[1.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 1.0]])
    effective = np.full((3, 3), 101.0)
    shrunk, intensity, mean = shrink_correlation(correlation, effective)
    noise = ((1 - 0.25) ** 2 + (1 - 0.01) ** 2 + (1 - 0.09) ** 2) / 100
    assert mean == pytest.approx(0.3)
    assert intensity == pytest.approx(noise / 0.08)
    assert shrunk[0, 1] == pytest.approx(0.5 - intensity * 0.2)


def test_shrinking_beats_the_raw_estimate_on_short_samples():
    """What it is for: closer to the truth than the raw correlation, in squared error, on average."""
    rng = np.random.default_rng(7)
    n, rows = 15, 60
    load = rng.uniform(0.4, 0.7, n)
    truth = np.outer(load, load)
    np.fill_diagonal(truth, 1.0)
    factor = np.linalg.cholesky(truth)
    raw_error = shrunk_error = 0.0
    for _ in range(40):
        moments = streamed(rng.normal(size=(rows, n)) @ factor.T * 0.01, corr=1e9)
        raw, effective = moments.raw_correlation()
        raw_error += ((raw - truth) ** 2).sum()
        shrunk_error += ((shrink_correlation(raw, effective)[0] - truth) ** 2).sum()
    assert shrunk_error < 0.6 * raw_error


def test_identical_names_and_unknown_pairs():
    same = np.tile(np.linspace(-0.01, 0.02, 30)[:, None], (1, 3))
    result = estimate(streamed(same), np.arange(3), 1e-4)
    assert result.correlation[0, 1] > 0.99
    apart = np.full((40, 2), np.nan)
    apart[:20, 0] = 0.01
    apart[20:, 1] = 0.01
    assert estimate(streamed(apart), np.arange(2), 1e-4).correlation[0, 1] == 0.0


def test_a_name_without_history_is_taken_as_the_wildest():
    returns = np.full((30, 2), np.nan)
    returns[:, 0] = 0.02
    result = estimate(streamed(returns), np.arange(2), 1e-4)
    assert result.sigma.tolist() == pytest.approx([0.02, 0.02])
    assert estimate(EwmaMoments(2), np.arange(2), 1e-4).sigma.tolist() == [0.05, 0.05]


def test_columns_can_be_chosen_and_reordered():
    returns = random_returns(3, 50, 4, 0.1)
    moments = streamed(returns)
    whole = moments.raw_correlation()[0]
    chosen = estimate(moments, np.array([1, 3]), 1e-6)
    assert chosen.sigma.tolist() == moments.volatility()[[1, 3]].tolist()
    moments.reindex([3, -1, 1])
    again = moments.raw_correlation()[0]
    assert again[0, 2] == whole[3, 1]
    assert np.isnan(again[0, 1])
    assert moments.count[1] == 0


def test_state_continues_exactly():
    returns = random_returns(5, 40, 3, 0.2)
    one = streamed(returns[:20])
    two = EwmaMoments.restored(one.state())
    for row in returns[20:]:
        one.update(row, 10.0, 30.0)
        two.update(row, 10.0, 30.0)
    np.testing.assert_equal(one.state(), two.state())


def test_on_real_members_of_the_index(shared_data):
    """505 S&P 500 members 2013-2018, late listings and gaps included: positive definite and near numpy's own on full histories."""
    import polars as pl

    frame = pl.read_parquet(shared_data / "daily" / "sp500_cnuge_2013_2018.parquet")
    wide = frame.pivot(on="symbol", index="date", values="close").sort("date").drop("date")
    closes = wide.select(wide.columns[:60]).to_numpy().astype(float)
    returns = naive.returns(closes)
    moments = streamed(returns, vol=1e9, corr=1e9)
    raw, _ = moments.raw_correlation()
    full = [i for i in range(60) if np.isfinite(returns[1:, i]).all()]
    expected = np.corrcoef(returns[1:, full].T)
    np.testing.assert_allclose(raw[np.ix_(full, full)], expected, atol=0.02)
    result = estimate(moments, np.arange(60), 1e-4)
    assert np.linalg.eigvalsh(result.correlation)[0] > 0
    assert 0.0 < result.intensity < 0.2


@given(st.integers(0, 2**31 - 1), st.integers(1, 120), st.integers(2, 7), st.floats(0, 0.4))
@settings(max_examples=40, deadline=None)
def test_rebuilt_columns_equal_streamed_ones(seed, rows, n, holes):
    """A name whose history came late has the moments of one that was always there; the others' own are not touched."""
    returns = random_returns(seed, rows, n, holes)
    joined = sorted(np.random.default_rng(seed).choice(n, size=max(1, n // 2), replace=False).tolist())
    without = returns.copy()
    without[:, joined] = np.nan
    there, late = streamed(returns), streamed(without)
    kept = late.state()
    late.rebuild(joined, returns, 20.0, 60.0)
    for name, value in there.state().items():
        np.testing.assert_allclose(late.state()[name], value, rtol=1e-9, atol=1e-15, err_msg=name)
    others = [i for i in range(n) if i not in joined]
    np.testing.assert_array_equal(late.state()["cross"][np.ix_(others, others)], kept["cross"][np.ix_(others, others)])
