"""Laws L4, L5 and L11: the order process is ended at every step of the order path, the broker loses and repeats what it says.

What is true is read from the gateway's own journal, never from what the order plane believes.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from order_plane.daemon.stop_points import PLACES, VARIABLE
from tests.broker.gateways import ACCOUNT
from tests.order_plane.world import SYMBOLS, OrderProcess, OrderWorld
from tests.waiting import eventually
from triplane.runtime.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(1200)]

AT_START = {"connected", "epoch-appended", "snapshot-taken"}
# An order that rests, so that a newer barrier has something to cancel: more than the book offers in one step of the market, and
# well within the widest box there is, 2 x NAV, also after the costs of many such orders.
RESTING = {"KO": 20_000.0}


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[OrderWorld]:
    # Crash after crash within a few minutes of the market: the brakes on orders and notional per minute are not what is tested, and
    # an order that waits for one of them outlives its quote, which stands still here.
    made = OrderWorld(
        settings, tmp_path, ABSENT_AFTER_S=0.3, BROKER_TIMEOUT_S=2.0, ORDERS_PER_MINUTE=1000, NOTIONAL_PER_MINUTE=1e9,
        GROSS_HARD=20.0, BOX_HARD=2.0, NET_HARD=20.0,
    )  # fmt: skip
    try:
        yield made
    finally:
        made.close()


def laws_hold(world: OrderWorld) -> None:
    """What must be true at any moment, dead or alive."""
    world.at_most_once()
    world.bounded()


def _until_rests_or_dead(world: OrderWorld, process: OrderProcess) -> None:
    def rests_or_died() -> bool:
        return bool(world.gateway.status()["open_orders"]) or process.process.poll() is not None

    try:
        eventually(rests_or_died, 30, f"an order of barrier {world.seq} rests")
    except AssertionError as error:
        decisions = [
            {name: row[name] for name in ("intent_id", "seq", "code", "detail", "numbers")}
            for row in world.records("order.decisions")
        ]
        events = [(row["kind"], row["order_ref"], row["reason"]) for row in world.records("order.events")]
        raise AssertionError(f"{error}\n{decisions[-8:]}\n{events[-20:]}\n{process.words()[-3000:]}") from None


def _trade_until_dead(world: OrderWorld, process: OrderProcess, place: str, resting: bool) -> None:
    """Slices of intents, each the other way round, until the process has ended itself where it was told to."""
    for _ in range(1 if place in AT_START else 8):
        if place not in AT_START and process.process.poll() is None:
            world.advance(0.1)
            size = 100.0 + 10.0 * world.seq
            world.intents(dict.fromkeys(SYMBOLS, size * (1 if world.seq % 2 else -1)))
            if resting:
                world.intents({name: quantity + world.seq for name, quantity in RESTING.items()})
                _until_rests_or_dead(world, process)
                world.intents(KO=size)
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert process.wait(30 if place in AT_START else 5) == -signal.SIGKILL
            return
    raise AssertionError(f"step {place} was not reached\n{process.words()[-3000:]}")


@pytest.mark.counted
@pytest.mark.parametrize("resting", [False, True])
def test_ended_at_every_step_no_order_is_sent_twice_and_no_fill_is_lost(
    world: OrderWorld, counts: Callable[[int, int], int], seed: int, resting: bool
) -> None:
    """SIGKILL at named steps in a seeded order (all of them, five times, in the full form); each start is also the recovery from
    the step before."""
    rng = random.Random(seed)
    places = [place for place in PLACES if place.startswith("cancel") == resting and place != "kill-journalled"]
    rng.shuffle(places)
    places = places[: counts(6, len(places))] * counts(1, 5)
    world.open_market()
    for place in places:
        # Anywhere within a bunch of orders or reports, not always at its first. Several may be read or acknowledged at once.
        nth = 1 if place in AT_START or resting else rng.randint(1, 3)
        process = world.start(**{VARIABLE: f"{place}:{nth}"})
        # What the last crash left behind may take the recovery itself through the place: then it ends there.
        if place not in AT_START:
            process.ready(or_dead=True)
        _trade_until_dead(world, process, place, resting)
        laws_hold(world)
    world.start().ready()
    world.advance(0.1)
    final = {"KO": 150.0, "PFE": -120.0, "MSFT": 40.0, "JPM": 0.0, "XOM": -30.0}
    world.intents(final)
    world.until_event("intents_decided", seq=world.seq)
    world.work_off()
    laws_hold(world)
    assert world.gateway.status()["positions"] == {name: units for name, units in final.items() if units}
    assert world.fills_equal_the_brokers() > 0
    eventually(
        lambda: world.positions() == world.gateway.status()["positions"],
        10,
        "the account as the plane has it is the broker's",
    )
    assert world.records("order.account")[-1]["held"] == []
    world.replays()
    assert len(world.events("epoch")) == len(places) + 1 - places.count(
        "connected"
    )  # that one dies before it has an epoch


def test_fills_that_are_lost_repeated_corrected_or_cut_off_are_counted_once(world: OrderWorld) -> None:
    """Law L5: one after the other, then all at once, then a restart."""
    world.open_market()
    world.start().ready()
    target = 0.0
    for faults in (
        ["duplicate_executions"], ["suppress_executions"], ["correct_executions"], ["disconnect_mid_fill"],
        ["duplicate_executions", "suppress_executions", "correct_executions", "disconnect_mid_fill"],
    ):  # fmt: skip
        for fault in faults:
            world.gateway.fault(fault)
        world.advance(0.1)
        target += 50.0
        world.intents(KO=target, PFE=-target)
        world.until_event("intents_decided", seq=world.seq, timeout=30)
        world.work_off()
        eventually(lambda: _equal(world), 20, f"fills after {faults}")
        assert world.gateway.status()["positions"] == {"KO": target, "PFE": -target}, faults
    # An execution that nobody heard of while the process was dead.
    assert world.orders is not None
    world.orders.ready()
    world.advance(0.1)
    world.gateway.fault("delay_acks", seconds=1.0, count=2)
    world.intents(KO=target + 70)
    eventually(lambda: f"{ACCOUNT}/{world.seq}/KO/1/0" in world.gateway.sent())
    world.orders.kill()
    world.start().ready()
    world.work_off()
    eventually(lambda: _equal(world), 20, "fills after the restart")
    laws_hold(world)
    assert world.gateway.status()["positions"]["KO"] == target + 70
    # A restart changes nothing.
    before = {fill["fill_id"] for fill in world.records("order.fills")}
    world.orders.stop()
    world.start().ready()
    assert {fill["fill_id"] for fill in world.records("order.fills")} == before
    world.fills_equal_the_brokers()
    world.replays()


def _equal(world: OrderWorld) -> bool:
    try:
        world.fills_equal_the_brokers()
    except AssertionError:
        return False
    return True


@pytest.mark.counted
def test_random_restarts_through_a_session_end_where_an_undisturbed_run_ends(
    settings: Settings, tmp_path: Path, counts: Callable[[int, int], int], seed: int
) -> None:
    """Law L11, with positions of somebody else in the account: they are left alone, and every start reconciles before it sends."""
    rng = random.Random(seed)
    world = OrderWorld(settings, tmp_path, "2018-01-19T15:30", ABSENT_AFTER_S=0.3, ORDERS_PER_MINUTE=1000)
    try:
        world.gateway.stop()
        world.gateway.options = (*world.gateway.options, "--position", "JPM=500")
        world.gateway.directory = tmp_path / "with-positions"
        world.gateway.start()
        world.gateway.advance(to="2018-01-19T15:30")
        world.open_market()
        process = world.start().ready()
        target = {"KO": 0.0, "PFE": 0.0}
        for _ in range(counts(3, 30)):
            world.advance(0.1)
            target = {"KO": rng.randrange(-5, 6) * 100.0, "PFE": rng.randrange(-5, 6) * 100.0}
            world.intents(target, JPM=0.0)
            if rng.random() < 0.7:
                process.kill()
                process = world.start().ready()
        world.advance(0.1)
        world.intents(target, JPM=0.0)
        world.until_event("intents_decided", seq=world.seq)
        world.work_off()
        laws_hold(world)
        world.fills_equal_the_brokers()
        expected = {"JPM": 500.0} | {name: units for name, units in target.items() if units}
        assert world.gateway.status()["positions"] == expected
        (baseline,) = world.events("baseline")
        assert (baseline["symbols"], baseline["quantities"], baseline["reason"]) == (["JPM"], [500.0], "exclude")
        assert {d["code"] for d in world.records("order.decisions") if d["symbol"] == "JPM"} == {"FOREIGN_POSITION"}
        account = world.records("order.account")[-1]
        assert account["excluded"] == ["JPM"]
        _reconciled_before_every_order(world)
        world.replays()
    finally:
        world.close()


def _reconciled_before_every_order(world: OrderWorld) -> None:
    passed = False
    for event in world.records("order.events"):
        if event["kind"] in ("epoch", "connected", "disconnected", "paused"):
            passed = False
        elif event["kind"] == "reconciled":
            passed = True
        elif event["kind"] in ("placing", "sent"):
            assert passed, event["event_id"]
