"""The Strategy Plane again, open loop: recorded barriers and inputs through the same engine, without Kafka or clock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from schemas import catalogue
from strategy_plane import quarantine
from strategy_plane.barriers.cut import Assembler
from strategy_plane.engine import StrategyEngine
from triplane.replay.comparison import Divergence, TopicVerdict, compare_topic
from triplane.replay.recording import Recording, digest

OUTPUTS = (
    "strategy.factors",
    "strategy.signals",
    "strategy.regime",
    "strategy.targets",
    "strategy.intents",
    quarantine.TOPIC,
)
"""What is derived anew. `strategy.models` is an input: a fitted model is read from the log and never fitted again."""


class ReplayError(RuntimeError):
    """The recording cannot be replayed; the message says what it lacks."""


def account_of(recording: Recording) -> str:
    """The account that the recorded intents are for; ReplayError when there is none."""
    for topic in ("strategy.intents", "order.account"):
        for record in recording.records[topic]:
            assert record.value is not None
            return str(record.value["account"])
    raise ReplayError("the recording holds no intents and no account: there is nothing to replay yet")


def rerun(
    recording: Recording, account: str, progress: Callable[[int, int], None] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Outputs of the engine, per topic in the order of barriers. `progress(done, total)` is told of every barrier."""
    topics = catalogue.load()
    inputs = [topic.name for topic in topics.barrier_inputs()]
    partitions = {f"{name}-{n}" for name in inputs for n in range(topics[name].partitions)}
    assembler = Assembler(sorted(partitions), topics)
    for name in inputs:
        for record in recording.raw[name]:
            assembler.arrive(record)
    barriers = recording.records["strategy.barriers"]
    if not barriers:
        raise ReplayError("the recording holds no barriers: the Strategy Plane has not decided anything yet")
    # A gap at a partition's end (a compacted or transactional offset) is no missing record.
    last = barriers[-1].value
    assert last is not None
    assembler.advance(last["cut"])
    bad = {
        f"{record.partition_name}@{record.offset}": (record.error, record.raw)
        for name in inputs
        for record in recording.raw[name]
        if record.value is None
    }
    engine = StrategyEngine(account)
    outputs: dict[str, list[dict[str, Any]]] = {name: [] for name in OUTPUTS}
    for done, barrier in enumerate(barriers, start=1):
        assert barrier.value is not None
        for visible in assembler.take(barrier.value):
            engine.fold(visible.topic, visible.partition, visible.offset, visible.value)
        for output in (*quarantine.skipped(barrier.value, bad), *engine.step(barrier.value, sha(barrier.body))):
            outputs[output.topic].append(output.record)
        if progress is not None:
            progress(done, len(barriers))
    return outputs


def sha(body: bytes) -> str:
    """SHA-256 (hex) of a barrier's body, as `prev_sha` of the next one carries it."""
    return hashlib.sha256(body).hexdigest()


def verify(
    recording: Recording, account: str, progress: Callable[[int, int], None] | None = None
) -> list[TopicVerdict]:
    """Replay and compare every strategy output; the barrier chain is checked too."""
    verdicts = [_barrier_chain(recording)]
    outputs = rerun(recording, account, progress)
    for name in OUTPUTS:
        verdicts.append(compare_topic(name, recording.records[name], outputs[name], tail=1))
    return verdicts


def _barrier_chain(recording: Recording) -> TopicVerdict:
    """Each barrier names the one before by its hash; a broken link is a divergence."""
    previous, divergence = "", None
    records = recording.records["strategy.barriers"]
    for number, record in enumerate(records, start=1):
        assert record.value is not None
        if record.value["seq"] != number or record.value["prev_sha"] != previous:
            divergence = Divergence("strategy.barriers", record.offset, "prev_sha", record.value["prev_sha"], previous)
            break
        previous = sha(record.body)
    return TopicVerdict(
        "strategy.barriers", len(records), digest(r.body for r in records), divergence is None, divergence=divergence
    )
