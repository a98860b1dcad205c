"""Dividends and splits as a provider's price series tell of them, where it has no list of corporate actions.

Two series of one name's daily closes are compared: those adjusted for splits alone (IB's TRADES) with those adjusted for dividends as well
(ADJUSTED_LAST), and the closes that were published with the same ones loaded again. A dividend D with the close P before its ex-date
multiplies all earlier adjusted closes by 1 - D / P (the convention of CRSP: "Data Descriptions Guide", factor to adjust price), a split
divides all earlier closes by its ratio. So the quotient of the two series is constant but for a step at each ex-date.

Closes are rounded, so each day gives an *interval* in which the quotient lies. Days whose intervals have a point in common may be one
plateau; those that have none cannot be. So no rounding makes a step, and the common part of many days gives the quotient far more closely than
one day's.
"""

from __future__ import annotations

from itertools import pairwise
from math import gcd
from typing import Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from data_plane.observations import Floats

FINEST_STEP: Final = 1e-4
"""Prices that are not rounded to this are taken to be rounded to it all the same, and"""
FLOAT_SHARE: Final = 1e-6
"""to be off by this share of themselves: single precision, and a factor of seven digits."""
STEP_WINDOW: Final = 21
"""Days by which the rounding of one is judged: providers round differently below a dollar, and older prices were split since."""
PLATEAU_DAYS: Final = 3
"""Days that a quotient must hold to be believed."""
LONG_PLATEAU_DAYS: Final = 20
"""Days that plateaus last on average, where closes are believed to have no error: monthly payments leave as many."""
FINE_ERROR: Final = 1e-3
"""Their largest usual rounding, as a share of them, where they are: that of cents at five dollars."""
AMOUNT_WIDTH: Final = 0.1
"""Largest width of an amount's bounds, as a share of it; beyond that the amount is not known."""
CLOSES_DIFFER: Final = 5e-4
"""How far a close that was published may lie from the same one loaded again, as a share: the auction's print came in between."""
SPLIT_DAYS: Final = 3
"""Published closes that must all say the same ratio."""


class Dividend(NamedTuple):
    """A payment whose ex-date is the day `place` of the series: `amount` a share of the series' basis, surely in [low, high]."""

    place: int
    amount: float
    low: float
    high: float


class Dividends(NamedTuple):
    """What two series tell: payments that are certain, and places of steps that are none or of which day or amount is not certain."""

    certain: list[Dividend]
    unsure: list[int]


class Split(NamedTuple):
    """Closes before the day `place` were published in other shares: `ratio` new ones for an old one, NaN where no usual ratio fits."""

    place: int
    ratio: float


class _Plateau(NamedTuple):
    first: int
    last: int
    days: int
    """Without those that fit nowhere."""


def rounding_errors(prices: Floats) -> Floats:
    """Largest error (n,) of each of `prices` (n,) > 0: half the decimal step to which those around it are rounded, and a float's own."""
    window = min(STEP_WINDOW, len(prices))
    steps = np.full(len(prices), FINEST_STEP)
    for digits in (3, 2, 1, 0):
        scaled = prices * 10.0**digits
        rounded = np.abs(scaled - np.round(scaled)) <= FLOAT_SHARE * np.maximum(scaled, 1.0)
        around = sliding_window_view(rounded, window).all(axis=1)
        before = (window - 1) // 2
        whole = np.pad(around, (before, window - 1 - before), mode="edge")
        steps[whole] = 10.0**-digits
    return np.asarray(steps / 2.0 + FLOAT_SHARE * prices)


def _quotients(upper: Floats, lower: Floats, *, exact: bool = False) -> tuple[Floats, Floats]:
    """Bounds (n,) of upper / lower, both rounded, or (`exact`) the upper one alone."""
    up = rounding_errors(upper)
    down = FLOAT_SHARE * lower if exact else rounding_errors(lower)
    room = np.maximum(lower - down, FLOAT_SHARE * lower)
    return np.maximum(upper - up, 0.0) / (lower + down), (upper + up) / room


def _plateaus(low: Floats, high: Floats) -> list[_Plateau]:
    """The fewest runs of days with a point in common, each as long as it can be from the first on.

    One day alone that the days before and the day after contradict is no run: a close that one series has and the other has not.
    """
    found: list[_Plateau] = []
    lows, highs = low.tolist(), high.tolist()
    first, days, floor, top = 0, 0, -np.inf, np.inf
    for day, (least, most) in enumerate(zip(lows, highs, strict=True)):
        if max(floor, least) <= min(top, most):
            floor, top, days = max(floor, least), min(top, most), days + 1
            continue
        after = day + 1
        if days >= PLATEAU_DAYS and after < len(lows) and max(floor, lows[after]) <= min(top, highs[after]):
            continue
        found.append(_Plateau(first, day - 1, days))
        first, days, floor, top = day, 1, least, most
    return [*found, _Plateau(first, len(lows) - 1, days)]


def _common(low: Floats, high: Floats, first: int, last: int) -> tuple[float, float]:
    """Bounds of the quotient that most days of [first, last] share; single days that fit nowhere are left out."""
    lows, highs = np.sort(low[first : last + 1]), np.sort(high[first : last + 1])
    for left_out in range(len(lows)):
        if lows[len(lows) - 1 - left_out] <= highs[left_out]:
            return float(lows[len(lows) - 1 - left_out]), float(highs[left_out])
    return float("nan"), float("nan")


def dividends(closes: Floats, adjusted: Floats, *, now_is_unadjusted: bool = False) -> Dividends:
    """Payments between the first and the last of n days, from `closes` adjusted for splits alone and `adjusted` for dividends as well, both
    (n,) > 0 and of complete days.

    `now_is_unadjusted`: one more day has begun, on which both are the same by definition (prices are adjusted back from it), so that a
    payment whose ex-date it is has the place n. A day is certain when the plateau before it cannot reach over it, nor that from it on back.

    A close that was never adjusted is the price itself and has no error, which makes half the difference. That is believed where it
    explains everything, with long plateaus: closes that were rounded after a split would break them. (Days on which both series are the same
    say nothing of it, and closes of few steps too little.)
    """
    if len(closes) and float(np.median(rounding_errors(closes) / closes)) <= FINE_ERROR:
        strict, plateaus = _dividends(closes, adjusted, now_is_unadjusted, exact=True)
        if not strict.unsure and int((adjusted != closes).sum()) >= LONG_PLATEAU_DAYS * plateaus:
            return strict
    return _dividends(closes, adjusted, now_is_unadjusted, exact=False)[0]


def _dividends(closes: Floats, adjusted: Floats, now_is_unadjusted: bool, *, exact: bool) -> tuple[Dividends, int]:
    """As `dividends`, with the number of plateaus."""
    low, high = _quotients(adjusted, closes, exact=exact)
    if now_is_unadjusted:
        low, high = np.append(low, 1.0), np.append(high, 1.0)
    count = len(low)
    if count < PLATEAU_DAYS + 1:
        return Dividends([], []), 1
    forward = _plateaus(low, high)
    backward = [
        _Plateau(count - 1 - run.last, count - 1 - run.first, run.days)
        for run in reversed(_plateaus(low[::-1], high[::-1]))
    ]
    ends = {run.first: run for run in backward}
    certain: list[Dividend] = []
    unsure: list[int] = []
    errors = rounding_errors(closes)
    for before, run in pairwise(forward):
        place, after = run.first, ends.get(run.first)
        enough = after is not None and (after.days >= PLATEAU_DAYS or (now_is_unadjusted and after.last == count - 1))
        found = None
        if after is not None and enough and before.days >= PLATEAU_DAYS:
            earlier, later = _common(low, high, before.first, place - 1), _common(low, high, place, after.last)
            price, error = float(closes[place - 1]), float(errors[place - 1])
            found = _payment(place, earlier, later, price - error, price + error)
        if found is None:
            unsure.append(place)
        else:
            certain.append(found)
    return Dividends(certain, unsure), len(forward)


def _payment(
    place: int, earlier: tuple[float, float], later: tuple[float, float], least: float, most: float
) -> Dividend | None:
    """The payment between two quotients' bounds with the close before it in [least, most]; None where the step is none, or too vague."""
    low, high = least * (1.0 - earlier[1] / later[0]), most * (1.0 - earlier[0] / later[1])
    if not (low > 0.0 and high - low <= AMOUNT_WIDTH * high):
        return None
    return Dividend(place, roundest(low, high), low, high)


def roundest(low: float, high: float) -> float:
    """The number in [low, high] with the fewest decimals, two at least: payments are declared so. Of several the one nearest the middle."""
    middle = (low + high) / 2.0
    for digits in range(2, 7):
        rounded = round(middle, digits)
        if low <= rounded <= high:
            return rounded
    return middle


def _usual_ratios() -> Floats:
    """Ratios of splits as they are declared, ascending: up to 250 for 1, 20 for 2 to 4, their reverse, and stock dividends of 1/n to 5 %."""
    pairs = {(new, 1) for new in range(2, 251)} | {(new, old) for old in range(2, 5) for new in range(old + 1, 21)}
    pairs |= {(old, new) for new, old in pairs} | {(n + 1, n) for n in range(4, 21)}
    return np.array(sorted({new / old for new, old in pairs if new != old and gcd(new, old) == 1}))


_RATIOS: Final = _usual_ratios()


def split(published: Floats, reloaded: Floats) -> Split | None:
    """A split that closes (n,) of the newest n days before it did not contain when they were `published`, and do now; None without one.

    Both are > 0. All days up to its place must differ by one ratio and be SPLIT_DAYS at least, all from it on (none, where it is n) agree: a single
    corrected close is no split.
    """
    low, high = _quotients(published, reloaded)
    low, high = low * (1.0 - CLOSES_DIFFER), high * (1.0 + CLOSES_DIFFER)
    differs = ~((low <= 1.0) & (high >= 1.0))
    place = int(np.flatnonzero(differs)[-1]) + 1 if differs.any() else 0
    if place < SPLIT_DAYS or not differs[:place].all():
        return None
    floor, top = float(low[:place].max()), float(high[:place].min())
    if floor > top:
        return None
    usual = _RATIOS[np.searchsorted(_RATIOS, floor) : np.searchsorted(_RATIOS, top, side="right")]
    return Split(place, float(usual[0]) if len(usual) == 1 else float("nan"))
