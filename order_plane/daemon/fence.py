"""Whether this process is still the one writer of its account's events (law L4: at most once).

The log itself tells. order.events has one partition, so the acknowledged offsets of its one writer follow each other without a gap. A gap
is somebody else's writing, and it is read before anything behind it counts as acknowledged: no order leaves that was written ahead behind
a newer epoch. The newest start wins, as with Kafka's own transactional ids, but without markers in the log and time-outs of its broker.

An order that was acknowledged just before the other's epoch came is in the other's fold, which looks for it at the broker.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import IsolationLevel

from order_plane.daemon.log_extent import EVENTS, EVENTS_PARTITION
from triplane.runtime.exit_codes import CONFIG, UNAVAILABLE, DaemonExit
from triplane.runtime.kafka_admin import ANSWER_S, admin_client
from triplane.runtime.kafka_in import LogUnavailable, TopicReader
from triplane.runtime.partition_ends import PartitionEnds
from triplane.runtime.settings import Settings

READ_TIMEOUT_S: Final = 5.0
AGAIN_S: Final = 1.0
LOOK_EVERY_S: Final = 5.0


def events_between(settings: Settings, account: str, first: int, end: int) -> list[tuple[int, dict[str, Any]]]:
    """Offset and value of each event of `account` from `first` up to `end` (exclusive) on order.events. Blocks. Raises LogUnavailable."""
    reader = TopicReader(settings, [EVENTS], {EVENTS_PARTITION: first})
    try:
        records = reader.read_to({EVENTS_PARTITION: end}, READ_TIMEOUT_S)
    finally:
        reader.close()
    return [
        (each.offset, each.value) for each in records if each.value is not None and each.value["account"] == account
    ]


def refuse_company(settings: Settings, account: str, known: int, end: int) -> None:
    """Refuse the start where events of `account` came between two looks at the log, from `known` up to `end`: their writer lives.

    Raises DaemonExit, LogUnavailable. A writer that is silent just then is not seen; it sees the new epoch (`Fence`).
    """
    if known < end and (written := events_between(settings, account, known, end)):
        raise DaemonExit(
            f"{EVENTS_PARTITION}@{written[0][0]}: another order plane writes for account {account} (epoch {written[0][1]['epoch']}); "
            "stop it, then start this one again",
            UNAVAILABLE,
        )


class Fence:
    """Looks at what lies between this process's own records. `epoch` is its own, `began` the offset up to which it had folded the log."""

    def __init__(self, settings: Settings, account: str, epoch: int, began: int) -> None:
        self._settings, self._account, self._epoch, self._began = settings, account, epoch, began

    async def pass_gap(self, first: int, end: int) -> None:
        """Return once the records from `first` up to `end`, none of them ours, are known to leave us our place; else DaemonExit.

        Late words of an older epoch do, and what nobody can decode: every fold passes them over. While they cannot be read, because
        Kafka is away or an open transaction hides them, it waits.
        """
        while True:
            try:
                return await asyncio.to_thread(self._judge, first, end)
            except LogUnavailable:
                await asyncio.sleep(AGAIN_S)

    def _judge(self, first: int, end: int) -> None:
        # Before our own epoch: of two that start at once with one number this is the later, and starts again.
        if first == self._began:
            refuse_company(self._settings, self._account, first, end)
            return
        for offset, event in events_between(self._settings, self._account, first, end):
            if event["epoch"] >= self._epoch:
                raise self._superseded(offset, event)

    def _superseded(self, offset: int, event: dict[str, Any]) -> DaemonExit:
        return DaemonExit(
            f"{EVENTS_PARTITION}@{offset}: another order plane (epoch {event['epoch']}) has taken over account {self._account}, so this one "
            f"(epoch {self._epoch}) ends; run one order plane per account",
            CONFIG,
        )

    async def watch(self, end: Callable[[], int]) -> None:
        """Look behind `end`, where our own acknowledged records end, every few seconds until cancelled: whoever writes nothing has no
        gap that would tell it. Raises DaemonExit."""
        admin, ends = admin_client(self._settings), PartitionEnds(self._settings, [EVENTS])
        known = end()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            before, known = known, end()
            if before == known:
                with contextlib.suppress(LogUnavailable):
                    await asyncio.to_thread(self._look_behind, known, admin, ends)

    def _look_behind(self, known: int, admin: Any, ends: PartitionEnds) -> None:
        now = ends.ask(admin, IsolationLevel.READ_COMMITTED, ANSWER_S).get(EVENTS_PARTITION, known)
        for offset, event in events_between(self._settings, self._account, known, now) if known < now else ():
            if event["epoch"] > self._epoch:  # an equal one is our own, acknowledged meanwhile
                raise self._superseded(offset, event)
