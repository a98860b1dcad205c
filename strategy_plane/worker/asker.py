"""What the log says when it is asked directly, outside the consumer group: its ends, and the records of one stretch.

The group's reader may pass records over at a rebalance without an error (consumer.py); whoever knows where the log ends can ask
for what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException

from strategy_plane.worker.addresses import client_options
from triplane.runtime.kafka_in import damaged
from triplane.runtime.settings import Settings

# Records exist where this is asked; an empty answer after so long means that the rest of the stretch holds markers only.
PATIENCE_MS = 1_000


class LogAsker:
    """A consumer without a group. Partitions go by `topic-number`, the topic's logical name."""

    def __init__(self, settings: Settings, partitions: Iterable[str]) -> None:
        self._physical = {
            name: TopicPartition(settings.topic(name.rpartition("-")[0]), int(name.rpartition("-")[2]))
            for name in partitions
        }
        self._consumer = AIOKafkaConsumer(
            **client_options(settings, "triplane-strategy-cut"),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=200,
        )
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises KafkaError."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Leave."""
        await self._consumer.stop()

    async def begins(self) -> dict[str, int]:
        """First offset of each partition. Raises KafkaError."""
        return await self._offsets(self._consumer.beginning_offsets)

    async def ends(self) -> dict[str, int]:
        """Offset after the last record of each partition. Raises KafkaError."""
        return await self._offsets(self._consumer.end_offsets)

    async def _offsets(self, ask: Callable[[list[TopicPartition]], Any]) -> dict[str, int]:
        answer = await ask(list(self._physical.values()))
        return {name: int(answer[partition]) for name, partition in self._physical.items()}

    async def records(self, name: str, start: int, end: int) -> tuple[list[Any], int]:
        """aiokafka's records of partition `name` in [start, end), and the offset up to which there are no others.

        That offset is below `end` when the log does not answer to the end. Raises KafkaError, and LogUnavailable
        for a record that the disk damaged: no later answer would be another.
        """
        partition = self._physical[name]
        found: list[Any] = []
        async with self._one_at_a_time:
            self._consumer.assign([partition])
            reached = start
            try:
                self._consumer.seek(partition, start)
                while reached < end:
                    answer = await self._consumer.getmany(partition, timeout_ms=PATIENCE_MS)
                    found += answer.get(partition, [])
                    position = await self._consumer.position(partition)
                    if position == reached:
                        break
                    reached = position
            except CorruptRecordException as error:
                raise damaged(f"{partition.topic}-{partition.partition}", reached, str(error)) from None
            finally:
                self._consumer.unsubscribe()  # or it would go on fetching what nobody takes
        return [record for record in found if record.offset < end], min(reached, end)
