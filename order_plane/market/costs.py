"""Learned transaction costs: a robust Bayesian regression, updated parent by parent.

Model of one closed parent: y = linear + Y * x + noise, with y the shortfall of what was executed plus fees less the half spread paid
(fractions of notional), x = sigma * sqrt(q / adv), noise sd = kappa * sqrt(timing_sd^2 + arrival_sd^2 + FLOOR^2). Timing noise is known from sigma
and the parent's duration, arrival noise from the age that a quote may have when an intent arrives; kappa (a robust scale, 1 a priori) absorbs what that gets wrong.

Posterior precision = prior + discounted data: data fade with COST_HALF_LIFE parents, the prior never does, so an estimator that
sees nothing returns to it. Parents further than COST_OUTLIER_SD predictive standard deviations from what is expected get no weight: a
poisoned fill moves nothing (law L15). Published coefficients are clipped to their bounds.

The limit of any such estimator: the relative standard error of Y is about 1 / sqrt(3 * POV * N).
Sources: West (1984), "Outlier Models and Prior Distributions in Bayesian Linear Regression"; West, Harrison (1997), "Bayesian Forecasting
and Dynamic Models" (discounting).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from triplane.domain.costs import SESSION_SECONDS, impact_unit, shortfall, timing_sd
from triplane.domain.targets import Targets
from triplane.domain.timestamps import SECOND

# A reference parent, for the prior's weight in parents: 0.1 % of adv in five minutes at 2 % daily volatility.
REFERENCE_UNIT = 0.02 * math.sqrt(0.001)
REFERENCE_SD = timing_sd(0.02, 300.0)
# Noise that no duration explains (price grid, queue position), fraction of notional.
FLOOR = 1e-4
# Quotes come in slices some seconds apart, so the mid at arrival is that old at most; market seconds.
ARRIVAL_AGE_S = 5.0
SCALE_PRIOR_PARENTS = 25.0


@dataclass(slots=True)
class Profile:
    """Discounted data of one cost profile: precision sums (a00, a01, a11), information (b0, b1), scale sums, counts."""

    a00: float = 0.0
    a01: float = 0.0
    a11: float = 0.0
    b0: float = 0.0
    b1: float = 0.0
    squares: float = 0.0
    weight: float = 0.0
    parents: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Posterior:
    """Coefficients of one profile, unclipped, with posterior standard deviations and their covariance."""

    linear: float
    impact: float
    linear_sd: float
    impact_sd: float
    covariance: float


@dataclass(frozen=True, slots=True)
class Observation:
    """One parent as the regression sees it, all fractions of notional."""

    y: float
    x: float
    sd: float


def observe(parent: Mapping[str, Any]) -> Observation | None:
    """The regression's view of a FillRecord of kind `parent`; None when nothing can be learned from it (nothing filled, no adv)."""
    side, quantity, price = int(parent["side"]), float(parent["quantity"]), float(parent["price"])
    mid, sigma, adv = float(parent["arrival_mid"]), float(parent["sigma_daily"]), float(parent["adv"])
    numbers = (quantity, price, mid, sigma, adv)
    if side not in (1, -1) or not all(math.isfinite(number) and number > 0.0 for number in numbers):
        return None
    try:
        fees = float(parent.get("commission", 0.0)) / (quantity * price)
        half_spread = max(float(parent.get("half_spread", 0.0)), 0.0)
        y = shortfall(side, price, mid) + fees - half_spread
        seconds = (int(parent["event_time"]) - int(parent["started"])) / SECOND
        arrival_sd = sigma * math.sqrt(ARRIVAL_AGE_S / SESSION_SECONDS)
        sd = math.sqrt(timing_sd(sigma, seconds) ** 2 + arrival_sd**2 + FLOOR**2)
        seen = Observation(y, impact_unit(sigma, quantity, adv), sd)
    except (OverflowError, ZeroDivisionError):  # finite numbers whose product is not
        return None
    return seen if all(math.isfinite(number) for number in (seen.y, seen.x, seen.sd)) else None


@dataclass(slots=True)
class CostEstimator:
    """The learned costs of one account, by cost profile. A pure fold over parents: the same parents give the same bytes."""

    profiles: dict[str, Profile] = field(default_factory=dict)
    folded: int = 0

    def posterior(self, profile: str, targets: Targets) -> Posterior:
        """Posterior of a profile; the prior when nothing was learned."""
        data = self.profiles.get(profile, Profile())
        order, strategy = targets.order, targets.strategy
        p00 = order.COST_PRIOR_PARENTS / REFERENCE_SD**2
        p11 = order.COST_PRIOR_PARENTS * (REFERENCE_UNIT / REFERENCE_SD) ** 2
        scale2 = (SCALE_PRIOR_PARENTS + data.squares) / (SCALE_PRIOR_PARENTS + data.weight)
        a00, a01, a11 = p00 + data.a00 / scale2, data.a01 / scale2, p11 + data.a11 / scale2
        b0 = p00 * strategy.LAMBDA_INIT + data.b0 / scale2
        b1 = p11 * strategy.IMPACT_Y_INIT + data.b1 / scale2
        determinant = a00 * a11 - a01 * a01
        return Posterior(
            linear=(a11 * b0 - a01 * b1) / determinant,
            impact=(a00 * b1 - a01 * b0) / determinant,
            linear_sd=math.sqrt(a11 / determinant),
            impact_sd=math.sqrt(a00 / determinant),
            covariance=-a01 / determinant,
        )

    def learn(self, parent: Mapping[str, Any], targets: Targets) -> bool:
        """Take one closed parent (FillRecord of kind `parent`). True when it had weight."""
        self.folded += 1
        seen = observe(parent)
        if seen is None:
            return False
        order = targets.order
        name = str(parent["profile"])
        data = self.profiles.setdefault(name, Profile())
        before = self.posterior(name, targets)
        scale2 = (SCALE_PRIOR_PARENTS + data.squares) / (SCALE_PRIOR_PARENTS + data.weight)
        spread2 = before.linear_sd**2 + 2.0 * seen.x * before.covariance + (seen.x * before.impact_sd) ** 2
        residual = seen.y - before.linear - before.impact * seen.x
        z = residual / math.sqrt(scale2 * seen.sd**2 + max(spread2, 0.0))
        if abs(z) > order.COST_OUTLIER_SD:
            data.refused += 1
            return False
        keep = 0.5 ** (1.0 / order.COST_HALF_LIFE)
        precision = 1.0 / seen.sd**2
        data.a00 = keep * data.a00 + precision
        data.a01 = keep * data.a01 + precision * seen.x
        data.a11 = keep * data.a11 + precision * seen.x * seen.x
        data.b0 = keep * data.b0 + precision * seen.y
        data.b1 = keep * data.b1 + precision * seen.x * seen.y
        data.squares = keep * data.squares + z * z
        data.weight = keep * data.weight + 1.0
        data.parents += 1
        return True

    def estimate(
        self, account: str, targets: Targets, time: int, profiles: Iterable[str], estimate_id: str
    ) -> dict[str, Any]:
        """The CostEstimate record: coefficients clipped to their bounds, for `profiles` and all learned ones, sorted by name."""
        order = targets.order
        names = sorted({*profiles, *self.profiles})
        posteriors = [self.posterior(name, targets) for name in names]
        upper = max(order.IMPACT_Y_MIN, order.IMPACT_Y_MAX)
        return {
            "event_time": time,
            "available_time": time,
            "estimate_id": estimate_id,
            "account": account,
            "seq": self.folded,
            "fills_offset": self.folded,
            "profiles": names,
            "linear": [min(max(p.linear, 0.0), order.LINEAR_MAX) for p in posteriors],
            "linear_sd": [p.linear_sd for p in posteriors],
            "impact": [min(max(p.impact, order.IMPACT_Y_MIN), upper) for p in posteriors],
            "impact_sd": [p.impact_sd for p in posteriors],
            "parents": [self.profiles[name].parents if name in self.profiles else 0 for name in names],
            "state": self.dump(),
        }

    def dump(self) -> bytes:
        """State as bytes; `load` gives the same estimator back, to the last bit."""
        rows = {
            name: [p.a00, p.a01, p.a11, p.b0, p.b1, p.squares, p.weight, p.parents, p.refused]
            for name, p in sorted(self.profiles.items())
        }
        return json.dumps({"folded": self.folded, "profiles": rows}, separators=(",", ":")).encode()

    @staticmethod
    def load(state: bytes) -> CostEstimator:
        """The inverse of `dump`; empty bytes are a fresh estimator."""
        if not state:
            return CostEstimator()
        document = json.loads(state)
        return CostEstimator({name: Profile(*row) for name, row in document["profiles"].items()}, document["folded"])


def rebuild(fills: Iterable[Mapping[str, Any]], targets_of: Callable[[str], Targets]) -> CostEstimator:
    """The estimator from order.fills alone, in log order; `targets_of` gives the targets under a config hash (law L15).

    Parents are folded once per identity, whatever was repeated on the topic.
    """
    estimator = CostEstimator()
    seen: set[str] = set()
    for fill in fills:
        if fill["kind"] == "parent" and fill["fill_id"] not in seen:
            seen.add(fill["fill_id"])
            estimator.learn(fill, targets_of(str(fill["config_hash"])))
    return estimator
