"""Parts of the order daemon by themselves: modes, journal, latch, stop points, the kill switch's files and HTTP rules."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from filelock import FileLock

from order_plane.daemon import modes
from order_plane.daemon.journal import COMPACT_BYTES, Journal
from order_plane.daemon.stop_points import PLACES, StopPoints
from order_plane.kill import http as kill_http
from order_plane.kill import switch as kill_switch
from order_plane.kill.latch import KillLatch
from order_plane.kill.switch import KillSwitchError, file_of, rearm_file_of
from triplane.runtime.exit_codes import CONFIG, DaemonExit
from triplane.runtime.settings import Settings
from triplane.stack import ports


def settings_of(tmp_path: Path, **fields: Any) -> Settings:
    return Settings(state_dir=tmp_path / "state", account="DU1", gateway_port=4002).model_copy(update=fields)


# -- modes -----------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"mode": "live"}, "live trading is refused in this release"),
        ({"account": "DU1234567,DU7654321"}, "name exactly one account"),
        ({"mode": "live", "account": "U123"}, "live trading is refused in this release"),
        ({"account": ""}, "no account is named"),
        ({"account": "U123"}, "U123 is not a paper account"),
        ({"gateway_port": 7496}, "port 7496 is TWS's live port"),
        ({"gateway_port": 4001}, "port 4001 is IB Gateway's live port"),
        ({"gateway_port": 0}, "TRIPLANE_GATEWAY_PORT is 0"),
        ({"mode": "shadow", "account": "U123", "gateway_port": 7497}, "contradict each other"),
        ({"mode": "shadow", "account": "DU1", "gateway_port": 4001}, "contradict each other"),
        ({"order_client_id": 11}, "have to differ"),
        ({"order_client_id": 0}, "above 0"),
    ],
)
def test_contradicting_settings_end_the_daemon_for_good(tmp_path: Path, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DaemonExit, match=sentence) as ending:
        modes.check(settings_of(tmp_path, **fields))
    assert ending.value.code == CONFIG


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"gateway_port": 7497},
        {"gateway_port": 50123},
        {"mode": "shadow", "account": "U123", "gateway_port": 7496},
        {"mode": "shadow"},
    ],
)
def test_agreeing_settings_pass(tmp_path: Path, fields: dict[str, Any]) -> None:
    modes.check(settings_of(tmp_path, **fields))


def entry(reason: str) -> dict[str, str]:
    return {"kind": "global_cancel", "reason": reason}


def reasons(journal: Journal) -> list[str]:
    return [str(each["reason"]) for each in journal.recovered]


# -- journal ---------------------------------------------------------------------------------------------------------------------
def test_the_journal_gives_back_what_was_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        numbers = journal.write([entry("a"), entry("b"), entry("c")])
        journal.done(numbers[:2])
        assert journal.pending == 1
    with Journal(path) as journal:
        assert reasons(journal) == ["c"]
        (later,) = journal.write([entry("d")])
        assert later > numbers[2]
        journal.done([numbers[2], later])
        journal.done([later])  # twice is once
    with Journal(path) as journal:
        assert journal.recovered == []


def test_a_torn_last_line_is_dropped_and_the_next_entry_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write([entry("a")])
    with path.open("ab") as file:
        file.write(b'{"kind":"b","se')
    with Journal(path) as journal:
        assert reasons(journal) == ["a"]
        assert journal.damaged == 0
        journal.write([entry("c")])
    with Journal(path) as journal:
        assert reasons(journal) == ["a", "c"]


@pytest.mark.parametrize(
    "line",
    [
        "null", "5", "[]", "{}", '"text"', '{"done":5}', '{"seq":"1","kind":"kill"}', '{"seq":7,"kind":"unheard of"}',
        '{"seq":7,"kind":"report","report":null}', '{"seq":7,"kind":"output","topic":"order.fills","after":"x"}', "torn {",
        '{"seq":7,"kind":"report","report":{"kind":"execution"}}', '{"seq":7,"kind":"report","report":{"kind":"unheard of"}}',
    ],
)  # fmt: skip
def test_a_damaged_line_is_counted_and_the_rest_is_taken_up(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write([entry("a")])
    with path.open("a") as file:
        file.write(line + "\n")
    with Journal(path) as journal:
        assert (reasons(journal), journal.damaged) == (["a"], 1)
        journal.write([entry("b")])
    with Journal(path) as journal:
        assert reasons(journal) == ["a", "b"]


def test_a_full_disk_takes_an_entry_whole_or_not_at_all(tmp_path: Path) -> None:
    """The limit on file sizes ends a write in the middle, as a disk without room does."""
    path = tmp_path / "journal.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    acknowledged = []
    with Journal(path) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            with contextlib.suppress(OSError):
                for number in range(1000):
                    journal.write([entry(f"{number} {'x' * 700}")])
                    acknowledged.append(number)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert 0 < len(acknowledged) < 1000
        journal.write([entry("later")])
    with Journal(path) as journal:
        assert [reason.split()[0] for reason in reasons(journal)] == [*map(str, acknowledged), "later"]
        assert journal.damaged == 0


def test_a_finished_journal_is_emptied_once_it_is_large(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        numbers = journal.write([{"kind": "x", "text": "y" * 1000}] * (COMPACT_BYTES // 1000))
        journal.done(numbers[1:])
        assert path.stat().st_size > COMPACT_BYTES  # one is pending still
        journal.done(numbers[:1])
        assert path.stat().st_size == 0


# -- stop points -----------------------------------------------------------------------------------------------------------------
def test_stop_points_are_inert_without_their_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: killed.append(number))
    quiet = StopPoints("")
    for place in PLACES:
        quiet.reach(place)
    assert killed == []
    third = StopPoints("order-sent:3")
    for _ in range(5):
        third.reach("placing-acked")
        third.reach("order-sent")
    assert killed == [9]
    with pytest.raises(ValueError, match="no such place"):
        StopPoints("nowhere")


# -- the latch -------------------------------------------------------------------------------------------------------------------
def test_the_latch_notices_a_file_once_and_holds_until_it_is_lifted(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    latch = KillLatch(settings)
    assert latch.look() is None
    file_of(settings).parent.mkdir(parents=True)
    file_of(settings).touch()
    assert latch.look() == {"actor": "", "reason": "KILL exists", "scope": "account"}
    assert (latch.look(), latch.tripped) == (None, True)
    latch.lift()
    assert (latch.tripped, file_of(settings).exists()) == (False, False)


def test_a_restart_finds_the_file_again(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    KillLatch(settings).trip({"actor": "level", "reason": "KILL_PNL", "scope": "own"})
    again = KillLatch(settings)
    assert again.look() == {"actor": "level", "reason": "KILL_PNL", "scope": "own"}
    assert again.tripped


def test_lifting_never_removes_a_newer_trip(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    latch = KillLatch(settings)
    latch.trip({"actor": "a", "reason": "first"})
    kill_switch.write_file(file_of(settings), {"actor": "b", "reason": "second", "scope": "own"})
    latch.lift()
    assert latch.tripped
    assert latch.look() == {"actor": "b", "reason": "second", "scope": "own"}


def test_a_full_disk_holds_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("order_plane.kill.latch.write_file", full)
    latch = KillLatch(settings_of(tmp_path))
    with pytest.raises(OSError, match="No space"):
        latch.trip({"reason": "x"})
    assert latch.tripped


# -- the switch from outside -----------------------------------------------------------------------------------------------------
async def test_without_name_or_reason_nothing_happens(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for actor, reason in (("", "why"), ("me", " ")):
        with pytest.raises(KillSwitchError, match="name and a reason"):
            await kill_switch.trip(settings, actor, reason)
        with pytest.raises(KillSwitchError, match="name and a reason"):
            await kill_switch.rearm(settings, actor, reason)
    assert not file_of(settings).exists()
    assert not rearm_file_of(settings).exists()


async def test_with_nothing_running_the_file_is_written_and_the_rest_is_said(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, gateway_port=1)
    report = await kill_switch.trip(settings, "ann", "drill", timeout=1.0)
    assert (report.order_process, report.cancels) == ("dead", "waiting")
    assert any("could not be asked to cancel" in line for line in report.lines)
    assert json.loads(file_of(settings).read_text())["actor"] == "ann"
    found = await kill_switch.status(settings)
    assert found["tripped"]
    report = await kill_switch.rearm(settings, "bob", "drill over")
    assert not report.tripped
    assert not file_of(settings).exists()
    assert json.loads(rearm_file_of(settings).read_text())["actor"] == "bob"
    # A trip after the re-arming is the later word.
    await kill_switch.trip(settings, "ann", "again", timeout=1.0)
    assert not rearm_file_of(settings).exists()


async def test_scope_own_waits_while_somebody_holds_the_writers_lock(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, gateway_port=1)
    settings.state_dir.mkdir(parents=True)
    with FileLock(settings.state_dir / "order.lock"):
        report = await kill_switch.trip(settings, "ann", "drill", "own", timeout=1.0)
    assert report.cancels == "waiting"
    assert any("cancels wait" in line for line in report.lines)


# -- HTTP ------------------------------------------------------------------------------------------------------------------------
class Recorder:
    """A switch that only writes down what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    async def trip(self, source: str, actor: str, reason: str, scope: str) -> dict[str, Any]:
        self.asked.append(("trip", source, actor, reason, scope))
        return {"tripped": True}

    async def rearm(self, source: str, actor: str, reason: str) -> dict[str, Any]:
        self.asked.append(("rearm", source, actor, reason))
        if actor == "nobody":
            raise ValueError("refused")
        return {"tripped": False}

    def kill_status(self) -> dict[str, Any]:
        return {"tripped": False}


async def test_http_takes_programs_of_this_machine_only_and_whole_requests_only() -> None:
    recorder = Recorder()
    routes = web.RouteTableDef()
    kill_http.add_routes(routes, recorder)
    app = web.Application()
    app.router.add_routes(routes)
    async with (
        TestServer(app, host="127.0.0.1") as server,
        httpx.AsyncClient(base_url=str(server.make_url("/"))) as client,
    ):
        body = {"actor": "ann", "reason": "drill"}
        assert (await client.get("/kill")).json() == {"tripped": False}
        assert (await client.post("/kill", json=body, headers={"Origin": "https://example.com"})).status_code == 403
        assert (await client.post("/kill", json=body, headers={"Host": "evil.example:80"})).status_code == 403
        assert (await client.post("/kill", content=b"nonsense")).status_code == 400
        assert (await client.post("/kill", json=[1])).status_code == 400
        assert (await client.post("/kill", json={"actor": "ann"})).json() == {"error": "reason must be given"}
        assert (await client.post("/kill", json=body | {"scope": "all"})).status_code == 400
        assert recorder.asked == []
        assert (await client.post("/kill", json=body | {"scope": "own"})).status_code == 200
        assert (await client.post("/rearm", json=body | {"valid_until": "1"})).status_code == 409
        assert (await client.post("/rearm", json=body | {"valid_until": "soon"})).status_code == 409
        assert (await client.post("/rearm", json=body)).status_code == 200
        assert (await client.post("/rearm", json=body | {"actor": "nobody"})).status_code == 409
    assert recorder.asked == [
        ("trip", "http", "ann", "drill", "own"), ("rearm", "http", "ann", "drill"), ("rearm", "http", "nobody", "drill")
    ]  # fmt: skip


# -- the kill file ---------------------------------------------------------------------------------------------------------------
def test_a_kill_file_that_cannot_be_written_keeps_nobody_from_stopping(tmp_path: Path) -> None:
    """Something else stands in its place; the broker is asked all the same (here none answers), and the report says both."""
    settings = settings_of(tmp_path, gateway_port=ports.free_ports(1)[0])
    (settings.state_dir / "KILL").mkdir(parents=True)
    with pytest.raises(KillSwitchError) as caught:
        asyncio.run(kill_switch.trip(settings, "ann", "drill", timeout=0.5))
    assert "NOT tripped" in str(caught.value)
    assert "could NOT be written" in str(caught.value)
    assert "could not be asked to cancel" in str(caught.value)
    assert [path.name for path in settings.state_dir.iterdir()] == ["KILL"]
