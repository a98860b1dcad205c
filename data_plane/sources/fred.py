"""FRED and ALFRED: observations of macro series with the dates from which each value was known (vintages).

Source: https://fred.stlouisfed.org/docs/api/fred/series_observations.html
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from data_plane.observations import Malformed, Vintage
from data_plane.point_in_time import release_available
from data_plane.sources.base import Context, SourceSpec, Stage
from data_plane.sources.http import BodyMalformed, JsonClient, Policy, SourceRefused, SourceUnavailable
from triplane.domain.timestamps import from_datetime, to_datetime
from triplane.runtime.settings import Settings

NAME = "fred"
TOPIC = "data.macro"

# Units as FRED names them, for series that the macro gate compares; the observations endpoint does not tell them.
UNITS = dict.fromkeys(
    ("DTB3", "DTB4WK", "DTB6", "DTB1YR", "DFF", "FEDFUNDS", "SOFR", "TB3MS", "DGS1MO", "DGS3MO", "DGS6MO", "DGS1"),
    "Percent",
)
UNITS |= dict.fromkeys(("DGS2", "DGS5", "DGS7", "DGS10", "DGS20", "DGS30"), "Percent")

FIRST_REALTIME = "1776-07-04"
LAST_REALTIME = "9999-12-31"
PAGE = 100_000
MARGIN_DAYS = 400


def parse_value(text: object) -> float:
    """A value as FRED prints it: a number, or a dot for one that does not exist. Raises ValueError otherwise."""
    if text == ".":
        return math.nan
    value = float(str(text))
    if not math.isfinite(value):
        raise ValueError(f"value {text!r} is no number")
    return value


def parse_observations(series: str, rows: list[Any], now: int, unit: str = "") -> list[Vintage | Malformed]:
    """Vintages of a series in order of release. `rows` are the observations of all pages; `now` (ns UTC) stamps what is unreadable.

    A first vintage of more than one value is history that was loaded when the series was first kept: pseudo point in time.
    """
    values: dict[str, list[tuple[int, float]]] = defaultdict(list)
    found: list[Vintage | Malformed] = []

    def malformed(row: object, error: Exception) -> None:
        raw = json.dumps(row, default=repr).encode()
        found.append(
            Malformed(NAME, TOPIC, series, "VALUE_UNREADABLE", f"{series}: {type(error).__name__} {error}", raw, now)
        )

    available: dict[str, int] = {}
    for row in rows:
        try:
            start = str(row["realtime_start"])
            if start not in available:
                available[start] = release_available(date.fromisoformat(start))
            day = date.fromisoformat(row["date"])
            values[start].append(
                (from_datetime(datetime(day.year, day.month, day.day, tzinfo=UTC)), parse_value(row["value"]))
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            malformed(row, error)
    first = min(values, default="")
    for start in sorted(values):
        pseudo = start == first and len(values[start]) > 1
        found.append(
            Vintage(
                NAME,
                series,
                UNITS.get(series, ""),
                start,
                available[start],
                pseudo,
                tuple(sorted(values[start], key=lambda v: v[0])),
            )
        )
    return found


class FredSource:
    """Downloads and hands in the series of FRED_SERIES."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._base = context.settings.fred_url.rstrip("/")
        self._http = JsonClient(NAME, self._policy, {"Accept": "application/json"})

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
        context = self._context
        for series in context.targets.FRED_SERIES.split(","):
            try:
                rows = await self._rows(series)
                for observation in parse_observations(series, rows, context.clock.now()):
                    context.take(observation)
            except (SourceUnavailable, SourceRefused) as error:
                context.source_state(NAME, False, str(error))
                return
            except BodyMalformed as error:
                context.malformed(NAME, TOPIC, series, "BODY_MALFORMED", str(error), error.raw)
                return
            except (KeyError, TypeError, ValueError) as error:
                context.malformed(NAME, TOPIC, series, "BODY_SHAPE", f"{series}: {type(error).__name__} {error}", b"")
                return
        context.source_state(NAME, True, "")

    async def _rows(self, series: str) -> list[Mapping[str, Any]]:
        context = self._context
        days = round(365.25 * context.targets.BACKFILL_YEARS) + MARGIN_DAYS
        since = to_datetime(context.clock.now()).date() - timedelta(days=days)
        rows: list[Mapping[str, Any]] = []
        while True:
            page = await self._http.get(
                f"{self._base}/fred/series/observations",
                {
                    "series_id": series,
                    "api_key": context.settings.fred_api_key.get_secret_value(),
                    "file_type": "json",
                    "realtime_start": FIRST_REALTIME,
                    "realtime_end": LAST_REALTIME,
                    "observation_start": since.isoformat(),
                    "limit": str(PAGE),
                    "offset": str(len(rows)),
                },
            )
            received = page["observations"]
            if not isinstance(received, list):
                raise TypeError("observations is no list")
            rows += received
            if not received or len(rows) >= int(page["count"]):
                return rows


def _missing(settings: Settings) -> str:
    if settings.fred_api_key.get_secret_value():
        return ""
    return "FRED wants an API key (free at fred.stlouisfed.org); set TRIPLANE_FRED_API_KEY"


SOURCE = SourceSpec(NAME, Stage.REFERENCE, FredSource, _missing)
