"""Interactive Brokers' historical bars over a span that a person asked for: sessions that the topic lacks, oldest first.

Bars of a session that closed after the newest decision are stamped with their own time. What closed before it comes too late for that
decision and is stamped with the market time at which it was asked for, like the history of a name that joined late.

A session is asked for once it has no slice at all; what one lacks of a name is told in the end, and not loaded later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from data_plane.observations import INTERVAL_NS, Bars
from data_plane.sources.base import Context, Stage
from data_plane.sources.ibkr.requests import ABSENT, Pivoted, Requests, pivot
from data_plane.sources.span import NothingToAskError
from triplane.broker.historical_bars import HistoricalBars
from triplane.domain import calendars
from triplane.domain.timestamps import SECOND, midnight, to_datetime

# Sessions of daily bars a request; IB takes a duration of up to 365 D. Each request that was answered is on the topic before the next.
SESSIONS_AT_ONCE = 120
# Names told of, of those that were not loaded.
TOLD = 10
CALENDAR = calendars.MARKET_CALENDAR


class Chunk(NamedTuple):
    """One request a name: IB's duration and end (ns UTC), and the sessions wanted of what it brings."""

    duration: str
    end: int
    sessions: tuple[date, ...]


def daily_chunks(wanted: Sequence[date]) -> list[Chunk]:
    """Requests for daily bars of sessions, ascending: each reaches over SESSIONS_AT_ONCE at most, its end is the midnight (UTC) after the
    last one's close."""
    chunks = []
    begin = 0
    while begin < len(wanted):
        reach = calendars.sessions(CALENDAR, wanted[begin], wanted[-1])[:SESSIONS_AT_ONCE]
        sessions = tuple(day for day in wanted[begin:] if day <= reach[-1])
        span = len(calendars.sessions(CALENDAR, sessions[0], sessions[-1]))
        chunks.append(Chunk(f"{span} D", midnight(sessions[-1] + timedelta(days=1)), sessions))
        begin += len(sessions)
    return chunks


def minute_chunks(wanted: Sequence[date]) -> list[Chunk]:
    """Requests for one-minute bars of sessions, ascending: one a session."""
    opens = calendars.session_open
    closes = calendars.session_close
    return [
        Chunk(f"{(closes(CALENDAR, day) - opens(CALENDAR, day)) // SECOND} S", closes(CALENDAR, day), (day,))
        for day in wanted
    ]


class SpanHistory:
    """Loads `context.span` on one connection; what was handed in is not asked for again on the next."""

    def __init__(self, context: Context, source: str, requests: Requests) -> None:
        self._context = context
        self._source = source
        self._requests = requests

    async def load(self) -> None:
        """Hand in what the topic lacks. Raises BrokerUnavailable, and NothingToAskError where no session of the span can be asked for."""
        context, daily = self._context, self._context.interval == "1d"
        await context.turn(Stage.MARKET)
        if left_out := self._left_out():
            if not self._sessions():
                assert context.span is not None
                raise NothingToAskError(
                    f"nothing of {context.span.start} to {context.span.end} can be asked for: {left_out}; name other days"
                )
            context.log.warning(f"left out of the span: {left_out}")
        wanted = self.lacking_days() if daily else self.lacking_minutes()
        done, empty = 0, list[date]()
        for chunk in daily_chunks(wanted) if daily else minute_chunks(wanted):
            await context.room()
            # Only what lies ahead of market time is left open: IB takes no end in the future for granted.
            end = to_datetime(chunk.end).strftime("%Y%m%d-%H:%M:%S") if chunk.end <= context.clock.now() else ""
            found = pivot(await self._bars("1 day" if daily else "1 min", chunk.duration, end))
            brought = await self.hand_in(context.interval, chunk.sessions, found, context.clock.now())
            empty += sorted(set(chunk.sessions) - brought)
            done += len(chunk.sessions)
            context.progress(done, len(wanted), chunk.sessions[-1].isoformat())
        if problem := self._problem(empty) if wanted else "":
            context.source_state(self._source, False, problem)

    async def hand_in(self, interval: str, sessions: Sequence[date], found: Pivoted, asked: int) -> set[date]:
        """What was found of some sessions, as slices (one session of `1m`); returns those of which there was something.

        `asked` is the market time at which the gateway was, ns UTC.
        """
        daily, brought = interval == "1d", set[date]()
        days = {midnight(day): day for day in sessions}
        starts, names, values, trades = found
        for place, start in enumerate(starts):
            day = days.get(start) if daily else sessions[0]
            end = self._close(day) if daily and day is not None else start + INTERVAL_NS["1m"]
            if day is None or (not daily and not self._open(day) <= start < self._close(day)):
                continue
            brought.add(day)
            present = trades[place] != ABSENT
            symbols = tuple(name for name, there in zip(names, present, strict=True) if there)
            bars = (symbols, values[place][present], trades[place][present])
            loaded = Bars(self._source, interval, day.isoformat(), end, self._available(end), *bars, True, asked)
            self._context.take(loaded)
            if daily:
                await asyncio.sleep(0)
        return brought

    def _problem(self, empty: Sequence[date]) -> str:
        """What was not loaded, in a sentence; empty when all was."""
        unknown = [each.symbol for each in self._context.assets() if each.symbol not in self._requests.contracts]
        said = [f"no contract is known of {some(unknown)}"] if unknown else []
        if left_out := self._requests.left_out:
            name, why = next(iter(left_out.items()))
            said.append(f"requests for bars of {some(list(left_out))} were not answered ({name}: {why})")
        if empty:
            reach = f"{empty[0]} to {empty[-1]}" if len(empty) > 1 else f"{empty[0]}"
            said.append(f"no bars came of {len(empty)} session{'s' * (len(empty) > 1)} ({reach})")
        return "; ".join(said)

    async def _bars(self, bar_size: str, duration: str, end: str) -> dict[str, HistoricalBars]:
        """Bars by name. A name without any is asked for once more: it may have been refused, and its slices are published once."""
        rows = await self._requests.bars(bar_size, duration, end=end)
        absent = [name for name in self._requests.names() if name not in rows]
        rows |= await self._requests.bars(bar_size, duration, absent, end) if absent else {}
        self._requests.left_out |= self._requests.refusals
        return rows

    def _left_out(self) -> str:
        """Which days of the span nobody is asked for, in a clause; empty where there are none."""
        span, now = self._context.span, self._context.clock.now()
        assert span is not None
        said = []
        if span.start < calendars.FIRST_DAY:
            said.append(f"days before {calendars.FIRST_DAY}, where the calendar of sessions begins")
        first, last = max(span.start, to_datetime(now).date()), min(span.end, calendars.LAST_DAY)
        ahead = calendars.sessions(CALENDAR, first, last) if calendars.FIRST_DAY <= first <= last else []
        if ahead := [day for day in ahead if self._close(day) > now]:
            said.append(
                f"sessions from {ahead[0]} on, which are not over at {to_datetime(now):%Y-%m-%d %H:%M} UTC of the market"
            )
        if span.end > calendars.LAST_DAY:
            said.append(f"days after {calendars.LAST_DAY}, where the calendar of sessions ends")
        return ", and ".join(said)

    def _sessions(self) -> list[date]:
        """Sessions of the span that are over."""
        span, now = self._context.span, self._context.clock.now()
        assert span is not None
        first, last = max(span.start, calendars.FIRST_DAY), min(span.end, to_datetime(now).date())
        if first > last:
            return []
        return [day for day in calendars.sessions(CALENDAR, first, last) if self._close(day) <= now]

    def lacking_days(self) -> list[date]:
        """Sessions of the span that are over and have no daily slice."""
        have = self._context.published.daily_sessions(self._source, self._context.settings.group)
        return [day for day in self._sessions() if day.isoformat() not in have]

    def lacking_minutes(self) -> list[date]:
        """Sessions of the span that are over and lack a one-minute slice."""
        published, group, step = self._context.published, self._context.settings.group, INTERVAL_NS["1m"]
        return [
            day
            for day in self._sessions()
            if not all(
                published.has_bars(self._source, group, "1m", end, end)
                for end in range(self._open(day) + step, self._close(day) + 1, step)
            )
        ]

    def _available(self, end: int) -> int:
        """When bars that end at `end` could be known to a decision."""
        decided = self._context.decided
        return end if end > decided else max(self._context.clock.now(), decided + 1)

    @staticmethod
    def _open(day: date) -> int:
        return calendars.session_open(CALENDAR, day)

    @staticmethod
    def _close(day: date) -> int:
        return calendars.session_close(CALENDAR, day)


def some(names: Sequence[str]) -> str:
    """The first TOLD names, and how many more there are."""
    more = len(names) - TOLD
    return ", ".join(names[:TOLD]) + (f" and {more} more" if more > 0 else "")
