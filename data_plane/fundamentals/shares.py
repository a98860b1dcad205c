"""Splits: on which share basis a filing counts, and how to bring per-share values and share counts to the basis of one time.

After a split, filings restate earlier periods (SEC Staff Accounting Bulletin Topic 4.C); what was filed before stays on the old basis.
Given the splits, a value changes basis with the ex-date. Without them, a split shows in the filing that restates the same periods by one
common ratio, and values filed before are brought to its basis from that filing's availability on, and not earlier.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from data_plane.fundamentals.history import FactHistory, Version, known_versions
from data_plane.fundamentals.periods import DAY_NS

# New shares for one old share that companies choose, and their inverses, which are reverse splits.
RATIOS = (
    1.25,
    4 / 3,
    1.5,
    2.0,
    2.5,
    3.0,
    4.0,
    5.0,
    6.0,
    7.0,
    8.0,
    10.0,
    12.0,
    15.0,
    20.0,
    25.0,
    30.0,
    40.0,
    50.0,
    100.0,
)
USUAL = (*RATIOS, *(1 / ratio for ratio in RATIOS))
# Share counts are reported in thousands or millions: a restated count meets the ratio within this share of itself.
COUNT_TOLERANCE = 0.003
# Half of the last digit of amounts a share that are reported finer than five digits.
ROUNDING_FINEST = 0.5e-6
# A restated value smaller than this (in units of a share's currency) meets too many ratios to tell them apart.
LEAST_PER_SHARE = 0.1
# A split is taken from a filing when this many facts of at least so many concepts, and this part of all that changed, agree.
LEAST_VOTES, LEAST_CONCEPTS, LEAST_PART = 3, 2, 0.5
# A ratio that is none of the usual ones is a recapitalisation or a dividend in shares from this change on; below, a correction.
LEAST_RECAPITALISATION = 0.04
# A count that changes by more than 1,000 to this power (300) was filed in another scale.
LEAST_SCALE = math.log(300, 1000)
# A filing may count in new shares before the ex-date when the split is decided by then.
BOOKS_AHEAD = 120 * DAY_NS


class SplitError(ValueError):
    """A split that cannot be."""


class Split(NamedTuple):
    """`ratio` new shares for each old one, trading from `time` (ns UTC, the ex-date)."""

    time: int
    ratio: float


class Restatement(NamedTuple):
    """A filing that restated facts by one ratio: when it was available, its accession number and the facts that agree."""

    available: int
    accession: str
    ratio: float
    votes: int


@dataclass(frozen=True, slots=True)
class ShareBasis:
    """The splits known at a time, when filings began to count in their shares, and what does not fit. `books` has one entry a split."""

    splits: tuple[Split, ...]
    books: tuple[int, ...]
    source: str
    """`given` or `detected`."""
    notes: tuple[str, ...] = ()

    def factor(self, available: int, time: int) -> float:
        """Shares of `time` for each share in a filing available at `available` (ns UTC both)."""
        factor = 1.0
        for split, books in zip(self.splits, self.books, strict=True):
            if split.time <= time and books > available:
                factor *= split.ratio
            elif split.time > time and books <= available:
                factor /= split.ratio
        return factor


def is_per_share(unit: str) -> bool:
    """Whether a unit is an amount a share, such as USD/shares."""
    return unit.endswith("/shares")


def rebase(value: float, unit: str, factor: float) -> float:
    """A share count times `factor`, an amount a share divided by it, anything else as it is."""
    if unit == "shares":
        return value * factor
    return value / factor if is_per_share(unit) else value


def basis(history: FactHistory, time: int, splits: Sequence[Split] | None) -> ShareBasis:
    """The share basis known at `time`. With `splits` these are used, and restatements that they do not explain are noted; with None,
    splits are taken from the restatements. Raises SplitError for a ratio that is not positive."""
    if splits is None:
        found = restatements(history, time, ())
        notes = tuple(
            f"split {_ratio_text(item.ratio)} taken from {item.votes} facts restated by {item.accession}; give the splits to have its ex-date"
            for item in found
        )
        detected = tuple(Split(item.available, item.ratio) for item in found)
        return ShareBasis(detected, tuple(split.time for split in detected), "detected", notes)
    ordered = tuple(sorted(splits))
    for split in ordered:
        if not split.ratio > 0:
            raise SplitError(f"split of ratio {split.ratio}: give new shares for each old one, a positive number")
    books = [split.time for split in ordered]
    notes_given = []
    for item in restatements(history, time, ordered):
        place = _ahead(item, ordered)
        if place is not None:
            books[place] = min(books[place], item.available)
        else:
            notes_given.append(
                f"{item.accession} restates {item.votes} facts by {_ratio_text(item.ratio)} and no split given explains it; check the list of splits"
            )
    return ShareBasis(ordered, tuple(books), "given", tuple(notes_given))


def _ahead(item: Restatement, splits: Sequence[Split]) -> int | None:
    """The split whose shares a filing used before its ex-date."""
    for place, split in enumerate(splits):
        if 0 < split.time - item.available <= BOOKS_AHEAD and split.ratio == item.ratio:
            return place
    return None


def _ratio_text(ratio: float) -> str:
    return f"{ratio:.4g}:1" if ratio >= 1 else f"1:{1 / ratio:.4g}"


def restatements(history: FactHistory, time: int, splits: Iterable[Split]) -> tuple[Restatement, ...]:
    """Filings available at `time` that restated share facts by one ratio which neither `splits` nor an earlier filing explains.

    Share counts must agree on the ratio, which is one that companies choose or, in a recapitalisation, the one that the counts have.
    """
    changes: dict[tuple[int, str], list[_Change]] = defaultdict(list)
    for concept, unit, table in history.tables():
        if unit == "shares" or is_per_share(unit):
            for versions in table.values():
                if len(versions) > 1:
                    for before, after in pairwise(known_versions(versions, time)):
                        changes[(after.available, after.accession)].append(_Change(concept, unit, before, after))
    applied = list(splits)
    found: list[Restatement] = []
    for (available, accession), items in sorted(changes.items()):
        restatement = _restatement(available, accession, items, applied)
        if restatement is not None:
            found.append(restatement)
            ahead = _ahead(restatement, applied)
            if ahead is not None:  # the same split, counted in before its ex-date
                del applied[ahead]
            applied.append(Split(available, restatement.ratio))
    return tuple(found)


class _Change(NamedTuple):
    concept: str
    unit: str
    before: Version
    after: Version

    @property
    def scale(self) -> float:
        """By which power of 1,000 a share count changed that is too much for a split: a filing in thousands, or mended."""
        if self.unit != "shares" or self.before.value * self.after.value <= 0:
            return 1.0
        return scale_between(self.before.value, self.after.value)


def _restatement(available: int, accession: str, items: list[_Change], applied: Sequence[Split]) -> Restatement | None:
    """The ratio that most of a filing's changes agree on, beyond what the splits applied explain."""
    rest: list[tuple[_Change, float]] = []
    for item in items:
        explained = 1.0
        for split in applied:
            if item.before.available < split.time <= item.after.available:
                explained *= split.ratio
        if not _meets(item, explained):
            rest.append((item, explained))
    if len(rest) < LEAST_VOTES:
        return None
    measured = {
        item.after.value / item.before.value / item.scale / explained
        for item, explained in rest
        if item.unit == "shares" and item.before.value * item.after.value > 0
    }
    best: Restatement | None = None
    for ratio in sorted({_usual(ratio) for ratio in measured}):
        agreeing = [item for item, explained in rest if _meets(item, explained * ratio)]
        votes = len(agreeing)
        concepts = {item.concept for item in agreeing}
        enough = votes >= LEAST_VOTES and votes >= LEAST_PART * len(rest) and len(concepts) >= LEAST_CONCEPTS
        unusual = ratio not in USUAL and abs(ratio - 1) < LEAST_RECAPITALISATION
        if enough and not unusual and (best is None or votes > best.votes):
            best = Restatement(available, accession, ratio, votes)
    return best


def _usual(ratio: float) -> float:
    """The ratio that companies choose which a measured one is near to, else the measured one."""
    return next((usual for usual in USUAL if abs(usual - ratio) <= COUNT_TOLERANCE * ratio), ratio)


def _meets(item: _Change, ratio: float) -> bool:
    """Whether a restated value is the old one when one old share became `ratio` new ones, within what rounding does."""
    before, after = item.before.value, item.after.value
    if item.unit == "shares":
        return abs(before * ratio * item.scale - after) <= COUNT_TOLERANCE * abs(after)
    if ratio != 1 and abs(after) < LEAST_PER_SHARE:
        return False
    return abs(before / ratio - after) <= half_digit(before) / ratio + half_digit(after) + 1e-9


def scale_between(before: float, after: float) -> float:
    """The power of 1,000 nearest to after / before where that is beyond any split, else 1; both of one sign."""
    powers = math.log(after / before, 1000)
    return 1000.0 ** round(powers) if abs(powers) >= LEAST_SCALE else 1.0


def half_digit(value: float) -> float:
    """Half of the last digit of an amount a share, which is reported in cents or finer."""
    return next((0.5 / 10**digits for digits in range(2, 6) if round(value, digits) == value), ROUNDING_FINEST)
