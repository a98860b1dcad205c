"""Random lives of an outlet: whatever Kafka and the runs do, each record is on the log, in its order, and counted once."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from data_plane.daemon import outlet as outlet_module
from data_plane.daemon.outlet import Outlet
from data_plane.daemon.spool import Spool, Spooled
from data_plane.outputs import Output
from tests.data_plane.outlets import output
from triplane.runtime.kafka_out import DeliveryError

ROOMY, TIGHT = 10**7, 3000
"""Bytes of a spool; some fifteen records fit the tight one."""


class Log:
    """A broker that takes, refuses or is silent, whichever run of the producer asks it."""

    def __init__(self) -> None:
        self.records: list[int] = []
        self.mood = "takes"
        self.full = False
        self.broken = False
        self.asked: list[tuple[int, Future[int]]] = []

    def send(self, topic: str, record: dict[str, Any], *, headers: dict[str, bytes] | None = None) -> Future[int]:
        if self.full:
            raise BufferError
        if self.broken:
            raise DeliveryError("Local: Fatal error")
        future: Future[int] = Future()
        future.set_running_or_notify_cancel()
        self.asked.append((record["event_time"], future))
        return future

    def answer(self, most: int) -> None:
        asked = self.asked[:most]
        if self.mood == "refuses":
            random.shuffle(asked)  # its answers for several topics come in any order
        for number, future in asked:
            if self.mood == "refuses":
                future.set_exception(DeliveryError("Broker: Invalid timestamp"))
            else:
                self.records.append(number)
                future.set_result(len(self.records))
        del self.asked[:most]

    def time_out(self) -> None:
        for _, future in self.asked:
            future.set_exception(DeliveryError("Local: Message timed out"))
        self.asked.clear()

    def close(self, timeout_s: float = 5.0) -> None:
        if self.mood != "silent":
            self.answer(random.randrange(len(self.asked) + 1))


class Disk(Spool):
    """Knows what it ever held, and on some disks has no room for a new file beside the old one while the outlet runs."""

    cramped: Callable[[], bool]
    held: set[int]

    def append(self, output: Output, ingest_time: int) -> bool:
        taken = super().append(output, ingest_time)
        if taken:
            self.held.add(output.record["event_time"])
        return taken

    def prepend(self, items: Sequence[Spooled]) -> list[Spooled]:
        if self.cramped():
            raise OSError(errno.ENOSPC, "No space left on device")
        left = super().prepend(items)
        self.held |= {item.output.record["event_time"] for item in items if item not in left}
        return left


class Life:
    """Runs of the data plane's outlet over one spool, one after the other."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path, self.rng = path, rng
        self.log = Log()
        self.size = rng.choice([ROOMY, ROOMY, TIGHT])
        self.cramped = rng.random() < 0.3
        self.held: set[int] = set()
        self.put = self.acknowledged = 0
        self.dropped: list[Output] = []
        self.begin()

    def begin(self) -> None:
        self.log.asked.clear()
        self.log.broken = False
        self.told: list[str] = []
        may_wait: Callable[[Output], bool] = lambda _: self.rng.random() < 0.4  # noqa: E731
        disk = Disk(self.path, self.size)
        disk.held, disk.cramped = (
            self.held,
            lambda: self.cramped and not self.outlet._closing and self.rng.random() < 0.7,
        )
        self.outlet = Outlet(self.log, disk, self.dropped.append, may_wait, self.told.append)
        self.pump = asyncio.create_task(self.outlet.pump())

    async def end(self) -> None:
        """As the service ends: the pump first, then the outlet in a thread of its own."""
        self.pump.cancel()
        with contextlib.suppress(asyncio.CancelledError, DeliveryError):
            await self.pump
        with contextlib.suppress(DeliveryError):  # told at the end where nobody was
            await asyncio.to_thread(self.outlet.close)
        self.acknowledged += sum(self.outlet.acknowledged.values())

    async def killed(self) -> None:
        self.pump.cancel()
        await asyncio.wait({self.pump})
        self.outlet._closing = True
        self.outlet._spool.close()

    async def hear(self) -> None:
        """What the producer's thread has called reaches the loop."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def step(self, kills: bool) -> None:
        chance = self.rng.random()
        if chance < 0.35:
            count = self.rng.randint(1, 4)
            first = self.put + 1
            self.put += count
            try:
                self.outlet.put(*(output(number) for number in range(first, first + count)))
            except DeliveryError:
                await self.end()
                self.begin()
        elif chance < 0.55:
            if self.log.mood != "silent":
                self.log.answer(self.rng.randint(1, 6))
        elif chance < 0.70:
            await self.change_mood()
        elif chance < 0.74:
            self.log.full = not self.log.full
        elif chance < 0.76:
            self.log.broken = True
        elif chance < 0.90:
            await asyncio.sleep(self.rng.choice([0, 0, 0.001, 0.004, 0.03]))
        elif chance < 0.96 or not kills:
            await self.end()
            self.begin()
        else:
            await self.killed()
            self.begin()
        if self.pump.done():
            await self.end()
            self.begin()
        assert self.path.stat().st_size <= self.size

    async def change_mood(self) -> None:
        """A broker that refuses has refused all it was sent before it takes one again; a wait ends in vain after a long silence only."""
        mood = self.rng.choice(["takes", "takes", "silent", "refuses"])
        if self.log.mood == "silent" and self.outlet.away and self.rng.random() < 0.5:
            self.log.time_out()
            await self.hear()
        if self.log.mood == "refuses" != mood:
            await self.refuse_all()
        self.log.mood = mood
        await self.hear()

    async def refuse_all(self) -> None:
        """What the outlet has sent before it heard of the refusal is refused, too; when this returns it has heard and nothing is under way."""
        await self.hear()
        while self.log.asked:
            self.log.answer(len(self.log.asked))
            await self.hear()

    async def settle(self) -> None:
        """Kafka takes everything from now on."""
        if self.log.mood == "refuses":
            await self.refuse_all()
        self.log.mood, self.log.full = "takes", False
        async with asyncio.timeout(60):
            while self.outlet.in_flight():
                self.log.answer(len(self.log.asked))
                if self.pump.done():
                    await self.end()
                    self.begin()
                await asyncio.sleep(0.002)
        await self.hear()
        await self.end()


@pytest.mark.parametrize("kills", [False, True])
async def test_whatever_happens_each_record_is_on_the_log_in_its_order_and_counted_once(
    kills: bool, seed: int, counts: Callable[[int, int], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SIGKILL loses at most what was in memory, and counts nothing twice that one run counts."""
    monkeypatch.setattr(outlet_module, "AWAY_S", 0.02)
    monkeypatch.setattr(outlet_module, "PUMP_S", 0.002)
    monkeypatch.setattr(outlet_module, "GATHER_S", 0.003)
    for life_seed in range(seed, seed + counts(25, 1000)):
        random.seed(life_seed)
        life = Life(tmp_path / str(life_seed), random.Random(life_seed))
        for _ in range(life.rng.randint(5, 60)):
            await life.step(kills)
        await life.settle()
        on_log = list(dict.fromkeys(life.log.records))
        assert on_log == sorted(on_log), f"life {life_seed}: out of order"
        dropped = {item.record["event_time"] for item in life.dropped}
        assert not dropped or life.size == TIGHT
        assert life.held <= dropped.union(on_log), f"life {life_seed}: lost from disk"
        if not kills:
            assert dropped.union(on_log) == set(range(1, life.put + 1)), f"life {life_seed}: lost"
            assert life.acknowledged + len(life.dropped) == life.put, f"life {life_seed}: not counted once"
            assert life.told[-1:] in ([], [""]) or life.dropped, f"life {life_seed}: the refusal is over"
        assert (tmp_path / str(life_seed)).stat().st_size == 0
