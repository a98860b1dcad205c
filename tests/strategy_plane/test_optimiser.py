"""The program against a plain cvxpy formulation of the same mathematics, its limits, and what it does when it cannot."""

import warnings
from functools import cache
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strategy_plane.portfolio.limits import Limits, reachable
from strategy_plane.portfolio.optimiser import CHECK_FACTOR, Problem, Program, acceptable

TOLERANCE = 1e-8


@cache
def program(n):
    return Program(n)


def solve(problem, iterations=200, tolerance=TOLERANCE):
    return program(len(problem.alpha)).solve(problem, iterations=iterations, tolerance=tolerance)


def random_problem(seed, n, **changes):
    """A problem in the range of real ones; some names held, some not shortable, some books beyond their limits."""
    rng = np.random.default_rng(seed)
    loads = rng.normal(0, 0.01, (n, 3))
    root = np.linalg.cholesky(loads @ loads.T + np.diag(rng.uniform(0.008, 0.03, n) ** 2))
    current = rng.normal(0, rng.choice([0.0, 0.03, 0.08]), n)
    participation = rng.choice([0.02, 0.2, 1.0]) * rng.uniform(0.5, 1.5, n)
    box = np.full(n, rng.uniform(0.05, 0.3))
    fields: dict[str, Any] = {
        "current": current,
        "free": rng.random(n) < 0.85,
        "haircut": rng.choice([1.0, 1.0, 2.0], n),
        "gross": rng.uniform(0.3, 1.5),
        "net": rng.uniform(0.02, 0.3),
        "volatility": rng.uniform(0.02, 0.12) / 252**0.5,
        "box": reachable(box, current, participation),
        "short": reachable(np.where(rng.random(n) < 0.8, box, 0.0), -current, participation),
        "participation": participation,
        "root": root,
    } | changes
    return Problem(
        Limits(**fields),
        rng.normal(0, 0.006, n),
        rng.uniform(0.0005, 0.004, n),
        rng.uniform(1e-4, 5e-3, n),
        rng.uniform(1, 200),
    )


def plain(problem):
    """The definition, written down for cvxpy without parameters, scaling, factors or epigraphs."""
    limits = problem.limits
    n = len(problem.alpha)
    w = cp.Variable(n)
    trade = cp.abs(w - limits.current)
    covariance = cp.psd_wrap(limits.root @ limits.root.T)
    value = (
        problem.alpha @ w
        - 0.5 * problem.risk * cp.quad_form(w, covariance)
        - problem.linear @ trade
        - problem.impact @ cp.power(trade, 1.5, approx=False)
    )
    constraints = [
        limits.haircut @ cp.abs(w) <= limits.gross,
        cp.abs(limits.haircut @ w) <= limits.net,
        cp.norm(limits.root.T @ w) <= limits.volatility,
    ]
    for i in range(n):
        if limits.free[i]:
            constraints += [w[i] <= limits.box[i], -w[i] <= limits.short[i], trade[i] <= limits.participation[i]]
        else:
            constraints.append(w[i] == limits.current[i])
    reference = cp.Problem(cp.Maximize(1e3 * value), constraints)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9, max_iter=500)
    except cp.SolverError:
        return "failed", None
    return reference.status, w.value


@example(2921, 20)
@given(st.integers(0, 2**31 - 1), st.sampled_from([1, 2, 6, 20]))
@settings(deadline=None, max_examples=120)
def test_equals_plain_cvxpy_and_respects_every_limit(seed, n):
    problem = random_problem(seed, n)
    solution = solve(problem)
    if solution.outcome == "SOLVED":
        assert problem.limits.respected(solution.weights, CHECK_FACTOR * TOLERANCE)
        assert acceptable(problem, solution.weights, CHECK_FACTOR * TOLERANCE)
        status, weights = plain(problem)
        if status == cp.OPTIMAL:
            np.testing.assert_allclose(solution.weights, weights, rtol=0, atol=1e-5)
    else:
        assert solution.outcome in ("HOLD_INFEASIBLE", "HOLD_SOLVER")
        assert np.array_equal(solution.weights, problem.limits.current)
        if solution.outcome == "HOLD_INFEASIBLE":
            # On seed 2921 the reference calls optimal what is beyond the gross limit by 1,216 times NAV: its word is not enough.
            status, weights = plain(problem)
            assert status != cp.OPTIMAL or not problem.limits.respected(weights, CHECK_FACTOR * TOLERANCE)


def test_random_cases_are_mostly_solved():
    """The test above would pass if everything held; it must not."""
    problems = [random_problem(seed, 6) for seed in range(75)]
    outcomes = [solve(problem).outcome for problem in problems]
    judged = [
        plain(problem)[0] == cp.OPTIMAL
        for problem, outcome in zip(problems, outcomes, strict=True)
        if outcome == "SOLVED"
    ]
    assert np.mean(judged) > 0.9
    solved = outcomes.count("SOLVED")
    assert solved > 45
    assert outcomes.count("HOLD_SOLVER") <= 3
    assert outcomes.count("HOLD_INFEASIBLE") > 0


def calm(n=6, **changes):
    """A feasible problem with a flat start."""
    base: dict[str, Any] = {
        "current": np.zeros(n), "free": np.ones(n, dtype=bool), "haircut": np.ones(n), "gross": 1.0, "net": 0.5,
        "volatility": 0.01, "box": np.full(n, 0.25), "short": np.full(n, 0.25), "participation": np.full(n, 1.0),
        "root": 0.01 * np.eye(n),
    } | changes  # fmt: skip
    return Problem(Limits(**base), np.linspace(-0.01, 0.01, n), np.full(n, 0.001), np.full(n, 0.001), 50.0)


def test_infeasible_is_a_hold_with_the_current_weights():
    problem = calm(current=np.full(6, 0.2), participation=np.full(6, 0.01), gross=0.5)
    solution = solve(problem)
    assert solution.outcome == "HOLD_INFEASIBLE"
    assert solution.weights.tolist() == [0.2] * 6


def test_too_few_iterations_is_a_hold_not_an_answer():
    solution = solve(calm(), iterations=2)
    assert solution.outcome == "HOLD_SOLVER"
    assert solution.solver.startswith("CLARABEL")


def test_not_a_number_is_a_hold():
    problem = calm()
    broken = Problem(problem.limits, np.full(6, np.nan), problem.linear, problem.impact, problem.risk)
    solution = solve(broken)
    assert solution.outcome == "HOLD_SOLVER"
    assert solve(problem).outcome == "SOLVED"


def test_the_answer_does_not_depend_on_what_was_solved_before():
    fresh = Program(6)
    alone = fresh.solve(calm(), iterations=200, tolerance=TOLERANCE).weights
    for seed in range(4):
        solve(random_problem(seed, 6))
    assert solve(calm()).weights.tobytes() == alone.tobytes()


def test_held_names_do_not_move_and_may_lie_beyond_their_box():
    problem = calm(current=np.array([0.4, 0, 0, 0, 0, 0]), free=np.array([False] + [True] * 5))
    solution = solve(problem)
    assert solution.outcome == "SOLVED"
    assert solution.weights[0] == 0.4
    assert np.abs(solution.weights[1:]).max() > 0.01


def test_a_name_over_its_box_comes_half_way_back():
    current = np.array([0.4, 0, 0, 0, 0, 0])
    part = np.full(6, 0.1)
    problem = calm(current=current, participation=part, box=reachable(np.full(6, 0.25), current, part))
    assert solve(problem).weights[0] <= 0.35 + 1e-6


def test_acceptable_refuses_a_limit_broken_and_a_worse_book():
    problem = calm()
    assert acceptable(problem, np.zeros(6), 1e-6)
    assert not acceptable(problem, np.full(6, 0.2), 1e-6)
    assert not acceptable(problem, -0.1 * np.sign(problem.alpha), 1e-6)
    assert not acceptable(problem, np.full(6, np.nan), 1e-6)
    beyond = calm(current=np.full(6, 0.2), net=2.0)
    assert acceptable(beyond, np.full(6, 0.16), 1e-6)


def test_excess_and_binding_name_each_limit():
    limits = calm(net=0.3).limits
    weights = np.array([0.25, 0.25, 0.0, 0.0, -0.25, -0.25])
    assert limits.binding(weights, list("ABCDEF"), 1e-9) == ["GROSS", "BOX:A", "BOX:B", "SHORT:E", "SHORT:F"]
    excess = limits.excess(np.array([0.5, 0, 0, 0, 0, 0]))
    assert excess["NET"] == pytest.approx(0.2)
    assert excess["BOX"] == pytest.approx(0.25)
    assert excess["GROSS"] == pytest.approx(-0.5)
    assert excess["VOL"] == pytest.approx(-0.005 * 252**0.5)
    assert excess["HELD"] == -np.inf
    tight = calm(participation=np.full(6, 0.1), volatility=0.001).limits
    assert tight.binding(np.array([0.1, 0, 0, 0, 0, 0]), list("ABCDEF"), 1e-9) == ["VOL", "ADV:A"]
