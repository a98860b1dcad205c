"""Where the time of a decision goes, from the ingest of the record that completed it to acknowledged intents."""

from __future__ import annotations

from itertools import pairwise


class DecisionTimes:
    """Collects, per session, when a decision passed each step. Times are seconds of one steady clock, told by the caller."""

    def __init__(self) -> None:
        self._ingest: dict[str, bytes] = {}
        self._passed: dict[str, dict[str, float]] = {}

    def begin(self, session: str, ingest_time: bytes, now: float, wall_ns: int) -> None:
        """The record that completes the decision of `session` has arrived; `ingest_time` is its header (wall ns) or empty."""
        waited = (wall_ns - int(ingest_time)) / 1e9 if ingest_time else 0.0
        self._ingest[session] = ingest_time
        self._passed[session] = {"ingest": now - waited, "arrived": now}

    def ingest_time(self, session: str) -> bytes:
        """Ingest time header of the record that completed the decision; empty when unknown."""
        return self._ingest.get(session, b"")

    def mark(self, session: str, step: str, now: float) -> None:
        """The decision of `session` has passed `step`."""
        if session in self._passed:
            self._passed[session][step] = now

    def finish(self, session: str) -> dict[str, float]:
        """Milliseconds each step took, in order; `session` and all before it are forgotten."""
        passed = list(self._passed.get(session, {}).items())
        for old in [name for name in self._passed if name <= session]:
            del self._passed[old], self._ingest[old]
        return {step: round(1e3 * (at - before), 2) for (_, before), (step, at) in pairwise(passed)}
