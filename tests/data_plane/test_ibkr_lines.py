"""The IBKR source at a gateway with fewer market data lines than its names need."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_plane.observations import QuoteTick, TradeTick
from data_plane.sources.ibkr import IbkrSource, lines
from data_plane.sources.ibkr import source as ibkr
from data_plane.sources.ibkr import subscriptions as ibkr_lines
from data_plane.sources.ibkr.pacing import Pacing
from tests.broker.gateways import GatewayProcess
from tests.data_plane.ibkr_rig import ACCOUNT, Rig, following, rig
from tests.waiting import until
from triplane.broker.contracts import make_contract, resolve
from triplane.broker.market_data import BARS, BUST, TRADES, BarHandler, MarketFeed
from triplane.broker.session import BrokerSession
from triplane.domain.timestamps import MINUTE

FIRST = ("WMT", "XOM")
# A turn a minute: the market is moved minute by minute, faster than anybody looks.
TURNS = {"STREAM_FIRST": ",".join(FIRST), "ROTATION_S": 50.0, "ROTATION_ROUND_S": 300.0, "QUOTE_FRESHNESS_S": 1200.0}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    process = GatewayProcess(
        tmp_path / "gateway",
        "--hold",
        "--sessions",
        "3",
        "--speed",
        "100",
        "--lines",
        "16",
        "--tick-by-tick-lines",
        "1",
    )
    yield process
    process.stop()


def quoted_since(bench: Rig, time: int) -> Counter[str]:
    return Counter(item.symbol for item in bench.taken if isinstance(item, QuoteTick) and item.time > time)


async def pass_by(gateway: GatewayProcess, bench: Rig, source: IbkrSource) -> int:
    """A round of turns, minute by minute; returns when it began, ns."""
    began = bench.slices("5s")[-1]["event_time"]
    for minute in range(1, 6):
        slot = source._lines._slot_began
        await asyncio.to_thread(gateway.advance, minutes=1)
        await until(lambda minute=minute: bench.slices("5s")[-1]["event_time"] >= began + minute * MINUTE)
        await until(lambda slot=slot: source._lines._slot_began > slot)
    return int(began)


@pytest.mark.usefixtures("leaps_are_known")
async def test_some_names_are_streamed_and_every_other_has_its_turn(gateway: GatewayProcess) -> None:
    async with following(gateway, MARKET_DATA_LINES=16, TICK_BY_TICK_LINES=1, **TURNS) as (bench, source):
        names = {asset.symbol for asset in bench.context.assets()}
        began = await pass_by(gateway, bench, source)
        assert source._feed is not None
        streamed = source._feed.having(BARS)
        assert (len(streamed), source._feed.lines) == (6, 16)
        assert set(FIRST) < set(streamed)
        slices = [record for record in bench.slices("5s") if record["event_time"] > began]
        assert all(set(record["symbols"]) == set(streamed) for record in slices)
        assert all(set(record["missing"]) == names - set(streamed) for record in slices)
        await until(lambda: set(quoted_since(bench, began)) == names)
        # Nobody is stale or missed, trades are told where they are told whole, and the gateway has refused nothing.
        assert bench.gates() == []
        assert {item.symbol for item in bench.taken if isinstance(item, TradeTick)} <= set(streamed)
        assert source._feed.having(TRADES) == [FIRST[0]]
        every = [i for i in bench.taken if isinstance(i, TradeTick) and i.symbol == FIRST[0] and i.time > began]
        assert len(every) >= 10
        assert source._lines._budget.granted > 16


async def test_a_budget_that_is_smaller_than_it_says_is_learned(gateway: GatewayProcess) -> None:
    async with following(gateway, **TURNS) as (bench, source):
        assert source._feed is not None
        names = {asset.symbol for asset in bench.context.assets()}
        assert (source._lines._budget.granted, source._lines._trades_budget.granted) == (16, 1)
        began = await pass_by(gateway, bench, source)
        streamed = set(source._feed.having(BARS))
        assert (len(streamed), source._feed.lines, source._feed.having(TRADES)) == (6, 16, [FIRST[0]])
        assert set(FIRST) < streamed
        await until(lambda: set(quoted_since(bench, began)) == names)
        assert set(bench.slices("5s")[-1]["symbols"]) == streamed
        # After a reconnect it is asked for the whole again: other programs may have let go of theirs.
        await asyncio.to_thread(gateway.fault, "drop")
        await until(lambda: any("connection" in why for why in bench.blocked))
        await until(lambda: bench.blocked[-1] == "")
        await until(lambda: source._lines._budget.granted == 16)
        await until(lambda: source._feed is not None and source._feed.lines == 16)


async def test_a_name_whose_tick_by_tick_trades_are_refused_has_those_of_its_quotes(
    gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(gateway.fault, "tick_error")
    async with following(gateway, **TURNS) as (bench, source):
        assert source._feed is not None
        assert (source._feed.having(TRADES), source._lines._no_trades) == ([FIRST[1]], {FIRST[0]})
        traded = Counter(item.symbol for item in bench.taken if isinstance(item, TradeTick))
        assert traded[FIRST[0]] >= 10
        assert traded[FIRST[1]] >= 10
        # Asked for again with all else. A line that ends later, with a trade that is taken back, is made anew, and so are bars.
        await asyncio.to_thread(gateway.fault, "notice", code=1101)
        await until(lambda: source._feed is not None and source._feed.having(TRADES) == [FIRST[0]])
        assert source._session is not None
        line = source._feed._lines[FIRST[0]]
        trades, looks, plan = line.trades_id, list[int](), source._lines._plan

        def looked(names: list[str]) -> tuple[lines.LinePlan, float]:
            looks.append(len(names))
            return plan(names)

        monkeypatch.setattr(source._lines, "_plan", looked)
        monkeypatch.setattr(source._lines, "_is_paced", lambda: True)
        monkeypatch.setattr(ibkr_lines, "TRADES_AGAIN_S", 600.0)
        for request in (trades, int(line.bars.reqId)):
            source._session.ib.wrapper.error(request, BUST, "Bust event occurred, current subscription is deactivated.")
        await until(lambda: len(looks) >= 3)
        assert FIRST[0] not in source._feed.having(TRADES)  # IB takes one such request of a name in a while
        monkeypatch.setattr(ibkr_lines, "TRADES_AGAIN_S", 0.0)
        await until(lambda: line.trades_id not in (trades, -1))
        before = len(bench.slices("5s"))
        await asyncio.to_thread(gateway.advance, minutes=1)
        await until(lambda: len(bench.slices("5s")) >= before + 12)
        assert FIRST[0] in bench.slices("5s")[-1]["symbols"]
        # A notice about the farms ends nothing; another session of the login ends it for a while, longer each time, or until the link is back.
        trades = line.trades_id
        source._session.ib.wrapper.error(
            trades, 2108, "Market data farm connection is inactive but should be available"
        )
        assert (line.trades_id, source._lines._no_trades) == (trades, set())
        monkeypatch.setattr(ibkr_lines, "TRADES_AGAIN_S", 600.0)
        monkeypatch.setattr(source._lines, "_is_paced", lambda: False)
        for wait in (600.0, 960.0):
            source._session.ib.wrapper.error(line.trades_id, 10197, "No market data during competing live session")
            assert line.trades_id == -1
            assert source._lines._trades_held[FIRST[0]][1] == wait
            assert source._lines._no_trades == set()
            passed = len(looks)
            await until(lambda passed=passed: len(looks) >= passed + 3)
            assert line.trades_id == -1
            source._lines._trades_held[FIRST[0]] = 0.0, wait
            await until(lambda: line.trades_id != -1)
        source._session.ib.wrapper.error(line.trades_id, 504, "Not connected")
        for code in (1100, 1102):
            await asyncio.to_thread(gateway.fault, "notice", code=code)
            await until(lambda lost=code == 1100: (bench.blocked[-1] == ibkr.LINK_LOST) == lost)
        await until(lambda: line.trades_id != -1)


@pytest.mark.parametrize("found_by", ["time", "1101"])
async def test_lines_that_another_program_lets_go_are_found(
    gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch, found_by: str
) -> None:
    """It held nearly all when the source subscribed: too few for a single name, which says nothing of a minute later."""
    monkeypatch.setattr(lines, "TRY_AGAIN_S", 0.2 if found_by == "time" else 600.0)
    monkeypatch.setattr(ibkr_lines, "NO_LINES_S", 0.1 if found_by == "time" else 600.0)
    bench = rig(gateway, **TURNS)
    names = [asset.symbol for asset in bench.context.assets()]
    other, handler = BrokerSession(), BarHandler(*[lambda *_: None] * 4)
    await other.connect("127.0.0.1", gateway.port, 31, ACCOUNT)
    theirs = MarketFeed(other, handler, bench.clock.now)
    for name in names[:15]:
        theirs.subscribe(name, make_contract(name, con_id=(await resolve(other, make_contract(name))).con_id))
    await other.server_time()
    source = IbkrSource(bench.context)
    await source.backfill()
    task = asyncio.create_task(source.follow())
    await until(lambda: source._lines._budget.granted == 2 and source._lines._held_until > 0.0)
    theirs.close()
    await other.close()
    if found_by == "1101":
        await asyncio.to_thread(gateway.fault, "notice", code=1101)
    await until(lambda: source._feed is not None and source._feed.lines == 16 and len(source._feed.having(BARS)) == 6)
    bench.context.stop.set()
    await asyncio.wait_for(task, 10)
    await source.close()


async def test_bars_that_ib_refuses_for_the_pace_of_subscriptions_come_back(tmp_path: Path) -> None:
    """15 seconds last three here: two resubscriptions in a row are identical requests, which the gateway takes only once."""
    gateway = GatewayProcess(tmp_path / "gateway", "--hold", "--sessions", "3", "--pacing", "120")
    try:
        async with following(gateway) as (bench, source):
            source._requests.pacing = Pacing(120 / 600)
            assert source._feed is not None
            for count in (1, 2):
                await asyncio.to_thread(gateway.fault, "notice", code=1101)
                await until(lambda count=count: bench.blocked.count("subscribing again") == count)
                await until(lambda: bench.blocked[-1] == "")
            await until(
                lambda: source._lines._refused_for_pace
            )  # those names have no bars, until they are asked for again
            # What the gateway has taken counts, not what has been asked for: it may refuse one more.
            deadline = time.monotonic() + 90
            while sum(client["bars"] for client in (await asyncio.to_thread(gateway.status))["clients"]) < 20:
                assert time.monotonic() < deadline, source._lines._refused_for_pace
                await asyncio.sleep(0.1)  # what it has taken is no event of this loop
            began = bench.slices("5s")[-1]["event_time"]
            await asyncio.to_thread(gateway.advance, minutes=1)
            await until(lambda: bench.slices("5s")[-1]["event_time"] >= began + MINUTE)
            assert bench.slices("5s")[-1]["missing"] == []
    finally:
        gateway.stop()
