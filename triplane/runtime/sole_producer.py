"""One producer of a plane's topics on a log, whichever state directory it runs from.

The file lock of a state directory keeps a second process from it, and nothing from another directory, whose process would publish the same
identities side by side. So each producer joins a consumer group of the log, and the one that is given the group's only partition may
publish. Kafka's coordinator decides that (one answer for all), and the holder keeps it (cooperative-sticky) for as long as its heartbeats come.

A member is known by its state directory (static membership, KIP-345): started again there, also after SIGKILL, it has the partition at
once. A static member does not take its leave, so another directory's producer waits until SESSION_S after the last heartbeat. A
process that stood still for longer, while another began, learns of it with its next heartbeat and ends: what it had in hand may be
written twice then. This is a lease and no fence.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from concurrent.futures import Future
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from triplane.runtime.exit_codes import CONFIG, UNAVAILABLE, DaemonExit
from triplane.runtime.kafka_admin import ANSWER_S, admin_client
from triplane.runtime.kafka_in import LogUnavailable
from triplane.runtime.kafka_out import LOG_LEVEL
from triplane.runtime.settings import Settings

SESSION_S: Final = 10.0
"""Wall seconds without a heartbeat after which a producer is taken to be gone; Kafka's brokers allow six and more."""
ANSWER_WITHIN_S: Final = 60.0
"""Wall seconds in which Kafka must say who has the partition: a dead member's session, and a busy coordinator."""
_TOPIC: Final = "control.config"
"""Any topic of one partition; nothing of it is used."""
_POLL_S: Final = 0.2
_SOON_S: Final = 0.01
"""Wall seconds between two looks while the start waits for the answer."""
_FINAL: Final = frozenset({KafkaError._FATAL, KafkaError.GROUP_AUTHORIZATION_FAILED})
"""Errors that no waiting mends: another process has this one's name, or the group is not allowed."""


class SoleProducer:
    """The right to publish a plane's topics; one object a process. `join`, then `take`; `close` at the end, whatever came before it."""

    def __init__(self, settings: Settings, plane: str) -> None:
        place = f"{socket.gethostname()}:{settings.state_dir.absolute()}"
        self._settings, self._plane = settings, plane
        self._group = f"{settings.topic_prefix}triplane-{plane}-{settings.group}-producer"
        self._options: dict[str, str | int | bool] = {
            "bootstrap.servers": settings.bootstrap,
            "client.id": place,
            "group.id": self._group,
            "group.instance.id": hashlib.sha256(place.encode()).hexdigest()[:32],
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": int(SESSION_S * 1000),
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "reconnect.backoff.max.ms": 1000,
            "log_level": LOG_LEVEL,
            **settings.kafka_options,
        }
        self._answer: Future[bool] = Future()
        """Whether the partition was given to this process when it joined."""
        self._lost: Future[str] = Future()
        """Why it may not publish any more."""
        self._holds = False
        self._member = ""
        """What the coordinator calls this process."""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{plane}-sole-producer", daemon=True)

    def join(self) -> None:
        """Ask for it: an answer takes about a second, in which other things can be done. Raises KafkaException for options that are none."""
        self._consumer = Consumer(self._options)
        self._thread.start()

    async def take(self, stop: asyncio.Event) -> bool:
        """Whether this process may publish; False where `stop` is set before that is known.

        Raises DaemonExit (78) where another one does, LogUnavailable where Kafka does not say.
        """
        answer, stopped = asyncio.wrap_future(self._answer), asyncio.create_task(_set(stop))
        try:
            waits: set[asyncio.Future[bool]] = {answer, stopped}
            await asyncio.wait(waits, timeout=ANSWER_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if stop.is_set():
            return False
        if not answer.done():
            raise LogUnavailable(
                f"Kafka did not say within {ANSWER_WITHIN_S:g} s whether another {self._plane} plane publishes here (group {self._group})"
            )
        if not answer.result():
            raise DaemonExit(await asyncio.to_thread(self._other), CONFIG)
        return True

    async def lost(self) -> None:
        """Raises DaemonExit once this process may not publish any more: 78 where another one does instead, else 69. Waits until then."""
        why = await asyncio.shield(asyncio.wrap_future(self._lost))
        if why and not await asyncio.to_thread(self._replaced):
            raise DaemonExit(
                f"Kafka lets this process publish no more, and nobody else has the right ({why}); the {self._plane} plane asks anew",
                UNAVAILABLE,
            )
        taken = f"Kafka has given the right to publish here to another process: {why}"
        raise DaemonExit(taken if why else await asyncio.to_thread(self._other), CONFIG)

    def close(self) -> None:
        """Stop holding on; blocks for a moment."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5.0)

    def _replaced(self) -> bool:
        """Whether another process has the name of this one. Its own client may have it fenced as well: after a session that ended while
        Kafka was away librdkafka sends heartbeats without the member's id, which a coordinator that comes back then takes for another's."""
        try:
            admin = admin_client(self._settings)
            described = admin.describe_consumer_groups([self._group], request_timeout=ANSWER_S)[self._group].result()
        except KafkaException:
            return False  # the next start is told
        named = self._options["group.instance.id"]
        return any(each.group_instance_id == named and each.member_id != self._member for each in described.members)

    def _other(self) -> str:
        """Who has the partition, and what to do."""
        who = "another state directory"
        try:
            admin = admin_client(self._settings)  # which must live until it is answered
            described = admin.describe_consumer_groups([self._group], request_timeout=ANSWER_S)[self._group].result()
            holders = [each for each in described.members if each.assignment.topic_partitions]
            who = holders[0].client_id if holders else who
        except KafkaException:
            pass  # who it is helps, and is not needed
        return (
            f"the {self._plane} plane, or a run that loads for it, of {who} publishes to this log, and two would publish the same side by "
            f"side; stop it first (`triplane down` there; {SESSION_S:g} s later this can start)"
        )

    # -- the group, on its own thread ------------------------------------------------------------------------------------------
    def _run(self) -> None:
        topics = [self._settings.topic(_TOPIC)]
        self._consumer.subscribe(topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        try:
            while not self._closed.wait(_POLL_S if self._answer.done() else _SOON_S):
                # Neither the client's own thread, which sends the heartbeats, nor a poll may be left in a wait: librdkafka waits by the
                # wall clock, so that one during which the clock is set back by an hour lasts an hour. A question wakes the one, the
                # other does not wait.
                self._consumer.assignment()
                message = self._consumer.poll(0)
                error = message.error() if message is not None else None
                if error is not None and error.code() in _FINAL:
                    raise KafkaException(error)
        except KafkaException as failed:
            self._ended(failed.args[0])
        finally:
            self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """At each answer of the coordinator: what is new to this process, so nothing while it keeps what it has."""
        consumer.incremental_assign(partitions)
        self._member = consumer.memberid() or self._member
        self._holds |= bool(partitions)
        if not self._answer.done():
            self._answer.set_result(self._holds)
        elif not self._holds and not self._lost.done():
            self._lost.set_result("")

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Also where the coordinator was not heard for SESSION_S: who has the partition then comes with its next answer."""
        consumer.incremental_unassign(partitions)
        self._holds = False

    def _ended(self, error: KafkaError) -> None:
        if not self._answer.done():
            self._answer.set_exception(
                LogUnavailable(f"Kafka does not let group {self._group} be joined: {error.str()}")
            )
        elif not self._lost.done():
            self._lost.set_result(error.str())


async def _set(event: asyncio.Event) -> bool:
    return await event.wait()
