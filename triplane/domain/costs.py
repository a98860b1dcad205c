"""What trading costs, as fractions of notional: the formula that the optimiser charges and that the order plane learns.

cost(q) = half_spread + linear + Y * sigma_daily * sqrt(q / adv), on the whole parent of q units.
Sources: square-root law: Almgren, Thum, Hauptmann, Li (2005), "Direct Estimation of Equity Market Impact"; Toth et al. (2011),
"Anomalous Price Impact and the Critical Nature of Liquidity in Financial Markets". Shortfall: Perold (1988), "The Implementation
Shortfall: Paper versus Reality".
"""

from __future__ import annotations

import math

SESSION_SECONDS = 23_400.0  # 09:30 to 16:00: the day that sigma_daily spans


def impact_unit(sigma_daily: float, quantity: float, adv: float) -> float:
    """sigma * sqrt(q / adv), fraction: what Y multiplies. `quantity` and `adv` in units, positive."""
    return sigma_daily * math.sqrt(quantity / adv)


def expected_cost(
    quantity: float, adv: float, sigma_daily: float, *, half_spread: float, linear: float, impact: float
) -> float:
    """Expected cost of a parent as a fraction of its notional."""
    return half_spread + linear + impact * impact_unit(sigma_daily, quantity, adv)


def shortfall(side: int, average_price: float, arrival_mid: float) -> float:
    """Signed cost of what was executed against the mid at arrival, fraction of notional; `side` +1 buy, -1 sell. Positive is a cost."""
    return side * (average_price - arrival_mid) / arrival_mid


def timing_sd(sigma_daily: float, seconds: float) -> float:
    """Standard deviation (fraction) of an evenly executed parent's average price around its arrival, from the market's own moves.

    sigma * sqrt(T / 3): the average of a Brownian path over [0, T] has a third of the end point's variance.
    """
    return sigma_daily * math.sqrt(max(seconds, 0.0) / SESSION_SECONDS / 3.0)
