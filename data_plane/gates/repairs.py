"""What would mend an observation that a gate took out. A suggestion for a person: nothing here is applied by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from data_plane.gates.prices import CODES, HIGH_BELOW_LOW, OUTSIDE_RANGE, UNIT_100X

PRICES = ("open", "high", "low", "close")
REPAIRED = frozenset({CODES[UNIT_100X], CODES[OUTSIDE_RANGE], CODES[HIGH_BELOW_LOW]})
"""Codes of which some bars have a repair."""
UNIT = 100.0
# A factor is believed when it brings the close to within this share of the last good one.
NEAR = 0.25


@dataclass(frozen=True, slots=True)
class Repair:
    """The fields that would change, and why, in one sentence."""

    values: Mapping[str, float]
    reason: str


def suggested(code: str, values: Mapping[str, float], last_good: float = math.nan) -> Repair | None:
    """A repair of a bar (its prices by name, `wap` where it is known) under a code, or None where only a person can tell.

    `last_good` is the name's last good close before it, NaN when there is none. A spike has no repair: either it was real, or the bar is
    gone.
    """
    repair = _of_prices(code, values, last_good)
    wap = values.get("wap", math.nan)
    if repair is None or math.isnan(wap):
        return repair
    # It came in the unit of the prices, which may have been the wrong one; of prices that were wrong otherwise it is not known.
    high, low = (repair.values.get(name, values[name]) for name in ("high", "low"))
    factors = (1.0, 1.0 / UNIT, UNIT) if len(repair.values) == len(PRICES) else (1.0,)
    mended = next((wap * factor for factor in factors if low <= wap * factor <= high), math.nan)
    return repair if mended == wap else Repair({**repair.values, "wap": mended}, repair.reason)


def _of_prices(code: str, values: Mapping[str, float], last_good: float) -> Repair | None:
    if code in (CODES[UNIT_100X], CODES[OUTSIDE_RANGE]) and (repair := _unit(values, last_good)):
        return repair
    if code == CODES[HIGH_BELOW_LOW] and values["high"] < values["low"]:
        swapped = {"high": values["low"], "low": values["high"]}
        inside = all(swapped["low"] <= values[name] <= swapped["high"] for name in ("open", "close"))
        return Repair(swapped, "high and low are exchanged") if inside else None
    if code == CODES[OUTSIDE_RANGE]:
        widened = {
            "high": max(values[name] for name in PRICES),
            "low": min(values[name] for name in PRICES),
        }
        changed = {name: value for name, value in widened.items() if value != values[name]}
        if last_good > 0.0 and any(abs(value / last_good - 1.0) > NEAR for value in changed.values()):
            return None  # a range that holds such a price would be the fault itself
        return Repair(changed, "high and low leave out open or close (an auction)")
    return None


def _unit(values: Mapping[str, float], last_good: float) -> Repair | None:
    """The hundredfold or hundredth that is near the last good close, for the whole bar or for the prices that stick out of it."""
    if not (last_good > 0.0 and math.isfinite(last_good)):
        return None
    mended = {}
    for name in PRICES:
        for factor in (1.0, 1.0 / UNIT, UNIT):
            if abs(values[name] * factor / last_good - 1.0) <= NEAR:
                if factor != 1.0:
                    mended[name] = values[name] * factor
                break
        else:
            return None
    whole = "the bar is" if len(mended) == len(PRICES) else f"{', '.join(mended)} {'is' if len(mended) == 1 else 'are'}"
    return Repair(mended, f"{whole} a hundred times off the last good close of {last_good:g}") if mended else None
