"""How good an audit is, where the truth is known: a series with a fault beside its corrected twin."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from data_plane.audit.findings import Finding
from data_plane.audit.series import PriceSeries
from data_plane.observations import Floats, Ints

UNIT, SPLIT, DIVIDEND, PRICE = "unit", "split", "dividend", "price"
# A fault is found when a finding of its class lies within this many bars of it.
NEAR_BARS = 5
SAME = 1e-4
# A repair is right when it comes as close as this.
MATCH = 0.01
# What rounding may do to a step of adjusted to raw closes: cents at twenty dollars.
STEP_SLACK = 5e-4
HUNDRED = (80.0, 125.0)
BY_SPLIT = 0.01


@dataclass(frozen=True, slots=True)
class Truth:
    """What is wrong with a series: a class of faults and the places at which it begins, ends or stands on record."""

    fault: str
    places: Ints


def fault_class(finding: Finding) -> str:
    """Class of a finding: unit, split, dividend or price."""
    return finding.kind.partition("_")[0].lower()


def truth(series: PriceSeries, twin: PriceSeries) -> Truth | None:
    """What the corrected twin (the same bars) says of a series; None when they are equal. Raises ValueError for other bars.

    Wrong closes are a fault of unit when all of them are about a hundred times off and no split has such a ratio; of a split when they are off
    by one on record; else of a price. Wrong opens, highs or lows alone are one of a price.
    """
    if len(series) != len(twin) or (series.times != twin.times).any():
        raise ValueError("the twin has other bars")
    close = twin.close / series.close
    if (np.abs(close - 1.0) > SAME).any():
        return Truth(_class_of(series, close[np.abs(close - 1.0) > SAME]), _edges(close))
    adjusted = (
        np.ones_like(close) if series.adjusted is None or twin.adjusted is None else twin.adjusted / series.adjusted
    )
    paid = np.flatnonzero(
        np.abs(series.dividends - twin.dividends) > SAME * np.maximum(series.dividends, twin.dividends)
    )
    places = np.union1d(paid, _edges(adjusted))
    if len(places):
        return Truth(DIVIDEND, places)
    other = np.flatnonzero((np.abs(twin.prices / series.prices - 1.0) > SAME).any(axis=1))
    return Truth(PRICE, other) if len(other) else None


def _class_of(series: PriceSeries, wrong: Floats) -> str:
    factors = np.maximum(wrong, 1.0 / wrong)
    ratios = series.splits[series.splits > 0.0]
    ratios = np.maximum(ratios, 1.0 / ratios)
    if ((factors > HUNDRED[0]) & (factors < HUNDRED[1])).all() and not (
        (ratios > HUNDRED[0]) & (ratios < HUNDRED[1])
    ).any():
        return UNIT
    by_split = any((np.abs(factors / ratio - 1.0) < BY_SPLIT).all() for ratio in ratios.tolist())
    return SPLIT if by_split else PRICE


def _edges(ratio: Floats) -> Ints:
    """Places of the bars on both sides of a change of the ratio."""
    changes = np.flatnonzero(np.abs(np.diff(np.log(ratio))) > SAME)
    return np.union1d(changes, changes + 1)


def matches(finding: Finding, true: Truth) -> bool:
    """Whether a finding names the fault: its class, and a place within NEAR_BARS of it."""
    near = np.abs(true.places - finding.place).min(initial=NEAR_BARS + 1) <= NEAR_BARS
    return bool(near) and fault_class(finding) == true.fault


@dataclass(slots=True)
class Score:
    """Counts for one class of faults."""

    broken: int = 0
    found: int = 0
    findings: int = 0
    right: int = 0
    repairs: int = 0
    """Findings that claim a repair, and those of them after which the series is the twin."""
    matching: int = 0

    @property
    def recall(self) -> float | None:
        """Share of the broken series in which the fault was found; None without any."""
        return self.found / self.broken if self.broken else None

    @property
    def precision(self) -> float | None:
        """Share of the findings that name a fault; None without any."""
        return self.right / self.findings if self.findings else None


def repaired(findings: Sequence[Finding], mended: PriceSeries, twin: PriceSeries) -> list[Finding]:
    """Findings whose repair makes the series that is `mended` match the corrected twin within MATCH, on the bars that they concern.

    These are those on which it is claimed and one on either side of them, so that too short an extent shows as too long a one does: prices, the shares
    where the repair names them, the amount of a payment, and the steps of adjusted to raw closes.
    """
    return [finding for finding in findings if finding.repair and _is_twin(finding, mended, twin)]


def _is_twin(finding: Finding, mended: PriceSeries, twin: PriceSeries) -> bool:
    bars = slice(max(finding.first - 1, 0), finding.last + 2)
    same = _are_same(mended.prices[bars], twin.prices[bars])
    if "volume" in finding.repair:
        same = same and _are_same(mended.volume[bars], twin.volume[bars])
    if fault_class(finding) == DIVIDEND:
        same = same and _are_same(mended.dividends[bars], twin.dividends[bars])
    if mended.adjusted is None or twin.adjusted is None:
        return same
    # Not their level, to which later payments that are not this finding's belong.
    steps = np.diff(np.log(mended.adjusted[bars] / mended.close[bars]))
    right = np.diff(np.log(twin.adjusted[bars] / twin.close[bars]))
    return same and bool((np.abs(steps - right) <= STEP_SLACK + MATCH * np.abs(right)).all())


def _are_same(values: Floats, right: Floats) -> bool:
    return np.allclose(values, right, rtol=MATCH, atol=0.0, equal_nan=True)


def score(
    results: Sequence[tuple[Sequence[Finding], Truth | None]], matching: Sequence[Collection[Finding]] = ()
) -> dict[str, Score]:
    """Scores by class, and of all under "all", for series whose truth is known (None: nothing is wrong with it).

    `matching` has for each series the findings whose repair is right (see `repaired`).
    """
    scores: dict[str, Score] = {"all": Score()}
    for place, (findings, true) in enumerate(results):
        matched = matching[place] if place < len(matching) else ()
        if true is not None:
            found = any(matches(finding, true) for finding in findings)
            for name in (true.fault, "all"):
                entry = scores.setdefault(name, Score())
                entry.broken += 1
                entry.found += found
        for finding in findings:
            right = true is not None and matches(finding, true)
            for name in (fault_class(finding), "all"):
                entry = scores.setdefault(name, Score())
                entry.findings += 1
                entry.right += right
                entry.repairs += bool(finding.repair)
                entry.matching += finding in matched
    return scores
