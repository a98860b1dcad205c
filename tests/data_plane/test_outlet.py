"""The way to Kafka: acknowledged, spooled while it is away, dropped only when the disk's share is full, and always counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from data_plane.daemon import outlet as outlet_module
from data_plane.daemon.outlet import Outlet
from data_plane.daemon.spool import Spool, Spooled
from data_plane.daemon.telemetry import conservation
from data_plane.engine import DataEngine
from data_plane.outputs import Output
from schemas import codec
from tests.data_plane.outlets import Broker, away, kept, output
from tests.data_plane.support import bar, engine, run
from tests.waiting import until
from triplane.runtime.kafka_out import DeliveryError, TooLargeError


async def test_records_are_counted_when_they_are_on_the_log(tmp_path: Path) -> None:
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None)
    way.put(output(1))
    way.put(output(2, "data.quarantine"))
    assert (way.unacknowledged, way.in_flight()) == (2, {"ibkr": 2})
    drained = asyncio.create_task(way.drained())
    await asyncio.sleep(0)
    assert not drained.done()
    broker.acknowledge()
    await drained
    assert way.in_flight() == {}
    assert (way.acknowledged["ibkr", False], way.acknowledged["ibkr", True]) == (1, 1)
    way.close()
    assert broker.closed


async def test_records_wait_on_disk_in_order_while_kafka_is_away(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, way = await away(tmp_path)
    for number in range(2, 6):
        way.put(output(number))
    assert (way.spooled, len(broker.sent)) == (4, 1)
    assert way.in_flight() == {"ibkr": 5}
    await way.drained()  # what is safely on disk is not waited for
    monkeypatch.setattr(outlet_module, "AWAY_S", 60.0)  # from here on a stall of this process is none of Kafka's
    pump = asyncio.create_task(way.pump())
    broker.acknowledge()
    await until(lambda: len(broker.sent) == 5)
    way.put(output(6))
    broker.acknowledge()
    await until(lambda: way.spooled == 0 and way.unacknowledged == 0)
    assert [record["event_time"] for _, record, _ in broker.sent] == [1, 2, 3, 4, 5, 6]
    # A record keeps the time at which it was first to be sent.
    times = [int(time) for _, _, time in broker.sent]
    assert times == sorted(times)
    await until(lambda: (tmp_path / "s").stat().st_size == 0)
    pump.cancel()
    way.close()


def patient(item: Output) -> bool:
    return item.topic == "data.bars"


async def test_what_may_wait_leaves_with_the_next_that_may_not_or_after_a_moment(tmp_path: Path) -> None:
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None, patient)
    for number in (1, 2):
        way.put(output(number))
    assert (broker.sent, way.unacknowledged, way.in_flight()) == ([], 2, {"ibkr": 2})
    way.put(output(3, "data.quarantine"))
    way.put(output(4))
    assert [record.get("event_time", 3) for _, record, _ in broker.sent] == [1, 2, 3]
    await until(lambda: len(broker.sent) == 4)
    # Each has the time at which it came, not that at which it left.
    times = [int(time) for _, _, time in broker.sent]
    assert times == sorted(set(times))
    way.put(output(5))
    drained = asyncio.create_task(way.drained())
    await until(lambda: len(broker.sent) == 5)
    broker.acknowledge()
    await drained
    assert (way.unacknowledged, way.acknowledged["ibkr", False]) == (0, 4)
    way.close()


async def test_what_was_gathered_goes_to_disk_in_its_place_when_kafka_is_away_or_the_run_ends(
    tmp_path: Path, impatient: None
) -> None:
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None, patient)
    way.put(output(1, "data.quarantine"))
    way.put(output(2))
    way.put(output(3))
    await until(lambda: way.away)
    await until(lambda: way.spooled == 2 or len(broker.sent) == 3)
    way.put(output(4))
    assert way.in_flight() == {"ibkr": 4}
    way.close(0.0)
    kept = [item.record.get("event_time") or 1 for item in Spool(tmp_path / "s", 10**6).contents()]
    assert sorted(kept) == [1, 2, 3, 4]
    assert [number for number in kept if number in (2, 3, 4)] == [2, 3, 4]


async def test_what_a_gathered_record_runs_into_ends_the_daemon(tmp_path: Path, impatient: None) -> None:
    """One that no topic takes is not kept, since it would end every later run, too; the one behind it is."""
    broker = Broker()
    broker.refuses = TooLargeError("too large")
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None, patient)
    way.put(output(1))
    way.put(output(2))
    with pytest.raises(TooLargeError, match="too large"):
        await asyncio.wait_for(way.pump(), 5)
    way.close()
    assert kept(tmp_path / "s") == [2]


async def test_at_the_end_one_record_that_cannot_be_stored_takes_no_other_with_it(tmp_path: Path) -> None:
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None, patient)
    way.put(output(1))
    way.put(Output("data.bars", {"source": 5}, "ibkr", 1))
    way.put(output(2))
    with pytest.raises(codec.CodecError):
        way.close()
    assert kept(tmp_path / "s") == [1, 2]


async def test_while_the_run_ends_each_record_is_counted_once(tmp_path: Path) -> None:
    counted: list[int] = []

    class Watched(Spool):
        def look(self) -> None:
            looking.append(threading.Thread(target=lambda: counted.append(way.in_flight()["ibkr"])))
            looking[-1].start()  # it waits for the outlet's lock, and counts as soon as it has it

        def append(self, item: Output, ingest_time: int) -> bool:
            self.look()
            return super().append(item, ingest_time)

        def prepend(self, items: Sequence[Spooled]) -> list[Spooled]:
            self.look()
            return super().prepend(items)

    looking: list[threading.Thread] = []
    way = Outlet(Broker(), Watched(tmp_path / "s", 10**6), lambda _: None, patient)
    way.put(output(1, "data.quarantine"))
    for number in range(2, 30):
        way.put(output(number))
    await asyncio.to_thread(way.close, 0.0)
    for thread in looking:
        thread.join()
    assert counted == [29] * 29


async def test_a_delivery_that_fails_while_the_run_ends_goes_to_disk(tmp_path: Path) -> None:
    class Failing(Broker):
        def close(self, timeout_s: float = 5.0) -> None:
            self.futures[0].set_exception(DeliveryError("given up"))

    way = Outlet(Failing(), Spool(tmp_path / "s", 10**6), lambda _: None)
    way.put(output(1))
    await asyncio.to_thread(way.close, 0.0)
    assert kept(tmp_path / "s") == [1]


async def test_the_end_of_the_run_waits_for_what_goes_to_disk_at_that_moment(tmp_path: Path) -> None:
    """The run ends in a thread of its own while the loop stores what it had gathered."""

    class Meanwhile(Spool):
        def append(self, output: Output, ingest_time: int) -> bool:
            if not ending.is_alive() and not broker.closed:
                ending.start()
                ending.join(0.3)
            return super().append(output, ingest_time)

    broker = Broker()
    broker.full = True
    way = Outlet(broker, Meanwhile(tmp_path / "s", 10**6), lambda _: None)
    ending = threading.Thread(target=way.close)
    await asyncio.to_thread(way.put, output(1), output(2), output(3))
    ending.join()
    assert kept(tmp_path / "s") == [1, 2, 3]
    assert broker.closed


async def test_what_is_on_disk_is_not_read_into_memory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet_module, "PUMP_IN_FLIGHT", 4)
    spool = Spool(tmp_path / "s", 10**6)
    for number in range(10):
        spool.append(output(number), number)
    broker = Broker()
    way = Outlet(broker, spool, lambda _: None)
    for sent in (4, 8, 10):
        await way._empty_spool()
        assert len(broker.sent) == sent
        broker.acknowledge()
    assert way.in_flight() == {}
    way.close()


async def test_a_full_queue_and_a_failed_delivery_go_to_disk(tmp_path: Path, impatient: None) -> None:
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None)
    broker.full = True
    way.put(output(1))
    assert way.spooled == 1
    pump = asyncio.create_task(way.pump())
    await asyncio.sleep(0.05)
    assert way.spooled == 1  # still full
    broker.full = False
    await until(lambda: len(broker.futures) == 1)
    broker.futures[0].set_exception(DeliveryError("given up"))
    await until(lambda: len(broker.futures) == 2)
    assert broker.sent[0][1] == broker.sent[1][1]
    broker.acknowledge()
    await until(lambda: way.acknowledged["ibkr", False] == 1)
    pump.cancel()
    way.close()


async def test_what_does_not_fit_is_dropped_and_counted_and_may_be_loaded_again(tmp_path: Path) -> None:
    machine: DataEngine = engine(("AAA",))
    broker = Broker()
    broker.full = True

    def dropped(item: Output) -> None:
        machine.ledger.published[item.source] -= item.units
        machine.ledger.dropped[item.source, "SPOOL_FULL"] += item.units

    way = Outlet(broker, Spool(tmp_path / "s", 1000), dropped)
    for item in run(machine, [bar("AAA", step) for step in range(10)]):
        way.put(item)
    assert 0 < way.spooled < 10
    assert machine.ledger.dropped["ibkr", "SPOOL_FULL"] == 10 - way.spooled
    assert set(conservation(machine.ledger, machine, way).values()) == {0}
    way.close()


async def test_what_a_stopped_run_could_not_send_is_there_for_the_next(tmp_path: Path) -> None:
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None)
    way.put(output(1))
    way.put(output(2))
    way.close(0.0)
    broker.futures[0].set_result(0)  # an acknowledgement that comes too late changes nothing
    spool = Spool(tmp_path / "s", 10**6)
    assert [item.record["event_time"] for item in spool.contents()] == [1, 2]
    assert spool.waiting == [("ibkr", 1), ("ibkr", 1)]


async def test_a_record_that_its_schema_refuses_is_not_swallowed(tmp_path: Path) -> None:
    class Strict(Broker):
        def send(self, topic: str, record: dict[str, Any], *, headers: dict[str, bytes] | None = None) -> Future[int]:
            raise ValueError("no such field")

    way = Outlet(Strict(), Spool(tmp_path / "s", 10**6), lambda _: None)
    with pytest.raises(ValueError, match="no such field"):
        way.put(output(1))
    assert way.unacknowledged == 0


async def test_what_was_in_flight_at_the_end_goes_before_what_is_on_disk(tmp_path: Path, impatient: None) -> None:
    _, way = await away(tmp_path)
    way.put(output(2), output(3))
    way.close()
    assert kept(tmp_path / "s") == [1, 2, 3]
