"""The strategy plane's worker inside a test's event loop, on a real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from schemas import catalogue, codec
from strategy_plane.worker.loop import Worker
from tests.chaos.strategy_harness import OUTPUTS, strategy_log
from tests.recordings import Message, publish
from tests.strategy_plane.digest_engine import DigestEngine
from tests.strategy_plane.rerun import PARTITIONS, Recorded, digest_engine, rerun
from triplane.replay.recording import Recording, combined, digest
from triplane.runtime.daemon import Daemon
from triplane.runtime.settings import Settings


class Running:
    """A worker inside the test's event loop."""

    def __init__(self, settings: Settings, worker: type[Worker] = Worker) -> None:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        self.daemon = Daemon("strategy", settings)
        self.worker = worker(self.daemon, DigestEngine(settings.account))
        self.task = asyncio.ensure_future(self.worker.run())

    def metric(self, name: str) -> float:
        return sum(
            sample.value
            for family in self.daemon.metrics.registry.collect()
            for sample in family.samples
            if sample.name == name
        )

    async def until(self, name: str, at_least: float, timeout: float = 30.0) -> None:
        """Wait until a metric has reached a value."""
        deadline = time.monotonic() + timeout
        while self.metric(name) < at_least:
            if self.task.done():
                self.task.result()
            assert time.monotonic() < deadline, f"{name} is {self.metric(name)}, not {at_least}; {self.daemon._reason}"
            await asyncio.sleep(0.01)

    async def until_ready(self, reason: str = "", timeout: float = 30.0) -> None:
        """Wait until it is ready, or not ready for a reason that contains `reason`."""
        deadline = time.monotonic() + timeout
        while not (reason in self.daemon._reason if reason else self.daemon._ready):
            if self.task.done():
                self.task.result()
            assert time.monotonic() < deadline, self.daemon._reason
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self.daemon.stop.set()
        await asyncio.wait_for(self.task, 20)

    async def die(self) -> None:
        """End without draining: what a crash leaves behind."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@contextlib.asynccontextmanager
async def running(settings: Settings, worker: type[Worker] = Worker) -> AsyncIterator[Running]:
    it = Running(settings, worker)
    try:
        yield it
        await it.stop()
    finally:
        if not it.task.done():
            await it.die()


async def put(settings: Settings, *messages: Message) -> None:
    await asyncio.to_thread(publish, settings, messages)


async def log_of(settings: Settings) -> Recording:
    return await asyncio.to_thread(strategy_log, settings)


def offline_sha(recording: Recording) -> str:
    """SHA-256 of the outputs that the recorded barriers give without Kafka."""
    inputs = [record for name in {p.rpartition("-")[0] for p in PARTITIONS} for record in recording.raw[name]]
    barriers = [record.value for record in recording.records["strategy.barriers"] if record.value]
    outputs = rerun(Recorded(inputs, barriers), digest_engine, seed=3)
    bodies: dict[str, list[bytes]] = {name: [] for name in OUTPUTS}
    for output in outputs:
        bodies[output.topic].append(codec.encode_body(catalogue.load()[output.topic].record, output.record))
    return combined({name: digest(bodies[name]) for name in OUTPUTS})
