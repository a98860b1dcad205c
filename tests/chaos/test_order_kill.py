"""Law L8: a tripped kill switch stops new orders within a second, asks to cancel the open ones, survives restarts, and only a person
re-arms it: under load, with Kafka down, with the gateway down, with the order process stopped or dead.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from order_plane.daemon.stop_points import VARIABLE
from order_plane.kill import files as kill_files
from order_plane.kill import switch as kill_switch
from order_plane.kill.switch import KillReport, KillSwitchError
from tests.broker.gateways import ACCOUNT
from tests.order_plane.world import SYMBOLS, OrderWorld
from tests.waiting import eventually
from triplane.runtime.kafka_probe import SILENT
from triplane.runtime.settings import Settings
from triplane.stack.local import LocalStack
from triplane.stack.topics import create_topics

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(240)]

RESTS = 12_000.0  # more than the book offers in one step of the market, so that the order rests


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[OrderWorld]:
    made = OrderWorld(settings, tmp_path, ORDERS_PER_MINUTE=1000, GROSS_HARD=20.0, BOX_HARD=2.0, NET_HARD=20.0)
    try:
        made.open_market()
        yield made
    finally:
        made.close()


def trip(world: OrderWorld, scope: str = "account") -> KillReport:
    """What `triplane kill trip` does."""
    return asyncio.run(kill_switch.trip(world.settings, "ann", "drill", scope, timeout=2.0))  # type: ignore[arg-type]


def rearm(world: OrderWorld) -> KillReport:
    """What `triplane kill rearm` does."""
    return asyncio.run(kill_switch.rearm(world.settings, "bob", "drill over", timeout=2.0))


def rest_an_order(world: OrderWorld) -> None:
    """An order that is open at the broker."""
    world.intents(KO=RESTS)
    eventually(lambda: world.gateway.status()["open_orders"])


def none_open(world: OrderWorld) -> bool:
    return bool(world.gateway.status()["open_orders"] == 0)


def nothing_leaves(world: OrderWorld) -> None:
    """A second after the trip, further intents lead to no order."""
    before = world.gateway.sent()
    world.advance(0.1)
    world.intents(dict.fromkeys(SYMBOLS, 77.0))
    decided = eventually(lambda: [d for d in world.records("order.decisions") if d["seq"] == world.seq])
    assert {d["code"] for d in decided} == {"KILLED"}
    assert world.gateway.sent() == before


def trades_again(world: OrderWorld) -> None:
    world.advance(0.1)
    world.intents(MSFT=33.0)
    (closed,) = world.until_event("parent_closed", intent_id=f"{ACCOUNT}/{world.seq}/MSFT")
    assert closed["reason"] == "DONE"
    assert world.gateway.status()["positions"]["MSFT"] == 33.0
    world.at_most_once()


def test_under_load_it_holds_cancels_survives_a_restart_and_only_a_person_lifts_it(world: OrderWorld) -> None:
    process = world.start().ready()
    rest_an_order(world)
    # Load: barriers one after the other, while somebody trips.
    for number in range(20):
        world.intents({name: 10.0 + number for name in SYMBOLS if name != "KO"})
    report = trip(world)
    tripped = time.monotonic()
    assert (report.order_process, report.cancels) == ("told", "asked")
    eventually(lambda: none_open(world), 5)
    eventually(lambda: time.monotonic() - tripped > 1.0)
    settled = world.gateway.sent()
    for number in range(5):
        world.intents(dict.fromkeys(SYMBOLS, 50.0 + number))
    nothing_leaves(world)
    assert world.gateway.sent() == settled
    assert process.metric("triplane_kill_switch_tripped") == 1
    account = eventually(lambda: [a for a in world.records("order.account") if a["kill_level"] == "stopped"])[-1]
    assert account["kill_reason"] == "KILL_REQUESTED"
    # Restarts change nothing; neither does removing the file by hand.
    process.kill()
    kill_files.file_of(world.settings).unlink()
    process = world.start().ready()
    assert kill_files.file_of(world.settings).exists()
    nothing_leaves(world)
    # Only a person, with name and reason.
    with pytest.raises(KillSwitchError):
        asyncio.run(kill_switch.rearm(world.settings, "", "because"))
    assert httpx.post(f"{process.url}/rearm", json={"actor": "bob"}).status_code == 400
    # Nor while something stands there that cannot be taken away: a refused re-arming lifts nothing, on the log neither.
    kill_files.file_of(world.settings).unlink()
    kill_files.file_of(world.settings).mkdir()
    with pytest.raises(KillSwitchError, match=r"KILL cannot be removed \(Is a directory\), so it stays tripped"):
        rearm(world)
    assert world.events("rearmed") == []
    kill_files.file_of(world.settings).rmdir()
    nothing_leaves(world)
    in_the_way = world.settings.state_dir / "KILL.lifted"
    in_the_way.mkdir()
    with pytest.raises(KillSwitchError, match=r"the file KILL\.lifted cannot be removed"):
        rearm(world)
    assert world.events("rearmed") == []
    in_the_way.rmdir()
    rearm(world)
    assert not kill_files.file_of(world.settings).exists()
    (lifted,) = world.until_event("rearmed")
    assert (lifted["labels"]["actor"], lifted["reason"]) == ("bob", "drill over")
    trades_again(world)
    world.replays()


def test_a_touched_file_is_enough_and_is_noticed_within_a_second(world: OrderWorld) -> None:
    world.start().ready()
    rest_an_order(world)
    kill_files.file_of(world.settings).touch()
    touched = time.monotonic()
    eventually(lambda: none_open(world), 1.0, "the cancel")
    assert time.monotonic() - touched < 1.0
    nothing_leaves(world)
    (killed,) = world.events("killed")
    assert killed["labels"]["scope"] == "account"
    rearm(world)
    trades_again(world)


@pytest.mark.parametrize("how", ["by hand", "over HTTP"])
def test_a_re_arming_does_not_lift_a_kill_that_came_after_it_was_asked(world: OrderWorld, how: str) -> None:
    """The process stands still, somebody re-arms what he knows of, somebody else trips; then the process goes on."""
    process = world.start().ready()
    port = int(process.url.rpartition(":")[2])
    trip(world)
    process.signal(signal.SIGSTOP)

    async def both() -> None:
        first = asyncio.create_task(kill_switch.rearm(world.settings, "bob", "the first is over", timeout=20.0))
        await asyncio.to_thread(eventually, lambda: port in peers(), 10, "the re-arming waits for the process")
        second = None
        if how == "by hand":
            kill_files.file_of(world.settings).write_text("the second")
        else:  # it, too, waits for the process, behind the re-arming or before it
            second = asyncio.create_task(kill_switch.trip(world.settings, "risk", "the second", timeout=20.0))
            known = kill_files.told(kill_files.file_of(world.settings))
            await asyncio.to_thread(
                eventually, lambda: kill_files.told(kill_files.file_of(world.settings)) != known, 10
            )
        process.signal(signal.SIGCONT)
        with pytest.raises(KillSwitchError, match="tripped meanwhile"):
            await first
        if second is not None:
            await second

    asyncio.run(both())
    assert "the second" in kill_files.file_of(world.settings).read_text()
    nothing_leaves(world)
    assert world.events("rearmed") == []
    rearm(world)
    trades_again(world)
    world.replays()


def peers() -> set[int]:
    """Ports that this process is connected to."""
    found = psutil.Process().net_connections("tcp")
    return {each.raddr.port for each in found if each.raddr and each.status == psutil.CONN_ESTABLISHED}


def test_with_the_process_dead_a_file_made_after_a_re_arming_holds(world: OrderWorld) -> None:
    process = world.start().ready()
    trip(world)
    process.kill()
    rearm(world)
    assert kill_files.rearm_file_of(world.settings).exists()
    kill_files.file_of(world.settings).touch()
    world.start().ready()
    nothing_leaves(world)
    assert not kill_files.rearm_file_of(world.settings).exists()
    rearm(world)
    trades_again(world)


def test_a_level_that_the_engine_trips_holds_in_the_file_too(world: OrderWorld) -> None:
    """The reject storm: three refusals within a minute, by configuration."""
    world.configure(REJECTS_KILL=3, ORDERS_PER_MINUTE=1000)
    process = world.start().ready()
    world.gateway.fault("order_error", code=201, text="Order rejected - reason:drill", count=5)
    world.intents(dict.fromkeys(SYMBOLS, 10.0))
    world.until_event("killed", reason="REJECT_STORM")
    eventually(lambda: kill_files.file_of(world.settings).exists())
    assert process.metric("triplane_order_rejects_total") >= 3
    process.kill()
    world.start().ready()
    world.gateway.fault("clear")
    nothing_leaves(world)


def test_a_command_on_the_log_trips_and_another_lifts(world: OrderWorld) -> None:
    world.start().ready()
    rest_an_order(world)
    command: dict[str, Any] = {"event_time": 1, "available_time": 1, "actor": "ann", "reason": "drill"}
    world.send("control.commands", command_id="1", command="kill.trip", arguments={"scope": "own"}, **command)
    eventually(lambda: none_open(world), 5)
    eventually(kill_files.file_of(world.settings).exists, 5)  # the cancel may be seen before the file is written
    nothing_leaves(world)
    world.send("control.commands", command_id="2", command="kill.rearm", **command)
    eventually(lambda: not kill_files.file_of(world.settings).exists())
    trades_again(world)


def test_a_kill_by_command_of_what_is_killed_is_not_lifted_by_who_knew_the_first(world: OrderWorld) -> None:
    process = world.start().ready()
    trip(world)
    known = kill_files.told(kill_files.file_of(world.settings))
    world.send("control.commands", command_id="1", command="kill.trip", actor="risk", reason="the second")
    eventually(lambda: kill_files.told(kill_files.file_of(world.settings)) != known)
    answer = httpx.post(f"{process.url}/rearm", json={"actor": "bob", "reason": "the first is over", "known": known})
    assert (answer.status_code, "tripped meanwhile" in answer.json()["error"]) == (409, True)
    nothing_leaves(world)


def test_with_the_gateway_down_it_holds_and_says_that_cancels_wait(world: OrderWorld) -> None:
    process = world.start().ready()
    rest_an_order(world)
    world.gateway.stop(signal.SIGKILL)
    world.until_event("disconnected")
    report = trip(world)
    assert (report.order_process, report.cancels) == ("told", "waiting")
    assert any("could not be asked to cancel" in line and "good-till" in line for line in report.lines)
    assert kill_files.file_of(world.settings).exists()
    # When the gateway is back, what was open is cancelled, and nothing new leaves.
    world.gateway.start()
    world.until_event("connected", 2)
    eventually(lambda: none_open(world), 15)
    process.ready()
    nothing_leaves(world)


@pytest.mark.parametrize("scope", ["account", "own"])
def test_with_the_order_process_stopped_the_reserved_client_cancels(world: OrderWorld, scope: str) -> None:
    process = world.start().ready()
    rest_an_order(world)
    process.signal(signal.SIGSTOP)
    report = trip(world, scope)
    assert report.order_process == "silent"
    if scope == "account":
        assert report.cancels == "asked"
        eventually(lambda: none_open(world), 2)
    else:
        # Only the placing client id may cancel an order, and its process still holds it.
        assert report.cancels == "waiting"
        assert any("cancels wait" in line for line in report.lines)
        assert world.gateway.status()["open_orders"] == 1
    with pytest.raises(KillSwitchError, match="stays tripped"):
        rearm(world)
    # What waits for it when it comes back is decided as killed, not only kept from the socket.
    before = world.gateway.sent()
    world.intents(dict.fromkeys(SYMBOLS, 55.0))
    process.signal(signal.SIGCONT)
    eventually(lambda: none_open(world), 5)
    decided = eventually(lambda: [d for d in world.records("order.decisions") if d["seq"] == world.seq])
    assert {d["code"] for d in decided} == {"KILLED"}
    assert world.gateway.sent() == before
    nothing_leaves(world)


@pytest.mark.parametrize("scope", ["account", "own"])
def test_with_the_order_process_dead_it_cancels_all_the_same_and_the_next_start_is_held(
    world: OrderWorld, scope: str
) -> None:
    process = world.start().ready()
    rest_an_order(world)
    process.kill()
    report = trip(world, scope)
    assert (report.order_process, report.cancels) == ("dead", "asked")
    eventually(lambda: none_open(world), 2)
    world.start().ready()
    nothing_leaves(world)
    # A re-arming while it is dead is taken up, with its name, at the next start.
    assert world.orders is not None
    world.orders.stop()
    assert rearm(world).order_process == "dead"
    world.start().ready()
    assert world.until_event("rearmed")[0]["labels"]["actor"] == "bob"
    trades_again(world)


def test_ended_while_tripping_the_kill_still_stands(world: OrderWorld) -> None:
    process = world.start(**{VARIABLE: "kill-journalled"}).ready()
    rest_an_order(world)
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"{process.url}/kill", json={"actor": "ann", "reason": "drill", "scope": "own"}, timeout=5)
    assert process.wait() == -signal.SIGKILL
    world.start().ready()
    eventually(lambda: none_open(world), 5)
    nothing_leaves(world)


def test_a_re_arming_of_the_dead_process_lifts_what_its_journal_tells_of(world: OrderWorld) -> None:
    """The kill that never reached the log came before the re-arming, whose command says that the process starts re-armed."""
    process = world.start(**{VARIABLE: "kill-journalled"}).ready()
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"{process.url}/kill", json={"actor": "ann", "reason": "drill", "scope": "own"}, timeout=5)
    assert process.wait() == -signal.SIGKILL
    assert rearm(world).order_process == "dead"
    world.start().ready()
    assert not kill_files.file_of(world.settings).exists()
    trades_again(world)


def test_with_kafka_stopped_new_orders_wait_and_kills_and_cancels_do_not(tmp_path: Path) -> None:
    """Kafka stands still (SIGSTOP): an order without acknowledgement is given up after ACK_TIMEOUT_S; the kill does not notice."""
    with LocalStack.start(tmp_path / "kafka") as stack:
        if stack.kafka is None:
            pytest.skip("the given Kafka is not ours to stop; unset KAFKA_BOOTSTRAP_SERVERS")
        create_topics(stack.bootstrap, prefix="k.")
        settings = Settings(bootstrap=stack.bootstrap, topic_prefix="k.", state_dir=tmp_path / "state", account=ACCOUNT)
        world = OrderWorld(
            settings, tmp_path, ACK_TIMEOUT_S=1.0, ORDERS_PER_MINUTE=1000, GROSS_HARD=20.0, BOX_HARD=2.0, NET_HARD=20.0
        )
        group = os.getpgid(stack.kafka.child.pid)
        try:
            world.open_market()
            process = world.start(**{VARIABLE: "intent-taken:2:STOP"}).ready()
            rest_an_order(world)
            # The process stops with an order decided and nothing appended; Kafka stops; the process goes on.
            world.intents(KO=RESTS, PFE=100.0)
            eventually(
                lambda: "T" in (Path("/proc") / str(process.pid) / "stat").read_text().rpartition(")")[2].split()[0]
            )
            os.killpg(group, signal.SIGSTOP)
            process.signal(signal.SIGCONT)
            eventually(lambda: process.metric("triplane_unacknowledged_records") > 0, 5)
            eventually(lambda: '"code": "NOT_SENT"' in process.words(), 10, "giving up the unacknowledged order")
            assert list(world.gateway.sent()) == [f"{ACCOUNT}/1/KO/1/0"]
            report = trip(world, "own")
            assert (report.order_process, report.cancels) == ("told", "asked")
            eventually(lambda: none_open(world), 2)
            assert process.metric("triplane_journal_pending") > 0
            os.killpg(group, signal.SIGCONT)
            # All of it reaches the log once Kafka goes on.
            world.until_event("killed", timeout=30)
            world.until_event("not_sent", timeout=30)
            eventually(lambda: process.metric("triplane_journal_pending") == 0)
            eventually(lambda: world.records("order.account")[-1]["kill_level"] == "stopped")
            nothing_leaves(world)
            world.fills_equal_the_brokers()
            world.replays()
        finally:
            os.killpg(group, signal.SIGCONT)
            world.close()


def test_with_kafka_dead_the_kill_stands_after_restarts_of_everything(tmp_path: Path) -> None:
    with LocalStack.start(tmp_path / "kafka") as stack:
        if stack.kafka is None:
            pytest.skip("the given Kafka is not ours to end; unset KAFKA_BOOTSTRAP_SERVERS")
        create_topics(stack.bootstrap, prefix="k.")
        settings = Settings(bootstrap=stack.bootstrap, topic_prefix="k.", state_dir=tmp_path / "state", account=ACCOUNT)
        world = OrderWorld(settings, tmp_path, GROSS_HARD=20.0, BOX_HARD=2.0, NET_HARD=20.0)
        try:
            world.open_market()
            process = world.start().ready()
            rest_an_order(world)
            stack.kafka.kill()
            report = trip(world)
            assert (report.order_process, report.cancels) == ("told", "asked")
            eventually(lambda: none_open(world), 2)
            eventually(lambda: process.get("/readyz").json()["reason"] == SILENT, 5)
            process.kill()
            # Without Kafka it does not start; the file holds, and the journal has what the log could not take.
            assert world.start().wait(60) != 0
            assert kill_files.file_of(settings).exists()
            assert (settings.state_dir / "order-journal.jsonl").read_text().count('"kind":"kill"') >= 1
            port = int(stack.bootstrap.rpartition(":")[2])
            with LocalStack.start(tmp_path / "kafka", port) as again:
                assert again.bootstrap == stack.bootstrap
                world.start().ready(60)
                world.until_event("killed")
                nothing_leaves(world)
                world.fills_equal_the_brokers()
                world.at_most_once()
                world.close()
        finally:
            world.close()
