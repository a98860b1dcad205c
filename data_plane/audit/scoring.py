"""How good an audit is, where the truth is known: a series with a fault beside its corrected twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_plane.audit.findings import Finding
from data_plane.audit.series import PriceSeries
from data_plane.observations import Floats, Ints

UNIT, SPLIT, DIVIDEND, PRICE = "unit", "split", "dividend", "price"
# A fault is found when a finding of its class lies within this many bars of it.
NEAR_BARS = 5
SAME = 1e-4
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

    @property
    def recall(self) -> float | None:
        """Share of the broken series in which the fault was found; None without any."""
        return self.found / self.broken if self.broken else None

    @property
    def precision(self) -> float | None:
        """Share of the findings that name a fault; None without any."""
        return self.right / self.findings if self.findings else None


def score(results: Sequence[tuple[Sequence[Finding], Truth | None]]) -> dict[str, Score]:
    """Scores by class, and of all under "all", for series whose truth is known (None: nothing is wrong with it)."""
    scores: dict[str, Score] = {"all": Score()}
    for findings, true in results:
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
    return scores
