"""Records in: a Faust application over aiokafka, embedded, that hands each record to one callback.

What Faust would do by itself and does not do here, each for a reason that was measured (reference: streaming, section 3):

- no web server, no leader topic, no topic declaration, no tables, no producer of its own;
- a fresh group id per incarnation, its offsets set from the snapshot before the worker joins: a new member of an old group waits
  for the dead member's session to end, up to a minute;
- read_committed, no offset reset: a position that the log no longer has is an error, never a silent jump;
- long polls of 50 ms instead of 1,500: aiokafka leaves a partition whose records are not taken yet out of the next poll, and
  what arrives on it then waits until that poll ends.

At a rebalance Faust may deliver a record twice, and the receiver drops what it has by offset. It may also pass records over
without an error: seen in a third of the runs where a process was stopped beyond its group session on a busy machine. So a record
whose offset is not the expected one is held until the log itself has been asked what lies before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from faust.app.base import BootStrategy
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from yarl import URL

from schemas import catalogue, codec
from schemas.codec import CodecError
from strategy_plane.worker.addresses import client_options, servers
from strategy_plane.worker.asker import LogAsker
from triplane.runtime.exit_codes import UNAVAILABLE, DaemonExit
from triplane.runtime.kafka_admin import admin_client
from triplane.runtime.kafka_in import LogRecord, partition_name
from triplane.runtime.kafka_out import MAX_MESSAGE_BYTES
from triplane.runtime.settings import BOOTSTRAP_NAMES, Settings

FETCH_WAIT_MS = 50
GATHERED_BYTES = 65_536
"""While records are gathered, the broker answers when it has so much, or after FETCH_WAIT_MS."""
SESSION_TIMEOUT_MS = 30_000
# Committed offsets only serve a rejoin of this same incarnation; a restart takes its offsets from the snapshot.
COMMIT_INTERVAL_S = 5.0
# Records that Faust may hold for us; we take them at once, so this is never reached in practice.
BUFFER = 65_536


class _Boot(BootStrategy):  # type: ignore[misc]
    enable_web = False
    enable_kafka_producer = False


class _NoTables(TableManager):  # type: ignore[misc]
    """Faust waits a second for tables to be declared; there are none."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


def _assignor(partitions: Mapping[str, int]) -> type[RoundRobinPartitionAssignor]:
    """An assignor that leaves out what somebody added on the cluster beyond the catalogue's `partitions` (by topic): no cut names it."""

    class Catalogued(RoundRobinPartitionAssignor):  # type: ignore[misc]
        @classmethod
        def assign(cls, cluster: Any, members: Any) -> dict[str, ConsumerProtocolMemberAssignment]:
            return {
                member: ConsumerProtocolMemberAssignment(
                    cls.version,
                    [(topic, [n for n in numbers if n < partitions[topic]]) for topic, numbers in given.assignment],
                    b"",
                )
                for member, given in super().assign(cluster, members).items()
            }

    return Catalogued


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread with a consumer configured here: several of its options have no setting in Faust."""

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        self._assignor = _assignor(transport.partitions)
        transport.client = AIOKafkaConsumer(
            **transport.client_options,
            group_id=self.app.conf.id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=1_000,
            # A step or a regime fit may take its time; liveness is watched by barrier progress, not by poll intervals.
            max_poll_interval_ms=86_400_000,
            retry_backoff_ms=50,
        )
        return transport.client


class _Consumer(driver.Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):  # type: ignore[misc]
    Consumer = _Consumer
    client_options: dict[str, Any]
    partitions: dict[str, int]
    client: AIOKafkaConsumer | None = None


class FaustReader:
    """Delivers the records of `topics` from `offsets` (`topic-partition` -> first offset) to `on_record`, in the event loop."""

    def __init__(
        self,
        settings: Settings,
        topics: Iterable[str],
        offsets: Mapping[str, int],
        generation: str,
        on_record: Callable[[LogRecord], None],
        asker: LogAsker,
    ) -> None:
        self._settings = settings
        self._asker = asker
        self._filling = asyncio.Lock()
        self._logical = {settings.topic(topic): topic for topic in topics}
        self._offsets = dict(offsets)
        self._next = dict(offsets)  # per partition the first offset not delivered yet
        self._on_record = on_record
        self._catalogue = catalogue.load()
        self._codec = codec.load()
        self.passed_over = 0
        """Records that Faust did not deliver and that were read directly."""
        self.failure: BaseException | None = None
        self.group_id = f"{settings.topic_prefix}triplane-strategy-{settings.group}-{generation}"
        self._app = self._application()

    def _application(self) -> Any:
        app = faust.App(
            self.group_id,
            broker=[URL(f"aiokafka://{server}") for server in servers(self._settings)],
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            consumer_auto_offset_reset="none",
            broker_commit_interval=COMMIT_INTERVAL_S,
            stream_buffer_maxsize=BUFFER,
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            TableManager=_NoTables,
            store="memory://",
            cache="memory://",
            datadir=str(self._settings.state_dir / "faust"),
        )
        app.BootStrategy = _Boot
        transport = _Transport([URL(f"aiokafka://{server}") for server in servers(self._settings)], app)
        transport.client_options = client_options(self._settings, self.group_id)
        transport.partitions = {
            physical: self._catalogue[logical].partitions for physical, logical in self._logical.items()
        }
        app.transport = transport
        topic = app.topic(
            *self._logical, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )

        async def take(stream: Any) -> None:
            async for event in stream.events():
                try:
                    await self._take(event.message)
                except Exception as error:  # an agent that raises would be restarted behind our back, the record lost
                    self.failure = self.failure or error

        app.agent(topic, name="inputs")(take)
        return app

    async def _take(self, message: Any) -> None:
        """Deliver a message, what lies before it on the log first."""
        name = partition_name(self._logical[message.topic], message.partition)
        # The log holds a record at this offset, so it will answer up to it; a gap that was not asked about would be a lost record.
        while message.offset > self._next[name]:
            await self.read_up_to(name, message.offset)
        self._deliver(name, message)

    def _deliver(self, name: str, message: Any) -> None:
        self._next[name] = max(self._next[name], message.offset + 1)
        self._on_record(self.decode(message))

    async def read_up_to(self, name: str, end: int) -> int:
        """Deliver what the log holds of a partition below `end` and was not delivered; the offset up to which nothing is missing.

        Raises KafkaError.
        """
        async with self._filling:  # two at once would deliver out of order
            start = self._next[name]
            if start < end:
                messages, reached = await self._asker.records(name, start, end)
                for message in messages:
                    if message.offset >= self._next[name]:  # Faust may have delivered it while the log was asked
                        self.passed_over += 1
                        self._deliver(name, message)
                self._next[name] = max(self._next[name], reached)
            return self._next[name]

    def decode(self, message: Any) -> LogRecord:
        """A consumed message as a LogRecord; undecodable bytes give `value` None and the reason in `error`."""
        topic = self._logical[message.topic]
        raw = message.value or b""
        value: dict[str, Any] | None = None
        problem = ""
        try:
            value = self._codec.decode(self._catalogue[topic].record, raw)
        except CodecError as error:
            problem = str(error)
        headers = message.headers or ()
        return LogRecord(
            topic,
            message.partition,
            message.offset,
            message.key,
            value,
            problem,
            raw,
            dict(headers.items() if isinstance(headers, Mapping) else headers),
        )

    async def start(self) -> None:
        """Set the group's offsets, join, and begin to deliver. Raises DaemonExit when Kafka refuses."""
        await asyncio.to_thread(self._set_offsets)
        self._app.finalize()
        await self._app.start()

    def _set_offsets(self) -> None:
        positions = []
        for physical, logical in self._logical.items():
            for name, offset in self._offsets.items():
                topic, _, number = name.rpartition("-")
                if topic == logical:
                    positions.append(TopicPartition(physical, int(number), offset))
        client = admin_client(self._settings)
        request = client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(self.group_id, positions)])
        try:
            for future in request.values():
                future.result(timeout=15.0)
        except (KafkaException, TimeoutError) as error:
            raise DaemonExit(
                f"offsets of group {self.group_id} could not be set ({error}); is Kafka at {self._settings.bootstrap} healthy?",
                UNAVAILABLE,
            ) from None

    def gather(self, wanted: bool) -> None:
        """Let the broker collect records for some milliseconds before it answers, or not: what nobody waits for need not come one by one.

        Slices of quotes, trades and bars follow one another within a millisecond, and each answer costs both sides more than the
        record in it. The client reads this at each fetch and has no public name for it.
        """
        client = self._app.transport.client
        if client is not None and client._fetcher is not None:
            client._fetcher._fetch_min_bytes = GATHERED_BYTES if wanted else 1

    async def check(self, look: Callable[[], None]) -> None:
        """Raise what ended the delivery, if anything did.

        A topic made anew ends it, too, unless the watch of the log was earlier: what `look` raises of the log is the cause, and comes first.
        """
        if self.failure is not None:
            raise self.failure
        if self._app.crashed:
            await asyncio.to_thread(look)
            raise DaemonExit(f"the Kafka consumer ended ({self._app.crash_reason!r}); it is started again", UNAVAILABLE)

    async def stop(self) -> None:
        """Leave the group and forget it: the next incarnation has another."""
        await self._app.stop()
        await asyncio.to_thread(self._forget_group)

    def _forget_group(self) -> None:
        client = admin_client(self._settings)
        with contextlib.suppress(KafkaException, TimeoutError):
            for future in client.delete_consumer_groups([self.group_id]).values():
                future.result(timeout=2.0)


WEATHER: Final = (KafkaError, OSError, TimeoutError)
"""Failures that are the network's or the broker's, of which a library's traceback tells nothing."""


class RateLimit(logging.Filter):
    """Writes failures of WEATHER without their traceback, and lets at most `burst` records per logger and message text through in
    `period_s`: an outage wrote 29 MB in 90 s without it."""

    def __init__(self, burst: int = 3, period_s: float = 30.0) -> None:
        super().__init__()
        self._burst, self._period_s = burst, period_s
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if not record.name.startswith(("aiokafka", "faust", "mode")):
            return True
        now = time.monotonic()
        key = (record.name, str(record.msg))
        began, seen = self._windows.get(key, (now, 0))
        if now - began > self._period_s:
            began, seen = now, 0
        self._windows[key] = (began, seen + 1)
        if record.exc_info and isinstance(error := record.exc_info[1], WEATHER):
            record.msg, record.args = f"{record.getMessage()} ({type(error).__name__}: {error})", ()
            record.exc_info = None
        return seen < self._burst


def limit_library_logs() -> None:
    """Rate-limit what aiokafka, Faust and mode write through the handlers of the root logger."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(RateLimit())


def partitions_of(settings: Settings, topics: Iterable[str], timeout_s: float = 10.0) -> list[str]:
    """Partitions of logical topics as `topic-partition`; DaemonExit when Kafka is away or a topic is missing."""
    client = admin_client(settings)
    try:
        known = client.list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        raise DaemonExit(
            f"Kafka at {settings.bootstrap} does not answer ({error.args[0].str()}); start it with `triplane kafka up` or "
            f"correct {BOOTSTRAP_NAMES}",
            UNAVAILABLE,
        ) from None
    names = []
    for topic in topics:
        found = known.get(settings.topic(topic))
        if found is None or found.error is not None:
            raise DaemonExit(f"topic {settings.topic(topic)} does not exist; run `triplane topics create`", UNAVAILABLE)
        names += [partition_name(topic, number) for number in range(catalogue.load()[topic].partitions)]
    return names
