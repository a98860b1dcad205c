"""Target weights: a conic program over one horizon, formulated in cvxpy, compiled once per universe size, solved by Clarabel.

maximise  alpha'w - A/2 H w'Sigma w - sum_i c_i |d_i| - sum_i k_i |d_i|^(3/2),  d = w - w0
subject to the limits of limits.Limits.

Units: alpha a return over the horizon of H sessions, Sigma daily, A risk aversion (1 / return), c linear cost and turnover penalty per
unit of traded weight, k = Y sigma / sqrt(adv weight) (square-root law on the whole parent: Almgren et al. 2005). The covariance enters
by its factor, Sigma = L L', so the program is convex whatever rounding did to Sigma.

Held names keep their variable and are pinned by a zero in `free`: the program keeps its size, hence its compiled form, and an interior.
Every solve builds a fresh solver: a warm one would make the bytes of an answer depend on what was solved before.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np

from strategy_plane.inputs.window import Array
from strategy_plane.portfolio.limits import Limits

# Feasibility is checked at this many times the solver's own tolerance.
CHECK_FACTOR = 100.0
# Objective values are of order 1e-4; scaled, the solver's absolute tolerance means something.
OBJECTIVE_SCALE = 1e3
# A problem on the edge of feasibility can stop the solver short; shorter steps then reach an answer (8 of 8 such random cases).
STEP_FRACTIONS = (0.99, 0.9)
# Stands in for a participation limit that does not bind.
WIDE = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One solve: limits, alpha (n), linear cost (n), impact coefficient (n), and risk = A * H (sessions / return)."""

    limits: Limits
    alpha: Array
    linear: Array
    impact: Array
    risk: float

    def finite(self) -> bool:
        """Whether every input is a finite number."""
        limits = self.limits
        scalars = (self.risk, limits.gross, limits.net, limits.volatility)
        arrays = (
            self.alpha, self.linear, self.impact, limits.current, limits.haircut, limits.box, limits.short,
            limits.participation, limits.root,
        )  # fmt: skip
        return bool(np.isfinite(scalars).all()) and all(bool(np.isfinite(array).all()) for array in arrays)

    def objective(self, weights: Array) -> float:
        """Value of the objective at `weights`."""
        trade = np.abs(weights - self.limits.current)
        variance = float(((weights @ self.limits.root) ** 2).sum())
        cost = float((self.linear * trade + self.impact * trade**1.5).sum())
        return float(self.alpha @ weights) - 0.5 * self.risk * variance - cost


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Weights (n), outcome (SOLVED or a HOLD_ code), the solver's name and status, and its iterations."""

    weights: Array
    outcome: str
    solver: str
    iterations: int


class Program:
    """The compiled program for n names."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._w = cp.Variable(n)
        trade, size, gross = cp.Variable(n), cp.Variable(n), cp.Variable(n)
        root_return, impact_size = cp.Variable(n), cp.Variable(n)
        p = self._p = {
            "current": cp.Parameter(n),
            "free": cp.Parameter(n, nonneg=True),
            "alpha": cp.Parameter(n),
            "linear": cp.Parameter(n, nonneg=True),
            "impact": cp.Parameter(n, nonneg=True),
            "root": cp.Parameter((n, n)),
            "risk": cp.Parameter(nonneg=True),
            "haircut": cp.Parameter(n, nonneg=True),
            "gross": cp.Parameter(nonneg=True),
            "net": cp.Parameter(nonneg=True),
            "volatility": cp.Parameter(nonneg=True),
            "box": cp.Parameter(n, nonneg=True),
            "short": cp.Parameter(n, nonneg=True),
            "participation": cp.Parameter(n, nonneg=True),
        }
        objective = (
            p["alpha"] @ self._w
            - cp.sum_squares(p["risk"] * root_return)
            - p["linear"] @ size
            - p["impact"] @ impact_size
        )
        constraints = [
            root_return == p["root"] @ self._w,
            self._w == p["current"] + cp.multiply(p["free"], trade),
            size >= trade,
            size >= -trade,
            size <= p["participation"],
            # as a power cone: cvxpy's default, second-order cones, reached 1e-8 on a fifth of the demo's problems only
            impact_size >= cp.power(size, 1.5, approx=False),
            gross >= self._w,
            gross >= -self._w,
            p["haircut"] @ gross <= p["gross"],
            p["haircut"] @ self._w <= p["net"],
            -p["haircut"] @ self._w <= p["net"],
            self._w <= p["box"],
            -self._w <= p["short"],
            cp.norm(root_return) <= p["volatility"],
        ]
        self._problem = cp.Problem(cp.Maximize(objective), constraints)
        assert self._problem.is_dcp(dpp=True)

    def compile(self) -> None:
        """Do the canonicalisation now, so that the first decision does not pay for it."""
        ones = np.ones(self.n)
        limits = Limits(
            0.0 * ones, ones > 0, ones, 1.0, 1.0, 1.0, ones, ones, ones, 0.01 * np.eye(self.n)
        )  # fmt: skip
        self.solve(Problem(limits, 0.001 * ones, 0.001 * ones, 0.01 * ones, 1.0), iterations=50, tolerance=1e-8)

    def solve(self, problem: Problem, *, iterations: int, tolerance: float) -> Solution:
        """Solve within `iterations`; a solution that is not optimal, or fails our own check, comes back as a hold."""
        limits, free = problem.limits, problem.limits.free
        if not problem.finite():
            return Solution(limits.current, "HOLD_SOLVER", "not asked: an input is not a finite number", 0)
        self._set(problem)
        status, count = "", 0
        for fraction in STEP_FRACTIONS:
            status, used = self._attempt(fraction, iterations, tolerance)
            count += used
            if status in (cp.OPTIMAL, cp.INFEASIBLE):
                break
        solver = f"CLARABEL {status}"
        if status == cp.INFEASIBLE:
            return Solution(limits.current, "HOLD_INFEASIBLE", solver, count)
        if status != cp.OPTIMAL or self._w.value is None:
            return Solution(limits.current, "HOLD_SOLVER", solver, count)
        weights = np.where(free, np.asarray(self._w.value, dtype=np.float64), limits.current)
        if not acceptable(problem, weights, tolerance * CHECK_FACTOR):
            return Solution(limits.current, "HOLD_SOLVER", f"{solver}, check failed", count)
        return Solution(weights, "SOLVED", solver, count)

    def _attempt(self, fraction: float, iterations: int, tolerance: float) -> tuple[str, int]:
        """Status and iterations of one attempt with steps of at most `fraction` of the way to the cones' boundary."""
        options: dict[str, Any] = {
            "max_iter": iterations, "tol_gap_abs": tolerance, "tol_gap_rel": tolerance, "tol_feas": tolerance,
            "max_step_fraction": fraction, "max_threads": 1, "time_limit": float("inf"),
        }  # fmt: skip
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an inaccurate solution is judged by its status, not warned of
                self._problem.solve(solver=cp.CLARABEL, warm_start=False, **options)
        except cp.SolverError:
            return "failed", iterations
        stats = self._problem.solver_stats
        return str(self._problem.status), int(stats.num_iters or 0) if stats is not None else 0

    def _set(self, problem: Problem) -> None:
        limits, p = problem.limits, self._p
        free = limits.free
        p["current"].value = limits.current
        p["free"].value = free.astype(np.float64)
        p["alpha"].value = OBJECTIVE_SCALE * np.where(free, problem.alpha, 0.0)
        p["linear"].value = OBJECTIVE_SCALE * problem.linear
        p["impact"].value = OBJECTIVE_SCALE * problem.impact
        p["root"].value = limits.root.T
        p["risk"].value = np.sqrt(0.5 * OBJECTIVE_SCALE * problem.risk)
        p["haircut"].value = limits.haircut
        p["gross"].value = limits.gross
        p["net"].value = limits.net
        p["volatility"].value = limits.volatility
        # a held name may lie beyond its box, which must not make the program infeasible
        p["box"].value = np.where(free, limits.box, np.abs(limits.current) + 1.0)
        p["short"].value = np.where(free, limits.short, np.abs(limits.current) + 1.0)
        p["participation"].value = np.where(free, np.minimum(limits.participation, WIDE), 1.0)


def acceptable(problem: Problem, weights: Array, tolerance: float) -> bool:
    """Our own check: every limit holds, and the answer is not worse than doing nothing where doing nothing is allowed."""
    limits = problem.limits
    if not limits.respected(weights, tolerance):
        return False
    if not limits.respected(limits.current, 0.0):
        return True
    return problem.objective(weights) >= problem.objective(limits.current) - tolerance
