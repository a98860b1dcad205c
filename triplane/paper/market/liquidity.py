"""The simulated part of the market that a learner may be compared with: spread, volume and impact of each name.

All of this is invented. Volumes are about what the names traded in early 2018, in units of the adjusted closes; half spreads are
never below half a tick at the prices of 2018, so that rounding quotes to ticks leaves them unbiased.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

IMPACT_Y: Final = 0.7  # away from IMPACT_Y_INIT = 1.0, so that a learner that only repeats its prior is found out


@dataclass(frozen=True, slots=True)
class TrueCost:
    """What an aggressive order pays, by construction of the simulation.

    half_spread: fraction of mid. impact_y: coefficient of `Y * sigma_daily * sqrt(q / adv)`, the average displacement of a
    whole parent of q units (square-root law, Almgren et al. 2005; Toth et al. 2011). adv: units a session, median.
    """

    half_spread: float
    impact_y: float
    adv: float


_HALF_SPREAD_BP_AND_ADV: Final[Mapping[str, tuple[float, float]]] = {
    "AAPL": (1.5, 160e6),
    "AMD": (5.0, 60e6),
    "BAC": (2.2, 75e6),
    "BBY": (2.0, 4.5e6),
    "CVX": (1.0, 7e6),
    "GE": (1.0, 16e6),
    "HD": (1.0, 5.5e6),
    "JNJ": (0.8, 7.5e6),
    "JPM": (0.8, 16e6),
    "KO": (1.6, 14e6),
    "LLY": (1.5, 4.5e6),
    "MRK": (1.5, 13e6),
    "MSFT": (0.9, 35e6),
    "PEP": (1.0, 5.5e6),
    "PFE": (2.2, 27e6),
    "PG": (1.0, 10e6),
    "RRC": (6.0, 7e6),
    "UNH": (1.2, 3.5e6),
    "WMT": (0.9, 10e6),
    "XOM": (1.1, 15e6),
}

TRUE_COSTS: Final[Mapping[str, TrueCost]] = MappingProxyType(
    {symbol: TrueCost(bp / 10_000, IMPACT_Y, adv) for symbol, (bp, adv) in _HALF_SPREAD_BP_AND_ADV.items()}
)
_UNKNOWN_NAME: Final = TrueCost(3e-4, IMPACT_Y, 5e6)


def true_cost(symbol: str) -> TrueCost:
    """Truth of a name; one that the table does not hold gets a middling liquidity."""
    return TRUE_COSTS.get(symbol, _UNKNOWN_NAME)
