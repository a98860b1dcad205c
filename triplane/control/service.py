"""The control daemon: the only writer of control.config and control.commands.

Publishing one edit, in steps: (1) the contents are read until they stand still; (2) the engine judges them whole; (3) the record
is sent and its acknowledgement awaited; (4) the log is read back up to it, and only then it is in force here. When Kafka does not
acknowledge, the log is read again before anything else is sent, since the record may be there after all. A log whose end is hidden by
somebody's open transaction is waited for, at the start and in step 4. When step 4 finds another writer's version, this daemon ends with
exit code 78: two writers are a mistake that only a person can undo.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web
from confluent_kafka.admin import AdminClient

from triplane.control import watching
from triplane.control.commands import COMMANDS, Refused
from triplane.control.engine import Accepted, Contents, ControlEngine, Rejected, Unchanged
from triplane.control.local_only import local_only
from triplane.domain.problems import Problem
from triplane.runtime.configuration import ConfigError, from_record
from triplane.runtime.daemon import Daemon, say
from triplane.runtime.exit_codes import UNAVAILABLE, DaemonExit
from triplane.runtime.kafka_admin import admin_client
from triplane.runtime.kafka_in import LogRecord, LogUnavailable, TopicReader, unknown_to_this_build
from triplane.runtime.kafka_out import DeliveryError, TopicWriter
from triplane.runtime.kafka_probe import KafkaProbe
from triplane.runtime.log_watch import LogWatch
from triplane.runtime.lost_log import refuse_shorter
from triplane.runtime.readable_topics import ReadableTopics

CONFIG = "control.config"
COMMANDS_TOPIC = "control.commands"
NAME = "control"
KILL = "`triplane kill trip`, which needs no Kafka"
# Wall seconds until an unacknowledged version is looked for on the log instead, and the wait between such looks.
DELIVERY_S = 5.0
RETRY_S = 1.0
READ_S = 10.0


class ControlService:
    """One run of the daemon. `now` is wall time, ns UTC."""

    def __init__(self, daemon: Daemon, now: Callable[[], int] = time.time_ns) -> None:
        self._daemon = daemon
        self._now = now
        self._engine = ControlEngine()
        self._targets = daemon.settings.targets_path
        self._assets = daemon.settings.assets_path
        self._reader: TopicReader | None = None
        self._log_watch: LogWatch | None = None
        self._looking = asyncio.Lock()
        self._writer: TopicWriter | None = None
        self._admin: AdminClient | None = None
        self._judged = ""
        self._refused = Rejected(())
        self._refusals = 0
        self._unacknowledged: set[str] = set()
        self._unread: set[str] = set()  # acknowledged, and hidden from its readers when that was last looked at
        metrics = daemon.metrics
        self._published = metrics.counter(
            "triplane_config_published", "Versions of the configuration that were published"
        )
        self._rejected = metrics.counter(
            "triplane_config_rejected", "Edits of targets.yaml or assets.csv that were refused"
        )
        self._undecodable = metrics.counter(
            "triplane_control_undecodable", "Malformed records of the control topics that were passed over"
        )
        self._bad = metrics.gauge("triplane_config_bad", "1 while the files hold an edit that is refused")
        self._seq = metrics.gauge("triplane_config_seq", "Sequence number of the configuration in force")
        self._commands = metrics.counter("triplane_commands", "Commands that were published", ("command",))
        daemon.routes.get("/status")(self._status)
        daemon.routes.get("/commands")(local_only(self._list_commands))
        daemon.routes.post("/commands")(local_only(self._take_command))

    async def run(self) -> None:
        """Until the daemon is stopped."""
        await self._daemon.serve()
        try:
            await self._start()
            async for _ in watching.moments(self._targets, self._assets, self._daemon.stop):
                await self._look()
                await self._compare()
                if self._daemon.stop.is_set():
                    break
        except LogUnavailable as error:
            raise DaemonExit(str(error), UNAVAILABLE) from None
        finally:
            if self._writer is not None:
                await asyncio.to_thread(self._writer.close)
            if self._reader is not None:
                await asyncio.to_thread(self._reader.close)

    async def _start(self) -> None:
        settings = self._daemon.settings
        self._daemon.probe = KafkaProbe(settings, CONFIG, COMMANDS_TOPIC)
        self._reader = await asyncio.to_thread(TopicReader, settings, [CONFIG, COMMANDS_TOPIC])
        self._log_watch = LogWatch(settings, NAME, [CONFIG, COMMANDS_TOPIC])
        self._admin = admin_client(settings)
        self._writer = TopicWriter(settings, NAME, delivery_timeout_s=DELIVERY_S)
        if not await self._until_whole():
            return
        await self._read_log()
        await self._look()
        await self._compare()
        if self._engine.last is not None:
            self._daemon.ready(True)

    async def _look(self, *, now: bool = False) -> None:
        """Refuse a log that was made anew (DaemonExit): a version on it would be the first of another chain. `now`: whatever was seen lately."""
        if self._log_watch is not None and self._reader is not None:
            look = self._log_watch.look_now if now else self._log_watch.look
            async with self._looking:
                await asyncio.to_thread(look, self._reader.position())

    async def _compare(self) -> None:
        """Take the edit that the files hold now, if they hold another than the one judged last.

        A bad one changes nothing, except that there is no going on when there is no configuration at all (DaemonExit).
        """
        if watching.read(self._targets, self._assets).digest == self._judged:
            return
        contents = await watching.settled(self._targets, self._assets)
        await self._read_arrived()
        verdict = self._judge(contents)
        if isinstance(verdict, Rejected):
            # Half an edit is bad, too. Who is still writing gets the time to finish; what stands then is judged.
            contents = await watching.settled(self._targets, self._assets, watching.BAD_SETTLE_S)
            verdict = self._judge(contents)
        if isinstance(verdict, Rejected):
            self._refuse(verdict)
        elif isinstance(verdict, Accepted) and not await self._publish(verdict):
            # By now the log has been read again: the next comparison tells whether the version is there.
            return
        else:
            if self._refused.problems and isinstance(verdict, Unchanged):
                sequence = self._engine.last["seq"] if self._engine.last is not None else 0
                say(f"The files are good again: configuration {sequence} stays in force.")
            self._refused = Rejected(())
            self._bad.set(0)
        self._judged = contents.digest

    def _judge(self, contents: Contents) -> Accepted | Unchanged | Rejected:
        actor = watching.editor_of(self._targets, self._assets)
        return self._engine.judge(contents, actor=actor, event_time=self._now())

    def _refuse(self, verdict: Rejected) -> None:
        sentences = "\n".join(str(problem) for problem in verdict.problems)
        if self._engine.last is None:
            raise DaemonExit(f"there is no configuration to start with, and the files hold none:\n{sentences}")
        self._refused = verdict
        self._refusals += 1
        self._rejected.inc()
        self._bad.set(1)
        in_force = self._engine.last["seq"]
        self._daemon.log.error(
            "config rejected", in_force=in_force, problems=[_problem(problem) for problem in verdict.problems]
        )
        say(f"{sentences}\nNothing changed: configuration {in_force} stays in force.")

    async def _publish(self, verdict: Accepted) -> bool:
        """Send, await, read back. False when Kafka did not acknowledge; the log has then been read to its end."""
        assert self._writer is not None
        assert self._reader is not None
        record = verdict.record
        await self._look(now=True)
        try:
            offset = await asyncio.wrap_future(self._writer.send(CONFIG, record))
        except (DeliveryError, BufferError) as error:
            self._daemon.ready(False, f"a version could not be published: {error}")
            await self._read_again()
            return False
        refuse_shorter(
            {f"{CONFIG}-0": self._reader.position()[f"{CONFIG}-0"]}, {f"{CONFIG}-0": offset}, "this daemon has read"
        )
        if not await self._read_back(offset):
            return False
        if self._engine.offset != offset:
            if self._engine.last is None or self._engine.last["seq"] < record["seq"]:
                return False  # a record that the planes pass over, too, has that number; the version that comes next is ours
            raise self._second_writer(record["seq"])
        self._daemon.ready(True)
        self._published.inc()
        universe = from_record(record, offset).universe
        self._daemon.log.info(
            "config published",
            seq=record["seq"],
            offset=offset,
            hash=record["hash"],
            prev_hash=record["prev_hash"],
            changes=record["changes"],
            actor=record["actor"],
            not_traded=[f"{each.symbol}: {code}" for each in universe.assets if (code := each.untradable_code())],
        )
        return True

    async def _read_again(self) -> None:
        """Read the log to its end, however long Kafka is away."""
        while not self._daemon.stop.is_set():
            try:
                if await self._until_whole():
                    await self._read_log()
            except LogUnavailable as error:
                self._daemon.log.warning("waiting for Kafka", reason=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _read_back(self, offset: int) -> bool:
        """Read up to our own acknowledged record, however long somebody's transaction hides it; False when the daemon is stopped first."""
        while True:
            try:
                await self._read_log(offset + 1)
            except LogUnavailable:
                assert self._reader is not None
                if not await asyncio.to_thread(self._reader.hidden):
                    raise
                if not await self._until_whole():
                    return False
            else:
                return True

    async def _until_whole(self) -> bool:
        """Wait until no open transaction hides the end of the log: a version that is there and not seen would be written twice.

        False when the daemon is stopped first.
        """
        assert self._reader is not None
        told = ""
        while not self._daemon.stop.is_set():
            if not (found := await asyncio.to_thread(self._reader.hidden)):
                return True
            if found != told:
                self._daemon.log.warning("waiting for the whole log", reason=found)
            told = found
            self._daemon.ready(False, found)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._daemon.stop.wait()
        return False

    async def _read_log(self, end: int | None = None) -> None:
        """Take what is on the log, to its present end, or at least up to `end` (exclusive) of control.config.

        An offset that is known need not be asked for, which is what makes an edit quick.
        """
        reader = self._reader
        assert reader is not None

        def read() -> list[LogRecord]:
            if end is None:
                return reader.read_to(reader.end_offsets(), READ_S)
            records: list[LogRecord] = []
            deadline = time.monotonic() + READ_S
            while reader.position()[f"{CONFIG}-0"] < end:
                records += reader.poll(0.2)
                if time.monotonic() > deadline:
                    raise LogUnavailable(
                        f"{CONFIG}@{end - 1} was acknowledged and could not be read back within {READ_S:g} s"
                    )
            return records

        self._take(await asyncio.to_thread(read))

    async def _read_arrived(self) -> None:
        """Take what came since, as far as it has arrived: where another control daemon wrote a version, this one ends (DaemonExit)."""
        assert self._reader is not None
        before = self._engine.offset
        self._take(await asyncio.to_thread(self._reader.poll, 0.0))
        if self._engine.offset != before and self._engine.last is not None:
            raise self._second_writer(self._engine.last["seq"])

    @staticmethod
    def _second_writer(seq: int) -> DaemonExit:
        return DaemonExit(
            f"another control daemon wrote version {seq} of {CONFIG}; stop it: one installation has one writer"
        )

    def _take(self, found: list[LogRecord]) -> None:
        if refused := unknown_to_this_build(found, self._daemon.settings):
            raise DaemonExit(refused)  # it may be the version in force
        for record in found:
            problem = record.error
            if record.value is not None and record.topic == CONFIG:
                try:
                    self._engine.took(record.value, record.offset)
                except ConfigError as error:
                    problem = str(error)
            elif record.value is not None:
                self._engine.took_command(record.value)
            if problem:
                self._daemon.log.error("record passed over", record=record.place, problem=problem)
                self._undecodable.inc()
        if self._engine.last is not None:
            self._seq.set(self._engine.last["seq"])

    async def _hidden_commands(self) -> str:
        """That what was just written to control.commands is hidden from the order plane, in a sentence; else an empty text."""
        assert self._admin is not None
        try:
            await self._look(now=True)
        except DaemonExit as error:  # which ends this daemon at its next look
            return str(error)
        look = ReadableTopics(self._daemon.settings, [COMMANDS_TOPIC]).look
        return await asyncio.to_thread(look, self._admin, DELIVERY_S)

    async def _status(self, _: web.Request) -> web.Response:
        last = self._engine.last
        in_force = None
        if last is not None:
            in_force = {key: last[key] for key in ("seq", "hash", "prev_hash", "event_time", "actor", "changes")}
            in_force["offset"] = self._engine.offset
        return web.json_response(
            {
                "config": in_force,
                "targets": str(self._targets),
                "assets": str(self._assets),
                "rejected": {
                    "count": self._refusals,
                    "problems": [_problem(problem) for problem in self._refused.problems],
                },
            }
        )

    async def _list_commands(self, _: web.Request) -> web.Response:
        known = {
            name: {"meaning": command.meaning, "arguments": list(command.arguments)}
            for name, command in COMMANDS.items()
        }
        return web.json_response({"commands": known, "given": list(self._engine.commands.values())})

    async def _take_command(self, request: web.Request) -> web.Response:
        if self._writer is None or self._engine.last is None:
            why = self._daemon.reason or "it is starting"
            return web.json_response(
                {"error": f"the control daemon takes no commands yet ({why}); try again, or stop trading with {KILL}"},
                status=503,
            )
        try:
            body = await request.json()
        except (ValueError, LookupError, RecursionError):  # no JSON, an unknown charset, brackets without end
            return web.json_response(
                {"error": "the body is not JSON; send command, arguments, actor and reason"}, status=400
            )
        if not isinstance(body, dict):
            return web.json_response(
                {"error": "the body is not an object; send command, arguments, actor and reason"}, status=400
            )
        try:
            record, new = self._engine.command(body, command_id=str(uuid.uuid4()), event_time=self._now())
        except Refused as error:
            return web.json_response({"error": str(error)}, status=409 if error.conflict else 400)
        identity = record["command_id"]
        if new or identity in self._unacknowledged:
            # Known from here on, so that a repeat that arrives meanwhile is not sent twice. One that follows a lost
            # acknowledgement is sent again, byte for byte: should both be on the log, readers take the first.
            self._engine.took_command(record)
            self._unacknowledged.discard(identity)
            try:
                await asyncio.wrap_future(self._writer.send(COMMANDS_TOPIC, record))
            except (DeliveryError, BufferError) as error:
                self._unacknowledged.add(identity)
                self._daemon.log.error("command not acknowledged", **record)
                sentence = f"Kafka did not acknowledge the command ({error}); repeat it with this command_id, or stop trading with {KILL}"
                return web.json_response({"error": sentence, "command_id": identity}, status=503)
            self._unread.add(identity)
            self._commands.labels(record["command"]).inc()
            self._daemon.log.info("command", **record)
        if identity in self._unread:
            if found := await self._hidden_commands():
                self._daemon.log.error("command hidden", hidden=found, command_id=identity)
                sentence = f"the command is written, and nobody reads it yet: {found}. To stop trading now: {KILL}"
                return web.json_response({"error": sentence, "command_id": identity}, status=503)
            self._unread.discard(identity)
        return web.json_response({**record, "new": new}, status=200)


def _problem(problem: Problem) -> dict[str, Any]:
    return {**asdict(problem), "sentence": str(problem)}


async def main(daemon: Daemon) -> None:
    """The daemon's coroutine."""
    await ControlService(daemon).run()
