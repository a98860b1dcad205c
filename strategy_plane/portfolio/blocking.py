"""What blocks what: the codes that hold a barrier or a name, each with a detail for people.

A name has one code, the first that applies in the order of `name_blocks`' steps; a barrier has one outcome. `triplane status` and
TargetWeights.held print a name's as `SYMBOL:CODE detail`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.gates import CONTRACT
from triplane.domain.targets import StrategyTargets

SOLVED = "SOLVED"

# Outcomes that hold a whole barrier, in order of precedence, with what to tell.
HOLDS: Mapping[str, str] = {
    "HOLD_CONFIG_MISSING": "no configuration has the offset that the barrier names; the control daemon publishes one",
    "HOLD_SKIPPED_RECORD": "a record inside the cut could not be decoded; the next barrier goes on without it",
    "HOLD_DATA_MISSING": "a gating partition had not reached the decision time",
    "HOLD_KILLED": "the kill switch has stopped trading; a person re-arms it",
    "HOLD_ACCOUNT_UNKNOWN": "there is no reconciled account with a net asset value",
    "HOLD_GATE_CLOSED": "a gate of the market data source is closed",
    "HOLD_WARMING": "no name has enough history yet",
    "HOLD_UNIVERSE_MISSING": "too many names are without usable prices",
    "HOLD_FACTS_MISSING": "too many names are without usable shares outstanding (none filed, or older than FACTS_STALE_DAYS), so size cannot be neutralised",
    "HOLD_NOTHING_TRADABLE": "every name is held",
    "HOLD_INFEASIBLE": "the limits cannot all be met within the participation caps",
    "HOLD_SOLVER": "the solver did not finish, or its answer failed the feasibility check",
    "HOLD_ROUNDING": "whole lots cannot meet the limits",
}

# Codes of names that say that their prices cannot be used now; they count towards UNIVERSE_MISSING_MAX.
NO_CONTRACT = "CONTRACT_UNKNOWN"
"""The broker knows no such name: a wrong row, which counts for nothing in what the universe lacks."""
PRICE_CODES = frozenset({"DATA_STALE", "DATA_DELAYED", "HALTED", "GATE_CLOSED", "BARS_STALE"})


@dataclass(frozen=True, slots=True)
class Block:
    """Why a name is not traded: code, and detail for people (may be empty)."""

    code: str
    detail: str = ""

    def text(self, symbol: str) -> str:
        """`SYMBOL:CODE detail`."""
        return f"{symbol}:{self.code} {self.detail}".rstrip()


def warming(age: NDArray[np.int64], returns: NDArray[np.int64], targets: StrategyTargets) -> list[str]:
    """What each name still warms up, as `momentum 180/252 bars`; empty when nothing (N).

    `age` is sessions since the first bar, `returns` the number of returns seen. The wait that ends last is the one told.
    """
    needs = (
        ("momentum", age, targets.MOM_LOOKBACK),
        ("POS", age, targets.POS_LOOKBACK),
        ("reversal", age, targets.REV_LOOKBACK + 1),
        ("covariance", returns, targets.COV_MIN_OBS),
    )
    result = [""] * len(age)
    lacking = np.array([need - have for _, have, need in needs])
    worst = lacking.argmax(axis=0)
    for column in np.flatnonzero(lacking.max(axis=0) > 0):
        name, have, need = needs[int(worst[column])]
        result[column] = f"{name} {int(have[column])}/{need} bars"
    return result


def name_blocks(
    symbols: Sequence[str],
    *,
    class_codes: Sequence[str],
    currencies: Sequence[str],
    base_currency: str,
    account_held: Mapping[str, str],
    gates: Mapping[int, str],
    quote_codes: Sequence[str],
    idle: NDArray[np.int64],
    bars_behind: int,
    warm: Sequence[str],
    adv: NDArray[np.float64],
    costs: NDArray[np.float64],
    spoke: NDArray[np.bool_],
) -> list[Block | None]:
    """The block of each name, or None when it may be traded; the steps are in order of precedence.

    `idle` sessions since its last bar, `bars_behind` sessions that the whole panel is behind the barrier, `spoke` whether any
    signal has a value.
    """
    blocks: list[Block | None] = []
    for column, symbol in enumerate(symbols):
        block: Block | None = None
        if class_codes[column]:
            block = Block(class_codes[column])
        elif currencies[column] != base_currency:
            block = Block("CURRENCY_NOT_TRADED", f"{currencies[column]} prices, {base_currency} account")
        elif symbol in account_held:
            block = Block(account_held[symbol])
        elif column in gates:
            block = Block(NO_CONTRACT) if gates[column] == CONTRACT else Block("GATE_CLOSED", gates[column])
        elif quote_codes[column]:
            block = Block(quote_codes[column])
        elif warm[column]:
            block = Block("WARMING", warm[column])
        elif idle[column] + bars_behind > 0:
            old = int(idle[column]) + bars_behind
            block = Block("BARS_STALE", f"last daily bar is {old} session{'' if old == 1 else 's'} old")
        elif not np.isfinite(adv[column]):
            block = Block("ADV_UNKNOWN", "fewer than 11 of the last 21 sessions have a volume")
        elif not np.isfinite(costs[column]):
            block = Block("COST_UNKNOWN", "the learned cost is not a number")
        elif not spoke[column]:
            block = Block("NO_SIGNAL", "every signal abstains")
        blocks.append(block)
    return blocks
