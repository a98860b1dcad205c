"""Scores: standardised as the naive computation, neutral to what they should be neutral to, and abstaining where they must."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_plane.signals import scores
from tests.strategy_plane import naive

# Rounded: between names that differ by 1e-300 there is no spread to speak of, and nothing to compare.
numbers = st.floats(-1e3, 1e3).map(lambda value: round(value, 6))
values = st.lists(st.one_of(st.just(float("nan")), numbers), min_size=1, max_size=40).map(np.array)


@given(values, st.floats(1, 10))
@settings(deadline=None)
def test_standardise_equals_the_naive_one(sample, limit):
    result = scores.standardise(sample, limit)
    if np.isnan(result).all():
        finite = sample[np.isfinite(sample)]
        assert (
            len(finite) < 3 or np.ptp(finite) <= 1e-6 * max(1e-300, abs(np.median(finite))) or np.std(finite) < 1e-290
        )
        return
    np.testing.assert_allclose(result, naive.standardise(sample, limit), rtol=1e-7, atol=1e-7)
    assert np.array_equal(np.isnan(result), ~np.isfinite(sample))
    assert np.nanmean(result) == pytest.approx(0, abs=1e-9)
    assert np.nanmean(result**2) == pytest.approx(1)


def test_one_wild_value_does_not_widen_its_own_limit():
    sample = np.append(np.linspace(-1, 1, 21), 1e9)
    result = scores.standardise(sample, 3.0)
    assert result[-1] < 4
    assert np.std(result[:-1]) > 0.7


def random_case(seed, n=20):
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=n)
    raw[rng.random(n) < 0.1] = np.nan
    size = rng.normal(size=n)
    size[rng.random(n) < 0.1] = np.nan
    return raw, rng.uniform(0.5, 1.5, n), size, rng.integers(-1, 5, n)


@given(st.integers(0, 2**31 - 1))
@settings(deadline=None)
def test_scores_are_neutral_to_market_sector_and_size(seed):
    raw, beta, size, sectors = random_case(seed)
    usable = np.isfinite(raw) & np.isfinite(size)
    z = scores.standardise(np.where(usable, raw, np.nan), 3.0)
    exposures = scores.exposure_matrix(beta, size, sectors, usable, 2)
    result = scores.neutralise(z, exposures)
    if np.isnan(result).all():
        assert np.linalg.matrix_rank(exposures[usable]) >= usable.sum()
        return
    assert np.array_equal(np.isfinite(result), usable)
    kept = np.where(usable, result, 0.0)
    assert np.abs(kept @ np.where(usable, beta, 0)) < 1e-8
    assert np.abs(kept @ np.where(usable, np.nan_to_num(size), 0)) < 1e-8
    for sector in range(5):
        members = usable & (sectors == sector)
        if members.sum() >= 2:
            assert abs(kept[members].sum()) < 1e-8
    assert np.mean(result[usable] ** 2) == pytest.approx(1)


def test_a_name_alone_in_its_sector_keeps_a_score():
    rng = np.random.default_rng(3)
    n = 13
    sectors = np.array([i % 4 for i in range(12)] + [4])
    result = scores.cross_sectional(rng.normal(size=n), rng.uniform(0.5, 1.5, n), rng.normal(size=n), sectors, 3.0, 2)
    assert abs(result[-1]) > 1e-3


def test_a_larger_minimum_leaves_small_sectors_alone():
    usable = np.ones(6, dtype=bool)
    sectors = np.array([0, 0, 0, 1, 1, -1])
    assert scores.exposure_matrix(np.ones(6), np.ones(6), sectors, usable, 2).shape == (6, 4)
    assert scores.exposure_matrix(np.ones(6), np.ones(6), sectors, usable, 3).shape == (6, 3)


def test_abstains_when_nothing_is_left():
    z = np.array([1.0, -1.0, 0.0])
    assert np.isnan(scores.neutralise(z, np.eye(3))).all()
    assert np.isnan(scores.neutralise(z[:2], np.ones((2, 1)))).all()
    assert np.isnan(scores.standardise(np.full(5, 2.0), 3.0)).all()


def test_scores_stay_within_the_limit():
    raw = np.append(np.linspace(-1, 1, 30), 50.0)
    n = len(raw)
    result = scores.cross_sectional(raw, np.ones(n), np.linspace(-1, 1, n), np.zeros(n, dtype=np.int64), 1.5, 2)
    assert np.abs(result).max() <= 1.5
