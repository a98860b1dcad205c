"""What providers send on a bad day: longer waits than one stays for, bombs, torn and unchanged bodies; and the archive of what they sent."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.sources.archive import KEPT, DamagedArchiveError, ResponseArchive, request_key
from data_plane.sources.http import (
    BodyMalformed,
    JsonClient,
    Policy,
    SourceRefused,
    SourceUnavailable,
    _retry_after,
)
from tests.data_plane.http_server import serving

Answer = Callable[[web.Request], web.StreamResponse]
Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Provider:
    """Answers with `answer`, or as `respond` does, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.answer: Answer = lambda _: web.json_response({})
        self.respond: Respond = self._respond
        self.url = ""

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return self.answer(request)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        return await self.respond(request)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    state = Provider()
    async with serving(state.handle) as state.url:
        yield state


def client(archive: ResponseArchive | None = None, tries: int = 3, problems: list[str] | None = None) -> JsonClient:
    told = problems if problems is not None else []
    return JsonClient("test", lambda: Policy(1000.0, tries, 0.01), {}, 5.0, archive=archive, archive_failed=told.append)


# -- waits -----------------------------------------------------------------------------------------------------------------------
async def test_a_provider_that_asks_for_a_long_peace_gets_it(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = client()
    provider.answer = lambda _: web.Response(status=429, headers={"Retry-After": "600"})
    with pytest.raises(SourceUnavailable, match="HTTP 429 and asks for 600 s of peace"):
        await http.get(provider.url)
    assert len(provider.requests) == 1
    provider.answer = lambda _: web.json_response({"a": 1})
    with pytest.raises(SourceUnavailable, match=r"left alone for (600|599) s more"):
        await http.get(provider.url)
    assert len(provider.requests) == 1
    later = time.monotonic() + 601.0
    monkeypatch.setattr("data_plane.sources.http.time.monotonic", lambda: later)
    assert await http.get(provider.url) == {"a": 1}
    await http.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 90 ", 90.0),
        ("", 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("1.5", 0.0),
        ("Wed, 99 Foo 2024", 0.0),
        ("\u00b2", 0.0),
        ("9" * 400, 86_400.0),
    ],
)
def test_a_wait_is_a_number_of_seconds_or_nothing(text: str, seconds: float) -> None:
    assert _retry_after(text, datetime.now(UTC)) == seconds


def test_a_wait_may_be_a_date() -> None:
    now = datetime(2024, 3, 1, 12, tzinfo=UTC)
    assert _retry_after(format_datetime(now + timedelta(seconds=40), usegmt=True), now) == 40.0
    assert _retry_after(format_datetime(now - timedelta(seconds=40), usegmt=True), now) == 0.0
    assert _retry_after("Fri, 01 Mar 2024 12:00:30", now) == 30.0  # without a zone: GMT


async def test_a_refusal_by_a_page_is_told_in_one_line(provider: Provider) -> None:
    """SEC refuses a client without a name by an HTML page and 403; asking again would not help."""
    http = client()
    provider.answer = lambda _: web.Response(status=403, text="<html>\n<h1>Undeclared\n  Automated Tool</h1>")
    with pytest.raises(SourceRefused, match="HTTP 403: <html> <h1>Undeclared Automated Tool</h1>") as refused:
        await http.get(provider.url)
    assert refused.value.status == 403
    assert len(provider.requests) == 1
    await http.close()


# -- bodies ----------------------------------------------------------------------------------------------------------------------
async def test_a_body_that_unpacks_without_end_is_a_bomb(provider: Provider) -> None:
    http = client()
    bomb = gzip.compress(b" " * 20_000_000, 6)
    assert len(bomb) < 100_000
    provider.answer = lambda _: web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
    with pytest.raises(BodyMalformed, match="unpacks") as malformed:
        await http.get(provider.url)
    assert len(malformed.value.raw) == 4096
    honest = json.dumps({"rows": [{"value": i, "date": "2024-01-02"} for i in range(200_000)]}).encode()
    provider.answer = lambda _: web.Response(body=gzip.compress(honest), headers={"Content-Encoding": "gzip"})
    assert len((await http.get(provider.url))["rows"]) == 200_000
    await http.close()


@pytest.mark.parametrize("cut", [1, 100, 5000])
async def test_a_body_that_ends_too_soon_is_asked_for_again(provider: Provider, cut: int) -> None:
    body = json.dumps({"rows": list(range(2000))}).encode()

    async def torn_twice(request: web.Request) -> web.StreamResponse:
        provider.requests.append(request)
        if len(provider.requests) > 2:
            return web.Response(body=body)
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) - cut])
        assert request.transport is not None
        request.transport.close()
        return response

    provider.respond = torn_twice
    http = client(tries=4)
    assert len((await http.get(provider.url))["rows"]) == 2000
    assert len(provider.requests) == 3
    await http.close()


async def test_a_packed_body_that_ends_too_soon_is_no_document(provider: Provider) -> None:
    http = client()
    packed = gzip.compress(json.dumps({"rows": list(range(20_000))}).encode())
    provider.answer = lambda _: web.Response(body=packed[:-3000], headers={"Content-Encoding": "gzip"})
    with pytest.raises((BodyMalformed, SourceUnavailable)):
        await http.get(provider.url)
    await http.close()


# -- the archive -----------------------------------------------------------------------------------------------------------------
async def test_what_came_is_kept_as_it_came_and_without_the_key(provider: Provider, tmp_path: Path) -> None:
    archive = ResponseArchive(tmp_path, "test")
    http = client(archive)
    provider.answer = lambda _: web.Response(body=b'{"a":\n 1}')
    await http.get(provider.url, {"series": "X", "api_key": "SECRET"})
    await http.close()
    (key,) = archive.requests()
    assert key == f"{provider.url}?series=X"
    stored = archive.latest(key)
    assert stored is not None
    assert archive.body(stored) == b'{"a":\n 1}'
    assert not any(b"SECRET" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    again = ResponseArchive(tmp_path, "test")
    assert again.latest(key) == stored


async def test_a_page_that_shows_the_key_of_its_request_is_not_kept(provider: Provider, tmp_path: Path) -> None:
    archive, told = ResponseArchive(tmp_path, "test"), list[str]()
    http = client(archive, problems=told)
    key = "0123+abcd efgh"
    asked = {"series": "X", "api_key": key}
    plain = '{"you asked for": "?api_key=%s"}'
    pages = [web.Response(body=(plain % shown).encode()) for shown in (key, "0123%2Babcd%20efgh", "0123%2Babcd+efgh")]
    pages.append(web.Response(body=b'{"a": 2}', headers={"ETag": f'"{key}"'}))
    for page in pages:
        provider.answer = lambda _, page=page: page  # type: ignore[misc]
        assert await http.get(provider.url, asked)
    assert archive.requests() == []
    assert len(told) == len(pages)
    assert not any("0123" in line for line in told)
    assert not list(tmp_path.rglob("*.gz"))
    provider.answer = lambda _: web.Response(body=b'{"a": 1}')
    await http.get(provider.url, asked)
    await http.close()
    assert archive.requests() == [f"{provider.url}?series=X"]


async def test_what_cannot_be_parsed_is_kept_too(provider: Provider, tmp_path: Path) -> None:
    """It is what a parser's bug is repaired with."""
    archive = ResponseArchive(tmp_path, "test")
    http = client(archive)
    provider.answer = lambda _: web.Response(body=b"<html>")
    with pytest.raises(BodyMalformed):
        await http.get(provider.url)
    await http.close()
    stored = archive.latest(provider.url)
    assert stored is not None
    assert archive.body(stored) == b"<html>"


async def test_a_document_that_has_not_changed_is_not_sent_again(provider: Provider, tmp_path: Path) -> None:
    def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == '"v1"':
            return web.Response(status=304)
        return web.json_response({"v": 1}, headers={"ETag": '"v1"', "Last-Modified": "Fri, 01 Mar 2024 12:00:00 GMT"})

    provider.answer = answer
    archive = ResponseArchive(tmp_path, "test")
    http = client(archive)
    for _ in range(3):
        assert await http.get(provider.url) == {"v": 1}
    assert [request.headers.get("If-Modified-Since") for request in provider.requests] == [
        None, "Fri, 01 Mar 2024 12:00:00 GMT", "Fri, 01 Mar 2024 12:00:00 GMT",
    ]  # fmt: skip
    # Without its body the document is asked for whole.
    for body in (tmp_path / "test" / "bodies").rglob("*.gz"):
        body.unlink()
    assert await http.get(provider.url) == {"v": 1}
    assert "If-None-Match" not in provider.requests[-1].headers
    await http.close()


async def test_a_damaged_body_is_told_and_sent_again(provider: Provider, tmp_path: Path) -> None:
    provider.answer = lambda request: (
        web.Response(status=304)
        if "If-None-Match" in request.headers
        else web.json_response({"v": list(range(300))}, headers={"ETag": '"1"'})
    )
    problems: list[str] = []
    http = client(ResponseArchive(tmp_path, "test"), problems=problems)
    good = await http.get(provider.url)
    (body,) = (tmp_path / "test" / "bodies").rglob("*.gz")
    whole = body.read_bytes()
    flipped = [whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :] for place in range(12, len(whole), 7)]
    for damage in (b"", whole[:-5], gzip.compress(b'{"v": 2}'), *flipped):
        body.write_bytes(damage)
        problems.clear()
        assert await http.get(provider.url) == good
        assert len(problems) == 1
        assert "cannot be used" in problems[0]
        assert await http.get(provider.url) == good  # mended by what was sent again
        assert len(problems) == 1
    await http.close()


@pytest.mark.parametrize(
    "page", [b"<html>busy</html>", b"[1]", gzip.compress(b'{"a": 1}')[:-9]], ids=["page", "list", "packed"]
)
async def test_what_is_no_document_is_never_taken_for_one_that_has_not_changed(
    provider: Provider, tmp_path: Path, page: bytes
) -> None:
    """One bad answer with validators must not be confirmed for ever."""
    headers = {"ETag": '"bad"', "Last-Modified": "Fri, 01 Mar 2024 12:00:00 GMT"}
    http = client(ResponseArchive(tmp_path, "test"))
    provider.answer = lambda _: web.Response(body=page, headers=headers)
    with pytest.raises(BodyMalformed):
        await http.get(provider.url)
    provider.answer = lambda request: (
        web.Response(status=304)
        if "If-None-Match" in request.headers or "If-Modified-Since" in request.headers
        else web.json_response({"a": 1}, headers={"ETag": '"good"'})
    )
    assert await http.get(provider.url) == {"a": 1}
    await http.close()


async def test_a_provider_that_leads_in_a_circle_is_told(provider: Provider) -> None:
    def again(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"{provider.url}/again")

    http = client()
    provider.answer = again
    with pytest.raises(SourceUnavailable, match="leads in a circle"):
        await http.get(provider.url)
    await http.close()


async def test_not_modified_that_nobody_asked_for_is_a_refusal(provider: Provider, tmp_path: Path) -> None:
    for archive in (None, ResponseArchive(tmp_path, "test")):
        http = client(archive)
        provider.answer = lambda _: web.Response(status=304)
        with pytest.raises(SourceRefused, match="HTTP 304"):
            await http.get(provider.url)
        await http.close()


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd", "deflate"])
async def test_a_coding_that_nobody_asked_for_is_refused(provider: Provider, coding: str) -> None:
    http = client()
    provider.answer = lambda _: web.Response(
        body=gzip.compress(gzip.compress(b"{}")), headers={"Content-Encoding": coding}
    )
    with pytest.raises((BodyMalformed, SourceUnavailable), match=r"packed as|DecodingError"):
        await http.get(provider.url)
    assert provider.requests[0].headers["Accept-Encoding"] == "gzip"
    await http.close()


async def test_a_validator_that_cannot_be_sent_back_is_not_kept(provider: Provider, tmp_path: Path) -> None:
    archive = ResponseArchive(tmp_path, "test")
    http = client(archive)
    provider.answer = lambda _: web.json_response({"a": 1}, headers={"ETag": "caf\u00e9"})
    for _ in range(2):
        assert await http.get(provider.url) == {"a": 1}
    stored = archive.latest(archive.requests()[0])
    assert stored is not None
    assert stored.etag == ""
    await http.close()


def test_a_line_that_a_full_disk_cut_short_costs_only_itself(tmp_path: Path) -> None:
    archive = ResponseArchive(tmp_path, "test")
    archive.store("a", 1, b"{}")
    index = tmp_path / "test" / "index.jsonl"
    with index.open("ab") as file:
        file.write(b'{"key": "b", "at": 2, "sha')
    archive.store("c", 3, b"[]")
    again = ResponseArchive(tmp_path, "test")
    assert again.requests() == ["a", "c"]
    again.store("d", 4, b"[1]")
    assert ResponseArchive(tmp_path, "test").requests() == ["a", "c", "d"]


def test_of_each_request_the_newest_bodies_stay(tmp_path: Path) -> None:
    archive = ResponseArchive(tmp_path, "test")
    archive.store("other", 0, b"0")
    for number in range(30):
        archive.store("a", number, str(number).encode())
    bodies = {gzip.decompress(path.read_bytes()) for path in (tmp_path / "test" / "bodies").rglob("*.gz")}
    assert bodies == {b"0", *(str(number).encode() for number in range(30 - KEPT, 30))}
    again = ResponseArchive(tmp_path, "test")
    stored = again.latest("a")
    assert stored is not None
    assert again.body(stored) == b"29"


async def test_a_disk_that_refuses_is_told_and_the_data_goes_on(provider: Provider, tmp_path: Path) -> None:
    archive = ResponseArchive(tmp_path, "test")
    problems: list[str] = []
    http = client(archive, problems=problems)
    (tmp_path / "test").write_text("in the way", encoding="utf-8")
    provider.answer = lambda _: web.json_response({"v": 1})
    assert await http.get(provider.url) == {"v": 1}
    assert len(problems) == 1
    assert f"the response to {provider.url} could not be kept" in problems[0]
    await http.close()


def test_equal_responses_are_kept_once(tmp_path: Path) -> None:
    archive = ResponseArchive(tmp_path, "test")
    first = archive.store("a", 1, b"{}", etag="x")
    assert archive.store("a", 2, b"{}", etag="x") == first
    archive.store("b", 3, b"{}")
    archive.store("a", 4, b"[]", etag="x")
    archive.store("a", 5, b"{}", etag="x")
    lines = (tmp_path / "test" / "index.jsonl").read_text(encoding="utf-8").splitlines()
    assert [(json.loads(line)["key"], json.loads(line)["at"]) for line in lines] == [
        ("a", 1),
        ("b", 3),
        ("a", 4),
        ("a", 5),
    ]
    assert len(list((tmp_path / "test" / "bodies").rglob("*.gz"))) == 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=40)), max_size=12), st.integers(0, 2000))
@settings(max_examples=25, deadline=None)
def test_whatever_a_crash_cuts_off_the_rest_is_read(
    tmp_path_factory: pytest.TempPathFactory, responses: list[tuple[str, bytes]], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    archive = ResponseArchive(folder, "test")
    for at, (key, body) in enumerate(responses):
        archive.store(key, at, body)
    index = folder / "test" / "index.jsonl"
    content = index.read_bytes() if index.is_file() else b""
    kept = content[: max(len(content) - cut, 0)]
    if content:
        index.write_bytes(kept)
    again = ResponseArchive(folder, "test")
    whole = [
        json.loads(line) for line in kept.split(b"\n") if line.endswith(b"}")
    ]  # the last may lack its end of line alone
    assert {key: again.latest(key).at for key in again.requests()} == {line["key"]: line["at"] for line in whole}  # type: ignore[union-attr]
    again.store("z", 99, b"new")
    third = ResponseArchive(folder, "test")
    stored = third.latest("z")
    assert stored is not None
    assert third.body(stored) == b"new"


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b'{"key": "a"}',
        b'{"key": ["a"], "at": 1, "sha256": "x"}',
        pytest.param(b'{"a":' + b"[" * 100_000 + b"}", id="deep"),
        b"\xff}",
        b'{"key": "a", "at": 1, "sha256": "x", "more": 1}',
    ],
)
def test_an_index_of_another_make_is_refused_in_a_sentence(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "index.jsonl").write_bytes(line + b"\n")
    with pytest.raises(DamagedArchiveError, match=r"line 1, is none of ours .*move the folder away"):
        ResponseArchive(tmp_path, "test")


def test_the_order_of_parameters_and_keys_do_not_make_another_request() -> None:
    assert (
        request_key("u", {"b": "2", "a": "1", "api_key": "x"}) == request_key("u", {"a": "1", "b": "2"}) == "u?a=1&b=2"
    )
    assert request_key("u", {"token": "x"}) == request_key("u", None) == "u"


def test_no_secret_is_in_a_key() -> None:
    for url, parameters in (
        ("https://user:word@host/p?API_KEY=SECRET&a=1", {}),
        ("https://host/p?a=1&access_token=SECRET", {"Api_Key": "SECRET"}),
        ("https://host/p", {"a": "1", "client_secret": "SECRET", "password": "SECRET"}),
    ):
        assert request_key(url, parameters) == "https://host/p?a=1"
