"""Whole lots: rounding never breaks a limit, or the barrier holds."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_plane.portfolio import rounding
from strategy_plane.portfolio.limits import Limits

TOLERANCE = 1e-6


def random_case(seed):
    """Feasible weights that touch their limits, with lots from a thousandth to a tenth of NAV."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    unit = rng.uniform(10, 500, n) / rng.choice([1e4, 1e5, 1e6])
    lot = rng.choice([1.0, 1.0, 100.0, 0.5], n)
    position = np.round(rng.normal(0, 0.05, n) / unit / lot) * lot
    current = position * unit
    weights = current + rng.normal(0, 0.05, n)
    free = rng.random(n) < 0.9
    weights = np.where(free, weights, current)
    root = np.linalg.cholesky(0.0001 * (0.7 * np.eye(n) + 0.3))
    slack = rng.choice([0.0, 0.0, 0.01])
    limits = Limits(
        current=current,
        free=free,
        haircut=np.ones(n),
        gross=float(np.abs(weights).sum()) + slack,
        net=abs(float(weights.sum())) + slack,
        volatility=float(np.sqrt(((weights @ root) ** 2).sum())) + slack * 0.01,
        box=np.maximum(np.where(free, weights, 1.0), 0.0) + slack,
        short=np.maximum(np.where(free, -weights, 1.0), 0.0) + slack,
        participation=np.abs(weights - current) + slack + rng.choice([0.0, 0.05]) + lot * unit,
        root=np.asarray(root, dtype=np.float64),
    )
    return weights, limits, position, unit, lot


@given(st.integers(0, 2**31 - 1), st.sampled_from([0.0, 0.001, 0.02]))
@settings(deadline=None, max_examples=400)
def test_rounding_never_breaks_a_limit(seed, band):
    weights, limits, position, unit, lot = random_case(seed)
    assert limits.respected(weights, TOLERANCE)
    result = rounding.to_lots(weights, limits, position, unit, lot, np.zeros(len(lot)), band=band, tolerance=TOLERANCE)
    if result is None:
        return
    assert limits.respected(result * unit, TOLERANCE)
    assert np.array_equal(result[~limits.free], position[~limits.free])
    lots = result / lot
    moved = result != position
    np.testing.assert_allclose(lots[moved], np.round(lots[moved]), atol=1e-6)


def test_most_cases_are_rounded():
    outcomes = []
    for seed in range(300):
        weights, limits, position, unit, lot = random_case(seed)
        result = rounding.to_lots(
            weights, limits, position, unit, lot, np.zeros(len(lot)), band=0.001, tolerance=TOLERANCE
        )
        outcomes.append(result is not None)
    assert np.mean(outcomes) > 0.9


def limits_of(n=2, **changes):
    fields: dict[str, Any] = {
        "current": np.zeros(n), "free": np.ones(n, dtype=bool), "haircut": np.ones(n), "gross": 1.0, "net": 1.0,
        "volatility": 1.0, "box": np.ones(n), "short": np.ones(n), "participation": np.ones(n), "root": 0.01 * np.eye(n),
    } | changes  # fmt: skip
    return Limits(**fields)


def test_quantise():
    assert rounding.quantise(np.array([0.1234564999, 0.25 - 1e-10, -0.1])).tolist() == [0.123456, 0.25, -0.1]


def test_lots_are_rounded_towards_zero_and_whole_ones_kept():
    unit, lot = np.array([0.001, 0.001]), np.array([10.0, 10.0])
    got = rounding.whole_lots(np.array([0.039, -0.039]), limits_of(), np.zeros(2), unit, lot, np.zeros(2))
    assert got.tolist() == [30.0, -30.0]
    exact = rounding.whole_lots(np.array([0.03, -0.07]), limits_of(), np.zeros(2), unit, lot, np.zeros(2))
    assert exact.tolist() == [30.0, -70.0]


def test_small_orders_and_unchanged_weights_keep_the_position():
    unit, lot = np.array([0.001, 0.001]), np.array([1.0, 1.0])
    position = np.array([7.5, 40.0])
    limits = limits_of(current=position * unit)
    got = rounding.whole_lots(np.array([0.0075, 0.043]), limits, position, unit, lot, np.array([5.0, 5.0]))
    assert got.tolist() == [7.5, 40.0]


def test_rounding_towards_zero_stays_within_participation():
    unit, lot = np.array([0.01]), np.array([10.0])
    position = np.array([55.0])
    limits = limits_of(1, current=position * unit, participation=np.array([0.12]))
    got = rounding.whole_lots(np.array([0.44]), limits, position, unit, lot, np.zeros(1))
    assert got.tolist() == [50.0]


def test_small_changes_are_undone_and_those_towards_zero_offered_again_largest_first():
    limits = limits_of(4, current=np.array([0.5, -0.2, 0.3, 0.1]))
    still, reducing = rounding.unbanded(np.array([0.505, -0.195, 0.293, 0.3]), limits, 0.01)
    assert still.tolist() == [0.5, -0.2, 0.3, 0.3]
    assert reducing.tolist() == [2, 1]


def test_the_band_gives_way_to_a_limit_only_as_far_as_the_limit_needs():
    """Four names would be cut a little; gross asks for less than one of them: one trades, the largest, and nobody sells a single unit."""
    current = np.array([0.2, 0.2, 0.2, 0.2])
    limits = limits_of(4, current=current, gross=0.7985, net=2.0)
    weights = current - np.array([0.0002, 0.0018, 0.0004, 0.0006])
    unit, lot = np.full(4, 0.0001), np.ones(4)
    position = np.full(4, 2000.0)
    got = rounding.to_lots(weights, limits, position, unit, lot, np.zeros(4), band=0.002, tolerance=1e-9)
    assert got is not None
    assert got.tolist() == [2000.0, 1982.0, 2000.0, 2000.0]
    # Where every one of them is needed every one is made, and where none is, none.
    all_of_them = limits_of(4, current=current, gross=0.797, net=2.0)
    got = rounding.to_lots(weights, all_of_them, position, unit, lot, np.zeros(4), band=0.002, tolerance=1e-9)
    assert got is not None
    assert got.tolist() == [1998.0, 1982.0, 1996.0, 1994.0]
    none = limits_of(4, current=current, gross=0.8, net=2.0)
    got = rounding.to_lots(weights, none, position, unit, lot, np.zeros(4), band=0.002, tolerance=1e-9)
    assert got is not None
    assert got.tolist() == position.tolist()


def test_small_additions_are_not_traded_even_where_net_binds():
    """The shorts that would fund a long are inside the band: the long gives up a little instead."""
    limits = limits_of(3, current=np.array([0.0, 0.0, -0.1]), net=0.1)
    weights = np.array([0.2004, -0.0004, -0.1])
    unit, lot = np.full(3, 0.0001), np.ones(3)
    got = rounding.to_lots(
        weights, limits, np.array([0, 0, -1000.0]), unit, lot, np.zeros(3), band=0.001, tolerance=1e-9
    )
    assert got is not None
    assert got.tolist() == [2000.0, 0.0, -1000.0]


def test_repair_gives_up_lots_where_it_helps():
    unit, lot = np.array([0.01, 0.01]), np.ones(2)
    net = rounding.repair(np.array([50.0, -20.0]), limits_of(net=0.2), np.zeros(2), unit, lot, 1e-9)
    assert net is not None
    assert net.tolist() == [40.0, -20.0]
    box = rounding.repair(np.array([50.0, -20.0]), limits_of(box=np.array([0.4, 1.0])), np.zeros(2), unit, lot, 1e-9)
    assert box is not None
    assert box.tolist() == [40.0, -20.0]
    gross = rounding.repair(np.array([50.0, -20.0]), limits_of(gross=0.65), np.zeros(2), unit, lot, 1e-9)
    assert gross is not None
    assert np.abs(gross).sum() <= 65.0
    vol = rounding.repair(np.array([50.0, -20.0]), limits_of(volatility=0.004), np.zeros(2), unit, lot, 1e-9)
    assert vol is not None
    assert np.hypot(*(vol * unit)) * 0.01 <= 0.004 + 1e-9


def test_repair_gives_up_when_nothing_helps():
    unit, lot = np.array([0.01, 0.01]), np.ones(2)
    held = limits_of(net=0.2, free=np.zeros(2, dtype=bool))
    assert rounding.repair(np.array([50.0, -20.0]), held, np.array([50.0, -20.0]), unit, lot, 1e-9) is None
    stuck = limits_of(gross=0.5, current=np.array([0.5, -0.2]), participation=np.zeros(2))
    assert rounding.repair(np.array([50.0, -20.0]), stuck, np.array([50.0, -20.0]), unit, lot, 1e-9) is None
    moved = limits_of(participation=np.full(2, 0.1))
    assert rounding.repair(np.array([50.0, -20.0]), moved, np.zeros(2), unit, lot, 1e-9) is None
