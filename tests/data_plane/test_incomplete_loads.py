"""A document that cannot be had or read, and one that the archive lost: the run names it and is not complete, and the rest is loaded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from data_plane.daemon import silence
from data_plane.daemon.absent_names import not_traded
from data_plane.observations import Filing, Malformed, Vintage
from data_plane.sources.archive import KEPT, ResponseArchive
from data_plane.sources.edgar import EdgarSource
from data_plane.sources.fred import FredSource
from data_plane.sources.http import AWAY_AFTER
from data_plane.sources.ibkr.kept import KeptBars
from data_plane.sources.span import Span
from tests.data_plane.backfills import NAMES, Installation
from tests.data_plane.counted_providers import CountedProviders, counted_providers
from tests.data_plane.support import Bench, config, day_open, universe
from triplane.domain.assets import Universe
from triplane.runtime.settings import Settings

SPAN = Span(date(2016, 1, 1), date(2018, 12, 31))
HTML = "<html>please wait</html>"
CIKS = {"AAPL": "0000320193", "AMD": "0000002488", "KO": "0000021344", "XOM": "0000034088"}


@pytest.fixture
async def here(settings: Settings, tmp_path: Path) -> AsyncIterator[Installation]:
    async with counted_providers() as providers:
        yield Installation(settings, providers, tmp_path)


class Look:
    """A backfill of a source over the span, whose observations and sentences are kept."""

    def __init__(self, providers: CountedProviders, **data: object) -> None:
        url = providers.url
        settings = Settings(
            edgar_url=url, edgar_files_url=url, fred_url=url, user_agent="t t@example.com", fred_api_key="secret-key"
        )
        quick = {"SOURCE_RETRIES": 1, "SOURCE_BACKOFF_S": 0.01, "EDGAR_FRAMES": "", "FRED_REQUESTS_PER_MIN": 120.0}
        self.bench = Bench(settings, config(**quick | data), day_open())
        few = [asset for asset in self.bench.config.universe.tradable if asset.symbol in NAMES]
        self.bench.context.assets = lambda: few  # type: ignore[method-assign]
        self.bench.context.span = SPAN
        self.lacks: list[str] = []
        self.bench.context.incomplete = lambda _, why: self.lacks.append(why)

    async def at(self, source_class: type[EdgarSource] | type[FredSource]) -> Look:
        source = source_class(self.bench.context)
        await source.backfill()
        await source.close()
        return self

    @property
    def filings(self) -> list[Filing]:
        return [each for each in self.bench.taken if isinstance(each, Filing)]

    @property
    def names(self) -> set[str]:
        return {each.symbol for each in self.filings}


async def test_what_cannot_be_had_or_read_leaves_the_others_alone_and_is_told_at_the_end(here: Installation) -> None:
    """One name's facts are a page, one answers 503, one is refused; the fourth is loaded. Mended, the rest comes. Then the archive is damaged."""
    answers = {
        f"/api/xbrl/companyfacts/CIK{CIKS['AAPL']}.json": lambda: web.Response(text=HTML),
        f"/submissions/CIK{CIKS['AMD']}.json": lambda: web.Response(status=503),
        f"/api/xbrl/companyfacts/CIK{CIKS['KO']}.json": lambda: web.Response(status=403),
    }

    async def faulted(request: web.Request) -> web.Response | None:
        return answers[request.path]() if request.path in answers else None

    here.providers.intervene = faulted
    problem = (await here.load("edgar", SPAN)).problem
    assert problem.startswith("edgar could not be loaded whole: AMD: edgar: http"), problem
    assert f"CIK{CIKS['AMD']}.json failed 1 times, last: HTTP 503; KO: edgar: http" in problem
    assert f"CIK{CIKS['KO']}.json answers HTTP 403" in problem
    assert f"companyfacts/CIK{CIKS['AAPL']}.json is not JSON" in problem
    assert problem.endswith("the same line again loads it once the provider has mended it")
    assert {record["symbol"] for record in here.log()["data.facts"].values()} == {"XOM"}
    here.providers.intervene = None
    assert (await here.load("edgar", SPAN)).problem == ""
    assert {record["symbol"] for record in here.log()["data.facts"].values()} == set(NAMES)

    bodies = here.settings.state_dir / "responses"
    archive = ResponseArchive(bodies, "edgar")
    keys = {name: f"{here.providers.url}/api/xbrl/companyfacts/CIK{cik}.json" for name, cik in CIKS.items()}
    paths = {}
    for name, key in keys.items():
        stored = archive.latest(key)
        assert stored is not None
        paths[name] = archive._path(stored.sha256)
    assert (await here.load("edgar", SPAN, reread=True)).problem == ""
    paths["AAPL"].write_bytes(b"\x00" * 3000)
    paths["AMD"].write_bytes(paths["AMD"].read_bytes()[:-20])
    paths["KO"].unlink()
    problem = (await here.load("edgar", SPAN, reread=True)).problem
    assert f"{paths['AAPL']} is damaged" in problem
    assert f"{paths['AMD']} is damaged" in problem
    assert f"{paths['KO']} is missing, a response to {keys['KO']}" in problem
    assert problem.endswith("`triplane data backfill --source edgar` fetches anew what the provider still has")
    # As it says.
    assert (await here.load("edgar", SPAN)).problem == ""
    assert (await here.load("edgar", SPAN, reread=True)).problem == ""


async def test_an_older_page_that_is_missing_takes_only_the_filings_that_it_lists() -> None:
    """The first of two older pages: what the second lists is handed in, and the name is looked at again."""
    filed = {"a": "2016-03-01", "b": "2016-11-01", "c": "2018-01-02"}
    rows = [
        {"end": "2015-12-31", "val": 1e6, "accn": name, "filed": day, "form": "10-K"} for name, day in filed.items()
    ]
    facts = {"cik": 320193, "facts": {"dei": {"EntityCommonStockSharesOutstanding": {"units": {"shares": rows}}}}}

    def columns(name: str) -> dict[str, list[str]]:
        return {"accessionNumber": [name], "acceptanceDateTime": [f"{filed[name]}T16:42:16.000Z"]}

    pages = [{"name": "p1.json", "filingTo": "2017-01-01"}, {"name": "p2.json", "filingTo": "2016-06-01"}]
    missing = lambda: web.Response(status=404)  # noqa: E731
    broken = [missing, lambda: web.Response(text=HTML), lambda: web.json_response({"accessionNumber": ["b"]})]
    for answer, codes in zip(broken, ([], ["BODY_MALFORMED"], ["BODY_SHAPE"]), strict=True):

        async def answered(request: web.Request, answer: object = answer) -> web.Response | None:
            documents = {
                f"/submissions/CIK{CIKS['AAPL']}.json": {"filings": {"recent": columns("c"), "files": pages}},
                "/submissions/p2.json": columns("a"),
                f"/api/xbrl/companyfacts/CIK{CIKS['AAPL']}.json": facts,
            }
            if request.path == "/submissions/p1.json":
                return answer()  # type: ignore[operator]
            return web.json_response(documents[request.path]) if request.path in documents else None

        async with counted_providers() as providers:
            providers.intervene = answered
            look = Look(providers)
            look.bench.context.assets = lambda look=look: [  # type: ignore[method-assign, misc]
                asset for asset in look.bench.config.universe.tradable if asset.symbol == "AAPL"
            ]
            await look.at(EdgarSource)
            assert [each.accession for each in look.filings] == ["a", "c"]
            assert all(each.acceptance for each in look.filings)
            assert [each.code for each in look.bench.taken if isinstance(each, Malformed)] == codes
            (*lacks,) = look.lacks
            assert len(lacks) == (answer is missing)
            assert all("p1.json" in why and "up to 2017-01-01" in why for why in lacks)
            # A running data plane looks again and again, and says it once.
            source = EdgarSource(look.bench.context)
            with capture_logs() as entries:
                for _ in range(2):
                    await source.backfill()
            await source.close()
            told = [each["page"] for each in entries if each["event"] == "older submissions are missing"]
            assert told == ["p1.json"] * (answer is missing)


@pytest.mark.parametrize(("xbrl", "told"), [(0, False), (1, True)])
async def test_a_name_without_facts_is_no_fault_where_it_never_filed_any(xbrl: int, told: bool) -> None:
    async def answered(request: web.Request) -> web.Response | None:
        if request.path.startswith("/submissions"):
            recent = {"accessionNumber": ["a"], "acceptanceDateTime": ["2017-01-02T16:42:16.000Z"], "isXBRL": [xbrl]}
            return web.json_response({"filings": {"recent": recent}})
        return web.Response(status=404) if request.path.startswith("/api") else None

    async with counted_providers() as providers:
        providers.intervene = answered
        look = await Look(providers).at(EdgarSource)
    assert look.bench.states == [("edgar", True, "")]
    assert len(look.lacks) == (len(NAMES) if told else 0)
    assert all("companyfacts/CIK" in why for why in look.lacks)


async def test_a_provider_that_gives_nothing_is_left_alone_after_a_few() -> None:
    async def away(request: web.Request) -> web.Response | None:
        return None if request.path.startswith("/files") else web.Response(status=503)

    series = ("A1", "B2", "C3", "D4", "E5")
    async with counted_providers() as providers:
        providers.intervene = away
        edgar = await Look(providers).at(EdgarSource)
        assert len(providers.requests) == 1 + AWAY_AFTER
        providers.requests.clear()
        fred = await Look(providers, FRED_SERIES=",".join(series), FRED_REQUESTS_PER_MIN=120.0).at(FredSource)
        assert len(providers.requests) == AWAY_AFTER
    for look, named in ((edgar, NAMES), (fred, series)):
        (_, up, why) = look.bench.states[-1]
        assert not up
        assert [f"{name}: " in why for name in named] == [place < AWAY_AFTER for place in range(len(named))]


async def test_one_series_that_is_away_leaves_the_others_alone() -> None:
    async def answered(request: web.Request) -> web.Response | None:
        return web.Response(status=503) if request.query.get("series_id") == "DGS10" else None

    async with counted_providers() as providers:
        providers.intervene = answered
        look = await Look(providers, FRED_SERIES="DGS10,DTB3").at(FredSource)
    assert {each.series for each in look.bench.taken if isinstance(each, Vintage)} == {"DTB3"}
    ((_, up, why),) = look.bench.states
    assert not up
    assert why.startswith("DGS10: fred: http")
    assert why.endswith("/fred/series failed 1 times, last: HTTP 503")


def test_bodies_that_newer_ones_displaced_are_not_lost(tmp_path: Path) -> None:
    archive = ResponseArchive(tmp_path, "edgar")
    for number in range(KEPT + 2):
        stored = archive.store("http://h/a", number, json.dumps({"n": number}).encode())
    again = ResponseArchive(tmp_path, "edgar")
    assert again.lost("http://h/a") == []
    again._path(stored.sha256).unlink()
    (sentence,) = again.lost("http://h/a")
    assert sentence == f"{again._path(stored.sha256)} is missing, a response to http://h/a"


async def test_a_provider_that_hangs_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, then after twice as long; not while what came is still on its way."""
    monkeypatch.setattr(silence, "AFTER_S", 0.02)
    notes: list[str] = []
    two = asyncio.Event()

    def note(line: str) -> None:
        notes.append(line)
        if len(notes) == 2:
            two.set()

    busy = True
    silent = silence.Silence("fred", note, lambda: busy)
    watching = asyncio.create_task(silent.watch())
    await asyncio.sleep(0.1)
    assert not notes
    busy = False
    await asyncio.wait_for(two.wait(), 10.0)
    watching.cancel()
    assert all(line.startswith("fred: nothing has come for ") for line in notes)


def test_kept_bars_that_are_damaged_or_gone_are_told(tmp_path: Path) -> None:
    archive = ResponseArchive(tmp_path, "ibkr")
    paths = []
    for day in ("20180102", "20180103"):
        request = {"bar_size": "1 day", "duration": "1 D", "end": "", "show": "", "day": day, "from": "KO"}
        body = json.dumps({"at": int(day), "answers": {}}).encode()
        paths.append(archive._path(archive.store(json.dumps(request, sort_keys=True), 1, body).sha256))
    bench = Bench(Settings(), config(), day_open())
    bench.context.responses, lacks = tmp_path, list[str]()
    bench.context.incomplete = lambda _, why: lacks.append(why)
    paths[0].unlink()
    paths[1].write_bytes(b"rust")
    kept = KeptBars(bench.context, "ibkr")
    ((_, []), (_, [stored])) = kept.looks("1 day")
    assert kept.load(stored) is None
    gone, damaged = lacks
    assert gone.startswith(f"{paths[0]} is missing, a response to ")
    assert damaged.startswith(f"{paths[1]} is damaged")


def test_rows_that_no_source_of_bars_is_asked_for_are_named() -> None:
    sentence = "not loaded, since equities alone are traded: SPY, MES, EUR.USD, BTC.USD"
    assert not_traded(universe()) == sentence
    assert not_traded(Universe(universe().tradable)) == ""
