"""Dividends that the adjusted closes contain and the record does not.

The quotient of adjusted and raw closes is constant but for a step at each ex-date. adjustments.py finds the steps that rounding cannot have
made; what is left here is which of them no record explains.
"""

from __future__ import annotations

import numpy as np

from data_plane.adjustments import Dividend, dividends, rounding_errors
from data_plane.audit.findings import DIVIDEND_DATE, DIVIDEND_NOT_RECORDED, Finding
from data_plane.audit.likelihood import surprise
from data_plane.audit.series import PriceSeries
from data_plane.observations import Floats

# A larger share of the price in one payment is an error of the closes, and one of fewer of their largest roundings (of raw and adjusted ones
# together) may be of a day nearby.
SHARE_MAX, ROUNDINGS = 0.5, 4.0
# A step this many bars from a payment or a split on record is that one's.
BESIDE_BARS = 1
# A payment of which nothing is contained on its day, and within this share just that so many bars away, was put on record on another day.
MOVED_BARS, SAME_AMOUNT = 15, 0.10
# An amount is known when its bounds are as close as this, and when so many of the amounts on record lie in theirs, as far as decimals on record
# allow: some providers adjust by the close of the ex-date rather than by the one before it.
KNOWN, CONVENTION, DECIMALS = 0.01, 0.8, 1e-3
# Adjusted closes seldom contain what was never paid: a price that contradicts it must do so by this much, in nats.
DOUBT = float(np.log(100.0))
# Closes of fewer bars than this between two steps are a stretch in which one of the series is wrong.
STRETCH_BARS = 5


def unrecorded_steps(series: PriceSeries) -> list[Dividend]:
    """Payments that the adjusted closes contain on bars on which, and beside which, the record has nothing.

    A series without any dividend on record has no record of them, and none is missing from it. Where the amounts on record are contained
    otherwise than by the close before, the lower bound is 0.
    """
    recorded = np.flatnonzero((series.dividends > 0.0) | (series.splits > 0.0) & (series.splits != 1.0))
    if series.adjusted is None or not (series.dividends > 0.0).any():
        return []
    with np.errstate(invalid="ignore"):
        known = np.isfinite(series.adjusted) & (series.adjusted > 0.0) & np.isfinite(series.close) & (series.close > 0)
    bars = np.flatnonzero(known)
    closes, adjusted = series.close[bars], series.adjusted[bars]
    told = dividends(closes, adjusted)
    rounding = rounding_errors(closes) / closes + rounding_errors(adjusted) / adjusted
    unexplained = [
        place
        for place in (*(step.place for step in told.certain), *told.unsure)
        if place < len(bars) and np.abs(recorded - bars[place]).min() > BESIDE_BARS
    ]
    amounts = series.dividends[bars]
    borne_out = [
        step.low * (1.0 - DECIMALS) <= amounts[step.place] <= step.high * (1.0 + DECIMALS)
        for step in told.certain
        if amounts[step.place] > 0.0
    ]
    exact = bool(borne_out) and float(np.mean(borne_out)) >= CONVENTION
    found = []
    for step in told.certain:
        place = int(bars[step.place])
        alone = all(abs(other - step.place) >= STRETCH_BARS for other in unexplained if other != step.place)
        share = step.amount / series.close[place - 1]
        plausible = known[place - 1] and ROUNDINGS * rounding[step.place] <= share <= SHARE_MAX
        if step.place in unexplained and alone and plausible:
            found.append(step._replace(place=place, low=step.low if exact else 0.0))
    return found


def step_of(place: int, amount: float, steps: list[Dividend]) -> Dividend | None:
    """The step that contains a payment that is on record at `place`, where nothing is contained; None without one."""
    for step in steps:
        if abs(step.place - place) <= MOVED_BARS and abs(step.amount / amount - 1.0) <= SAME_AMOUNT:
            return step
    return None


def date_finding(place: int, amount: float, step: Dividend) -> Finding:
    """A payment of another day; which of the two is right is left to a person."""
    bars = abs(step.place - place)
    when = f"{bars} bar{'s' if bars > 1 else ''} {'later' if step.place > place else 'earlier'}"
    detail = f"{amount:g} on record, which the adjusted closes contain {when}"
    return Finding(DIVIDEND_DATE, place, place, place, detail)


def missing_finding(series: PriceSeries, scale: Floats, step: Dividend) -> Finding:
    """A payment that is missing from the record, with its amount as a repair where it is known."""
    before, after = float(series.close[step.place - 1]), float(series.close[step.place])
    share = step.amount / before
    move, width = float(np.log(after / before)), float(scale[step.place])
    # The bounds leave too much room, or the price says that nothing was paid.
    vague = step.high - step.low > KNOWN * step.amount
    doubtful = surprise(move - float(np.log1p(-share)), width) - surprise(move, width) > DOUBT
    detail = f"the adjusted closes contain {step.amount:.6g} ({share:.2%} of the price), and nothing is on record"
    repair = "" if vague or doubtful else f"dividend {step.amount:.6g}"
    return Finding(DIVIDEND_NOT_RECORDED, step.place, step.place, step.place, detail, repair)
