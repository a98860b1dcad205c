"""Law L1 without Kafka: one recording, run again with other batches, interleavings and restarts.

As a program it prints the SHA-256 over the outputs of a fixed recording, for tests that vary PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas import catalogue, codec
from strategy_plane.barriers.cut import Assembler
from strategy_plane.barriers.sequencer import Sequencer
from strategy_plane.engine import StrategyEngine
from strategy_plane.machine import Engine, StrategyMachine, barrier_sha
from strategy_plane.outputs import Output
from tests.recordings import ACCOUNT, LogBuilder, Market
from tests.strategy_plane.digest_engine import DigestEngine
from triplane.runtime import snapshots
from triplane.runtime.kafka_in import LogRecord

PARTITIONS = [f"{topic.name}-0" for topic in catalogue.load().barrier_inputs()]
MakeEngine = Callable[[], Engine]


@dataclass(slots=True)
class Recorded:
    """Input records and the barriers that were written over them."""

    records: list[LogRecord]
    barriers: list[dict[str, Any]]


def record(market: Market, malformed_before: int = -1) -> Recorded:
    """Write a market onto a log in memory with its sequencer running beside it; one undecodable record on demand."""
    log, sequencer, barriers = LogBuilder(), Sequencer(("data.bars-0",)), []
    examiner = Assembler(PARTITIONS, catalogue.load())
    for number, item in enumerate(market.everything()):
        if number == malformed_before:
            examiner.arrive(log.append_malformed("data.quotes"))
        written = log.append(item)
        assert written.value is not None
        examiner.arrive(written)
        sequencer.observe(written.topic, 0, written.offset, written.value)
        while (due := sequencer.due()) is not None:
            barrier = sequencer.compose(due, log.ends, examiner.examine(log.ends), "test")
            examiner.take(barrier)
            sequencer.adopt(barrier, barrier_sha(barrier))
            barriers.append(barrier)
    return Recorded(log.records, barriers)


def digest_engine() -> Engine:
    return DigestEngine(ACCOUNT)


def real_engine() -> Engine:
    return StrategyEngine(ACCOUNT)


def rerun(recorded: Recorded, make: MakeEngine, seed: int, restarts: int = 0, max_batch: int = 500) -> list[Output]:
    """Outputs of the recorded barriers, records arriving in random batches per partition, with restarts from snapshots."""
    chance = random.Random(seed)
    queues: dict[str, deque[LogRecord]] = {}
    for each in recorded.records:
        queues.setdefault(each.partition_name, deque()).append(each)
    machine = StrategyMachine(make(), Assembler(PARTITIONS, catalogue.load()))
    saved = snapshots.dumps({}, machine.state())
    saved_at = 0
    crashes = sorted(chance.sample(range(1, len(recorded.barriers)), restarts), reverse=True)
    outputs: dict[int, list[Output]] = {}
    number = 0
    while number < len(recorded.barriers):
        barrier = recorded.barriers[number]
        while machine.assembler.behind(barrier["cut"]):
            name = chance.choice([name for name, queue in queues.items() if queue])
            for _ in range(min(chance.randint(1, max_batch), len(queues[name]))):
                machine.arrive(queues[name].popleft())
        outputs[number] = machine.step(barrier, barrier_sha(barrier))
        if chance.random() < 0.2:
            saved, saved_at = snapshots.dumps({}, machine.state()), number + 1
        number += 1
        if crashes and number == crashes[-1]:
            crashes.pop()
            machine = StrategyMachine(make(), Assembler(PARTITIONS, catalogue.load()))
            if saved_at:
                machine.restore(snapshots.loads(saved)[1])
            number = saved_at
            resume = machine.assembler.resume_offsets()
            queues = {}
            for each in recorded.records:
                if each.offset >= resume[each.partition_name]:
                    queues.setdefault(each.partition_name, deque()).append(each)
    return [output for number in sorted(outputs) for output in outputs[number]]


def sha(outputs: list[Output]) -> str:
    """SHA-256 (hex) over the Avro bodies of outputs, in order."""
    total = hashlib.sha256()
    for output in outputs:
        body = codec.encode_body(catalogue.load()[output.topic].record, output.record)
        total.update(output.topic.encode() + len(body).to_bytes(4, "big") + body)
    return total.hexdigest()


def main() -> None:
    """`SEED ENGINE HISTORY [ENGINE HISTORY...]`: one hash a line."""
    seed, runs = int(sys.argv[1]), sys.argv[2:]
    for engine, history in zip(runs[::2], runs[1::2], strict=True):
        make = {"digest": digest_engine, "real": real_engine}[engine]
        print(sha(rerun(record(Market(history=int(history), live=2)), make, seed=seed, restarts=2)))


if __name__ == "__main__":
    main()
