"""What Kafka refuses: kept in its order, tried one at a time, told once, and never lost or counted twice."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from data_plane.daemon import outlet as outlet_module
from data_plane.daemon.outlet import Outlet
from data_plane.daemon.spool import Spool, Spooled
from data_plane.outputs import Output
from tests.data_plane.outlets import Broker, away, kept, output
from tests.waiting import until
from triplane.runtime.kafka_out import DeliveryError, TooLargeError, TopicWriter
from triplane.runtime.settings import Settings


@pytest.mark.parametrize("may_wait", [False, True])
async def test_what_a_producer_that_failed_for_good_refused_is_there_for_the_next_run(
    tmp_path: Path, may_wait: bool
) -> None:
    """A broker that lost records breaks it. The refused record and those after it follow what was handed over before."""
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None, lambda _: may_wait)
    way.put(output(1))
    way.let_go()
    broker.refuses = DeliveryError("data.bars: not taken: Local: Fatal error")

    async def more() -> None:
        way.put(output(2), output(3))
        await way.pump()

    with pytest.raises(DeliveryError, match="not taken"):
        await asyncio.wait_for(more(), 5)
    assert way.in_flight() == {"ibkr": 3}
    way.close()
    assert kept(tmp_path / "s") == [1, 2, 3]


async def test_what_kafka_refuses_for_its_clock_keeps_its_order_and_is_tried_one_at_a_time(
    tmp_path: Path, quick: None
) -> None:
    broker, told = Broker(), list[str]()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None, on_refusal=told.append)
    way.put(output(1), output(2))
    pump = asyncio.create_task(way.pump())
    for number in range(2):
        broker.futures[number].set_exception(DeliveryError("data.bars: not acknowledged: Broker: Invalid timestamp"))
    await until(lambda: len(broker.sent) == 3)
    way.put(output(3))
    for number in range(2, 12):
        await until(lambda number=number: len(broker.sent) == number + 1)
        assert broker.sent[number][1]["event_time"] == 1
        assert way.in_flight() == {"ibkr": 3}
        broker.futures[number].set_exception(DeliveryError("data.bars: not acknowledged: Broker: Invalid timestamp"))
    assert told == ["data.bars: not acknowledged: Broker: Invalid timestamp"]
    await until(lambda: len(broker.sent) == 13)
    broker.acknowledge()
    await until(lambda: len(broker.sent) == 15)
    broker.acknowledge()
    await until(lambda: way.acknowledged["ibkr", False] == 3)
    assert [record["event_time"] for _, record, _ in broker.sent[-3:]] == [1, 2, 3]
    assert told[1:] == [""]
    assert way.in_flight() == {}
    way.put(output(4))
    assert len(broker.sent) == 16
    broker.acknowledge()
    pump.cancel()
    way.close()


async def test_what_comes_while_refusals_arrive_goes_to_disk_behind_them(tmp_path: Path, quick: None) -> None:
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None)
    way.put(output(1), output(2))
    broker.futures[0].set_exception(DeliveryError("Broker: Invalid timestamp"))
    await until(lambda: way._refusal)
    way.put(output(3))
    assert (way.spooled, len(broker.sent)) == (0, 2)
    assert way.in_flight() == {"ibkr": 3}
    broker.futures[1].set_exception(DeliveryError("Broker: Invalid timestamp"))
    await asyncio.wait_for(way.drained(), 5)
    assert way.spooled == 3
    way.close()
    assert kept(tmp_path / "s") == [1, 2, 3]


async def test_what_was_under_way_goes_before_what_is_on_disk(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka is away, then back with a wrong clock."""
    broker, way = await away(tmp_path)
    way.put(output(2), output(3))
    assert way.spooled == 2
    monkeypatch.setattr(outlet_module, "AWAY_S", 60.0)
    broker.futures[0].set_exception(DeliveryError("Broker: Invalid timestamp"))
    await until(lambda: way.spooled == 3)
    assert way.in_flight() == {"ibkr": 3}
    way.close()
    assert kept(tmp_path / "s") == [1, 2, 3]


async def test_what_came_from_disk_and_is_refused_goes_back_to_its_place(tmp_path: Path, quick: None) -> None:
    spool = Spool(tmp_path / "s", 10**6)
    for number in range(1, 31):
        spool.append(output(number), number)
    broker = Broker()
    way = Outlet(broker, spool, lambda _: None)
    pump = asyncio.create_task(way.pump())
    await until(lambda: len(broker.sent) == 30)
    for number in range(10):
        broker.futures[number].set_result(number)
    for number in reversed(range(10, 30)):
        broker.futures[number].set_exception(DeliveryError("Broker: Invalid timestamp"))
    await until(lambda: len(broker.sent) == 31)
    assert way.in_flight() == {"ibkr": 20}
    assert way.acknowledged["ibkr", False] == 10
    pump.cancel()
    await asyncio.wait({pump})
    way.close()
    assert kept(tmp_path / "s") == list(range(11, 31))


async def test_nothing_piles_up_in_memory_where_refusals_cease_since_kafka_is_away(
    tmp_path: Path, impatient: None
) -> None:
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None)
    way.put(output(1), output(2))
    broker.futures[0].set_exception(DeliveryError("Broker: Invalid timestamp"))
    await until(lambda: way.away)
    way.put(*(output(number) for number in range(3, 60)))
    assert way.spooled == 57
    assert way.in_flight() == {"ibkr": 59}
    way.close()
    assert kept(tmp_path / "s") == list(range(1, 60))


async def test_a_refusal_is_told_once_whatever_topics_it_meets_and_its_end_once_a_record_is_taken(
    tmp_path: Path, quick: None
) -> None:
    """On a disk that takes nothing the next record is tried as it comes."""
    broker, told, dropped = Broker(), list[str](), list[Output]()
    way = Outlet(broker, Spool(tmp_path / "s", 1), dropped.append, on_refusal=told.append)
    pump = asyncio.create_task(way.pump())
    for number in range(1, 21):
        way.put(output(number, "data.bars" if number % 2 else "data.quarantine"))
        await until(lambda number=number: len(broker.sent) == number)
        broker.futures[-1].set_exception(DeliveryError(f"{broker.sent[-1][0]}: Invalid timestamp"))
        await until(lambda number=number: len(dropped) == number)
        await until(lambda: not way._refusal)
    assert told == ["data.bars: Invalid timestamp"]
    way.put(output(21))
    broker.acknowledge()
    await until(lambda: told == ["data.bars: Invalid timestamp", ""])
    pump.cancel()
    way.close()


@pytest.mark.integration
async def test_the_producer_outlives_whoever_waited_for_a_record(
    settings: Settings, tmp_path: Path, quick: None
) -> None:
    """The pump is cancelled while the first record is tried; the producer's thread must go on."""
    writer = TopicWriter(settings, "data")
    future = writer.send("data.bars", output(1).record)
    assert not future.cancel()
    assert future.result(20) == 0
    assert writer._poller.is_alive()
    writer.close()
    spool = Spool(tmp_path / "s", 10**6)
    spool.append(output(1), 1)
    broker = Broker()
    way = Outlet(broker, spool, lambda _: None)
    way._refusal = "Broker: Invalid timestamp"
    pump = asyncio.create_task(way.pump())
    await until(lambda: len(broker.sent) == 1)
    pump.cancel()
    await asyncio.wait({pump})
    way.close()
    assert kept(tmp_path / "s") == [1]


async def test_a_record_on_disk_that_no_topic_takes_ends_one_run_only(tmp_path: Path, quick: None) -> None:
    spool = Spool(tmp_path / "s", 10**6)
    spool.append(output(1), 1)
    spool.append(output(2), 2)
    broker, dropped = Broker(), list[Output]()
    broker.refuses = TooLargeError("too large")
    way = Outlet(broker, spool, dropped.append)
    with pytest.raises(TooLargeError):
        await asyncio.wait_for(way.pump(), 5)
    way.close()
    assert [item.record["event_time"] for item in dropped] == [1]
    assert kept(tmp_path / "s") == [2]


async def test_a_record_acknowledged_between_two_looks_makes_nothing_go_before_what_was_refused(
    tmp_path: Path, quick: None
) -> None:
    class Raced(Outlet):
        def _put_back(self) -> None:
            super()._put_back()
            if self._returned and not broker.futures[1].done():
                broker.futures[1].set_result(1)  # as the producer's thread may

    broker, spool = Broker(), Spool(tmp_path / "s", 10**6)
    way = Raced(broker, spool, lambda _: None)
    way.put(output(1), output(2))
    spool.append(output(3), 3)
    spool.append(output(4), 4)
    broker.futures[0].set_exception(DeliveryError("Broker: Invalid timestamp"))
    pump = asyncio.create_task(way.pump())
    for number in range(2, 5):
        await until(lambda number=number: len(broker.sent) > number)
        broker.acknowledge()
    await until(lambda: way.acknowledged["ibkr", False] == 4)
    assert [record["event_time"] for _, record, _ in broker.sent] == [1, 2, 1, 3, 4]
    assert way.in_flight() == {}
    pump.cancel()
    way.close()


async def test_without_room_for_a_new_file_the_refused_are_tried_from_memory_in_their_order(
    tmp_path: Path, quick: None
) -> None:
    class NoRoom(Spool):
        def prepend(self, items: Sequence[Spooled]) -> list[Spooled]:
            raise OSError(errno.ENOSPC, "No space left on device")

    broker, dropped, told = Broker(), list[Output](), list[str]()
    way = Outlet(broker, NoRoom(tmp_path / "s", 10**6), dropped.append, on_refusal=told.append)
    way.put(output(1), output(2), output(3))
    pump = asyncio.create_task(way.pump())
    for future in broker.futures[:3]:
        future.set_exception(DeliveryError("Message timed out"))
    await until(lambda: len(broker.sent) == 4)
    way.put(output(4))
    assert way.in_flight() == {"ibkr": 4}
    broker.futures[3].set_exception(DeliveryError("Unknown topic"))
    for number in range(4, 8):
        await until(lambda number=number: len(broker.sent) > number)
        assert way.in_flight() == {"ibkr": 8 - number}
        broker.acknowledge()
    await until(lambda: way.in_flight() == {})
    assert [record["event_time"] for _, record, _ in broker.sent] == [1, 2, 3, 1, 1, 2, 3, 4]
    assert way.acknowledged["ibkr", False] == 4
    assert (dropped, told) == ([], ["Message timed out", "Unknown topic", ""])
    pump.cancel()
    way.put(output(5))
    way.close()
    assert kept(tmp_path / "s")[-1] == 5
