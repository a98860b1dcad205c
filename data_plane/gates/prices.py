"""Price sanity: bars and quotes that cannot be true, judged across names at once.

A bar is bad when a price is not positive, high and low contradict each other or open and close, volume is negative or without
trades, or it lies too far from the name's last good close. A jump that stays is news and not a bad print: after `confirm` further
bars that agree with it the new level is accepted (law L9 holds the name until then). A level 100 times off (cents for dollars) never
confirms itself.

A close is a measure only for what comes soon after it: `PriceMemory.start_anew` is for names of which nothing was heard for longer, whose
next bar is like a first one.

A split or dividend on record between the last good close and the bar changes the close that the bar is compared with. Closes that were
loaded as history may have been adjusted for it already, which nothing in them tells: then the nearer of the two levels counts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_plane.gates import splits
from data_plane.observations import CLOSE, HIGH, LOW, OPEN, VOLUME, Floats, Ints

Codes = NDArray[np.int8]

PASS: Final = 0
# Index = verdict; the order is the order of judgement, a later test never overrides an earlier one.
CODES: Final[tuple[str, ...]] = (
    "",
    "PRICE_NOT_A_NUMBER",
    "PRICE_NOT_POSITIVE",
    "HIGH_BELOW_LOW",
    "OUTSIDE_RANGE",
    "VOLUME_NEGATIVE",
    "UNIT_100X",
    "PRICE_SPIKE",
    "BID_ABOVE_ASK",
    "SPREAD_WIDE",
    "SIZE_NEGATIVE",
    "VOLUME_WITHOUT_TRADES",
    "TRADES_WITHOUT_VOLUME",
    "SPLIT_SUSPECTED",
    "SPLIT_NOT_APPLIED",
    "PRICE_FROZEN",
    "SOURCES_DISAGREE",
    "SIZE_IN_LOTS",
)
NOT_A_NUMBER, NOT_POSITIVE, HIGH_BELOW_LOW, OUTSIDE_RANGE, VOLUME_NEGATIVE, UNIT_100X, SPIKE = range(1, 8)
CROSSED, SPREAD_WIDE, SIZE_NEGATIVE = range(8, 11)
NO_TRADES, NO_VOLUME, SPLIT_SUSPECTED, SPLIT_NOT_APPLIED, FROZEN, DISAGREE, SIZE_IN_LOTS = range(11, 18)
HELD: Final = (SPIKE, SPLIT_SUSPECTED, SPLIT_NOT_APPLIED)
"""Levels that further bars may confirm."""
LEVELS: Final = (UNIT_100X, *HELD)
LEVEL_CODES: Final = frozenset(CODES[code] for code in LEVELS)
"""Verdicts on where a bar lies from the last good close."""

# A factor between 80 and 125 either way is taken for a unit error: 100 within what a price moves meanwhile.
UNIT_LOW, UNIT_HIGH = 80.0, 125.0
# Open and close may lie outside [low, high] by rounding of an adjustment.
RANGE_TOLERANCE = 1e-4


# A feed in lots rounds odd lots down to no volume: so few trades without any may be that.
FEW_TRADES = 10


def _unit_error(ratio: Floats) -> NDArray[np.bool_]:
    factor = np.where(ratio < 1.0, 1.0 / ratio, ratio)
    return np.asarray((factor >= UNIT_LOW) & (factor <= UNIT_HIGH))


def judge_bars(values: Floats, reference: Floats, limit: Floats, trades: Ints | None = None) -> Codes:
    """Verdict per row. `values` (n, 6) and `trades` (n,) as in Bars; `reference` (n,) last good close, NaN when there is none; `limit`
    (n,) fraction."""
    count = len(values)
    codes: Codes = np.zeros(count, dtype=np.int8)
    prices = values[:, : CLOSE + 1]

    def mark(bad: NDArray[np.bool_], code: int) -> None:
        np.putmask(codes, bad & (codes == PASS), code)

    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mark(np.asarray(~np.isfinite(values[:, : VOLUME + 1]).all(axis=1)), NOT_A_NUMBER)
        mark(np.asarray((prices <= 0.0).any(axis=1)), NOT_POSITIVE)
        high, low = values[:, HIGH], values[:, LOW]
        mark(high < low, HIGH_BELOW_LOW)
        inner = values[:, (OPEN, CLOSE)]
        slack = high * RANGE_TOLERANCE
        mark((inner.max(axis=1) > high + slack) | (inner.min(axis=1) < low - slack), OUTSIDE_RANGE)
        mark(values[:, VOLUME] < 0.0, VOLUME_NEGATIVE)
        if trades is not None:
            mark((values[:, VOLUME] > 0.0) & (trades == 0), NO_TRADES)
            mark((values[:, VOLUME] == 0.0) & (trades >= FEW_TRADES), NO_VOLUME)
        # Within one bar as well: a single print in the wrong unit stretches its range by the same factor.
        mark(_unit_error(values[:, CLOSE] / reference) | _unit_error(high / low), UNIT_100X)
        mark(np.maximum(np.abs(high / reference - 1.0), np.abs(low / reference - 1.0)) > limit, SPIKE)
    return codes


def judge_quotes(bid: Floats, ask: Floats, bid_size: Floats, ask_size: Floats, spread_max: float) -> Codes:
    """Verdict per row; a side that is NaN does not exist, which is no fault. `spread_max` is a fraction of mid."""
    codes: Codes = np.zeros(len(bid), dtype=np.int8)

    def mark(bad: NDArray[np.bool_], code: int) -> None:
        np.putmask(codes, bad & (codes == PASS), code)

    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mark(np.isinf(bid) | np.isinf(ask), NOT_A_NUMBER)
        mark((bid <= 0.0) | (ask <= 0.0), NOT_POSITIVE)
        mark((bid_size < 0.0) | (ask_size < 0.0), SIZE_NEGATIVE)
        mark(bid > ask, CROSSED)
        mark((ask - bid) / ((ask + bid) / 2.0) > spread_max, SPREAD_WIDE)
    return codes


@dataclass(slots=True)
class PriceMemory:
    """Last good close and an unconfirmed level per name, for one interval; arrays are aligned with the universe."""

    close: Floats
    session: Ints
    """Ordinal of the session of `close`; 0 before the first."""
    time: Ints
    """End of the bar of `close`, ns UTC; 0 before the first."""
    candidate: Floats
    agreed: Ints
    """Bars in a row that agree with `candidate`."""
    history: NDArray[np.bool_]
    """Whether `close` was loaded as history."""
    heard: Ints
    """Ordinal of the session of the newest bar that was held against `close`, good or off its level: what stays off it for long does not
    become right by that. 0 before the first."""

    @classmethod
    def empty(cls, names: int) -> PriceMemory:
        """Nothing known of `names` names."""
        return cls(
            np.full(names, np.nan),
            np.zeros(names, dtype=np.int64),
            np.zeros(names, dtype=np.int64),
            np.full(names, np.nan),
            np.zeros(names, dtype=np.int64),
            np.zeros(names, dtype=np.bool_),
            np.zeros(names, dtype=np.int64),
        )

    def start_anew(self, places: Ints) -> None:
        """Nothing is known any more of the names at `places`: their next bar is a first one."""
        first = PriceMemory.empty(1)
        for column in fields(self):
            getattr(self, column.name)[places] = getattr(first, column.name)

    def exchange(self, other: PriceMemory, places: Ints) -> None:
        """Exchange what is known of the names at `places` with another memory."""
        for column in fields(self):
            one, two = getattr(self, column.name), getattr(other, column.name)
            one[places], two[places] = two[places], one[places]  # indexing by rows copies


class Adjusted(NamedTuple):
    """Closes to compare with, in the units of the bar's session, where splits and dividends lie between; all (n,)."""

    known: Floats
    fallback: Floats
    known_history: NDArray[np.bool_]
    fallback_history: NDArray[np.bool_]


def _nearer(close: Floats, adjusted: Floats, as_it_was: Floats, doubtful: NDArray[np.bool_]) -> Floats:
    """`adjusted` (n,), or where it is doubtful which level holds, the one nearer to `close`."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        other = np.abs(np.log(close / as_it_was)) < np.abs(np.log(close / adjusted))
    return np.where(doubtful & other, as_it_was, adjusted)


def judge_with_memory(
    memory: PriceMemory,
    rows: Ints,
    values: Floats,
    session: int,
    *,
    within: float,
    across: float,
    fallback: Floats,
    confirm: int,
    trades: Ints | None = None,
    quiet: NDArray[np.bool_] | None = None,
    adjusted: Adjusted | None = None,
    others: Codes | None = None,
    history: bool = False,
) -> Codes:
    """Judge one slice and update the memory. `rows` (n,) are the names' places in the memory.

    `within` limits the move from a bar of the same session, `across` from an earlier one; `fallback` (n,) is a close to compare
    with where the memory has none of this session (the last daily close), NaN where there is none either. `quiet` (n,) tells which bars
    have a turnover that is no news (None: the day is too young to tell), `adjusted` what actions make of memory and fallback, `others`
    (n,) what other gates say of bars that pass this one.
    """
    # History that is loaded again begins long before the last good close: there is nothing to compare its first bar with.
    earlier = memory.session[rows] <= session
    known = np.where(earlier, memory.close[rows], np.nan)
    same = memory.session[rows] == session
    own = same | np.isnan(fallback)
    as_it_was = reference = np.where(own, known, fallback)
    if adjusted is not None:
        reference = np.where(own, np.where(earlier, adjusted.known, np.nan), adjusted.fallback)
        doubtful = np.where(own, adjusted.known_history, adjusted.fallback_history)
        reference = _nearer(values[:, CLOSE], reference, as_it_was, doubtful)
    limit = np.where(same, within, across)
    codes = judge_bars(values, reference, limit, trades)
    if not same.all():
        passes = codes == PASS
        if adjusted is not None:
            # By more than a dividend, or the two levels could not be told apart.
            told = ~same & (np.abs(reference / as_it_was - 1.0) > splits.CLOSE_SLACK)
            np.putmask(codes, told & (passes | (codes == SPIKE)) & splits.near(values, as_it_was), SPLIT_NOT_APPLIED)
        may_be = ~same & ((codes == SPIKE) | (passes & (codes == PASS) & (True if quiet is None else quiet)))
        if may_be.any():
            np.putmask(codes, may_be & splits.like_a_split(values, reference), SPLIT_SUSPECTED)
    held = np.isin(codes, HELD) if codes.any() else np.zeros(len(codes), dtype=np.bool_)
    if held.any():
        places = rows[held]
        closes, limits = values[held, CLOSE], limit[held]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            agrees = np.abs(closes / memory.candidate[places] - 1.0) <= limits
        memory.agreed[places] = np.where(agrees, memory.agreed[places] + 1, 0)
        memory.candidate[places] = closes
        accepted = np.flatnonzero(held)[memory.agreed[places] >= confirm]
        codes[accepted] = PASS
    if others is not None:
        np.copyto(codes, others, where=codes == PASS)
    passed = codes == PASS
    places = rows[passed]
    memory.close[places] = values[passed, CLOSE]
    memory.session[places] = session
    memory.heard[rows[passed | held | (codes == UNIT_100X)]] = session
    memory.history[places] = history
    memory.candidate[places] = np.nan
    memory.agreed[places] = 0
    return codes
