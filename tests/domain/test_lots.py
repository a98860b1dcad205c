"""Rounding never breaks a limit, whatever the sizes."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from triplane.domain.lots import is_whole, round_price, round_quantity, whole_lots

lots = st.sampled_from([1.0, 100.0, 0.1, 0.0001, 1e-8, 0.25, 3.0, 1000.0])
quantities = st.floats(-1e9, 1e9)


def exact(value: float) -> Fraction:
    """The number a person means by a float: its shortest decimal form."""
    return Fraction(Decimal(repr(value)))


@given(quantities, lots)
def test_towards_zero_is_a_whole_number_of_lots_and_adds_nothing(quantity: float, lot: float):
    rounded = round_quantity(quantity, lot)
    assert is_whole(rounded, lot)
    assert abs(rounded) <= abs(quantity)
    assert rounded * quantity >= 0
    assert exact(abs(quantity)) - exact(abs(rounded)) < exact(lot) * (1 + Fraction(1, 10**6))
    assert whole_lots(quantity, lot) == int(abs(exact(quantity)) / exact(lot))


@given(quantities, lots)
def test_nearest_is_at_most_half_a_lot_away(quantity: float, lot: float):
    rounded = round_quantity(quantity, lot, rounding="nearest")
    assert is_whole(rounded, lot)
    assert abs(exact(rounded) - exact(quantity)) <= exact(lot) / 2 * (1 + Fraction(1, 10**6))


@given(quantities, lots, st.floats(-1e9, 1e9), st.floats(0, 1e9), st.sampled_from(["zero", "nearest"]))
def test_limits_hold_exactly(quantity: float, lot: float, smallest: float, width: float, rounding):
    largest = smallest + width
    try:
        rounded = round_quantity(quantity, lot, rounding=rounding, largest=largest, smallest=smallest)
    except ValueError:
        # Only when really no multiple lies inside.
        assert math.floor(exact(largest) / exact(lot)) < math.ceil(exact(smallest) / exact(lot))
        return
    assert smallest <= rounded <= largest
    assert is_whole(rounded, lot)


@given(quantities, lots, st.floats(0, 1e9))
def test_one_sided_limits_hold(quantity: float, lot: float, limit: float):
    assert round_quantity(quantity, lot, rounding="nearest", largest=limit) <= limit
    assert round_quantity(quantity, lot, rounding="nearest", smallest=-limit) >= -limit


@given(st.floats(-1e6, 1e6), st.sampled_from([0.01, 0.0001, 0.00005, 0.25, 1 / 32, 5.0]))
def test_a_price_is_on_the_grid_and_never_worse(price: float, tick: float):
    buy, sell = round_price(price, tick, "BUY"), round_price(price, tick, "SELL")
    assert buy <= price <= sell
    assert is_whole(buy, tick)
    assert is_whole(sell, tick)
    assert exact(sell) - exact(buy) <= exact(tick) * (1 + Fraction(1, 10**6))
    assert round_price(buy, tick, "BUY") == round_price(buy, tick, "SELL") == buy


@pytest.mark.parametrize(
    ("rounded", "wanted"),
    [
        (round_quantity(0.3, 0.1), 0.3),  # 0.3 // 0.1 is 2 in binary
        (round_quantity(29.9, 1), 29.0),
        (round_quantity(-29.9, 1), -29.0),
        (round_quantity(-0.4, 1), 0.0),
        (round_quantity(7.6, 1, rounding="nearest", largest=7.9), 7.0),
        (round_quantity(-7.6, 1, rounding="nearest", smallest=-7.9), -7.0),
        (round_quantity(2.5, 1, rounding="nearest"), 2.0),
        (round_quantity(3.5, 1, rounding="nearest"), 4.0),
        (round_quantity(10, 1, largest=-3), -3.0),
        (round_price(10.016, 0.01, "BUY"), 10.01),
        (round_price(10.011, 0.01, "SELL"), 10.02),
        (round_price(10.01, 0.01, "BUY"), 10.01),
        (round_price(0.004, 0.01, "BUY"), 0.0),
        (round_price(1.10503, 0.00005, "BUY"), 1.105),
    ],
)
def test_examples(rounded: float, wanted: float):
    assert rounded == wanted
    assert math.copysign(1, rounded) == math.copysign(1, wanted)  # no negative zero


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e19])
def test_what_is_no_quantity_is_refused(bad: float):
    with pytest.raises(ValueError, match="cannot be rounded"):
        round_quantity(bad, 1)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_lot_or_tick_is_refused(bad: float):
    with pytest.raises(ValueError, match=r"lot size .* is not a positive number"):
        round_quantity(1, bad)
    with pytest.raises(ValueError, match=r"tick .* is not a positive number"):
        round_price(1, bad, "BUY")


def test_limits_without_a_lot_between_them_are_refused():
    with pytest.raises(ValueError, match="no multiple of lot 100"):
        round_quantity(150, 100.0, largest=180, smallest=120)


@given(st.floats(0.01, 1e6), lots)
def test_is_whole_tells_lots_from_their_halves(scale: float, lot: float):
    assume(scale / lot < 1e9)
    rounded = round_quantity(scale, lot)
    assert is_whole(rounded, lot)
    assert not is_whole(rounded + lot / 2, lot)
