"""`replay --verify`: every plane's outputs again from the recorded inputs, and one verdict.

Strategy: every output from the recorded barriers. Order: the engine's decisions, events, fills, account and costs from recorded
intents, configuration, market data and broker reports. Without Kafka, gateway or clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from triplane.replay import orders, strategy
from triplane.replay.comparison import Divergence, TopicVerdict
from triplane.replay.recording import Recording, combined
from triplane.runtime import numerics

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of a verification. `sha` covers all verified topics."""

    topics: list[TopicVerdict]
    sha: str
    same_fingerprint: bool
    recorded_fingerprint: str

    @property
    def divergence(self) -> Divergence | None:
        """The first divergence, in the order of verification."""
        return next((topic.divergence for topic in self.topics if topic.divergence is not None), None)

    @property
    def holds(self) -> bool:
        """True when law L1 holds: identical bytes on one fingerprint, floats within 1e-9 on another."""
        if self.divergence is not None:
            return False
        return all(topic.identical for topic in self.topics) or not self.same_fingerprint

    def __str__(self) -> str:
        if all(topic.identical for topic in self.topics):
            return f"identical {self.sha}"
        if self.same_fingerprint:
            unequal = next(topic for topic in self.topics if not topic.identical)
            if unequal.last_bits is None:
                return str(unequal.divergence)
            # It comes before whatever differs by more, and may be its cause.
            said = f"{unequal.last_bits}, in its last bits on one fingerprint"
            if self.divergence is not None:
                return f"{said}; by more than 1e-9, {self.divergence}"
            return f"{said} (largest difference {max(topic.worst for topic in self.topics):.1e})"
        if self.divergence is not None:
            return str(self.divergence)
        worst = max(topic.worst for topic in self.topics)
        return f"equal within 1e-9 (largest difference {worst:.1e}) {self.sha}; recorded on {self.recorded_fingerprint}"


def verify(recording: Recording, progress: Progress | None = None) -> Verdict:
    """Verify a recording. Raises ReplayError when it cannot be replayed at all."""
    account = strategy.account_of(recording)

    def report(name: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(name, done, total) if progress is not None else None

    verdicts = strategy.verify(recording, account, report("strategy"))
    verdicts += orders.verify(recording, account, report("order"))
    barrier = strategy.chain(recording)[0][-1].value
    assert barrier is not None
    recorded = str(barrier["fingerprint"])
    return Verdict(verdicts, combined({v.topic: v.sha for v in verdicts}), recorded == numerics.fingerprint(), recorded)
