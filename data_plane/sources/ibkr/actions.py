"""Corporate actions of Interactive Brokers, which has no list of them: what it says of dividends, and what its prices say.

*Announced.* Generic tick 456 comes with the subscription of quotes and takes no line: "past 12 months' sum, next 12 months' sum, next
ex-date, amount". Far ahead these are forecasts, and an action on record cannot be taken back; so a dividend is handed in on its ex-date or
the session before.

*Derived.* Once a session, from its open on, each stock's daily bars are asked for as TRADES and as ADJUSTED_LAST; `adjustments.py` reads
dividends off the two, and a split off the first and what was published. Both are known from the look on, never before the ex-date's open.
A name that opens far off its last close is looked at first. All others follow one by one, ACTION_REQUESTS in ten minutes.

A day's action that is on record already, or within days of one of its kind, is not handed in again: what is derived is rounded, and would
contradict what was announced.
"""

from __future__ import annotations

import math
import time
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

import numpy as np

from data_plane import adjustments
from data_plane.observations import CLOSE, DIVIDEND, SPLIT, CorporateAction
from data_plane.sources.base import Context
from data_plane.sources.ibkr.requests import Requests
from triplane.broker.historical_bars import HistoricalBars
from triplane.broker.session import BrokerUnavailable
from triplane.broker.what_to_show import ADJUSTED
from triplane.domain import calendars
from triplane.domain.timestamps import NEW_YORK, to_datetime

WINDOW_S: Final = 600.0
REQUESTS_A_LOOK: Final = 2
LEAST_SESSIONS: Final = 30
SAME_DAYS: Final = 3
"""Two actions of one kind within so many calendar days are one: nobody pays as often, and two tellers may differ by a day."""
OPENS_OFF: Final = 0.2
"""How far (in logs) a name opens off its last close that is looked at first: a split of 5 for 4 or more."""
RUSHED_LOOKS: Final = 20
"""Looks a session that do not wait: on a day on which half the market opens far off, the pace is kept."""
LOOK_AGAIN_S: Final = 300.0
"""Wall seconds after which such a name is looked at again: IB adjusts its history some time on the ex-date."""
CALENDAR: Final = calendars.MARKET_CALENDAR


class Announced(NamedTuple):
    """The next dividend that IB tells of."""

    ex_date: date
    amount: float

    def revises(self, before: Announced) -> bool:
        """Whether it is another word on the same dividend, and not on the one after it."""
        return self != before and self.ex_date <= before.ex_date + timedelta(days=SAME_DAYS)


def parse_dividends(text: str) -> Announced | None:
    """The next dividend in a string of tick type 59, as `0.83,0.92,20130219,0.23`; fields that are not known are empty.

    The date is the ex-date (2013-02-19 was Microsoft's, which paid on 2013-03-14). None where none is announced. Raises ValueError.
    """
    fields = [each.strip() for each in text.split(",")]
    if len(fields) != 4 or "_" in text:  # Python reads 1_0 as ten
        raise ValueError(f"{text[:60]!r} is not four fields")
    *sums, day, next_amount = fields
    *_, amount = (float(each or 0.0) for each in (*sums, next_amount))
    if not math.isfinite(amount):
        raise ValueError(f"{next_amount[:20]!r} is no amount")
    if day and not (len(day) == 8 and day.isascii() and day.isdigit()):
        raise ValueError(f"{day[:20]!r} is no date YYYYMMDD")
    ex_date = date(int(day[:4]), int(day[4:6]), int(day[6:])) if day else None
    return Announced(ex_date, amount) if ex_date is not None and amount > 0.0 else None


class IbkrActions:
    """What is known of each name's actions, over all connections."""

    def __init__(self, context: Context, source: str, requests: Requests) -> None:
        self._context = context
        self._source = source
        self._requests = requests
        self._told: dict[str, str] = {}
        """What IB said last of each name."""
        self._announced: dict[str, Announced] = {}
        self._announced_on = date.min
        """The day for which announcements have been gone through."""
        self._looked: dict[str, date] = {}
        """The session of each name's latest look."""
        self._next_look = 0.0
        """Before this no look begins, wall seconds of the monotonic clock."""
        self._opened: dict[str, date] = {}
        """The session of which each name's first bar was seen."""
        self._suspects: dict[str, float] = {}
        """Names that opened far off, and from when on each is looked at (wall seconds of the monotonic clock)."""
        self._rushed = 0
        """Looks of the session that did not wait for their turn."""
        self._warned: set[tuple[str, date]] = set()
        """Splits that nobody told of in time."""
        self._unsure: dict[str, int] = {}
        """How many of each name's dividends could not be told from rounding."""
        self._closes: tuple[date, dict[str, float]] = (date.min, {})
        """The session, and the closes published of the one before it."""

    # -- announced -------------------------------------------------------------------------------------------------------------
    def told(self, contract: Any, text: str) -> None:
        """IB's string on a subscribed contract's dividends."""
        known = self._requests.contracts.items()
        symbol = next((name for name, each in known if each.conId == contract.conId), None)
        if symbol is None or self._told.get(symbol) == text:
            return
        self._told[symbol] = text
        before = self._announced.pop(symbol, None)
        try:
            announced = parse_dividends(text)
        except ValueError as error:
            detail = f"dividends of {symbol}: {error}"
            code = "MESSAGE_UNREADABLE"
            self._context.malformed(self._source, "data.actions", symbol, code, detail, text.encode())
            return
        if announced is None:
            return
        if before is not None and announced.revises(before) and self._on_record(symbol, DIVIDEND, before.ex_date):
            self._context.log.warning(
                "a dividend on record is announced anew: see to it by hand",
                source=self._source,
                symbol=symbol,
                on_record=f"{before.amount:g} on {before.ex_date}",
                announced=f"{announced.amount:g} on {announced.ex_date}",
            )
        self._announced[symbol] = announced
        self._hand_in_announced(symbol, self._today())

    def follow(self) -> None:
        """A look at the calendar: what was announced earlier is due now."""
        today = self._today()
        if today != self._announced_on:
            self._announced_on = today
            for symbol in sorted(self._announced):
                self._hand_in_announced(symbol, today)

    def _hand_in_announced(self, symbol: str, today: date) -> None:
        announced = self._announced[symbol]
        if today <= announced.ex_date <= calendars.next_session(CALENDAR, today):
            self._hand_in(symbol, DIVIDEND, announced.ex_date, amount=announced.amount)

    def _today(self) -> date:
        return to_datetime(self._context.clock.now(), NEW_YORK).date()

    # -- derived ---------------------------------------------------------------------------------------------------------------
    def opened(self, symbol: str, day: date | None, price: float) -> None:
        """A five-second bar of a session: whether the first one lies far off the last close that was published."""
        if day is None or self._opened.get(symbol) == day:
            return
        self._opened[symbol] = day
        if self._closes[0] != day:
            recent = self._context.published.recent_closes(self._source, self._context.settings.group)
            before = [closes for session, closes in recent.items() if session < day.isoformat()]
            self._closes = (day, before[-1] if before else {})
            self._suspects.clear()
            self._rushed = 0
        close = self._closes[1].get(symbol)
        if close is not None and price > 0.0 and abs(math.log(price / close)) > OPENS_OFF:
            self._suspects[symbol] = 0.0

    @property
    def pause(self) -> float:
        """Wall seconds from one look to the next; infinite where there are none."""
        requests = self._context.targets.ACTION_REQUESTS
        return REQUESTS_A_LOOK * WINDOW_S / requests if requests else math.inf

    def due(self) -> bool:
        """Whether a name is to be looked at now."""
        return self._next() is not None

    def _next(self) -> tuple[str, date] | None:
        """The name whose turn it is, and the running session."""
        wall = time.monotonic()
        rush = bool(self._suspects) and self._rushed < RUSHED_LOOKS
        if not self._context.targets.ACTION_REQUESTS or (wall < self._next_look and not rush):
            return None
        day = calendars.session_of(CALENDAR, self._context.clock.now())
        if day is None:
            return None
        stocks = [name for name in self._requests.names() if self._requests.contracts[name].secType == "STK"]
        suspect = next((name for name in stocks if self._suspects.get(name, math.inf) <= wall), None)
        if suspect is not None and self._opened.get(suspect) == day:
            return suspect, day
        if wall < self._next_look:
            return None
        waiting = [name for name in stocks if self._looked.get(name) != day]
        # Where a session is too short for all, those whose last look is the oldest.
        oldest = min(waiting, key=lambda name: self._looked.get(name, date.min), default=None)
        return None if oldest is None else (oldest, day)

    async def look(self) -> None:
        """Ask for the bars of the name whose turn it is, and hand in what they tell. What the broker does not answer is asked again next session."""
        turn = self._next()
        if turn is None:
            return
        symbol, day = turn
        wall = time.monotonic()
        self._rushed += wall < self._next_look
        self._next_look = max(self._next_look, wall) + self.pause
        self._looked[symbol] = day
        if symbol in self._suspects:
            self._suspects[symbol] = wall + LOOK_AGAIN_S
        years = self._context.targets.BACKFILL_YEARS
        duration = f"{round(years)} Y" if years >= 1.0 else f"{max(int(252 * years), LEAST_SESSIONS)} D"
        try:
            trades = await self._requests.bars("1 day", duration, [symbol])
            adjusted = await self._requests.bars("1 day", duration, [symbol], show=ADJUSTED)
        except BrokerUnavailable as error:
            # The stream goes on without; a lost connection it notices by itself.
            self._context.log.warning(
                "no look for corporate actions", source=self._source, symbol=symbol, reason=str(error)
            )
            return
        if calendars.session_of(CALENDAR, self._context.clock.now()) != day:
            return  # the two answers are of different days
        if symbol in trades:
            self._find_split(symbol, day, trades[symbol])
            if symbol in adjusted:
                self._find_dividends(symbol, day, trades[symbol], adjusted[symbol])

    def _find_dividends(self, symbol: str, day: date, trades: HistoricalBars, adjusted: HistoricalBars) -> None:
        starts, ours, theirs = np.intersect1d(trades.starts, adjusted.starts, return_indices=True)
        days = [to_datetime(start).date() for start in starts.tolist()]
        closes, adjusted_closes = trades.values[ours, CLOSE], adjusted.values[theirs, CLOSE]
        good = (closes > 0.0) & (adjusted_closes > 0.0)
        good &= np.array([each < day for each in days], dtype=np.bool_)
        if not good.any():
            return
        days = [each for each, is_good in zip(days, good.tolist(), strict=True) if is_good]
        found = adjustments.dividends(closes[good], adjusted_closes[good], now_is_unadjusted=True)
        # What was paid before a split is on record since then, or not in the shares of the bars that were published.
        since = to_datetime(self._context.published.last_split(symbol)).date()
        for place, amount, *_ in found.certain:
            ex_date = days[place] if place < len(days) else day
            if ex_date >= since:
                self._hand_in(symbol, DIVIDEND, ex_date, amount=amount)
        if found.unsure and self._unsure.get(symbol) != len(found.unsure):
            self._unsure[symbol] = len(found.unsure)
            self._context.log.info(
                "dividends that cannot be told from rounding",
                source=self._source,
                symbol=symbol,
                steps=len(found.unsure),
            )

    def _find_split(self, symbol: str, day: date, trades: HistoricalBars) -> None:
        """A split that is in force since this session's open: earlier closes were published without it."""
        context = self._context
        loaded = {to_datetime(start).date().isoformat(): place for place, start in enumerate(trades.starts.tolist())}
        recent = context.published.recent_closes(self._source, context.settings.group)
        sessions = [
            session
            for session, closes in recent.items()
            if session < day.isoformat()
            and symbol in closes
            and session in loaded
            and trades.values[loaded[session], CLOSE] > 0.0
        ]
        if not sessions:
            return
        published = np.array([recent[session][symbol] for session in sessions])
        reloaded = trades.values[[loaded[session] for session in sessions], CLOSE]
        found = adjustments.split(published, reloaded)
        if found is None:
            return
        ex_date = date.fromisoformat(sessions[found.place]) if found.place < len(sessions) else day
        if self._on_record(symbol, SPLIT, ex_date):
            return
        previous = calendars.previous_session(CALENDAR, day).isoformat()
        # Bars published after the split, or loaded when it had happened: whoever read them has drawn his conclusions.
        if ex_date == day and sessions[-1] == previous and math.isfinite(found.ratio):
            self._hand_in(symbol, SPLIT, day, ratio=found.ratio)
            self._suspects.pop(symbol, None)
            return
        if (symbol, ex_date) not in self._warned:
            self._warned.add((symbol, ex_date))
            context.log.warning(
                "published bars are in other shares than the provider's, and no split is on record: see to it by hand",
                source=self._source,
                symbol=symbol,
                before=ex_date.isoformat(),
                ratio=round(float(published[0] / reloaded[0]), 6),
            )

    # -- both ------------------------------------------------------------------------------------------------------------------
    def _on_record(self, symbol: str, kind: str, day: date) -> bool:
        near = (day + timedelta(days=days) for days in range(-SAME_DAYS, SAME_DAYS + 1))
        return any(
            self._context.published.has_id("data.actions", f"{symbol}/{kind}/{each.isoformat()}") for each in near
        )

    def _hand_in(self, symbol: str, kind: str, day: date, *, ratio: float = 0.0, amount: float = 0.0) -> None:
        if self._on_record(symbol, kind, day):
            return
        currency = str(self._requests.contracts[symbol].currency) if kind == DIVIDEND else ""
        known = self._context.clock.now()
        self._context.take(CorporateAction(self._source, symbol, kind, day.isoformat(), known, ratio, amount, currency))
