"""The IBKR source's connection: lost, refused, and made again."""

from __future__ import annotations

import asyncio

import pytest

from data_plane.sources.ibkr import IbkrSource
from tests.broker.gateways import GatewayProcess
from tests.data_plane.ibkr_rig import ACCOUNT, Rig, rig
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
    await until(lambda: source._minutes_due == "" and not source._tasks)
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
    assert source._feed is not None
    assert set(source._feed._by_request).isdisjoint(first)
    before = len(bench.slices("5s"))
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: len(bench.slices("5s")) >= before + 12)
    assert bench.slices("5s")[-1]["missing"] == []


async def test_bars_that_come_twice_or_late_are_counted_and_not_published(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess
) -> None:
    bench, _ = running
    ledger, names = bench.engine.ledger, len(bench.engine.names)
    before = len(bench.slices("5s"))
    await asyncio.to_thread(gateway.fault, "repeat_bars", count=2)
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: len(bench.slices("5s")) >= before + 12)
    streamed = len(bench.slices("5s")[-1]["symbols"])
    # A bar that comes again once its interval is on its way is late; one that comes before is a repetition.
    assert ledger.deduplicated["ibkr"] + ledger.dropped["ibkr", "LATE"] == 2 * streamed
    late = ledger.dropped["ibkr", "LATE"]
    await asyncio.to_thread(gateway.fault, "reorder_bars")
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: len(bench.slices("5s")) >= before + 23 and ledger.dropped["ibkr", "LATE"] == late + streamed)
    ends = [record["event_time"] for record in bench.slices("5s")]
    assert ends == sorted(set(ends))
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
