"""What a barrier sees, in which order, and that nothing but the log decides it (law L1, without Kafka)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from schemas import catalogue
from strategy_plane.barriers.cut import HORIZON, Assembler, CutError
from strategy_plane.machine import Engine
from strategy_plane.outputs import Output
from tests.recordings import ACCOUNT, LogBuilder, Market, Message
from tests.strategy_plane.digest_engine import DigestEngine
from tests.strategy_plane.rerun import PARTITIONS, Recorded, digest_engine, real_engine, record, rerun, sha
from triplane.domain import calendars
from triplane.domain.timestamps import SECOND
from triplane.runtime import numerics

ROOT = Path(__file__).resolve().parents[2]


class Rig:
    """An assembler on a log in memory."""

    def __init__(self) -> None:
        self.log = LogBuilder()
        self.assembler = Assembler(PARTITIONS, catalogue.load())
        self.seq = 0

    def see(self, *items: Message) -> Rig:
        for item in items:
            self.assembler.arrive(self.log.append(item))
        return self

    def take(
        self, t: int, cut: Mapping[str, int] | None = None, skipped: list[str] | None = None
    ) -> list[tuple[str, int, bool]]:
        self.seq += 1
        barrier = {"seq": self.seq, "t": t, "cut": dict(cut or self.log.ends), "skipped": skipped or []}
        return [(record.topic, record.offset, record.late) for record in self.assembler.take(barrier)]


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(history=5, live=3)


@pytest.fixture(scope="module")
def day(market: Market) -> Any:
    return market.live_days[0]


@pytest.fixture(scope="module")
def t(day: Any) -> int:
    return calendars.decision_time("XNYS", day, "15:30")


def test_order_is_by_time_then_rank_then_offset(market: Market, day: Any, t: int) -> None:
    rig = Rig().see(
        market.quotes(day, t - 1), market.bar(day, t - 1), market.account_state(t - 2), market.bar(day, t - 3)
    )
    assert rig.take(t) == [
        ("data.bars", 1, False), ("order.account", 0, False), ("data.bars", 0, False), ("data.quotes", 0, False)
    ]  # fmt: skip


def test_what_is_available_at_or_after_t_waits_for_its_barrier(market: Market, day: Any, t: int) -> None:
    rig = Rig().see(market.bar(day, t - 1), market.bar(day, t), market.bar(day, t + 5))
    assert rig.take(t) == [("data.bars", 0, False)]
    assert rig.assembler.pending == 2
    assert rig.take(t + 5) == [("data.bars", 1, False)]
    assert rig.take(t + 6) == [("data.bars", 2, False)]


def test_what_lies_above_the_cut_is_not_seen(market: Market, day: Any, t: int) -> None:
    rig = Rig().see(market.bar(day, t - 2))
    cut = dict(rig.log.ends)
    rig.see(market.bar(day, t - 1))
    assert rig.take(t, cut) == [("data.bars", 0, False)]
    assert rig.assembler.buffered == 1


def test_a_record_that_comes_after_the_cut_of_its_time_is_folded_later_and_flagged(
    market: Market, day: Any, t: int
) -> None:
    rig = Rig().see(market.bar(day, t - 5))
    rig.take(t)
    rig.see(market.bar(day, t - 3))
    assert rig.take(t + 1) == [("data.bars", 1, True)]
    assert rig.assembler.late == 1


def test_configurations_are_seen_by_offset_whatever_their_time(market: Market, t: int) -> None:
    config = market.config()
    rig = Rig().see(Message(config.topic, {**config.record, "available_time": 2**62}))
    assert rig.take(t) == [("control.config", 0, False)]


def test_an_equal_repeat_is_dropped_and_another_record_of_the_identity_is_skipped(
    market: Market, day: Any, t: int
) -> None:
    bar = market.bar(day, t - 5)
    other = Message(bar.topic, {**bar.record, "close": [1.0] * len(bar.record["close"])})
    rig = Rig().see(bar, bar, other)
    assert rig.assembler.examine(rig.log.ends) == ["data.bars-0@2"]
    assert rig.take(t, skipped=["data.bars-0@2"]) == [("data.bars", 0, False)]
    assert rig.assembler.duplicates == 1
    rig.see(bar)
    assert rig.take(t + 1) == []
    assert rig.assembler.duplicates == 2


def test_a_conflict_that_the_barrier_does_not_skip_stops_the_plane(market: Market, day: Any, t: int) -> None:
    bar = market.bar(day, t - 5)
    rig = Rig().see(bar, Message(bar.topic, {**bar.record, "volume": [7.0] * len(bar.record["volume"])}))
    with pytest.raises(CutError, match="repeats the identity of offset 0"):
        rig.take(t)


def test_an_undecodable_record_is_examined_and_skipped(market: Market, day: Any, t: int) -> None:
    rig = Rig().see(market.bar(day, t - 5))
    rig.assembler.arrive(rig.log.append_malformed("data.bars"))
    rig.see(market.bar(day, t - 4))
    assert rig.assembler.examine(rig.log.ends) == ["data.bars-0@1"]
    assert rig.take(t, skipped=["data.bars-0@1"]) == [("data.bars", 0, False), ("data.bars", 2, False)]


def test_an_undecodable_record_that_the_barrier_counts_as_readable_stops_the_plane(t: int) -> None:
    rig = Rig()
    rig.assembler.arrive(rig.log.append_malformed("data.bars"))
    with pytest.raises(CutError, match="cannot be decoded here"):
        rig.take(t)


def test_examining_changes_nothing(market: Market, day: Any, t: int) -> None:
    rig = Rig().see(market.bar(day, t - 5), market.bar(day, t - 4))
    assert rig.assembler.examine(rig.log.ends) == rig.assembler.examine(rig.log.ends) == []
    assert len(rig.take(t)) == 2


def test_a_cut_that_has_not_arrived_cannot_be_taken(market: Market, day: Any, t: int) -> None:
    rig = Rig().see(market.bar(day, t - 5))
    ahead = {**rig.log.ends, "data.bars-0": 3}
    assert rig.assembler.behind(ahead) == ["data.bars-0"]
    with pytest.raises(CutError, match="has been read to 1 only"):
        rig.take(t, ahead)
    rig.assembler.advance({"data.bars-0": 3})  # offsets 1 and 2 were transaction markers
    assert rig.take(t, ahead) == [("data.bars", 0, False)]


def test_a_cut_that_runs_back_is_refused(market: Market, day: Any, t: int) -> None:
    rig = Rig().see(market.bar(day, t - 5))
    rig.take(t)
    with pytest.raises(CutError, match="runs back"):
        rig.take(t, {**rig.log.ends, "data.bars-0": 0})


def test_an_unknown_partition_is_named(t: int) -> None:
    with pytest.raises(CutError, match=r"data\.bars-7"):
        Rig().take(t, {"data.bars-7": 1})


def test_a_reader_may_repeat_itself(market: Market, day: Any, t: int) -> None:
    rig = Rig()
    first = rig.log.append(market.bar(day, t - 5))
    assert rig.assembler.arrive(first)
    assert not rig.assembler.arrive(first)
    assert rig.take(t) == [("data.bars", 0, False)]


def test_fast_identities_are_forgotten_after_the_horizon_and_their_stragglers_dropped(
    market: Market, day: Any, t: int
) -> None:
    quote = market.quotes(day, t - 5)
    rig = Rig().see(quote)
    rig.take(t)
    rig.see(quote)
    rig.take(t + HORIZON - 5)  # still known: a repeat
    assert (rig.assembler.duplicates, rig.assembler.expired) == (1, 0)
    rig.take(t + HORIZON)
    rig.see(quote)
    assert rig.take(t + HORIZON + 1) == []
    assert (rig.assembler.duplicates, rig.assembler.expired) == (1, 1)
    size = rig.assembler.state()["parts"]["data.quotes-0"]["fast"].shape
    assert size == (0, 4)


def test_daily_bars_are_remembered_for_ever(market: Market, t: int) -> None:
    daily = market.daily(market.history_days[0])
    rig = Rig().see(daily)
    rig.take(t)
    rig.see(daily)
    assert rig.take(t + 100 * HORIZON) == []
    assert rig.assembler.duplicates == 1


def test_a_snapshot_resumes_at_the_first_pending_record(market: Market, day: Any, t: int) -> None:
    rig = Rig().see(
        market.config(),
        market.bar(day, t - 5),
        market.bar(day, t + 5),
        market.bar(day, t - 4),
        market.quotes(day, t - 1),
    )
    rig.take(t)
    resumed = Assembler(PARTITIONS, catalogue.load())
    resumed.restore(rig.assembler.state())
    offsets = resumed.resume_offsets()
    assert (offsets["data.bars-0"], offsets["data.quotes-0"], offsets["control.config-0"]) == (1, 1, 0)
    rig.see(market.bar(day, t + 6))
    for item in rig.log.records:
        if item.offset >= offsets[item.partition_name]:
            resumed.arrive(item)
    barrier = {"seq": 2, "t": t + 10 * SECOND, "cut": rig.log.ends, "skipped": []}
    assert [(v.topic, v.offset) for v in resumed.take(barrier)] == [("data.bars", 1), ("data.bars", 3)]


# Law L1 -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return record(Market(history=40, live=3), malformed_before=len(Market(history=40, live=3).everything()) - 50)


def test_batches_interleavings_and_restarts_change_no_output(
    recorded: Recorded, counts: Callable[[int, int], int], seed: int
) -> None:
    assert sum(bool(b["skipped"]) for b in recorded.barriers) == 1
    expected = sha(rerun(recorded, digest_engine, seed=0))
    for run in range(counts(10, 50)):
        assert sha(rerun(recorded, digest_engine, seed + run, restarts=run % 6, max_batch=1 + 7 * run)) == expected


def test_the_real_engine_repeats_itself(seed: int) -> None:
    recording = record(Market(history=290, live=3))
    outputs = rerun(recording, real_engine, seed=0)
    assert sum(output.topic == "strategy.intents" for output in outputs) == 3
    assert sha(rerun(recording, real_engine, seed, restarts=4)) == sha(outputs)


def test_hash_seeds_change_no_output() -> None:
    def run(hash_seed: str) -> str:
        environment = {**os.environ, **numerics.required_pins(), "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.strategy_plane.rerun", "5", "digest", "40", "real", "270"]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=150
        ).stdout

    found = run("1")
    assert len(set(found.split())) == 2
    assert run("4242") == found


class ArrivalOrder(Assembler):
    """What must not be: records handed out as they arrived."""

    def take(self, barrier: Mapping[str, Any]) -> list[Any]:
        visible = super().take(barrier)
        return sorted(visible, key=lambda item: self.arrived.index((item.topic, item.offset)))

    def arrive(self, item: Any) -> bool:
        self.arrived: list[tuple[str, int]]
        if not hasattr(self, "arrived"):
            self.arrived = []
        self.arrived.append((item.topic, item.offset))
        return super().arrive(item)


def test_a_cut_in_order_of_arrival_is_caught(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.strategy_plane.rerun.Assembler", ArrivalOrder)
    assert sha(rerun(recorded, digest_engine, seed=1)) != sha(rerun(recorded, digest_engine, seed=2))


class Forgetful(DigestEngine):
    """An engine that leaves something out of its state."""

    def __init__(self) -> None:
        super().__init__(ACCOUNT)
        self.steps = 0

    def step(self, barrier: Mapping[str, Any], barrier_sha: str) -> list[Output]:
        self.steps += 1
        self.digest = bytes([self.steps % 256]) + self.digest[1:]
        return super().step(barrier, barrier_sha)


def test_an_engine_that_forgets_over_a_restart_is_caught(recorded: Recorded) -> None:
    def make() -> Engine:
        return Forgetful()

    assert sha(rerun(recorded, make, seed=1)) != sha(rerun(recorded, make, seed=1, restarts=3))


def test_one_changed_bit_of_input_is_caught(recorded: Recorded) -> None:
    changed = Recorded(list(recorded.records), recorded.barriers)
    at = next(i for i, item in enumerate(changed.records) if item.topic == "data.macro")
    item = changed.records[at]
    assert item.value is not None
    value = {**item.value, "values": [item.value["values"][0] + 1e-9]}
    changed.records[at] = type(item)(item.topic, 0, item.offset, item.key, value, "", item.raw, {})
    assert sha(rerun(changed, digest_engine, seed=0)) != sha(rerun(recorded, digest_engine, seed=0))
