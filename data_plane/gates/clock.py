"""Clock gate: the distance of the clock that stamps data from the reference clock, and clocks that run backwards.

On paper the reference is the gateway's own time, and only data stamped ahead of it is a fault (behind it, data is merely idle). In
shadow and live it is an NTP server, and the machine may be off to either side.

Apart from any reference, the event times of a source as a whole may not run backwards. Late bars of one name are no sign of that, so
LEAP of them in a row are wanted, of as many names where there are, with nothing on time between. (A leap forwards cannot be told from a night; what comes after it, stamped
as before, is then what runs backwards.) Only bars move the newest time: one trade with a wrong time would else make all that follow late.
Quotes do not count: theirs is the time when a side last changed, hours ago in a quiet name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from data_plane.gates.schema import Fault
from triplane.domain.timestamps import SECOND

SKEWED = "CLOCK_SKEWED"
BACKWARDS = "CLOCK_BACKWARDS"
UNKNOWN = "CLOCK_UNKNOWN"
LEAP: Final = 3
"""Bars or trades in a row before the newest one, and names that they are of, that are the clock's fault and not theirs."""


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


@dataclass(slots=True)
class SourceTime:
    """Newest event time that a source's bars have reached, ns UTC, and how many bars and trades since lay far before it in a row."""

    newest: int = 0
    behind: int = 0
    names: set[str] = field(default_factory=set)

    def reach(self, time: int) -> None:
        """A bar of `time` came."""
        self.newest = max(self.newest, time)

    def fault(self, source: str, name: str, time: int, allowed_s: float, universe: int) -> Fault | None:
        """Judge the event time of one bar or trade of a name among `universe`; CLOCK_BACKWARDS from the LEAPth in a row on that is too far
        back."""
        if self.newest - time <= allowed_s * SECOND:
            if self.behind:
                self.behind = 0
                self.names.clear()
            return None
        self.behind += 1
        self.names.add(name)
        if self.behind < LEAP or len(self.names) < min(LEAP, universe):
            return None
        back = (self.newest - time) / SECOND
        return Fault(BACKWARDS, f"{source} went back by {back:.0f} s, allowed {allowed_s:g} s")
