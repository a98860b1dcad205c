"""Which kept responses of FRED belong together: periods of one series that follow each other, as one look asked for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from data_plane.sources.fred.answers import day_before

PATH = "/fred/series/observations"


@dataclass(frozen=True, slots=True)
class Period:
    """A request for the observations from `observation_start` on, as known from `start` to `end` (both ends inclusive), in pages of `limit`."""

    observation_start: str
    start: str
    end: str
    limit: int


def kept_chains(requests: Iterable[str], series: str) -> list[list[Period]]:
    """Consecutive periods of a series, oldest period first; the chain with the newest response comes first.

    `requests` are keys of the archive, newest response first. A look in which one of them failed gives shorter chains.
    """
    periods = list(dict.fromkeys(period for key in requests if (period := _period(key, series)) is not None))
    following: dict[tuple[str, int, str], list[Period]] = defaultdict(list)
    for period in periods:
        following[period.observation_start, period.limit, day_before(period.start)].append(period)
    ended = {(each.observation_start, each.limit, each.end) for each in periods}
    chains = []
    for period in periods:
        if (period.observation_start, period.limit, day_before(period.start)) in ended:
            continue
        chain = [period]
        while after := following.get((period.observation_start, period.limit, chain[-1].end)):
            chain.append(after[0])
        chains.append(chain)
    newest = {period: number for number, period in enumerate(periods)}
    return sorted(chains, key=lambda chain: min(newest[each] for each in chain))


def _period(key: str, series: str) -> Period | None:
    """The request for observations of the series that a key tells of; None for any other."""
    parts = urlsplit(key)
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not parts.path.endswith(PATH) or asked.get("series_id") != series:
        return None
    try:
        return Period(asked["observation_start"], asked["realtime_start"], asked["realtime_end"], int(asked["limit"]))
    except (KeyError, ValueError):
        return None
