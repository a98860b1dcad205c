"""Whether the log that a daemon reads is still the one that it began to read.

A topic that is deleted and made anew under a reader gives it nothing and no error (librdkafka 2.16): the reader waits at its old
position for good, or goes on in the middle once the new log is as long. Its id tells it, also at the next start (topics_seen.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection

from triplane.runtime.kafka_admin import ANSWER_S, admin_client
from triplane.runtime.lost_log import refuse_shorter
from triplane.runtime.partition_ends import PartitionEnds
from triplane.runtime.settings import Settings
from triplane.runtime.topics_seen import TopicsSeen

LOOK_EVERY_S: Final = 5.0


class LogWatch:
    """Looks at `topics`, names of the catalogue, every `every_s` wall seconds for `daemon`, one thread at a time.

    Of what Kafka does not tell nothing is known, and nothing is said: readiness tells of that.
    """

    def __init__(self, settings: Settings, daemon: str, topics: Iterable[str], every_s: float = LOOK_EVERY_S) -> None:
        names = list(topics)
        self._logical = {settings.topic(topic): topic for topic in names}
        self._ends = PartitionEnds(settings, names)
        self._admin = admin_client(settings)
        self._every_s = every_s
        self._looked = float("-inf")
        self._seen = TopicsSeen(settings, daemon)
        self._one_at_a_time = threading.Lock()

    async def run(self, positions: Callable[[], Mapping[str, int]]) -> None:
        """Look until cancelled. Raises DaemonExit like `look`."""
        while True:
            await asyncio.to_thread(self.look_now, positions())
            await asyncio.sleep(self._every_s)

    def look(self, positions: Mapping[str, int]) -> None:
        """Raise DaemonExit (78) where a topic is another one than before, or ends before what was read of it; blocks.

        `positions` has the next offset to read by partition, from before the call. Returns at once where the last look is not long ago.
        """
        if time.monotonic() - self._looked >= self._every_s:
            self.look_now(positions)
            self._looked = time.monotonic()

    def look_now(self, positions: Mapping[str, int]) -> None:
        """`look`, however long the last one is ago."""
        with self._one_at_a_time:
            ids = self._topic_ids()
            ends = self._ends.ask(self._admin, IsolationLevel.READ_UNCOMMITTED, ANSWER_S)
            refuse_shorter(positions, ends, "this daemon has read")
            self._seen.compare(ids)

    def _topic_ids(self) -> dict[str, str]:
        """What Kafka calls each topic that was made: made anew, it has another id."""
        ids = {}
        told = self._admin.describe_topics(TopicCollection(list(self._logical)), request_timeout=ANSWER_S)
        for physical, answer in told.items():
            with contextlib.suppress(KafkaException):
                ids[self._logical[physical]] = str(answer.result().topic_id)
        return ids
