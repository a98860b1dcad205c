"""Kept responses read again: which answer counts, which belong together, and in what order they are handed in."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from data_plane.observations import Filing, Vintage
from data_plane.sources.archive import ResponseArchive, request_key
from data_plane.sources.edgar import companyfacts
from data_plane.sources.edgar.source import EdgarSource, Submissions
from data_plane.sources.fred import FredSource
from data_plane.sources.fred.answers import FIRST_REALTIME, LAST_REALTIME, clipped, windows
from data_plane.sources.fred.kept import Period, kept_chains
from data_plane.sources.http import SourceRefused
from data_plane.sources.kept import KeptResponses
from data_plane.sources.span import Span
from tests.data_plane.http_server import serving
from tests.data_plane.support import Bench, config, day_open
from triplane.runtime.settings import Settings


def asked(period: Period, series: str = "X", offset: int = 0) -> str:
    parameters = {
        "series_id": series,
        "observation_start": period.observation_start,
        "realtime_start": period.start,
        "realtime_end": period.end,
        "limit": str(period.limit),
        "offset": str(offset),
        "file_type": "json",
        "api_key": "k",
    }
    return request_key("http://h/fred/series/observations", parameters)


@given(st.sets(st.dates(date(2010, 1, 1), date(2018, 1, 1)), max_size=20), st.integers(1, 6), st.randoms())
@settings(max_examples=60, deadline=None)
def test_periods_of_one_look_are_found_again(dates: set[date], most: int, random: Any) -> None:
    vintages = sorted(day.isoformat() for day in dates)
    look = [Period("2014-01-01", start, end, 100) for start, end in windows(vintages, most)]
    span = [Period("2014-01-01", s, e, 100) for s, e in clipped(windows(vintages, most), "2012-03-01", "2015-01-01")]
    other = [replace(look[0], observation_start="2001-01-01", end=LAST_REALTIME)]
    keys = [asked(each) for each in [*look, *other]] + [asked(look[0], "Y"), "http://h/fred/series?series_id=X"]
    random.shuffle(keys)
    assert sorted(kept_chains(keys, "X"), key=lambda chain: chain[0].observation_start) == [other, look]
    assert look[0].start == FIRST_REALTIME
    (chain,) = kept_chains([asked(each, offset=place) for each in span for place in (0, 100)], "X")
    assert chain == span
    assert (chain[0].start, chain[-1].end) == ("2012-03-01", "2015-01-01")


async def test_the_newest_whole_body_answers_and_older_ones_can_be_asked_for(tmp_path: Path) -> None:
    archive = ResponseArchive(tmp_path, "edgar")
    key = "http://127.0.0.1:1/a?x=1"
    for at, body in enumerate((b'{"n": 1}', b'{"n": 2}', b'{"n": ')):
        archive.store(key, at, body)
    archive.store("http://127.0.0.1:2/b", 9, b"<html>")
    kept = KeptResponses("edgar", ResponseArchive(tmp_path, "edgar"))
    for url in ("http://127.0.0.1:1/a", "https://elsewhere/a"):
        assert await kept.get(url, {"x": "1", "api_key": "secret"}) == {"n": 2}
        assert await kept.older(url, {"x": "1"}) == [b'{"n": 1}']
    assert await kept.body("http://h/b") == b"<html>"
    with pytest.raises(SourceRefused, match="no response to http://h/a is kept") as refused:
        await kept.get("http://h/a")
    assert refused.value.status == 404
    # A body that the disk has damaged gives way to the one before it.
    newest = archive.kept(key)[1]
    (tmp_path / "edgar" / "bodies" / newest.sha256[:2] / f"{newest.sha256}.gz").write_bytes(b"rust")
    assert await kept.get("http://127.0.0.1:1/a", {"x": "1"}) == {"n": 1}


async def test_no_other_server_answers_for_the_one_that_is_asked(tmp_path: Path) -> None:
    """Of the real one something was kept, so what lacks of it lacks; for one that is not known a single other stands in."""
    archive = ResponseArchive(tmp_path, "fred")
    for at, key in enumerate(
        ("https://real/a", "http://sim:1/b", "http://sim:1/a", "http://sim:2/b", "http://sim:2/c")
    ):
        archive.store(key, at, json.dumps({"by": key}).encode())
    kept = KeptResponses("fred", archive)
    assert await kept.get("https://real/a") == {"by": "https://real/a"}
    with pytest.raises(SourceRefused, match="no response to https://real/b is kept"):
        await kept.get("https://real/b")
    assert kept.requests("https://real") == ["https://real/a"]
    assert await kept.get("http://moved/a") == {"by": "http://sim:1/a"}
    assert await kept.get("http://moved/b") == {"by": "http://sim:1/b"}
    with pytest.raises(SourceRefused):
        await kept.get("http://moved/c")
    assert kept.requests("http://moved") == ["http://sim:1/a", "http://sim:1/b"]


def fred_row(day: str, start: str, value: str, end: str = LAST_REALTIME) -> dict[str, str]:
    return {"date": day, "realtime_start": start, "realtime_end": end, "value": value}


async def test_vintages_of_several_looks_come_in_the_order_of_their_release(tmp_path: Path) -> None:
    """The newest look was at one year alone: what came before it is handed in before it, and what both have is the newer look's."""
    archive = ResponseArchive(tmp_path, "fred")
    described = {
        "seriess": [
            {"id": "X", "title": "X", "units": "Percent", "frequency": "Daily", "observation_end": "2018-01-05"}
        ]
    }
    archive.store("https://fred/fred/series?file_type=json&series_id=X", 1, json.dumps(described).encode())
    looks = [
        (Period("2014-01-01", FIRST_REALTIME, LAST_REALTIME, 100), [("2015-01-05", "1"), ("2017-03-01", "2"), ("2018-01-05", "3")]),
        (Period(FIRST_REALTIME, "2017-01-01", "2017-12-31", 100), [("2017-03-01", "9"), ("2017-06-01", "4")]),
    ]  # fmt: skip
    for at, (period, values) in enumerate(looks, 2):
        rows = [fred_row(start, start, value) for start, value in values]
        key = asked(period).replace("http://h/", "https://fred/")
        archive.store(key, at, json.dumps({"count": len(rows), "observations": rows}).encode())
    bench = Bench(Settings(fred_url="https://fred"), config(FRED_SERIES="X"), day_open())
    bench.context.responses, bench.context.reread = tmp_path, True
    bench.context.span = Span(date(1900, 1, 1), date(2199, 12, 31))
    await FredSource(bench.context).backfill()
    assert bench.states == [("fred", True, "")]
    found = [(each.realtime_start, each.values[0][1]) for each in bench.taken if isinstance(each, Vintage)]
    assert found == [("2015-01-05", 1.0), ("2017-03-01", 9.0), ("2017-06-01", 4.0), ("2018-01-05", 3.0)]


async def test_what_a_release_of_a_span_revised_long_before_it_is_not_cut_off() -> None:
    """A vintage is published once: without the revision of 1990 it would never have it."""

    async def answer(request: web.Request) -> web.Response:
        rows = [
            fred_row("1990-01-01", "1990-02-01", "1.0", "2017-05-01"),
            fred_row("1990-01-01", "2017-05-02", "1.5"),
            fred_row("2017-04-01", "2017-05-02", "2.0"),
        ]
        query = request.query
        if request.path.endswith("vintagedates"):
            return web.json_response({"count": 2, "vintage_dates": ["1990-02-01", "2017-05-02"]})
        if not request.path.endswith("observations"):
            return web.json_response(
                {
                    "seriess": [
                        {
                            "id": "X",
                            "title": "X",
                            "units": "Percent",
                            "frequency": "Monthly",
                            "observation_end": "2018-01-05",
                        }
                    ]
                }
            )
        first, last = query["realtime_start"], query["realtime_end"]
        seen = [
            row | {"realtime_start": max(row["realtime_start"], first), "realtime_end": min(row["realtime_end"], last)}
            for row in rows
            if row["date"] >= query["observation_start"]
            and row["realtime_start"] <= last
            and row["realtime_end"] >= first
        ]
        return web.json_response({"count": len(seen), "observations": seen})

    async with serving(answer) as url:
        targets = config(FRED_SERIES="X", FRED_REQUESTS_PER_MIN=120.0)
        bench = Bench(Settings(fred_url=url, fred_api_key=SecretStr("k")), targets, day_open())
        bench.context.span = Span(date(2017, 5, 2), date(2017, 5, 31))
        source = FredSource(bench.context)
        await source.backfill()
        await source.close()
    assert bench.states == [("fred", True, "")], bench.taken
    (vintage_of_may,) = [each for each in bench.taken if isinstance(each, Vintage)]
    assert vintage_of_may.realtime_start == "2017-05-02"
    assert [value for _, value in vintage_of_may.values] == [1.5, 2.0]


def test_days_of_a_span_are_both_included() -> None:
    periods = [("1776-07-04", "2012-01-31"), ("2012-02-01", "9999-12-31")]
    assert clipped(periods, "2012-01-31", "2012-02-01") == [("2012-01-31", "2012-01-31"), ("2012-02-01", "2012-02-01")]
    assert clipped(periods, "2013-01-01", "2013-02-01") == [("2013-01-01", "2013-02-01")]


async def test_companies_are_read_again_as_far_as_their_acceptances_were_kept(tmp_path: Path) -> None:
    """Two filings stand in the newest document, one in an older state of it alone; of the oldest page nothing was kept."""
    archive = ResponseArchive(tmp_path, "edgar")
    filed = {"a": "2009-05-01", "b": "2012-05-01", "c": "2016-05-02", "d": "2017-05-02"}

    def columns(*names: str) -> dict[str, list[str]]:
        return {"accessionNumber": list(names), "acceptanceDateTime": [f"{filed[n]}T16:30:00.000Z" for n in names]}

    def facts(*names: str) -> dict[str, Any]:
        rows = [{"end": "2008-12-31", "val": 1e6, "accn": n, "filed": filed[n], "form": "10-K"} for n in names]
        concept = {"EntityCommonStockSharesOutstanding": {"units": {"shares": rows}}}
        return {"cik": 7, "facts": {"dei": concept}}

    pages = [{"name": "p1.json", "filingTo": "2013-01-01"}, {"name": "p2.json", "filingTo": "2010-01-01"}]
    for at, (path, document) in enumerate(
        {
            "files/company_tickers.json": {"0": {"cik_str": 7, "ticker": "AAPL", "title": "A"}},
            "submissions/CIK0000000007.json": {"filings": {"recent": columns("c", "d"), "files": pages}},
            "submissions/p1.json": columns("b"),
        }.items()
    ):
        archive.store(f"https://sec/{path}", at, json.dumps(document).encode())
    for document in (facts("a", "b", "c"), facts("a", "b", "d")):
        archive.store("https://sec/api/xbrl/companyfacts/CIK0000000007.json", 9, json.dumps(document).encode())
    for first, wanted in (("1900-01-01", ["b", "c", "d"]), ("2016-05-02", ["c", "d"]), ("2016-05-03", ["d"])):
        bench = Bench(Settings(edgar_url="https://sec", edgar_files_url="https://sec"), config(), day_open())
        bench.context.assets = lambda bench=bench: [  # type: ignore[method-assign, misc]
            asset for asset in bench.config.universe.tradable if asset.symbol == "AAPL"
        ]
        bench.context.responses, bench.context.reread = tmp_path, True
        bench.context.span = Span(date.fromisoformat(first), date(2018, 1, 1))
        await EdgarSource(bench.context).backfill()
        assert [(item.accession, bool(item.acceptance)) for item in bench.taken if isinstance(item, Filing)] == [
            (accession, True) for accession in wanted
        ]
        assert bench.states == [("edgar", True, "")]


async def test_real_documents_are_read_again_whole_where_the_newest_response_was_cut_short(
    shared_data: Path, tmp_path: Path
) -> None:
    """AMD's. The pages of its older submissions were not kept: its filings are read as far back as the newest document reaches."""

    def real(name: str) -> bytes:
        return gzip.decompress((shared_data / "sec" / f"{name}.json.gz").read_bytes())

    archive = ResponseArchive(tmp_path, "edgar")
    cik, whole = "CIK0000002488", real("companyfacts/CIK0000002488")
    tickers = {"0": {"cik_str": 2488, "ticker": "AMD", "title": "AMD"}}
    archive.store("https://sec/files/company_tickers.json", 1, json.dumps(tickers).encode())
    archive.store(f"https://sec/submissions/{cik}.json", 2, real(f"submissions/{cik}"))
    recent = Submissions.parse(json.loads(real(f"submissions/{cik}")))
    for at, body in enumerate((whole, whole[: len(whole) // 2]), 4):
        archive.store(f"https://sec/api/xbrl/companyfacts/{cik}.json", at, body)
    bench = Bench(Settings(edgar_url="https://sec", edgar_files_url="https://sec"), config(), day_open())
    bench.context.assets = lambda: [  # type: ignore[method-assign]
        asset for asset in bench.config.universe.tradable if asset.symbol == "AMD"
    ]
    bench.context.responses, bench.context.reread = tmp_path, True
    bench.context.span = Span(date(2015, 1, 1), date(2020, 12, 31))
    await EdgarSource(bench.context).backfill()
    direct = companyfacts.parse("AMD", "", whole, recent.acceptance, date(2014, 12, 1), 0)
    wanted = [each for each in direct if isinstance(each, Filing) and recent.older[0][1] < each.filed <= "2020-12-31"]
    assert bench.taken == wanted
    assert len(wanted) > 10
    assert all(each.acceptance for each in wanted)
