"""A decision barrier's arithmetic: from signals, risk, account and quotes to limits, a program, and whole lots."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.window import Array
from strategy_plane.portfolio import rounding
from strategy_plane.portfolio.blocking import HOLDS, NO_CONTRACT, PRICE_CODES, SOLVED, Block
from strategy_plane.portfolio.book import Book
from strategy_plane.portfolio.limits import ANNUAL, Limits, reachable
from strategy_plane.portfolio.optimiser import CHECK_FACTOR, Problem, Program
from strategy_plane.risk.covariance import Covariance
from triplane.domain.targets import StrategyTargets


@dataclass(slots=True, eq=False)
class Decision:
    """Outcome of a decision barrier; arrays are over the n tradable names, empty when the barrier held before they were known."""

    outcome: str
    detail: str = ""
    blocks: list[Block | None] = field(default_factory=list)
    current: Array = field(default_factory=lambda: np.zeros(0))
    target: Array = field(default_factory=lambda: np.zeros(0))
    quantity: Array = field(default_factory=lambda: np.zeros(0))
    alpha: Array = field(default_factory=lambda: np.zeros(0))
    linear: Array = field(default_factory=lambda: np.zeros(0))
    impact: Array = field(default_factory=lambda: np.zeros(0))
    volatility: float = 0.0
    gross: float = 0.0
    net: float = 0.0
    turnover: float = 0.0
    solver: str = ""
    iterations: int = 0
    binding: list[str] = field(default_factory=list)

    @property
    def solved(self) -> bool:
        """Whether intents leave."""
        return self.outcome == SOLVED


def hold(code: str, detail: str = "", **fields: Any) -> Decision:
    """A decision that holds, with the code's own sentence and `detail` after it."""
    sentence = HOLDS[code] if not detail else f"{HOLDS[code]}: {detail}"
    return Decision(code, sentence, **fields)


def universe_hold(blocks: list[Block | None], size_usable: NDArray[np.bool_], missing_max: float) -> tuple[str, str]:
    """The hold that the names' blocks amount to, with its detail; empty when the barrier can go on. n names."""
    codes = ["" if block is None else block.code for block in blocks]
    n = sum(code != NO_CONTRACT for code in codes)
    unpriced = sum(code in PRICE_CODES for code in codes)
    if unpriced > missing_max * n:
        causes = Counter(code for code in codes if code in PRICE_CODES)
        told = ", ".join(f"{code} {count}" for code, count in sorted(causes.items()))
        return "HOLD_UNIVERSE_MISSING", f"{unpriced} of {n} ({told})"
    warm = [column for column, code in enumerate(codes) if code not in ("WARMING", NO_CONTRACT)]
    if n and not warm:
        return "HOLD_WARMING", f"0 of {n}"
    without = sum(not size_usable[column] for column in warm)
    if without > missing_max * len(warm):
        return "HOLD_FACTS_MISSING", f"{without} of {len(warm)}"
    if all(codes):
        return "HOLD_NOTHING_TRADABLE", ", ".join(sorted(set(codes)))
    return "", ""


def limits_of(
    book: Book, covariance: Covariance, free: NDArray[np.bool_], brake: float, targets: StrategyTargets
) -> Limits:
    """Limits of this barrier: GROSS_LIM and VOL_TARGET under the brake, boxes and participation per name."""
    adv_weight = np.nan_to_num(book.adv, nan=0.0) * np.nan_to_num(book.unit, nan=0.0)
    cap = targets.ADV_CAP * adv_weight
    lot_weight = np.nan_to_num(book.lot * book.unit, nan=0.0)
    # one lot is kept back, so that rounding towards zero does not sell more than participation allows
    participation = np.maximum(cap - lot_weight, 0.5 * cap)
    box = np.full(len(cap), targets.BOX_LIM)
    return Limits(
        current=book.current,
        free=free,
        haircut=book.haircut,
        gross=max(targets.GROSS_LIM * brake - book.fixed_gross, 0.0),
        net=max(targets.NET_LIM - abs(book.fixed_net), 0.0),
        volatility=targets.VOL_TARGET * brake / ANNUAL,
        box=reachable(box, book.current, participation),
        short=reachable(np.where(book.shortable, box, 0.0), -book.current, participation),
        participation=participation,
        root=covariance.root,
    )


def problem_of(
    book: Book, limits: Limits, covariance: Covariance, alpha: Array, cost_share: float, targets: StrategyTargets
) -> Problem:
    """The program's data: costs are what one horizon bears of them, the turnover penalty comes on top in full."""
    free = limits.free
    adv_weight = np.where(free, np.nan_to_num(book.adv * book.unit, nan=0.0), 1.0)
    impact = book.impact * covariance.sigma / np.sqrt(np.maximum(adv_weight, 1e-12))
    linear = np.nan_to_num(book.half_spread, nan=0.0) + np.where(free, book.linear, 0.0)
    return Problem(
        limits=limits,
        alpha=np.where(free, alpha, 0.0),
        linear=cost_share * linear + targets.TURNOVER_PEN,
        impact=cost_share * np.where(free, impact, 0.0),
        risk=targets.RISK_AVERSION * targets.IC_HORIZON,
    )


def decide(
    program: Program,
    problem: Problem,
    book: Book,
    blocks: list[Block | None],
    symbols: list[str],
    targets: StrategyTargets,
) -> Decision:
    """Solve, undo what is within the no-trade band, round to lots, and check once more."""
    limits = problem.limits
    tolerance = targets.SOLVER_TOL * CHECK_FACTOR
    solution = program.solve(problem, iterations=targets.SOLVER_ITER, tolerance=targets.SOLVER_TOL)
    known: dict[str, Any] = {"blocks": blocks, "current": book.current, "target": book.current, "alpha": problem.alpha}
    known |= {"linear": problem.linear, "impact": problem.impact}
    if solution.outcome != SOLVED:
        detail = limits.strain(symbols) if solution.outcome == "HOLD_INFEASIBLE" else solution.solver
        return hold(solution.outcome, detail, solver=solution.solver, iterations=solution.iterations, **known)
    repaired = rounding.to_lots(
        solution.weights, limits, book.quantity, book.unit, book.lot, book.min_order,
        band=targets.NO_TRADE_BAND, tolerance=tolerance,
    )  # fmt: skip
    if repaired is None:
        return hold("HOLD_ROUNDING", solver=solution.solver, iterations=solution.iterations, **known)
    target = np.where(limits.free, repaired * book.unit, book.current)
    return Decision(
        SOLVED,
        blocks=blocks,
        current=book.current,
        target=target,
        quantity=repaired,
        alpha=problem.alpha,
        linear=problem.linear,
        impact=problem.impact,
        volatility=ANNUAL * float(np.sqrt(((target @ limits.root) ** 2).sum())),
        gross=float(np.abs(target).sum()),
        net=float(target.sum()),
        turnover=float(np.abs(target - book.current).sum()),
        solver=solution.solver,
        iterations=solution.iterations,
        binding=limits.binding(solution.weights, symbols, tolerance),
    )
