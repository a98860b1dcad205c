"""`triplane data reparse`: what a parser got wrong is repaired from the kept responses, and nobody is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from data_plane.daemon.backfill_job import Result
from data_plane.engine import DataEngine
from data_plane.observations import Filing, Malformed
from data_plane.sources.edgar import EdgarSource, companyfacts
from data_plane.sources.span import Span
from schemas import codec
from tests.broker.gateways import GatewayProcess
from tests.data_plane.backfills import NAMES, Installation, counted
from tests.data_plane.counted_providers import counted_providers
from tests.data_plane.support import Bench, config, day_close, day_open, engine, records, run
from triplane.broker import market_data
from triplane.broker.historical_bars import columns
from triplane.domain.timestamps import MINUTE
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings

pytestmark = pytest.mark.integration

SPAN = Span(date(2016, 1, 1), date(2018, 12, 31))
LINE = ("--from", SPAN.start.isoformat(), "--to", SPAN.end.isoformat())


@pytest.fixture
async def here(settings: Settings, tmp_path: Path) -> AsyncIterator[Installation]:
    async with counted_providers() as providers:
        yield Installation(settings, providers, tmp_path, frames="dei/EntityCommonStockSharesOutstanding/shares")


async def with_parsers_of_the_test(here: Installation, source: str, span: Span = SPAN, gateway_port: int = 0) -> Result:
    """A backfill in this process, with whatever the test made of the parsers."""
    return await here.load(source, span, gateway_port=gateway_port)


def values_as_text(document: Any) -> Any:
    """A document in which each value is a string: no wrong JSON, and of another type than before."""
    if isinstance(document, dict):
        return {key: str(each) if key == "val" else values_as_text(each) for key, each in document.items()}
    return [values_as_text(each) for each in document] if isinstance(document, list) else document


async def test_filings_that_an_older_parser_could_not_read_are_repaired_without_a_request(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knew numbers alone; Apple's document has them as text, which today's parser reads value by value. And it knew fewer concepts:
    of AMD's filings a part was left out."""
    usual = here.providers.content.company_facts
    of_amd = usual(2488)
    assert of_amd is not None
    (rows,) = of_amd["facts"]["dei"]["EntityCommonStockSharesOutstanding"]["units"].values()
    assets = [{**row, "val": 3e9} for row in rows]
    # One of them is bad, in either version.
    assets[-1]["end"] = "2030-12-31"
    of_amd["facts"]["us-gaap"] = {"Assets": {"units": {"USD": assets}}}

    def strict(
        symbol: str, url: str, body: bytes, acceptance: Mapping[str, str], since: date, now: int
    ) -> list[Filing | Malformed]:
        return companyfacts._typed(symbol, body, acceptance, since)

    async def as_text(request: web.Request) -> web.Response | None:
        if not request.path.startswith("/api/"):
            return None
        if request.path.endswith("CIK0000320193.json"):
            return web.json_response(values_as_text(usual(320193)))
        return web.json_response(of_amd) if request.path.endswith("CIK0000002488.json") else None

    here.providers.intervene = as_text
    with monkeypatch.context() as older:
        older.setattr(companyfacts, "parse", strict)
        older.setattr(companyfacts, "concepts", lambda: ("dei:EntityCommonStockSharesOutstanding",))
        result = await with_parsers_of_the_test(here, "edgar")
    assert result.sources["edgar"].quarantined == 1
    before = here.log()
    assert {record["symbol"] for record in before["data.facts"].values()} == {*NAMES} - {"AAPL"}
    assert [record["code"] for record in before["data.quarantine"].values()] == ["BODY_SHAPE"]

    asked = len(here.providers.requests)
    nobody = {"TRIPLANE_EDGAR_URL": "http://127.0.0.1:9", "TRIPLANE_EDGAR_FILES_URL": "http://127.0.0.1:9"}
    repaired = await here.run("reparse", "--source", "edgar", *LINE, "--json", **nobody, TRIPLANE_USER_AGENT="")
    assert repaired.code == 0, repaired
    counts = counted(repaired)
    found = here.log()
    apples = [record for record in found["data.facts"].values() if record["symbol"] == "AAPL"]
    wanted = [report for report in here.providers.content._reports if report.symbol == "AAPL"]
    shares = {report.accession: [float(report.shares)] for report in wanted if "2016" <= report.filed < "2019"}
    assert {record["accession"]: record["values"] for record in apples} == shares
    parts = [record for record in found["data.facts"].values() if record["concepts"] == ["us-gaap:Assets"]]
    whole = [record["accession"] for record in before["data.facts"].values() if record["symbol"] == "AMD"]
    assert {record["fact_id"] for record in parts} < {f"AMD/{accession}/1" for accession in whole}
    assert counts["published"] == len(shares) + len(parts)
    assert counts["deduplicated"] == len(before["data.facts"])
    assert min(len(shares), len(parts)) > 1
    codes = [record["code"] for record in found["data.quarantine"].values()]
    assert codes == ["BODY_SHAPE", "FACT_FROM_FUTURE"]
    assert "nothing new" in (await here.run("reparse", "--source", "edgar", *LINE)).out
    assert len(here.providers.requests) == asked
    # Without a span all that was kept counts.
    everything = await here.run("reparse", "--source", "edgar")
    assert everything.code == 0, everything
    log = here.log()
    assert log["data.facts"].keys() > found["data.facts"].keys()
    assert len(here.providers.requests) == asked
    # Fundamentals are left to the data plane, which makes them as if all had come to it whole.
    assert not log["data.fundamentals"]
    assert "next look" in everything.out
    after, undisturbed = engine(NAMES), engine(NAMES)
    for topic in ("data.facts", "data.quarantine"):
        after.remember(topic, log[topic].values())
    made, wanted_of = [await fundamentals(here, machine) for machine in (after, undisturbed)]
    assert made == wanted_of
    assert {record["fundamental_id"] for record in made} > {
        f"AMD/{record['accession']}" for record in parts if record["accession"] in whole
    }


async def fundamentals(here: Installation, machine: DataEngine) -> list[dict[str, Any]]:
    """What the data plane's look at EDGAR brings to data.fundamentals."""
    url = here.providers.url
    settings = Settings(edgar_url=url, edgar_files_url=url, user_agent="tests tests@example.com")
    bench = Bench(settings, config(EDGAR_REQUESTS_PER_S=10.0), day_open())
    bench.context.assets = lambda: [  # type: ignore[method-assign]
        asset for asset in bench.config.universe.tradable if asset.symbol in NAMES
    ]
    source = EdgarSource(bench.context)
    await source.backfill()
    await source.close()
    return records(run(machine, bench.taken), "data.fundamentals")


async def test_vintages_are_read_from_the_newest_body_that_is_whole(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older parser stumbled over the whole one; of the next look only half a body came."""

    def stumbles(*_: object) -> list[object]:
        raise KeyError("output_type")

    with monkeypatch.context() as older:
        older.setattr("data_plane.sources.fred.source.parse_observations", stumbles)
        problem = (await with_parsers_of_the_test(here, "fred")).problem
    assert problem.startswith("fred could not be loaded: DTB3: KeyError 'output_type'; the same line again")

    async def half(request: web.Request) -> web.Response | None:
        if not request.path.endswith("observations"):
            return None
        return web.Response(body=b'{"count": 782, "observations": [{"realtime_start": "2016-01-04"')

    here.providers.intervene = half
    await with_parsers_of_the_test(here, "fred")
    assert not here.log()["data.macro"]
    codes = sorted(record["code"] for record in here.log()["data.quarantine"].values())
    assert codes == ["BODY_MALFORMED", "BODY_SHAPE"]
    asked = len(here.providers.requests)
    repaired = await here.run("reparse", "--source", "fred", "--json", TRIPLANE_FRED_API_KEY="", TRIPLANE_FRED_URL="")
    assert repaired.code == 0, repaired
    assert len(here.providers.requests) == asked
    published = here.log()["data.macro"]
    assert counted(repaired)["published"] == sum(len(record["values"]) for record in published.values()) > 700
    here.providers.intervene = None
    assert (await here.counts("fred", LINE[1], LINE[3]))["published"] == 0
    assert len(here.log()["data.macro"]) == len(published)


async def test_bars_that_an_older_parser_lost_are_repaired_without_a_gateway(
    here: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It read none of them: the run told so, and kept what had come. Vintages of the market's future are on the log, and a decision: what comes
    too late for it is stamped with the time of the asking."""
    span = Span(date(2018, 1, 8), date(2018, 1, 12))
    gateway = GatewayProcess(tmp_path / "gateway", "--hold", "--sessions", "3")
    try:
        with monkeypatch.context() as older:
            older.setattr(market_data, "columns", lambda bars, has_volume=True: columns([], has_volume))
            result = await with_parsers_of_the_test(here, "ibkr", span, gateway.port)
        assert result.problem.endswith("no bars came of 5 sessions (2018-01-08 to 2018-01-12)")
        assert not here.log()["data.bars"]
    finally:
        gateway.stop()
    await here.load("fred", Span(date(2018, 12, 3), SPAN.end))
    ahead = [record["available_time"] for record in here.log()["data.macro"].values()]
    assert max(ahead) > day_close("2018-12-03")
    writer = TopicWriter(here.settings, "strategy")
    decided = day_close("2018-01-10") - 30 * MINUTE
    writer.send("strategy.barriers", codec.defaults("Barrier") | {"seq": 1, "kind": "decision", "t": decided})
    writer.flush(10)
    writer.close()
    repaired = await here.run("reparse", "--source", "ibkr", "--from", "2018-01-08", "--to", "2018-12-31", "--json")
    assert repaired.code == 0, repaired
    assert counted(repaired)["published"] == 5 * len(NAMES)
    bars = here.log()["data.bars"].values()
    assert [record["session"] for record in bars] == [f"2018-01-{day:02}" for day in (8, 9, 10, 11, 12)]
    assert all(record["history"] for record in bars)
    late = [record["available_time"] for record in bars if record["session"] < "2018-01-10"]
    assert late == [late[0]] * 2
    assert day_close("2018-01-18") < late[0] <= day_open("2018-01-19")
    assert all(record["available_time"] == record["event_time"] for record in bars if record["session"] > "2018-01-09")
    assert "nothing new" in (await here.run("reparse", "--source", "ibkr", "--from", "2018-01-08")).out

    # So does what another source cannot read.
    def stumbles(*_: object) -> list[object]:
        raise KeyError("output_type")

    monkeypatch.setattr("data_plane.sources.fred.source.parse_observations", stumbles)
    await here.load("fred", Span(SPAN.start, date(2199, 12, 31)), reread=True)
    assert {record["available_time"] for record in here.log()["data.quarantine"].values()} == {late[0]}
