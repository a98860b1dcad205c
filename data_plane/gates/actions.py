"""Sanity of corporate actions. A wrong one spoils every price before it, so what cannot be true stays off the log until a person has looked."""

from __future__ import annotations

import math
from typing import Final

from data_plane.gates.schema import Fault
from data_plane.observations import DIVIDEND, SPINOFF, SPLIT, CorporateAction

RATIO = "ACTION_RATIO"
AMOUNT = "ACTION_AMOUNT"
CONFLICT = "ACTION_CONFLICT"

SAME: Final = 1e-3
"""Two sources round one amount differently by less than this share."""
NEAR_DAYS: Final = 40
"""Calendar days before the ex-date within which a close says what a payment can be at most; further off, splits may lie between."""
PAYMENTS: Final = (DIVIDEND, SPINOFF)
"""Kinds of which a name may have several on one day: a regular and a special dividend."""


def action_fault(action: CorporateAction, close: float, days: int, ratio_max: float) -> Fault | None:
    """Fault of the numbers, or None. `close` is the name's last good daily one (NaN: none), `days` from the ex-date.

    A close of the ex-date or later has lost the payment already, and says nothing of it.
    """
    if action.kind == SPLIT:
        ratio = action.ratio
        if not (math.isfinite(ratio) and 1.0 / ratio_max <= ratio <= ratio_max) or ratio == 1.0:
            return Fault(RATIO, f"{action.symbol} split of {ratio:g} for 1 on {action.ex_date}, allowed {ratio_max:g}")
    elif action.kind in PAYMENTS:
        amount = action.amount
        if not (math.isfinite(amount) and amount > 0.0):
            return Fault(AMOUNT, f"{action.symbol} {action.kind} of {amount:g} on {action.ex_date} is no payment")
        if -NEAR_DAYS <= days < 0 and amount >= close:
            return Fault(
                AMOUNT,
                f"{action.symbol} {action.kind} of {amount:g} on {action.ex_date}, the last close being {close:g}",
            )
    return None


def same(action: CorporateAction, ratio: float, amount: float) -> bool:
    """Whether it is the one on record for its name, kind and day."""
    return math.isclose(action.ratio, ratio, rel_tol=SAME) and math.isclose(action.amount, amount, rel_tol=SAME)


def conflict(action: CorporateAction, ratio: float, amount: float) -> Fault:
    """ACTION_CONFLICT: another ratio or amount is on record for the same name, kind and day."""
    said, before = (action.ratio, ratio) if action.kind == SPLIT else (action.amount, amount)
    return Fault(CONFLICT, f"{action.symbol} {action.kind} on {action.ex_date}: {said:g}, on record is {before:g}")
