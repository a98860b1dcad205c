"""The order daemon with a real Kafka and the real gateway process: the path of an intent, and what bad weather does to it."""

from __future__ import annotations

import re
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.broker.gateways import ACCOUNT, GatewayProcess
from tests.order_plane.world import OrderProcess, OrderWorld
from tests.prefork import to_its_end
from tests.topic_settings import alter
from tests.waiting import eventually
from triplane.broker.session import BrokerSession
from triplane.domain.timestamps import SECOND
from triplane.runtime.exit_codes import CONFIG, UNAVAILABLE
from triplane.runtime.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def test_an_intent_becomes_orders_fills_and_an_account(world: OrderWorld) -> None:
    world.open_market()
    process = world.start().ready()
    caused = time.time_ns()
    world.intents(cause=caused, KO=300, PFE=-200)
    world.until_event("parent_closed", 2)
    # The truth is the gateway's.
    assert world.at_most_once() == {f"{ACCOUNT}/1/KO/1/0": 1, f"{ACCOUNT}/1/PFE/1/0": 1}
    assert world.fills_equal_the_brokers() == 2
    positions = world.gateway.status()["positions"]
    assert positions == {"KO": 300.0, "PFE": -200.0}

    # What the Strategy Plane reads next.
    def settled() -> dict[str, Any] | None:
        account = world.records("order.account")[-1]
        return account if dict(zip(account["symbols"], account["position"], strict=True)) == positions else None

    account = eventually(settled)
    assert account["reconciled"]
    assert account["simulated"]
    assert account["kill_level"] == "none"
    closed = [fill for fill in world.records("order.fills") if fill["kind"] == "parent"]
    assert {fill["symbol"] for fill in closed} == {"KO", "PFE"}
    assert world.records("order.costs")[-1]["parents"] == [2]
    codes = {(d["symbol"], d["order_ref"] != ""): d["code"] for d in world.records("order.decisions") if d["allowed"]}
    assert codes == {("KO", False): "OK", ("KO", True): "OK", ("PFE", False): "OK", ("PFE", True): "OK"}
    # Write-ahead order on the log, and the latency's ends in the headers.
    log = world.log("order.events")
    places = {(r.value["kind"], r.value["order_ref"]): r.offset for r in reversed(log) if r.value}
    for ref in world.at_most_once():
        assert places["placing", ref] < places["sent", ref] < places["open_order", ref]
    (sent, *_) = [record for record in log if "sent_time" in record.headers]
    assert int(sent.headers["cause_ingest_time"]) == caused < int(sent.headers["sent_time"])
    assert process.metric("triplane_orders_total") == 2
    assert process.metric("triplane_fills_total") == 2
    assert process.metric('triplane_broker_connected{client="order"}') == 1
    assert process.metric("triplane_kill_switch_tripped") == 0


def test_an_orderly_stop_and_start_goes_on_under_a_new_epoch(world: OrderWorld) -> None:
    world.open_market()
    world.start().ready()
    world.intents(KO=300)
    world.until_event("parent_closed")
    assert world.orders is not None
    world.orders.signal(signal.SIGTERM)
    assert world.orders.wait() == 0
    world.start().ready()
    assert [event["epoch"] for event in world.events("epoch")] == [1, 2]
    world.advance(0.1)
    world.intents(KO=300, JPM=50)  # KO is at its target already
    world.until_event("parent_closed", symbol="JPM")
    assert world.at_most_once().keys() == {f"{ACCOUNT}/1/KO/1/0", f"{ACCOUNT}/2/JPM/1/0"}
    assert world.fills_equal_the_brokers() == 2
    # Once more, from the checkpoint that the second start wrote.
    world.orders.stop()
    world.start().ready()
    assert world.events("epoch")[-1]["epoch"] == 3


def test_an_order_leaves_only_in_the_contract_that_its_row_names(world: OrderWorld) -> None:
    """IB trades what the id says: a wrong one would buy another instrument under this name."""
    world.open_market()
    process = world.start().ready()
    world.configure(con_ids={"KO": world._con_ids["PFE"], "JPM": world._con_ids["JPM"]})
    eventually(
        lambda: (
            "no order in this contract leaves" in process.words() and process.words().count("contract confirmed") == 1
        )
    )
    world.advance(0.1)
    world.intents(KO=300, JPM=50, XOM=20)
    world.work_off()  # quotes may be read behind the intents, and an order at the old ones rests
    world.until_event("parent_closed", 2, reason="DONE")
    world.until_event("parent_closed", symbol="KO", reason="CONTRACT_MISMATCH")
    (refused,) = world.events("not_sent")
    assert re.search(
        rf"contract id {world._con_ids['PFE']} is PFE .* at the broker, not KO; correct con_id", refused["text"]
    )
    assert set(world.gateway.status()["positions"]) == {"JPM", "XOM"}
    world.configure(con_ids={"KO": world._con_ids["KO"]})
    eventually(lambda: process.words().count("contract confirmed") == 2)
    world.advance(0.1)
    world.intents(KO=300, JPM=50, XOM=20)
    world.work_off()
    world.until_event("parent_closed", symbol="KO", reason="DONE")
    assert world.gateway.status()["positions"]["KO"] == 300
    world.at_most_once()


def test_shadow_checks_everything_and_sends_nothing(settings: Settings, tmp_path: Path) -> None:
    world = OrderWorld(settings.model_copy(update={"mode": "shadow"}), tmp_path)
    try:
        world.open_market()
        world.start().ready()
        world.intents(KO=300)
        decisions = eventually(lambda: [d for d in world.records("order.decisions") if d["code"] == "SHADOW"])
        assert decisions[0]["symbol"] == "KO"
        assert world.gateway.sent() == {}
        assert world.events("placing") == []
    finally:
        world.close()


def test_a_record_that_cannot_be_decoded_is_kept_aside_and_the_plane_goes_on(world: OrderWorld) -> None:
    world.open_market()
    world.start().ready()
    writer = world.writers["data"]
    raw = b"\x00\xff\xff\xff\xffnonsense"
    writer._producer.produce(world.settings.topic("data.quotes"), value=raw, key=b"main")
    writer.flush(10)
    world.intents(KO=100)
    world.until_event("parent_closed")
    (kept,) = world.records("order.quarantine")
    assert (kept["topic"], kept["raw"], kept["code"]) == ("data.quotes", raw, "UNDECODABLE")
    assert kept["quarantine_id"] == f"data.quotes-0@{kept['offset']}"
    # What was passed over is not read again after a crash, whatever it may look like then.
    writer._producer.produce(world.settings.topic("control.commands"), value=raw, key=b"x")
    writer.flush(10)
    eventually(lambda: len(world.records("order.quarantine")) == 2)
    for _ in range(2):
        assert world.orders is not None
        world.orders.kill()
        world.start().ready()
    world.advance(0.1)
    world.intents(KO=200)
    world.until_event("intents_decided", seq=2)
    world.work_off()
    rows = world.records("order.quarantine")
    assert len({row["quarantine_id"] for row in rows}) == len(rows) == 2
    assert len(world.events("passed_over")) == 2
    world.replays()


def test_records_with_an_unbelievable_time_or_place_are_kept_aside_and_the_plane_trades_on(world: OrderWorld) -> None:
    """Market time and the last barrier only ever grow: once taken, either would make every later record look old."""
    world.open_market()
    world.start().ready()
    assert world.orders is not None
    honest, world.now = world.now, time.time_ns() + 3600 * SECOND
    world.market()
    world.intents(KO=7)
    world.now, world.seq = honest, 10_000_000
    world.intents(KO=8)
    world.seq = 1
    eventually(lambda: len(world.records("order.quarantine")) == 4)
    world.intents(KO=100)
    world.until_event("parent_closed")
    assert world.gateway.status()["positions"] == {"KO": 100.0}
    kept = [(row["topic"], row["code"]) for row in world.records("order.quarantine")]
    assert sorted(kept) == [
        ("data.bars", "FROM_THE_FUTURE"),
        ("data.quotes", "FROM_THE_FUTURE"),
        ("strategy.intents", "FROM_THE_FUTURE"),
        ("strategy.intents", "SEQ_JUMP"),
    ]
    assert world.orders.metric('triplane_order_alerts_total{code="FROM_THE_FUTURE"}') == 3.0
    assert world.orders.metric('triplane_order_alerts_total{code="EXPIRED"}') == 0.0


def test_a_re_arming_of_the_future_lifts_no_kill_and_a_second_one_under_an_id_neither(world: OrderWorld) -> None:
    """Whatever lies on the log of such, `replay` reads past it."""
    world.open_market()
    world.start().ready()
    assert world.orders is not None

    def command(verb: str, identity: str, ahead: int = 0) -> None:
        world.send(
            "control.commands", command=verb, command_id=identity, actor="Ann", reason=identity, event_time=time.time_ns() + ahead
        )  # fmt: skip

    command("kill.trip", "a", 10**18)
    world.until_event("killed")
    command("kill.rearm", "b", 10**18)
    command("kill.rearm", "a")
    (kept,) = eventually(lambda: world.records("order.quarantine"), 20, "the re-arming in quarantine")
    assert (kept["topic"], kept["code"]) == ("control.commands", "FROM_THE_FUTURE")
    eventually(
        lambda: world.orders and world.orders.metric('triplane_order_alerts_total{code="BAD_COMMAND"}') == 1.0, 20
    )
    assert world.events("rearmed") == []
    world.orders.stop()
    world.start().ready()
    command("kill.rearm", "c")
    world.until_event("rearmed")
    world.open_market()
    world.intents(KO=100)
    world.until_event("parent_closed")
    world.orders.stop()
    world.replays()


def test_on_a_full_disk_what_is_to_be_cancelled_is_cancelled_and_nothing_new_is_sent(world: OrderWorld) -> None:
    """A limit on the size of its files does to the process what a disk without room does. Its log has none either."""
    world.open_market()
    process = world.start().ready()
    world.intents(KO=4_000)
    eventually(lambda: world.gateway.status()["open_orders"], 20, "an order rests")

    # What the order and its first fill change is told first, so that the next thing to be written down is the next decision.
    def told() -> bool:
        kinds = [event["kind"] for event in world.records("order.events")]
        return "commission" in kinds and kinds[-1] == "marked"

    eventually(told, 20, "the account with the order and its first fill")
    sent = world.gateway.sent()
    journal = world.settings.state_dir / "order-journal.jsonl"
    eventually(lambda: '"done"' in journal.read_text().splitlines()[-1], 20, "nothing is under way")
    room = min(journal.stat().st_size, process.log.stat().st_size)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    world.intents(KO=-500, PFE=300)
    assert process.wait(30) != 0
    eventually(lambda: not world.gateway.status()["open_orders"], 10, "the resting order is cancelled")
    assert world.gateway.sent() == sent
    # With room again, a start takes up where the log stands.
    world.start().ready()
    world.until_event("intents_decided", seq=world.seq)
    world.advance(0.1)
    world.work_off()
    world.at_most_once()
    world.bounded()
    assert world.gateway.status()["positions"] == {"KO": -500.0, "PFE": 300.0}
    world.fills_equal_the_brokers()
    world.replays()


# -- one writer ------------------------------------------------------------------------------------------------------------------
def test_a_second_process_on_the_same_state_ends_with_78(world: OrderWorld) -> None:
    first = world.start().ready()
    second = to_its_end("order_plane", cwd=Path.cwd(), env=first.environment, timeout=30)
    assert second.returncode == CONFIG
    assert "already running" in second.stderr.splitlines()[-1]
    assert first.get("/readyz").status_code == 200


async def test_a_client_id_in_use_ends_with_78_and_names_it(settings: Settings, tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "gateway", "--hold")
    session = BrokerSession()
    try:
        await session.connect("127.0.0.1", gateway.port, settings.order_client_id, ACCOUNT)
        process = OrderProcess(settings.model_copy(update={"gateway_port": gateway.port}))
        assert process.wait() == CONFIG
        assert process.words().splitlines()[-1].startswith("order: client id 12 is in use at the gateway (error 326)")
        assert session.is_connected
        await session.close()
    finally:
        gateway.stop()


def test_the_wrong_account_ends_with_78(world: OrderWorld) -> None:
    process = OrderProcess(world.settings.model_copy(update={"account": "DU7654321"}))
    assert process.wait() == CONFIG
    assert (
        "the gateway is logged in to DU1234567, but TRIPLANE_ACCOUNT is DU7654321" in process.words().splitlines()[-1]
    )


# -- bad weather -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("gateway", [True, False])
def test_no_kafka_is_one_sentence_and_69(world: OrderWorld, gateway: bool) -> None:
    if not gateway:  # a broker that is away is waited for, but not where it would be no help
        world.gateway.stop()
    process = OrderProcess(world.settings.model_copy(update={"bootstrap": "127.0.0.1:1"}))
    assert process.wait(40) == UNAVAILABLE
    assert "does not answer" in process.words().splitlines()[-1]
    assert "Traceback" not in process.words()


def test_a_clock_that_kafka_refuses_is_named_at_the_start(world: OrderWorld) -> None:
    """Here the broker is told to take nothing that is older than its own now, as it takes nothing an hour ahead of it."""
    alter(world.settings, "order.events", "message.timestamp.before.max.ms", "0")
    process = world.start()
    assert process.wait(40) == UNAVAILABLE
    assert "order.events: not acknowledged: " in process.words().splitlines()[-1]
    assert "is this machine's clock right?" in process.words().splitlines()[-1]


def test_a_gateway_that_is_not_there_is_waited_for_and_named(world: OrderWorld) -> None:
    world.gateway.stop()
    process = world.start()
    reason = eventually(lambda: process.get("/readyz").json()["reason"])
    assert "broker" in reason
    eventually(lambda: "no TWS or IB Gateway answers at 127.0.0.1" in process.words())
    world.gateway.start()
    process.ready()


def test_a_gateway_restart_is_reconnected_and_reconciled(world: OrderWorld) -> None:
    world.open_market()
    process = world.start().ready()
    world.intents(KO=300)
    world.until_event("parent_closed")
    world.gateway.stop(signal.SIGKILL)
    world.until_event("disconnected")
    eventually(lambda: process.get("/readyz").status_code == 503)
    world.gateway.start()
    process.ready()
    world.until_event("connected", 2)
    world.advance(0.1)
    world.intents(KO=100)
    world.until_event("parent_closed", 2)
    world.at_most_once()
    world.fills_equal_the_brokers()


def test_a_gateway_that_hangs_makes_the_plane_reconnect(world: OrderWorld) -> None:
    process = world.start().ready()
    world.gateway.signal(signal.SIGSTOP)
    eventually(lambda: process.get("/readyz").status_code == 503, 15)
    assert "broker" in process.get("/readyz").json()["reason"]
    world.gateway.signal(signal.SIGCONT)
    process.ready()
    assert process.process.poll() is None


@pytest.mark.chaos
@pytest.mark.counted
def test_a_process_that_stood_still_checks_again_before_it_sends(
    world: OrderWorld, counts: Callable[[int, int], int]
) -> None:
    """SIGSTOP with an order about to go onto the socket, and intents waiting on the log: nothing of it may leave unchecked."""
    world.open_market()
    process = world.start(TRIPLANE_TEST_STOP_AT="placing-acked:1:STOP").ready()
    world.intents(KO=300)
    eventually(lambda: "T" in (Path("/proc") / str(process.pid) / "stat").read_text().rpartition(")")[2].split()[0])
    world.intents(KO=300, PFE=100)
    threading_pause(counts(7, 60))
    assert world.gateway.sent() == {}
    world.advance(0.1)  # quotes that are older than QUOTE_STALE_S would hold everything, and rightly so
    process.signal(signal.SIGCONT)
    world.until_event("parent_closed", symbol="PFE", timeout=40)
    events = world.records("order.events")
    kinds = [event["kind"] for event in events]
    paused = kinds.index("paused")
    again = kinds.index("reconciled", paused)
    # What lay on the log when it went on was taken before anything was decided anew.
    taken = [next(iter(event["cut"])) for event in events[paused:again] if event["kind"] == "took"]
    assert "data.quotes-0" in taken
    assert "strategy.intents-0" in taken
    assert "sent" not in kinds[:again]
    (unsent,) = world.events("not_sent")
    assert unsent["order_ref"] == f"{ACCOUNT}/1/KO/1/0"
    counts_ = world.at_most_once()
    assert f"{ACCOUNT}/1/KO/1/0" not in counts_
    assert world.gateway.status()["positions"]["PFE"] == 100.0
    assert "stood still" in process.words()
    world.fills_equal_the_brokers()


def threading_pause(seconds: float) -> None:
    """Let wall time pass: the subject of the test is a process that does not run meanwhile."""
    deadline = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > deadline, seconds + 5)


def test_what_nobody_wrote_on_our_own_log_is_passed_over_at_the_next_start(world: OrderWorld) -> None:
    """Bytes of another format say nothing of our orders. A schema that this build does not know may be one of them: that ends the start."""
    world.open_market()
    world.start().ready()
    world.intents(KO=100)
    world.until_event("parent_closed")
    producer = world.writers["data"]._producer
    for raw in (b"garbage", b"", b"\x00"):
        producer.produce(world.settings.topic("order.events"), value=raw, key=b"x")
    producer.flush(10)
    assert world.orders is not None
    world.orders.kill()
    process = world.start().ready()
    assert process.metric('triplane_order_alerts_total{code="UNDECODABLE"}') == 3
    world.advance(0.1)
    world.intents(KO=300)
    world.until_event("parent_closed", 2)
    assert world.fills_equal_the_brokers() == 2
    assert world.gateway.status()["positions"] == {"KO": 300.0}
    world.replays()
    producer.produce(world.settings.topic("order.events"), value=b"\x00\xff\xff\xff\xffnew", key=b"x")
    producer.flush(10)
    world.orders.kill()
    process = world.start()
    assert process.wait() == CONFIG
    words = process.words()
    assert "a newer build may have written it" in words
    named = re.search(r"TRIPLANE_PASS_OVER=(order\.events-0@\d+)", words)
    assert named is not None, words
    process = world.start(TRIPLANE_PASS_OVER=named[1]).ready()
    assert process.metric('triplane_order_alerts_total{code="UNDECODABLE"}') == 1
    world.replays()
