"""Learned costs: recovery of known coefficients, coverage, robustness, following a change, rebuilding (law L15)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from order_plane.ledger.book import Position
from order_plane.market.costs import ARRIVAL_AGE_S, FLOOR, CostEstimator, Posterior, observe, rebuild
from tests.order_plane.desk import Desk, targets
from triplane.domain.costs import SESSION_SECONDS, impact_unit, timing_sd
from triplane.domain.targets import Targets
from triplane.domain.timestamps import SECOND
from triplane.runtime import configuration

TARGETS = Targets()
HALF_SPREAD = 2e-4


def parents(
    seed: int,
    count: int,
    impact: float | Callable[[int], float] = 1.5,
    linear: float = 2e-4,
    poison: float = 0.0,
    noise: float = 1.0,
) -> Iterator[dict[str, Any]]:
    """Closed parents of a market with known costs, at 8 % participation. Poison is drawn apart, so the rest stays the same."""
    rng, bad = np.random.default_rng(seed), np.random.default_rng(seed + 10**6)
    for number in range(count):
        side = 1 if rng.random() < 0.5 else -1
        sigma, adv, seconds, mid = rng.uniform(0.01, 0.03), 1e7, rng.uniform(30.0, 300.0), 100.0
        quantity = 0.08 * adv * seconds / SESSION_SECONDS
        y = impact(number) if callable(impact) else impact
        sd = math.sqrt(timing_sd(sigma, seconds) ** 2 + sigma**2 * ARRIVAL_AGE_S / SESSION_SECONDS + FLOOR**2)
        cost = HALF_SPREAD + linear + y * impact_unit(sigma, quantity, adv) + noise * rng.normal() * sd
        price = mid * (1 + side * cost)
        if bad.random() < poison:
            price = mid * (1 + bad.choice([-1, 1, 1]) * bad.uniform(0.05, 0.5))
        yield {
            "kind": "parent", "fill_id": f"p{seed}.{number}", "side": side, "quantity": quantity, "price": price, "arrival_mid": mid,
            "sigma_daily": sigma, "adv": adv, "commission": 0.0, "half_spread": HALF_SPREAD, "started": 0,
            "event_time": round(seconds * SECOND), "profile": "Standard", "config_hash": "h",
        }  # fmt: skip


def learned(seed: int, count: int, **kwargs: Any) -> Posterior:
    estimator = CostEstimator()
    for parent in parents(seed, count, **kwargs):
        estimator.learn(parent, TARGETS)
    return estimator.posterior("Standard", TARGETS)


def test_known_coefficients_are_recovered(counts):
    found = [learned(seed, 500) for seed in range(counts(60, 200))]
    impact = np.array([(p.impact - 1.5) / p.impact_sd for p in found])
    linear = np.array([(p.linear - 2e-4) / p.linear_sd for p in found])
    for z in (impact, linear):
        assert (np.abs(z) < 2).mean() >= 0.88
        assert 0.75 <= (np.abs(z) < 1.645).mean() <= 0.97
    print(f"within 2 sd: impact {(np.abs(impact) < 2).mean():.2f} linear {(np.abs(linear) < 2).mean():.2f}")


def test_wrong_noise_is_noticed():
    calm, wild = learned(1, 400, noise=0.6), learned(1, 400, noise=2.0)
    assert wild.impact_sd > 1.2 * calm.impact_sd  # the prior takes its share of both


def test_poisoned_fills_move_little(counts):
    moves = []
    for seed in range(counts(20, 200)):
        clean, poisoned = learned(seed, 500), learned(seed, 500, poison=0.05)
        moves.append(
            (
                abs(poisoned.impact / clean.impact - 1),
                abs(poisoned.linear - clean.linear) / TARGETS.strategy.LAMBDA_INIT,
            )
        )
    impact, linear = np.mean(moves, axis=0)
    print(f"5 % poison moves impact by {impact:.3f}, linear by {linear:.3f} of LAMBDA_INIT on average")
    assert impact < 0.05
    assert linear < 0.05


def test_half_of_a_change_is_followed_within_250_parents():
    reached = []
    for seed in range(20):
        after = learned(seed, 1250, impact=lambda number: 1.0 if number < 1000 else 2.0, linear=5e-4)
        before = learned(seed, 1000, impact=1.0, linear=5e-4)
        x = impact_unit(0.02, 0.08 * 1e7 * 165 / SESSION_SECONDS, 1e7)
        reached.append(((after.linear - before.linear) + (after.impact - before.impact) * x) / x)
    # The predicted cost of a typical parent, since linear cost and impact share the change at first
    assert np.mean(reached) >= 0.45


def test_published_coefficients_stay_in_their_bounds():
    estimator = CostEstimator()
    for parent in parents(3, 300, impact=25.0, linear=-0.01):
        estimator.learn(parent, targets(COST_OUTLIER_SD=20.0))
    record = estimator.estimate("DU1", TARGETS, 5, ["Standard", "ETF"], "id")
    assert record["profiles"] == ["ETF", "Standard"]
    assert all(0.0 <= value <= TARGETS.order.LINEAR_MAX for value in record["linear"])
    assert all(TARGETS.order.IMPACT_Y_MIN <= value <= TARGETS.order.IMPACT_Y_MAX for value in record["impact"])
    assert record["parents"] == [0, estimator.profiles["Standard"].parents]


def test_nothing_learned_is_the_prior_and_forgetting_returns_to_it():
    prior = CostEstimator().posterior("Standard", TARGETS)
    assert prior.linear == pytest.approx(TARGETS.strategy.LAMBDA_INIT)
    assert prior.impact == pytest.approx(TARGETS.strategy.IMPACT_Y_INIT)
    wider = CostEstimator().posterior("Standard", targets(COST_PRIOR_PARENTS=1.0))
    assert wider.impact_sd == pytest.approx(5 * prior.impact_sd)


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 0.0},
        {"price": 0.0},
        {"arrival_mid": math.nan},
        {"adv": 0.0},
        {"sigma_daily": math.inf},
        {"side": 0},
        {"half_spread": math.nan},
    ],
)
def test_parents_that_teach_nothing(change):
    parent = next(parents(1, 1)) | change
    seen = observe(parent)
    assert seen is None or math.isfinite(seen.y)
    estimator = CostEstimator()
    estimator.learn(parent, TARGETS)
    posterior = estimator.posterior("Standard", TARGETS)
    assert math.isfinite(posterior.linear)
    assert estimator.folded == 1


def test_rebuilt_from_fills_it_has_the_same_bytes():
    estimator = CostEstimator()
    fills = list(parents(7, 200, poison=0.05))
    for parent in fills:
        estimator.learn(parent, TARGETS)
    repeated = [{"kind": "execution", "fill_id": "x"}, *fills, *fills[:50]]
    assert rebuild(repeated, lambda config_hash: {"h": TARGETS}[config_hash]).dump() == estimator.dump()
    assert CostEstimator.load(estimator.dump()).dump() == estimator.dump()
    assert CostEstimator.load(b"").dump() == CostEstimator().dump()


def test_the_engines_estimate_is_rebuilt_from_its_fills():
    desk = Desk().open()
    for seq in range(1, 6):
        if seq == 3:
            desk.configure(targets(COST_HALF_LIFE=20.0))
        desk.intents(seq, {"AAPL": 100.0 * seq, "BAC": -50.0 * seq, "GE": 30.0 * (seq % 2)})
        desk.fill_all()
        desk.pass_time(5)
    by_hash = {}
    for offset, record in enumerate(desk.records["control.config"]):
        by_hash[record["hash"]] = configuration.from_record(record, offset).targets
    state = desk.appended("order.costs")[-1]["state"]
    assert rebuild(desk.appended("order.fills"), by_hash.__getitem__).dump() == state
    assert desk.engine.s.costs.profiles["Standard"].parents > 8


def test_realised_profit_counts_the_multiplier():
    position = Position()
    position.fill(2.0, 100.0, 50.0)
    position.fill(-3.0, 110.0, 50.0)
    assert (position.realised, position.quantity, position.avg_cost) == (1_000.0, -1.0, 110.0)
    position.fill(1.0, 105.0, 50.0)
    assert (position.realised, position.quantity) == (1_250.0, 0.0)
