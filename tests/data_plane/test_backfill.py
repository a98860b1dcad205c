"""`triplane data backfill` as a process: spans, a second run, what stands in its way, and Ctrl-C. Real Kafka, paper gateway."""

from __future__ import annotations

import asyncio
import io
import signal
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner

from data_plane.daemon.service import DataService
from data_plane.daemon.spool import Spool
from data_plane.observations import Vintage
from data_plane.outputs import Output
from data_plane.sources.fred import FredSource
from data_plane.sources.span import Span
from schemas import codec
from tests.broker.gateways import GatewayProcess
from tests.data_plane.backfills import NAMES, Installation, counted
from tests.data_plane.counted_providers import counted_providers
from tests.data_plane.support import Bench, config, day_close, day_open
from tests.waiting import until
from triplane.cli import data_backfill
from triplane.cli.context import CommandError
from triplane.cli.main import app
from triplane.domain.timestamps import MINUTE
from triplane.runtime import daemon, run_file
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings
from triplane.runtime.sole_producer import SoleProducer

pytestmark = pytest.mark.integration


@pytest.fixture
async def here(settings: Settings, tmp_path: Path) -> AsyncIterator[Installation]:
    async with counted_providers() as providers:
        yield Installation(settings, providers, tmp_path)


async def test_filings_of_a_span_come_once(here: Installation) -> None:
    """By the day of their acceptance, both ends included."""
    first = await here.counts("edgar", "2016-02-05", "2017-02-03")
    facts = here.log()["data.facts"].values()
    accepted = sorted(record["acceptance"][:10] for record in facts)
    assert first["published"] == sum(len(record["values"]) for record in facts) > 0
    assert {record["symbol"] for record in facts} == set(NAMES)
    assert "2016-02-05" <= accepted[0] <= accepted[-1] <= "2017-02-03"
    again = await here.backfill("edgar", "2016-02-05", "2017-02-03")
    assert again.code == 0, again
    assert "nothing new" in again.out
    assert "fundamentals" not in again.out
    # A run that ended while Kafka stood still left two records on disk, of which the broker had taken one all the same.
    there = next(iter(facts))
    spool = Spool(here.settings.state_dir / "data-spool.bin", 1_000_000)
    for record in (there, there | {"fact_id": "KO/left", "accession": "left"}):
        assert spool.append(Output("data.facts", record, "edgar", 1), 1)
    spool.close()
    with (here.settings.state_dir / "data-spool.bin").open("ab") as file:
        file.write(b"rust")
    # A wider span adds what lies outside the first.
    ran = await here.backfill("edgar", "2015-06-01", "2018-12-31", "--json")
    assert ran.code == 0, ran
    assert "was damaged: 4 bytes are left out, 2 records taken up" in ran.err
    wider = counted(ran)
    assert wider["deduplicated"] == first["received"]
    found = {record["fact_id"] for record in here.log()["data.facts"].values()}
    assert found > {"KO/left", *(record["fact_id"] for record in facts)}
    assert wider["published"] == len(found) - len(facts)


async def test_vintages_of_a_span_are_those_of_all_time_in_it(here: Installation) -> None:
    """What was known on the day before the span begins is no vintage of its first day."""
    counts = await here.counts("fred", "2017-01-03", "2017-03-31")
    found = here.log()["data.macro"]
    bench = Bench(
        Settings(fred_url=here.providers.url, fred_api_key="k"), config(FRED_REQUESTS_PER_MIN=120.0), day_open()
    )
    source = FredSource(bench.context)
    await source.backfill()
    await source.close()
    wanted = {
        each.realtime_start: [value for _, value in each.values]
        for each in bench.taken
        if isinstance(each, Vintage) and "2017-01-03" <= each.realtime_start <= "2017-03-31"
    }
    # As text: NaN is not itself.
    assert repr({record["realtime_start"]: record["values"] for record in found.values()}) == repr(wanted)
    assert counts["published"] == sum(map(len, wanted.values()))
    assert not any(record["pseudo_point_in_time"] for record in found.values())
    assert (await here.counts("fred", "2017-01-03", "2017-03-31"))["deduplicated"] == counts["published"]


async def test_bars_of_a_span_and_what_comes_too_late_for_a_decision(settings: Settings, tmp_path: Path) -> None:
    """The gateway's clock stands before the open of 2018-01-19."""
    gateway = GatewayProcess(tmp_path / "gateway", "--hold", "--sessions", "3")
    try:
        async with counted_providers() as providers:
            here = Installation(settings, providers, tmp_path, gateway.port)
            assert (await here.counts("ibkr", "2018-01-08", "2018-01-12"))["published"] == 5 * len(NAMES)
            bars = here.log()["data.bars"].values()
            sessions = [record["session"] for record in bars]
            assert sessions == [f"2018-01-{day:02}" for day in (8, 9, 10, 11, 12)]
            assert all(record["history"] and record["available_time"] == record["event_time"] for record in bars)
            # A decision of 10 January: what is loaded now and closed before it was not known to it.
            writer = TopicWriter(settings, "strategy")
            barrier = codec.defaults("Barrier") | {
                "seq": 1,
                "kind": "decision",
                "t": day_close("2018-01-10") - 30 * MINUTE,
            }
            writer.send("strategy.barriers", barrier)
            writer.flush(10)
            writer.close()
            assert (await here.counts("ibkr", "2018-01-03", "2018-01-16"))["published"] == 4 * len(NAMES)
            bars = here.log()["data.bars"].values()
            late = {record["session"] for record in bars if record["available_time"] > record["event_time"]}
            assert late == {"2018-01-03", "2018-01-04", "2018-01-05"}
            now = {record["available_time"] for record in bars if record["session"] in late}
            assert len(now) == 1
            assert day_close("2018-01-18") < now.pop() <= day_open("2018-01-19")
            # Minutes, also older ones after newer ones.
            for day, own in (("2018-01-12", True), ("2018-01-09", False)):
                minutes = await here.counts("ibkr", day, day, "--interval", "1m")
                assert minutes["published"] == 390 * len(NAMES)
                found = [r for r in here.log()["data.bars"].values() if (r["session"], r["interval"]) == (day, "1m")]
                assert [r["event_time"] for r in found] == [day_open(day) + n * MINUTE for n in range(1, 391)]
                assert all((r["available_time"] == r["event_time"]) is own and r["history"] for r in found)
            assert "nothing new" in (await here.backfill("ibkr", "2018-01-09", "2018-01-09", "--interval", "1m")).out
            # What was not loaded is told, be it a name or a session.
            here.configure("ZZZZ")
            ran = await here.backfill("ibkr", "2017-12-27", "2017-12-28", "--json")
            assert ran.code == 1, ran
            assert counted(ran)["published"] == 2 * len(NAMES)
            assert ran.json["complete"] is False
            assert ran.json["problem"] == "ibkr could not be loaded whole: no contract is known of ZZZZ"
            permission = "Historical Market Data Service error message:No market data permissions for NYSE STK"
            gateway.fault("history_error", code=162, text=permission, count=2 * len(NAMES))
            ran = await here.backfill("ibkr", "2017-12-20", "2017-12-20")
            assert ran.code == 1, ran
            assert (
                f"ibkr could not be loaded: no contract is known of ZZZZ; requests for bars of {', '.join(NAMES)}"
                in ran.err
            )
            assert permission in ran.err
            assert ran.err.endswith("; no bars came of 1 session (2017-12-20)\n")
    finally:
        gateway.stop()


async def test_ctrl_c_ends_it_and_the_next_run_goes_on(here: Installation) -> None:
    """In the midst of the third company; the first two are on the log."""
    released = asyncio.Event()

    async def hang(request: web.Request) -> None:
        if here.providers.requests.count(request.path) and len(here.providers.requests) == 6:
            await released.wait()

    here.providers.intervene = hang
    line = ("backfill", "--source", "edgar", "--from", "2016-01-01", "--to", "2018-12-31")
    process = here.start(*line)
    try:
        await until(lambda: len(here.providers.requests) == 6 or process.poll() is not None, "the sixth request")
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 20) == 130, (here.cwd / "err").read_text()
    finally:
        released.set()
        process.kill()
    assert "the same line again goes on from there" in (here.cwd / "err").read_text()
    loaded = {record["symbol"] for record in here.log()["data.facts"].values()}
    assert loaded == {"AAPL", "AMD"}
    here.providers.intervene = None
    ran = await here.run(*line)
    assert ran.code == 0, ran
    assert {record["symbol"] for record in here.log()["data.facts"].values()} == set(NAMES)


async def test_what_stands_in_its_way_is_one_sentence(here: Installation) -> None:
    span = ("2018-01-02", "2018-01-12")
    held = daemon.lock(here.settings, "data")
    run_file.write(here.settings.state_dir, "data", "http://127.0.0.1:1")
    running = await here.backfill("edgar", *span)
    held.release()
    assert running.code == 1
    assert "the data plane (pid " in running.sentence
    assert "stop it first" in running.sentence
    away, gateway, refused = await asyncio.gather(
        here.backfill("edgar", *span, TRIPLANE_EDGAR_FILES_URL="http://127.0.0.1:9"),
        here.backfill("ibkr", *span),
        here.run("reparse", "--source", "ibkr"),
    )
    assert {away.code, gateway.code, refused.code} == {1}
    assert "no response of ibkr is kept here" in refused.err
    assert "TRIPLANE_GATEWAY_PORT" in gateway.sentence
    assert "edgar could not be loaded" in away.err
    assert "127.0.0.1:9" in away.err
    empty = await here.backfill("fred", *span, TRIPLANE_TOPIC_PREFIX="nobody.")
    assert empty.code == 1
    assert (
        empty.sentence
        == "triplane: none of the planes' topics with the prefix nobody. is on this log yet; `triplane topics create` makes them"
    )
    port = await here.backfill("ibkr", *span, TRIPLANE_GATEWAY_PORT="9")
    assert port.code == 1
    assert "ibkr could not be loaded: " in port.err


async def test_no_second_state_directory_publishes_to_the_same_log(here: Installation) -> None:
    """Neither a load nor the data plane; the load of the directory that may goes on."""
    other = SoleProducer(here.settings.model_copy(update={"state_dir": here.cwd / "other"}), "data")
    other.join()
    try:
        assert await other.take(asyncio.Event())
        span = Span(date(2016, 1, 1), date(2018, 12, 31))
        plane = DataService(daemon.Daemon("data", here.settings))
        for work in (here.load("edgar", span), plane.run()):
            with pytest.raises(DaemonExit, match=r"of \S+/other publishes to this log.*; stop it first"):
                await work
    finally:
        await asyncio.to_thread(other.close)
    assert not here.log()["data.facts"]
    assert not here.providers.requests


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            ("--source", "edgr", "--from", "2018-01-02", "--to", "2018-01-12"),
            "did you mean edgar? known are edgar, fred, ibkr",
        ),
        (
            ("--source", "fred", "--from", "2018-02-02", "--to", "2018-01-12"),
            "--from 2018-02-02 is after --to 2018-01-12",
        ),
        (("--source", "fred", "--from", "0018-02-02", "--to", "2018-01-12"), "begin at 1900-01-01"),
        (("--source", "ibkr", "--from", "2018-01-02", "--to", "2018-01-12", "--interval", "5s"), "neither 1d nor 1m"),
        (("--source", "fred", "--from", "2018-01-02", "--to", "2018-01-12", "--interval", "1m"), "fred has none"),
    ],
    ids=("source", "order", "century", "interval", "no bars"),
)
def test_a_wrong_line_is_one_sentence_and_code_2(line: tuple[str, ...], words: str) -> None:
    error = CliRunner().invoke(app, ["data", "backfill", *line]).exception
    assert isinstance(error, CommandError)
    assert error.code == 2
    assert words in str(error)


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        with data_backfill.Told("edgar") as told:
            for done in range(1, 5):
                told.progress(done, 4, f"N{done}")
            told.note("one [b]sentence[/b]")
        said = stream.getvalue()
        assert "one [b]sentence[/b]" in said
        if stream.isatty():
            assert "4/4" in said
            assert "━" in said
        else:
            assert said.splitlines() == [
                "edgar: looked at 1 of 4 (N1)",
                "edgar: looked at 4 of 4 (N4)",
                "one [b]sentence[/b]",
            ]
