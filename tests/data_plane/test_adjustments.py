"""What two price series tell of dividends and splits: nothing that rounding could have made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.adjustments import Split, dividends, roundest, rounding_errors, split
from data_plane.observations import Floats


def walk(seed: int, days: int, price: float) -> Floats:
    """Closes on cents."""
    moves = np.random.default_rng(seed).normal(0.0, 0.015, days)
    return np.maximum(np.round(price * np.exp(np.cumsum(moves)), 2), 0.05)


def adjusted_for(closes: Floats, paid: dict[int, float]) -> Floats:
    """Closes without the falls of the dividends, by place of the ex-date; one at the end has its ex-date on the day after."""
    factor = np.ones(len(closes))
    for place, amount in paid.items():
        factor[:place] *= 1.0 - amount / closes[place - 1]
    return closes * factor


PAID = st.dictionaries(st.integers(4, 200), st.floats(0.0005, 0.05), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(1.0, 500.0), PAID, st.sampled_from([2, 3, 4]), st.booleans(), st.booleans())
def test_whatever_is_certain_was_paid(
    seed: int, price: float, paid: dict[int, float], digits: int, split_since: bool, begun: bool
) -> None:
    """Also where closes themselves were rounded after a split, so that neither series is exact."""
    closes = walk(seed, 200, price)
    apart = [place for place in sorted(paid) if not any(0 < place - other < 4 for other in paid)]
    amounts = {place: paid[place] * closes[place - 1] for place in apart if begun or place < 200}
    adjusted = adjusted_for(closes, amounts)
    if split_since:
        closes, adjusted = closes / 3.0, adjusted / 3.0
        amounts = {place: amount / 3.0 for place, amount in amounts.items()}
    closes, adjusted = np.round(closes, digits), np.round(adjusted, digits)
    if min(closes.min(), adjusted.min()) <= 0.0:
        return
    found = dividends(closes, adjusted, now_is_unadjusted=begun)
    # A payment of less than a step of the prices is in none of them, and may be taken for part of the next.
    hidden = sum(amount for place, amount in amounts.items() if place not in {each.place for each in found.certain})
    for each in found.certain:
        assert each.place in amounts
        assert each.low <= each.amount <= each.high
        assert abs(each.amount - amounts[each.place]) <= 0.15 * amounts[each.place] + 1.1 * hidden
    # What is far above a cent is seen.
    if all(amount > 0.08 for amount in amounts.values()):
        assert {place for place in amounts if place > 20} <= {each.place for each in found.certain} | set(found.unsure)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 500.0), st.floats(0.2, 1.0), st.sampled_from([2, 3, 4]))
def test_rounding_alone_is_no_dividend(seed: int, price: float, factor: float, digits: int) -> None:
    """Whatever the factor that later payments left."""
    closes = walk(seed, 120, price)
    found = dividends(closes, np.maximum(np.round(closes * factor, digits), 10.0**-digits))
    assert found.certain == []


def test_a_dividend_is_told_with_its_day_and_amount() -> None:
    closes = walk(1, 120, 45.0)
    adjusted = np.round(adjusted_for(closes, {40: 0.37, 100: 0.39}), 2)
    found = dividends(closes, adjusted)
    assert [(each.place, each.amount) for each in found.certain] == [(40, 0.37), (100, 0.39)]
    assert found.unsure == []


def test_the_ex_date_may_be_the_day_that_has_just_begun() -> None:
    closes = walk(2, 60, 45.0)
    adjusted = np.round(adjusted_for(closes, {60: 0.37}), 2)
    assert dividends(closes, adjusted).certain == []
    assert [(each.place, each.amount) for each in dividends(closes, adjusted, now_is_unadjusted=True).certain] == [
        (60, 0.37)
    ]


def test_one_close_that_the_series_do_not_share_is_no_dividend() -> None:
    closes = walk(3, 60, 45.0)
    adjusted = np.round(adjusted_for(closes, {40: 0.37}), 2)
    for place in (10, 50, 59):
        adjusted[place] *= 0.99
        assert [each.place for each in dividends(closes, adjusted, now_is_unadjusted=True).certain] == [40]


def test_an_adjustment_upwards_is_no_payment() -> None:
    closes = walk(4, 60, 45.0)
    adjusted = closes.copy()
    adjusted[:30] *= 1.02
    found = dividends(closes, adjusted)
    assert (found.certain, found.unsure) == ([], [30])


def test_too_few_days_tell_nothing() -> None:
    closes = walk(5, 3, 45.0)
    assert dividends(closes, closes * np.array([0.9, 1.0, 1.0])) == ([], [])


@pytest.mark.parametrize(
    ("low", "high", "amount"), [(0.3688, 0.3711, 0.37), (0.2481, 0.2493, 0.249), (0.0621, 0.0629, 0.0625)]
)
def test_amounts_are_round(low: float, high: float, amount: float) -> None:
    assert roundest(low, high) == amount


def test_the_rounding_of_prices_is_that_of_those_around_them() -> None:
    """Below a dollar a provider may round more finely; that says nothing of the dearer days."""
    closes = np.concatenate([walk(6, 60, 45.0), np.round(walk(7, 60, 0.5) + 0.0013, 4)])
    errors = rounding_errors(closes)
    assert errors[:49] == pytest.approx(0.005, rel=0.02)
    assert errors[71:] == pytest.approx(0.00005, rel=0.02)


RATIOS = [2.0, 3.0, 1.5, 7.0, 20.0, 50.0, 1.25, 1.05, 0.5, 0.1, 1.0 / 12.0, 1.0 / 30.0]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(20.0, 500.0), st.sampled_from(RATIOS), st.integers(3, 10))
def test_a_split_is_told_by_its_ratio(seed: int, price: float, ratio: float, days: int) -> None:
    closes = walk(seed, 10, price)
    reloaded = np.where(np.arange(10) < days, np.round(closes / ratio, 4), closes)
    found = split(closes, reloaded)
    assert found is not None
    assert found.place == days
    assert found.ratio == pytest.approx(ratio, rel=1e-12)


def test_no_usual_ratio_is_said_so() -> None:
    closes = walk(8, 10, 100.0)
    found = split(closes, np.round(closes / 1.2817, 4))
    assert found is not None
    assert found.place == 10
    assert math.isnan(found.ratio)


@pytest.mark.parametrize("places", [[], [0], [0, 1], [9], [4], [0, 1, 2, 3, 5, 6, 7, 8, 9]])
def test_corrected_closes_are_no_split(places: list[int]) -> None:
    """Nor are two days, nor most of them."""
    closes = walk(9, 10, 100.0)
    reloaded = closes.copy()
    reloaded[places] /= 2.0
    assert split(closes, reloaded) is None


def test_closes_that_differ_each_in_its_own_way_are_no_split() -> None:
    closes = walk(10, 10, 100.0)
    assert split(closes, closes / np.linspace(1.9, 2.1, 10)) is None


def test_a_split_before_and_after_bounds_nothing_else() -> None:
    assert Split(3, 2.0) == split(np.array([100.0, 101.0, 102.0]), np.array([50.0, 50.5, 51.0]))
