"""How far a misapplied split reaches: made histories in which some bars on one side of the split are wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.audit import findings as kinds
from data_plane.audit.detector import audit
from data_plane.audit.series import PriceSeries
from tests.data_plane.test_audit import BARS, made, with_dividends

SPLIT = 130
PAID = {20: 0.006, 60: 0.008, 100: 0.007, 160: 0.009, 220: 0.006}


def paying(seed: int, ratio: float) -> PriceSeries:
    """A history with dividends and a split that is on record and in all its prices."""
    series = with_dividends(made(seed), PAID)
    splits = np.zeros(BARS)
    splits[SPLIT] = ratio
    return replace(series, splits=splits)


def prices_alone(series: PriceSeries, first: int, last: int, factor: float) -> PriceSeries:
    return series.scaled(slice(first, last + 1), factor, volume=False)


@given(
    seed=st.integers(0, 2**32 - 1),
    ratio=st.sampled_from([0.1, 0.25, 2.0, 3.0, 5.0, 7.0]),
    length=st.integers(11, 115),
    before=st.booleans(),
    twice=st.booleans(),
    shares=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_stretch_of_any_length_on_one_side_of_a_split_is_found_to_the_bar(
    seed: int, ratio: float, length: int, before: bool, twice: bool, shares: bool
) -> None:
    """Prices are mended, dividends of right amounts raise nothing, and shares are divided where they were not left alone."""
    series = paying(seed, ratio)
    first, last = (SPLIT - length, SPLIT - 1) if before else (SPLIT, min(SPLIT + length, BARS - 6) - 1)
    broken = series.scaled(slice(first, last + 1), 1.0 / ratio if twice else ratio, volume=shares)
    result = audit(broken)
    expected = kinds.SPLIT_APPLIED_TWICE if twice else kinds.SPLIT_NOT_APPLIED
    assert [(f.kind, f.first, f.last) for f in result.findings] == [(expected, first, last)]
    np.testing.assert_allclose(result.mended.prices, series.prices)
    if ratio != 2.0:  # the noise of a few days' turnover may be a factor of two
        assert ("volume" in result.findings[0].repair) is shares
        np.testing.assert_allclose(result.mended.volume, series.volume)
    np.testing.assert_array_equal(result.mended.dividends, series.dividends)


@given(seed=st.integers(0, 2**32 - 1), ratio=st.sampled_from([2.0, 3.0, 7.0]), length=st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_a_few_bars_whose_shares_were_left_alone_are_found_to_the_bar(seed: int, ratio: float, length: int) -> None:
    series = paying(seed, ratio)
    broken = prices_alone(series, SPLIT - length, SPLIT - 1, ratio)
    result = audit(broken)
    assert [(f.kind, f.first, f.last) for f in result.findings] == [
        (kinds.SPLIT_NOT_APPLIED, SPLIT - length, SPLIT - 1)
    ]
    np.testing.assert_allclose(result.mended.prices, series.prices)
    if "volume" not in result.findings[0].repair:
        np.testing.assert_array_equal(result.mended.volume, broken.volume)


@pytest.mark.parametrize("news", [1.0, 12.0])
@pytest.mark.parametrize("ratio", [2.0, 4.0])
def test_where_the_extent_cannot_be_told_no_repair_is_claimed(ratio: float, news: float) -> None:
    """All before the split is wrong and the price once rose by its ratio, or only the bars since are, and it did not rise."""
    for seed in range(5):
        series = with_dividends(made(seed, shocks={70: float(np.log(ratio))}), {20: 0.006, 100: 0.007, 160: 0.009})
        splits, volume = np.zeros(BARS), series.volume.copy()
        splits[SPLIT] = ratio
        volume[70] *= news
        broken = prices_alone(replace(series, splits=splits, volume=volume), 0, SPLIT - 1, ratio)
        result = audit(broken)
        (finding,) = result.findings
        assert finding.kind == kinds.SPLIT_NOT_APPLIED
        # A move of just the ratio without news would be the fault's other end, but for the dividend before it.
        assert finding.first == (70 if news == 1.0 else 0)
        assert (finding.place, finding.repair) == (SPLIT - 1, "")
        assert "which bars are wrong cannot be told" in finding.detail
        np.testing.assert_array_equal(result.mended.prices, broken.prices)


def test_dividends_before_a_split_without_a_record_are_no_faults() -> None:
    """Amounts in the shares of the time beside prices in others: the level is the fault, not each of them."""
    series = with_dividends(made(3, shocks={120: 0.004}), PAID)
    raw = series.scaled(slice(0, 120), 4.0, volume=True)
    assert [(f.kind, f.place) for f in audit(raw).findings] == [(kinds.SPLIT_NOT_RECORDED, 120)]
