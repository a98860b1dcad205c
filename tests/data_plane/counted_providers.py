"""The paper providers' content, served in the test's own loop: counted, and with an answer or a fault of the test's own where it wants."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from tests.data_plane.http_server import serving
from triplane.paper.providers import Providers

Intervention = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class CountedProviders:
    """`intervene` sees each request first; what it answers is sent instead."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.url = ""
        self.intervene: Intervention | None = None
        self.content = Providers()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        if self.intervene is not None and (answer := await self.intervene(request)) is not None:
            return answer
        query, cik = dict(request.query), int((re.findall(r"CIK(\d{10})", request.path) or ["0"])[0])
        status = 200
        document: object
        match request.path.split("/")[1:]:
            case ["files", _]:
                document = self.content.tickers()
            case ["submissions", _]:
                document = self.content.submissions(cik)
            case ["api", "xbrl", "frames", taxonomy, tag, unit, period]:
                document = self.content.frame(taxonomy, tag, unit, period.removesuffix(".json"))
                status = 200 if document is not None else 404
            case ["api", *_]:
                document = self.content.company_facts(cik)
            case ["fred", "series"]:
                status, document = self.content.series(query)
            case ["fred", "series", "vintagedates"]:
                status, document = self.content.vintage_dates(query)
            case _:
                status, document = self.content.observations(query)
        return web.json_response(document, status=status)


@asynccontextmanager
async def counted_providers() -> AsyncIterator[CountedProviders]:
    """Serve them on a free port."""
    state = CountedProviders()
    async with serving(state.handle) as state.url:
        yield state
