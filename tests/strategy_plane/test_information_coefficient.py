"""Information coefficients against naive sums, their errors against the double sum, and the truth where it is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_plane.signals.information_coefficient import (
    InformationCoefficients,
    outcomes,
    session_moments,
    shrink,
    weighted_mean_and_error,
)
from tests.strategy_plane import naive


@given(st.integers(0, 2**31 - 1), st.integers(1, 60), st.integers(0, 12))
@settings(deadline=None, max_examples=60)
def test_error_equals_the_double_sum(seed, rows, lags):
    rng = np.random.default_rng(seed)
    series = rng.normal(size=(rows, 2))
    series[rng.random((rows, 2)) < 0.2] = np.nan
    series[rng.integers(rows)] = 0.5
    weights = 0.97 ** np.arange(rows)[::-1]
    mean, error = weighted_mean_and_error(series, weights, lags)
    for k in range(2):
        expected = naive.newey_west(series[:, k], weights, lags)
        assert (mean[k], error[k]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_signal_never_seen_has_no_mean():
    mean, error = weighted_mean_and_error(np.full((5, 1), np.nan), np.ones(5), 2)
    assert np.isnan(mean).all()
    assert np.isnan(error).all()


def naive_moments(scores, outcome):
    rows = []
    for z in scores:
        pairs = [(a, b) for a, b in zip(z, outcome, strict=True) if np.isfinite(a) and np.isfinite(b)]
        if not pairs:
            rows.append([np.nan] * 4)
            continue
        a, b = np.array(pairs).T
        corr = np.corrcoef(a, b)[0, 1] if len(pairs) > 2 and np.std(a) > 0 and np.std(b) > 0 else np.nan
        rows.append([np.mean(a * b), np.mean(a * a), np.mean(b * b), corr])
    return np.array(rows)


@given(st.integers(0, 2**31 - 1), st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_session_moments_equal_the_naive_ones(seed, n):
    rng = np.random.default_rng(seed)
    scores, outcome = rng.normal(size=(3, n)), rng.normal(size=n)
    scores[rng.random((3, n)) < 0.3] = np.nan
    outcome[rng.random(n) < 0.2] = np.nan
    np.testing.assert_allclose(session_moments(scores, outcome), naive_moments(scores, outcome), rtol=1e-7, atol=1e-9)


def test_outcomes_are_residual_returns_over_specific_volatility():
    residuals = np.array([[0.01, np.nan, np.nan, 0.01], [0.02, 0.01, np.nan, 0.01]])
    result = outcomes(residuals, np.array([0.01, 0.01, 0.01, 0.0]))
    np.testing.assert_allclose(result, [0.03 / (0.01 * 2**0.5), 0.01 / (0.01 * 2**0.5), np.nan, np.nan])


def simulate(n, sessions, true_ic, seed, horizon=5):
    """Scores whose next-horizon residual return has correlation `true_ic` with the first signal and none with the second."""
    rng = np.random.default_rng(seed)
    coefficients = InformationCoefficients(2, n)
    sigma = np.full(n, 0.02)
    scores = rng.normal(size=(2, n))
    residuals = np.zeros((0, n))
    for _ in range(sessions):
        scores = 0.9 * scores + np.sqrt(1 - 0.81) * rng.normal(size=(2, n))
        residual = sigma * (true_ic / np.sqrt(horizon) * scores[0] + rng.normal(size=n))
        residuals = np.vstack([residuals, residual])[-horizon:]
        coefficients.update(scores, sigma, residuals, horizon)
    return coefficients


@pytest.mark.parametrize("n", [20, 60])
def test_finds_a_known_coefficient_in_small_and_large_classes(n):
    mean, error, count = simulate(n, 1200, 0.15, 5).estimate(400.0, 5, n)
    assert count.tolist() == [1195, 1195]
    assert 0.05 < mean[0] < 0.2
    assert abs(mean[1]) < 3 * error[1]
    assert 0.004 < error[1] < 0.04
    assert mean[0] > 3 * error[0]


def test_the_error_covers_what_overlap_does():
    """Over seeds, the spread of the estimate is what the Newey-West error says, where an error without lags is too small."""
    estimates, errors, naive_errors = [], [], []
    for seed in range(60):
        coefficients = simulate(10, 400, 0.0, seed)
        mean, error, _ = coefficients.estimate(1e9, 5, 10)
        estimates.append(mean[1])
        errors.append(error[1])
        series = coefficients._moments.all().reshape(-1, 2, 4)[5:, 1, 0]
        naive_errors.append(np.std(series) / np.sqrt(len(series)))
    spread = np.std(estimates)
    assert 0.7 < np.mean(errors) / spread < 1.3
    assert np.mean(naive_errors) / spread < 0.75


def test_before_the_first_session_nothing_is_known():
    mean, error, count = InformationCoefficients(2, 3).estimate(10.0, 5, 3)
    assert np.isnan(mean).all()
    assert np.isnan(error).all()
    assert count.tolist() == [0, 0]


def test_judges_the_scores_of_a_horizon_ago():
    coefficients = InformationCoefficients(1, 3)
    sigma = np.full(3, 1.0)
    old = np.array([[1.0, 2.0, -1.0]])
    coefficients.update(old, sigma, np.zeros((1, 3)), 2)
    coefficients.update(np.zeros((1, 3)), sigma, np.zeros((2, 3)), 2)
    residuals = np.array([[0.1, 0.2, 0.3], [0.1, -0.2, 0.1]])
    coefficients.update(np.zeros((1, 3)), sigma, residuals, 2)
    outcome = residuals.sum(axis=0) / np.sqrt(2)
    moments = coefficients._moments.all()
    assert np.isnan(moments[:2]).all()
    np.testing.assert_allclose(moments[2].reshape(1, 4), naive_moments(old, outcome))


def test_shrinks_by_the_standard_error_and_floors_at_zero():
    mean, error = np.array([0.10, 0.10, -0.5, 0.1, np.nan]), np.array([0.03, 0.0, 0.0, 0.03, np.nan])
    count = np.array([100, 100, 100, 5, 100])
    result = shrink(mean, error, count, prior=0.02, prior_sd=0.03, min_obs=60)
    assert result == pytest.approx([0.06, 0.10, 0.0, 0.02, 0.02])


def test_state_and_reindex_continue_exactly():
    one = simulate(4, 12, 0.1, 1)
    two = InformationCoefficients.restored(one.state())
    rng = np.random.default_rng(2)
    step = (rng.normal(size=(2, 4)), np.ones(4), rng.normal(size=(5, 4)), 5)
    one.update(*step)
    two.update(*step)
    np.testing.assert_equal(one.state(), two.state())
    one.reindex([3, -1, 0, 1, 2])
    assert one._scores.at(0).reshape(2, 5)[:, 0].tolist() == step[0][:, 3].tolist()
    assert np.isnan(one._scores.at(0).reshape(2, 5)[:, 1]).all()
