"""What is suggested for a bar that a gate took out."""

from __future__ import annotations

import math
from typing import Any

import pytest

from data_plane.gates.repairs import suggested

GOOD = {"open": 10.0, "high": 10.4, "low": 9.9, "close": 10.2}


def times(factor: float, *names: str) -> dict[str, float]:
    return {name: value * (factor if name in names or not names else 1.0) for name, value in GOOD.items()}


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_a_bar_in_the_wrong_unit_is_brought_to_the_last_good_close(factor: float) -> None:
    repair = suggested("UNIT_100X", times(factor), 10.1)
    assert repair is not None
    assert dict(repair.values) == pytest.approx(GOOD)
    assert "the bar is a hundred times off the last good close of 10.1" in repair.reason


def test_single_prices_in_the_wrong_unit_are_told_by_name() -> None:
    repair = suggested("UNIT_100X", times(0.01, "low"), 10.1)
    assert repair is not None
    assert dict(repair.values) == pytest.approx({"low": 9.9})
    assert repair.reason.startswith("low is a hundred times off")
    repair = suggested("UNIT_100X", times(100.0, "open", "high"), 10.1)
    assert repair is not None
    assert repair.reason.startswith("open, high are")


@pytest.mark.parametrize("last", [math.nan, 0.0, -1.0, 55.0])
def test_without_a_level_to_compare_with_there_is_no_repair(last: float) -> None:
    assert suggested("UNIT_100X", times(100.0), last) is None


def test_a_bar_on_the_level_of_the_last_close_needs_none() -> None:
    assert suggested("UNIT_100X", GOOD, 10.1) is None


def test_exchanged_and_narrow_ranges_are_mended() -> None:
    repair = suggested("HIGH_BELOW_LOW", GOOD | {"high": 9.9, "low": 10.4})
    assert repair is not None
    assert dict(repair.values) == {"high": 10.4, "low": 9.9}
    assert suggested("HIGH_BELOW_LOW", GOOD | {"high": 9.0, "low": 9.5}) is None
    repair = suggested("OUTSIDE_RANGE", GOOD | {"open": 10.9})
    assert repair is not None
    assert dict(repair.values) == {"high": 10.9}


@pytest.mark.parametrize("code", ["PRICE_SPIKE", "PRICE_NOT_POSITIVE", "VOLUME_NEGATIVE", "", "SCHEMA_SHAPE"])
def test_what_only_a_person_can_tell_has_no_repair(code: str) -> None:
    assert suggested(code, GOOD, 10.1) is None


def test_a_range_is_not_widened_to_hold_a_price_in_another_unit() -> None:
    repair = suggested("OUTSIDE_RANGE", GOOD | {"open": 1000.0}, 10.1)
    assert repair is not None
    assert dict(repair.values) == {"open": 10.0}
    assert suggested("OUTSIDE_RANGE", GOOD | {"close": 0.9}, 10.1) is None


@pytest.mark.parametrize(
    ("code", "came", "last", "wap"),
    [
        ("UNIT_100X", times(100.0) | {"wap": 1010.0}, 10.1, pytest.approx(10.1)),
        ("UNIT_100X", times(100.0) | {"wap": 10.1}, 10.1, None),  # in the right unit, as it came
        ("UNIT_100X", times(100.0) | {"wap": 5.0}, 10.1, pytest.approx(math.nan, nan_ok=True)),
        ("UNIT_100X", times(100.0, "high") | {"wap": 200.0}, 10.1, pytest.approx(math.nan, nan_ok=True)),
        ("UNIT_100X", times(100.0) | {"wap": math.nan}, 10.1, None),
        ("HIGH_BELOW_LOW", GOOD | {"high": 9.9, "low": 10.4, "wap": 11.0}, math.nan, pytest.approx(math.nan, nan_ok=True)),
        ("HIGH_BELOW_LOW", GOOD | {"high": 9.9, "low": 10.4, "wap": 10.0}, math.nan, None),
    ],
)  # fmt: skip
def test_the_average_price_is_repaired_with_the_prices_or_not_known(
    code: str, came: dict[str, float], last: float, wap: Any
) -> None:
    repair = suggested(code, came, last)
    assert repair is not None
    assert repair.values.get("wap") == wap
