"""Mixing and scaling to expected returns."""

import numpy as np
import pytest

from strategy_plane.signals.alpha import cost_share, expected_returns, mixing_weights


def test_weights_are_in_proportion_to_the_coefficients():
    assert mixing_weights(np.array([0.03, 0.01, 0.0])).tolist() == pytest.approx([0.75, 0.25, 0.0])
    assert mixing_weights(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_alpha_is_ic_times_volatility_times_score():
    """With weights in proportion to the coefficients, IC * sigma * z is the sum of each signal's own IC * sigma * score."""
    rng = np.random.default_rng(1)
    scores, ic, sigma = rng.normal(size=(3, 7)), np.array([0.05, 0.02, 0.01]), rng.uniform(0.01, 0.05, 7)
    scores[1, 2] = np.nan
    result = expected_returns(scores, mixing_weights(ic), ic, sigma)
    expected = [sum(ic[k] * scores[k, i] * sigma[i] for k in range(3) if np.isfinite(scores[k, i])) for i in range(7)]
    assert result == pytest.approx(expected)


def test_a_name_of_which_no_signal_speaks_has_no_alpha():
    scores = np.array([[1.0, np.nan, 1.0], [np.nan, np.nan, 1.0]])
    sigma = np.array([0.1, 0.1, np.nan])
    ic = np.array([0.02, 0.02])
    assert np.isnan(expected_returns(scores, mixing_weights(ic), ic, sigma)).tolist() == [False, True, True]
    assert expected_returns(scores, np.zeros(2), np.zeros(2), sigma)[0] == 0.0


def test_a_horizon_bears_its_share_of_the_cost():
    half_lives = np.array([100.0, 10.0])
    assert cost_share(np.array([1.0, 0.0]), half_lives, 5) == pytest.approx(0.05)
    assert cost_share(np.array([0.5, 0.5]), half_lives, 5) == pytest.approx(5 * 0.055)
    assert cost_share(np.array([0.0, 1.0]), half_lives, 21) == 1.0
    assert cost_share(np.zeros(2), half_lives, 5) == 1.0
