"""Dividends that the adjusted closes contain and the record lacks, in made histories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.audit import findings as kinds
from data_plane.audit.detector import audit
from data_plane.audit.series import PriceSeries
from tests.data_plane.test_audit import BARS, kinds_of, made, with_dividends

PLACES = range(20, 240, 40)


def rounded(series: PriceSeries, *, adjusted: bool) -> PriceSeries:
    """Prices in cents; the adjusted closes are what the provider has of them, in cents as well or as they are."""
    assert series.adjusted is not None
    prices = np.round(series.prices, 2)
    total = series.adjusted / series.close * prices[:, 3]
    return replace(series, prices=prices, adjusted=np.round(total, 2) if adjusted else total)


@given(
    seed=st.integers(0, 2**32 - 1),
    place=st.sampled_from(PLACES),
    share=st.sampled_from([0.004, 0.01, 0.08]),
    in_cents=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_dividend_that_is_missing_from_the_record_is_found_with_its_amount(
    seed: int, place: int, share: float, in_cents: bool
) -> None:
    series = with_dividends(made(seed), {each: share if each == place else 0.006 for each in PLACES})
    series = rounded(series, adjusted=False) if in_cents else series
    dividends = series.dividends.copy()
    dividends[place] = 0.0
    result = audit(replace(series, dividends=dividends))
    (finding,) = result.findings
    assert (finding.kind, finding.place) == (kinds.DIVIDEND_NOT_RECORDED, place)
    assert finding.repair
    np.testing.assert_allclose(result.mended.dividends, series.dividends, rtol=0.01)


@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.0005, 0.003, 0.02]),
    scale=st.sampled_from([0.02, 0.2, 4.0]),
)
@settings(max_examples=40, deadline=None)
def test_rounding_makes_no_dividend(seed: int, share: float, scale: float) -> None:
    """At a dollar a cent is a per cent."""
    series = with_dividends(made(seed).scaled(slice(0, BARS), scale, volume=False), dict.fromkeys(PLACES, share))
    found = kinds_of(rounded(series, adjusted=True)) + kinds_of(rounded(series, adjusted=False))
    assert [each for each in found if each[0] == kinds.DIVIDEND_NOT_RECORDED] == []


def test_no_amount_is_claimed_where_others_are_contained_otherwise() -> None:
    """Adjustment by the ex-date's close: a step is there, and its amount is not known within a per cent."""
    for seed in range(5):
        series = with_dividends(made(seed, volatility=0.03), dict.fromkeys(PLACES, 0.02))
        adjusted = series.close.copy()
        for place in PLACES:
            adjusted[:place] /= 1.0 + series.dividends[place] / series.close[place]
        dividends = series.dividends.copy()
        dividends[100] = 0.0
        found = audit(replace(series, adjusted=adjusted, dividends=dividends)).findings
        assert [(f.place, f.repair) for f in found if f.kind == kinds.DIVIDEND_NOT_RECORDED] == [(100, "")]


def test_without_any_dividend_on_record_none_is_missing_from_it() -> None:
    series = with_dividends(made(1), dict.fromkeys(PLACES, 0.01))
    assert kinds_of(replace(series, dividends=np.zeros(BARS))) == []


@pytest.mark.parametrize("away", [-6, 5, 12])
def test_a_dividend_on_record_on_another_day_than_it_is_adjusted_for_is_one_finding(away: int) -> None:
    series = with_dividends(made(2), dict.fromkeys(PLACES, 0.008))
    dividends = series.dividends.copy()
    dividends[100], dividends[100 + away] = 0.0, dividends[100]
    broken = replace(series, dividends=dividends)
    result = audit(broken)
    assert [(f.kind, f.place, f.repair) for f in result.findings] == [(kinds.DIVIDEND_DATE, 100 + away, "")]
    assert f"{abs(away)} bars {'later' if away < 0 else 'earlier'}" in result.findings[0].detail
    np.testing.assert_array_equal(result.mended.dividends, dividends)
