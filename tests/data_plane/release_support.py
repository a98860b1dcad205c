"""Decisions on what is in quarantine, and observations that come into it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from data_plane.daemon import recovery
from data_plane.engine import DataEngine
from data_plane.observations import Observation, Vintage
from data_plane.outputs import DECISIONS, QUARANTINE, Output
from schemas import catalogue, codec
from tests.data_plane.support import (
    assert_conserved,
    daily,
    day_close,
    engine,
    filing,
    records,
)
from triplane.domain.timestamps import DAY, SECOND

GOOD = {"AAA": 100.0, "BBB": 50.0, "CCC": 20.0}
DAYS = ("2018-01-18", "2018-01-19", "2018-01-22", "2018-01-23", "2018-01-24")
NOW = day_close(DAYS[-1]) + 3600 * SECOND
numbers = itertools.count()


def command(bad: dict[str, Any], drop: bool = False, repair: bool = False, actor: str = "ann") -> dict[str, Any]:
    """A Command on a quarantined record."""
    arguments = {"quarantine_id": bad["quarantine_id"]} | ({} if drop else {"repair": "yes" if repair else "no"})
    return {
        "event_time": 17,
        "available_time": 0,
        "command_id": f"c{next(numbers)}",
        "command": "data.drop" if drop else "data.release",
        "arguments": arguments,
        "actor": actor,
        "reason": "looked at it",
    }


def decide(
    machine: DataEngine, bad: dict[str, Any], now: int = NOW, last_good: float = math.nan, **how: Any
) -> tuple[dict[str, Any], list[Output]]:
    """The decision on a command, and all records."""
    outputs = machine.releases.carry_out(command(bad, **how), bad, now, last_good)
    assert_conserved(machine)
    (decision,) = records(outputs, DECISIONS)
    return decision, outputs


def body(output: Output) -> tuple[str, bytes]:
    """Topic and bytes of a record."""
    return output.topic, codec.encode_body(catalogue.load()[output.topic].record, output.record)


def quarantined(outputs: Sequence[Output]) -> list[dict[str, Any]]:
    return records(outputs, QUARANTINE)


def vintage(start: str, *values: tuple[int, float], series: str = "DTB3") -> Vintage:
    return Vintage("fred", series, "Percent", start, day_close(start), False, values)


def a_bar() -> list[Observation]:
    return [daily(DAYS[0], GOOD), daily(DAYS[1], GOOD | {"AAA": 10_100.0})]


def a_fact() -> list[Observation]:
    return [filing("1", 1e6, available=NOW - 9), filing("2", 5e9, available=NOW - 8)]


def a_macro_value() -> list[Observation]:
    return [
        vintage("2018-01-18", *((day * DAY, 1.0 + day / 100) for day in range(20))),
        vintage("2018-01-19", (10 * DAY, 9.0)),
    ]


def restarted(*logs: Sequence[Output], reopen: int = 2) -> DataEngine:
    """An engine that remembers what is on the topics, topic by topic as the daemon reads them."""
    machine = engine(GATE_REOPEN_SLICES=reopen)
    for topic in recovery.TOPICS:
        machine.remember(topic, [output.record for log in logs for output in log if output.topic == topic])
    return machine
