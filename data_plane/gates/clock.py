"""Clock gate: the distance of the clock that stamps data from the reference clock, and a reference that runs backwards.

On paper the reference is the gateway's own time, and only data stamped ahead of it is a fault (behind it, data is merely idle). In
shadow and live it is an NTP server, and the machine may be off to either side.
"""

from __future__ import annotations

from dataclasses import dataclass

from data_plane.gates.schema import Fault
from triplane.domain.timestamps import SECOND

SKEWED = "CLOCK_SKEWED"
BACKWARDS = "CLOCK_BACKWARDS"
UNKNOWN = "CLOCK_UNKNOWN"


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One comparison: `offset` is observed minus reference, ns; `reference` names and `reference_time` tells the reference clock."""

    reference: str
    reference_time: int
    offset: int


@dataclass(slots=True)
class ClockGate:
    """Latest reference time per reference."""

    latest: dict[str, int]

    def fault(self, sample: ClockSample, skew_max_s: float) -> Fault | None:
        """Judge a sample. A reference that goes back by more than the allowed skew is wrong itself."""
        before = self.latest.get(sample.reference, sample.reference_time)
        self.latest[sample.reference] = max(before, sample.reference_time)
        back = (before - sample.reference_time) / SECOND
        if back > skew_max_s:
            return Fault(BACKWARDS, f"{sample.reference} went back by {back:.3f} s")
        offset = sample.offset / SECOND
        if abs(offset) > skew_max_s:
            return Fault(SKEWED, f"{offset:+.3f} s from {sample.reference}, allowed {skew_max_s:g} s")
        return None
