"""FRED as it really answers: periods of too many vintage dates, pages, keys, series that have ended, and what it takes back."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from structlog.testing import capture_logs

from data_plane.macro.vintages import SeriesVintages
from data_plane.observations import Malformed, Vintage
from data_plane.sources.fred import SOURCE, FredSource
from data_plane.sources.fred.answers import (
    FIRST_REALTIME,
    LAST_REALTIME,
    joined,
    parse_description,
    parse_observations,
    windows,
)
from data_plane.sources.http import JsonClient, Policy
from tests.data_plane import fred_files
from tests.data_plane.http_server import serving
from tests.data_plane.support import Bench, config, day_open
from triplane.domain.timestamps import midnight
from triplane.runtime.key_file import KeyMissing, fred_key
from triplane.runtime.settings import Settings

KEY = "0123456789abcdef0123456789abcdef"
NAN = math.nan


def clipped(rows: list[dict[str, str]], start: str, end: str) -> list[dict[str, str]]:
    """Rows as FRED shows them for a real-time period."""
    return [
        {**each, "realtime_start": max(each["realtime_start"], start), "realtime_end": min(each["realtime_end"], end)}
        for each in rows
        if each["realtime_start"] <= end and each["realtime_end"] >= start
    ]


def parts(rows: list[dict[str, str]], most: int) -> list[tuple[str, list[dict[str, str]]]]:
    dates = sorted({each["realtime_start"] for each in rows})
    return [(start, clipped(rows, start, end)) for start, end in windows(dates, most)]


def ordered(rows: list[Any]) -> list[Any]:
    return sorted(rows, key=lambda each: (each["date"], each["realtime_start"]))


# -- periods -------------------------------------------------------------------------------------------------------------------
def test_periods_tile_all_time() -> None:
    assert windows([], 2) == [(FIRST_REALTIME, LAST_REALTIME)]
    assert windows(["2020-01-02", "2020-01-01"], 2) == [(FIRST_REALTIME, LAST_REALTIME)]
    assert windows([f"2020-01-0{day}" for day in range(1, 6)], 2) == [
        (FIRST_REALTIME, "2020-01-02"),
        ("2020-01-03", "2020-01-04"),
        ("2020-01-05", LAST_REALTIME),
    ]


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, str]]:
    """Rows of a few observations: each has values from release to release, some taken away for a while or for ever."""
    rows = []
    for place in range(draw(st.integers(1, 4))):
        releases = sorted(draw(st.sets(st.integers(0, 30), min_size=1, max_size=6)))
        known = [draw(st.sampled_from(["1.0", "2.0", ".", ""])) for _ in releases]
        for number, (release, value) in enumerate(zip(releases, known, strict=True)):
            if value == "" or (number and value == known[number - 1]):
                continue  # taken away, or no news: then the row before goes on
            until = next(
                (r for r, v in zip(releases[number + 1 :], known[number + 1 :], strict=True) if v != value), None
            )
            end = LAST_REALTIME if until is None else (date(2020, 3, 1) + timedelta(days=until - 1)).isoformat()
            start = (date(2020, 3, 1) + timedelta(days=release)).isoformat()
            day = (date(2020, 1, 1) + timedelta(days=place)).isoformat()
            rows.append({"realtime_start": start, "realtime_end": end, "date": day, "value": value})
    return rows


@settings(deadline=None)
@given(histories(), st.integers(1, 5))
def test_rows_of_several_periods_are_those_of_one(rows: list[dict[str, str]], most: int) -> None:
    assert ordered(joined(parts(rows, most))) == ordered(rows)


@settings(deadline=None)
@given(histories())
def test_vintages_say_what_the_rows_say_on_every_day(rows: list[dict[str, str]]) -> None:
    """A value that was taken away is NaN in vintages, which have no ends; else both are the same on every day of a vintage."""
    series = SeriesVintages()
    found = parse_observations("S", rows, 0)
    for item in found:
        assert isinstance(item, Vintage)
        series.take(item)
    last = max((each["realtime_start"] for each in rows), default="")
    for offset in range(32):
        day = (date(2020, 3, 1) + timedelta(days=offset)).isoformat()
        if day > last:
            break
        shown = {
            midnight(date.fromisoformat(each["date"])): NAN if each["value"] == "." else float(each["value"])
            for each in rows
            if each["realtime_start"] <= day <= each["realtime_end"]
        }
        snapshot = series.on(date.fromisoformat(day))
        ours = dict(zip(snapshot.observations.tolist(), snapshot.values.tolist(), strict=True))
        assert repr({time: shown.get(time, NAN) for time in ours}) == repr(ours)
        assert set(shown) <= set(ours)


def test_what_cannot_be_read_passes_through_the_joining() -> None:
    broken: list[Any] = [7, None, {"date": 5}, {"value": "1"}]
    assert joined([("1776-07-04", broken), ("2020-01-01", broken)]) == broken * 2
    found = parse_observations(
        "S", [*broken, {"realtime_start": "2020-01-02", "realtime_end": 5, "date": "2020-01-01", "value": "1"}], 9
    )
    assert [item.time for item in found if isinstance(item, Malformed)] == [9] * 5


def test_a_description_is_read() -> None:
    entry = {"title": "T", "units": "Percent", "frequency": "Weekly, Ending Friday", "observation_end": "2020-01-03"}
    described = parse_description({"seriess": [entry]})
    assert (described.title, described.unit, described.newest) == ("T", "Percent", date(2020, 1, 3))
    assert described.frequency is not None
    assert described.frequency.ending == 4
    with pytest.raises(IndexError):
        parse_description({"seriess": []})


# -- keys ----------------------------------------------------------------------------------------------------------------------
def file_settings(path: Path, key: str = "") -> Settings:
    return Settings(fred_api_key=SecretStr(key), fred_api_key_file=path)


def test_a_key_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fred.key"
    path.write_text(f"  {KEY}\n")
    path.chmod(0o600)
    assert fred_key(file_settings(path)).get_secret_value() == KEY
    assert fred_key(file_settings(path, "other")).get_secret_value() == "other"
    assert KEY not in repr(fred_key(file_settings(path)))
    monkeypatch.setenv("TRIPLANE_FRED_API_KEY_FILE", str(path))
    assert fred_key(Settings()).get_secret_value() == KEY
    assert SOURCE.missing(Settings()) == ""
    path.write_text("another")  # no restart is needed
    assert fred_key(Settings()).get_secret_value() == "another"


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        (None, 0o600, "which does not exist; write the key into it, or name the right file"),
        (b"", 0o600, "which is empty; write the key into it"),
        (b" \n\n", 0o600, "which is empty; write the key into it"),
        (KEY.encode(), 0o640, "which others may read too; run chmod 600"),
        (KEY.encode(), 0o604, "which others may read too; run chmod 600"),
        (f"key={KEY}\n{KEY}".encode(), 0o600, "which holds something else than one key; write the key alone into it"),
        (b"x" * 5000, 0o600, "which holds something else than one key"),
        (b"\xff\xfe", 0o600, "which holds something else than one key"),
    ],
)
def test_a_file_that_will_not_do_is_one_sentence(
    tmp_path: Path, content: bytes | None, mode: int, sentence: str
) -> None:
    path = tmp_path / "fred.key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    said = SOURCE.missing(file_settings(path))
    assert said.startswith(f"TRIPLANE_FRED_API_KEY_FILE names {path}, ")
    assert sentence in said
    assert KEY not in said
    assert "\n" not in said


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing, match="cannot be read"):
        fred_key(file_settings(tmp_path))
    assert "set TRIPLANE_FRED_API_KEY, or TRIPLANE_FRED_API_KEY_FILE" in SOURCE.missing(
        Settings(fred_api_key=SecretStr(""))
    )


# -- a server ------------------------------------------------------------------------------------------------------------------
class Fred:
    """FRED for the series it is given: rows, and the description of each. `most` vintage dates a period, as the real one has 2,000."""

    def __init__(self, most: int = 2000) -> None:
        self.rows: dict[str, list[dict[str, str]]] = {}
        self.described: dict[str, dict[str, str]] = {}
        self.most = most
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = ""
        self.instead: Callable[[web.Request], web.Response | None] = lambda request: None

    def add(self, series: str, rows: list[dict[str, str]], **change: str) -> None:
        newest = max((each["date"] for each in rows), default="2018-01-18")
        entry = {"id": series, "title": series, "units": "Index", "frequency": "Daily", "observation_end": newest}
        self.rows[series], self.described[series] = rows, entry | change

    async def handle(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        self.asked.append((request.path, query))
        answer = self.instead(request)
        if answer is not None:
            return answer
        series = query["series_id"]
        if query["api_key"] != KEY or series not in self.rows:
            sentence = f"Bad Request.  The series does not exist, and the api_key was {query['api_key']}."
            return web.json_response({"error_code": 400, "error_message": sentence}, status=400)
        rows = self.rows[series]
        dates = sorted({each["realtime_start"] for each in rows})
        if request.path == "/fred/series":
            return web.json_response({"seriess": [self.described[series]]})
        if request.path == "/fred/series/vintagedates":
            return web.json_response(self.page(query, "vintage_dates", dates))
        start, end = query["realtime_start"], query["realtime_end"]
        if sum(start <= day <= end for day in dates) > self.most:
            return web.json_response(
                {"error_code": 400, "error_message": "exceeds the maximum number of vintage dates"}, status=400
            )
        shown = [each for each in clipped(rows, start, end) if each["date"] >= query["observation_start"]]
        return web.json_response(self.page(query, "observations", shown))

    @staticmethod
    def page(query: dict[str, str], name: str, entries: list[Any]) -> dict[str, Any]:
        offset, limit = int(query["offset"]), int(query["limit"])
        return {"count": len(entries), name: entries[offset : offset + limit]}


@pytest.fixture
async def server() -> AsyncIterator[Fred]:
    fred = Fred()
    async with serving(fred.handle) as fred.url:
        yield fred


async def looked(server: Fred, *, series: str, key: str = KEY, years: float = 3.0, looks: int = 1) -> Bench:
    made = config(FRED_SERIES=series, FRED_REQUESTS_PER_MIN=120.0, BACKFILL_YEARS=years, SOURCE_RETRIES=1)
    bench = Bench(Settings(fred_url=server.url, fred_api_key=SecretStr(key)), made, day_open())
    source = FredSource(bench.context)
    assert isinstance(source._http, JsonClient)
    source._http._policy = lambda: Policy(1000.0, 1, 0.01)
    for _ in range(looks):
        await source.backfill()
    await source.close()
    return bench


DAY = {"realtime_start": "2018-01-19", "realtime_end": LAST_REALTIME, "date": "2018-01-18", "value": "1.42"}


async def test_a_series_of_many_vintages_comes_whole(server: Fred, monkeypatch: pytest.MonkeyPatch) -> None:
    start = date(2017, 1, 1)
    rows = [
        {
            "realtime_start": (start + timedelta(days=day + 1)).isoformat(),
            "realtime_end": LAST_REALTIME,
            "date": (start + timedelta(days=day)).isoformat(),
            "value": f"{day}",
        }
        for day in range(60)
    ]
    server.most = 10
    server.add("DTB3", rows, units="Percent", observation_end="2018-01-18")
    refused = await looked(server, series="DTB3")
    assert "exceeds the maximum number of vintage dates" in refused.states[0][2]
    monkeypatch.setattr("data_plane.sources.fred.source.VINTAGES", 10)
    monkeypatch.setattr("data_plane.sources.fred.source.PAGE", 7)
    monkeypatch.setattr("data_plane.sources.fred.source.DATES_PAGE", 25)
    server.asked.clear()
    bench = await looked(server, series="DTB3")
    assert bench.taken == parse_observations("DTB3", rows, bench.clock.now(), "Percent")
    assert len(bench.taken) == 60
    assert bench.states == [("fred", True, "")]
    periods = {
        (query["realtime_start"], query["realtime_end"])
        for path, query in server.asked
        if path.endswith("observations")
    }
    assert len(periods) == 6
    assert sum(path.endswith("vintagedates") for path, _ in server.asked) == 3


async def test_gdp_in_periods_of_fifty_vintages_is_gdp(
    server: Fred, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fred_files.body(shared_data, fred_files.GDP_ALL)["observations"]
    described = fred_files.body(shared_data, "series__GDP")["seriess"][0]
    server.most = 50
    server.add("GDP", whole, **{key: described[key] for key in ("title", "units", "frequency", "observation_end")})
    monkeypatch.setattr("data_plane.sources.fred.source.VINTAGES", 50)
    bench = await looked(server, series="GDP", years=40.0)
    since = (date(2018, 1, 19) - timedelta(days=round(365.25 * 40) + 400)).replace(month=1, day=1).isoformat()
    expected = parse_observations("GDP", [each for each in whole if each["date"] >= since], 0, "Billions of Dollars")
    assert repr(bench.taken) == repr(expected)
    assert sum(path.endswith("observations") for path, _ in server.asked) == 8
    # The server cuts rows as ALFRED does: its answer for the period until 2019 is on file.
    assert (
        clipped(whole, FIRST_REALTIME, "2019-01-01")
        == fred_files.body(shared_data, fred_files.GDP_TO_2018)["observations"]
    )
    assert ordered(joined(parts(whole, 50))) == ordered(whole)


def test_what_the_provider_takes_away_is_a_value_no_more() -> None:
    rows = [
        {**DAY, "realtime_end": "2018-01-24"},
        {**DAY, "date": "2018-01-19", "realtime_start": "2018-01-22", "realtime_end": "2018-01-24"},
        {**DAY, "date": "2018-01-19", "realtime_start": "2018-01-25", "value": "1.5"},
        {**DAY, "date": "2018-01-22", "realtime_start": "2018-01-25", "realtime_end": "2018-01-30"},
    ]
    vintages = [item for item in parse_observations("S", rows, 0) if isinstance(item, Vintage)]
    day = {text: midnight(date.fromisoformat(text)) for text in ("2018-01-18", "2018-01-19", "2018-01-22")}
    assert repr([(item.realtime_start, item.values) for item in vintages]) == repr(
        [
            ("2018-01-19", ((day["2018-01-18"], 1.42),)),
            ("2018-01-22", ((day["2018-01-19"], 1.42),)),
            # The first is gone. The last ends after the newest vintage: where the answer was cut, nothing was taken away.
            ("2018-01-25", ((day["2018-01-18"], NAN), (day["2018-01-19"], 1.5), (day["2018-01-22"], 1.42))),
        ]
    )


async def test_a_series_that_has_ended_is_told_once_and_is_no_fault(server: Fred) -> None:
    server.add("OLD", [DAY], title="A Rate (DISCONTINUED)")
    server.add("STALE", [{**DAY, "date": "2017-06-01", "realtime_start": "2017-06-02"}])
    server.add("NEW", [DAY])
    with capture_logs() as logs:
        bench = await looked(server, series="OLD,STALE,NEW", looks=2)
    told = [(entry["series"], entry["log_level"]) for entry in logs if entry["event"] == "series has ended"]
    assert told == [("OLD", "warning"), ("STALE", "warning")]
    assert [up for _, up, _ in bench.states] == [True, True]
    assert bench.states[0][2].startswith(
        "OLD has ended: its title says DISCONTINUED; its last observation is of 2018-01-18; STALE has"
    )
    assert {item.series for item in bench.taken if isinstance(item, Vintage)} == {"OLD", "STALE", "NEW"}


async def test_a_refused_or_garbled_series_leaves_the_others_alone(server: Fred) -> None:
    server.add("GOOD", [DAY])
    server.add("HTML", [])
    server.add("SHAPE", [])

    def instead(request: web.Request) -> web.Response | None:
        if request.query["series_id"] == "HTML":
            return web.Response(text="<html>")
        return web.json_response({"seriess": []}) if request.query["series_id"] == "SHAPE" else None

    server.instead = instead
    bench = await looked(server, series="NOPE,HTML,SHAPE,GOOD")
    assert [item.series for item in bench.taken if isinstance(item, Vintage)] == ["GOOD"]
    assert [(item.symbol, item.code) for item in bench.taken if isinstance(item, Malformed)] == [
        ("HTML", "BODY_MALFORMED"),
        ("SHAPE", "BODY_SHAPE"),
    ]
    [(_, up, why)] = bench.states
    assert not up
    assert why.startswith("NOPE: ")


async def test_the_key_is_nowhere(server: Fred, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a server sends back with the key in it: refusals, pages of HTML, rows, shapes."""
    key = KEY[::-1]
    bodies: list[web.Response | None] = []

    def instead(request: web.Request) -> web.Response | None:
        place = {"/fred/series": 0, "/fred/series/vintagedates": 1, "/fred/series/observations": 2}[request.path]
        return bodies[place]

    server.instead = instead
    entry = {"title": "T", "units": "Index", "frequency": "Daily", "observation_end": "2018-01-18"}
    caplog.set_level(logging.INFO)
    kept: list[Bench] = []
    with capture_logs() as logs:
        for series, dates, rows in (
            (None, None, None),  # the server's own refusal tells the key
            (web.Response(text=f"<html>?api_key={key}"), None, None),
            (web.json_response({"error_message": f"busy {key}"}, status=503), None, None),
            (
                web.json_response({"seriess": [entry]}),
                web.json_response({"vintage_dates": [], "count": 0}),
                web.json_response({"observations": [{"api_key": key, "date": "2018-01-18"}], "count": 1}),
            ),
            (
                web.json_response({"seriess": [{**entry, "observation_end": key}]}),
                None,
                None,
            ),
        ):
            bodies[:] = [series, dates, rows]
            kept.append(await looked(server, series="DTB3", key=key))
    told = [bench.states for bench in kept], [bench.taken for bench in kept], logs, caplog.text
    assert key not in repr(told)
    assert "***" in repr(told)
    codes = [[item.code for item in bench.taken if isinstance(item, Malformed)] for bench in kept]
    assert codes == [[], ["BODY_MALFORMED"], [], ["VALUE_UNREADABLE"], ["BODY_SHAPE"]]
    assert [bool(bench.states) and not bench.states[0][1] for bench in kept] == [True, False, True, False, False]
    assert key in json.dumps(server.asked)  # it was sent
