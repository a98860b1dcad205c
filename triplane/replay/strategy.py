"""The Strategy Plane again, open loop: recorded barriers and inputs through the same engine, without Kafka or clock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from schemas import catalogue
from strategy_plane import quarantine
from strategy_plane.barriers.cut import Assembler
from strategy_plane.barriers.sequencer import SequenceError, Sequencer
from strategy_plane.engine import StrategyEngine
from triplane.replay.comparison import TopicVerdict, compare_topic
from triplane.replay.recording import Recording, digest
from triplane.runtime.kafka_in import LogRecord
from triplane.runtime.lost_log import REMEDY

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


def without(recording: Recording, topic: str, followers: Iterable[str], otherwise: str) -> ReplayError:
    """For a recording that holds no `topic`: that it was lost, where one of `followers`, which follow from it, has records."""
    for name in followers:
        if name != topic and recording.raw[name]:
            return ReplayError(f"the recording holds {name} but no {topic}: records of the log are lost; {REMEDY}")
    return ReplayError(f"the recording holds no {topic}: {otherwise}")


def account_of(recording: Recording) -> str:
    """The account that the recorded intents are for; ReplayError when there is none."""
    for topic in ("strategy.intents", "order.account"):
        for record in recording.records[topic]:
            assert record.value is not None
            return str(record.value["account"])
    raise ReplayError("the recording holds no intents and no account: there is nothing to replay yet")


def chain(recording: Recording) -> tuple[list[LogRecord], list[str]]:
    """The barriers that the worker steps, by its own rule, and a sentence for each record that it passes over.

    Raises ReplayError for a record that follows no barrier: the worker holds there, so nothing behind it is anybody's output.
    """
    worker, taken, passed_over = Sequencer(()), list[LogRecord](), []
    for record in recording.raw["strategy.barriers"]:
        place = record.place
        if record.value is None:
            passed_over.append(f"{place} cannot be decoded and is passed over ({record.error})")
            continue
        seq, last = record.value["seq"], worker.seq
        try:
            if worker.adopt(record.value, sha(record.body)):
                taken.append(record)
            elif seq < 1:
                passed_over.append(f"{place} is barrier {seq}, which no worker writes, and is passed over")
        except SequenceError:
            if record.offset and record is recording.raw["strategy.barriers"][0]:
                raise ReplayError(
                    f"{record.partition_name} begins at {record.offset}, with barrier {seq}: records of the log are lost; {REMEDY}"
                ) from None
            raise ReplayError(
                f"{place} does not belong to the chain of barriers: its barrier {seq} does not follow barrier {last} before it, and the "
                "strategy worker holds there as well; find who wrote it and restore the log without it"
            ) from None
    if not taken:
        raise without(recording, "strategy.barriers", OUTPUTS, "the Strategy Plane has not decided anything yet")
    return taken, passed_over


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
    barriers, _ = chain(recording)
    # A gap at a partition's end (a compacted or transactional offset) is no missing record.
    last = barriers[-1].value
    assert last is not None
    assembler.advance(last["cut"])
    bad = {
        record.place: (record.error, record.raw)
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
    barriers, passed_over = chain(recording)
    bodies = digest(barrier.body for barrier in barriers)
    verdicts = [TopicVerdict("strategy.barriers", len(barriers), bodies, identical=True, notes=passed_over)]
    outputs = rerun(recording, account, progress)
    for name in OUTPUTS:
        verdicts.append(compare_topic(name, recording.records[name], outputs[name], tail=1))
    return verdicts
