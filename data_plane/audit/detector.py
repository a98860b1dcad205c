"""The whole audit: levels first, since everything else would be judged by them, then dividends, then single bars.

What is odd in bars in which nothing was traded is told as a note and not as a fault, and so is what is odd in single bars of a name
that is seldom traded: their prices are marks, carried over or halfway between quotes, and nobody traded at them. A level that
a split on record explains is a fault all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_plane.audit.dividends import dividend_findings
from data_plane.audit.findings import LEVEL_SHIFT, PRICE_IMPOSSIBLE, PRICE_SPIKE, PRICE_STRAY, UNIT_100X, Finding
from data_plane.audit.levels import level_findings, unrecorded_shifts
from data_plane.audit.prints import impossible_findings, island_findings, stray_findings
from data_plane.audit.series import Moves, PriceSeries, log_returns
from data_plane.observations import HIGH, LOW

# A name of which this share of the bars has no trade is seldom traded.
SELDOM_SHARE = 0.03


@dataclass(frozen=True, slots=True)
class Audit:
    """Result for one series."""

    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    """What is odd but may be real, or was never traded."""
    mended: PriceSeries


def audit(series: PriceSeries) -> Audit:
    """Audit one name's history."""
    moves = Moves.of(series)
    levels = level_findings(series, moves)
    mended = levels.mended
    if levels.findings:
        moves = Moves.of(mended)
    unsettled = levels.unsettled
    shifts = unrecorded_shifts(mended, moves.scale, {edge for each in unsettled for edge in each.edges})
    # What is off by just a factor that the level may be off by says nothing of a dividend.
    returns = np.abs(log_returns(mended.close))
    sizes = [*(each.size for each in unsettled), *(float(returns[shift.place]) for shift in shifts)]
    dividends, whole = dividend_findings(mended, moves.scale, sizes)
    bars = impossible_findings(mended, moves) + island_findings(mended, moves) + stray_findings(mended, moves)
    found = [*levels.findings, *shifts, *dividends, *_one_a_bar(bars)]
    findings, notes = [], []
    traded = series.volume > 0.0
    seldom = bool(traded.any()) and bool(traded.mean() < 1.0 - SELDOM_SHARE)
    for finding in sorted(found, key=lambda finding: (finding.place, finding.kind)):
        if not _is_mark(series, finding, seldom):
            findings.append(finding)
            continue
        # All else was judged on the level that it should have; a mark is told and stays as it came.
        notes.append(replace(finding, repair="", factor=1.0))
        if finding.factor != 1.0:
            whole = whole.scaled(slice(finding.first, finding.last + 1), 1.0 / finding.factor, volume=False)
    return Audit(tuple(findings), tuple(notes), whole)


def _is_mark(series: PriceSeries, finding: Finding, seldom: bool) -> bool:
    """Whether what was found may be real after all, or a mark at which nobody traded."""
    bars = slice(finding.first, finding.last + 1)
    # Neither a mark nor a lone trade has its high below its low, or less than no volume.
    if finding.kind == PRICE_IMPOSSIBLE and _contradicts_itself(series, finding.place):
        return False
    # Indices and currencies have no volume at all: theirs says nothing.
    untraded = bool((series.volume > 0.0).any()) and not (series.volume[bars] > 0.0).any()
    if finding.kind in (PRICE_SPIKE, PRICE_IMPOSSIBLE):
        # One trade leaves one price, and where the bar closed is not known from it; a history of closes alone has only such bars.
        flat = (series.prices[:, HIGH] == series.prices[:, LOW]) & (series.prices[:, LOW] > 0.0)
        single = bool(flat[finding.place]) and bool(flat.mean() < 0.5)
        return seldom or untraded or single
    return finding.kind in (PRICE_STRAY, LEVEL_SHIFT) or (finding.kind == UNIT_100X and untraded)


def _contradicts_itself(series: PriceSeries, place: int) -> bool:
    return bool(series.prices[place, HIGH] < series.prices[place, LOW] or series.volume[place] < 0.0)


def _one_a_bar(findings: list[Finding]) -> list[Finding]:
    """The first finding of each bar: a bar that is impossible is stray as well."""
    first: dict[int, Finding] = {}
    for finding in findings:
        first.setdefault(finding.place, finding)
    return list(first.values())
