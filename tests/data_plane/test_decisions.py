"""Commands on what is in quarantine, read from a real Kafka."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from confluent_kafka import Producer

from data_plane.daemon import recovery
from data_plane.daemon.decisions import DecisionFollower, last_good_close
from data_plane.engine import DataEngine
from data_plane.outputs import DECISIONS, QUARANTINE, Output
from tests.data_plane.support import daily, engine, records, run
from tests.recordings import Message, publish
from tests.waiting import until
from triplane.runtime.kafka_in import read_all
from triplane.runtime.settings import Settings

pytestmark = pytest.mark.integration
GOOD = {"AAA": 100.0, "BBB": 50.0, "CCC": 20.0}
NOW = 17 * 10**17


def given(number: str, command: str, quarantine_id: str, **more: str) -> Message:
    arguments = {"quarantine_id": quarantine_id, **more} if quarantine_id else {}
    record = {"event_time": 1, "available_time": 0, "command_id": number, "command": command, "arguments": arguments}
    return Message("control.commands", record | {"actor": "ann", "reason": "looked at it"})


async def followed(settings: Settings, machine: DataEngine, last: str) -> list[dict[str, Any]]:
    """Decisions of a follower up to that on the command `last`, which owes something."""
    outputs: list[Output] = []

    async def pause(seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return False

    log = structlog.get_logger()
    follower = DecisionFollower(settings, machine.releases, outputs.extend, lambda: NOW, pause, log)
    task = asyncio.create_task(follower.follow())
    await until(lambda: task.done() or any(each["command_id"] == last for each in records(outputs, DECISIONS)))
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled() or not task.exception()
    publish(settings, [Message(output.topic, output.record) for output in outputs])
    return records(outputs, DECISIONS)


async def test_the_first_command_of_an_id_counts_and_a_second_run_does_nothing_twice(settings: Settings) -> None:
    machine = engine()
    outputs = run(machine, [daily("2018-01-18", GOOD), daily("2018-01-19", GOOD | {"AAA": 10_100.0, "CCC": 60.0})])
    cents, spike = records(outputs, QUARANTINE)
    publish(settings, [Message(output.topic, output.record) for output in outputs if output.topic != "data.gates"])
    mended, other = cents["quarantine_id"], spike["quarantine_id"]
    foreign = Producer({"bootstrap.servers": settings.bootstrap})
    foreign.produce(settings.topic("control.commands"), value=b"\x00junk", key=b"x")
    foreign.flush(10)
    publish(
        settings,
        [
            given("1", "kill.trip", ""),
            given("1", "data.drop", mended),  # under another command's id: none
            given("2", "data.release", ""),
            given("3", "data.release", mended, repair="yes"),
            given("3", "data.release", mended, repair="yes"),
            given("4", "data.drop", "ibkr/nothing"),
            given("5", "data.release", "data.bars-0@9", repair="no"),
        ],
    )
    first = await followed(settings, machine, "5")
    assert [(each["command_id"], each["action"]) for each in first] == [
        ("3", "repaired"),
        ("4", "refused"),
        ("5", "refused"),
    ]
    assert first[0]["repaired"]["close"] == pytest.approx(101.0)
    assert last_good_close(settings, cents, "1d") == 100.0

    # The next run finds those done, from what is on the topics, and goes on with the next.
    found = recovery.read(settings)
    again = engine()
    for topic in recovery.TOPICS:
        again.remember(topic, [record.value for record in found if record.topic == topic and record.value is not None])
    publish(settings, [given("6", "data.drop", other)])
    second = await followed(settings, again, "6")
    assert [(each["command_id"], each["action"]) for each in second] == [("6", "dropped")]
    slices = [record.value for record in read_all(settings, ("data.bars",)) if record.value is not None]
    assert [each["released"] for each in slices] == [[], [], [mended]]
