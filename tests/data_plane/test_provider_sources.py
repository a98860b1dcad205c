"""EDGAR and FRED sources against the provider server as a process, and against a server that misbehaves."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from aiohttp import web

from data_plane.observations import Filing, Malformed, Observation, Vintage
from data_plane.sources.edgar.source import EdgarSource, _missing
from data_plane.sources.fred import FredSource
from data_plane.sources.http import BodyMalformed, JsonClient, Policy, SourceRefused, SourceUnavailable
from tests.data_plane.http_server import serving
from tests.data_plane.support import Bench, ProvidersProcess, config, day_open
from tests.domain.test_assets import DEMO
from triplane.runtime.settings import Settings


@pytest.fixture(scope="module")
def providers() -> Iterator[ProvidersProcess]:
    process = ProvidersProcess()
    yield process
    process.stop()


def settings(url: str, **change: str) -> Settings:
    values = {
        "edgar_url": url,
        "edgar_files_url": url,
        "fred_url": url,
        "user_agent": "tests tests@example.com",
        "fred_api_key": "key",
    }
    return Settings(**(values | change))  # type: ignore[arg-type]


async def test_edgar_hands_in_every_name_in_order_of_acceptance(providers: ProvidersProcess) -> None:
    bench = Bench(settings(providers.url), config(), day_open())
    source = EdgarSource(bench.context)
    await source.backfill()
    filings = [item for item in bench.taken if isinstance(item, Filing)]
    assert len(filings) == len(bench.taken)
    assert {filing.symbol for filing in filings} == set(DEMO)
    assert bench.states == [("edgar", True, "")]
    # Before the three years of history begin, every name has a number of shares already.
    start = day_open("2015-01-20")
    assert {filing.symbol for filing in filings if filing.available_time < start} == set(DEMO)
    apple = [filing for filing in filings if filing.symbol == "AAPL"]
    assert apple[-1].acceptance == "2018-02-02T08:01:37.000Z"
    assert apple[-1].facts[0].value == 5.07e9
    assert apple[-1].facts[0].concept == "dei:EntityCommonStockSharesOutstanding"
    # A second look asks for submissions only and hands in nothing.
    await source.backfill()
    assert len(bench.taken) == len(filings)
    await source.close()


async def test_fred_hands_in_one_vintage_a_day(providers: ProvidersProcess) -> None:
    bench = Bench(settings(providers.url), config(), day_open())
    source = FredSource(bench.context)
    await source.backfill()
    vintages = [item for item in bench.taken if isinstance(item, Vintage)]
    assert len(vintages) > 1000
    by_start = {vintage.realtime_start: vintage for vintage in vintages}
    [(_, value)] = by_start["2018-02-05"].values
    assert value == 1.46  # of Friday 2 February, released on Monday, usable on Tuesday
    assert by_start["2018-02-05"].available_time == day_open("2018-02-06")
    assert any(math.isnan(value) for vintage in vintages for _, value in vintage.values)
    assert not any(vintage.pseudo_point_in_time for vintage in vintages)
    await source.close()


async def test_pages_are_read_to_the_end(providers: ProvidersProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for page in (100_000, 500):
        monkeypatch.setattr("data_plane.sources.fred.source.PAGE", page)
        bench = Bench(settings(providers.url), config(), day_open())
        source = FredSource(bench.context)
        await source.backfill()
        await source.close()
        found.append([(each.realtime_start, each.values) for each in bench.taken if isinstance(each, Vintage)])
    assert sum(len(values) for _, values in found[0]) > 1000
    assert repr(found[0]) == repr(found[1])  # NaN is not itself


async def test_refusals_are_said_and_do_not_raise(providers: ProvidersProcess) -> None:
    for source_class, change in ((EdgarSource, {"user_agent": ""}), (FredSource, {"fred_api_key": ""})):
        bench = Bench(settings(providers.url, **change), config(), day_open())
        source = source_class(bench.context)
        await source.backfill()
        [(_, up, why)] = bench.states
        assert not up
        assert "403" in why or "set TRIPLANE_FRED_API_KEY, or TRIPLANE_FRED_API_KEY_FILE" in why
        assert not bench.taken
        await source.close()
    assert "TRIPLANE_USER_AGENT" in _missing(Settings(user_agent=""))


async def test_nobody_there_is_said_after_the_retries() -> None:
    bench = Bench(settings("http://127.0.0.1:9"), config(SOURCE_RETRIES=2, SOURCE_BACKOFF_S=0.01), day_open())
    source = EdgarSource(bench.context)
    await source.backfill()
    [(name, up, why)] = bench.states
    assert (name, up) == ("edgar", False)
    assert "failed 2 times" in why
    await source.close()


class Answers:
    """A server that gives prepared answers in turn and counts requests."""

    def __init__(self) -> None:
        self.queue: list[Callable[[], web.Response]] = []
        self.requests = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        return self.queue.pop(0)() if len(self.queue) > 1 else self.queue[0]()


@pytest.fixture
async def answers() -> AsyncIterator[Answers]:
    state = Answers()
    async with serving(state.handle) as state.url:
        yield state


def client(tries: int = 3) -> JsonClient:
    return JsonClient("test", lambda: Policy(1000.0, tries, 0.01), {"User-Agent": "t"})


async def test_busy_servers_are_asked_again_and_refusals_are_not(answers: Answers) -> None:
    http = client()
    answers.queue = [
        lambda: web.Response(status=429, headers={"Retry-After": "0"}),
        lambda: web.Response(status=503),
        lambda: web.json_response({"a": 1}),
    ]
    assert await http.get(answers.url) == {"a": 1}
    assert answers.requests == 3
    answers.queue = [lambda: web.Response(status=500)]
    with pytest.raises(SourceUnavailable, match="failed 3 times, last: HTTP 500"):
        await http.get(answers.url)
    answers.requests, answers.queue = (
        0,
        [lambda: web.json_response({"error_code": 400, "error_message": "Bad Request."}, status=400)],
    )
    with pytest.raises(SourceRefused, match="Bad Request") as refused:
        await http.get(answers.url)
    assert (refused.value.status, answers.requests) == (400, 1)
    answers.queue = [lambda: web.json_response(["x"], status=404)]
    with pytest.raises(SourceRefused):
        await http.get(answers.url)
    await http.close()


async def test_retry_after_is_kept(answers: Answers) -> None:
    import asyncio

    http = client()
    loop = asyncio.get_running_loop()
    answers.queue = [lambda: web.Response(status=429, headers={"Retry-After": "1"}), lambda: web.json_response({})]
    began = loop.time()
    await http.get(answers.url)
    assert loop.time() - began >= 1.0
    await http.close()


async def test_the_rate_is_kept(answers: Answers) -> None:
    import asyncio

    http = JsonClient("test", lambda: Policy(20.0, 1, 0.01), {})
    answers.queue = [lambda: web.json_response({})]
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(http.get(answers.url) for _ in range(11)))
    assert loop.time() - began >= 0.45  # ten intervals of a twentieth
    await http.close()


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"[1, 2]", b'{"a": ', b"\xff\xfe", b"[" * 100_000])
async def test_bodies_that_are_no_json_object_are_malformed(answers: Answers, body: bytes) -> None:
    http = client()
    answers.queue = [lambda: web.Response(body=body)]
    with pytest.raises(BodyMalformed) as malformed:
        await http.get(answers.url)
    assert malformed.value.raw == body[:65536]
    await http.close()


async def test_bodies_without_end_are_cut(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_plane.sources.http.MAX_BODY_BYTES", 10_000)
    http = client()
    answers.queue = [lambda: web.Response(body=b" " * 1_000_000)]
    with pytest.raises(BodyMalformed, match="more than 10000 bytes"):
        await http.get(answers.url)
    await http.close()


@pytest.mark.parametrize("source_class", [EdgarSource, FredSource])
async def test_html_and_wrong_shapes_go_to_quarantine(
    answers: Answers, source_class: type[EdgarSource] | type[FredSource]
) -> None:
    bench = Bench(settings(answers.url), config(), day_open())
    source = source_class(bench.context)
    answers.queue = [lambda: web.Response(text="<html>please wait</html>")]
    await source.backfill()
    answers.queue = [lambda: web.json_response({"observations": 3, "0": 5})]
    await source.backfill()
    codes = [item.code for item in bench.taken if isinstance(item, Malformed)]
    assert codes == ["BODY_MALFORMED", "BODY_SHAPE"]
    await source.close()


async def test_one_broken_company_leaves_the_others_alone(providers: ProvidersProcess, answers: Answers) -> None:
    """AAPL's documents are broken, missing or of another shape; the next name is read all the same."""
    real = httpx.Client(base_url=providers.url, headers={"User-Agent": "t"})

    def relay(path: str) -> web.Response:
        return web.Response(body=real.get(path).content, content_type="application/json")

    tickers = lambda: relay("/files/company_tickers.json")  # noqa: E731
    broken: list[Callable[[], web.Response]] = [
        lambda: web.Response(text="<html>"),
        lambda: web.json_response({"filings": {}}),
        lambda: web.Response(status=404),
    ]
    for answer, codes in zip(broken, (["BODY_MALFORMED"], ["BODY_SHAPE"], []), strict=True):
        bench = Bench(settings(answers.url), config(), day_open())
        two = [asset for asset in bench.config.universe.tradable if asset.symbol in ("AAPL", "AMD")]
        bench.context.assets = lambda two=two: two  # type: ignore[method-assign, misc]
        answers.queue = [
            tickers,
            answer,
            lambda: relay("/submissions/CIK0000002488.json"),
            lambda: relay("/api/xbrl/companyfacts/CIK0000002488.json"),
        ]
        source = EdgarSource(bench.context)
        await source.backfill()
        await source.close()
        taken: list[Observation] = bench.taken
        assert [item.code for item in taken if isinstance(item, Malformed)] == codes
        assert {item.symbol for item in taken if isinstance(item, Filing)} == {"AMD"}


async def test_older_pages_are_fetched_when_the_history_reaches_into_them(answers: Answers) -> None:
    row = {
        "end": "2016-09-24",
        "val": 5.33e9,
        "accn": "0000320193-16-000070",
        "fy": 2016,
        "fp": "FY",
        "form": "10-K",
        "filed": "2016-10-26",
    }
    columns = {"accessionNumber": ["0000320193-16-000070"], "acceptanceDateTime": ["2016-10-26T16:42:16.000Z"]}
    empty: dict[str, list[str]] = {"accessionNumber": [], "acceptanceDateTime": []}
    page = {"name": "CIK0000320193-submissions-001.json", "filingTo": "2017-01-01"}
    older = {"name": "CIK0000320193-submissions-002.json", "filingTo": "2001-01-01"}
    bench = Bench(settings(answers.url), config(), day_open())
    bench.context.assets = lambda: [a for a in bench.config.universe.tradable if a.symbol == "AAPL"]  # type: ignore[method-assign]
    answers.queue = [
        lambda: web.json_response({"0": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}}),
        lambda: web.json_response({"filings": {"recent": empty, "files": [page, older]}}),
        lambda: web.json_response(columns),
        lambda: web.json_response(
            {"cik": 320193, "facts": {"dei": {"EntityCommonStockSharesOutstanding": {"units": {"shares": [row]}}}}}
        ),
    ]
    source = EdgarSource(bench.context)
    await source.backfill()
    await source.close()
    [filing] = bench.taken
    assert isinstance(filing, Filing)
    assert filing.acceptance == "2016-10-26T16:42:16.000Z"
    assert answers.requests == 4


async def test_a_company_without_news_is_asked_for_its_list_alone_and_a_class_of_shares_is_found(
    answers: Answers,
) -> None:
    """EDGAR writes BRK-B. The older pages and the facts, megabytes, come once."""
    columns = {"accessionNumber": ["0001-18-000001"], "acceptanceDateTime": ["2018-01-02T16:42:16.000Z"]}
    page = {"name": "CIK0001067983-submissions-001.json", "filingTo": "2017-06-01"}
    older = {"accessionNumber": ["0001-17-000001"], "acceptanceDateTime": ["2017-03-02T16:42:16.000Z"]}
    bench = Bench(settings(answers.url), config(), day_open())
    row = bench.config.universe.tradable[0].model_copy(update={"symbol": "BRK.B"})
    bench.context.assets = lambda: [row]  # type: ignore[method-assign]
    news = {"filings": {"recent": columns, "files": [page]}}
    answers.queue = [
        lambda: web.json_response({"0": {"cik_str": 1067983, "ticker": "BRK-B", "title": "BERKSHIRE"}}),
        lambda: web.json_response(news),
        lambda: web.json_response(older),
        lambda: web.json_response({"cik": 1067983, "facts": {}}),
        lambda: web.json_response(news),
    ]
    source = EdgarSource(bench.context)
    await source.backfill()
    assert answers.requests == 4
    await source._company("BRK.B")
    assert answers.requests == 5
    await source.close()


async def test_a_name_that_joins_gets_its_filings_at_once(providers: ProvidersProcess) -> None:
    """Without waiting for EDGAR_POLL_S, which is an hour: until then the name could not be neutralised for size."""
    bench = Bench(settings(providers.url), config(), day_open())
    assets = bench.context.assets
    bench.context.assets = lambda: [asset for asset in assets() if asset.symbol != "KO"]  # type: ignore[method-assign]
    source = EdgarSource(bench.context)
    await source.backfill()
    following = asyncio.create_task(source.follow())
    assert "KO" not in {filing.symbol for filing in bench.taken if isinstance(filing, Filing)}
    bench.context.assets = assets  # type: ignore[method-assign]
    bench.context.more_wanted.set()
    async with asyncio.timeout(10.0):
        while "KO" not in {filing.symbol for filing in bench.taken if isinstance(filing, Filing)}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    bench.context.stop.set()
    await asyncio.wait_for(following, 5.0)
    await source.close()


@pytest.mark.parametrize("source_class", [EdgarSource, FredSource])
async def test_an_interval_that_is_edited_while_it_is_waited_for_counts_at_once(
    providers: ProvidersProcess, source_class: type[EdgarSource] | type[FredSource]
) -> None:
    bench = Bench(
        settings(providers.url), config(EDGAR_POLL_S=86_400.0, FRED_POLL_S=86_400.0, EDGAR_FRAMES=""), day_open()
    )
    source = source_class(bench.context)
    await source.backfill()
    rounds = len(bench.states)
    following = asyncio.create_task(source.follow())
    await asyncio.sleep(0)  # it waits for the old interval now
    bench.config = config(EDGAR_POLL_S=1.0, FRED_POLL_S=1.0, EDGAR_FRAMES="")
    async with asyncio.timeout(20.0):
        while len(bench.states) == rounds:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    bench.context.stop.set()
    await asyncio.wait_for(following, 10.0)
    await source.close()


async def test_a_series_that_is_asked_for_later_comes_at_once(providers: ProvidersProcess) -> None:
    bench = Bench(settings(providers.url), config(FRED_SERIES="GS10"), day_open())
    source = FredSource(bench.context)
    await source.backfill()
    following = asyncio.create_task(source.follow())
    assert not any(isinstance(vintage, Vintage) for vintage in bench.taken)
    bench.config = config(FRED_SERIES="DTB3")
    bench.context.more_wanted.set()
    async with asyncio.timeout(10.0):
        while not any(isinstance(vintage, Vintage) for vintage in bench.taken):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    bench.context.stop.set()
    await asyncio.wait_for(following, 5.0)
    await source.close()
