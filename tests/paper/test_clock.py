"""The market clock: its pace, its bounds in wall time, and the order of what it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from datetime import time as clock_time
from typing import Any

import pytest

from tests.paper.harness import connect, connected, eventually, ib, running, stock, to
from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE, NEW_YORK, SECOND, at, to_datetime
from triplane.paper.gateway import Gateway
from triplane.paper.market import clock as market_clock
from triplane.paper.market.clock import Leg, MarketClock, Pace
from triplane.paper.market.path import STEP

DAY = date(2018, 1, 19)
OPEN, CLOSE = calendars.session_open("XNYS", DAY), calendars.session_close("XNYS", DAY)


def leg(clock: str, *, orders: bool = False, pace: Pace | None = None, day: date = DAY) -> tuple[str, float, str]:
    pace = pace or Pace()
    now = at(day, clock_time.fromisoformat(clock))
    opens, closes = calendars.session_open("XNYS", day), calendars.session_close("XNYS", day)
    found = pace.leg(now, opens, closes, pace.decisions(day), orders)
    return f"{to_datetime(found.until, NEW_YORK):%H:%M:%S}", found.speed, found.phase


@pytest.mark.parametrize(
    ("clock", "orders", "expected"),
    [
        ("09:30", False, ("10:03:20", 200_000.0, "idle")),
        ("15:10", False, ("15:20:00", 200_000.0, "idle")),
        ("15:20", False, ("15:20:05", 1500.0, "approach")),
        ("15:28:55", False, ("15:29:00", 1500.0, "approach")),
        ("15:29", False, ("15:29:05", 300.0, "slow")),
        ("15:30", False, ("15:30:05", 30.0, "slow")),
        ("15:30", True, ("15:30:05", 30.0, "slow")),
        ("15:30:05", False, ("15:30:10", 300.0, "slow")),
        ("15:29:55", False, ("15:30:00", 30.0, "slow")),
        ("15:35:55", False, ("15:36:00", 300.0, "slow")),
        ("15:36", False, ("16:00:00", 200_000.0, "idle")),
        ("15:50", False, ("16:00:00", 200_000.0, "idle")),
        ("15:36", True, ("15:36:05", 300.0, "slow")),
        ("10:00", True, ("10:00:05", 300.0, "slow")),
        ("15:59:58", True, ("16:00:00", 300.0, "slow")),
    ],
)
def test_pace(clock: str, orders: bool, expected: tuple[str, float, str]) -> None:
    assert leg(clock, orders=orders) == expected


def test_pace_on_an_early_close_and_off_the_grid() -> None:
    early = date(2018, 7, 3)
    assert leg("12:20", day=early) == ("12:20:05", 1500.0, "approach")
    assert leg("12:30:05", day=early) == ("12:30:10", 300.0, "slow")
    odd = Pace(rebalance="15:31")
    assert leg("15:10", pace=odd) == ("15:21:00", 200_000.0, "idle")


def test_pace_around_an_edit_is_slow_at_both_times_and_parents_that_live_longer_are_seen_out() -> None:
    pace = Pace(rebalance="14:00", earlier="15:30", stream_after=11 * MINUTE)
    assert leg("13:49", pace=pace) == ("13:50:00", 200_000.0, "idle")
    assert leg("13:50", pace=pace) == ("13:50:05", 1500.0, "approach")
    assert leg("13:59:55", pace=pace) == ("14:00:00", 30.0, "slow")
    assert leg("14:10:55", pace=pace) == ("14:11:00", 300.0, "slow")
    assert leg("14:11", pace=pace) == ("14:44:20", 200_000.0, "idle")
    assert leg("15:19", pace=pace) == ("15:20:00", 200_000.0, "idle")
    assert leg("15:30", pace=pace) == ("15:30:05", 30.0, "slow")
    assert leg("15:41", pace=pace) == ("16:00:00", 200_000.0, "idle")


def test_real_time_streams_all_day() -> None:
    pace = Pace(speed=1, approach_speed=1, idle_speed=1)
    assert leg("10:00", pace=pace) == ("10:00:05", 1.0, "slow")


class Recording:
    """What the clock asked for, in order."""

    def __init__(self) -> None:
        self.legs: list[tuple[int, bool]] = []
        self.days: list[date] = []
        self.closes = 0
        self.orders = False

    async def opened(self, day: date) -> None:
        self.days.append(day)

    async def leg(self, until: int, streaming: bool) -> None:
        self.legs.append((until, streaming))

    async def closed(self) -> None:
        self.closes += 1

    def clock(self, sessions: int, pace: Pace, pause: float = 0.0) -> MarketClock:
        days = calendars.sessions("XNYS", DAY, date(2018, 3, 1))[:sessions]
        return MarketClock(
            days,
            pace,
            on_open=self.opened,
            on_leg=self.leg,
            on_close=self.closed,
            open_orders=lambda: self.orders,
            session_pause=pause,
        )


async def test_a_run_streams_every_step_around_the_decision() -> None:
    seen = Recording()
    clock = seen.clock(3, Pace(speed=30_000, approach_speed=100_000, idle_speed=10_000_000))
    clock.start()
    await asyncio.wait_for(clock.run(), 20)
    assert (len(seen.days), seen.closes, clock.finished, clock.phase) == (3, 3, True, "finished")
    for day in seen.days:
        decision = calendars.decision_time("XNYS", day, "15:30")
        streamed = [until for until, streaming in seen.legs if streaming and abs(until - decision) < 60 * MINUTE]
        assert streamed == list(range(decision - 10 * MINUTE + STEP, decision + 6 * MINUTE + 1, STEP))
    ends = [until for until, _ in seen.legs]
    assert ends == sorted(set(ends))
    assert not clock.running


async def test_speed_is_an_upper_bound() -> None:
    seen = Recording()
    clock = seen.clock(1, Pace(speed=3000, approach_speed=3000, idle_speed=10_000_000))
    await clock.advance_to(at(DAY, clock_time(15, 29)))
    clock.start()
    began = time.monotonic()
    task = asyncio.create_task(clock.run())
    await eventually(lambda: clock.now >= at(DAY, clock_time(15, 36)))
    assert time.monotonic() - began >= 7 * 60 / 3000 * 0.95
    await task


async def test_an_open_order_keeps_the_clock_slow_until_the_close() -> None:
    seen = Recording()
    seen.orders = True
    clock = seen.clock(1, Pace(speed=2_000_000, approach_speed=2_000_000, idle_speed=4_000_000))
    clock.start()
    await asyncio.wait_for(clock.run(), 20)
    assert [until for until, streaming in seen.legs if streaming] == list(range(OPEN + STEP, CLOSE + 1, STEP))


async def test_pause_stands_and_reading_never_leaves_the_leg() -> None:
    seen = Recording()
    clock = seen.clock(2, Pace(speed=20, approach_speed=20, idle_speed=20))
    before = clock.now
    assert clock.reading() == before == OPEN - 30 * MINUTE
    task = asyncio.create_task(clock.run())
    await asyncio.sleep(0.05)
    assert clock.now == before
    clock.start()
    await eventually(lambda: clock.reading() > OPEN)
    assert OPEN <= clock.reading() < OPEN + STEP
    assert clock.now == OPEN
    clock.pause()
    assert (clock.phase, clock.running) == ("held", False)
    await clock.advance_to(OPEN + 10 * MINUTE + 3 * SECOND)
    assert clock.now == OPEN + 10 * MINUTE
    await clock.advance_to(OPEN + 10 * MINUTE + 4 * SECOND)
    assert clock.now == OPEN + 10 * MINUTE
    await clock.advance_to(CLOSE + MINUTE)
    assert (clock.now, clock.in_session, seen.closes) == (CLOSE, False, 1)
    await clock.advance_to(CLOSE + 400 * 24 * 60 * MINUTE)
    assert clock.finished
    clock.start()
    await asyncio.wait_for(task, 10)


async def test_clients_are_answered_while_the_clock_is_moved() -> None:
    seen = Recording()
    clock = seen.clock(2, Pace())
    moving = asyncio.create_task(clock.advance_to(calendars.session_close("XNYS", clock.days[1])))
    turns = 0
    while not moving.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > len(seen.legs) > 100


async def test_resuming_inside_and_after_a_session() -> None:
    seen = Recording()
    clock = seen.clock(3, Pace())
    clock.resume_at(1, calendars.session_open("XNYS", clock.days[1]) + MINUTE)
    assert (clock.in_session, clock.day) == (True, clock.days[1])
    clock.resume_at(1, calendars.session_close("XNYS", clock.days[1]))
    assert not clock.in_session
    await clock.advance_to(calendars.session_open("XNYS", clock.days[2]) + MINUTE)
    assert seen.days == [clock.days[2]]


async def test_an_order_during_an_idle_leg_shortens_it() -> None:
    seen = Recording()
    clock = seen.clock(1, Pace(speed=100_000, approach_speed=100_000, idle_speed=100_001))
    await clock.advance_to(OPEN)
    clock.start()
    task = asyncio.create_task(clock.run())
    await eventually(lambda: clock.phase == "idle")
    seen.orders = True
    await eventually(lambda: clock.streaming)
    first = next(until for until, streaming in seen.legs if streaming)
    earlier = [until for until, streaming in seen.legs if not streaming]
    assert first == max(earlier, default=OPEN) + STEP
    clock.pause()
    task.cancel()


def test_leg_streams_when_it_is_slow() -> None:
    assert Leg(1, 1.0, "slow").streaming
    assert Leg(1, 1.0, "approach").streaming
    assert not Leg(1, 1.0, "idle").streaming


async def shown(quantity: float) -> list[tuple[object, ...]]:
    """Bars that the gateway shows to a client that buys `quantity` meanwhile."""
    async with running() as gateway, connected(gateway) as client:
        bars = client.reqRealTimeBars(stock("RRC"), 5, "TRADES", True)
        await client.reqCurrentTimeAsync()
        await to(gateway, "15:29")
        if quantity:
            client.placeOrder(stock("RRC"), ib.MarketOrder("BUY", quantity, orderRef="R", tif="DAY"))
            await eventually(lambda: gateway.core.desk.executions)
        await to(gateway, "15:36")
        await eventually(lambda: len(bars) == 192)
        return [(b.time, b.open_, b.high, b.low, b.close, b.volume) for b in bars]


async def test_the_market_does_not_depend_on_its_clients() -> None:
    assert await shown(0) == await shown(5000)


async def _trades_and_leaves(gateway: Gateway, client_id: int) -> None:
    await to(gateway, "15:37")
    client = await connect(gateway, client_id)
    trade = client.placeOrder(stock("AAPL"), ib.MarketOrder("BUY", 10))
    await eventually(lambda: gateway.core.desk.orders)
    await to(gateway, "15:38")
    await eventually(lambda: trade.filled() == 10)
    client.disconnect()
    await eventually(lambda: not gateway.core.clients)


async def test_the_night_waits_for_nobody_who_trades_by_hand_and_leaves() -> None:
    async with running(awaited_client_id=12) as gateway:
        clock = gateway.core.clock
        await _trades_and_leaves(gateway, 77)
        clock.start()
        await eventually(lambda: clock.day != DAY, 20)


async def test_the_night_waits_for_a_trader_that_is_away_until_it_has_heard_of_its_executions() -> None:
    """The broker tells today's executions only; a restart of seconds must not take a client past their day."""
    async with running() as gateway:
        clock = gateway.core.clock
        await _trades_and_leaves(gateway, 12)
        clock.start()
        await eventually(lambda: clock.phase == "closed", 20)
        await asyncio.sleep(0.3)  # six times the pause of an ordinary night
        assert clock.day == DAY
        async with connected(gateway) as again:
            assert [fill.execution.shares for fill in again.fills()] == [10]
            await eventually(lambda: clock.day != DAY, 20)


@asynccontextmanager
async def speaking(client: Any) -> AsyncIterator[None]:
    """The client asks for the time ten times a second, as a data plane does."""

    async def ask() -> None:
        while True:
            await client.reqCurrentTimeAsync()
            await asyncio.sleep(0.1)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()


async def test_the_market_stands_while_the_client_of_the_data_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A market minute is 0.2 wall seconds: a data plane that has no processor for two would find the next decision behind it."""
    monkeypatch.setattr(market_clock, "LOAD_S", 0.6)
    async with running(data_client_id=12) as gateway, connected(gateway) as client:
        apple, clock = stock("AAPL"), gateway.core.clock
        await client.qualifyContractsAsync(apple)
        client.reqRealTimeBars(apple, 5, "TRADES", True)
        await to(gateway, "15:31")
        async with speaking(client):
            clock.start()
            await eventually(lambda: clock.now > at(DAY, clock_time(15, 31, 10)))
        heard = gateway.core.clients[12].heard
        await eventually(lambda: clock.current_speed == 0.0)
        assert time.monotonic() - heard > market_clock.SILENT_S
        stands = clock.now
        assert stands < at(DAY, clock_time(15, 35))  # four minutes later, at 300x 0.8 s
        await client.reqCurrentTimeAsync()
        await eventually(lambda: clock.now > stands)
        # Who never speaks again is waited for once, at the latest while the next session streams.
        await eventually(lambda: clock.now > at(clock.days[1], clock_time(15, 31)))
        assert gateway.core.data_client.silence() > market_clock.LOAD_S


async def test_a_decision_waits_until_the_days_before_it_were_asked_for() -> None:
    """A night is some hundred wall milliseconds: a data plane on a busy machine had not asked for the day's bars before the next decision."""
    day, minute_before = date(2018, 1, 22), at(date(2018, 1, 22), clock_time(15, 29))
    async with running(data_client_id=12) as gateway, connected(gateway) as client, speaking(client):
        core, apple, clock = gateway.core, stock("AAPL"), gateway.core.clock

        async def ask(what: str = "TRADES") -> None:
            await client.reqHistoricalDataAsync(apple, "", "2 D", "1 day", what, True)

        await client.qualifyContractsAsync(apple)
        client.reqRealTimeBars(apple, 5, "TRADES", True)
        await to(gateway, "15:00")
        await ask()
        await to(gateway, "15:28:50", day)
        clock.start()
        await eventually(lambda: clock.now >= minute_before)
        await ask("ADJUSTED_LAST")  # of dividends and splits no decision is made
        await asyncio.sleep(0.2)  # a market minute passes in that time
        assert (clock.now, clock.current_speed) == (minute_before, 0.0)
        assert clock.running
        await ask()
        await eventually(lambda: clock.now > minute_before)
        clock.pause()
        assert core.data_client.lacks(core.now + 1)
        client.reqRealTimeBars(stock("KO"), 5, "TRADES", True)  # of which it never asked
        await eventually(lambda: len(core.clients[12].subscriptions.bars) == 2)
        await ask()
        assert not core.data_client.lacks(core.now)


async def test_the_wait_for_the_days_before_a_decision_has_an_end_and_is_for_one_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(market_clock, "LOAD_S", 0.1)
    day, soon = date(2018, 1, 22), at(date(2018, 1, 22), clock_time(15, 29, 5))
    for awaited, waits in ((12, 0.1), (77, 0.0)):
        async with running(data_client_id=awaited) as gateway, connected(gateway) as client:
            apple, clock = stock("AAPL"), gateway.core.clock
            await client.qualifyContractsAsync(apple)
            client.reqRealTimeBars(apple, 5, "TRADES", True)
            await client.reqHistoricalDataAsync(apple, "", "2 D", "1 day", "TRADES", True)
            await to(gateway, "15:28:55", day)
            assert gateway.core.data_client.lacks(soon) == (awaited == 12)
            began = time.monotonic()
            clock.start()
            async with speaking(client):
                await eventually(lambda: clock.now >= soon)  # noqa: B023 - awaited at once
            assert time.monotonic() - began >= waits
