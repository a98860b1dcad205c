"""The IBKR source's connection: lost, refused, and made again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from data_plane.gates.clock import ClockSample
from data_plane.sources.ibkr import IbkrSource
from data_plane.sources.ibkr import source as ibkr
from tests.broker.gateways import GatewayProcess
from tests.data_plane.ibkr_rig import ACCOUNT, Rig, rig
from tests.data_plane.support import STEP, day_close, day_open
from tests.waiting import until
from triplane.broker.session import BrokerSession
from triplane.domain.timestamps import MINUTE, SECOND
from triplane.runtime.exit_codes import DaemonExit


async def test_a_cut_connection_comes_back_and_nothing_is_published_twice(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess
) -> None:
    bench, source = running
    before = len(bench.slices("5s"))
    await until(lambda: len(bench.slices("1m")) >= 350)
    await asyncio.to_thread(gateway.fault, "drop")
    await until(lambda: any("connection" in why for why in bench.blocked))
    await until(lambda: bench.blocked[-1] == "")
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: len(bench.slices("5s")) >= before + 12)
    await until(lambda: source._minutes_due == "" and source._side.idle)
    # The minutes of the new connection are those that no stream told.
    told = {record["event_time"] for record in bench.slices("5s")}
    steps = range(0, MINUTE, 5 * SECOND)
    assert not [r for r in bench.slices("1m") if all(r["event_time"] - step in told for step in steps)]
    for interval in ("1d", "1m", "5s"):
        ends = [record["event_time"] for record in bench.slices(interval)]
        assert len(ends) == len(set(ends))
    assert bench.blocked[-1] == ""


async def test_subscriptions_are_made_again_after_1101(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess
) -> None:
    bench, source = running
    assert source._feed is not None
    first = set(source._feed._by_request)
    await asyncio.to_thread(gateway.fault, "notice", code=1101)
    await until(lambda: bench.blocked[-2:] == ["subscribing again", ""])
    assert bench.gaps == 1
    assert source._feed is not None
    assert set(source._feed._by_request).isdisjoint(first)
    before = len(bench.slices("5s"))
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: len(bench.slices("5s")) >= before + 12)
    assert bench.slices("5s")[-1]["missing"] == []


async def test_bars_that_come_twice_or_in_the_wrong_order_are_published_once_and_in_order(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess
) -> None:
    bench, _ = running
    ledger, names = bench.engine.ledger, len(bench.engine.names)
    before = len(bench.slices("5s"))
    await asyncio.to_thread(gateway.fault, "repeat_bars", count=2)
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: len(bench.slices("5s")) >= before + 12)
    streamed = len(bench.slices("5s")[-1]["symbols"])
    assert ledger.deduplicated["ibkr"] == 2 * streamed
    await asyncio.to_thread(gateway.fault, "reorder_bars", count=2)
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: len(bench.slices("5s")) >= before + 24)
    assert ledger.dropped["ibkr", "LATE"] == 0
    ends = [record["event_time"] for record in bench.slices("5s")[before:]]
    assert ends == list(range(ends[0], ends[0] + 24 * STEP, STEP))
    assert sum(record["available_time"] > record["event_time"] for record in bench.slices("5s")) == 2
    assert streamed <= names


async def test_a_message_that_stalls_in_its_middle_is_read_once_it_is_whole(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess
) -> None:
    bench, _ = running
    before = len(bench.slices("5s"))
    await asyncio.to_thread(gateway.fault, "stall", seconds=0.4)
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: len(bench.slices("5s")) >= before + 12)
    assert [record["missing"] for record in bench.slices("5s")[before:]] == [bench.slices("5s")[-1]["missing"]] * 12
    assert [o for o in bench.outputs if o.topic == "data.quarantine"] == []
    assert bench.blocked[-1] == ""


async def test_nobody_there_is_waited_for(gateway: GatewayProcess) -> None:
    gateway.stop()
    bench = rig(gateway)
    source = IbkrSource(bench.context)
    task = asyncio.create_task(source.backfill())
    await until(lambda: len(bench.blocked) >= 2)
    assert f"no TWS or IB Gateway answers at 127.0.0.1:{gateway.port}" in bench.blocked[0]
    await asyncio.to_thread(gateway.start)
    await task
    assert bench.slices("1d")
    assert bench.blocked[-1] == "not subscribed yet"
    await source.close()


async def test_a_taken_client_id_is_for_a_person_to_mend(gateway: GatewayProcess) -> None:
    other = BrokerSession()
    await other.connect("127.0.0.1", gateway.port, 11, ACCOUNT)
    source = IbkrSource(rig(gateway).context)
    with pytest.raises(DaemonExit, match="client id 11 is in use"):
        await source.backfill()
    await other.close()
    await source.close()


async def test_its_own_client_id_is_waited_for_at_a_reconnect(gateway: GatewayProcess) -> None:
    """The gateway may not have noticed yet that the connection before has ended."""
    bench = rig(gateway)
    source = IbkrSource(bench.context)
    await source.backfill()
    await source._leave()
    other = BrokerSession()
    await other.connect("127.0.0.1", gateway.port, 11, ACCOUNT)
    task = asyncio.create_task(source.follow())
    await until(lambda: "its client id is still in use" in bench.blocked[-1])
    await other.close()
    await until(lambda: bench.blocked[-1] == "")
    bench.context.stop.set()
    await asyncio.wait_for(task, 10)
    await source.close()


async def test_a_lost_link_is_said_and_what_the_broker_kept_is_not_asked_for_again(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess
) -> None:
    bench, source = running
    assert source._feed is not None
    first = set(source._feed._by_request)
    for lost in (1100, 2110):
        await asyncio.to_thread(gateway.fault, "notice", code=lost)
        await until(lambda: bench.blocked[-1] == ibkr.LINK_LOST)
        await asyncio.to_thread(gateway.fault, "notice", code=1102)
        await until(lambda: bench.blocked[-1] == "")
    for farm in (2103, 2105, 2157, 2104, 2106, 2158):  # broken and mended: the broker goes on by itself
        await asyncio.to_thread(gateway.fault, "notice", code=farm)
    before = len(bench.slices("5s"))
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: len(bench.slices("5s")) >= before + 12)
    assert set(source._feed._by_request) == first
    assert bench.gaps == 2
    assert "subscribing again" not in bench.blocked
    assert bench.slices("5s")[-1]["missing"] == []


async def test_nothing_is_asked_for_while_the_link_is_lost(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess
) -> None:
    """No server answers then, and a question that is not answered would end the stream, which IB may have kept."""
    bench, source = running
    feed, assets, compare = source._feed, bench.context.assets, bench.context.compare_clock
    assert feed is not None
    looks: list[str] = []

    def looked(name: str, sample: ClockSample | str) -> None:
        looks.append(name)
        compare(name, sample)

    bench.context.compare_clock = looked
    names = feed.symbols
    await asyncio.to_thread(gateway.fault, "notice", code=1100)
    await until(lambda: bench.blocked[-1] == ibkr.LINK_LOST)
    del source._requests.contracts[names[0]]
    bench.context.assets = lambda: assets()[:5]  # type: ignore[method-assign]
    passed = len(looks)
    await until(lambda: len(looks) >= passed + 3)
    assert (feed.symbols, names[0] in source._requests.contracts) == (names, False)
    await asyncio.to_thread(gateway.fault, "notice", code=1102)
    await until(lambda: len(feed.symbols) == 5 and names[0] in source._requests.contracts)
    assert source._feed is feed
    assert "subscribing again" not in bench.blocked


async def test_what_is_silent_is_noticed_and_subscribed_again(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A farm that broke and said nothing when it was mended."""
    bench, source = running
    monkeypatch.setattr(ibkr, "RESUBSCRIBE_EVERY_S", 0.0)
    assert source._feed is not None
    first = set(source._feed._by_request)
    for asset in bench.context.assets():
        await asyncio.to_thread(gateway.fault, "market_data", symbol=asset.symbol, mode="silent")
    began = bench.clock.now()
    for minute in range(1, 5):  # more at once is a leap, in which nothing was expected
        await asyncio.to_thread(gateway.advance, minutes=1)
        await until(lambda minute=minute: bench.clock.now() >= began + minute * MINUTE)
    await until(lambda: ("freshness", "", False, "SOURCE_SILENT") in bench.gates())
    await until(lambda: "subscribing again" in bench.blocked)
    monkeypatch.setattr(ibkr, "RESUBSCRIBE_EVERY_S", 600.0)  # the minute that follows comes at once, and is to be heard
    await until(lambda: bench.blocked[-1] == "")
    await asyncio.to_thread(gateway.fault, "clear")
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: ("freshness", "", True, "") in bench.gates())
    assert source._feed is not None
    assert set(source._feed._by_request).isdisjoint(first)


async def test_a_gateway_that_hangs_is_left_and_come_back_to(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, _ = running
    await until(lambda: len(bench.slices("1m")) >= 350)
    monkeypatch.setattr(ibkr, "ANSWER_S", 0.3)
    await asyncio.to_thread(gateway.fault, "hang", seconds=2)
    await until(lambda: any("did not tell its time within 0.3 s" in why for why in bench.blocked))
    monkeypatch.setattr(ibkr, "ANSWER_S", 5.0)
    await until(lambda: bench.blocked[-1] == "")
    before = len(bench.slices("5s"))
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: len(bench.slices("5s")) >= before + 12)
    ends = [record["event_time"] for record in bench.slices("5s")]
    assert len(ends) == len(set(ends))


@pytest.mark.usefixtures("leaps_are_known")
async def test_a_half_day_ends_at_its_early_close(tmp_path: Path) -> None:
    """The day after Thanksgiving 2017: no session on Thursday, and on Friday the exchange closes at 13:00."""
    gateway = GatewayProcess(tmp_path / "gateway", "--hold", "--start", "2017-11-22", "--sessions", "3")
    try:
        bench = rig(gateway)
        source = IbkrSource(bench.context)
        await source.backfill()
        task = asyncio.create_task(source.follow())
        await until(lambda: bench.blocked[-1] == "")
        await asyncio.to_thread(gateway.advance, to="2017-11-24T12:25")
        await until(lambda: any(record["session"] == "2017-11-24" for record in bench.slices("5s")))
        await asyncio.to_thread(gateway.advance, to="2017-11-24T13:00")
        await until(lambda: bench.slices("1d")[-1]["session"] == "2017-11-24")
        closes = day_close("2017-11-24")
        assert (bench.slices("1d")[-1]["available_time"], closes % (24 * 60 * MINUTE)) == (closes, 18 * 60 * MINUTE)
        await until(lambda: bench.slices("1m")[-1]["event_time"] == closes)
        await asyncio.to_thread(gateway.advance, to="2017-11-27T15:25")
        await until(lambda: bench.slices("5s")[-1]["session"] == "2017-11-27")
        bench.context.stop.set()
        await asyncio.wait_for(task, 10)
        await source.close()
        # Nothing was expected between the early close and Monday, and nobody was called stale for it.
        ends = [record["event_time"] for record in bench.slices("5s")]
        assert not [end for end in ends if closes < end < day_open("2017-11-27")]
        assert "2017-11-23" not in {record["session"] for record in bench.slices("1d") + bench.slices("1m")}
        assert bench.gates() == []
    finally:
        gateway.stop()
