"""What IB is asked to show of each security type, as a table.

IB has trades of stocks, funds and futures; of currencies only quotes, so their bars are of the midpoint and have neither volume nor
trades (-1 on the wire); of crypto only aggregated trades: error 10299 refuses TRADES, in history and in five-second bars alike.
Regular hours mean something where a session is shorter than the trading day; of futures every hour of the calendar's session counts.
Sources: https://interactivebrokers.github.io/tws-api/historical_bars.html , https://interactivebrokers.github.io/tws-api/realtime_bars.html ,
and for crypto https://github.com/wboayue/rust-ibapi/pull/693
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

IB_DIVIDENDS: Final = "456"
"""Generic tick: past and coming dividends, as tick type 59 (https://interactivebrokers.github.io/tws-api/tick_types.html)."""
ADJUSTED: Final = "ADJUSTED_LAST"
"""whatToShow of a stock's trades adjusted for dividends as well as for splits; asked for without an end."""


class Shown(NamedTuple):
    """`bars` is whatToShow of historical and five-second bars alike, which have to agree for minutes to continue the stream."""

    bars: str
    regular_hours: bool
    """useRTH."""
    volume: bool
    """Whether bars carry volume and number of trades; where not, the record says NaN and -1: unknown, not none."""
    generic_ticks: str = ""
    """What is asked for with a subscription of quotes, which takes no line of its own."""


SHOWN: Final[Mapping[str, Shown]] = {
    "STK": Shown("TRADES", True, True, IB_DIVIDENDS),
    "FUT": Shown("TRADES", False, True),
    "CASH": Shown("MIDPOINT", False, False),
    "CRYPTO": Shown("AGGTRADES", False, True),
}


def shown(sec_type: str) -> Shown:
    """What to ask of a security type; empty (a contract named by its id alone) counts as a stock. Another raises ValueError."""
    try:
        return SHOWN[sec_type or "STK"]
    except KeyError:
        raise ValueError(f"{sec_type} has no bars here; use one of {', '.join(SHOWN)}") from None
