"""The way to Kafka: acknowledged, spooled while it is away, dropped only when the disk's share is full, and always counted."""

from __future__ import annotations

import asyncio
import errno
import random
import resource
import shutil
import struct
import threading
import tracemalloc
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
from tests.data_plane.support import bar, engine, run
from triplane.runtime.kafka_out import DeliveryError, TooLargeError, TopicWriter
from triplane.runtime.settings import Settings


class Broker:
    """A writer whose acknowledgements are given by hand."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any], bytes]] = []
        self.futures: list[Future[int]] = []
        self.full = False
        self.refuses: Exception | None = None
        self.closed = False

    def send(self, topic: str, record: dict[str, Any], *, headers: dict[str, bytes] | None = None) -> Future[int]:
        if self.full:
            raise BufferError
        if self.refuses is not None:
            raise self.refuses
        future: Future[int] = Future()
        self.sent.append((topic, record, (headers or {})["ingest_time"]))
        self.futures.append(future)
        return future

    def acknowledge(self) -> None:
        for offset, future in enumerate(self.futures):
            if not future.done():
                future.set_result(offset)

    def close(self, timeout_s: float = 5.0) -> None:
        self.closed = True


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet_module, "AWAY_S", 0.05)
    monkeypatch.setattr(outlet_module, "PUMP_S", 0.01)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet_module, "PUMP_S", 0.01)


def output(number: int, topic: str = "data.bars", size: int = 10) -> Output:
    record: dict[str, Any] = {"source": "ibkr", "group": "main", "interval": "5s", "event_time": number}
    if topic == "data.quarantine":
        record = {"quarantine_id": str(number), "source": "ibkr", "raw": bytes(size)}
    return Output(topic, record, "ibkr", 1)


async def until(condition: Any, timeout: float = 5.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


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
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None)
    way.put(output(1))
    await until(lambda: way.away)
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
    assert [item.record["event_time"] for item in Spool(tmp_path / "s", 10**6).contents()] == [2]


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
    assert [item.record["event_time"] for item in Spool(tmp_path / "s", 10**6).contents()] == [1, 2, 3]


async def test_at_the_end_one_record_that_cannot_be_stored_takes_no_other_with_it(tmp_path: Path) -> None:
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None, patient)
    way.put(output(1))
    way.put(Output("data.bars", {"source": 5}, "ibkr", 1))
    way.put(output(2))
    with pytest.raises(codec.CodecError):
        way.close()
    assert [item.record["event_time"] for item in Spool(tmp_path / "s", 10**6).contents()] == [1, 2]


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
    assert [item.record["event_time"] for item in Spool(tmp_path / "s", 10**6).contents()] == [1]


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


def test_a_torn_end_of_the_spool_is_left_out_kept_and_told(tmp_path: Path) -> None:
    path = tmp_path / "s"
    spool = Spool(path, 10**6)
    assert spool.append(output(1), 5)
    assert spool.append(output(2), 6)
    size = spool.size
    assert spool.append(output(3), 7)
    spool.close()
    data = path.read_bytes()
    for cut in (size, size + 2, size + 9, len(data) - 1):
        path.write_bytes(data[:cut])
        again = Spool(path, 10**6)
        assert [item.record["event_time"] for item in again.contents()] == [1, 2]
        assert path.stat().st_size == size
        again.close()
        assert (again.damage.size if again.damage is not None else 0) == cut - size
    (tmp_path / "flipped").write_bytes(data[:size] + bytes([data[size] ^ 1]) + data[size + 1 :])
    with_a_wrong_length = Spool(tmp_path / "flipped", 10**6)
    assert with_a_wrong_length.damage is not None
    assert (len(with_a_wrong_length), with_a_wrong_length.damage.size) == (2, len(data) - size)
    with_a_wrong_length.close()
    for header in (b"[]", b"null", b"{}", b"7"):
        path.write_bytes(data[:size] + struct.pack(">I", len(header)) + header + struct.pack(">I", 2) + b"xx")
        again = Spool(path, 10**6)
        assert len(again) == 2
        again.close()
    path.write_bytes(data[: size + 4] + b"{" * (len(data) - size - 4))
    again = Spool(path, 10**6)
    assert len(again) == 2
    first = again.peek()
    assert first is not None
    assert (first.ingest_time, first.output.record["event_time"]) == (5, 1)
    again.pop()
    again.forget_taken()
    assert len(again) == 1  # one waits still, so nothing is cut
    again.pop()
    again.pop()
    assert again.peek() is None
    again.forget_taken()
    assert path.stat().st_size == 0


def test_what_a_disk_damaged_is_left_out_and_told_and_the_rest_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "s"
    spool = Spool(path, 10**6)
    ends = [0]
    for number in range(20):
        assert spool.append(output(number), number)
        ends.append(spool.size)
    spool.close()
    data = path.read_bytes()

    def damaged(content: bytes, lost: set[int]) -> None:
        path.write_bytes(content)
        again = Spool(path, 10**6)
        assert again.damage is not None
        assert again.damage.kept.read_bytes() == content
        left = [number for number in range(20) if number not in lost]
        assert [item.record["event_time"] for item in again.contents()] == left
        assert len(again) == len(left)
        assert path.read_bytes() == b"".join(data[ends[number] : ends[number + 1]] for number in left)
        assert again.append(output(99), 0)
        assert [item.record["event_time"] for item in again.contents()][-1] == 99
        again.close()
        found = Spool(path, 10**6)
        assert found.damage is None  # the next run finds a whole one
        assert len(found) == len(left) + 1
        found.close()

    for place in (0, 3, 4, 10, 70, ends[1] - 1):  # a length, the header, the body's length, the body
        at = ends[5] + min(place, ends[6] - ends[5] - 1)
        flipped = data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :]
        damaged(flipped, {5})
    damaged(data[: ends[7]] + b"\0" * 4096 + data[ends[9] :], {7, 8})
    damaged(b"junk" + data, set())
    damaged(data + b"junk and more junk", set())
    damaged(random.Random(7).randbytes(300_000), set(range(20)))
    damaged(data[: ends[19]] + b"\0\0\0\4[[[[" + struct.pack(">I", 2) + b"xx", {19})
    deep = b'{"topic": ' + b"[" * 200_000
    damaged(data[: ends[19]] + struct.pack(">I", len(deep)) + deep + struct.pack(">I", 2) + b"xx", {19})


def test_a_length_that_cannot_be_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "s"
    spool = Spool(path, 10**6)
    assert spool.append(output(0), 0)
    size = spool.size
    assert spool.append(output(1), 1)
    spool.close()
    data = path.read_bytes()
    path.write_bytes(data[:size] + b"\xf0\xff\xff\xff" + data[size:])
    tracemalloc.start()
    again = Spool(path, 10**6)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [item.record["event_time"] for item in again.contents()] == [0, 1]
    assert peak < 2**20
    again.close()


async def test_a_record_that_its_schema_refuses_is_not_swallowed(tmp_path: Path) -> None:
    class Strict(Broker):
        def send(self, topic: str, record: dict[str, Any], *, headers: dict[str, bytes] | None = None) -> Future[int]:
            raise ValueError("no such field")

    way = Outlet(Strict(), Spool(tmp_path / "s", 10**6), lambda _: None)
    with pytest.raises(ValueError, match="no such field"):
        way.put(output(1))
    assert way.unacknowledged == 0


def test_a_full_disk_takes_a_record_whole_or_not_at_all(tmp_path: Path) -> None:
    """The limit on file sizes ends a write in the middle, as a disk without room does."""
    path = tmp_path / "s"
    spool = Spool(path, 10**9)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
    try:
        taken = [spool.append(output(number, "data.quarantine", 300), 0) for number in range(30)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    fitted = sum(taken)
    assert taken == [True] * fitted + [False] * (30 - fitted)
    assert 0 < fitted < 30
    assert spool.append(output(99), 0)
    spool.close()
    assert [found.record.get("quarantine_id", "later") for found in Spool(path, 10**9).contents()] == [
        *map(str, range(fitted)),
        "later",
    ]


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
    assert [item.record["event_time"] for item in Spool(tmp_path / "s", 10**6).contents()] == [1, 2, 3]


def kept(path: Path) -> list[int]:
    return [item.record["event_time"] for item in Spool(path, 10**6).contents()]


async def test_what_was_under_way_goes_before_what_is_on_disk(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka is away, then back with a wrong clock."""
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None)
    way.put(output(1))
    await until(lambda: way.away)
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


async def test_what_was_in_flight_at_the_end_goes_before_what_is_on_disk(tmp_path: Path, impatient: None) -> None:
    way = Outlet(Broker(), Spool(tmp_path / "s", 10**6), lambda _: None)
    way.put(output(1))
    await until(lambda: way.away)
    way.put(output(2), output(3))
    way.close()
    assert kept(tmp_path / "s") == [1, 2, 3]


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


def test_what_is_put_before_the_others_keeps_the_bound_and_survives_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", 2_000)
    for number in range(4, 7):
        spool.append(output(number), number)
    spool.pop()
    refused = spool.prepend([Spooled(output(number), number) for number in range(1, 30)])
    fits = 29 - len(refused)
    assert 0 < fits < 29
    assert spool.size <= 2_000
    assert len(spool) == fits + 2
    spool.close()
    assert kept(tmp_path / "s")[: fits + 2] == [*range(1, fits + 1), 5, 6]


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


def test_a_copy_that_was_cut_short_leaves_the_spool_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "s", 10**6)
    spool.append(output(4), 4)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", full)
        with pytest.raises(OSError, match="No space left"):
            spool.prepend([Spooled(output(1), 1)])
    assert [each.name for each in tmp_path.iterdir()] == ["s"]
    spool.append(output(5), 5)
    spool.close()
    (tmp_path / ".s.tmp").write_bytes(b"of a run that was killed")
    assert kept(tmp_path / "s") == [4, 5]
    assert [each.name for each in tmp_path.iterdir()] == ["s"]
