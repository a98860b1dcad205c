"""Dividends that the prices do not bear out: wrong unit, wrong day, on record twice or not at all, or not what the adjusted closes contain.

A dividend D on an ex-date with the close P before it should do two things: the price falls by about D / P, and the adjusted closes
before it are multiplied by 1 - D / P. The second is exact and tells what the provider adjusted by; the first is noisy and tells which of
two amounts was real. Explanations are weighed in nats: how surprising the return is under them (likelihood.py), how unusual the yield
is, and how often providers make that mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from data_plane.audit.findings import (
    DIVIDEND_AMOUNT,
    DIVIDEND_DATE,
    DIVIDEND_MISADJUSTED,
    DIVIDEND_NOT_ADJUSTED,
    DIVIDEND_REPEATED,
    Finding,
)
from data_plane.audit.likelihood import CLAIM_MARGIN, surprise
from data_plane.audit.series import DAY_NS, PriceSeries
from data_plane.audit.unrecorded import date_finding, missing_finding, step_of, unrecorded_steps
from data_plane.observations import OPEN, Floats

UNIT = 100.0
# Yield of one payment: log-normal around 0.8 %, two thirds between 0.24 % and 2.7 %. Special dividends lie far out, which is why the price decides.
YIELD_MEDIAN, YIELD_SIGMA = 0.008, 1.2
# What a mistake of a provider costs in nats: one dividend in a hundred has the wrong unit, one in twenty lies a day off.
COST_UNIT, COST_DAY = float(np.log(100.0)), float(np.log(20.0))
# Amounts of a few basis points exist. That they are a hundredth of what was paid must show again and again, and in the prices alone:
# providers make such a mistake for a name, not for a payment, so the evidence of all payments is pooled.
TINY_YIELD, AGAIN, PRICES_MUST_SAY = 8e-4, 3, 3.0
# A dividend of no more than a few usual moves leaves no trace by which the price could date it.
DATED_BY_MOVES = 4.0
# Two payments of about one amount within this many days are one; some pay each week.
REPEAT_DAYS, REPEAT_SHARE = 4.0, 0.20
# How far the adjusted closes may be from an amount and still contain it. Some adjust by reinvestment at the ex-date's close rather than by
# the close before it, which differs by a day's move; bars of a week or more hide on which day of it the adjustment lies.
EXACT, LOOSE = 0.10, 0.20
LEAST_ADJUSTMENT = 2e-5
LONG_BARS_DAYS = 4.0


@dataclass(slots=True)
class _Payment:
    """One dividend on record and what the series says about it."""

    place: int
    amount: float
    before: float
    """Close before the ex-date."""
    implied: float
    """What the adjusted closes contain for it, in the same unit; NaN without adjusted closes."""
    until: int
    """Last bar over which price and adjustment are measured."""
    move: float
    """Log return from the close before to the last bar's close. The open is nearer the cause, but in a thin name it is stale."""
    opening: float
    """Log return from the close before to the open of the ex-date."""
    scale: float
    traded: bool
    slack: float
    """What rounding of the closes may do to the implied share of the price."""
    split: float
    """Ratio of a split on the same bar, 1 without."""
    match: str = ""


def _payments(series: PriceSeries, scale: Floats) -> list[_Payment]:
    long_bars = series.spacing >= LONG_BARS_DAYS
    known = bool((series.volume > 0.0).any())
    total = series.total_return_close
    tick = rounding(series.close) + rounding(total)
    found = []
    for place in np.flatnonzero(series.dividends > 0.0).tolist():
        if place == 0 or not series.close[place - 1] > 0.0 or not np.isfinite(series.dividends[place]):
            continue
        until = min(place + 1, len(series) - 1) if long_bars else place
        before = float(series.close[place - 1])
        implied = np.nan
        if (
            series.adjusted is not None
            and min(series.adjusted[place - 1], series.adjusted[until], series.close[until]) > 0.0
        ):
            left = series.adjusted[place - 1] / series.close[place - 1]
            right = series.adjusted[until] / series.close[until]
            implied = before * float(1.0 - left / right)
        found.append(
            _Payment(
                place,
                float(series.dividends[place]),
                before,
                float(implied),
                until,
                _move(before, float(series.close[until])),
                _move(before, float(series.prices[place, OPEN])),
                float(scale[place]) * float(np.sqrt(until - place + 1)),
                bool(series.volume[place] > 0.0) or not known,
                LEAST_ADJUSTMENT + 2.0 * tick / float(np.nanmin(np.r_[total[[place - 1, until]], before])),
                float(series.splits[place]) if series.splits[place] > 0.0 else 1.0,
            )
        )
    return found


def rounding(levels: Floats) -> float:
    """The step to which levels are rounded: 1, 0.1, ... 0.0001, or 0 where they are finer than that."""
    for digits in range(5):
        scaled = levels[np.isfinite(levels)] * 10.0**digits
        if len(scaled) and (np.abs(scaled - np.round(scaled)) <= 1e-6 * np.maximum(np.abs(scaled), 1.0)).all():
            return float(10.0**-digits)
    return 0.0


def _implies(payment: _Payment, amount: float, tolerance: float) -> bool:
    share = amount / payment.before
    return abs(payment.implied / payment.before - share) <= payment.slack + tolerance * share


def _on_another_level(payment: _Payment, off_levels: Sequence[float], tolerance: float) -> bool:
    factors = [float(np.exp(sign * size)) for size in off_levels for sign in (1.0, -1.0)]
    return any(_implies(payment, payment.amount * factor, tolerance) for factor in factors)


def payments_off_by(series: PriceSeries, factor: float) -> list[int]:
    """Bars of payments of which the adjusted closes contain `factor` times the amount on record: prices there are off by as much."""
    found = []
    for payment in _payments(series, np.ones(len(series))):
        off = _implies(payment, payment.amount * factor, EXACT) and not _implies(payment, payment.amount, EXACT)
        if off and payment.split == 1.0:
            found.append(payment.place)
    return found


def _unusual(share: float) -> float:
    """Negative log prior of a yield, up to what all share."""
    return 0.5 * (float(np.log(share / YIELD_MEDIAN)) / YIELD_SIGMA) ** 2 if share > 0.0 else 0.0


def _fall(payment: _Payment, amount: float) -> float:
    """How surprising the price is if `amount` was paid. A bar in which nothing was traded says nothing."""
    if not payment.traded:
        return 0.0
    share = min(amount / payment.before, 0.95)
    return surprise(payment.move - float(np.log1p(-share)), payment.scale)


def _move(before: float, after: float) -> float:
    return float(np.log(after / before)) if before > 0.0 and after > 0.0 else 0.0


def dividend_findings(
    series: PriceSeries, scale: Floats, off_levels: Sequence[float] = ()
) -> tuple[list[Finding], PriceSeries]:
    """Faults of the dividends, and the series with those mended whose explanation is beyond doubt.

    `off_levels` are logs (> 0) of factors by which the prices of some bars may be off: a payment that is off by just that is right.
    """
    payments = _payments(series, scale)
    tolerance = LOOSE if series.spacing >= LONG_BARS_DAYS else EXACT
    findings: list[Finding] = []
    amounts: dict[int, float] = {}
    rest = _repeated(series, payments, findings, amounts)
    groups: dict[str, list[_Payment]] = {}
    steps = unrecorded_steps(series)
    for payment in rest:
        payment.match = _match(payment, tolerance)
        if payment.match == "another amount" and _on_another_level(payment, off_levels, tolerance):
            continue
        step = step_of(payment.place, payment.amount, steps) if payment.match == "nothing" else None
        if step is not None:
            findings.append(date_finding(payment.place, payment.amount, step))
            steps.remove(step)
            continue
        groups.setdefault(payment.match, []).append(payment)
    for match, members in groups.items():
        _judge(match, members, findings, amounts)
    _too_small(groups.get("as recorded", []), findings, amounts)
    for payment in groups.get("as recorded", []):
        if payment.place not in {finding.place for finding in findings}:
            _too_large_or_displaced(series, payment, findings, amounts)
    mended = _mended(series, payments, amounts)
    if steps:
        paid = mended.dividends.copy()
        for step in steps:
            findings.append(finding := missing_finding(series, scale, step))
            paid[step.place] = step.amount if finding.repair else 0.0
        mended = replace(mended, dividends=paid)
    return sorted(findings, key=lambda finding: finding.place), mended


def _match(payment: _Payment, tolerance: float) -> str:
    """Which amount the adjusted closes contain."""
    if np.isnan(payment.implied) or _implies(payment, payment.amount, tolerance):
        return "as recorded"
    if abs(payment.implied) <= LEAST_ADJUSTMENT * payment.before:
        return "nothing"
    if payment.split != 1.0 and _implies(payment, payment.amount / payment.split, tolerance):
        return "divided by the split"
    if _implies(payment, payment.amount / UNIT, tolerance):
        return "a hundredth"
    if _implies(payment, payment.amount * UNIT, tolerance):
        return "a hundredfold"
    return "nothing" if abs(payment.implied) <= payment.slack * payment.before else "another amount"


def _repeated(
    series: PriceSeries, payments: list[_Payment], findings: list[Finding], amounts: dict[int, float]
) -> list[_Payment]:
    """Take out the less probable of two payments that are one; returns the others."""
    rest = list(payments)
    for one, other in pairwise(payments):
        apart = (series.times[other.place] - series.times[one.place]) / DAY_NS
        if one not in rest or apart > REPEAT_DAYS or abs(other.amount / one.amount - 1.0) > REPEAT_SHARE:
            continue
        first = _fall(one, one.amount) + _fall(other, 0.0)
        second = _fall(one, 0.0) + _fall(other, other.amount)
        away, kept = (other, one) if first <= second else (one, other)
        sure = abs(first - second) >= CLAIM_MARGIN
        detail = f"{away.amount:g} stands within {apart:.0f} days of {kept.amount:g}"
        findings.append(_finding(DIVIDEND_REPEATED, away, detail, "dividend 0" if sure else ""))
        if sure:
            amounts[away.place] = 0.0
        rest.remove(away)
    return rest


def _judge(match: str, members: list[_Payment], findings: list[Finding], amounts: dict[int, float]) -> None:
    """Payments of which record and adjusted closes say different things, all in the same way: which of the two is right?"""
    if match == "as recorded":
        return
    recorded = sum(_fall(member, member.amount) for member in members)
    recorded += sum(_unusual(member.amount / member.before) for member in members) / len(members)
    implied = sum(_fall(member, max(member.implied, 0.0)) for member in members)
    implied += sum(_unusual(max(member.implied, 0.0) / member.before) for member in members) / len(members)
    # Not at all is the commonest mistake of an adjustment, and a dividend that was never paid the rarest of a record.
    if match == "nothing":
        implied += COST_UNIT
    if match == "divided by the split":
        recorded += COST_UNIT
    record_is_right = recorded <= implied
    sure = abs(recorded - implied) >= CLAIM_MARGIN
    for member in members:
        right = member.amount if record_is_right else _meant(match, member)
        if record_is_right:
            kind = DIVIDEND_NOT_ADJUSTED if match == "nothing" else DIVIDEND_MISADJUSTED
            detail = f"the adjusted closes contain {max(member.implied, 0.0):.6g} ({match}) for {member.amount:g}"
            repair = f"adjusted close for {right:g}"
        else:
            kind = DIVIDEND_AMOUNT
            detail = f"{member.amount:g} on record, and the adjusted closes contain {member.implied:.6g} ({match})"
            repair = f"dividend {right:.6g}"
        findings.append(_finding(kind, member, detail, repair if sure else ""))
        if sure:
            amounts[member.place] = right


def _meant(match: str, payment: _Payment) -> float:
    """The amount that the adjusted closes contain, exactly where it is a simple share of the one on record."""
    exact = {
        "a hundredth": payment.amount / UNIT,
        "a hundredfold": payment.amount * UNIT,
        "divided by the split": payment.amount / payment.split,
    }
    return exact.get(match, max(payment.implied, 0.0))


def _too_small(members: list[_Payment], findings: list[Finding], amounts: dict[int, float]) -> None:
    """Payments of a hundredth of what the price fell by, again and again: major units where the price is in minor ones."""
    small = [member for member in members if member.amount / member.before < TINY_YIELD]
    if len(small) < AGAIN:
        return
    # Small falls need both looks at the price; a pattern over many payments survives a stale open.
    opened = [replace(member, move=member.opening) for member in small]
    looks = [*small, *opened]
    gain = sum(_fall(look, look.amount) - _fall(look, look.amount * UNIT) for look in looks) / 2.0
    unusual = [_unusual(m.amount / m.before) - _unusual(m.amount * UNIT / m.before) for m in small]
    total = gain + sum(unusual) / len(unusual) - COST_UNIT
    if gain < PRICES_MUST_SAY or total <= 0.0:
        return
    for member in small:
        right = member.amount * UNIT
        detail = (
            f"{member.amount:g} is {member.amount / member.before:.4%} of the price, which fell as by a hundredfold"
        )
        sure = total >= CLAIM_MARGIN
        findings.append(_finding(DIVIDEND_AMOUNT, member, detail, f"dividend {right:g}" if sure else ""))
        if sure:
            amounts[member.place] = right


def _too_large_or_displaced(
    series: PriceSeries, payment: _Payment, findings: list[Finding], amounts: dict[int, float]
) -> None:
    """One payment that record and adjusted closes agree on and the price does not: a hundredfold, or on the wrong day."""
    share = payment.amount / payment.before
    near = [place for place in (payment.place - 1, payment.place + 1) if 0 < place < len(series)]
    as_recorded = _fall(payment, payment.amount) + _unusual(share)
    options = [(_fall(payment, payment.amount / UNIT) + _unusual(share / UNIT) + COST_UNIT, payment.place)]
    if payment.traded and payment.until == payment.place and share > DATED_BY_MOVES * payment.scale:
        for place in near:
            # The neighbour's move as that of an ex-date, beside what it is without one.
            before = float(series.close[place - 1])
            there = replace(payment, move=_move(before, float(series.close[place])), before=before)
            moved = _fall(payment, 0.0) + _fall(there, payment.amount) - _fall(there, 0.0)
            options.append((moved + _unusual(share) + COST_DAY, place))
    options.sort()
    best, place = options[0]
    if best >= as_recorded:
        return
    rival = min([as_recorded, *(cost for cost, _ in options[1:])])
    if place != payment.place:
        later = "after" if place > payment.place else "before"
        detail = f"{payment.amount:g} ({share:.1%} of the price), which fell on the bar {later} it"
        findings.append(_finding(DIVIDEND_DATE, payment, detail, ""))
        return
    right, sure = payment.amount / UNIT, rival - best >= CLAIM_MARGIN
    detail = f"{payment.amount:g} is {share:.1%} of the price, which moved by {np.expm1(payment.move):+.1%}"
    findings.append(_finding(DIVIDEND_AMOUNT, payment, detail, f"dividend {right:g}" if sure else ""))
    if sure:
        amounts[payment.place] = right


def _finding(kind: str, payment: _Payment, detail: str, repair: str) -> Finding:
    return Finding(kind, payment.place, payment.place, payment.place, detail, repair)


def _mended(series: PriceSeries, payments: list[_Payment], amounts: dict[int, float]) -> PriceSeries:
    """The series with the right amounts, and adjusted closes that contain them."""
    if not amounts:
        return series
    dividends = series.dividends.copy()
    adjusted = None if series.adjusted is None else series.adjusted.copy()
    for payment in payments:
        if payment.place not in amounts:
            continue
        right = dividends[payment.place] = amounts[payment.place]
        contained, wanted = 1.0 - payment.implied / payment.before, 1.0 - right / payment.before
        # Adjusted closes that are zero or negative are beyond mending.
        if adjusted is not None and contained > 0.0 and wanted > 0.0:
            adjusted[: payment.place] *= wanted / contained
    return replace(series, dividends=dividends, adjusted=adjusted)
