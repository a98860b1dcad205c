"""A backfill that is killed (SIGKILL) at random moments and run again: the log then holds what an undisturbed run puts there, once."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.broker.gateways import GatewayProcess
from tests.data_plane.backfills import TOPICS, Installation
from tests.data_plane.counted_providers import CountedProviders, counted_providers
from tests.prefork import Forked
from tests.waiting import until
from triplane.runtime.kafka_in import TopicReader
from triplane.runtime.settings import Settings
from triplane.stack.topics import create_topics, delete_topics

pytestmark = [pytest.mark.chaos, pytest.mark.integration]

LINES = {
    "edgar": ("backfill", "--source", "edgar", "--from", "2015-01-01", "--to", "2018-12-31"),
    "fred": ("backfill", "--source", "fred", "--from", "2016-01-01", "--to", "2018-12-31"),
    "ibkr": ("backfill", "--source", "ibkr", "--from", "2017-02-01", "--to", "2018-01-18"),
}
REQUESTS = {"edgar": 9, "fred": 3}
LATEST_S = 0.25
"""A kill comes up to so long after its request, so that it also meets what is published on the last answer."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path / "gateway", "--hold", "--sessions", "3")
    yield process
    process.stop()


def with_bad_facts(providers: CountedProviders) -> None:
    """Each of AMD's filings has a fact beside its good one that goes to quarantine: its period ends after it was accepted."""
    facts = providers.content.company_facts(2488)
    assert facts is not None
    (rows,) = facts["facts"]["dei"]["EntityCommonStockSharesOutstanding"]["units"].values()
    facts["facts"]["us-gaap"] = {"Assets": {"units": {"USD": [{**row, "end": "2030-12-31"} for row in rows]}}}
    usual = providers.content.company_facts
    providers.content.company_facts = lambda cik: facts if cik == 2488 else usual(cik)  # type: ignore[method-assign]


async def killed_at_a_request(here: Installation, source: str, chance: random.Random) -> None:
    """A run that dies some time after one of its requests, unless it has ended by then."""
    providers = here.providers
    last = len(providers.requests) + chance.randint(1, REQUESTS[source])
    later = chance.uniform(0.0, LATEST_S)
    dying: list[asyncio.TimerHandle] = []
    process: list[Forked] = []

    async def watch(_: web.Request) -> None:
        if len(providers.requests) == last:
            dying.append(asyncio.get_running_loop().call_later(later, process[0].kill))

    providers.intervene = watch
    process.append(here.start(*LINES[source]))
    await asyncio.to_thread(process[0].wait, 60)
    providers.intervene = None


async def killed_at_a_record(here: Installation, source: str, chance: random.Random) -> None:
    """A run that dies once so many slices are on the log."""
    reader = TopicReader(here.settings, ["data.bars"], "end")
    process = here.start(*LINES[source])
    try:
        most = reader.end_offsets()["data.bars-0"] + chance.randint(0, 220)
        await until(lambda: process.poll() is not None or reader.end_offsets()["data.bars-0"] >= most, "the slices")
    finally:
        process.kill()
        await asyncio.to_thread(process.wait, 20)
        reader.close()


@pytest.mark.timeout(600)
async def test_killed_anywhere_nothing_is_lost_and_nothing_doubled(
    settings: Settings, tmp_path: Path, gateway: GatewayProcess, counts: Callable[[int, int], int], seed: int
) -> None:
    chance = random.Random(seed)
    lives = counts(1, 10)
    async with counted_providers() as providers:
        with_bad_facts(providers)

        async def whole(here: Installation, source: str) -> None:
            ran = await here.run(*LINES[source])
            assert ran.code == 0, ran

        undisturbed = Installation(settings, providers, tmp_path / "undisturbed", gateway.port)
        wanted: dict[str, dict[str, Any]] = {}
        cut_short = 0
        for number in range(lives):
            prefix = f"k{uuid.uuid4().hex[:8]}."
            create_topics(settings.bootstrap, prefix=prefix)
            try:
                of_its_own = settings.model_copy(update={"topic_prefix": prefix, "state_dir": tmp_path / f"s{number}"})
                here = Installation(of_its_own, providers, tmp_path / f"life-{number}", gateway.port)
                sources = (("edgar", "fred")[chance.randrange(2)], "ibkr")
                for source in sources:
                    kill = killed_at_a_record if source == "ibkr" else killed_at_a_request
                    await kill(here, source, chance)
                left = here.log()
                for source in sources:
                    await whole(here, source)
                    if source not in wanted:
                        before = undisturbed.log()
                        await whole(undisturbed, source)
                        after = undisturbed.log()
                        wanted[source] = {t: {k: v for k, v in after[t].items() if k not in before[t]} for t in TOPICS}
                found = here.log()
                for topic in TOPICS:
                    # As text: NaN is not itself.
                    together = {k: v for source in sources for k, v in wanted[source][topic].items()}
                    assert repr(sorted(found[topic].items())) == repr(sorted(together.items())), (topic, sources)
                    cut_short += 0 < len(left[topic]) < len(found[topic])
            finally:
                delete_topics(settings.bootstrap, prefix)
        if "edgar" in wanted:
            assert len(wanted["edgar"]["data.quarantine"]) > 2
        assert len(wanted["ibkr"]["data.bars"]) > 220
        print(f"{cut_short} topics were left with a part of what they hold in the end")
        assert cut_short or lives == 1
