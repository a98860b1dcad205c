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
from strategy_plane.worker.recovery import Position, Written, load, save, snapshot_path
from strategy_plane.worker.telemetry import WorkerMetrics, sessions_between
from triplane.runtime.daemon import Daemon
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.first_per_identity import Nondeterminism
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


GONE, WHOLE = {"data.bars-0": 5}, {"data.bars-0": 0}


@pytest.mark.parametrize(
    ("began", "cause"),
    [
        (None, "the engine is not deterministic or another release wrote it: run `triplane replay --verify`, then remove"),
        ((WHOLE, False), "the engine is not deterministic or another release wrote it"),
        ((GONE, False), "there is no snapshot, and data.bars-0 begins at 5: restore the snapshot or the records before it, or begin a new log"),
        ((WHOLE, True), "the snapshot is of another release, so that all was computed again by this one: go back to that release for this log, or begin"),
        ((GONE, True), "by this one, and data.bars-0 begins at 5: restore the records before it, or go back to that release for this log, or begin"),
    ],
)  # fmt: skip
def test_other_bytes_than_were_computed_again_are_told_with_their_cause_and_remedy(began: Any, cause: str) -> None:
    written, record = Written(), output(1).record
    identity = catalogue.load()["strategy.signals"].identify(codec.defaults("SignalSlice") | record)
    written._bodies["strategy.signals", identity] = b"other"
    if began is not None:
        written.began(began[0], other_format=began[1])
    with pytest.raises(Nondeterminism) as stopped:
        written.has("strategy.signals", record)
    assert cause in str(stopped.value)


def test_a_snapshot_of_another_release_is_told_apart_and_a_folder_in_its_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(state_dir=tmp_path, bootstrap="127.0.0.1:9")
    assert not load(settings).other_format
    monkeypatch.setattr("strategy_plane.worker.recovery.FORMAT", 1)
    save(settings, Position(3, "ab" * 32, 1, "2018-01-05", 3, {}), {})
    monkeypatch.undo()
    found = load(settings)
    assert (found.state, found.other_format) == (None, True)
    assert "snapshot is of format 1, not 2; the state is rebuilt from the log" in found.note
    assert not load(
        settings.model_copy(update={"account": "DU7654321"}),
    ).state
    snapshot_path(settings).unlink()
    snapshot_path(settings).mkdir()
    with pytest.raises(DaemonExit, match=r"main\.snapshot is a folder.*move it away, then start again") as refused:
        load(settings)
    assert refused.value.code == 78
