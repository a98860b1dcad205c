"""Kafka in and out against the real broker: ownership, order, identity, positions, damage."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer

from schemas import catalogue, codec
from strategy_plane.worker.asker import LogAsker
from tests.foreign_transaction import foreign_transaction
from tests.topic_settings import alter
from tests.waiting import eventually, settles
from triplane.replay import recording
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.first_per_identity import FirstPerIdentity, Nondeterminism
from triplane.runtime.kafka_in import LogUnavailable, TopicReader, read_all
from triplane.runtime.kafka_out import DeliveryError, OwnershipError, TopicWriter
from triplane.runtime.log_watch import LogWatch
from triplane.runtime.settings import Settings
from triplane.stack.kafka import LocalKafka
from triplane.stack.topics import create_topics, delete_topics

pytestmark = pytest.mark.integration


def bars(second: int, **changes) -> dict:
    t = 1_517_500_000_000_000_000 + second * 1_000_000_000
    prices = {name: [40.0 + second] for name in ("open", "high", "low", "close", "wap")}
    return {
        "event_time": t,
        "available_time": t,
        "group": "main",
        "source": "test",
        "interval": "5s",
        "symbols": ["AAPL"],
        **prices,
        "volume": [100.0],
        "trades": [1],
    } | changes


@pytest.fixture
def writer(settings):
    writer = TopicWriter(settings, "data")
    yield writer
    writer.close()


def test_what_is_written_is_read_in_order_with_headers(settings, writer):
    futures = [writer.send("data.bars", bars(n), headers={"cause_ingest_time": b"5"}) for n in range(300)]
    writer.flush(10)
    assert [f.result() for f in futures] == list(range(300))
    records = read_all(settings, ["data.bars"])
    assert [r.offset for r in records] == list(range(300))
    assert [r.value["close"][0] for r in records if r.value] == [40.0 + n for n in range(300)]
    assert records[0].topic == "data.bars"
    assert records[0].key == b"main"
    assert records[0].headers["cause_ingest_time"] == b"5"
    assert int(records[0].headers["ingest_time"]) > 1_700_000_000_000_000_000
    assert records[0].body == codec.encode_body("BarSlice", bars(0))


def test_a_plane_cannot_write_what_another_owns(settings, writer):
    with pytest.raises(OwnershipError, match=r"strategy\.intents belongs to the strategy plane"):
        writer.send("strategy.intents", {"account": "DU1"})


def test_an_empty_key_and_an_unknown_field_queue_nothing(settings, writer):
    with pytest.raises(ValueError, match="must not be empty"):
        writer.send("data.bars", bars(1, group=""))
    with pytest.raises(ValueError, match="unknown field 'closs'"):
        writer.send("data.bars", bars(1, closs=[1.0]))
    assert writer.in_flight() == 0


def test_a_broker_that_lost_records_ends_the_producer_and_is_told(tmp_path):
    """Its folder is put back from earlier under a living producer: sequence numbers no longer meet, and nothing is taken any more."""
    directory = tmp_path / "kafka"
    directory.mkdir()
    kafka = LocalKafka.start(directory)
    port = int(kafka.bootstrap.rpartition(":")[2])
    create_topics(kafka.bootstrap)
    writer = TopicWriter(Settings(bootstrap=kafka.bootstrap, state_dir=tmp_path / "state"), "data")
    second = 0

    def write(count):
        nonlocal second
        futures = [writer.send("data.bars", bars(second := second + 1)) for _ in range(count)]
        return [future.result(30) for future in futures]

    try:
        write(5)
        kafka.stop()
        shutil.copytree(directory / "data", tmp_path / "earlier")
        kafka = LocalKafka.start(directory, port)
        assert write(5) == list(range(5, 10))
        kafka.kill()
        shutil.rmtree(directory / "data")
        shutil.copytree(tmp_path / "earlier", directory / "data")
        kafka = LocalKafka.start(directory, port)

        def refused():
            try:
                write(1)
            except DeliveryError as error:
                return str(error)
            return ""

        assert "data.bars: not" in eventually(refused, 60)
        assert eventually(lambda: "not taken" in refused(), 30)
        assert writer._poller.is_alive()
    finally:
        writer.close(1.0)
        kafka.kill()


def test_a_record_that_a_disk_damaged_is_told_and_not_read_as_another(tmp_path):
    directory = tmp_path / "kafka"
    directory.mkdir()
    kafka = LocalKafka.start(directory)
    port = int(kafka.bootstrap.rpartition(":")[2])
    create_topics(kafka.bootstrap)
    settings = Settings(bootstrap=kafka.bootstrap, state_dir=tmp_path / "state")
    writer = TopicWriter(settings, "data")
    try:
        for second in range(1, 4):
            writer.send("data.bars", bars(second)).result(30)
        writer.close(1.0)
        kafka.stop()
        (segment,) = (directory / "data" / "data.bars-0").glob("*.log")
        data = bytearray(segment.read_bytes())
        data[data.rfind(b"AAPL")] ^= 1
        segment.write_bytes(data)
        kafka = LocalKafka.start(directory, port)
        with pytest.raises(LogUnavailable, match=r"data\.bars-0@2, or a record .* damaged on Kafka's disk .* put that"):
            read_all(settings, ["data.bars"])
        with pytest.raises(
            LogUnavailable, match=r"data\.bars-0@\d, or a record .* damaged on Kafka's disk .* put that"
        ):
            asyncio.run(asked(settings))
    finally:
        kafka.kill()


async def asked(settings):
    """What the strategy plane does where Faust, which passes a damaged record over in silence, delivers nothing more."""
    asker = LogAsker(settings, ["data.bars-0"])
    await asker.start()
    try:
        await asker.records("data.bars-0", 0, 3)
    finally:
        await asker.stop()


def test_latest_twin_keeps_the_newest_per_key(settings, writer):
    for n, value in enumerate((True, False)):
        writer.send(
            "data.gates", {"gate": "clock", "source": "ibkr", "open": value, "event_time": n, "available_time": n}
        )
    writer.flush(10)
    from confluent_kafka import Consumer, TopicPartition

    twin = settings.topic("data.gates.latest")
    consumer = Consumer({"bootstrap.servers": settings.bootstrap, "group.id": "t", "auto.offset.reset": "error"})
    consumer.assign([TopicPartition(twin, 0, 0)])
    messages = consumer.consume(2, timeout=10)
    consumer.close()
    assert [m.key() for m in messages] == [b"clock/ibkr/"] * 2


def test_a_record_whose_newest_twin_is_refused_is_not_acknowledged(settings, writer):
    """Whoever starts next reads the twin alone."""
    gate = {"gate": "clock", "source": "ibkr", "open": True, "event_time": 1, "available_time": 1}

    def refusal() -> str:
        try:
            writer.send("data.gates", gate).result(10)
        except DeliveryError as error:
            return str(error)
        return ""

    assert refusal() == ""
    alter(settings, "data.gates.latest", "max.message.bytes", "1")
    told = eventually(refusal, 10, "the setting is in force")
    assert re.search(r"data\.gates\.latest: not acknowledged: .*too large.*topics restore", told)
    written = len(read_all(settings, ["data.gates"]))
    assert all(refusal() for _ in range(3))
    alter(settings, "data.gates.latest", "max.message.bytes", "1000000")
    eventually(lambda: not refusal(), 10, "the setting is in force")
    assert len(read_all(settings, ["data.gates"])) == written  # tried again, it goes to the twin alone
    assert not refusal()
    assert len(read_all(settings, ["data.gates"])) == written + 1


def test_a_reader_resumes_where_it_is_told(settings, writer):
    for n in range(10):
        writer.send("data.bars", bars(n))
    writer.flush(10)
    reader = TopicReader(settings, ["data.bars"], {"data.bars-0": 7})
    assert reader.position() == {"data.bars-0": 7}
    assert reader.end_offsets() == {"data.bars-0": 10}
    assert [r.offset for r in reader.read_to({"data.bars-0": 9}, 10)][:2] == [7, 8]
    reader.close()
    late = TopicReader(settings, ["data.bars"], "end")
    writer.send("data.bars", bars(99))
    assert [r.offset for r in late.poll(10)] == [10]
    late.close()


def test_the_end_is_told_at_once_by_a_new_client(settings):
    """Without an acquaintance first, one of twenty waited for librdkafka's retry after 3 s (TopicReader._acquainted)."""
    took = []
    for _ in range(40):
        reader = TopicReader(settings, ["data.bars", "data.quotes"])
        began = time.monotonic()
        reader.end_offsets()
        took.append(time.monotonic() - began)
        reader.close()
    assert max(took) < 2.5


def test_lag_is_what_is_not_read_yet(settings, writer):
    reader = TopicReader(settings, ["data.bars", "data.quotes"])
    assert reader.lag() == {"data.bars": 0, "data.quotes": 0}
    for n in range(10):
        writer.send("data.bars", bars(n))
    writer.flush(10)
    read = len(reader.poll(10, 4))
    assert read
    settles(lambda: reader.lag() == {"data.bars": 10 - read, "data.quotes": 0}, what="the end of what was written")
    reader.read_to({"data.bars-0": 10}, 10)
    assert reader.lag() == {"data.bars": 0, "data.quotes": 0}
    reader.close()


def test_a_position_that_is_gone_is_an_error_and_not_a_jump(settings, writer):
    writer.send("data.bars", bars(0))
    writer.flush(10)
    reader = TopicReader(settings, ["data.bars"], {"data.bars-0": 50})

    def poll_on() -> None:
        for _ in range(50):
            reader.poll(0.2)

    with pytest.raises(LogUnavailable, match="no longer on the log"):
        poll_on()
    reader.close()


def test_missing_topic_and_absent_kafka_are_one_sentence(settings):
    with pytest.raises(LogUnavailable, match="triplane topics create"):
        TopicReader(settings.model_copy(update={"topic_prefix": "nowhere."}), ["data.bars"])
    with pytest.raises(LogUnavailable, match="does not answer"):
        TopicReader(settings.model_copy(update={"bootstrap": "127.0.0.1:9"}), ["data.bars"], timeout_s=1)
    writer = TopicWriter(settings.model_copy(update={"bootstrap": "127.0.0.1:9"}), "data", delivery_timeout_s=1)
    writer.send("data.bars", bars(0))
    with pytest.raises(DeliveryError):
        writer.flush(5)
    writer.close(0.1)


def test_malformed_bytes_are_delivered_with_their_error(settings, writer):
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    for raw in (
        b"",
        b"\x00\x00",
        b"\x01\x00\x00\x00\x01x",
        b"\x00\x00\x00\x03\xe7x",
        codec.load().encode("Command", {}),
        codec.load().encode("BarSlice", bars(0))[:-3],
    ):
        producer.produce(settings.topic("data.bars"), value=raw, key=b"main")
    producer.flush(10)
    writer.send("data.bars", bars(1))
    writer.flush(10)
    records = read_all(settings, ["data.bars"])
    assert [r.value is None for r in records] == [True] * 6 + [False]
    assert all(r.error.startswith("BarSlice:") for r in records[:6])


def test_first_per_identity_and_nondeterminism(settings, writer):
    for record in (bars(1), bars(2), bars(1)):
        writer.send("data.bars", record)
    writer.flush(10)
    first = FirstPerIdentity()
    assert [first.accept(r) for r in read_all(settings, ["data.bars"])] == [True, True, False]
    writer.send("data.bars", bars(2, close=[1.0]))
    writer.flush(10)
    with pytest.raises(Nondeterminism, match=r"data\.bars-0@3"):
        first.accept(read_all(settings, ["data.bars"])[-1])


@pytest.mark.parametrize("topic", ["strategy.barriers", "control.config"])
def test_where_the_first_record_counts_for_every_plane_another_one_is_void(settings, topic):
    """A replay goes by what the planes went by."""
    entry = catalogue.load()[topic]
    same = codec.defaults(entry.record) | {entry.key: "main", "seq": 7}
    writer = TopicWriter(settings, topic.partition(".")[0])
    for time_ in (1, 2):
        writer.send(topic, same | {"event_time": time_, "available_time": time_})
    writer.flush(10)
    writer.close()
    first = FirstPerIdentity()
    assert [first.accept(found) for found in read_all(settings, [topic])] == [True, False]


def test_the_marker_of_a_transaction_is_passed_while_other_topics_never_rest(settings, writer):
    """It is the last offset of a quiet topic: a reader that looked past it only when nothing comes would wait for ever."""
    ended = threading.Event()

    def flow() -> None:
        for n in itertools.count():
            if ended.wait(0.01):
                return
            writer.send("data.bars", bars(n))

    reader = TopicReader(settings, ["control.commands", "data.bars"])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(flow)
        try:
            with foreign_transaction(settings, "control.commands"):
                eventually(lambda: len(reader.poll(0.2)) > 1, 20, "it flows")
            end = reader.end_offsets()["control.commands-0"]
            records = reader.read_to({"control.commands-0": end}, 20)
        finally:
            ended.set()
            reader.close()
    assert end == 2
    assert {record.topic for record in records} <= {"data.bars"}


def test_a_recording_is_refused_while_an_open_transaction_hides_records(settings, writer):
    writer.send("data.bars", bars(0)).result(10)
    with (
        foreign_transaction(settings, "order.events"),
        pytest.raises(LogUnavailable, match=r"order\.events-0 is not readable from 0 on"),
    ):
        recording.read(settings)
    with (
        foreign_transaction(settings, "data.gates"),
        pytest.raises(LogUnavailable, match=r"data\.gates-0 is not readable from 0 on"),
    ):
        read_all(settings, ["data.bars", "data.gates"])
    assert recording.read(settings).counts()["data.bars"] == 1


def test_a_recording_is_refused_where_a_topic_ends_before_what_a_barrier_saw(settings, writer):
    """Else the engine would be blamed for records that somebody lost."""
    writer.send("data.bars", bars(0)).result(10)
    strategy = TopicWriter(settings, "strategy")
    strategy.send("strategy.barriers", {"kind": "decide", "seq": 1, "t": 1, "cut": {"data.bars-0": 1}}).result(10)
    assert recording.read(settings).counts()["strategy.barriers"] == 1
    strategy.send("strategy.barriers", {"kind": "decide", "seq": 2, "t": 2, "cut": {"data.bars-0": 3}}).result(10)
    strategy.close()
    with pytest.raises(
        LogUnavailable, match=r"data\.bars-0 ends at 1, and barrier 2 saw it up to 3: records of the log are lost"
    ):
        recording.read(settings)


def test_a_topic_made_anew_is_told_also_where_it_is_as_long_as_before(settings, writer):
    """The reader gets nothing and no error; its position alone would not show it."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    writer.send("data.bars", bars(0)).result(10)
    reader = TopicReader(settings, ["data.bars", "data.quotes"])
    try:
        watch = LogWatch(settings, "order", ["data.bars", "data.quotes"], every_s=0.0)

        def look() -> None:
            watch.look(reader.position())

        assert len(reader.read_to({"data.bars-0": 1}, 10)) == 1
        look()
        delete_topics(settings.bootstrap, settings.topic("data.bars"))
        look()  # missing topics are told of by readiness
        create_topics(settings.bootstrap, prefix=settings.topic_prefix)
        with pytest.raises(DaemonExit, match=r"data\.bars-0 ends at 0, and this daemon has read it up to 1") as shorter:
            eventually(look, 10, "told")
        eventually(
            lambda: writer.send("data.bars", bars(0)).exception(10) is None, 20, "the writer finds the new topic"
        )
        with pytest.raises(
            DaemonExit, match=r"data\.bars was deleted and made anew since this daemon first read it"
        ) as anew:
            eventually(look, 10, "told")
        assert {shorter.value.code, anew.value.code} == {78}
        # Whoever starts again would find a log that is long enough.
        with pytest.raises(DaemonExit, match=r"remove .*order-topics\.json"):
            LogWatch(settings, "order", ["data.bars"]).look({"data.bars-0": 1})
        LogWatch(settings, "data", ["data.bars"]).look({"data.bars-0": 1})
    finally:
        reader.close()
