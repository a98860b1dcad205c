"""Stretches of a history on a wrong level: splits applied to too few bars or twice, and prices in the wrong unit.

Each bar is either right or off by one of a few factors: 100 either way, or the ratio of a split on record either way. The stretches
are the most probable sequence of such errors given the returns they would leave (Viterbi 1967), returns being Student-t around zero
with the name's own scale. The newest bar is taken to be right: it is the unit in which the name trades now.

Only a bar with a move of about such a factor can begin or end a stretch, so the search visits those alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_plane.audit.findings import (
    LEVEL_SHIFT,
    SPLIT_APPLIED_TWICE,
    SPLIT_NOT_APPLIED,
    SPLIT_NOT_RECORDED,
    UNIT_100X,
    Finding,
)
from data_plane.audit.likelihood import surprise
from data_plane.audit.series import Moves, PriceSeries, log_returns
from data_plane.observations import Floats

UNIT = 100.0
# What it costs in nats to believe that an error begins or ends at a bar. Providers err where they have work to do: around a split.
SWITCH_NEAR_SPLIT = 4.0
SWITCH_UNIT = 10.0
SWITCH_FAR = 14.0
NEAR_BARS = 10
# A move is worth a thought when a factor would halve it, and when it is no everyday one.
SCREEN_SHARE, SCREEN_LEAST = 0.5, 0.10

# Ratios in which companies split, either way.
COMMON_RATIOS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0)
# What the price may move on the day of a split beside it, how many times the usual turnover is news, and from how many bars it is known.
SPLIT_SLACK = 0.025
NEWS_TURNOVER, QUIET_BARS = 3.0, 5
SHIFT_LEAST = 0.6


@dataclass(frozen=True, slots=True)
class _Error:
    """A way to be wrong: the log factor that mends it, and the split (place) that it would come from, or -1."""

    correction: float
    split: int


def _ways(series: PriceSeries) -> list[_Error]:
    ways = [_Error(0.0, -1), _Error(float(np.log(UNIT)), -1), _Error(-float(np.log(UNIT)), -1)]
    for place in np.flatnonzero(series.splits > 0.0).tolist():
        ratio = float(np.log(series.splits[place]))
        if abs(ratio) > SCREEN_LEAST:
            ways += [_Error(-ratio, place), _Error(ratio, place)]
    return ways


def _switch(before: _Error, after: _Error, place: int) -> float:
    if before is after:
        return 0.0
    cost = 0.0
    for way in (before, after):
        if way.correction == 0.0:
            continue
        if way.split < 0:
            cost += SWITCH_UNIT
        else:
            # The switch lies between place - 1 and place, and so does an error that ends with the bar before the split.
            cost += SWITCH_NEAR_SPLIT if abs(place - way.split) <= NEAR_BARS else SWITCH_FAR
    return cost


def _candidates(moves: Floats, ways: list[_Error]) -> list[int]:
    steps = np.unique([abs(one.correction - other.correction) for one in ways for other in ways if one is not other])
    steps = steps[steps > 0.0]
    size = np.abs(moves)[:, None]
    near = (np.abs(size - steps[None, :]) <= SCREEN_SHARE * size).any(axis=1) & (size[:, 0] > SCREEN_LEAST)
    return [place for place in np.flatnonzero(near).tolist() if place > 0]


def level_findings(series: PriceSeries, moves: Moves) -> tuple[list[Finding], PriceSeries]:
    """Stretches on a wrong level, and the series with them mended."""
    ways = _ways(series)
    places = _candidates(moves.returns, ways)
    if not places:
        return [], series
    path = _most_probable(ways, places, moves)
    findings: list[Finding] = []
    mended = series
    bounds = [0, *places, len(series)]
    stretch = 0
    while stretch < len(path):
        way, start = path[stretch], stretch
        while stretch < len(path) and path[stretch] is way:
            stretch += 1
        if way.correction == 0.0:
            continue
        first, last = bounds[start], bounds[stretch] - 1
        factor = float(np.exp(way.correction))
        findings.append(_finding(series, way, factor, first, last))
        mended = mended.scaled(slice(first, last + 1), factor, volume=way.split >= 0)
    return findings, mended


def _most_probable(ways: list[_Error], places: list[int], moves: Moves) -> list[_Error]:
    """The error of each stretch between candidates: len(places) + 1 of them, the last one right."""
    cost = [0.0] * len(ways)
    back: list[list[int]] = []
    for place in places:
        move, width = float(moves.returns[place]), float(moves.scale[place])
        arrived: list[float] = []
        came: list[int] = []
        for after in ways:
            options = [
                cost[index]
                + _switch(before, after, place)
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


def _finding(series: PriceSeries, way: _Error, factor: float, first: int, last: int) -> Finding:
    # A stretch that reaches back to the first bar shows where it ends; a shorter one, on its first bar.
    place = last if first == 0 else first
    count = f"{last - first + 1} bar{'s' if last > first else ''}"
    mend = f"prices x {factor:.6g}"
    if way.split < 0:
        detail = f"{count} {'above' if factor < 1 else 'below'} their neighbours by a factor of 100"
        return Finding(UNIT_100X, place, first, last, detail, mend, factor)
    ratio = float(series.splits[way.split])
    twice = (factor > 1.0) == (ratio > 1.0)
    kind = SPLIT_APPLIED_TWICE if twice else SPLIT_NOT_APPLIED
    detail = f"{count} {'divided twice by' if twice else 'not divided by'} the split of {ratio:g}"
    return Finding(kind, place, first, last, detail, f"{mend}, volume / {factor:.6g}", factor)


def unrecorded_shifts(series: PriceSeries, scale: Floats) -> list[Finding]:
    """Changes of level by about a half or more without a split on record nearby.

    One of just a split's ratio is taken for a split when it is no news: the day's turnover in money is as usual, while a crash or a
    takeover of that size multiplies it. All others are told as LEVEL_SHIFT, which may be real.
    """
    moves = log_returns(series.close)
    with np.errstate(invalid="ignore"):
        turnover = series.volume * series.close
    findings = []
    # A shift stays: the bars on both sides lie half as far apart at least. What comes back at once is a bad print and judged as one.
    wide = np.r_[moves[1:], 0.0] + moves, np.r_[0.0, moves[:-1]] + moves
    stays = (np.minimum(*np.abs(wide)) > SHIFT_LEAST / 2.0) & (np.sign(wide[0]) == np.sign(wide[1]))
    for place in np.flatnonzero((np.abs(moves) > SHIFT_LEAST) & stays).tolist():
        if (series.splits[max(place - NEAR_BARS, 0) : place + NEAR_BARS + 1] > 0.0).any():
            continue
        size = abs(float(moves[place]))
        ratio = min(COMMON_RATIOS, key=lambda common: abs(size - np.log(common)))
        around = np.concatenate([turnover[max(place - 21, 0) : place], turnover[place + 1 : place + 22]])
        quiet = len(around) >= QUIET_BARS and 0.0 < turnover[place] < NEWS_TURNOVER * float(np.median(around))
        change = f"the price moves by {np.expm1(moves[place]):+.1%}"
        if quiet and abs(size - np.log(ratio)) <= min(SPLIT_SLACK, 4.0 * float(scale[place])):
            said = f"{ratio:g} for 1" if moves[place] < 0 else f"1 for {ratio:g}"
            detail = f"{change}, as by a split {said}, with turnover as usual"
            findings.append(Finding(SPLIT_NOT_RECORDED, place, 0, place - 1, detail))
        else:
            findings.append(Finding(LEVEL_SHIFT, place, place, place, change))
    return findings
