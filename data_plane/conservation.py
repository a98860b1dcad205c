"""Law L10: received + released = published + quarantined + deduplicated + dropped (coded) + in flight, per source.

What a gate or a person releases from quarantine was counted when it went in and goes out again: it is received a second time, from there.
A slice of order flow carries 0 observations: it is made of quotes and trades that are counted where they go themselves.

Every term is counted where it happens; `in flight` is counted from what is actually held back (bars of a running interval, records
that Kafka has not acknowledged, the spool), never computed as the remainder. So the difference can be something else than zero, and
that is what the metric and the tests look at. The counters start with the process: one run of the daemon is one epoch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

# Why an observation is dropped without quarantine.
NOT_IN_UNIVERSE = "NOT_IN_UNIVERSE"
LATE = "LATE"
CONFLATED = "CONFLATED"
OUTSIDE_SESSION = "OUTSIDE_SESSION"


@dataclass(slots=True)
class Ledger:
    """Counters of one epoch, in observations, by source."""

    received: Counter[str] = field(default_factory=Counter)
    published: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    deduplicated: Counter[str] = field(default_factory=Counter)
    released: Counter[str] = field(default_factory=Counter)
    """Let out of quarantine by a gate or a person; also counted under what became of them then."""
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (source, code)."""

    def drop(self, source: str, code: str, count: int = 1) -> None:
        """Count observations that go nowhere."""
        if count:
            self.dropped[source, code] += count

    def sources(self) -> list[str]:
        """Every source that something was counted for, sorted."""
        names = set(self.received) | set(self.published) | set(self.quarantined) | set(self.deduplicated)
        return sorted(names | {source for source, _ in self.dropped})

    def dropped_by(self, source: str) -> int:
        """Observations of `source` dropped under any code."""
        return sum(count for (name, _), count in self.dropped.items() if name == source)

    def difference(self, in_flight: Mapping[str, int]) -> dict[str, int]:
        """received + released - published - quarantined - deduplicated - dropped - in flight, by source: zero when nothing got lost."""
        return {
            source: self.received[source]
            + self.released[source]
            - self.published[source]
            - self.quarantined[source]
            - self.deduplicated[source]
            - self.dropped_by(source)
            - in_flight.get(source, 0)
            for source in self.sources()
        }
