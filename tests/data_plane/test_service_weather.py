"""The plane as a process in bad weather: killed in its backfill, without a gateway, with a wrong clock, with Kafka standing still."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data_plane.daemon import recovery
from data_plane.daemon.configuration import ConfigFollower
from data_plane.daemon.sntp import ERA, PACKET
from tests.broker.gateways import GatewayProcess
from tests.data_plane.daemon import by_interval, data_process, get, log, metrics
from tests.data_plane.support import ProvidersProcess, config, day_close, publish_config
from tests.foreign_transaction import foreign_transaction
from tests.topic_settings import alter
from tests.waiting import settles
from triplane.domain.timestamps import DAY, HOUR
from triplane.runtime.configuration import to_record
from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.first_per_identity import FirstPerIdentity
from triplane.runtime.kafka_in import LogUnavailable
from triplane.runtime.kafka_out import MAX_MESSAGE_BYTES, TopicWriter
from triplane.runtime.kafka_probe import SILENT
from triplane.runtime.settings import Settings
from triplane.stack.local import LocalStack
from triplane.stack.topics import create_topics, delete_topics

pytestmark = pytest.mark.integration


def conserved(values: dict[str, float]) -> bool:
    return bool(values) and set(values.values()) == {0.0}


def test_killed_in_its_backfill_it_goes_on_where_the_log_ends(
    settings: Settings, tmp_path: Path, providers: ProvidersProcess
) -> None:
    """No gateway at first; then SIGKILL while history is going out; then all of it, once."""
    gateway = GatewayProcess(tmp_path / "gateway", "--hold")
    gateway.stop()
    publish_config(settings, config(BACKFILL_YEARS=3.0))
    process = data_process(settings, gateway, providers)
    try:
        settles(lambda: "no TWS or IB Gateway answers" in get(f"{process.http}/readyz")[1], 60)
        assert get(f"{process.http}/readyz")[0] == 503
        assert get(f"{process.http}/healthz")[0] == 200
        gateway.start()
        settles(lambda: log(settings)["data.bars"], 60)
        process.kill()
        half = by_interval(log(settings))["1d", True]
        assert half > 0
        process = data_process(settings, gateway, providers)
        settles(lambda: get(f"{process.http}/readyz")[0] == 200, 60)
        found = log(settings)
        sessions = Counter(r.value["session"] for r in found["data.bars"] if r.value)
        assert len(sessions) > 740
        assert set(sessions.values()) == {1}
        facts = Counter(r.value["fact_id"] for r in found["data.facts"] if r.value)
        assert set(facts.values()) == {1}
        assert conserved(metrics(process, "triplane_conservation_difference"))
    finally:
        process.stop()
        gateway.stop()


def test_an_edited_configuration_is_on_the_next_slice(
    settings: Settings, tmp_path: Path, providers: ProvidersProcess
) -> None:
    gateway = GatewayProcess(tmp_path / "gateway", "--hold")
    first = config(BACKFILL_YEARS=0.2, FRED_SERIES="GS10")
    record = publish_config(settings, first)
    process = data_process(settings, gateway, providers)
    try:
        settles(lambda: get(f"{process.http}/readyz")[0] == 200, 60)
        gateway.advance(to="2018-01-19T15:22")
        settles(lambda: by_interval(log(settings))["5s", False] >= 24)
        assert not log(settings)["data.macro"]
        second = config(BACKFILL_YEARS=0.2, SPREAD_MAX=1e-5)
        publish_config(settings, second, 2, record)
        assert to_record(second, record, actor="t", event_time=1)["hash"] == second.hash
        settles(lambda: metrics(process, "triplane_source_age_limit_seconds"))  # it answers
        # A version that cannot be read is passed over; the one before stays in force.
        bad = {**record, "seq": 3, "hash": "wrong"}
        from triplane.runtime.kafka_out import TopicWriter

        writer = TopicWriter(settings, "control")
        writer.send("control.config", bad)
        writer.flush(10)
        writer.close()

        def taken() -> bool:
            gateway.advance(minutes=0.25)
            bars = [r.value for r in log(settings)["data.bars"] if r.value and r.value["interval"] == "5s"]
            return bool(bars[-1]["config_hash"] == second.hash)

        settles(taken, 30, "a slice under the new configuration")
        bars = [r.value for r in log(settings)["data.bars"] if r.value and r.value["interval"] == "5s"]
        assert bars[0]["config_hash"] == first.hash
        settles(lambda: log(settings)["data.macro"], 10, "a series that is new in it, without waiting for FRED_POLL_S")
        settles(lambda: any(r.value and r.value["code"] == "SPREAD_WIDE" for r in log(settings)["data.quarantine"]))
    finally:
        code, errors = process.stop()
        gateway.stop()
    assert code == 0
    assert "configuration passed over" in errors


def test_what_kafka_refuses_is_told_and_follows_in_order(
    settings: Settings, tmp_path: Path, providers: ProvidersProcess
) -> None:
    """Here it is told to take no record at all, as it takes none that is stamped an hour ahead of its own clock. The spool was damaged."""
    gateway = GatewayProcess(tmp_path / "gateway", "--hold")
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    (settings.state_dir / "data-spool.bin").write_bytes(b"junk")
    publish_config(settings, config(BACKFILL_YEARS=0.2))
    process = data_process(settings, gateway, providers)
    try:
        settles(lambda: get(f"{process.http}/readyz")[0] == 200, 60)
        alter(settings, "data.bars", "max.message.bytes", "1")
        gateway.advance(to="2018-01-19T15:25")
        settles(lambda: "kafka: " in (told := get(f"{process.http}/readyz")[1]) and "not acknowledged: " in told)
        alter(settings, "data.bars", "max.message.bytes", str(MAX_MESSAGE_BYTES))
        settles(lambda: get(f"{process.http}/readyz")[0] == 200)
        settles(lambda: metrics(process, "triplane_spool_records") == {"": 0.0})
        settles(lambda: by_interval(log(settings))["5s", False] >= 48)
        bars = [r.value["event_time"] for r in log(settings)["data.bars"] if r.value and r.value["interval"] == "5s"]
        assert bars == sorted(bars)
        settles(lambda: conserved(metrics(process, "triplane_conservation_difference")))
    finally:
        code, errors = process.stop()
        gateway.stop()
    assert code == 0
    assert "kafka refuses" in errors
    assert "kafka takes records again" in errors
    assert "4 bytes are left out, 0 records taken up" in errors


@contextmanager
def sntp_responder(ahead_s: list[float]) -> Iterator[str]:
    """A local time server that is `ahead_s[0]` seconds ahead; nothing is answered while the list is empty."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(0.1)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                data, address = server.recvfrom(512)
            except TimeoutError:
                continue
            if ahead_s:
                now = time.time() + ahead_s[0] + ERA
                stamp = int(now) << 32 | int((now % 1) * 2**32)
                origin = struct.unpack("!Q", data[-8:])[0]
                server.sendto(PACKET.pack(0x24, 2, 0, -20, 0, 0, 0, 0, origin, stamp, stamp), address)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        stop.set()
        thread.join()
        server.close()


@pytest.mark.parametrize(("ahead", "code"), [([30.0], "CLOCK_SKEWED"), ([], "CLOCK_UNKNOWN")])
def test_in_shadow_mode_the_clock_is_compared_with_a_time_server(
    settings: Settings, tmp_path: Path, providers: ProvidersProcess, ahead: list[float], code: str
) -> None:
    gateway = GatewayProcess(tmp_path / "gateway", "--hold")
    publish_config(settings, config(BACKFILL_YEARS=0.1))
    with sntp_responder(ahead) as server:
        process = data_process(settings, gateway, providers, TRIPLANE_MODE="shadow", TRIPLANE_NTP_SERVER=server)
        try:
            settles(
                lambda: (
                    [r.value["code"] for r in log(settings)["data.gates"] if r.value and r.value["gate"] == "clock"]
                    == [code]
                ),
                60,
            )
            assert metrics(process, "triplane_gate_open")['{gate="clock",scope="all",source="machine"}'] == 0.0
            # Nor is a simulated market of another year taken for the present one.
            settles(lambda: "shadow mode needs a gateway at the present time" in get(f"{process.http}/readyz")[1], 30)
            assert re.search(r"clock is [\d,.]+ days behind this machine's", get(f"{process.http}/readyz")[1])
            if ahead:  # on paper nobody asks that server: what it closed would hold for ever
                process.stop()
                process = data_process(settings, gateway, providers)
                gate = '{gate="clock",scope="all",source="machine"}'
                settles(lambda: metrics(process, "triplane_gate_open").get(gate) == 1.0, 60)
        finally:
            process.stop()
            gateway.stop()


def test_with_kafka_standing_still_nothing_is_lost(tmp_path: Path, providers: ProvidersProcess) -> None:
    with LocalStack.start(tmp_path / "kafka") as stack:
        if stack.kafka is None:
            pytest.skip("the given Kafka is not ours to stop; unset KAFKA_BOOTSTRAP_SERVERS")
        create_topics(stack.bootstrap, prefix="d.")
        settings = Settings(
            bootstrap=stack.bootstrap, topic_prefix="d.", state_dir=tmp_path / "state", account="DU1234567"
        )
        gateway = GatewayProcess(tmp_path / "gateway", "--hold", "--sessions", "2")
        publish_config(settings, config(BACKFILL_YEARS=0.2))
        process = data_process(settings, gateway, providers)
        group = os.getpgid(stack.kafka.child.pid)
        try:
            settles(lambda: get(f"{process.http}/readyz")[0] == 200, 60)
            gateway.advance(to="2018-01-19T15:22")
            settles(lambda: by_interval(log(settings))["5s", False] == 24)
            os.killpg(group, signal.SIGSTOP)
            # Known before anything is to be published.
            settles(lambda: SILENT in get(f"{process.http}/readyz")[1], 10, "not ready")
            gateway.advance(to="2018-01-19T15:24")
            settles(lambda: metrics(process, "triplane_kafka_unacknowledged").get("", 0) > 0)

            def spooling() -> bool:
                gateway.advance(minutes=0.25)
                return metrics(process, "triplane_spool_records").get("", 0) > 0

            settles(spooling, 30, "the spool")
            assert conserved(metrics(process, "triplane_conservation_difference"))
            os.killpg(group, signal.SIGCONT)
            gateway.advance(to="2018-01-19T16:00")

            def closed() -> bool:
                try:
                    return by_interval(log(settings))["1d", False] == 1
                except LogUnavailable:  # a broker that has just woken up does not know its partitions yet
                    return False

            settles(closed, 60, "the day's bars")
            settles(lambda: metrics(process, "triplane_spool_records")[""] == 0, 30)
            # A producer whose requests ran out of time may send again what the broker had taken: the first one counts, and the bytes
            # of the second must be the same.
            first_of = FirstPerIdentity()
            bars = [r.value for r in log(settings)["data.bars"] if first_of.accept(r) and r.value]
            slices = [bar for bar in bars if bar["interval"] == "5s" and bar["symbols"]]
            ends = [record["event_time"] for record in slices]
            first = slices[0]["event_time"]
            streamed = range(first, ends[-1] + 1, 5_000_000_000)
            assert ends == list(streamed)  # every interval, once, in order
            assert all(len(record["symbols"]) == 20 for record in slices)
            assert ends[-1] <= day_close()
            assert conserved(metrics(process, "triplane_conservation_difference"))
        finally:
            os.killpg(group, signal.SIGCONT)
            process.stop()
            gateway.stop()


@pytest.mark.parametrize("topic", ["control.config", "data.bars"])
async def test_a_log_that_was_made_anew_ends_the_plane(settings: Settings, topic: str) -> None:
    """The versions that come on it are another chain's, and what was published on it is gone."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    publish_config(settings, config())
    follower = ConfigFollower(settings, pytest.fail, ["data.bars"])
    try:
        assert await follower.first(asyncio.Event()) is not None
        following = asyncio.create_task(follower.follow(lambda found: pytest.fail(str(found))))
        await asyncio.to_thread(delete_topics, settings.bootstrap, settings.topic(topic))
        await asyncio.to_thread(create_topics, settings.bootstrap, prefix=settings.topic_prefix)
        with pytest.raises((DaemonExit, LogUnavailable)):
            await asyncio.wait_for(following, 30)
    finally:
        follower.close()
    again = ConfigFollower(settings, pytest.fail, ["data.bars"])
    try:  # and every next start
        with pytest.raises(DaemonExit, match=rf"{topic} was deleted and made anew since this daemon first read it"):
            await again.first(asyncio.Event())
    finally:
        again.close()


def test_what_may_be_published_already_and_is_hidden_is_waited_for(settings: Settings) -> None:
    """A slice that is published a second time may differ, and the log would have two."""
    with (
        foreign_transaction(settings, "data.quotes"),
        pytest.raises(LogUnavailable, match=r"data\.quotes-0 is not readable from 0 on"),
    ):
        recovery.read(settings)
    assert recovery.read(settings) == []


def test_a_slice_of_the_far_future_is_passed_over_at_the_start(settings: Settings) -> None:
    """Every slice that the market sends would lie before it, and look published already: nothing would be, for ever."""
    now, told = time.time_ns(), list[str]()
    writer = TopicWriter(settings, "data")
    for event, available in ((now, now), (now + 2 * DAY, 0), (0, 2**63 - 1), (now + HOUR, now + HOUR)):
        stamps = {"event_time": event, "available_time": available}
        writer.send("data.bars", {"source": "ibkr", "group": "main", "interval": "5s", **stamps})
        writer.send("data.quotes", {"source": "ibkr", "group": "main", **stamps})
    writer.close()
    found = [(record.topic, record.offset) for record in recovery.each(settings, told.append)]
    assert found == [("data.bars", 0), ("data.bars", 3), ("data.quotes", 0), ("data.quotes", 3)]
    assert told == ["data.bars-0@1", "data.bars-0@2", "data.quotes-0@1", "data.quotes-0@2"]
