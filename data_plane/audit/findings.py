"""What an audit finds: a kind, the bars it concerns, and what would mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNIT_100X: Final = "UNIT_100X"
SPLIT_NOT_APPLIED: Final = "SPLIT_NOT_APPLIED"
SPLIT_APPLIED_TWICE: Final = "SPLIT_APPLIED_TWICE"
SPLIT_NOT_RECORDED: Final = "SPLIT_NOT_RECORDED"
LEVEL_SHIFT: Final = "LEVEL_SHIFT"
DIVIDEND_NOT_ADJUSTED: Final = "DIVIDEND_NOT_ADJUSTED"
DIVIDEND_MISADJUSTED: Final = "DIVIDEND_MISADJUSTED"
DIVIDEND_AMOUNT: Final = "DIVIDEND_AMOUNT"
DIVIDEND_REPEATED: Final = "DIVIDEND_REPEATED"
DIVIDEND_DATE: Final = "DIVIDEND_DATE"
DIVIDEND_NOT_RECORDED: Final = "DIVIDEND_NOT_RECORDED"
PRICE_IMPOSSIBLE: Final = "PRICE_IMPOSSIBLE"
PRICE_SPIKE: Final = "PRICE_SPIKE"
PRICE_STRAY: Final = "PRICE_STRAY"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. `first` and `last` are the places of the affected bars, `place` the bar on which it shows."""

    kind: str
    place: int
    first: int
    last: int
    detail: str
    repair: str = ""
    """What was done about it in the mended series; empty: nothing."""
    factor: float = 1.0
    """What the prices of the affected bars were multiplied by there."""
    rows: tuple[str, ...] = ()
    """Times, as the file writes them, of rows that are no bars of the series, where they are the fault; `place` is the bar beside them."""
