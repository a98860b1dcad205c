"""What FRED and ALFRED answer, read: a series' description, its rows over several requests, and the vintages in them.

Sources: https://fred.stlouisfed.org/docs/api/fred/series.html, series_vintagedates.html and series_observations.html beside it.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from data_plane.macro.frequency import Frequency, from_fred
from data_plane.observations import Malformed, Vintage
from data_plane.point_in_time import release_available
from triplane.domain.timestamps import midnight

NAME = "fred"
TOPIC = "data.macro"

FIRST_REALTIME = "1776-07-04"
LAST_REALTIME = "9999-12-31"


@dataclass(frozen=True, slots=True)
class Description:
    """What FRED says of a series. `newest` is the date of its last observation, `frequency` None where it has none of the usual."""

    title: str
    unit: str
    frequency: Frequency | None
    newest: date


def parse_description(body: Mapping[str, Any]) -> Description:
    """The one series of a /fred/series body. Raises KeyError, TypeError, IndexError or ValueError when it has another shape."""
    entry = body["seriess"][0]
    return Description(
        str(entry["title"]),
        str(entry["units"]),
        from_fred(str(entry["frequency"])),
        date.fromisoformat(entry["observation_end"]),
    )


def parse_value(text: object) -> float:
    """A value as FRED prints it: a number, or a dot for one that does not exist. Raises ValueError otherwise."""
    if text == ".":
        return math.nan
    value = float(str(text))
    if not math.isfinite(value):
        raise ValueError(f"value {text!r} is no number")
    return value


def windows(vintage_dates: Sequence[str], most: int) -> list[tuple[str, str]]:
    """Real-time periods (both ends inclusive) that hold all time and at most `most` vintage dates each, in order.

    FRED refuses a period with more than 2,000, which every daily series of eight years has.
    """
    dates = sorted(vintage_dates)
    starts = [FIRST_REALTIME, *dates[most::most]]
    ends = [day_before(start) for start in starts[1:]]
    return list(zip(starts, [*ends, LAST_REALTIME], strict=True))


def clipped(periods: Sequence[tuple[str, str]], first: str, last: str) -> list[tuple[str, str]]:
    """What real-time periods have between two days, both included."""
    cut = [(max(start, first), min(end, last)) for start, end in periods]
    return [(start, end) for start, end in cut if start <= end]


def joined(parts: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
    """Rows of consecutive real-time periods, each given as (its start, its rows), as one request for all of them would give them.

    FRED cuts the rows to the period that was asked for: what was known before it seems to begin with it. Such a row continues the one
    of the period before with the same value, and is no vintage of its own. Rows that cannot be read are passed on as they are.
    """
    found: list[Any] = []
    newest: dict[object, dict[str, Any]] = {}
    for start, rows in parts:
        for row in rows:
            if not isinstance(row, Mapping) or not isinstance(row.get("date"), str):
                found.append(row)
                continue
            before = newest.get(row["date"])
            if (
                before is not None
                and row.get("realtime_start") == start
                and before.get("value") == row.get("value")
                and before.get("realtime_end") == day_before(start)
            ):
                before["realtime_end"] = row.get("realtime_end")
                continue
            newest[row["date"]] = dict(row)
            found.append(newest[row["date"]])
    return found


def parse_observations(series: str, rows: Sequence[Any], now: int, unit: str = "") -> list[Vintage | Malformed]:
    """Vintages of a series in order of release. `rows` are the observations of all pages; `now` (ns UTC) stamps what is unreadable.

    A first vintage of more than one value is history that was loaded when the series was first kept: pseudo point in time. An
    observation whose real-time period ends while the series has later vintages, without another value the day after, was taken away:
    it becomes a value NaN of that day.
    """
    values: dict[str, dict[int, float]] = defaultdict(dict)
    ended: list[tuple[int, str]] = []
    found: list[Vintage | Malformed] = []

    available: dict[str, int] = {}
    for row in rows:
        try:
            start = str(row["realtime_start"])
            if start not in available:
                available[start] = release_available(date.fromisoformat(start))
            day, value = midnight(date.fromisoformat(row["date"])), parse_value(row["value"])
            end = row.get("realtime_end", LAST_REALTIME)
            if end != LAST_REALTIME:
                ended.append((day, (date.fromisoformat(end) + timedelta(days=1)).isoformat()))
            values[start][day] = value
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raw = json.dumps(row, default=repr).encode()
            found.append(
                Malformed(
                    NAME, TOPIC, series, "VALUE_UNREADABLE", f"{series}: {type(error).__name__} {error}", raw, now
                )
            )
    first, last = min(values, default=""), max(values, default="")
    bulk = len(values[first]) > 1 if first else False
    for day, start in ended:
        if start <= last and day not in values.get(start, {}):
            values[start][day] = math.nan
            available.setdefault(start, release_available(date.fromisoformat(start)))
    for start in sorted(values):
        pairs = tuple(sorted(values[start].items()))
        found.append(Vintage(NAME, series, unit, start, available[start], bulk and start == first, pairs))
    return found


def day_before(text: str) -> str:
    return (date.fromisoformat(text) - timedelta(days=1)).isoformat()
