"""JSON over HTTP from public providers: their rate limits kept, failures retried with growing waits, bodies bounded.

429 and 5xx, broken connections and timeouts are retried, after Retry-After where it is given; a provider that asks for a longer wait than
is worth staying for is left alone until then. Other refusals are not retried: asking again would not help and might get the address blocked.

With an archive each body is kept as it came, and a document that has not changed since (ETag, Last-Modified) is not sent again. What is no
document is kept too, but never taken for the document that has not changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from data_plane.sources.archive import DamagedArchiveError, ResponseArchive, Stored, request_key, secrets
from triplane.runtime import loopback

# It tells the address of each request at INFO, and FRED's has the key in it.
logging.getLogger("httpx").setLevel(logging.WARNING)

MAX_BODY_BYTES = 256 * 1024 * 1024
# JSON shrinks to a tenth, at most to a thirtieth; a body that grows by more than this while it is unpacked is a bomb.
MAX_EXPANSION, EXPANSION_FREE_BYTES = 100, 4 * 1024 * 1024
MAX_WAIT_S = 60.0
MAX_PEACE_S = 86_400.0
"""A provider that asks for longer is asked again the next day."""
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
AWAY_AFTER = 3
"""Companies or series in a row that a provider does not give, each after all tries, before it is taken to be away and left alone."""


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class SourceUnavailable(RuntimeError):
    """The provider does not answer, or not usefully, after all tries."""


class SourceRefused(RuntimeError):
    """The provider refuses the request itself; `status` is the HTTP status."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class BodyMalformed(ValueError):
    """A body that is not the JSON object it should be; `raw` is its beginning."""

    def __init__(self, sentence: str, raw: bytes) -> None:
        super().__init__(sentence)
        self.raw = raw


class _Retry(Exception):
    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Policy:
    """Requests a second, tries, and the first wait between them in wall seconds."""

    rate: float
    tries: int
    backoff_s: float


class JsonClient:
    """GETs of one provider. `policy` is asked before each request, so that edits of the configuration count at once."""

    def __init__(
        self,
        name: str,
        policy: Callable[[], Policy],
        headers: Mapping[str, str],
        timeout_s: float = 30.0,
        archive: ResponseArchive | None = None,
        archive_failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`archive_failed` is told in a sentence when a response could not be kept; the response is used all the same."""
        self._name = name
        self._policy = policy
        self._client = httpx.AsyncClient(
            # One coding that is unpacked piece by piece: several of them would be unpacked whole before their size is known.
            headers={**headers, "Accept-Encoding": "gzip"},
            timeout=timeout_s,
            follow_redirects=True,
            mounts=loopback.async_mounts(),
        )
        self._limiter = AsyncLimiter(1, 1.0)
        self._rate = 1.0
        self._archive = archive
        self._archive_failed = archive_failed
        self._not_before = 0.0

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    def _limit(self, rate: float) -> AsyncLimiter:
        if rate != self._rate:
            # One request per 1/rate seconds: a bucket of several would let twice the rate through in its first second.
            self._limiter, self._rate = AsyncLimiter(1, 1.0 / rate), rate
        return self._limiter

    async def get(self, url: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object at `url`. Raises SourceUnavailable, SourceRefused or BodyMalformed."""
        return json_object(self._name, url, await self.body(url, params))

    async def body(self, url: str, params: Mapping[str, str] | None = None) -> bytes:
        """What stands at `url`, as it came. Raises SourceUnavailable, SourceRefused, or BodyMalformed for one that is too large."""
        policy = self._policy()
        left = self._not_before - time.monotonic()
        if left > 0.0:
            raise SourceUnavailable(f"{self._name}: asked to be left alone for {left:.0f} s more")

        def wait(state: RetryCallState) -> float:
            grown = wait_exponential_jitter(multiplier=policy.backoff_s, max=MAX_WAIT_S, jitter=policy.backoff_s)(state)
            error = state.outcome.exception() if state.outcome else None
            return max(grown, error.after_s) if isinstance(error, _Retry) else grown

        retrying = AsyncRetrying(
            stop=stop_after_attempt(policy.tries), wait=wait, retry=retry_if_exception_type(_Retry), reraise=True
        )
        try:
            async for attempt in retrying:
                with attempt:
                    async with self._limit(policy.rate):
                        return await self._once(url, params)
        except _Retry as error:
            raise SourceUnavailable(f"{self._name}: {url} failed {policy.tries} times, last: {error}") from None
        raise AssertionError("unreachable: the loop returns or raises")

    async def _once(self, url: str, params: Mapping[str, str] | None) -> bytes:
        key = request_key(url, params)
        known = self._known(key)
        response, body = await self._answer(url, params, _validators(known))
        if response.status_code == 304 and known is not None and self._archive is not None:
            try:
                return await asyncio.to_thread(self._archive.body, known)
            except (OSError, DamagedArchiveError) as error:  # then it is sent once more
                self._archive_failed(f"a kept response to {key} cannot be used: {error}")
                response, body = await self._answer(url, params, {})
        status = response.status_code
        if status in RETRIED_STATUS:
            after = _retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
            if after > MAX_WAIT_S:
                self._not_before = time.monotonic() + after
                raise SourceUnavailable(
                    f"{self._name}: {url} answers HTTP {status} and asks for {after:.0f} s of peace"
                )
            raise _Retry(f"HTTP {status}", after)
        if status != 200:
            raise SourceRefused(status, f"{self._name}: {url} answers HTTP {status}: {_reason(body)}")
        if not await self._repeats_secret(key, url, params, response.headers, body):
            await self._keep(key, body, response.headers)
        return body

    async def _answer(
        self, url: str, params: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> tuple[httpx.Response, bytes]:
        try:
            async with self._client.stream("GET", url, params=dict(params or {}), headers=dict(headers)) as response:
                return response, await self._received(url, response)
        except httpx.TooManyRedirects as error:
            raise SourceUnavailable(f"{self._name}: {url} leads in a circle ({error})") from None
        except httpx.RequestError as error:
            raise _Retry(f"{type(error).__name__} {error}".strip()) from None

    async def _received(self, url: str, response: httpx.Response) -> bytes:
        coding = response.headers.get("Content-Encoding", "").strip().lower()
        if coding not in ("", "identity", "gzip", "x-gzip"):
            raise BodyMalformed(f"{self._name}: {url} is packed as {coding!r}, which nobody asked for", b"")
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise BodyMalformed(f"{self._name}: {url} sends more than {MAX_BODY_BYTES} bytes", bytes(body[:4096]))
            if len(body) > max(EXPANSION_FREE_BYTES, MAX_EXPANSION * response.num_bytes_downloaded):
                raise BodyMalformed(
                    f"{self._name}: {url} unpacks {response.num_bytes_downloaded} bytes to more than {len(body)}",
                    bytes(body[:4096]),
                )
        return bytes(body)

    async def older(self, url: str, params: Mapping[str, str] | None = None) -> list[bytes]:
        """Nothing: what stands at `url` now is what counts. Of kept responses (kept.py) there are older ones."""
        return []

    # -- the archive -----------------------------------------------------------------------------------------------------------
    def _known(self, key: str) -> Stored | None:
        """The response that need not be sent again, if its body is there."""
        known = self._archive.latest(key) if self._archive is not None else None
        return known if known is not None and self._archive is not None and self._archive.has_body(known) else None

    async def _repeats_secret(
        self, key: str, url: str, params: Mapping[str, str] | None, headers: httpx.Headers, body: bytes
    ) -> bool:
        """Whether a response has a key of its request in it, as a page has that shows the address it was asked by; said."""
        hidden = secrets(url, params) if self._archive is not None else []
        told = b"\n".join(name + value for name, value in headers.raw)

        def found() -> bool:
            return any(secret in body or secret in told for secret in hidden)

        if not hidden or not await asyncio.to_thread(found):
            return False
        self._archive_failed(f"the response to {key} repeats the key that it was asked with")
        return True

    async def _keep(self, key: str, body: bytes, headers: httpx.Headers) -> None:
        if self._archive is None:
            return
        # What is no document must not be confirmed by a later "not modified".
        whole = await asyncio.to_thread(is_object, body)
        etag, modified = (_plain(headers.get(name, "")) if whole else "" for name in ("ETag", "Last-Modified"))
        try:
            await asyncio.to_thread(self._archive.store, key, time.time_ns(), body, etag=etag, last_modified=modified)
        except OSError as error:
            self._archive_failed(f"the response to {key} could not be kept: {error}")


def _plain(value: str) -> str:
    """A header's value as it can be sent back; empty for one that cannot."""
    return value if value.isascii() and value.isprintable() else ""


def is_object(body: bytes) -> bool:
    """Whether a body is a whole JSON object; what is in it is passed over and not built."""
    try:
        _OBJECT.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True


def _validators(known: Stored | None) -> dict[str, str]:
    """Headers that ask for a document only if it has changed (RFC 9110, section 13.1)."""
    if known is None:
        return {}
    named = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return {name: value for name, value in named.items() if value}


def _retry_after(text: str, now: datetime) -> float:
    """Seconds of a Retry-After header, which holds a number or a date (RFC 9110, section 10.2.3), a day at most; 0 for anything else."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_PEACE_S)
    try:
        until = parsedate_to_datetime(text)
        seconds = (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_PEACE_S)


def _reason(body: bytes) -> str:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return " ".join(body[:200].decode("utf-8", "replace").split())
    return str(document.get("error_message", document))[:200] if isinstance(document, dict) else str(document)[:200]


def json_object(name: str, url: str, body: bytes) -> dict[str, Any]:
    """The JSON object in a body; `name` and `url` are for the sentence. Raises BodyMalformed."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BodyMalformed(f"{name}: {url} is not JSON: {error}", body[:65536]) from None
    if not isinstance(document, dict):
        raise BodyMalformed(f"{name}: {url} is no JSON object", body[:65536])
    return document
