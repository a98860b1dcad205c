"""A span of history as requests that IB answers: within its step sizes, along the sessions of the exchange, without what is there.

    plan("5 secs", start, end, "XNYS", have=[(0, latest)]) -> requests, oldest first, that cover exactly what is missing

Daily bars of what is not traded are asked for by it (watched.py); those of the universe, and minutes, are cut by history.py and span.py.
Pure. A request's [start, end) is what its answer is wanted for; an answer that reaches further back is cut by who asked.
Source of the limits: "Step sizes" on https://interactivebrokers.github.io/tws-api/historical_limitations.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from data_plane.published import PublishedIndex
from triplane.domain import calendars
from triplane.domain.timestamps import SECOND, to_datetime

Span = tuple[int, int]
"""From when to when, ns UTC, the end excluded."""


class Step(NamedTuple):
    """A bar size: its seconds, and what one request may reach over: seconds within a session, or days by the calendar from the first to
    the last session."""

    bar_s: int
    seconds: int = 0
    days: int = 0


_DAYS: Final = {2: 2, 3: 7, 5: 7, 10: 7, 15: 7, 20: 7, 30: 28, 60: 28, 120: 28, 180: 28, 240: 28, 480: 28}
STEPS: Final[Mapping[str, Step]] = {
    "1 secs": Step(1, seconds=1800),
    "5 secs": Step(5, seconds=3600),
    "10 secs": Step(10, seconds=14_400),
    "15 secs": Step(15, seconds=14_400),
    "30 secs": Step(30, seconds=28_800),
    "1 min": Step(60, seconds=86_400),
    **{f"{m // 60} hour{'s' * (m > 60)}" if m >= 60 else f"{m} mins": Step(60 * m, days=d) for m, d in _DAYS.items()},
    "1 day": Step(86_400, days=365),
}
HOUR_S: Final = 3600
"""From here on a bar is wanted with its whole session: IB cuts such bars by the clock's hours, not from the open."""


class Request(NamedTuple):
    """One request: IB's bar size and duration, the span wanted of it, and the sessions that the span lies in."""

    bar_size: str
    duration: str
    start: int
    end: int
    first: date
    last: date

    @property
    def ends(self) -> str:
        """Its end as IB takes it, UTC."""
        return to_datetime(self.end).strftime("%Y%m%d-%H:%M:%S")


class _Piece(NamedTuple):
    start: int
    end: int
    day: date
    opens: int
    closes: int


def plan(bar_size: str, start: int, end: int, calendar: str, have: Iterable[Span] = ()) -> list[Request]:
    """Requests for the bars of `calendar`'s sessions that lie wholly in [start, end) and not wholly in `have` (ns UTC), oldest first.

    Spans do not overlap, and together they are what is missing. An unknown bar size raises ValueError; times outside the calendar's
    table raise CalendarError.
    """
    step = STEPS.get(bar_size)
    if step is None:
        raise ValueError(f"bar size {bar_size!r} cannot be planned; use one of {', '.join(STEPS)}")
    there = _merged(have)
    pieces = [piece for piece in _pieces(step, start, end, calendar, there) if piece.start < piece.end]
    if step.seconds:
        return [
            Request(bar_size, f"{(high - low) // SECOND} S", low, high, piece.day, piece.day)
            for piece in pieces
            for low, high in _cut(piece, step.seconds * SECOND)
        ]
    return [
        Request(bar_size, f"{len(group)} D", group[0].start, group[-1].end, group[0].day, group[-1].day)
        for group in _grouped(pieces, step.days, calendar)
    ]


def published_spans(published: PublishedIndex, source: str, group: str, interval: str, calendar: str) -> list[Span]:
    """What the topic has of an interval, as `plan` takes it: sessions of daily bars, else everything up to the latest slice.

    So the latter is right only of slices that came in the order of time, which one-minute bars of a span need not.
    """
    if interval != "1d":
        latest = published.latest_bars(source, group, interval)
        return [(0, latest)] if latest else []
    days = map(date.fromisoformat, sorted(published.daily_sessions(source, group)))
    return [(calendars.session_open(calendar, day), calendars.session_close(calendar, day)) for day in days]


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        elif low < high:
            merged.append((low, high))
    return merged


def _pieces(step: Step, start: int, end: int, calendar: str, have: Sequence[Span]) -> Iterator[_Piece]:
    """What is missing of each session, on the grid of its bars."""
    if start >= end:
        return
    first, last = to_datetime(start).date() - timedelta(days=1), to_datetime(end).date() + timedelta(days=2)
    first, last = max(first, calendars.FIRST_DAY), min(last, calendars.LAST_DAY)
    for day in calendars.sessions(calendar, first, last):
        opens, closes = calendars.session_open(calendar, day), calendars.session_close(calendar, day)
        if closes <= start or opens >= end:
            continue
        if step.bar_s >= HOUR_S:
            there = any(low <= opens and closes <= high for low, high in have)
            if start <= opens and closes <= end and not there:
                yield _Piece(opens, closes, day, opens, closes)
            continue
        bar = step.bar_s * SECOND

        def up(time: int, opens: int = opens, closes: int = closes, bar: int = bar) -> int:
            return min(opens - (opens - time) // bar * bar, closes)

        def down(time: int, opens: int = opens, closes: int = closes, bar: int = bar) -> int:
            return time if time == closes else opens + (time - opens) // bar * bar

        low = up(max(start, opens))
        stop = down(min(end, closes))
        for gone, back in have:
            # A bar that `have` holds a part of is not there.
            gone, back = up(max(gone, opens)), down(min(back, closes))
            if back <= low or gone >= stop or gone >= back:
                continue
            yield _Piece(low, min(gone, stop), day, opens, closes)
            low = max(low, back)
        yield _Piece(low, stop, day, opens, closes)


def _cut(piece: _Piece, longest: int) -> Iterator[Span]:
    """Spans of at most `longest` whose bounds lie on multiples of it from the open, so that a plan made anew asks alike."""
    low = piece.start
    while low < piece.end:
        high = min(piece.opens + ((low - piece.opens) // longest + 1) * longest, piece.end)
        yield low, high
        low = high


def _grouped(pieces: Sequence[_Piece], days: int, calendar: str) -> Iterator[list[_Piece]]:
    """Runs of sessions without a gap between them that lie within `days` days of the calendar."""
    if not pieces:
        return
    group = [pieces[0]]
    for before, piece in pairwise(pieces):
        joined = (
            before.end == before.closes
            and piece.start == piece.opens
            and calendars.next_session(calendar, before.day) == piece.day
            and (piece.day - group[0].day).days < days
        )
        if not joined:
            yield group
            group = []
        group.append(piece)
    yield group
