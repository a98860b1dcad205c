"""Stretches of a history on a wrong level: splits applied to too few bars or twice, and prices in the wrong unit.

Each bar is either right or off by one of a few factors: 100 either way, or the ratio of a split on record either way. The stretches
are the most probable sequence of such errors given the returns they would leave (Viterbi 1967), returns being Student-t around zero
with the name's own scale. The newest bars are taken to be right: theirs is the unit in which the name trades now. Where only the last few
are on the new level nobody can tell yet which side is wrong, and no repair is claimed.

A split is misapplied around its day: a stretch begins or ends there. Its other end may lie anywhere, where the price moves by just as much the
other way, or be the first bar. A move of a plausible size with the turnover of news is a move. Where another bar would be as good an end, which bars are
wrong cannot be told, and no repair is claimed. Only a bar with a move of about such a factor can begin or end a stretch, so the search visits those alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from data_plane.audit.dividends import payments_off_by
from data_plane.audit.findings import (
    LEVEL_SHIFT,
    SPLIT_APPLIED_TWICE,
    SPLIT_NOT_APPLIED,
    SPLIT_NOT_RECORDED,
    UNIT_100X,
    Finding,
)
from data_plane.audit.likelihood import CLAIM_MARGIN, surprise
from data_plane.audit.series import Moves, PriceSeries, log_returns
from data_plane.audit.turnover import QUIET_BARS, is_news, is_news_on_any_level, shares_are_wrong
from data_plane.observations import Floats

UNIT = 100.0
# What it costs in nats to believe that an error begins or ends at a bar. Providers err where they have work to do: around a split.
SWITCH_NEAR_SPLIT = 4.0
SWITCH_FAR_FROM_SPLIT = 7.0
SWITCH_UNIT = 10.0
NEVER = 1e9
NEAR_BARS = 10
# So many bars on a new level confirm it.
CONFIRMING_BARS = 5
# A price may move by this factor on news; beyond it no turnover makes a move plausible.
NEWS_MOVE = float(np.log(5.0))
# Up to this a share moves in a day often enough.
MOVE_OF_A_DAY = float(np.log(1.6))
# A move is worth a thought when a factor would halve it, and when it is no everyday one.
SCREEN_SHARE, SCREEN_LEAST = 0.5, 0.10

# Ratios in which companies split, either way.
COMMON_RATIOS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0)
# What the price may move on the day of a split beside it.
SPLIT_SLACK = 0.025
SHIFT_LEAST = 0.6


@dataclass(frozen=True, slots=True)
class _Error:
    """A way to be wrong: the log factor that mends it, and the splits (places) that it would come from."""

    correction: float
    splits: tuple[int, ...] = ()
    owes: bool = False
    """It began with the history or far from its split, so that it must end beside it."""

    def near(self, place: int) -> bool:
        """Whether a split that it would come from lies beside a bar."""
        return any(abs(place - split) <= NEAR_BARS for split in self.splits)


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A factor by which the level of some bars may be wrong, not mended."""

    size: float
    """Its log, > 0."""
    edges: tuple[int, ...]
    """Bars at which the level may change."""


@dataclass(frozen=True, slots=True)
class Levels:
    """What was found of levels, and the series with those mended whose extent is beyond doubt."""

    findings: list[Finding]
    mended: PriceSeries
    unsettled: list[Unsettled]


def _ways(series: PriceSeries, *, units_only: bool = False) -> list[_Error]:
    ways = [_Error(0.0), _Error(float(np.log(UNIT))), _Error(-float(np.log(UNIT)))]
    places: dict[float, list[int]] = {}
    for place in () if units_only else recorded_splits(series):
        places.setdefault(float(np.log(series.splits[place])), []).append(place)
    for ratio, at in sorted(places.items()):
        ways += [_Error(sign * ratio, tuple(at), owes) for sign in (-1.0, 1.0) for owes in (False, True)]
    return ways


def recorded_splits(series: PriceSeries) -> list[int]:
    """Bars of splits on record; a ratio of about one, with which some providers fill the column, is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        sizes = np.abs(np.log(series.splits))
    return [int(place) for place in np.flatnonzero((series.splits > 0.0) & np.isfinite(sizes) & (sizes > SCREEN_LEAST))]


def _switch(before: _Error, after: _Error, place: int, news: bool) -> float:
    if before is after:
        return 0.0
    cost = 0.0
    for way in (before, after):
        if way.correction == 0.0:
            continue
        if not way.splits:
            cost += SWITCH_UNIT
            continue
        near = way.near(place)
        # What begins beside its split owes nothing, what does not owes an end there.
        allowed = way.owes != near if way is after else near or not way.owes
        plausible = abs(after.correction - before.correction) < NEWS_MOVE
        if not allowed or (news and plausible):
            return NEVER
        cost += SWITCH_NEAR_SPLIT if near else SWITCH_FAR_FROM_SPLIT
    return cost


def _candidates(moves: Floats, ways: list[_Error]) -> list[int]:
    steps = np.unique([abs(one.correction - other.correction) for one in ways for other in ways if one is not other])
    steps = steps[steps > 0.0]
    size = np.abs(moves)[:, None]
    near = (np.abs(size - steps[None, :]) <= SCREEN_SHARE * size).any(axis=1) & (size[:, 0] > SCREEN_LEAST)
    return [place for place in np.flatnonzero(near).tolist() if place > 0]


def level_findings(series: PriceSeries, moves: Moves) -> Levels:
    """Stretches on a wrong level, and the series with them mended where it is beyond doubt which bars are wrong."""
    findings: list[Finding] = []
    unsettled: list[Unsettled] = []
    mended = series
    ways = _ways(series)
    stretches = _stretches(series, moves, ways)
    edges = {edge for _, first, last in stretches for edge in (first, last + 1)}
    others = [place for place in _candidates(moves.returns, ways) if place not in edges] if edges else []
    for way, first, last in stretches:
        shares = shares_are_wrong(series, first, last, way.correction) if way.splits else False
        finding = _finding(series, way, first, last, shares)
        rivals = _rivals(moves, others, way, first, last) if way.splits else ()
        open_end = _open_end(series, way, stretches, first, last, rivals) if finding.repair and way.splits else ""
        if not _seen(series, moves.scale, way, first, last):
            finding = replace(finding, detail=f"{finding.detail}, in the adjusted closes alone", repair="", factor=1.0)
        elif open_end:
            detail = f"{finding.detail}, {open_end}; which bars are wrong cannot be told"
            sure = last if way.near(last + 1) else first
            finding = replace(finding, place=sure, detail=detail, repair="", factor=1.0)
        findings.append(finding)
        if finding.factor != 1.0:
            mended = mended.scaled(slice(first, last + 1), finding.factor, volume=bool(shares))
        elif way.splits:
            unsettled.append(Unsettled(abs(way.correction), (first, last + 1, *rivals)))
    if series.adjusted is not None:
        findings += _in_closes_alone(series, {(first, last) for _, first, last in stretches})
    return Levels(findings, mended, unsettled)


def _rivals(moves: Moves, others: list[int], way: _Error, first: int, last: int) -> tuple[int, ...]:
    """Bars that may be the end of a stretch as well as the one that it has; that one itself where there may be none."""

    def cost(place: int, step: float) -> float:
        width, move = float(moves.scale[place]), float(moves.returns[place])
        switch = SWITCH_NEAR_SPLIT if way.near(place) else SWITCH_FAR_FROM_SPLIT
        return switch + surprise(move + step, width) - surprise(move, width)

    found: list[int] = []
    end = last + 1
    # One edge lies beside the split; the other is any bar at which the price moves back, or none.
    for anchor, edge, step in ((end, first, way.correction), (first, end, -way.correction)):
        if anchor == 0 or not way.near(anchor):
            continue
        here = cost(edge, step) if edge else 0.0
        unconfirmed = edge == end and not way.near(end) and len(moves.returns) - end < CONFIRMING_BARS
        if edge and (here > -CLAIM_MARGIN or unconfirmed):
            found.append(edge)
        found += [place for place in others if cost(place, step) < here + CLAIM_MARGIN]
    return tuple(found)


def _open_end(
    series: PriceSeries,
    way: _Error,
    stretches: list[tuple[_Error, int, int]],
    first: int,
    last: int,
    rivals: tuple[int, ...],
) -> str:
    """Why it is open where a stretch begins or ends; empty where it is not."""
    if rivals and rivals[0] in (first, last + 1):
        return "if the move at the end away from the split is an error"
    if rivals:
        sure = last if way.near(last + 1) else first
        moved = float(np.expm1(log_returns(series.close)[rivals[0]]))
        return f"or those up to the move of {moved:+.1%} {abs(rivals[0] - sure)} bars {'later' if rivals[0] > sure else 'earlier'}"
    # The amounts on record say it as well: one elsewhere that is off by the ratio lies on a wrong level.
    for place in payments_off_by(series, float(np.exp(-way.correction))):
        if not way.near(place) and not any(start <= place <= stop + 1 for _, start, stop in stretches):
            return f"and a dividend of {series.dividends[place]:g} elsewhere is off by as much"
    return ""


def _in_closes_alone(series: PriceSeries, known: set[tuple[int, int]]) -> list[Finding]:
    """Closes in another unit beside adjusted closes that are right."""
    raw = replace(series, adjusted=None)
    return [
        replace(
            finding, detail=f"{finding.detail}, in the prices but not in the adjusted closes", repair="", factor=1.0
        )
        for way, first, last in _stretches(raw, Moves.of(raw), _ways(raw, units_only=True))
        if (first, last) not in known
        for finding in [_finding(raw, way, first, last, False)]
    ]


def _stretches(series: PriceSeries, moves: Moves, ways: list[_Error]) -> list[tuple[_Error, int, int]]:
    """(error, first bar, last bar) of each stretch that is not right."""
    places = _candidates(moves.returns, ways)
    if not places:
        return []
    path = _most_probable(ways, places, moves, [is_news_on_any_level(series, place) for place in places])
    bounds = [0, *places, len(series)]
    found = []
    stretch = 0
    while stretch < len(path):
        way, start = path[stretch], stretch
        while stretch < len(path) and path[stretch] is way:
            stretch += 1
        if way.correction != 0.0:
            found.append((way, bounds[start], bounds[stretch] - 1))
    return found


def _seen(series: PriceSeries, scale: Floats, way: _Error, first: int, last: int) -> bool:
    """Whether the closes themselves show a stretch that was found in the adjusted ones."""
    closes = log_returns(series.close)
    gain = 0.0
    for place, step in ((first, way.correction), (last + 1, -way.correction)):
        if 0 < place < len(series):
            width = float(scale[place])
            gain += surprise(float(closes[place]), width) - surprise(float(closes[place]) + step, width)
    return gain > 0.0


def _most_probable(ways: list[_Error], places: list[int], moves: Moves, news: list[bool]) -> list[_Error]:
    """The error of each stretch between candidates: len(places) + 1 of them, the last one right."""
    # What is wrong from the first bar on has not begun beside its split.
    cost = [NEVER if way.splits and not way.owes else 0.0 for way in ways]
    back: list[list[int]] = []
    for place, is_new in zip(places, news, strict=True):
        move, width = float(moves.returns[place]), float(moves.scale[place])
        arrived: list[float] = []
        came: list[int] = []
        for after in ways:
            options = [
                cost[index]
                + _switch(before, after, place, is_new)
                + surprise(move + after.correction - before.correction, width)
                for index, before in enumerate(ways)
            ]
            best = min(range(len(options)), key=options.__getitem__)
            arrived.append(options[best])
            came.append(best)
        cost = arrived
        back.append(came)
    path = [0]
    for came in reversed(back):
        path.append(came[path[-1]])
    return [ways[index] for index in reversed(path)]


def _finding(series: PriceSeries, way: _Error, first: int, last: int, shares: bool | None) -> Finding:
    factor = float(np.exp(way.correction))
    # A stretch that reaches back to the first bar shows where it ends; a shorter one, on its first bar.
    place = last if first == 0 else first
    count = f"{last - first + 1} bar{'s' if last > first else ''}"
    mend = f"prices x {factor:.6g}"
    kind = UNIT_100X
    detail = f"{count} {'above' if factor < 1 else 'below'} their neighbours by a factor of 100"
    if way.splits:
        ratio = float(series.splits[way.splits[0]])
        twice = (factor > 1.0) == (ratio > 1.0)
        kind = SPLIT_APPLIED_TWICE if twice else SPLIT_NOT_APPLIED
        detail = f"{count} {'divided twice by' if twice else 'not divided by'} the split of {ratio:g}"
        if shares:
            mend += f", volume / {factor:.6g}"
    rest = len(series) - 1 - last
    if first == 0 and rest < min(CONFIRMING_BARS, last + 1):
        # Either all that came before is wrong, or the last bars are: those are named, and left as they are.
        detail = f"the last {rest} bar{'s' if rest > 1 else ''} by a factor of {1.0 / factor:.6g} off all before, or all before off them"
        return Finding(kind, last + 1, last + 1, len(series) - 1, detail)
    there_and_back = first > 0 and way.near(first) and way.near(last + 1)
    if way.splits and not there_and_back and abs(way.correction) < MOVE_OF_A_DAY:
        # One step of that size may be a day's move beside the split; one there and back is none.
        return Finding(kind, place, first, last, detail)
    return Finding(kind, place, first, last, detail, mend, factor)


def unrecorded_shifts(series: PriceSeries, scale: Floats, known: Collection[int] = ()) -> list[Finding]:
    """Changes of level by about a half or more without a split on record nearby, but for those at `known` bars.

    One of just a split's ratio is taken for a split when it is no news: the day's turnover in money is as usual, while a crash or a
    takeover of that size multiplies it. All others are told as LEVEL_SHIFT, which may be real.
    """
    moves = log_returns(series.close)
    # A shift stays: the bars on both sides lie half as far apart at least. What comes back at once is a bad print and judged as one.
    wide = np.r_[moves[1:], 0.0] + moves, np.r_[0.0, moves[:-1]] + moves
    stays = (np.minimum(*np.abs(wide)) > SHIFT_LEAST / 2.0) & (np.sign(wide[0]) == np.sign(wide[1]))
    places = np.flatnonzero((np.abs(moves) > SHIFT_LEAST) & stays).tolist()
    if not places:
        return []
    splits = recorded_splits(series)
    findings = []
    for place in places:
        if place in known or any(abs(place - split) <= NEAR_BARS for split in splits):
            continue
        size = abs(float(moves[place]))
        ratio = min(COMMON_RATIOS, key=lambda common: abs(size - np.log(common)))
        quiet = bool(series.volume[place] > 0.0) and not is_news(series, place) and len(series) > QUIET_BARS
        change = f"the price moves by {np.expm1(moves[place]):+.1%}"
        if quiet and abs(size - np.log(ratio)) <= min(SPLIT_SLACK, 4.0 * float(scale[place])):
            said = f"{ratio:g} for 1" if moves[place] < 0 else f"1 for {ratio:g}"
            detail = f"{change}, as by a split {said}, with turnover as usual"
            findings.append(Finding(SPLIT_NOT_RECORDED, place, 0, place - 1, detail))
        else:
            findings.append(Finding(LEVEL_SHIFT, place, place, place, change))
    return findings
