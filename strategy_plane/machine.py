"""The Strategy Plane as one pure machine: records arrive, barriers come, outputs leave.

The worker drives it from Kafka, replay drives it from a recording. Both get the same outputs, because what a barrier sees is
decided by the cut alone (law L1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

from schemas import codec
from strategy_plane.barriers.cut import Assembler, Record
from strategy_plane.outputs import Output
from strategy_plane.risk.regime import FitJob


class Engine(Protocol):
    """What the machine needs of an engine; strategy_plane.engine.StrategyEngine is the real one."""

    def fold(self, topic: str, partition: int, offset: int, record: Mapping[str, Any]) -> None: ...
    def step(self, barrier: Mapping[str, Any], barrier_sha: str) -> list[Output]: ...
    def fit_due(self) -> FitJob | None: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


def barrier_sha(barrier: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a barrier's Avro body: its name in the chain and on every intent."""
    return hashlib.sha256(codec.encode_body("Barrier", barrier)).hexdigest()


class StrategyMachine:
    """An engine behind its cut."""

    def __init__(self, engine: Engine, assembler: Assembler) -> None:
        self.engine = engine
        self.assembler = assembler
        self.folded = 0

    def arrive(self, record: Record) -> bool:
        """Take one record of a barrier-input partition; False when it arrived before."""
        return self.assembler.arrive(record)

    def step(self, barrier: Mapping[str, Any], sha: str) -> list[Output]:
        """Fold what the barrier sees, then step on it. Every record below the cut must have arrived (CutError otherwise)."""
        for record in self.assembler.take(barrier):
            self.engine.fold(record.topic, record.partition, record.offset, record.value)
            self.folded += 1
        return self.engine.step(barrier, sha)

    def state(self) -> dict[str, Any]:
        """State after the last step, for runtime.snapshots."""
        return {"engine": self.engine.state(), "cut": self.assembler.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; records must then arrive from `assembler.resume_offsets()` on."""
        self.engine.restore(state["engine"])
        self.assembler.restore(state["cut"])
