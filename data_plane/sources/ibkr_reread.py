"""Interactive Brokers' kept answers read again (`triplane data reparse --source ibkr`): no gateway is asked.

Of each name and moment the newest answer counts, of contracts that the name's row still says. What had not ended when it was asked for is
left out, as it was then. As with a span, sessions are handed in that have no daily slice, and minutes that have none: a slice is
published once, and one that lacks a name is not completed.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np

from data_plane.observations import INTERVAL_NS
from data_plane.sources.archive import Stored
from data_plane.sources.base import Context, Stage
from data_plane.sources.ibkr_kept import Answer, Batch
from data_plane.sources.ibkr_requests import Requests, pivot
from data_plane.sources.ibkr_span import CALENDAR, SpanHistory, midnight
from triplane.broker.contracts import terms_of
from triplane.broker.historical_bars import HistoricalBars, columns
from triplane.broker.what_to_show import shown
from triplane.domain import calendars
from triplane.domain.timestamps import NEW_YORK, to_datetime


class KeptHistory:
    """Hands in what the kept answers have and the topic lacks."""

    def __init__(self, context: Context, source: str, requests: Requests) -> None:
        self._context = context
        self._source = source
        self._kept = requests.kept
        self._span = SpanHistory(context, source, requests)
        self._terms: Mapping[str, Mapping[str, Any]] = {
            # As they were written down.
            asset.symbol: json.loads(json.dumps(terms_of(asset)))
            for asset in context.assets()
        }

    async def load(self) -> None:
        """Daily bars of all answers together, or one-minute bars by the day of their request; oldest first."""
        await self._context.turn(Stage.MARKET)
        await (self._days() if self._context.interval == "1d" else self._minutes())
        self._context.source_state(self._source, True, "")

    async def _days(self) -> None:
        context = self._context
        kept = sorted((each for _, some in self._kept.looks("1 day") for each in some), key=lambda each: -each.at)
        rows, asked = await self._rows(kept, "1d")
        have = context.published.daily_sessions(self._source, context.settings.group)
        sessions = [day for day in self._sessions(rows) if day.isoformat() not in have]
        await self._span.hand_in("1d", sessions, pivot(rows), asked)
        if sessions:
            context.progress(len(sessions), len(sessions), sessions[-1].isoformat())

    async def _minutes(self) -> None:
        looks = self._kept.looks("1 min")
        for done, (day, kept) in enumerate(looks, 1):
            rows, asked = await self._rows(kept, "1m")
            for session in self._sessions(rows):
                low, high = calendars.session_open(CALENDAR, session), calendars.session_close(CALENDAR, session)
                cut = {name: bars.between(low, high) for name, bars in rows.items()}
                found = pivot({name: bars for name, bars in cut.items() if len(bars.starts)})
                await self._span.hand_in("1m", (session,), found, asked)
            self._context.progress(done, len(looks), day)

    async def _rows(self, kept: Iterable[Stored], interval: str) -> tuple[dict[str, HistoricalBars], int]:
        """Bars by name, each moment from the newest answer that has it whole, and when the oldest was asked for (market time, ns UTC).

        `kept` newest first.
        """
        parts: dict[str, list[HistoricalBars]] = defaultdict(list)
        oldest = 0
        for stored in kept:
            batch = await asyncio.to_thread(self._kept.load, stored)
            if batch is None:
                continue
            self._context.tell_time(batch.at)
            oldest = min(oldest or batch.at, batch.at)
            limit = _limit(batch, interval)
            for name, answer in batch.answers.items():
                if answer.terms != self._terms.get(name):
                    continue
                bars = self._columns(name, answer)
                if bars is None:
                    continue
                new = bars.starts < limit
                for newer in parts[name]:
                    new &= ~np.isin(bars.starts, newer.starts)
                if new.any():
                    parts[name].append(bars.picked(new))
        return {name: _joined(found) for name, found in sorted(parts.items()) if found}, oldest

    def _columns(self, name: str, answer: Answer) -> HistoricalBars | None:
        try:
            return columns(answer.bars, shown(str(answer.terms.get("sec_type", ""))).volume)
        except (ValueError, TypeError, OverflowError) as error:
            raw = json.dumps(answer.bars).encode()[:65536]
            self._context.malformed(self._source, "data.bars", name, "BARS_UNREADABLE", f"{name}: {error}", raw)
            return None

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


def _limit(batch: Batch, interval: str) -> int:
    """Bars that start before this (ns UTC) had ended when the batch was asked for."""
    if interval == "1m":
        return batch.at - INTERVAL_NS["1m"] + 1
    day = to_datetime(batch.at, NEW_YORK).date()
    over = calendars.is_session(CALENDAR, day) and calendars.session_close(CALENDAR, day) <= batch.at
    return midnight(day + timedelta(days=1) if over else day)


def _joined(parts: list[HistoricalBars]) -> HistoricalBars:
    starts = np.concatenate([bars.starts for bars in parts])
    values = np.concatenate([bars.values for bars in parts])
    trades = np.concatenate([bars.trades for bars in parts])
    return HistoricalBars(starts, values, trades).picked(np.argsort(starts, kind="stable"))
