"""The local provider server: the providers' own shapes, their refusals, and what was public on a day."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.data_plane.support import REPOSITORY, ProvidersProcess
from triplane.domain.assets import Universe
from triplane.paper.filings import load_reports
from triplane.paper.providers import Providers, load_rates


@pytest.fixture(scope="module")
def server() -> Iterator[httpx.Client]:
    process = ProvidersProcess()
    with httpx.Client(base_url=process.url, headers={"User-Agent": "tests tests@example.com"}) as client:
        yield client
    process.stop()


def shape(value: Any, depth: int = 0) -> Any:
    """Keys of a document, and of the first element of its lists."""
    if isinstance(value, dict):
        return {key: shape(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0], depth + 1)] if value else []
    return type(value).__name__


def real(path: Path) -> Any:
    with gzip.open(path, "rt") as file:
        return json.load(file)


def test_payloads_have_the_providers_shapes(server: httpx.Client, shared_data: Path) -> None:
    ours = server.get("/submissions/CIK0000320193.json").json()
    theirs = real(shared_data / "sec" / "submissions" / "CIK0000320193.json.gz")
    assert ours["cik"] == theirs["cik"]
    assert set(ours) <= set(theirs)
    assert {k: type(v[0]) for k, v in ours["filings"]["recent"].items()} == {
        k: type(theirs["filings"]["recent"][k][0]) for k in ours["filings"]["recent"]
    }
    ours = server.get("/api/xbrl/companyfacts/CIK0000320193.json").json()
    theirs = real(shared_data / "sec" / "companyfacts" / "CIK0000320193.json.gz")
    concept = "EntityCommonStockSharesOutstanding"
    row = shape(ours["facts"]["dei"][concept]["units"]["shares"][0])
    assert set(row) <= set(shape(theirs["facts"]["dei"][concept]["units"]["shares"][0]))
    assert set(ours) == set(theirs)
    assert set(ours["facts"]["dei"][concept]) == set(theirs["facts"]["dei"][concept])
    assert shape(server.get("/files/company_tickers.json").json()["0"]) == shape(
        real(shared_data / "sec" / "tickers" / "company_tickers.2026-04.json.gz")["0"]
    )
    query = {
        "series_id": "DTB3",
        "api_key": "k",
        "realtime_start": "1776-07-04",
        "realtime_end": "9999-12-31",
        "file_type": "json",
    }
    ours = server.get("/fred/series/observations", params=query).json()
    theirs = real(
        shared_data / "fred" / "api_json" / "series_observations__GDP__rt-end=9999-12-31__rt-start=1776-07-04.json.gz"
    )
    assert shape(ours) == shape(theirs)
    for path, name in (("series", "series__GDP"), ("series/vintagedates", "series_vintagedates__GDP")):
        ours = server.get(f"/fred/{path}", params=query).json()
        assert shape(ours) == shape(real(shared_data / "fred" / "api_json" / f"{name}.json.gz"))


def test_refusals_are_the_providers_own(server: httpx.Client) -> None:
    answer = server.get("/submissions/CIK0000320193.json", headers={"User-Agent": ""})
    assert answer.status_code == 403
    assert "text/html" in answer.headers["Content-Type"]
    assert server.get("/submissions/CIK0000000007.json").status_code == 404
    assert server.get("/api/xbrl/companyfacts/CIK0000000007.json").status_code == 404
    answer = server.get("/fred/series/observations", params={"series_id": "DTB3"})
    assert answer.status_code == 400
    assert "api_key is not set" in answer.json()["error_message"]
    answer = server.get("/fred/series/observations", params={"series_id": "NOPE", "api_key": "k"})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error_code": 400, "error_message": "Bad Request.  The series does not exist."},
    )
    assert (
        server.get(
            "/fred/series/observations", params={"series_id": "DTB3", "api_key": "k", "realtime_start": "soon"}
        ).status_code
        == 400
    )
    assert server.get("/healthz").json() == {"status": "ok"}


def test_more_vintage_dates_than_the_real_one_allows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triplane.paper.providers.MAX_VINTAGES", 1000)
    providers = Providers()
    query = {"series_id": "DTB3", "api_key": "k"}
    _, dates = providers.vintage_dates(query)
    released = dates["vintage_dates"]
    assert released == sorted(set(released))
    assert (dates["count"], len(released)) == (len(released), dates["count"])
    assert providers.vintage_dates({**query, "limit": "2", "offset": "3"})[1]["vintage_dates"] == released[3:5]
    assert dates["count"] > 1000
    status, body = providers.observations({**query, "realtime_start": "1776-07-04", "realtime_end": "9999-12-31"})
    assert status == 400
    assert f"There are {dates['count']} vintage dates" in body["error_message"]
    assert "(1000)" in body["error_message"]
    for refused in (providers.series({"series_id": "DTB3"}), providers.vintage_dates({**query, "series_id": "NOPE"})):
        assert refused[0] == 400


def test_vintages_are_clipped_to_the_asked_period_and_pages_add_up() -> None:
    providers = Providers()
    query = {"series_id": "DTB3", "api_key": "k", "observation_start": "2018-01-02", "observation_end": "2018-01-31"}
    _, now = providers.observations(query)
    assert {row["realtime_start"] for row in now["observations"]} == {date.max.isoformat()}  # only what holds today
    _, all_time = providers.observations({**query, "realtime_start": "1776-07-04", "realtime_end": "9999-12-31"})
    assert [row["date"] for row in all_time["observations"]] == [row["date"] for row in now["observations"]]
    assert all(row["realtime_start"] > row["date"] for row in all_time["observations"])
    _, then = providers.observations({**query, "realtime_start": "2018-01-10", "realtime_end": "2018-01-10"})
    assert max(row["date"] for row in then["observations"]) == "2018-01-09"
    pages = [
        providers.observations({**query, "limit": "10", "offset": str(offset)})[1]["observations"]
        for offset in (0, 10, 20)
    ]
    assert [row for page in pages for row in page] == now["observations"]


def test_as_of_shows_what_was_public() -> None:
    providers = Providers("2018-01-19")
    recent = providers.submissions(320193)
    assert recent is not None
    assert max(recent["filings"]["recent"]["filingDate"]) == "2017-11-03"
    _, body = providers.observations({"series_id": "DTB3", "api_key": "k"})
    assert max(row["date"] for row in body["observations"]) == "2018-01-18"


def test_the_tables_cover_the_demonstration() -> None:
    reports, rates = load_reports(), load_rates()
    symbols = {asset.symbol for asset in Universe.load(REPOSITORY / "assets.csv").tradable}
    assert {report.symbol for report in reports} >= symbols
    for symbol in symbols:
        mine = [report for report in reports if report.symbol == symbol]
        assert mine[0].filed < "2015-01-01"
        assert mine[-1].filed > "2017-10-01"
        # No split and no unit error hides in the table.
        assert all(0.5 < later.shares / earlier.shares < 2 for earlier, later in itertools.pairwise(mine))
        assert all(report.period_end < report.filed == report.accepted[:10] for report in mine)
    assert len({report.accession for report in reports}) == len(reports)
    assert rates[0].day < "2013-02-01"
    assert rates[-1].day > "2018-05-31"
    assert all(rate.released > rate.day for rate in rates)
    assert all(rate.value == "." or -0.05 <= float(rate.value) < 3 for rate in rates)


def test_a_taken_port_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "triplane.paper.providers", "--port", port],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            timeout=60,
            check=False,
        )
    assert done.returncode == 69
    assert done.stderr.startswith(f"providers: 127.0.0.1:{port} cannot be listened on")
    assert done.stderr.count("\n") == 1
