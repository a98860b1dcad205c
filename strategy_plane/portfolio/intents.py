"""The records of a decision: target weights, and signed target quantities for the order plane."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from strategy_plane.inputs.assets_table import AssetsTable
from strategy_plane.inputs.window import Array
from strategy_plane.plain import plain
from strategy_plane.portfolio.blocking import Block
from strategy_plane.portfolio.book import Book
from strategy_plane.portfolio.decision import Decision
from triplane.domain import ids
from triplane.domain.timestamps import SECOND

NUMBERS = ("target_qty", "target_weight", "reference_price", "sigma_daily", "adv")


def target_weights(
    decision: Decision, table: AssetsTable, header: Mapping[str, Any], *, nav: float, brake: float
) -> dict[str, Any]:
    """TargetWeights record; `header` has the fields that both records share."""
    known = len(decision.current) > 0
    return {
        **header,
        "outcome": decision.outcome,
        "detail": decision.detail,
        "symbols": [table.symbols[column] for column in table.tradable] if known else [],
        "current": plain(decision.current),
        "target": plain(decision.target),
        "alpha": plain(decision.alpha),
        "cost": plain(decision.linear),
        "impact": plain(decision.impact),
        "nav": nav if math.isfinite(nav) else math.nan,
        "volatility": decision.volatility,
        "gross": decision.gross,
        "net": decision.net,
        "turnover": decision.turnover,
        "brake": brake,
        "solver": decision.solver,
        "iterations": decision.iterations,
        "binding": decision.binding,
        "held": [block.text(symbol) for symbol, block in _held(decision, table)],
    }


def intent_slice(
    decision: Decision,
    book: Book | None,
    sigma: Array,
    table: AssetsTable,
    header: Mapping[str, Any],
    *,
    account_offset: int,
    barrier_sha: str,
    valid_s: float,
) -> dict[str, Any]:
    """IntentSlice record: names with an intent when solved, none when held; `sigma` daily volatility of the tradable names."""
    columns: list[int] = []
    if decision.solved and book is not None:
        columns = [row for row in range(len(table.tradable)) if decision.blocks[row] is None]
    rows = np.array(columns, dtype=np.int64)
    held = _held(decision, table)
    numbers = {} if not columns or book is None else {
        "target_qty": decision.quantity[rows],
        "target_weight": decision.target[rows],
        "reference_price": book.price[rows],
        "sigma_daily": sigma[rows],
        "adv": book.adv[rows],
    }  # fmt: skip
    return {
        **header,
        "intent_id": ids.intent_slice_id(header["account"], header["seq"]),
        "account_offset": account_offset,
        "barrier_sha": barrier_sha,
        "valid_until": int(header["event_time"]) + round(valid_s * SECOND),
        "outcome": decision.outcome,
        "symbols": [table.symbols[table.tradable[row]] for row in columns],
        "con_ids": [table.con_ids[table.tradable[row]] for row in columns],
        **{name: plain(numbers[name]) if numbers else [] for name in NUMBERS},
        "held": [symbol for symbol, _ in held],
        "held_codes": [block.code for _, block in held],
    }


def _held(decision: Decision, table: AssetsTable) -> list[tuple[str, Block]]:
    """Held names with their blocks, in the universe's order: classes that are not traded, then what the decision blocked."""
    blocks = {column: Block(code) for column, code in enumerate(table.class_codes) if code}
    for row, block in enumerate(decision.blocks):
        if block is not None:
            blocks[int(table.tradable[row])] = block
    return [(table.symbols[column], blocks[column]) for column in sorted(blocks)]
