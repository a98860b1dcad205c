"""Outputs that Kafka did not take: the failure stays, and no snapshot claims a step that was not finished."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from schemas import catalogue, codec
from strategy_plane.barriers.cut import Assembler
from strategy_plane.engine import StrategyEngine
from strategy_plane.machine import StrategyMachine
from strategy_plane.outputs import Output
from strategy_plane.worker.appender import Appender
from strategy_plane.worker.loop import Worker
from strategy_plane.worker.publisher import Publisher
from strategy_plane.worker.recovery import Position, Written, snapshot_path
from strategy_plane.worker.telemetry import WorkerMetrics, sessions_between
from triplane.runtime.daemon import Daemon
from triplane.runtime.kafka_out import DeliveryError
from triplane.runtime.settings import Settings
from triplane.runtime.telemetry import Metrics

ACCOUNT = "DU1"


class Outlet(Publisher):
    """A publisher whose acknowledgements the test gives itself."""

    def __init__(self) -> None:
        self.futures: list[asyncio.Future[int]] = []

    async def send(
        self, topic: str, record: Mapping[str, Any], headers: Mapping[str, bytes] | None = None
    ) -> asyncio.Future[int]:
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


def output(seq: int) -> Output:
    record = codec.defaults("SignalSlice") | {"seq": seq}
    return Output("strategy.signals", record)


def test_a_decision_that_holds_everything_is_told_until_one_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    registry = Metrics()
    metrics, log = WorkerMetrics(registry), structlog.stdlib.get_logger()
    for outcome, held in (("SOLVED", 0.0), ("HOLD_INFEASIBLE", 1.0), ("SOLVED", 0.0), ("SOLVED", 0.0)):
        targets = {"seq": 7, "outcome": outcome, "detail": "the limits cannot all be met"}
        metrics.stepped([Output("strategy.targets", targets)], log, "", "decision")
        assert registry.registry.get_sample_value("triplane_decision_held") == held
    told = capsys.readouterr()
    assert (told.out + told.err).count("decision held") == 1
    assert (told.out + told.err).count("decisions resumed") == 1


def test_sessions_that_went_by_without_a_barrier_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    metrics, log = WorkerMetrics(Metrics()), structlog.stdlib.get_logger()
    # A weekend and a holiday (2018-02-19) are no sessions.
    metrics.stepped([], log, "2018-01-25", "warmup")
    metrics.stepped([], log, "2018-01-31", "warmup")  # a gap in the history, where nothing is decided, is no news
    for session in ("2018-02-01", "2018-02-02", "2018-02-05", "2018-02-16", "2018-02-16", "2018-02-20", "2018-02-22"):
        metrics.stepped([], log, session, "decision")
    metrics.stepped([], log, "2018-02-23", "warmup")  # its daily bars came only after it
    told = capsys.readouterr()
    lines = [line for line in (told.out + told.err).splitlines() if "sessions passed" in line]
    assert len(lines) == 3
    for part in ("2018-02-06", "2018-02-15", "8"):
        assert part in lines[0]
    assert lines[1].count("2018-02-21") == 2
    assert lines[2].count("2018-02-23") == 2
    assert [sessions_between(*pair) for pair in (("", "2018-02-05"), ("2018-02-05", "2018-02-05"), ("1", "2"))] == [
        []
    ] * 3


def test_each_signal_tells_how_many_names_it_speaks_of() -> None:
    registry = Metrics()
    slice_ = {
        "signals": ["MOM", "POS"],
        "symbols": ["A", "B"],
        "abstained": ["MOM:A:SPARSE", "POS:A:TBILL_STALE", "POS:B:TBILL_STALE"],
    }
    WorkerMetrics(registry).stepped([Output("strategy.signals", slice_)], structlog.stdlib.get_logger(), "", "warmup")
    told = {
        name: registry.registry.get_sample_value("triplane_signal_names", {"signal": name}) for name in ("MOM", "POS")
    }
    assert told == {"MOM": 1.0, "POS": 0.0}


async def test_a_failure_is_raised_again_until_the_end() -> None:
    outlet = Outlet()
    appender = Appender(outlet, Written(), {}, WorkerMetrics(Metrics()))
    await appender.append([output(1), output(2)], {})
    outlet.futures[0].set_result(41)
    outlet.futures[1].set_exception(DeliveryError("Kafka is gone"))
    for _ in range(2):
        with pytest.raises(DeliveryError):
            await appender.acknowledge()
    with pytest.raises(DeliveryError):
        appender.fail_early()
    assert appender.ends == {"strategy.signals-0": 42}


async def test_outputs_that_the_log_holds_are_no_news() -> None:
    written, old, new = Written(), output(1), output(2)
    written._bodies["strategy.signals", catalogue.load()["strategy.signals"].identify(old.record)] = codec.encode_body(
        "SignalSlice", old.record
    )
    appender = Appender(Outlet(), written, {}, WorkerMetrics(Metrics()))
    assert [await appender.append(outputs, {}) for outputs in ([], [old], [new])] == [False, False, True]


async def test_what_is_acknowledged_is_waited_for_once() -> None:
    outlet = Outlet()
    appender = Appender(outlet, Written(), {}, WorkerMetrics(Metrics()))
    await appender.append([output(1)], {})
    waiting = asyncio.ensure_future(appender.acknowledge())
    await asyncio.sleep(0)
    assert not waiting.done()
    outlet.futures[0].set_result(7)
    await waiting
    await appender.acknowledge()


async def test_a_worker_that_ends_within_a_step_leaves_the_snapshot_before_it(tmp_path: Path) -> None:
    worker = Worker(Daemon("strategy", Settings(state_dir=tmp_path)), StrategyEngine(ACCOUNT))
    outlet = Outlet()
    worker._appender = Appender(outlet, Written(), {}, worker._metrics)
    worker._machine = StrategyMachine(worker._engine, Assembler(["data.bars-0"], catalogue.load()))
    worker._position, worker._since_snapshot = Position(640, "ab", 1, "2018-01-19", 640), 64
    worker._stepping = True
    await worker._drain()
    assert not snapshot_path(worker._settings).exists()
    worker._stepping = False
    await worker._appender.append([output(1)], {})
    outlet.futures[0].set_exception(DeliveryError("Kafka is gone"))
    with pytest.raises(DeliveryError):
        await worker._drain()
    assert not snapshot_path(worker._settings).exists()
    worker._appender = Appender(outlet, Written(), {}, worker._metrics)
    await worker._drain()
    assert snapshot_path(worker._settings).exists()
