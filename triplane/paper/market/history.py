"""Bars by historical request: 1 day, 1 min and 5 secs of any session with closes, up to the gateway's clock and never past it.

Intraday bars are complete ones; the daily bar of the running session is there too, as far as the session has come, as IB gives it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeVar

from triplane.domain import calendars
from triplane.domain.timestamps import NEW_YORK, SECOND, at, from_datetime, to_datetime
from triplane.paper.market.path import STEP, STEPS_PER_MINUTE, Bars, Session, Steps, aggregate, refine, simulate_session
from triplane.paper.market.prices import Closes

BAR_SIZES: Final = ("1 day", "1 min", "5 secs")
V = TypeVar("V")
_KEPT_SESSIONS: Final = 4
_MAX_5S_SESSIONS: Final = 5
_DURATION: Final = re.compile(r"^(\d+) ([SDWMY])$")
_END: Final = re.compile(r"^(\d{8})(?:[- ](\d{2}:\d{2}:\d{2})(?: (\S+))?)?$")


class RequestError(ValueError):
    """A historical request that cannot be answered, with IB's error code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Row:
    """One bar: `start` in ns UTC and the session it belongs to."""

    start: int
    day: date
    open: float
    high: float
    low: float
    close: float
    volume: int
    wap: float
    count: int


class History:
    """Sessions by day, simulated at first use; daily bars are kept, the last few sessions' detail as well."""

    def __init__(self, closes: Closes, seed: int) -> None:
        self.closes = closes
        self.seed = seed
        self._daily: dict[int, Bars] = {}
        self._sessions: OrderedDict[int, Session] = OrderedDict()
        self._steps: OrderedDict[int, Steps] = OrderedDict()

    def session(self, day: date) -> Session:
        """The session of `day` at minute resolution. A day without closes, or the first, raises PricesError."""
        row = self.closes.row(day)
        found = self._sessions.get(row)
        if found is None:
            opens, closes = (
                calendars.session_open(calendars.MARKET_CALENDAR, day),
                calendars.session_close(calendars.MARKET_CALENDAR, day),
            )
            found = simulate_session(self.closes, row, opens, closes, self.seed)
            _keep(self._sessions, row, found)
        return found

    def steps(self, day: date) -> Steps:
        """The session of `day` at 5-second resolution."""
        row = self.closes.row(day)
        found = self._steps.get(row)
        if found is None:
            found = refine(self.session(day), self.closes, self.seed)
            _keep(self._steps, row, found)
        return found

    def daily(self, day: date) -> Bars:
        """The complete daily bar of `day`, all names, shape (1, N)."""
        row = self.closes.row(day)
        if row not in self._daily:
            minutes = self.session(day).minutes
            self._daily[row] = aggregate(minutes, len(minutes.volume))
        return self._daily[row]

    def unknown(self, size: str, duration: str, end: str, now: int) -> list[date]:
        """The days whose bar `bars` would have to simulate for this request; none for what it refuses or for sessions by the minute."""
        try:
            stop = min(parse_end(end), now) if end else now
            days = span(duration, size, stop)[1] if size == "1 day" else []
        except RequestError:
            return []
        earliest = self.closes.day(1)
        return [day for day in days if day >= earliest and self.closes.row(day) not in self._daily]

    def bars(self, symbol: str, size: str, duration: str, end: str, now: int) -> list[Row]:
        """Bars of `symbol` in the `duration` that ends at `end` (empty: now), oldest first; nothing after `now` (ns UTC).

        Raises RequestError: 321 for a bar size, duration or end that cannot be read, 162 when there is no data.
        """
        check_size(size)
        if symbol not in self.closes.symbols:
            raise no_data()
        name = self.closes.symbols.index(symbol)
        stop = min(parse_end(end), now) if end else now
        first, days = span(duration, size, stop)
        earliest = self.closes.day(1)
        rows: list[Row] = []
        for day in days:
            if day < earliest:
                continue
            rows.extend(self._session_rows(day, name, size, first, stop))
        if not rows:
            raise no_data()
        return rows

    def _session_rows(self, day: date, name: int, size: str, first: int, stop: int) -> list[Row]:
        opens, closes = (
            calendars.session_open(calendars.MARKET_CALENDAR, day),
            calendars.session_close(calendars.MARKET_CALENDAR, day),
        )
        if size == "1 day":
            bars = self.daily(day) if stop >= closes else self.partial_day(day, stop)
            return _rows(bars, name, day, 0, len(bars.volume))
        bars = self.session(day).minutes if size == "1 min" else self.steps(day).bars
        begin = max(-((opens - first) // bars.step), 0) if first > opens else 0
        complete = max(min((stop - opens) // bars.step, len(bars.volume)), 0)
        return _rows(bars, name, day, begin, complete)

    def partial_day(self, day: date, now: int) -> Bars:
        """The daily bar of a session that is under way: what traded until the last 5-second step before `now`; maybe no bar."""
        session = self.session(day)
        done = max((now - session.open_ns) // STEP, 0)
        whole = done // STEPS_PER_MINUTE
        if done == 0:
            return aggregate(session.minutes, 1, 0, 0)
        if done % STEPS_PER_MINUTE == 0:
            return aggregate(session.minutes, whole, 0, whole)
        return aggregate(self.steps(day).bars, done, 0, done)

    def close_before(self, symbol: str, day: date) -> float:
        """Close of a quoted name in the session before `day`."""
        return float(self.closes.values[self.closes.row(day) - 1, self.closes.symbols.index(symbol)])

    def earliest(self) -> int:
        """Start of the first session with data, ns UTC."""
        return calendars.session_open(calendars.MARKET_CALENDAR, self.closes.day(1))


def check_size(size: str) -> None:
    """Raise RequestError (321) for a bar size that is not simulated."""
    if size not in BAR_SIZES:
        raise RequestError(
            321, f"Error validating request: bar size '{size}' is not simulated; use one of {', '.join(BAR_SIZES)}"
        )


def no_data() -> RequestError:
    """What IB answers where it has no bars."""
    return RequestError(162, "Historical Market Data Service error message:HMDS query returned no data")


def parse_end(text: str) -> int:
    """An IB end time as ns UTC: `YYYYMMDD HH:MM:SS [zone]`, `YYYYMMDD-HH:MM:SS` (UTC) or a date, which ends at its midnight, New York."""
    match = _END.match(text)
    try:
        if match is None:
            raise ValueError
        day = datetime.strptime(match[1], "%Y%m%d").date()  # noqa: DTZ007
        if match[2] is None:
            return at(day + timedelta(days=1), datetime.min.time())
        clock = datetime.strptime(match[2], "%H:%M:%S").time()  # noqa: DTZ007
        if "-" in text or match[3] == "UTC":
            return from_datetime(datetime.combine(day, clock, tzinfo=UTC))
        return at(day, clock, NEW_YORK)
    except ValueError:
        raise RequestError(321, f"Error validating request: end time '{text}' is not YYYYMMDD HH:MM:SS UTC") from None


def span(
    duration: str, size: str, stop: int, calendar: str = calendars.MARKET_CALENDAR, *, complete: bool = False
) -> tuple[int, list[date]]:
    """Earliest bar start and the sessions of a calendar that a duration before `stop` touches, only those that are over by then with
    `complete`. Days count such sessions, as IB counts them. Raises RequestError (321) for a duration that cannot be read or is too long.
    """
    match = _DURATION.match(duration)
    if match is None or int(match[1]) == 0:
        raise RequestError(321, f"Error validating request: duration '{duration}' is not <whole number> S|D|W|M|Y")
    number, unit = int(match[1]), match[2]
    local = to_datetime(stop, NEW_YORK).date()
    if unit == "S":
        first = stop - number * SECOND
        start = to_datetime(first, NEW_YORK).date()
    elif unit == "D":
        first = 0
        start = local - timedelta(days=2 * number + 10)
    else:
        first = 0
        days = {"W": 7 * number, "M": 0, "Y": 0}[unit]
        start = _months_before(local, {"W": 0, "M": number, "Y": 12 * number}[unit]) - timedelta(
            days=days - 1 if days else -1
        )
    start = max(start, calendars.FIRST_DAY)
    found = calendars.sessions(calendar, start, local) if start <= local else []
    while found and not (
        calendars.session_close(calendar, found[-1]) <= stop
        if complete
        else calendars.session_open(calendar, found[-1]) < stop
    ):
        found.pop()
    if unit == "D":
        found = found[-number:]
    if size == "5 secs" and len(found) > _MAX_5S_SESSIONS:
        raise RequestError(
            321, f"Error validating request: at most {_MAX_5S_SESSIONS} sessions of 5 secs bars per request"
        )
    return first, found


def _months_before(day: date, months: int) -> date:
    month = day.year * 12 + day.month - 1 - months
    last = 28 if day.day > 28 else day.day
    return date(month // 12, month % 12 + 1, last) if months else day


def _rows(bars: Bars, name: int, day: date, begin: int, end: int) -> list[Row]:
    part = slice(begin, end)
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume, bars.wap, bars.count)
    values = zip(*(column[part, name].tolist() for column in columns), strict=True)
    return [Row(bars.start + (begin + i) * bars.step, day, *value) for i, value in enumerate(values)]


def _keep(cache: OrderedDict[int, V], key: int, value: V) -> None:
    cache[key] = value
    while len(cache) > _KEPT_SESSIONS:
        cache.popitem(last=False)
