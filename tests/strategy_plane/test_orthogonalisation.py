"""Symmetric orthogonalisation: uncorrelated on the pooled correlation, nearest to what went in, patterns kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_plane.signals.orthogonalisation import SignalMoments, inverse_root, orthogonalise


def naive_moments(sessions, half_life):
    """EWMA of each pair's mean product over names that had both, pair by pair."""
    k = sessions[0].shape[0]
    decay = 2 ** (-1 / half_life)
    out = np.zeros((k, k))
    for a in range(k):
        for b in range(k):
            top = bottom = 0.0
            for age, scores in enumerate(reversed(sessions)):
                both = np.isfinite(scores[a]) & np.isfinite(scores[b])
                if both.any():
                    top += decay**age * np.mean(scores[a, both] * scores[b, both])
                    bottom += decay**age
            out[a, b] = top / bottom if bottom else 0.0
    return out


def random_sessions(seed, sessions=8, k=3, n=10, holes=0.2):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(k, k))
    result = []
    for _ in range(sessions):
        scores = mix @ rng.normal(size=(k, n))
        scores[rng.random((k, n)) < holes] = np.nan
        result.append(scores)
    return result


@given(st.integers(0, 2**31 - 1), st.floats(5, 500), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_pooled_correlation_streamed_equals_the_naive_one(seed, half_life, shrink):
    """Law L2."""
    sessions = random_sessions(seed)
    moments = SignalMoments(3)
    for scores in sessions:
        moments.update(scores, half_life)
    pooled = naive_moments(sessions, half_life)
    scale = np.sqrt(np.diagonal(pooled))
    expected = np.clip(pooled / np.outer(scale, scale), -1, 1) * (1 - shrink)
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(moments.correlation(shrink), expected, atol=1e-12)
    np.testing.assert_allclose(moments.scale(), scale, atol=1e-12)


def test_nothing_known_yet_is_the_identity():
    moments = SignalMoments(2)
    moments.update(np.full((2, 4), np.nan), 10.0)
    assert moments.correlation(0.1).tolist() == np.eye(2).tolist()
    assert moments.scale().tolist() == [1.0, 1.0]


def test_orthogonal_scores_are_uncorrelated_and_symmetric():
    rng = np.random.default_rng(1)
    scores = np.array([[1.0, 0.6, 0.2], [0.0, 0.8, 0.3], [0.0, 0.0, 0.9]]).T @ rng.normal(size=(3, 5000))
    moments = SignalMoments(3)
    moments.update(scores, 10.0)
    result = orthogonalise(scores, moments.correlation(0.0), moments.scale())
    np.testing.assert_allclose(result @ result.T / 5000, np.eye(3), atol=1e-10)
    # Loewdin's transform is the symmetric one: each output is closest to its own input
    cross = result @ (scores / moments.scale()[:, None]).T
    np.testing.assert_allclose(cross, cross.T, atol=1e-6)


def test_each_pattern_uses_its_own_correlation():
    correlation = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]])
    scores = np.array([[1.0, np.nan, 1.0, np.nan], [2.0, 2.0, np.nan, np.nan], [3.0, 3.0, np.nan, np.nan]])
    result = orthogonalise(scores, correlation, np.ones(3))
    assert np.array_equal(np.isnan(result), np.isnan(scores))
    assert result[:, 0] == pytest.approx(inverse_root(correlation) @ [1, 2, 3])
    assert result[1:, 1] == pytest.approx(inverse_root(correlation[1:, 1:]) @ [2, 3])
    assert result[0, 2] == 1.0


def test_collinear_signals_stay_finite():
    result = orthogonalise(np.ones((2, 3)), np.ones((2, 2)), np.ones(2))
    assert np.isfinite(result).all()
    assert np.abs(result).max() < 1.0


def test_state_continues_exactly():
    one = SignalMoments(3)
    sessions = random_sessions(4)
    for scores in sessions[:4]:
        one.update(scores, 20.0)
    two = SignalMoments.restored(one.state())
    for moments in (one, two):
        for scores in sessions[4:]:
            moments.update(scores, 30.0)
    np.testing.assert_array_equal(one.correlation(0.1), two.correlation(0.1))
