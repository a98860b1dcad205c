"""Completeness: how much of the universe a slice carries."""

from __future__ import annotations

from data_plane.gates.schema import Fault

INCOMPLETE = "INCOMPLETE"


def fault(present: int, expected: int, minimum: float) -> Fault | None:
    """INCOMPLETE when fewer than `minimum` (fraction) of the expected names are there; nothing expected is complete."""
    if expected <= 0 or present >= minimum * expected:
        return None
    return Fault(INCOMPLETE, f"{present} of {expected} names, {present / expected:.1%} is below {minimum:.1%}")
