"""The IBKR source with an engine behind it, at a paper gateway whose clock is moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from data_plane.daemon.group import watched_kinds
from data_plane.engine import DataEngine
from data_plane.outputs import Output
from data_plane.sources.ibkr import IbkrSource
from tests.broker.gateways import GatewayProcess
from tests.data_plane.support import Bench, assert_conserved, config, day_open
from tests.waiting import until
from triplane.domain.timestamps import MINUTE
from triplane.runtime.settings import Settings

ACCOUNT = "DU1234567"


class Rig(Bench):
    """A bench with an engine behind it, as the service has. No decision is near while the market streams, if not told otherwise, so that
    minutes are asked for at once."""

    def __init__(self, settings: Settings, **data: object) -> None:
        super().__init__(settings, config(**{"rebalance": "12:00", **data}), 0)
        names = [asset.symbol for asset in self.context.assets()]
        self.engine = DataEngine("main", names, self.config.targets.data, "h")
        self.engine.watch(watched_kinds(self.context.watched()))
        self.outputs: list[Output] = []
        self.blocked: list[str] = []
        self.gaps = 0
        context = self.context
        context.published = self.engine.published
        context.take = self.take
        context.tell_time = self.tell_time
        context.resume = self.engine.resume
        context.gap = self.gap
        context.advance = lambda source, now: self.outputs.extend(self.engine.advance(source, now))
        context.source_age = lambda source: self.engine.source_age(source, self.clock.now())
        context.compare_clock = lambda source, sample: self.outputs.extend(
            self.engine.compare_clock(source, sample, self.clock.now())
        )
        context.contract_state = lambda source, symbol, problem: self.outputs.extend(
            self.engine.contract_state(source, symbol, problem, self.clock.now())
        )
        context.covered = lambda source, streamed, round_s: self.outputs.extend(
            self.engine.cover(source, streamed, round_s, self.clock.now())
        )
        context.blocked = lambda source, why: self.blocked.append(why)

    def gap(self, source: str) -> None:
        self.gaps += 1
        self.engine.gap(source)

    def tell_time(self, now: int) -> None:
        self.clock.advance(now)

    def take(self, observation: Any) -> None:
        self.taken.append(observation)
        self.outputs.extend(self.engine.take(observation))

    def slices(self, interval: str) -> list[dict[str, Any]]:
        return [
            o.record
            for o in self.outputs
            if o.topic == "data.bars" and o.record["interval"] == interval and o.record.get("symbols")
        ]

    def quotes(self) -> list[dict[str, Any]]:
        return [o.record for o in self.outputs if o.topic == "data.quotes"]

    def gates(self) -> list[tuple[str, str, bool, str]]:
        return [
            (r["gate"], r["scope"], r["open"], r["code"])
            for r in (o.record for o in self.outputs if o.topic == "data.gates")
        ]


def rig(gateway: GatewayProcess, **data: object) -> Rig:
    return Rig(Settings(gateway_port=gateway.port, account=ACCOUNT), BACKFILL_YEARS=0.2, **data)


@contextlib.asynccontextmanager
async def following(gateway: GatewayProcess, **data: object) -> AsyncIterator[tuple[Rig, IbkrSource]]:
    bench = rig(gateway, **data)
    source = IbkrSource(bench.context)
    await source.backfill()
    task = asyncio.create_task(source.follow())
    await until(lambda: bench.blocked[-1] == "")
    await asyncio.to_thread(gateway.advance, to="2018-01-19T15:25")
    # All of it, so that whatever comes from here on is what a test brought about.
    newest = day_open("2018-01-19") + 355 * MINUTE
    await until(lambda: len(found := bench.slices("5s")) >= 55 and found[-1]["event_time"] == newest)
    yield bench, source
    bench.context.stop.set()
    await asyncio.wait_for(task, 10)
    await source.close()
    assert_conserved(bench.engine)
