"""FRED and ALFRED: observations of macro series with the dates from which each value was known (vintages).

For each series three things are asked, in this order: its description (unit, title, frequency), its vintage dates, and its
observations over as many real-time periods as the vintage dates need, each in pages. FRED allows 120 requests a minute: they are
sent evenly, FRED_REQUESTS_PER_MIN of them.

FRED takes its key in the address of a request. So addresses are never told, and what comes back is searched for the key before it is.
Source: https://fred.stlouisfed.org/docs/api/fred/; the limit on vintage dates is told by its refusals alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from data_plane.macro.frequency import discontinued
from data_plane.observations import Malformed, Vintage
from data_plane.sources.base import Context, SourceSpec, Stage
from data_plane.sources.fred.answers import (
    FIRST_REALTIME,
    NAME,
    TOPIC,
    Description,
    clipped,
    joined,
    parse_description,
    parse_observations,
    windows,
)
from data_plane.sources.fred.kept import kept_chains
from data_plane.sources.http import AWAY_AFTER, BodyMalformed, Policy, SourceRefused, SourceUnavailable
from data_plane.sources.kept import KeptResponses
from triplane.domain.timestamps import to_datetime
from triplane.runtime.key_file import KeyMissing, fred_key
from triplane.runtime.settings import Settings

PAGE = 100_000
DATES_PAGE = 10_000
VINTAGES = 1_900
"""Vintage dates a request; FRED refuses more than 2,000, and new ones may come between the requests."""
MARGIN_DAYS = 400
FIRST_OBSERVATION = FIRST_REALTIME
"""Where FRED's observations begin, as its releases do."""
_SHAPE = (IndexError, KeyError, TypeError, ValueError, OverflowError)
"""What a body of another shape raises."""
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of consecutive real-time periods. Of those that begin with the first period it is not known since when they held, unless
    it begins with all time."""

    begin: str
    rows: list[Any]

    def tells(self, vintage: Vintage) -> bool:
        """Whether the vintage began where its rows seem to begin."""
        return self.begin == FIRST_REALTIME or vintage.realtime_start > self.begin


class FredSource:
    """Downloads and hands in the series of FRED_SERIES."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._base = context.settings.fred_url.rstrip("/")
        self._http = context.client(NAME, self._policy, {"Accept": "application/json"})
        self._ended: dict[str, str] = {}
        """Why a series is taken to have ended, by series; told once."""

    def _policy(self) -> Policy:
        targets = self._context.targets
        return Policy(targets.FRED_REQUESTS_PER_MIN / 60.0, targets.SOURCE_RETRIES, targets.SOURCE_BACKOFF_S)

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    async def backfill(self) -> None:
        """Hand in every vintage of the history's span that the topic lacks."""
        await self._context.time_known.wait()
        await self._round()

    async def follow(self) -> None:
        """Look for new vintages every FRED_POLL_S wall seconds, and at once when FRED_SERIES changes."""
        while not await self._context.until_due(lambda targets: targets.FRED_POLL_S):
            self._context.more_wanted.clear()
            await self._round()

    async def _round(self) -> None:
        """One look at all series. One that FRED refuses, garbles or has not leaves the others alone; where it is away, the rest waits."""
        context = self._context
        try:
            # Read anew, so that a key that was changed in its file counts. What was kept has none in it.
            key = HIDDEN if context.reread else fred_key(context.settings).get_secret_value()
        except KeyMissing as error:
            context.source_state(NAME, False, str(error))
            return
        refused: list[str] = []
        away = 0
        wanted = context.targets.FRED_SERIES.split(",")
        for count, series in enumerate(wanted, 1):
            await context.room()
            try:
                await self._series(series, key)
                away = 0
            except SourceUnavailable as error:
                refused.append(f"{series}: {_hidden(str(error), key)}")
                away += 1
                if away == AWAY_AFTER:
                    break
            except SourceRefused as error:
                refused.append(f"{series}: {_hidden(str(error), key)}")
            except BodyMalformed as error:
                raw = error.raw.replace(key.encode(), HIDDEN.encode())
                context.malformed(NAME, TOPIC, series, "BODY_MALFORMED", _hidden(str(error), key), raw)
            except _SHAPE as error:
                detail = _hidden(f"{series}: {type(error).__name__} {error}", key)
                context.malformed(NAME, TOPIC, series, "BODY_SHAPE", detail, b"")
            context.progress(count, len(wanted), series)
        if refused:
            context.source_state(NAME, False, "; ".join(refused))
        else:
            ended = "; ".join(f"{series} has ended: {why}" for series, why in sorted(self._ended.items()))
            context.source_state(NAME, True, ended)

    async def _series(self, series: str, key: str) -> None:
        context = self._context
        described = parse_description(await self._get("series", key, {"series_id": series}))
        self._look_for_the_end(series, described)
        vintages: dict[str, Vintage] = {}
        problem: Exception | None = None
        for found in await self._kept(series, key) if context.reread else [await self._rows(series, key)]:
            try:
                parsed = parse_observations(series, found.rows, context.clock.now(), described.unit)
            except _SHAPE as error:  # one look that cannot be read leaves the others alone
                problem = problem or error
                continue
            for observation in parsed:
                if isinstance(observation, Malformed):
                    detail, raw = _hidden(observation.detail, key), observation.raw
                    raw = raw.replace(key.encode(), HIDDEN.encode())
                    context.take(replace(observation, detail=detail, raw=raw))
                elif found.tells(observation) and self._in_span(observation):
                    vintages.setdefault(observation.realtime_start, observation)
        # In the order of release, whichever look brought them: each is judged by those before it. Market data must not wait for all.
        for _, vintage in sorted(vintages.items()):
            context.take(vintage)
            await asyncio.sleep(0)
        if problem is not None:
            raise problem

    def _in_span(self, vintage: Vintage) -> bool:
        span = self._context.span
        return span is None or span.holds(date.fromisoformat(vintage.realtime_start))

    def _look_for_the_end(self, series: str, described: Description) -> None:
        """Tell once of a series that has ended. It is no fault: what is known of it stays, and grows stale."""
        today = to_datetime(self._context.clock.now()).date()
        why = discontinued(described.title, described.frequency, described.newest, today)
        if not why:
            self._ended.pop(series, None)
        elif series not in self._ended:
            self._ended[series] = why
            self._context.log.warning("series has ended", source=NAME, series=series, reason=why)

    async def _rows(self, series: str, key: str) -> _Rows:
        """The rows of a series as known at all times, for observations of the history's span; or as known in a span and on the day before
        it, for all observations: what a release revised, however long ago it was, is published with it or never."""
        span = self._context.span
        asked = {"series_id": series}
        dates = await self._pages("series/vintagedates", key, asked, "vintage_dates", DATES_PAGE)
        asked["observation_start"] = FIRST_OBSERVATION if span is not None else self._first_observation()
        periods = windows([str(day) for day in dates], VINTAGES)
        if span is not None:
            # What begins on the day before the span was known before it.
            periods = clipped(periods, (span.start - timedelta(days=1)).isoformat(), span.end.isoformat())
        parts = []
        for start, end in periods:
            period = {**asked, "realtime_start": start, "realtime_end": end}
            parts.append((start, await self._pages("series/observations", key, period, "observations", PAGE)))
        return _Rows(periods[0][0] if periods else FIRST_REALTIME, joined(parts))

    def _first_observation(self) -> str:
        """From the beginning of a year: the same request on the next day, so that what has not changed is not sent again."""
        days = MARGIN_DAYS + round(365.25 * self._context.targets.BACKFILL_YEARS)
        today = to_datetime(self._context.clock.now()).date()
        return (today - timedelta(days=days)).replace(month=1, day=1).isoformat()

    async def _kept(self, series: str, key: str) -> list[_Rows]:
        """The rows of a series in the kept responses: consecutive periods that were asked for alike, those that came last first."""
        assert isinstance(self._http, KeptResponses)
        found = []
        for chain in kept_chains(self._http.requests(self._base), series):
            parts = []
            for period in chain:
                asked = {
                    "series_id": series,
                    "observation_start": period.observation_start,
                    "realtime_start": period.start,
                    "realtime_end": period.end,
                }
                pages = await self._pages("series/observations", key, asked, "observations", period.limit)
                parts.append((period.start, pages))
            found.append(_Rows(chain[0].start, joined(parts)))
        return found

    async def _pages(self, path: str, key: str, asked: Mapping[str, str], name: str, limit: int) -> list[Any]:
        """All entries of a list that comes in pages. Raises KeyError or TypeError for a body of another shape."""
        found: list[Any] = []
        while True:
            page = await self._get(path, key, {**asked, "limit": str(limit), "offset": str(len(found))})
            received = page[name]
            if not isinstance(received, list):
                raise TypeError(f"{name} is no list")
            found += received
            if not received or len(found) >= int(page["count"]):
                return found

    async def _get(self, path: str, key: str, asked: Mapping[str, str]) -> dict[str, Any]:
        return await self._http.get(f"{self._base}/fred/{path}", {**asked, "api_key": key, "file_type": "json"})


def _hidden(text: str, key: str) -> str:
    return text.replace(key, HIDDEN)


def _missing(settings: Settings) -> str:
    try:
        fred_key(settings)
    except KeyMissing as error:
        return str(error)
    return ""


SOURCE = SourceSpec(NAME, Stage.REFERENCE, FredSource, _missing)
