"""The market clock: fast while nothing happens, slow around the decision and while an order is open, never ahead of its subscribers.

`Pace` is pure and says, for a market time, how far the next leg goes and how fast. `MarketClock` walks the legs in wall time:

| market time | pace |
|---|---|
| nights, weekends, holidays | jumped over, after a short pause at the close |
| rest of a session, no order open | `idle_speed`, in legs of about 10 ms wall time |
| REBALANCE - 10 min .. REBALANCE - 1 min | `approach_speed`, 5-second steps, streaming |
| REBALANCE - 1 min .. REBALANCE + 6 min (longer where parents live longer), and while any order is open | `speed`, 5-second steps, streaming |
| the last step before REBALANCE and the first after it | `decision_speed` |

The steps around REBALANCE are slower, since that is when the planes decide: at 300 times real time a decision that takes 20 ms would
be made on quotes of 6 s ago, on a machine busy with the ones before and after, neither of which is so in a real market.

After the close it waits for clients that traded in the session and are away (all, or the one that `--awaited-client-id` names), up to
AWAY_S of wall time: the broker tells executions of the current day only, and at this pace a restart of five seconds would otherwise
last for days.

From one close to the next decision it takes less than a wall second, in which a real market has a night: on a busy machine the client that
feeds the planes (`--data-client-id`) would not have asked for the day's bars by then. So a minute before the decision it waits, once a
session and up to LOAD_S of wall time, until that client has asked for daily bars since the last close. And while it streams, market time
stands, as long at most, when that client was silent for so long that BEHIND_S of it would have passed: a socket takes minutes of the market
before it tells of a reader that is late.

A leg ends on the grid of 5-second steps from the open. While streaming no step is skipped: each is awaited, delivery included,
before the next begins, so a slow or stopped subscriber stops the market. When idle_speed <= speed the whole session streams.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE, SECOND
from triplane.paper.market.path import STEP

STREAM_BEFORE: Final = 10 * MINUTE
SLOW_BEFORE: Final = MINUTE
STREAM_AFTER: Final = 6 * MINUTE
IDLE_LEG_S: Final = 0.01  # wall
AWAY_S: Final = 60.0
LOAD_S: Final = 20.0
BEHIND_S: Final = 150.0  # market
SILENT_S: Final = 0.5  # wall: less is no news of a client that speaks ten times a second
MAX_DEBT_S: Final = 0.005  # a late timer is made up for by at most this, so that `speed` is an upper bound
Phase = Literal["held", "closed", "idle", "approach", "slow", "finished"]


@dataclass(frozen=True, slots=True)
class Leg:
    """The next piece of market time: until `until` (ns) at `speed` market seconds per wall second, streaming or not."""

    until: int
    speed: float
    phase: Phase

    @property
    def streaming(self) -> bool:
        """Whether subscribers get its data."""
        return self.phase in ("approach", "slow")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast market time passes within a session."""

    speed: float = 300.0
    approach_speed: float = 1500.0
    idle_speed: float = 200_000.0
    decision_speed: float = 30.0
    rebalance: str = "15:30"
    earlier: str = ""
    """REBALANCE before an edit that the planes may not have taken yet: the market is slow around both."""
    stream_after: int = STREAM_AFTER

    def decisions(self, day: date) -> tuple[int, ...]:
        """The moments of a session around which the market is slow, ns UTC."""
        times = dict.fromkeys((self.rebalance, self.earlier or self.rebalance))
        return tuple(calendars.decision_time(calendars.MARKET_CALENDAR, day, each) for each in times)

    def leg(self, now: int, opens: int, closes: int, decisions: Sequence[int], open_orders: bool) -> Leg:
        """The leg from `now` (opens <= now < closes)."""
        step = min(now + STEP, closes)
        slow = any(at - SLOW_BEFORE <= now < at + self.stream_after for at in decisions)
        if open_orders or slow or self.idle_speed <= self.speed:
            deciding = any(at - STEP <= now < at + STEP for at in decisions)
            return Leg(step, min(self.speed, self.decision_speed) if deciding else self.speed, "slow")
        begins = [at - STREAM_BEFORE for at in decisions]
        if any(begin <= now < begin + STREAM_BEFORE for begin in begins):
            return Leg(step, self.approach_speed, "approach")
        steps = max(int(self.idle_speed * IDLE_LEG_S * SECOND) // STEP, 1)
        stop = min((begin for begin in begins if now < begin), default=closes)
        # A leg ends on the grid of the session's steps, whatever REBALANCE is.
        grid = opens + -(-(stop - opens) // STEP) * STEP
        return Leg(min(now + steps * STEP, grid, closes), self.idle_speed, "idle")


class MarketClock:
    """Drives the market through its sessions. All times are ns UTC of market time unless they say wall."""

    def __init__(
        self,
        days: Sequence[date],
        pace: Pace,
        *,
        on_open: Callable[[date], Awaitable[None]],
        on_leg: Callable[[int, bool], Awaitable[None]],
        on_close: Callable[[], Awaitable[None]],
        open_orders: Callable[[], bool],
        traders_away: Callable[[], bool] = lambda: False,
        days_unasked: Callable[[], bool] = lambda: False,
        silence: Callable[[], float] = lambda: 0.0,
        session_pause: float = 0.05,
    ) -> None:
        """`on_leg(until, streaming)` must bring the market to `until`; the clock waits for it. session_pause: wall s at each close.

        `traders_away` tells whether a client that traded in the session has not been told of it, `days_unasked` whether the daily bars of
        the session before have still to be asked for, `silence` for how many wall seconds the client of the data was not heard.
        """
        self.days = list(days)
        self.pace = pace
        self._on_open, self._on_leg, self._on_close = on_open, on_leg, on_close
        self._open_orders = open_orders
        self._traders_away = traders_away
        self._days_unasked = days_unasked
        self._silence = silence
        self._given_up = False  # whether its present silence has been waited for long enough
        self._loaded = -1  # session whose decision has waited for the days before it
        self._session_pause = session_pause
        self.index = -1  # session under way or, while closed, the last one
        self.in_session = False
        self.now = calendars.session_open(calendars.MARKET_CALENDAR, self.days[0]) - 30 * MINUTE
        self.phase: Phase = "held"
        self.current_speed = 0.0
        self._running = asyncio.Event()
        self._lock = asyncio.Lock()
        self._leg_began: tuple[float, Leg] | None = None

    @property
    def day(self) -> date | None:
        """The session under way or, while closed, the last one; None before the first."""
        return self.days[self.index] if self.index >= 0 else None

    @property
    def finished(self) -> bool:
        """Whether the last session is over."""
        return not self.in_session and self.index == len(self.days) - 1

    @property
    def running(self) -> bool:
        """Whether market time passes."""
        return self._running.is_set() and not self.finished

    @property
    def streaming(self) -> bool:
        """Whether subscribers get data now."""
        return self.phase in ("approach", "slow")

    def start(self) -> None:
        """Let market time pass."""
        self._running.set()

    def pause(self) -> None:
        """Stop market time at the end of the leg under way."""
        self._running.clear()
        if not self.finished:
            self.phase = "held"
        self.current_speed = 0.0

    def reading(self) -> int:
        """Market time now, between legs as well; never past the leg under way."""
        if self._leg_began is None:
            return self.now
        began, leg = self._leg_began
        elapsed = int((time.monotonic() - began) * leg.speed * SECOND)
        return min(self.now + elapsed, max(leg.until - 1, self.now))

    def resume_at(self, index: int, now: int) -> None:
        """Continue an earlier run: inside session `index` when `now` is within it, else after it."""
        self.index, self.now = index, now
        self.in_session = self._opens() <= now < self._closes()

    async def run(self) -> None:
        """Walk all sessions; returns when the last is over."""
        due = time.monotonic()
        while not self.finished:
            await self._running.wait()
            if not self.in_session:
                await self._night()
                async with self._lock:
                    if self._running.is_set() and not self.in_session and not self.finished:
                        await self._next_session()
                due = time.monotonic()
                continue
            if self._loaded != self.index and self._decides_soon():
                self._loaded = self.index
                if await self._stand(self._days_unasked):
                    due = time.monotonic()
                    continue
            leg = self._next_leg()
            if leg.streaming and await self._catch_up(leg.speed):
                due = time.monotonic()
                continue
            self.phase, self.current_speed = leg.phase, leg.speed
            due = max(due, time.monotonic() - MAX_DEBT_S)
            self._leg_began = (due, leg)
            due += (leg.until - self.now) / SECOND / leg.speed
            wait = due - time.monotonic()
            await asyncio.sleep(max(wait, 0.0))
            self._leg_began = None
            async with self._lock:
                # While it slept, an order may have come (a shorter leg is due) or somebody moved or stopped the clock.
                if self._running.is_set() and self.in_session and leg.until > self.now:
                    slower = self._next_leg()
                    await self._walk(slower if slower.until < leg.until else leg)
        self.phase, self.current_speed = "finished", 0.0

    async def _night(self) -> None:
        """Wall time between two sessions."""
        if self.index < 0:
            return
        await asyncio.sleep(self._session_pause)
        given_up = time.monotonic() + AWAY_S
        while self._traders_away() and self._running.is_set() and time.monotonic() < given_up:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # what clients are told is no event of this loop

    def _decides_soon(self) -> bool:
        return any(at - SLOW_BEFORE <= self.now <= at for at in self.pace.decisions(self.days[self.index]))

    async def _catch_up(self, speed: float) -> bool:
        """Stand while the client of the data is behind a market of `speed`; whether it was."""

        def behind() -> bool:
            return self._silence() > max(SILENT_S, BEHIND_S / speed)

        stood = not self._given_up and await self._stand(behind)
        self._given_up = behind()
        return stood

    async def _stand(self, behind: Callable[[], bool]) -> bool:
        """Let no market time pass while something is behind, up to LOAD_S of wall time; whether it was."""
        began, waited = time.monotonic(), False
        while behind() and self._running.is_set() and time.monotonic() < began + LOAD_S:
            waited, self.current_speed = True, 0.0
            await asyncio.sleep(0.02)  # what clients ask is no event of this loop
        return waited

    async def advance_to(self, target: int) -> None:
        """Bring market time to `target` (or the end of the last session) as fast as it goes, delivering as usual."""
        async with self._lock:
            while self.now < target and not self.finished:
                # A leg need not wait for anything, and clients that ask meanwhile would take the gateway for dead.
                await asyncio.sleep(0)
                if not self.in_session:
                    following = calendars.session_open(calendars.MARKET_CALENDAR, self.days[self.index + 1])
                    if following > target:
                        break
                    await self._next_session()
                    continue
                leg = self._next_leg()
                await self._walk(
                    Leg(min(leg.until, self._floor(target)), leg.speed, leg.phase) if leg.until > target else leg
                )
                if self.in_session and self._floor(target) <= self.now:
                    break
            if self.finished:
                self.phase, self.current_speed = "finished", 0.0

    async def _walk(self, leg: Leg) -> None:
        if leg.until > self.now:
            await self._on_leg(leg.until, leg.streaming)
            self.now = leg.until
        if self.now >= self._closes():
            self.in_session = False
            self.phase = "closed"
            await self._on_close()

    async def _next_session(self) -> None:
        self.index += 1
        self.now = self._opens()
        self.in_session = True
        await self._on_open(self.days[self.index])

    def _next_leg(self) -> Leg:
        decisions = self.pace.decisions(self.days[self.index])
        return self.pace.leg(self.now, self._opens(), self._closes(), decisions, self._open_orders())

    def _floor(self, ns: int) -> int:
        return self._opens() + (ns - self._opens()) // STEP * STEP

    def _opens(self) -> int:
        return calendars.session_open(calendars.MARKET_CALENDAR, self.days[self.index])

    def _closes(self) -> int:
        return calendars.session_close(calendars.MARKET_CALENDAR, self.days[self.index])
