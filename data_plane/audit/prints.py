"""Single bars that cannot be true: prices that contradict each other, and prices that nothing before or after supports.

A crash, a squeeze and an earnings gap leave traces that a bad print does not: the bar of the day spans the way from one level to the
next, or the price stays where it went. So a bar is called a bad print only when its whole range lies clear of the ranges on both
sides and the price is back where it was (a row of another day or name), or when one of its prices lies far from the others.
"""

from __future__ import annotations

import numpy as np

from data_plane.audit.findings import PRICE_IMPOSSIBLE, PRICE_SPIKE, PRICE_STRAY, UNIT_100X, Finding
from data_plane.audit.series import Moves, PriceSeries
from data_plane.gates.prices import (
    CODES,
    HIGH_BELOW_LOW,
    NOT_A_NUMBER,
    NOT_POSITIVE,
    UNIT_HIGH,
    UNIT_LOW,
    VOLUME_NEGATIVE,
)
from data_plane.observations import CLOSE, HIGH, LOW, OPEN, Floats

# Open and close outside high and low are an auction that the feed's high and low leave out, when they are that by less than a usual
# move, or when the bars before and after traded at such prices (within as much).
CONTRADICTION_MOVES = 1.0
# An island: out and back by this many usual moves and at least this much, the way back missing at most this share of it.
ISLAND_MOVES, ISLAND_LEAST, ISLAND_MISSING = 5.0, 0.03, 0.5
# One price far from the others of its bar. Up to a factor of 2.5 it may be a stop order that met an empty book (HCA lost and regained
# half on 2015-08-24), which is worth a note; beyond that it is none.
STRAY_MOVES, STRAY_LEAST = 20.0, 0.20
BEYOND_BELIEF = float(np.log(2.5))


def impossible_findings(series: PriceSeries, moves: Moves) -> list[Finding]:
    """Bars whose prices contradict each other, and bars of which one price is in another unit."""
    prices = series.prices
    findings = []
    with np.errstate(invalid="ignore", divide="ignore"):
        broken = np.asarray(~np.isfinite(prices).all(axis=1))
        logs = np.log(prices)
        positive = np.asarray((prices > 0.0).all(axis=1))
        high, low, inner = logs[:, HIGH], logs[:, LOW], logs[:, (OPEN, CLOSE)]
        slack = CONTRADICTION_MOVES * moves.scale
        outside = (inner.max(axis=1) > high + slack) | (inner.min(axis=1) < low - slack)
        upside_down = prices[:, HIGH] < prices[:, LOW]
        top, bottom = logs.max(axis=1), logs.min(axis=1)
        spread = np.exp(top - bottom)
        ceiling, floor = _around(top, np.maximum) + slack, _around(bottom, np.minimum) - slack
        supported = (top <= ceiling) & (bottom >= floor)
    contradictory = (outside & ~supported) | upside_down
    unit = (spread >= UNIT_LOW) & (spread <= UNIT_HIGH)
    for place in np.flatnonzero(broken | ~positive | contradictory | unit | (series.volume < 0.0)).tolist():
        row = ", ".join(f"{value:g}" for value in prices[place].tolist())
        if broken[place]:
            reason = CODES[NOT_A_NUMBER]
        elif not positive[place]:
            reason = CODES[NOT_POSITIVE]
        elif unit[place]:
            findings.append(_finding(UNIT_100X, place, f"one of open, high, low, close {row} is in another unit"))
            continue
        elif upside_down[place]:
            reason = CODES[HIGH_BELOW_LOW]
        else:
            reason = CODES[VOLUME_NEGATIVE] if series.volume[place] < 0.0 else "outside high and low"
        findings.append(_finding(PRICE_IMPOSSIBLE, place, f"open, high, low, close {row}: {reason}"))
    return findings


def absent_finding(rows: tuple[str, ...], place: int, prices: str) -> Finding:
    """Rows in a run without a close, of the times `rows`, before the bar at `place`; `prices` are the open, high and low of the first of
    them, empty where the run has none: then nothing says that there was a market."""
    count = f"{len(rows)} row{'s' if len(rows) > 1 else ''}"
    detail = f"{count} without a close, open, high, low {prices}" if prices else f"{count} without prices"
    return Finding(PRICE_IMPOSSIBLE, place, place, place, detail, rows=rows)


def repeated_finding(row: str, place: int, closes: tuple[float, ...]) -> Finding:
    """Rows of one time `row` that say different prices, `closes` in their order; the last is the bar at `place`."""
    values = ", ".join(f"{close:g}" for close in closes)
    detail = f"{len(closes)} rows of this time differ, close {values}; the last counts"
    return Finding(PRICE_IMPOSSIBLE, place, place, place, detail, rows=(row,))


def _around(levels: Floats, widest: np.ufunc) -> Floats:
    """(n,) the extreme of the bars before and after each."""
    padded = np.concatenate([levels[:1], levels, levels[-1:]])
    return np.asarray(widest(padded[:-2], padded[2:]))


def island_findings(series: PriceSeries, moves: Moves) -> list[Finding]:
    """Bars whose whole range lies clear of their neighbours', with the price back where it was on the next."""
    if len(series) < 3:
        return []
    scale = moves.scale[1:-1]
    out, back = moves.returns[1:-1], moves.returns[2:]
    least = np.minimum(np.abs(out), np.abs(back))
    high, low = series.prices[:, HIGH], series.prices[:, LOW]
    above = low[1:-1] > np.maximum(high[:-2], high[2:])
    below = high[1:-1] < np.minimum(low[:-2], low[2:])
    island = (out * back < 0.0) & (least > np.maximum(ISLAND_MOVES * scale, ISLAND_LEAST))
    island &= (np.abs(out + back) < ISLAND_MISSING * least) & (above | below)
    return [
        _finding(
            PRICE_SPIKE,
            place + 1,
            f"{np.expm1(out[place]):+.1%} and back by {np.expm1(back[place]):+.1%}, clear of the bars on both sides",
        )
        for place in np.flatnonzero(island).tolist()
    ]


def stray_findings(series: PriceSeries, moves: Moves) -> list[Finding]:
    """Bars one of whose prices lies far from the others."""
    limit = np.maximum(STRAY_MOVES * moves.scale, STRAY_LEAST)
    findings = []
    for name, column, distance in _distances(series):
        for place in np.flatnonzero(distance > limit).tolist():
            kind = PRICE_SPIKE if distance[place] > BEYOND_BELIEF else PRICE_STRAY
            detail = f"{name} {series.prices[place, column]:g} beside a close of {series.close[place]:g}"
            findings.append(_finding(kind, place, detail))
    return findings


def _distances(series: PriceSeries) -> list[tuple[str, int, Floats]]:
    """How far high, low and open lie from what else the bar and its neighbours say: (n,) logs, 0 where they do not."""
    # An open counts as stray when it lies on one side of the close, of the bar before and of the bar after. The ends have one neighbour.
    with np.errstate(invalid="ignore", divide="ignore"):
        opening, high, low, close = np.log(series.prices).T
        away = np.stack(
            [opening - close, opening - np.r_[close[:1], close[:-1]], opening - np.r_[close[1:], close[-1:]]]
        )
        one_side = np.abs(np.sign(away).sum(axis=0)) == len(away)
        stray = np.where(one_side, np.abs(away).min(axis=0), 0.0)
        above, below = high - np.maximum(opening, close), np.minimum(opening, close) - low
    return [("high", HIGH, above), ("low", LOW, below), ("open", OPEN, stray)]


def _finding(kind: str, place: int, detail: str) -> Finding:
    return Finding(kind, place, place, place, detail)
