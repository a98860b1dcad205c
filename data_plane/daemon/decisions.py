"""Commands of people on what is in quarantine: read from control.commands, looked up on the log, carried out by the engine.

They are few, so each start reads them from the beginning: what was carried out owes nothing, and what a crash left half done is finished.
What a command is about is read from the log when it comes, for nobody keeps the bytes of all that was ever quarantined in memory.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import structlog

from data_plane.gates.last_good import LastGoodClose
from data_plane.outputs import QUARANTINE, Output
from data_plane.published import BAR_TOPICS
from data_plane.quarantined import interval_of
from data_plane.release import COMMANDS, Releases
from triplane.runtime.kafka_in import LogRecord, LogUnavailable, PositionGone, TopicReader
from triplane.runtime.log_scan import scan
from triplane.runtime.settings import Settings

T = TypeVar("T")
TOPIC: Final = "control.commands"
QUARANTINES: Final = (QUARANTINE, "strategy.quarantine", "order.quarantine")
AGAIN_S: Final = 2.0
"""Wall seconds between two tries to look something up."""


class DecisionFollower:
    """Hands `releases` each command of COMMANDS in the log's order, the first of each id, and what comes of it to `emit`. `now` is market
    time, ns UTC; `pause` waits wall seconds and is true when the daemon stops."""

    def __init__(
        self,
        settings: Settings,
        releases: Releases,
        emit: Callable[[list[Output]], None],
        now: Callable[[], int],
        pause: Callable[[float], Awaitable[bool]],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._settings = settings
        self._releases = releases
        self._emit = emit
        self._now = now
        self._pause = pause
        self._log = log
        self._seen: set[str] = set()

    async def follow(self) -> None:
        """Until cancelled. Raises PositionGone where the commands are not what was read any more."""
        reader = await self._until_told(TopicReader, self._settings, [TOPIC])
        while reader is not None:
            for record in await asyncio.to_thread(reader.poll, 0.5):
                if self._is_ours(record):
                    assert record.value is not None
                    await self._carry_out(record.value)

    async def _until_told(self, ask: Callable[..., T], *about: Any) -> T | None:
        """What Kafka answers, however long it is away; None when the daemon stops first."""
        while True:
            try:
                return await asyncio.to_thread(ask, *about)
            except PositionGone:
                raise
            except LogUnavailable as error:
                self._log.warning("commands wait", reason=str(error))
                if await self._pause(AGAIN_S):
                    return None

    def _is_ours(self, record: LogRecord) -> bool:
        command = record.value
        if command is None:
            self._log.error("command passed over", record=record.place, problem=record.error)
            return False
        identity = command["command_id"]
        if (
            identity in self._seen
        ):  # the first of an id is the command, and its writer repeats what was not acknowledged
            return False
        self._seen.add(identity)
        if command["command"] not in COMMANDS:
            return False
        if not identity or not command["arguments"].get("quarantine_id"):
            self._log.error("command passed over", record=record.place, problem="it has no id, or names none")
            return False
        return self._releases.owes(command)

    async def _carry_out(self, command: Mapping[str, Any]) -> None:
        told = await self._until_told(looked_up, self._settings, command["arguments"])
        if told is None:
            return
        found, last_good = told
        outputs = self._releases.carry_out(command, found, self._now(), last_good)
        self._emit(outputs)
        decision = outputs[-1].record if outputs else {}
        self._log.info(
            "command carried out",
            command=command["command"],
            quarantine_id=command["arguments"]["quarantine_id"],
            actor=command["actor"],
            action=decision.get("action", "finished"),
            detail=decision.get("detail", ""),
        )


def looked_up(settings: Settings, arguments: Mapping[str, str]) -> tuple[dict[str, Any] | None, float]:
    """The first quarantined record of an id, None without one, and for a repair the last good close before it, else NaN; blocks.

    Raises LogUnavailable.
    """
    wanted = arguments["quarantine_id"]
    values = (record.value for record in scan(settings, QUARANTINES))
    found = next((value for value in values if value is not None and value["quarantine_id"] == wanted), None)
    if found is None or arguments.get("repair") != "yes" or not (interval := interval_of(found)):
        return found, math.nan
    return found, last_good_close(settings, found, interval)


def last_good_close(settings: Settings, found: Mapping[str, Any], interval: str) -> float:
    """The last good close before a quarantined bar, from all slices; blocks. Raises LogUnavailable."""
    return last_good_closes(settings, [(found, interval)])[0]


def last_good_closes(settings: Settings, found: Sequence[tuple[Mapping[str, Any], str]]) -> list[float]:
    """The same of several bars, with their intervals; the log is read once."""
    closes = [LastGoodClose(record, interval) for record, interval in found]
    for record in scan(settings, BAR_TOPICS) if closes else ():
        if record.value is not None:
            for each in closes:
                each.take(record.value)
    return [each.close for each in closes]
