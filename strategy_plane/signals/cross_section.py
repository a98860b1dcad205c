"""The signals of this release at one moment, from raw values to neutral scores, with a code wherever one abstains.

MOM and REV are cross-sectional: standardised and neutral to market, sector and size, so they need shares outstanding from
filings. POS is a time-series score in standard deviations of the name's own return, so it needs the T-bill instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy_plane.inputs.assets_table import AssetsTable
from strategy_plane.inputs.panel import PricePanel
from strategy_plane.inputs.point_in_time import FactBook, MacroBook, risk_free, tbill_code
from strategy_plane.inputs.window import Array
from strategy_plane.risk.covariance import EwmaMoments
from strategy_plane.risk.market_model import MarketModel
from strategy_plane.signals import factors, scores
from triplane.domain.targets import StrategyTargets
from triplane.domain.timestamps import DAY

SIGNALS = ("MOM", "REV", "POS")
FACTORS = ("BETA", "SIZE", "MOMENTUM")


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """Signals of N names: raw values and scores (K x N), factor exposures (F x N), and abstention codes per signal and name."""

    raw: Array
    scores: Array
    exposures: Array
    codes: dict[str, list[str]]
    size_usable: NDArray[np.bool_]

    def abstained(self, table: AssetsTable) -> list[str]:
        """`SIGNAL:SYMBOL:CODE` of every abstention of a tradable name, in order."""
        return [
            f"{signal}:{table.symbols[column]}:{self.codes[signal][column]}"
            for row, signal in enumerate(SIGNALS)
            for column in table.tradable
            if not np.isfinite(self.scores[row, column])
        ]


def compute(
    panel: PricePanel,
    market: MarketModel,
    moments: EwmaMoments,
    facts: FactBook,
    macro: MacroBook,
    table: AssetsTable,
    targets: StrategyTargets,
    t: int,
) -> Signals:
    """Signals from what was folded so far, judged at t (ns UTC): bars, filings and vintages known by then and nothing else."""
    members = table.members
    window = max(targets.MOM_LOOKBACK, targets.POS_LOOKBACK) - 1
    returns = panel.returns.tail(window)

    shares, dates = facts.shares(table.symbols)
    stale = t - dates > targets.FACTS_STALE_DAYS * DAY
    size_raw = np.where(stale | ~members, np.nan, factors.log_size(shares, panel.last_close))
    size = scores.standardise(size_raw, targets.WINSOR_Z)
    beta = np.where(members, market.beta(targets.COV_MIN_OBS), np.nan)

    bill_times, _ = macro.observations(targets.TBILL_SERIES)
    bill_code = tbill_code(bill_times, t, targets.TBILL_STALE_DAYS)
    rates = risk_free(macro, targets.TBILL_SERIES, panel.session_time.tail(window)[:, 0])

    age = panel.age
    mom = factors.momentum(returns, age, targets.MOM_LOOKBACK, targets.MOM_LAG, targets.MOM_H)
    rev = factors.reversal(market.residuals.tail(targets.REV_LOOKBACK), age, targets.REV_LOOKBACK, targets.REV_H)
    pos = factors.own_trend(returns, rates, moments.volatility(), age, targets.POS_LOOKBACK, targets.POS_CAP)
    if bill_code:
        pos = np.full(len(pos), np.nan)
    raw = np.where(members, np.vstack([mom, rev, pos]), np.nan)

    limit, least = targets.WINSOR_Z, targets.SECTOR_MIN_NAMES
    result = np.vstack(
        [
            scores.cross_sectional(raw[0], beta, size, table.sectors, limit, least),
            scores.cross_sectional(raw[1], beta, size, table.sectors, limit, least),
            raw[2],
        ]
    )
    size_usable = np.isfinite(size_raw)
    facts_codes = np.where(dates == 0, "FACTS_MISSING", np.where(stale, "FACTS_STALE", ""))
    codes = {
        "MOM": _codes(age >= targets.MOM_LOOKBACK, raw[0], facts_codes),
        "REV": _codes(age > targets.REV_LOOKBACK, raw[1], facts_codes),
        "POS": [bill_code] * len(age)
        if bill_code
        else _codes(age >= targets.POS_LOOKBACK, raw[2], np.full(len(age), "")),
    }
    return Signals(raw, result, np.vstack([beta, size, mom]), codes, size_usable)


def _codes(warm: NDArray[np.bool_], raw: Array, needs: NDArray[np.str_]) -> list[str]:
    """Why each name would abstain (N), the first that applies; DEGENERATE when only the cross-section is to blame."""
    return [
        "WARMING" if not is_warm else "SPARSE" if not np.isfinite(value) else str(need) or "DEGENERATE"
        for is_warm, value, need in zip(warm, raw, needs, strict=True)
    ]
