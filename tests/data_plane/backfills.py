"""An installation in which `triplane data backfill` and `data reparse` run as processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from data_plane.daemon.backfill import Backfill
from data_plane.daemon.backfill_job import Job, Result
from data_plane.sources import registered
from data_plane.sources.span import Span
from schemas import catalogue
from tests.cli.command import Ran, environment, triplane, variables_of
from tests.data_plane.counted_providers import CountedProviders
from tests.data_plane.support import REPOSITORY, publish_config
from tests.prefork import Forked
from triplane.domain.assets import Universe
from triplane.domain.targets import Targets
from triplane.domain.targets.data import DataTargets
from triplane.runtime import configuration
from triplane.runtime.kafka_in import read_all
from triplane.runtime.settings import Settings

NAMES = ("AAPL", "AMD", "KO", "XOM")
TOPICS = ("data.bars", "data.facts", "data.fundamentals", "data.macro", "data.quarantine")


class Told:
    """Keeps the sentences of a run."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def progress(self, done: int, of: int, what: str) -> None:
        """Nobody watches."""

    def note(self, line: str) -> None:
        """Keep it."""
        self._notes.append(line)


class Installation:
    """A few names, and providers that are the test's own; `frames` as EDGAR_FRAMES."""

    def __init__(
        self, settings: Settings, providers: CountedProviders, cwd: Path, gateway_port: int = 0, frames: str = ""
    ) -> None:
        self.frames = frames
        self.settings, self.providers, self.cwd = settings, providers, cwd
        cwd.mkdir(exist_ok=True)
        self.variables = variables_of(settings) | {
            "TRIPLANE_EDGAR_URL": providers.url,
            "TRIPLANE_EDGAR_FILES_URL": providers.url,
            "TRIPLANE_FRED_URL": providers.url,
            "TRIPLANE_USER_AGENT": "tests tests@example.com",
            "TRIPLANE_FRED_API_KEY": "secret-key",
            "TRIPLANE_GATEWAY_PORT": str(gateway_port),
        }
        self.configure()

    def configure(self, *unknown: str) -> None:
        """Publish a configuration of the few names, and of others that nobody knows."""
        rows = [row.model_dump(mode="json") for row in Universe.load(REPOSITORY / "assets.csv").tradable]
        few = [row for row in rows if row["symbol"] in NAMES]
        universe = Universe.from_canonical([*few, *(few[0] | {"symbol": symbol} for symbol in unknown)])
        targets = Targets(data=DataTargets(SOURCE_RETRIES=1, SOURCE_BACKOFF_S=0.01, EDGAR_FRAMES=self.frames))
        publish_config(self.settings, configuration.make(targets, universe), seq=1 + bool(unknown))

    async def run(self, *line: str, **variables: str) -> Ran:
        """A verb of `triplane data` to its end."""
        return await asyncio.to_thread(triplane, "data", *line, cwd=self.cwd, variables=self.variables | variables)

    async def backfill(self, source: str, first: str, last: str, *more: str, **variables: str) -> Ran:
        """`data backfill` of a span to its end."""
        return await self.run("backfill", "--source", source, "--from", first, "--to", last, *more, **variables)

    async def counts(self, source: str, first: str, last: str, *more: str) -> dict[str, Any]:
        """What `data backfill --json` counted of the source; it came to its end and lost nothing."""
        ran = await self.backfill(source, first, last, "--json", *more)
        assert ran.code == 0, ran
        return counted(ran)

    async def load(
        self, source: str, span: Span, *, reread: bool = False, gateway_port: int = 0, notes: list[str] | None = None
    ) -> Result:
        """A run in this process: with whatever a test made of the program. `notes` gets what people are told."""
        url = self.providers.url
        settings = self.settings.model_copy(
            update={
                "edgar_url": url,
                "edgar_files_url": url,
                "fred_url": url,
                "user_agent": "tests tests@example.com",
                "fred_api_key": SecretStr("secret-key"),
                "gateway_port": gateway_port,
            }
        )
        (spec,) = (each for each in registered() if each.name == source)
        report = Told([] if notes is None else notes)
        return await Backfill(settings, Job(spec, span, reread=reread), report).run(asyncio.Event())

    def start(self, *line: str) -> Forked:
        """A verb of `triplane data`, running."""
        return Forked(
            "triplane.cli.main", "data", *line,
            log=self.cwd / "out", errors=self.cwd / "err", cwd=self.cwd, env=environment(**self.variables),
        )  # fmt: skip

    def log(self) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
        """What is on the topics, by identity. No identity stands twice."""
        topics = catalogue.load()
        found: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {topic: {} for topic in TOPICS}
        seen: Counter[tuple[Any, ...]] = Counter()
        for record in read_all(self.settings, TOPICS):
            assert record.value is not None
            identity = tuple(record.value[name] for name in topics[record.topic].identity)
            seen[record.topic, *identity] += 1
            found[record.topic][identity] = record.value
        twice = [identity for identity, count in seen.items() if count > 1]
        assert not twice
        return found


def counted(ran: Ran) -> dict[str, Any]:
    """The one source's counts of a run with --json, after they have been added up (law L10)."""
    document = ran.json
    (counts,) = document["sources"].values()
    assert counts["difference"] == 0
    outcomes = ("published", "quarantined", "deduplicated", "in_flight")
    assert counts["received"] == sum(counts[name] for name in outcomes) + sum(counts["dropped"].values())
    return dict(counts)
