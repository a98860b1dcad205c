"""The kill switch by its parts: the words and files, the latch that watches them, the switch from outside, HTTP's rules."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from filelock import FileLock

from order_plane.kill import files as kill_files
from order_plane.kill import http as kill_http
from order_plane.kill import switch as kill_switch
from order_plane.kill.files import file_of, read_file, rearm_file_of, told
from order_plane.kill.latch import KillLatch
from order_plane.kill.switch import KillSwitchError
from schemas import codec
from tests.waiting import eventually
from triplane.runtime import atomic_file
from triplane.runtime.settings import Settings
from triplane.stack import ports


def settings_of(tmp_path: Path, **fields: Any) -> Settings:
    return Settings(state_dir=tmp_path / "state", account="DU1", gateway_port=4002).model_copy(update=fields)


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
    atomic_file.write_json(file_of(settings), {"actor": "b", "reason": "second", "scope": "own"})
    latch.lift()
    assert latch.tripped
    assert latch.look() == {"actor": "b", "reason": "second", "scope": "own"}


def _no_room(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_holds_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_file, "write_json", _no_room)
    settings = settings_of(tmp_path)
    latch = KillLatch(settings)
    with pytest.raises(OSError, match="No such file"):  # the directory itself is missing
        latch.trip({"reason": "x"})
    assert latch.tripped
    settings.state_dir.mkdir(parents=True)
    again = KillLatch(settings)
    again.trip({"reason": "x"})
    assert again.tripped
    assert file_of(settings).read_bytes() == b""
    assert KillLatch(settings).look() == {"actor": "", "reason": "KILL exists", "scope": "account"}


def test_a_trip_is_worth_more_than_a_re_arming_from_before(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    atomic_file.write_json(rearm_file_of(settings), {"actor": "bob", "reason": "old"})
    latch = KillLatch(settings)
    latch.trip({"actor": "risk", "reason": "fat finger"})
    assert latch.take_rearm() is None
    atomic_file.write_json(rearm_file_of(settings), {"actor": "bob", "reason": "old"})
    latch.lift()  # a person re-armed the living process: that, too, is later
    assert latch.take_rearm() is None


@pytest.mark.parametrize("words", ["M\udcfcller", "x\ud800", "two\nlines", "z" * 2000, "\x00bell\x07"])
def test_words_are_mended_so_that_every_record_can_hold_them(words: str) -> None:
    mended = kill_files.plain(words)
    assert mended.encode("utf-8").decode("utf-8") == mended
    assert mended.isprintable()
    assert 0 < len(mended) <= kill_files.LONGEST


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"actor": "b\\ud800", "reason": "x\\ud800"}', "Risiko M\udcfcller", "{", "[1]"]
)
def test_a_kill_file_with_anything_in_it_trips(tmp_path: Path, text: str) -> None:
    settings = settings_of(tmp_path)
    settings.state_dir.mkdir(parents=True)
    file_of(settings).write_bytes(text.encode("utf-8", "surrogateescape"))
    latch = KillLatch(settings)
    document = latch.look()
    assert latch.tripped
    assert document is not None
    words = {"reason": document["reason"], "labels": {"actor": document["actor"]}}
    assert codec.encode_body("OrderEvent", codec.defaults("OrderEvent") | words)


def test_a_link_to_nowhere_is_a_kill_file_all_the_same(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    settings.state_dir.mkdir(parents=True)
    file_of(settings).symlink_to(tmp_path / "nowhere")
    latch = KillLatch(settings)
    found = asyncio.run(kill_switch.status(settings))
    assert (found["tripped"], found["file"]["reason"]) == (True, "KILL is a link to nowhere")
    assert latch.look() is not None
    assert latch.tripped
    latch.lift()
    assert not file_of(settings).is_symlink()


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


async def test_on_a_full_disk_an_empty_file_holds_and_where_nothing_holds_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, gateway_port=1)
    monkeypatch.setattr(atomic_file, "write_json", _no_room)
    monkeypatch.setattr(Path, "touch", _no_room)
    with pytest.raises(KillSwitchError, match="nothing holds new orders"):
        await kill_switch.trip(settings, "ann", "full", timeout=1.0)
    monkeypatch.undo()
    monkeypatch.setattr(atomic_file, "write_json", _no_room)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    report = await kill_switch.trip(settings, "ann", "full", timeout=1.0)
    assert "without this name and reason (No space left on device)" in report.lines[0]
    assert (await kill_switch.status(settings))["tripped"]


async def test_a_re_arming_lifts_only_the_kill_that_its_person_knew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, gateway_port=1)
    await kill_switch.trip(settings, "ann", "first", timeout=1.0)

    def meanwhile(_: object) -> None:
        atomic_file.write_json(file_of(settings), {"actor": "risk", "reason": "second"})

    monkeypatch.setattr(kill_switch, "order_process", meanwhile)
    with pytest.raises(KillSwitchError, match="tripped meanwhile"):
        await kill_switch.rearm(settings, "bob", "first is over")
    assert json.loads(file_of(settings).read_text())["reason"] == "second"
    assert not rearm_file_of(settings).exists()


def test_a_re_arming_lifts_no_later_kill_also_where_the_file_is_another_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its times cannot be set then (`sudo touch KILL`): a file of our own takes its place, or the re-arming would know it."""
    latch = KillLatch(Settings(state_dir=tmp_path))
    file = file_of(Settings(state_dir=tmp_path))
    file.touch()
    latch.look()
    known = told(file)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("order_plane.kill.latch.os.utime", refuse)
    latch.trip_again({"actor": "ann", "reason": "second", "scope": "own"}, 1)
    assert told(file) != known
    assert latch.tripped
    assert read_file(file) == {"actor": "ann", "reason": "second", "scope": "own"}
    assert latch.look() is None


def test_a_trip_and_a_re_arming_at_once_leave_one_of_them(tmp_path: Path, seed: int) -> None:
    """Whoever comes last is in force; never neither."""
    rng = random.Random(seed)
    for number in range(30):
        settings = settings_of(tmp_path / str(number), gateway_port=0)
        asyncio.run(kill_switch.trip(settings, "ann", "first"))

        def later(action: Callable[[], Coroutine[Any, Any, object]], wait_s: float) -> None:
            time.sleep(wait_s)  # the odd moments are what is tested
            with contextlib.suppress(KillSwitchError):
                asyncio.run(action())

        with ThreadPoolExecutor(2) as pool:
            pool.submit(later, lambda at=settings: kill_switch.trip(at, "risk", "second"), rng.uniform(0, 0.004))  # type: ignore[misc]
            pool.submit(later, lambda at=settings: kill_switch.rearm(at, "bob", "over"), rng.uniform(0, 0.004))  # type: ignore[misc]
        assert file_of(settings).exists() != rearm_file_of(settings).exists()
        if file_of(settings).exists():
            assert json.loads(file_of(settings).read_text())["reason"] == "second"


async def test_a_process_that_lives_is_found_though_the_clock_was_set(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    run = settings.state_dir / "run" / "order.json"
    run.parent.mkdir(parents=True)
    run.write_text(json.dumps({"pid": os.getpid(), "http": "http://127.0.0.1:1", "started": 1.0}))
    assert kill_switch.order_process(settings) is None
    with FileLock(settings.state_dir / "order.lock"):
        assert kill_switch.order_process(settings) == ("http://127.0.0.1:1", os.getpid())


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

    async def rearm(self, source: str, actor: str, reason: str, known: str | None = None) -> dict[str, Any]:
        self.asked.append(("rearm", source, actor, reason, *(() if known is None else (known,))))
        if actor == "nobody":
            raise ValueError("refused")
        return {"tripped": False}

    def kill_status(self) -> dict[str, Any]:
        return {"tripped": False}


@contextlib.asynccontextmanager
async def served(recorder: Recorder) -> AsyncIterator[tuple[int, httpx.AsyncClient]]:
    """The switch's routes on a server as the daemon's is (one of aiohttp's for tests would end what its client leaves): port and client."""
    routes = web.RouteTableDef()
    kill_http.add_routes(routes, recorder)
    app = web.Application()
    app.router.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield port, client
    finally:
        await runner.cleanup()


async def test_http_takes_programs_of_this_machine_only_and_whole_re_armings_only() -> None:
    recorder = Recorder()
    async with served(recorder) as (_, client):
        body = {"actor": "ann", "reason": "drill"}
        assert (await client.get("/kill")).json() == {"tripped": False}
        assert (await client.post("/kill", json=body, headers={"Origin": "https://example.com"})).status_code == 403
        assert (await client.post("/kill", json=body, headers={"Host": "evil.example:80"})).status_code == 403
        assert (await client.post("/kill", headers={"Origin": "https://example.com"})).status_code == 403
        assert (await client.post("/rearm")).status_code == 400
        assert (await client.post("/rearm", content=b"nonsense")).status_code == 400
        assert (await client.post("/rearm", json=[1])).status_code == 400
        assert (await client.post("/rearm", json={"actor": "ann"})).json() == {"error": "reason must be given"}
        assert (await client.post("/rearm", json=body | {"valid_until": "1"})).status_code == 409
        assert (await client.post("/rearm", json=body | {"valid_until": "soon"})).status_code == 409
        wall = str(time.time_ns())  # of another clock: who could say when it ends?
        assert (await client.post("/rearm", json=body | {"valid_until": wall})).status_code == 409
        assert recorder.asked == []
        soon = str(time.monotonic_ns() + 30 * 10**9)
        assert (await client.post("/rearm", json=body | {"valid_until": soon})).status_code == 200
        assert (await client.post("/rearm", json=body | {"actor": "nobody"})).status_code == 409
    assert recorder.asked == [("rearm", "http", "ann", "drill"), ("rearm", "http", "nobody", "drill")]


WORDLESS = ("unnamed", "POST /kill without a reason", "account")


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (b"", WORDLESS),
        (b"{}", WORDLESS),
        (b'{"actor": "ann", "reason": "drill", "scope": "own"}', ("ann", "drill", "own")),
        (b'{"actor": "ann", "reason": "drill", "scope": "everything"}', ("ann", "drill", "account")),
        (b'{"actor": "ann"}', ("ann", WORDLESS[1], "account")),
        (b'{"actor": "\\ud800 ", "reason": "\\n"}', ("\\ud800", WORDLESS[1], "account")),
        (b'{"actor": "J\xfcrgen", "reason": "two\nlines"}', ("J\\udcfcrgen", "two lines", "account")),
        (b'{"actor": "ann", "reason": "' + b"x" * 1_000_000 + b'"}', ("ann", "x" * 500, "account")),
        (b'{"actor": "ann", "reason": "' + b"x" * 3_000_000 + b'"}', None),
        (b"stop!", ("unnamed", "stop!", "account")),
        (b"[1]", ("unnamed", "[1]", "account")),
        (b"[" * 200_000, ("unnamed", "[" * 500, "account")),
    ],
)  # fmt: skip
async def test_a_kill_over_http_is_taken_whatever_its_body_holds(body: bytes, asked: tuple[str, ...] | None) -> None:
    recorder = Recorder()
    async with served(recorder) as (_, client):
        answer = await client.post("/kill", content=body)
        assert (answer.status_code, answer.json()) == (200, {"tripped": True})
    (taken,) = recorder.asked
    assert taken[:2] == ("trip", "http")
    if asked is not None:
        assert taken[2:] == asked
    else:  # what was read of it
        assert taken[2] == "unnamed"
        assert taken[3].startswith('{"actor": "ann", "reason": "xxx')


async def test_a_kill_over_http_whose_body_is_not_packed_as_it_says_is_taken() -> None:
    recorder = Recorder()
    async with served(recorder) as (_, client):
        for packed in ("gzip", "deflate"):
            answer = await client.post("/kill", content=b'{"actor": "ann"}', headers={"Content-Encoding": packed})
            assert answer.status_code == 200
            refused = await client.post("/rearm", content=b'{"actor": "ann"}', headers={"Content-Encoding": packed})
            assert refused.status_code == 400
    assert [taken[0] for taken in recorder.asked] == ["trip", "trip"]


@pytest.mark.parametrize("stays", [True, False])
async def test_a_kill_over_http_whose_body_never_comes_is_taken_without_it(
    stays: bool, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    async with served(recorder) as (port, client):
        for verb in ("rearm", "kill"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                f"POST /{verb} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"  # it is read
            writer.write(b"x")
            await writer.drain()
            if not stays:
                writer.close()
        await asyncio.to_thread(eventually, lambda: recorder.asked, 10.0, "the kill")
        assert (await client.get("/kill")).status_code == 200
    assert recorder.asked == [("trip", "http", "unnamed", "x", "account")]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# -- the kill file ---------------------------------------------------------------------------------------------------------------
def test_whatever_stands_in_the_kill_files_place_holds(tmp_path: Path) -> None:
    """It cannot be written then; the broker is asked all the same (here none answers), and the report says both."""
    settings = settings_of(tmp_path, gateway_port=ports.free_ports(1)[0])
    (settings.state_dir / "KILL").mkdir(parents=True)
    report = asyncio.run(kill_switch.trip(settings, "ann", "drill", timeout=0.5))
    assert "is there, without this name and reason (Is a directory)" in report.lines[0]
    assert any("could not be asked to cancel" in line for line in report.lines)
    latch = KillLatch(settings)
    assert latch.look() is not None
    assert latch.tripped


@pytest.mark.parametrize(
    ("name", "verb"), [("KILL", "removed.*remove it by hand"), ("REARM", "written.*mend that path")]
)
async def test_a_re_arming_that_failed_leaves_nothing_behind(tmp_path: Path, name: str, verb: str) -> None:
    """Without a process: else the next start would re-arm in the name of who was told that it failed."""
    settings = settings_of(tmp_path, gateway_port=1)
    (settings.state_dir / name).mkdir(parents=True)
    report = await kill_switch.trip(settings, "ann", "drill", timeout=1.0)
    assert file_of(settings).exists()
    assert "no new order leaves" in report.lines[0]
    with pytest.raises(
        KillSwitchError,
        match=rf"{name} cannot be {verb.partition('.')[0]} \(.*\), so it stays tripped; {verb.rpartition('.*')[2]}, then",
    ):
        await kill_switch.rearm(settings, "bob", "over")
    (settings.state_dir / name).rmdir()
    assert not rearm_file_of(settings).exists()
    if name == "REARM":
        assert json.loads(file_of(settings).read_text())["actor"] == "ann"
        await kill_switch.rearm(settings, "bob", "over")
        assert json.loads(rearm_file_of(settings).read_text())["actor"] == "bob"


def test_a_file_is_set_aside_before_a_re_arming_is_decided_on(tmp_path: Path) -> None:
    """What cannot be taken away keeps the kill; a refused re-arming puts the file back, unless a newer one holds."""
    settings = settings_of(tmp_path)
    settings.state_dir.mkdir(parents=True)
    file, latch = file_of(settings), KillLatch(settings)
    latch.trip({"actor": "ann", "reason": "drill"})
    assert latch.set_aside()
    assert not file.exists()
    latch.put_back()
    assert json.loads(file.read_text())["actor"] == "ann"
    latch.set_aside()
    file.touch()
    latch.put_back()
    assert file.read_text() == ""
    assert not latch.set_aside()  # a kill that nobody has looked at yet
    assert file.exists()
    latch.look()
    assert latch.set_aside()
    latch.lift()
    assert not latch.tripped
    assert sorted(each.name for each in settings.state_dir.iterdir()) == []
    latch.set_aside()  # there may be none: a level of the log
    for name in ("KILL", "KILL.lifted", "REARM"):  # whatever is in the way is named, and nothing is taken away
        (settings.state_dir / name).mkdir()
        with pytest.raises(IsADirectoryError) as refused:
            latch.set_aside()
        assert Path(refused.value.filename).name == name
        (settings.state_dir / name).rmdir()
    latch.trip({"actor": "ann", "reason": "drill"})
    (settings.state_dir / "KILL.lifted").write_text("of a run that ended between setting aside and lifting")
    assert latch.set_aside()
    latch.lift()
    assert list(settings.state_dir.iterdir()) == []
