"""A provider that is not asked: its answers are the responses that were kept, newest first (record and replay).

The same parsers read them as read what comes over the network, so that what one of them got wrong is repaired without a download.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from data_plane.sources.archive import DamagedArchiveError, ResponseArchive, Stored, request_key
from data_plane.sources.http import SourceRefused, is_object, json_object

NOT_KEPT = 404


class KeptResponses:
    """Stands in for a JsonClient. What is damaged or missing on disk is told, once, and an older response taken instead.

    The answers of one server are never mixed with another's: a simulated provider must not answer for the real one. Where nothing was kept
    of the server that is asked, one other stands in for it throughout, the one of the newest response to what is asked first.
    """

    def __init__(self, name: str, archive: ResponseArchive, damaged: Callable[[str], None] = lambda why: None) -> None:
        """`damaged` is told in a sentence which body that was asked for cannot be read."""
        self._name = name
        self._archive = archive
        self._damaged = damaged
        self._told: set[str] = set()
        self._servers: dict[str, str] = {}
        """Whose answers are read, by the server that is asked."""
        keys = archive.requests()
        self._there = {_server(key) for key in keys}
        self._keys: dict[str, list[str]] = defaultdict(list)
        for key in keys:
            self._keys[_place(key)].append(key)

    async def close(self) -> None:
        """Nothing is open."""

    async def get(self, url: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The newest JSON object that was kept for a request. Raises SourceRefused or BodyMalformed."""
        return json_object(self._name, url, await self.body(url, params))

    async def body(self, url: str, params: Mapping[str, str] | None = None) -> bytes:
        """The newest body that is a JSON object, else the newest. Raises SourceRefused (404) where nothing was kept."""
        bodies = self._bodies(url, params)
        if not bodies:
            raise SourceRefused(NOT_KEPT, f"{self._name}: no response to {request_key(url, params)} is kept")
        return next((body for body in bodies if is_object(body)), bodies[0])

    async def older(self, url: str, params: Mapping[str, str] | None = None) -> list[bytes]:
        """JSON objects that were kept for a request before the one that `body` gives, newest first."""
        return [body for body in self._bodies(url, params) if is_object(body)][1:]

    def requests(self, url: str) -> list[str]:
        """What was asked of the server of `url`, newest response first."""
        server = self._servers.get(_server(url), _server(url))
        newest = sorted(self._newest(self._archive.requests()), key=lambda stored: stored.at, reverse=True)
        return [stored.key for stored in newest if _server(stored.key) == server]

    def _newest(self, keys: Iterable[str]) -> list[Stored]:
        return [stored for key in keys if (stored := self._archive.latest(key)) is not None]

    def _bodies(self, url: str, params: Mapping[str, str] | None) -> list[bytes]:
        asked = request_key(url, params)
        keys = self._keys.get(_place(asked), [])
        server = self._answering(_server(asked), keys)
        wanted = next((key for key in keys if _server(key) == server), "")
        for sentence in self._archive.lost(wanted):
            self._tell(sentence)
        bodies = []
        for stored in self._archive.kept(wanted):
            try:
                bodies.append(self._archive.body(stored))
            except (OSError, DamagedArchiveError) as error:
                self._tell(str(error))
        return bodies

    def _tell(self, sentence: str) -> None:
        """A document is asked for more than once; of its damage one sentence is enough."""
        if sentence not in self._told:
            self._told.add(sentence)
            self._damaged(sentence)

    def _answering(self, server: str, keys: Iterable[str]) -> str:
        """Whose answers stand for those of a server; `keys` are the requests for the first document asked of it."""
        if server not in self._servers:
            found = [] if server in self._there else self._newest(keys)
            if not found:
                return server
            self._servers[server] = _server(max(found, key=lambda stored: stored.at).key)
        return self._servers[server]


def _server(key: str) -> str:
    parts = urlsplit(key)
    return f"{parts.scheme}://{parts.netloc}"


def _place(key: str) -> str:
    """A request without the server that it went to."""
    parts = urlsplit(key)
    return f"{parts.path}?{parts.query}"
