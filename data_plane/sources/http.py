"""JSON over HTTP from public providers: their rate limits kept, failures retried with growing waits, bodies bounded.

429 and 5xx, broken connections and timeouts are retried, after Retry-After where it is given; other refusals are not: asking again
would not help and might get the address blocked.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from triplane.runtime import loopback

# It tells the address of each request at INFO, and FRED's has the key in it.
logging.getLogger("httpx").setLevel(logging.WARNING)

MAX_BODY_BYTES = 256 * 1024 * 1024
MAX_WAIT_S = 60.0
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


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
        self, name: str, policy: Callable[[], Policy], headers: Mapping[str, str], timeout_s: float = 30.0
    ) -> None:
        self._name = name
        self._policy = policy
        self._client = httpx.AsyncClient(
            headers=dict(headers), timeout=timeout_s, follow_redirects=True, mounts=loopback.async_mounts()
        )
        self._limiter = AsyncLimiter(1, 1.0)
        self._rate = 1.0

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
        policy = self._policy()

        def wait(state: RetryCallState) -> float:
            grown = wait_exponential_jitter(multiplier=policy.backoff_s, max=MAX_WAIT_S, jitter=policy.backoff_s)(state)
            error = state.outcome.exception() if state.outcome else None
            return max(grown, min(error.after_s, MAX_WAIT_S)) if isinstance(error, _Retry) else grown

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

    async def _once(self, url: str, params: Mapping[str, str] | None) -> dict[str, Any]:
        body = bytearray()
        try:
            async with self._client.stream("GET", url, params=dict(params or {})) as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise BodyMalformed(
                            f"{self._name}: {url} sends more than {MAX_BODY_BYTES} bytes", bytes(body[:4096])
                        )
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _Retry(f"{type(error).__name__} {error}".strip()) from None
        status = response.status_code
        if status in RETRIED_STATUS:
            raise _Retry(f"HTTP {status}", _retry_after(response.headers.get("Retry-After", "")))
        if status != 200:
            raise SourceRefused(status, f"{self._name}: {url} answers HTTP {status}: {_reason(bytes(body))}")
        return _object(self._name, url, bytes(body))


def _retry_after(text: str) -> float:
    """Seconds; 0 for nothing or for an HTTP date, which providers here do not send."""
    return float(text) if text.isdigit() else 0.0


def _reason(body: bytes) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        return body[:200].decode("utf-8", "replace")
    return str(document.get("error_message", document))[:200] if isinstance(document, dict) else str(document)[:200]


def _object(name: str, url: str, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BodyMalformed(f"{name}: {url} is not JSON: {error}", body[:65536]) from None
    if not isinstance(document, dict):
        raise BodyMalformed(f"{name}: {url} is no JSON object", body[:65536])
    return document
