"""The cost formula: signs, units and the square-root law."""

from __future__ import annotations

import pytest

from triplane.domain.costs import SESSION_SECONDS, expected_cost, impact_unit, shortfall, timing_sd


def test_shortfall_is_a_cost_when_positive():
    assert shortfall(1, 101.0, 100.0) == pytest.approx(0.01)
    assert shortfall(-1, 99.0, 100.0) == pytest.approx(0.01)
    assert shortfall(-1, 101.0, 100.0) == pytest.approx(-0.01)


def test_square_root_law():
    assert impact_unit(0.02, 4e4, 1e6) == pytest.approx(2 * impact_unit(0.02, 1e4, 1e6))
    assert expected_cost(1e4, 1e6, 0.02, half_spread=1e-4, linear=2e-4, impact=1.0) == pytest.approx(3e-4 + 0.02 * 0.1)


def test_timing_sd_of_a_whole_session_is_sigma_over_root_three():
    assert timing_sd(0.03, SESSION_SECONDS) == pytest.approx(0.03 / 3**0.5)
    assert timing_sd(0.03, -1.0) == 0.0
