"""Revisions of macro values: which are beyond what this series' revisions and changes have been.

A revision is measured as the series moves: in points where its unit is a percentage or its values cross zero, else as a log ratio. What is
usual is the larger of two robust sizes: of the revisions that were accepted, and of the changes from one observation to the next. The
first alone would not do, since most revisions are a tenth of a benchmark revision; a benchmark revision still is no larger than a few
changes. So a series needs no history of revisions to be judged.

A value beyond it is quarantined, and held in mind. Providers of vintages name only what changes: when the next vintage leaves the value as
it is, or restates it alike, the provider stands by it, and it is accepted, as known from that next vintage. Three cases are told apart:

    one value that flips its sign or is 10, 100, 1000 or a million times off is a slip: silence does not confirm it
    most of the history, restated by one factor, is a new base and passes
    the same with a power of ten is another unit: the whole vintage is held, its new observations too, which are in the new unit

What a restated history teaches is what remains of its revisions without their common factor.
Robust size: 1.4826 times the median magnitude of those that are not zero (a value that stays says nothing about how it moves).
On revisions and their sizes: Croushore and Stark, "A real-time data set for macroeconomists", J. Econometrics 105 (2001).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from data_plane.gates.schema import Fault
from data_plane.observations import Vintage

MACRO_REVISION = "MACRO_REVISION"
MACRO_REVISION_UNIT = "MACRO_REVISION_UNIT"
CODES = frozenset({MACRO_REVISION, MACRO_REVISION_UNIT})

REMEMBERED = 512
"""Newest revisions and changes of a series that its usual size is taken from."""
LEAST_SIZES = 3
LEAST_POSITIVE = 8
"""So many values above zero and none at or below it: the series does not change its sign."""
COMMON_LEAST, COMMON_SHARE = 12, 0.5
"""A restatement of the history: so many revised values, and such a share of those known."""
FACTOR_MAX = 50.0
"""Log of the largest factor that is looked at: no base or unit is further off, and a double holds it."""
TENS = (1, 2, 3, 6)
SLIP_TOLERANCE = 0.01
MAD_TO_SIGMA = 1.4826
POINT_UNITS = ("percent", "growth rate", "annualized percent")


class _Known(NamedTuple):
    """Newest accepted number of an observation and the release date that it or a dot after it came with."""

    value: float
    start: str


class _Held(NamedTuple):
    value: float
    start: str
    code: str


@dataclass(slots=True)
class _Series:
    known: dict[int, _Known] = field(default_factory=dict)
    held: dict[int, _Held] = field(default_factory=dict)
    newest: int | None = None
    finite: int = 0
    crosses: bool = False
    # As (before, after), since a series may turn from log ratios to points when it first reaches zero.
    revisions: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    changes: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdict on one vintage. `faults` is in the order of its values sorted by date; `confirmed` are values of earlier vintages, held until
    now, that this one leaves as they are."""

    faults: tuple[Fault | None, ...]
    confirmed: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True)
class RevisionMemory:
    """What is known of each series. `judge` changes nothing; the caller says with `accept` and `hold` what became of the values."""

    series: dict[str, _Series] = field(default_factory=dict)

    def judge(self, vintage: Vintage, revision_max: float) -> Judgement:
        """Judge a vintage: a value may be off its last one by `revision_max` usual sizes.

        First values of an observation, dots and values that are not finite are no revisions, and neither is a vintage older than what is
        known.
        """
        values = sorted(vintage.values)
        state = self.series.get(vintage.series)
        if state is None:
            return Judgement((None,) * len(values))
        if all(_revised(state, vintage.realtime_start, date, value) is None for date, value in values):
            # Nearly every vintage; what is usual need not be worked out for it.
            return Judgement((None,) * len(values), self._confirmed(state, vintage))
        measure = _Measure(points=state.crosses or vintage.unit.lower().startswith(POINT_UNITS))
        usual = max(measure.usual(state.revisions), measure.usual(state.changes))
        limit = revision_max * usual if usual > 0.0 else math.inf
        revised = [
            (before.value, value)
            for date, value in values
            if (before := _revised(state, vintage.realtime_start, date, value)) is not None
            and not _repeats(state, vintage.realtime_start, date, value, measure, limit)
        ]
        factor = 1.0 if measure.points else _common_factor(revised, len(state.known))
        if abs(math.log(factor)) <= limit:
            factor = 1.0
        elif _tens(factor):
            detail = f"{vintage.series}: {len(revised)} values were restated {factor:g} times as large, another unit"
            return Judgement((Fault(MACRO_REVISION, detail),) * len(values), self._confirmed(state, vintage))
        faults = tuple(self._fault(state, vintage, date, value, measure, limit, factor) for date, value in values)
        return Judgement(faults, self._confirmed(state, vintage))

    @staticmethod
    def _fault(
        state: _Series, vintage: Vintage, date: int, value: float, measure: _Measure, limit: float, factor: float
    ) -> Fault | None:
        before = _revised(state, vintage.realtime_start, date, value)
        if before is None:
            return None
        size = measure.size(before.value * factor, value)
        turned = not measure.points and value <= 0.0 and state.finite >= LEAST_POSITIVE
        slip = _is_slip(before.value, value)
        if not turned and size <= limit and not (slip and math.isinf(limit) and not measure.points):
            return None
        if _repeats(state, vintage.realtime_start, date, value, measure, limit):
            return None
        day = str(np.datetime64(date, "ns"))[:10]
        allowed = f"allowed {limit:.3g} {measure.name}" if math.isfinite(limit) else "and no revision is known"
        detail = (
            f"{vintage.series} of {day} was revised from {before.value:g} to {value:g} on {vintage.realtime_start}, "
            f"{size:.3g} {measure.name}, {allowed}"
        )
        return Fault(MACRO_REVISION_UNIT if turned or slip else MACRO_REVISION, detail)

    @staticmethod
    def _confirmed(state: _Series, vintage: Vintage) -> tuple[tuple[int, float], ...]:
        named = {date for date, _ in vintage.values}
        return tuple(
            (date, held.value)
            for date, held in sorted(state.held.items())
            if held.start < vintage.realtime_start and date not in named and held.code == MACRO_REVISION
        )

    def accept(self, series: str, start: str, values: Sequence[tuple[int, float]]) -> None:
        """Learn values that went out with the release date `start`, dates ascending."""
        state = self.series.setdefault(series, _Series())
        revised = [
            (before.value, value)
            for date, value in values
            if (before := _revised(state, start, date, value)) is not None
        ]
        factor = _common_factor(revised, len(state.known))
        for date, value in values:
            before = state.known.get(date)
            if before is not None and before.start > start:
                continue
            held = state.held.get(date)
            if held is not None and held.start <= start:
                del state.held[date]
            if not math.isfinite(value):
                if before is not None:  # the number before the dot is what its return is compared with
                    state.known[date] = _Known(before.value, start)
                continue
            state.finite += before is None
            state.crosses |= value <= 0.0
            if before is not None:
                state.revisions.append((before.value * factor, value))
            elif state.newest is not None and date > state.newest:
                state.changes.append((state.known[state.newest].value, value))
            state.known[date] = _Known(value, start)
            if state.newest is None or date > state.newest:
                state.newest = date

    def hold(self, series: str, start: str, date: int, value: float, code: str) -> None:
        """Keep in mind a value that was quarantined under one of CODES, unless a later vintage has settled the observation.

        An infinite one is no value that anything could confirm.
        """
        if math.isinf(value):
            return
        state = self.series.setdefault(series, _Series())
        known, held = state.known.get(date), state.held.get(date)
        if (known is None or known.start <= start) and (held is None or held.start <= start):
            state.held[date] = _Held(value, start, code)

    def knows(self, series: str, date: int, value: float) -> bool:
        """Whether this is the newest accepted number of an observation."""
        state = self.series.get(series)
        return state is not None and date in state.known and state.known[date].value == value

    def forget(self, series: str, start: str, date: int) -> None:
        """A person has decided on what was held of a vintage."""
        state = self.series.get(series)
        if state is not None and date in state.held and state.held[date].start == start:
            del state.held[date]


@dataclass(frozen=True, slots=True)
class _Measure:
    """How a series' moves are measured."""

    points: bool

    @property
    def name(self) -> str:
        return "points" if self.points else "log points"

    def size(self, before: float, after: float) -> float:
        """Magnitude of a move; infinite between a log ratio's sides of zero."""
        if self.points:
            return abs(after - before)
        return abs(math.log(after) - math.log(before)) if before > 0.0 and after > 0.0 else math.inf

    def usual(self, moves: Sequence[tuple[float, float]]) -> float:
        """Robust size of moves that are not zero; 0 when there are too few."""
        pairs = np.array(moves, dtype=np.float64).reshape(len(moves), 2)
        with np.errstate(over="ignore"):
            if self.points:
                sizes = np.abs(pairs[:, 1] - pairs[:, 0])
            else:
                pairs = pairs[(pairs > 0.0).all(axis=1)]
                sizes = np.abs(np.log(pairs[:, 1]) - np.log(pairs[:, 0]))
        sizes = sizes[sizes > 0.0]
        return MAD_TO_SIGMA * float(np.median(sizes)) if len(sizes) >= LEAST_SIZES else 0.0


def _revised(state: _Series, start: str, date: int, value: float) -> _Known | None:
    """What a number of the release date `start` revises, or None where it is no revision."""
    before = state.known.get(date)
    return before if before is not None and before.start < start and math.isfinite(value) else None


def _repeats(state: _Series, start: str, date: int, value: float, measure: _Measure, limit: float) -> bool:
    """Whether it says what an earlier vintage said and was held for."""
    held = state.held.get(date)
    return held is not None and held.start < start and measure.size(held.value, value) <= limit


def _common_factor(revised: Sequence[tuple[float, float]], known: int) -> float:
    """The factor by which most of the history was restated; 1 where it was not, or has values that are not positive."""
    ratios = [math.log(after) - math.log(before) for before, after in revised if before > 0.0 and after > 0.0]
    if len(ratios) < max(COMMON_LEAST, COMMON_SHARE * known):
        return 1.0
    return math.exp(min(max(float(np.median(ratios)), -FACTOR_MAX), FACTOR_MAX))


def _tens(ratio: float) -> bool:
    """Whether a positive ratio is 10, 100, 1000 or a million, or one over it, within a hundredth."""
    power = math.log10(ratio)
    return any(abs(abs(power) - tens) <= math.log10(1.0 + SLIP_TOLERANCE) for tens in TENS)


def _is_slip(before: float, after: float) -> bool:
    """Whether a number became its negative or lost or won zeros."""
    if before == 0.0 or after == 0.0:
        return False
    if (before < 0.0) != (after < 0.0):
        return abs(after + before) <= SLIP_TOLERANCE * abs(before)
    ratio = after / before  # zero or infinite at the extremes
    return 0.0 < ratio < math.inf and _tens(ratio)
