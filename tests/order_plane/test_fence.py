"""Two order planes on one account and one log: the newest start wins, and no order leaves twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest
from confluent_kafka import Producer

from order_plane.daemon.fence import Fence
from order_plane.daemon.publisher import MEMORY_FULL, Publisher
from schemas import codec
from tests.foreign_transaction import foreign_transaction
from tests.order_plane.world import OrderProcess, OrderWorld
from tests.waiting import eventually, wait
from triplane.replay.orders import verify
from triplane.replay.recording import read
from triplane.runtime.exit_codes import CONFIG, UNAVAILABLE, DaemonExit
from triplane.runtime.kafka_in import read_all
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
ACCOUNT = "DU1"
OURS = 7
SUPERSEDED = "another order plane (epoch {}) has taken over account"


def event(number: int, epoch: int = OURS, account: str = ACCOUNT) -> dict[str, object]:
    """A record of order.events."""
    return codec.defaults("OrderEvent") | {
        "account": account, "epoch": epoch, "event_id": f"{account}/{epoch}/{number}", "kind": "epoch" if number == 0 else "clock",
    }  # fmt: skip


@pytest.fixture
def other(settings: Settings) -> Iterator[TopicWriter]:
    """Somebody else who writes as the order plane."""
    writer = TopicWriter(settings, "order")
    yield writer
    writer.close()


def appended(settings: Settings, meanwhile: list[dict[str, object]], began: int = 0) -> tuple[bool, Publisher]:
    """Our epoch, what others write `meanwhile`, one more of our events: whether all of it came to count within four seconds."""

    async def run() -> tuple[bool, Publisher]:
        writer, foreign = TopicWriter(settings, "order"), TopicWriter(settings, "order")
        end = len(read_all(settings, ["order.events"])) if began < 0 else began
        fence = Fence(settings, ACCOUNT, OURS, end)
        publisher = Publisher(writer, lambda: None, lambda _: None, end, fence.pass_gap)
        try:
            publisher.append("order.events", event(0))
            if not await publisher.settle(20.0):
                return False, publisher
            for record in meanwhile:
                await asyncio.wrap_future(foreign.send("order.events", record))
            publisher.append("order.events", event(1))
            return await publisher.settle(20.0), publisher
        finally:
            for each in (writer, foreign):
                await asyncio.to_thread(each.close)

    return asyncio.run(run())


def test_events_without_a_gap_count_at_once(settings: Settings) -> None:
    settled, publisher = appended(settings, [])
    assert settled
    assert (publisher.acknowledged, publisher.end) == (2, 2)


@pytest.mark.parametrize("epoch", [OURS, OURS + 1])
def test_nothing_behind_a_newer_epoch_counts(settings: Settings, epoch: int) -> None:
    """An equal one is another start that counted from the same log."""
    settled, publisher = appended(settings, [event(0, epoch)])
    assert not settled
    assert publisher.acknowledged == 1
    assert isinstance(publisher.ending, DaemonExit)
    assert publisher.ending.code == CONFIG
    assert SUPERSEDED.format(epoch) in str(publisher.ending)
    assert str(publisher.ending).startswith("order.events-0@1: ")


def test_late_words_of_an_older_epoch_and_other_accounts_are_passed(settings: Settings) -> None:
    settled, publisher = appended(settings, [event(3, OURS - 1), event(0, OURS + 5, "DU2")])
    assert settled
    assert (publisher.acknowledged, publisher.end, publisher.ending) == (2, 4, None)


def test_what_an_older_writer_adds_while_the_log_is_read_ends_the_start(settings: Settings, other: TopicWriter) -> None:
    """It is not in our fold, and it is in everybody else's."""
    other.send("order.events", event(9, OURS - 1)).result(20)
    settled, publisher = appended(settings, [])  # read up to 0, and the record lies there
    assert not settled
    assert isinstance(publisher.ending, DaemonExit)
    assert publisher.ending.code == UNAVAILABLE
    assert f"another order plane writes for account {ACCOUNT} (epoch {OURS - 1}); stop it" in str(publisher.ending)


def test_bytes_that_are_no_record_in_between_are_passed(settings: Settings) -> None:
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    producer.produce(settings.topic("order.events"), b"junk")
    assert producer.flush(10) == 0
    settled, publisher = appended(settings, [])
    assert settled
    assert (publisher.acknowledged, publisher.end) == (2, 3)


def test_while_an_open_transaction_hides_what_lies_between_nothing_counts(settings: Settings) -> None:
    async def run() -> None:
        writer = TopicWriter(settings, "order")
        publisher = Publisher(writer, lambda: None, lambda _: None, 0, Fence(settings, ACCOUNT, OURS, 0).pass_gap)
        try:
            publisher.append("order.events", event(0))
            assert await publisher.settle(20.0)
            with foreign_transaction(settings, "order.events"):
                publisher.append("order.events", event(1))
                assert not await publisher.settle(3.0)
                assert (publisher.acknowledged, publisher.end, publisher.ending) == (1, 3, None)
            assert await publisher.settle(30.0)
        finally:
            await asyncio.to_thread(writer.close)

    asyncio.run(run())


def test_a_quiet_event_leaves_with_the_next_one_in_order_or_alone_after_a_while(settings: Settings) -> None:
    async def run() -> None:
        writer = TopicWriter(settings, "order")
        publisher = Publisher(writer, lambda: None, lambda _: None, 0, Fence(settings, ACCOUNT, OURS, 0).pass_gap)

        async def until(condition: Callable[[], bool]) -> None:
            await asyncio.to_thread(eventually, condition, 20.0)

        try:
            publisher.append("order.events", event(0))
            await until(lambda: publisher.acknowledged == 1 and writer.in_flight() == 0)
            assert [publisher.append_quiet("order.events", event(n)) for n in (1, 2)] == [2, 3]
            assert (writer.in_flight(), publisher.pending, publisher.acknowledged) == (0, 2, 1)
            assert publisher.append("order.events", event(3)) == 4
            assert writer.in_flight() > 0
            await until(lambda: publisher.acknowledged == 4)
            publisher.append_quiet("order.events", event(4))
            await until(lambda: publisher.acknowledged == 5)  # nobody else appends or settles: its own time is up
            publisher.append_quiet("order.events", event(5))
            publisher.failure = BufferError("Local: Queue full")
            assert str(publisher.ending) == MEMORY_FULL
        finally:
            await publisher.close(5.0)
        written = [record.value for record in read_all(settings, ["order.events"]) if record.value]
        assert [each["event_id"] for each in written] == [f"{ACCOUNT}/{OURS}/{number}" for number in range(6)]

    asyncio.run(run())


def replays_its_events(world: OrderWorld) -> None:
    """What the one before had decided and not published comes late, or not at all, on the other topics (docs/architecture.md)."""
    (events,) = [each for each in verify(read(world.settings), world.settings.account) if each.topic == "order.events"]
    assert events.identical, events.divergence


def answers(plane: OrderProcess) -> bool:
    """Whether a plane is ready now."""
    try:
        return plane.process.poll() is None and plane.get("/readyz").status_code == 200
    except (httpx.HTTPError, AssertionError):  # it does not serve yet, or has just ended
        return False


def test_of_two_that_start_at_once_one_is_left_and_the_log_stays_whole(world: OrderWorld) -> None:
    """Both count from the same log, and may write one epoch. The later one starts again, as its supervisor would start it."""
    world.open_market()
    first = world.start()
    elsewhere = world.settings.model_copy(update={"state_dir": world.settings.state_dir.parent / "elsewhere"})
    second = OrderProcess(elsewhere, TRIPLANE_ORDER_CLIENT_ID="44")
    planes = {12: first, 44: second}
    try:
        while not (len(planes) == 1 and answers(next(iter(planes.values())))):
            for client, plane in list(planes.items()):
                if plane.process.poll() is None:
                    continue
                del planes[client]
                if plane.wait() == UNAVAILABLE:
                    planes[client] = OrderProcess(plane.settings, TRIPLANE_ORDER_CLIENT_ID=str(client))
                else:
                    assert plane.wait() == CONFIG
            assert planes
            wait(0.05)
        (world.orders,) = planes.values()
        world.open_market()
        world.intents(KO=300, PFE=200)
        world.work_off()
    finally:
        for plane in (first, second, *planes.values()):
            plane.stop()
    world.at_most_once()
    world.fills_equal_the_brokers()
    replays_its_events(world)


def any_over(*planes: OrderProcess) -> bool:
    """Whether one of them has ended."""
    return any(plane.process.poll() is not None for plane in planes)


def taken_over(older: OrderProcess, start: Callable[[], OrderProcess]) -> OrderProcess:
    """The start that `older` has ended for. Words that it wrote while a start read the log end that one, for the supervisor to try again."""
    for _ in range(10):
        newer = start()
        eventually(partial(any_over, older, newer), 40)
        if newer.process.poll() is None:
            assert older.wait() == CONFIG
            return newer
        assert newer.wait() == UNAVAILABLE
    raise AssertionError(newer.words())


def test_a_second_order_plane_takes_over_and_the_first_ends_before_it_sends_again(world: OrderWorld) -> None:
    """From another folder and with another client id, which neither the lock nor the broker refuses."""
    world.open_market()
    first = world.start().ready()
    world.intents(KO=300)
    world.until_event("parent_closed")
    # Nothing happens, so nothing of its own tells the first.
    elsewhere = world.settings.model_copy(update={"state_dir": world.settings.state_dir.parent / "elsewhere"})
    second = taken_over(first, lambda: OrderProcess(elsewhere, TRIPLANE_ORDER_CLIENT_ID="44"))
    try:
        second.ready()
        assert (
            f"{SUPERSEDED.format(2)} {world.settings.account}, so this one (epoch 1) ends"
            in first.words().splitlines()[-1]
        )
        world.open_market()  # a process begins without a market
        world.intents(KO=300, PFE=200)
        world.work_off()  # quotes may be read behind the intents
        # Both in the midst of trading: the next start takes over from the second.
        world.intents(KO=900, PFE=700, MSFT=400, JPM=300, XOM=200)
        world.orders = third = taken_over(second, lambda: world.start(TRIPLANE_ORDER_CLIENT_ID="12"))
        third.ready()
        world.open_market()
        world.work_off()
    finally:
        second.stop()
    third.stop()
    assert len(world.at_most_once()) >= 6
    world.fills_equal_the_brokers()
    replays_its_events(world)
