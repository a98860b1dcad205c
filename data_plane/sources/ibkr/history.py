"""Interactive Brokers' historical bars: what the topic lacks at a start, each session that closes, and names that come later.

A daily slice holds all names of a session and carries its close as availability. A name that joins the universe while its fellows
have their history gets slices of its own for the same sessions. They are stamped with the market time at which they were asked for,
since no decision before it knew them, so that they neither repeat an identity nor enter a cut that was made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Set as AbstractSet
from datetime import date, timedelta
from typing import Any

from data_plane.observations import INTERVAL_NS, Bars
from data_plane.sources.base import Context, Stage
from data_plane.sources.ibkr.requests import ABSENT, Pivoted, Requests, pivot
from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE, NEW_YORK, SECOND, midnight, to_datetime

# A daily bar that the broker does not have yet is asked for again after so many wall seconds.
DAYS_AGAIN_S = 5.0
# Slices handed in between two looks at the event loop: a millisecond each, while a market at 300x has a step of 17.
CHUNK = 5
# Market time before and after a decision in which no minutes are asked for: no decision needs them, and a simulated market streams for no
# longer before one.
NEAR_BEFORE, NEAR_AFTER = 11 * MINUTE, MINUTE
# IB's longest duration in seconds; beyond it whole sessions, a weekend's two and no more. Older ones are asked for one by one.
LONGEST_S = 86_400
SESSIONS_AT_ONCE = 2


class IbkrHistory:
    """Daily and one-minute bars of one connection at a time, handed in as slices."""

    def __init__(self, context: Context, source: str, requests: Requests) -> None:
        self._context = context
        self._source = source
        self._requests = requests
        self._joined: set[str] = set()
        self._connected_at = 0
        """Market time of the latest connect."""
        self._closed = (0, 0)
        """From when to when (ns UTC) no session closes that has not been looked at."""
        self._asked, self._asked_for = 0.0, date.min
        self._heard: dict[date, list[tuple[int, int]]] = {}
        """From when to when (ns UTC) five-second bars came without a gap, in each session whose rest has not been looked for."""
        self._handed_in: dict[date, list[tuple[int, int]]] = {}
        """The same of one-minute bars that were handed in."""
        self._over = date.min
        """The newest session of which nothing more is asked for."""
        self._minutes = asyncio.Lock()

    def connected(self, now: int) -> None:
        """A connection begins at a market time."""
        self._connected_at, self._closed = now, (0, 0)

    # -- daily bars ------------------------------------------------------------------------------------------------------------
    async def load(self) -> None:
        """Everything of BACKFILL_YEARS that the topic lacks: sessions of all names, then what single names lack."""
        await self._load_days(history=True)
        await self.load_names(0)

    async def load_closed(self) -> None:
        """Sessions that closed on this connection."""
        await self._load_days(history=False)

    def joined(self, names: AbstractSet[str]) -> None:
        """Names have come into the universe: their history is loaded whole, whatever the topic has, for who read it dropped it."""
        self._joined |= names

    async def load_names(self, now: int) -> None:
        """Daily bars of names that joined, or whose newest is older than their fellows', for the sessions that the topic has.

        `now`: market time of the stream (ns UTC), 0 before it begins. A name that did not join and has no bar after its newest
        on the topic is left out: it did not trade.
        """
        context, group = self._context, self._context.settings.group
        have = context.published.newest_daily(self._source, group)
        newest = max(have.values(), default=0)
        joined = self._joined & set(self._requests.names())
        wanted = joined | {name for name in self._requests.names() if have.get(name, 0) < newest}
        sessions = map(date.fromisoformat, context.published.daily_sessions(self._source, group))
        days = {midnight(day): day for day in sessions}
        if not wanted or not days:
            return
        rows = await self._requests.bars("1 day", self._duration(min(days.values())), wanted)
        rows = {
            name: bars
            for name, bars in rows.items()
            if name in joined or any(start in days and start > have.get(name, 0) for start in bars.starts.tolist())
        }
        starts, found, values, trades = pivot(rows)
        places = [place for place, start in enumerate(starts) if start in days]
        if places:
            names = ", ".join(found)
            context.log.info("loading history", source=self._source, sessions=len(places), names=names)
            # Beyond what is on the topic: at night, when market time stands still, two names may join one after the other.
            newest = context.published.newest_availability(self._source, group)
            available = max(now, self._close(days[starts[places[-1]]]), newest + 1)
            for count, place in enumerate(places, 1):
                day = days[starts[place]]
                self._hand_in("1d", day, self._close(day), available, found, values[place], trades[place], True)
                if count % CHUNK == 0:
                    await asyncio.sleep(0)
        self._joined -= joined

    def _missing_sessions(self, now: int, since: int = 0) -> list[date]:
        """Sessions closed between `since` and `now`, within BACKFILL_YEARS, without a daily slice on the topic."""
        context = self._context
        today = to_datetime(now).date()
        # A duration of whole years reaches back to the day after the same date; the first days are not worth another request.
        first = today - timedelta(days=int(365 * context.targets.BACKFILL_YEARS) - 4)
        if since:
            first = max(first, to_datetime(since).date())
        have = context.published.daily_sessions(self._source, context.settings.group)
        return [
            day
            for day in calendars.sessions(calendars.MARKET_CALENDAR, max(first, calendars.FIRST_DAY), today)
            if day.isoformat() not in have and since <= self._close(day) <= now
        ]

    async def _load_days(self, *, history: bool) -> None:
        now = self._context.clock.now()
        missing = self._missing_sessions(now, 0 if history else self._connected_at)
        if not missing:
            await self._context.turn(Stage.MARKET)
            return
        rows = await self._requests.bars("1 day", self._duration(missing[0]))
        await self._context.turn(Stage.MARKET)
        wanted = {midnight(day): day for day in missing}
        starts, names, values, trades = pivot(rows)
        places = [place for place, start in enumerate(starts) if start in wanted]
        if history:
            self._context.log.info("loading history", source=self._source, sessions=len(places), names=len(names))
        for count, place in enumerate(places, 1):
            day = wanted[starts[place]]
            close = self._close(day)
            self._hand_in("1d", day, close, close, names, values[place], trades[place], history)
            if history and (count % 252 == 0 or count == len(places)):
                self._context.log.info(
                    "history", source=self._source, session=day.isoformat(), done=count, of=len(places)
                )
            if count % CHUNK == 0:
                await asyncio.sleep(0)

    def _duration(self, first: date) -> str:
        """IB's duration that reaches from market time back to `first`."""
        today = to_datetime(self._context.clock.now()).date()
        span = len(calendars.sessions(calendars.MARKET_CALENDAR, first, today))
        return f"{span + 1} D" if span < 250 else f"{-(-((today - first).days - 7) // 365)} Y"

    def days_due(self, now: int) -> bool:
        """Whether a session has closed on this connection and lacks its daily slice, and it is time to ask (again)."""
        opens, closes = self._closed
        if opens <= now < closes:
            return False
        missing = self._missing_sessions(now, self._connected_at)
        if not missing:
            day = to_datetime(now, NEW_YORK).date()
            if not calendars.is_session(calendars.MARKET_CALENDAR, day) or self._close(day) <= now:
                day = calendars.next_session(calendars.MARKET_CALENDAR, day)
            self._closed = (now, self._close(day))
            return False
        wall = time.monotonic()
        if wall - self._asked < DAYS_AGAIN_S and missing[-1] == self._asked_for:
            return False
        self._asked, self._asked_for = wall, missing[-1]
        return True

    @staticmethod
    def _close(day: date) -> int:
        return calendars.session_close(calendars.MARKET_CALENDAR, day)

    # -- one-minute bars -------------------------------------------------------------------------------------------------------
    async def load_minutes(self, day: date, until: int) -> None:
        """The running session's one-minute bars up to `until` (ns UTC), after those that earlier sessions still lack.

        One request a name for both: this is when the stream has just begun, and every message more comes before a decision.
        """
        async with self._minutes:
            for each in [each for each in self._heard if each < day and not self._lacks(each)]:
                self._forget(each)
            lacking = [each for each in sorted(self._heard) if each < day]
            near = [each for each in lacking if self._sessions(each, day) <= SESSIONS_AT_ONCE]
            # Oldest first: a slice that is older than one on the topic counts as repeated.
            for each in lacking[: len(lacking) - len(near)]:
                await self._load_rest(each)
            duration = "1 D"
            if near:
                span = (until - self._lacks_from(near[0])) // SECOND
                duration = f"{span} S" if span <= LONGEST_S else f"{self._sessions(near[0], day)} D"
            # Up to `until`, not to now: the seconds of a duration count from its end, which the fast market has left behind.
            bars = pivot(await self._requests.bars("1 min", duration, end=_ib_time(until)))
            for each in near:
                await self._hand_in_minutes(each, bars, self._close(each))
                self._forget(each)
            await self._hand_in_minutes(day, bars, until)

    def decides_about(self, day: date, at: int) -> bool:
        """Whether the session's decision is so near that hundreds of past bars would go to Kafka before the bar that it waits for."""
        decides = calendars.decision_time(
            calendars.MARKET_CALENDAR, day, self._context.config().targets.strategy.REBALANCE
        )
        return decides - NEAR_BEFORE <= at < decides + NEAR_AFTER

    def decides_at(self, now: int) -> bool:
        """The same of the session, if any, that a market time lies in."""
        day = calendars.session_of(calendars.MARKET_CALENDAR, now)
        return day is not None and self.decides_about(day, now)

    def heard(self, day: date, start: int, end: int) -> None:
        """A five-second bar of a session's stream came (ns UTC); one that comes when its session is done with tells of no new lack."""
        if day <= self._over:
            return
        _extend(self._heard.setdefault(day, []), start, end)

    @staticmethod
    def _sessions(first: date, last: date) -> int:
        return len(calendars.sessions(calendars.MARKET_CALENDAR, first, last))

    def _lacks(self, day: date) -> bool:
        """Whether a session that is over lacks a minute."""
        return self._lacks_from(day) + INTERVAL_NS["1m"] <= self._close(day)

    def _lacks_from(self, day: date) -> int:
        """From when on (ns UTC) a session lacks minutes: the first that neither the stream told nor a request; else its last end."""
        known = calendars.session_open(calendars.MARKET_CALENDAR, day)
        for start, end in sorted(self._heard[day] + self._handed_in.get(day, [])):
            if start - known >= INTERVAL_NS["1m"]:
                break
            known = max(known, end)
        return known

    def _forget(self, day: date) -> None:
        """Nothing more is asked for a session that is over; what the broker did not give of it is told."""
        if self._lacks(day):
            since = to_datetime(self._lacks_from(day)).isoformat()
            self._context.log.warning(
                "minutes lack for good", source=self._source, session=day.isoformat(), since=since
            )
        self._heard.pop(day, None)
        self._handed_in.pop(day, None)
        self._over = max(self._over, day)

    def rests_due(self, now: int) -> bool:
        """Whether a session is over that lacks minutes."""
        return any(self._close(day) <= now and self._lacks(day) for day in self._heard)

    async def load_rests(self) -> None:
        """One-minute bars that sessions lack which are over, where no later session has begun."""
        async with self._minutes:
            now = self._context.clock.now()
            for day in [day for day in sorted(self._heard) if self._close(day) <= now and self._lacks(day)]:
                await self._load_rest(day)

    async def _load_rest(self, day: date) -> None:
        """What a session that is over lacks, by a request of its own."""
        closes = self._close(day)
        seconds = (closes - self._lacks_from(day)) // SECOND
        rows = await self._requests.bars("1 min", f"{seconds} S", end=_ib_time(closes))
        await self._hand_in_minutes(day, pivot(rows), closes)
        self._forget(day)

    async def _hand_in_minutes(self, day: date, bars: Pivoted, until: int) -> None:
        """Those of a session up to `until`, but for minutes that were handed in and those that the stream told whole."""
        starts, names, values, trades = bars
        step, given = INTERVAL_NS["1m"], self._handed_in.setdefault(day, [])
        known = self._heard.get(day, []) + given
        opens = calendars.session_open(calendars.MARKET_CALENDAR, day)
        for place, start in enumerate(starts):
            told = any(first <= start and start + step <= last for first, last in known)
            if opens <= start and start + step <= until and not told:
                self._hand_in("1m", day, start + step, start + step, names, values[place], trades[place], False)
                _extend(given, start, start + step)
            if place % CHUNK == 0:
                await asyncio.sleep(0)

    def _hand_in(
        self,
        interval: str,
        day: date,
        event_time: int,
        available_time: int,
        names: tuple[str, ...],
        values: Any,
        trades: Any,
        history: bool,
    ) -> None:
        present = trades != ABSENT
        symbols = names if present.all() else tuple(name for name, there in zip(names, present, strict=True) if there)
        self._context.take(
            Bars(
                self._source,
                interval,
                day.isoformat(),
                event_time,
                available_time,
                symbols,
                values[present],
                trades[present],
                history,
                self._context.clock.now(),
            )
        )


def _extend(pieces: list[tuple[int, int]], start: int, end: int) -> None:
    """Add an interval that may follow the last one."""
    if pieces and pieces[-1][1] == start:
        pieces[-1] = (pieces[-1][0], end)
    else:
        pieces.append((start, end))


def _ib_time(ns: int) -> str:
    """A moment as IB takes it, UTC."""
    return to_datetime(ns).strftime("%Y%m%d-%H:%M:%S")
