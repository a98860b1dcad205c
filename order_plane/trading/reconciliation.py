"""Reconciliation: the broker's complete snapshot against the fold of our log (law L5, L11).

The broker is the truth. Executions that we missed were booked as the snapshot reported them, one by one; what is compared here is what is
left: orders that the broker does not know, positions, and cash. Every difference gets a cause. What nothing explains is taken over from
the broker, holds the name and is told to a person. A snapshot cut short is no snapshot, and names that traded while it was taken are not
compared. Pure: findings out, nothing changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from order_plane.codes import Code
from order_plane.ledger.child_order import Order
from order_plane.ledger.order_state import State
from order_plane.ledger.state import EngineState
from triplane.domain import names
from triplane.domain.targets import OrderTargets
from triplane.domain.timestamps import SECOND

DUST = 1e-6
CASH_TOLERANCE = 1.0  # base currency: interest accrues in cents, and IB rounds account values


@dataclass(frozen=True, slots=True)
class Difference:
    """A position that the broker sees otherwise. `ours` before, `theirs` is the truth, both without excluded units."""

    symbol: str
    ours: float
    theirs: float
    cause: Code


@dataclass(slots=True)
class Findings:
    """What one complete snapshot tells."""

    doubtful: list[Order] = field(default_factory=list)
    absent_first: list[Order] = field(default_factory=list)
    absent: list[Order] = field(default_factory=list)
    foreign: dict[str, float] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    suspects: dict[str, float] = field(default_factory=dict)
    untold: list[str] = field(default_factory=list)
    """Names that somebody else traded and whose position does not show it yet: what was told of them once explains a later snapshot."""
    cash: float = math.nan
    cash_suspect: float = math.nan
    again: bool = False

    @property
    def passed(self) -> bool:
        """Every compared name agrees, or its difference has been settled."""
        return not self.again


def snapshot_positions(event: Mapping[str, Any], resolve: Callable[[str, int], str]) -> dict[str, float]:
    """The broker's positions by our symbols, units; contracts with no position are left out."""
    result: dict[str, float] = {}
    for name, con_id, quantity in zip(event["symbols"], event["con_ids"], event["quantities"], strict=True):
        if quantity:
            symbol = resolve(name, con_id)
            result[symbol] = result.get(symbol, 0.0) + quantity
    return result


def compare(
    state: EngineState, event: Mapping[str, Any], targets: OrderTargets, resolve: Callable[[str, int], str]
) -> Findings:
    """Compare a complete snapshot with the book. `resolve` maps the broker's (symbol, con_id) to our symbol."""
    findings = Findings()
    _orders(state, event, targets, findings)
    _positions(state, event, targets, resolve, findings)
    _cash(state, event, findings)
    return findings


def _orders(state: EngineState, event: Mapping[str, Any], targets: OrderTargets, findings: Findings) -> None:
    known = set(event["refs"])
    for order in state.book.all_live():
        if order.dead or order.ref in known:
            continue
        if order.placed_event > state.reconciling.requested_event:
            continue  # written ahead after the snapshot was asked for
        if order.state is not State.UNKNOWN:
            findings.doubtful.append(order)
        if order.absent_wall == 0:
            findings.absent_first.append(order)
            findings.again = True
        elif (
            state.wall - order.absent_wall >= targets.ABSENT_AFTER_S * SECOND
            and order.symbol not in state.reconciling.suspects
        ):
            findings.absent.append(order)
        else:
            findings.again = True


def _positions(
    state: EngineState,
    event: Mapping[str, Any],
    targets: OrderTargets,
    resolve: Callable[[str, int], str],
    findings: Findings,
) -> None:
    theirs = snapshot_positions(event, resolve)
    touched = {resolve(name, 0) for name in names.split(str(event["labels"].get("touched", "")))} | set(
        state.reconciling.touched
    )
    book, pending = state.book, state.reconciling
    if not pending.baseline:
        # First start: whatever the account holds beyond our own executions was not opened by us.
        for symbol in sorted({*theirs, *book.positions}):
            surplus = theirs.get(symbol, 0.0) - book.position(symbol)
            if abs(surplus) > DUST:
                findings.foreign[symbol] = surplus
        return
    # What somebody traded a moment ago may be in none of the others yet, and must not be forgotten.
    for symbol in sorted({*theirs, *book.positions, *book.excluded, *book.foreign_traded}):
        ours = book.position(symbol)
        broker = theirs.get(symbol, 0.0) - book.excluded.get(symbol, 0.0)
        gap = broker - ours
        foreign = traded.units if (traded := book.foreign_traded.get(symbol)) else 0.0
        if abs(gap) <= DUST:
            # The position may lag behind what was told of it, by one snapshot; what is there twice had it all along.
            if foreign and symbol not in touched and pending.suspects.get(symbol) != 0.0:
                findings.suspects[symbol] = 0.0
                findings.again = True
            continue
        if symbol in touched:
            findings.again = True
            if symbol in pending.suspects:  # not compared, so what was suspected of it stands
                findings.suspects[symbol] = pending.suspects[symbol]
            continue
        # Executions of our dead orders that the broker counts but has not reported yet explain nothing: they are asked for again.
        split = pending.splits.get(symbol, (0.0, 0))[0]
        if abs(gap - foreign) <= DUST:
            findings.differences.append(Difference(symbol, ours, broker, Code.FOREIGN_EXECUTION))
        elif split > 0.0 and ours and abs(broker - ours * split) < 1.0:
            findings.differences.append(Difference(symbol, ours, broker, Code.CORPORATE_ACTION))
        elif symbol in pending.suspects and abs(pending.suspects[symbol] - gap) <= DUST:
            # A name that somebody else holds is never traded by us: without an order of ours it is they who changed it, while nobody looked.
            alone = bool(book.excluded.get(symbol)) and ours == 0.0 and not book.live_orders(symbol)
            cause = Code.FOREIGN_EXECUTION if alone else Code.UNEXPLAINED
            findings.differences.append(Difference(symbol, ours, broker, cause))
        else:
            # Seen once: an execution may be on its way. The next snapshot decides, with what was told until then.
            findings.suspects[symbol] = gap
            findings.again = True
    waiting = touched | findings.suspects.keys()
    findings.untold = sorted(name for name, traded in book.foreign_traded.items() if traded.units and name in waiting)


def _cash(state: EngineState, event: Mapping[str, Any], findings: Findings) -> None:
    told = event["values"].get("TotalCashValue", math.nan)
    if not math.isfinite(told):
        return
    if not math.isfinite(state.book.cash):
        findings.cash = told
        return
    gap = told - state.book.cash
    quiet = not state.book.live and not state.reconciling.touched
    if abs(gap) <= CASH_TOLERANCE or not quiet:
        return
    # Account values lag executions, so a difference counts only when two quiet snapshots agree on it.
    if abs(gap - state.reconciling.cash_suspect) <= CASH_TOLERANCE:
        findings.cash = told
    else:
        findings.cash_suspect = gap
