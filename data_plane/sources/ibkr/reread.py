"""Interactive Brokers' kept answers read again (`triplane data reparse --source ibkr`): no gateway is asked.

Of each name and moment the newest answer counts, of contracts that the name's row still says. What had not ended when it was asked for is
left out, as it was then. As with a span, sessions are handed in that have no daily slice, and minutes that have none: a slice is
published once, and one that lacks a name is not completed. So a daily one is made where the answers together tell of every name alone: of
a name that joined, more was asked for than of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta

import numpy as np

from data_plane.observations import INTERVAL_NS
from data_plane.sources.base import Context, Stage
from data_plane.sources.ibkr.kept import Answer, Batch
from data_plane.sources.ibkr.kept_rows import KeptRows, plain_terms
from data_plane.sources.ibkr.reach import Reach
from data_plane.sources.ibkr.requests import Requests, pivot
from data_plane.sources.ibkr.span import CALENDAR, SpanHistory, some
from triplane.broker.historical_bars import HistoricalBars
from triplane.domain import calendars
from triplane.domain.timestamps import NEW_YORK, midnight, to_datetime


class KeptHistory:
    """Hands in what the kept answers have and the topic lacks."""

    def __init__(self, context: Context, source: str, requests: Requests) -> None:
        self._context = context
        self._source = source
        self._kept = requests.kept
        self._rows = KeptRows(context, source, requests.kept)
        self._span = SpanHistory(context, source, requests)
        self._terms = {asset.symbol: plain_terms(asset) for asset in context.assets()}

    async def load(self) -> None:
        """Daily bars of all answers together, or one-minute bars by the day of their request; oldest first."""
        await self._context.turn(Stage.MARKET)
        await (self._days() if self._context.interval == "1d" else self._minutes())
        self._context.source_state(self._source, True, "")

    async def _days(self) -> None:
        context = self._context
        reach = Reach()
        rows, asked = await self._rows.newest(self._rows.daily(), self._ours, _limit_1d, reach)
        have = context.published.daily_sessions(self._source, context.settings.group)
        lacking = [day for day in self._sessions(rows) if day.isoformat() not in have]
        loaded = context.published.newest_daily(self._source, context.settings.group)
        # A name that is in neither has no contract, or its history is still to be loaded whole by the data plane.
        names = [name for name in self._terms if name in loaded or name in reach.names()]
        found = reach.sort_out(lacking, names, rows)
        await self._span.hand_in("1d", found.whole, pivot(rows), asked)
        if found.whole:
            context.progress(len(found.whole), len(found.whole), found.whole[-1].isoformat())
        if found.partial:
            count, first, last = len(found.partial), found.partial[0], found.partial[-1]
            context.log.warning(
                f"{count} session{'s' * (count > 1)} ({first} to {last}) left out, where nothing kept tells of {some(found.unknown)}: a slice is "
                f"published once, with every name; `triplane data backfill --source {self._source} --from {first} --to {last}`, with a gateway, "
                "loads what is wanted of them"
            )

    async def _minutes(self) -> None:
        looks = self._kept.looks("1 min")
        for done, (day, kept) in enumerate(looks, 1):
            rows, asked = await self._rows.newest(kept, self._ours, _limit_1m)
            for session in self._sessions(rows):
                low, high = calendars.session_open(CALENDAR, session), calendars.session_close(CALENDAR, session)
                cut = {name: bars.between(low, high) for name, bars in rows.items()}
                found = pivot({name: bars for name, bars in cut.items() if len(bars.starts)})
                await self._span.hand_in("1m", (session,), found, asked)
            self._context.progress(done, len(looks), f"{day[:4]}-{day[4:6]}-{day[6:]}")

    def _ours(self, name: str, answer: Answer) -> bool:
        return bool(answer.terms == self._terms.get(name))

    def _sessions(self, rows: Mapping[str, HistoricalBars]) -> list[date]:
        """Sessions that bars may belong to, of those of the span that are over."""
        starts = np.concatenate([bars.starts for bars in rows.values()]) if rows else np.zeros(0, dtype=np.int64)
        span, now = self._context.span, self._context.clock.now()
        if not len(starts) or span is None:
            return []
        first, last = (to_datetime(int(edge)).date() for edge in (starts.min(), starts.max()))
        first, last = max(first, span.start, calendars.FIRST_DAY), min(last, span.end)
        days = calendars.sessions(CALENDAR, first, last) if first <= last else []
        return [day for day in days if calendars.session_close(CALENDAR, day) <= now]


def _limit_1m(batch: Batch) -> Callable[[str], int]:
    """Bars that start before this (ns UTC) had ended when the batch was asked for."""
    return lambda _: batch.at - INTERVAL_NS["1m"] + 1


def _limit_1d(batch: Batch) -> Callable[[str], int]:
    day = to_datetime(batch.at, NEW_YORK).date()
    over = calendars.is_session(CALENDAR, day) and calendars.session_close(CALENDAR, day) <= batch.at
    limit = midnight(day + timedelta(days=1) if over else day)
    return lambda _: limit
