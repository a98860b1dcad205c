"""The configuration as control.config tells it: the first version to start with, then each new one as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from triplane.runtime import configuration
from triplane.runtime.configuration import Config, ConfigError
from triplane.runtime.kafka_in import LogRecord, TopicReader
from triplane.runtime.log_watch import LogWatch
from triplane.runtime.settings import Settings

TOPIC = "control.config"


class ConfigFollower:
    """Reads control.config from its beginning. The first record per `seq` is the version; a version that cannot be read is told to
    `problem` and passed over: the one before stays in force. `watched` are further topics that shall stay the ones they are."""

    def __init__(self, settings: Settings, problem: Callable[[str], None], watched: Iterable[str] = ()) -> None:
        self._reader = TopicReader(settings, [TOPIC], "beginning")
        self._watch = LogWatch(settings, "data", [TOPIC, *watched])
        self._problem = problem
        self._seq = -1

    async def first(self, stop: asyncio.Event) -> Config | None:
        """The newest version on the topic, waiting for one when there is none; None when `stop` is set first.

        Raises DaemonExit when a topic is not the one that was read before.
        """
        found = await self.newest()
        while found is None and not stop.is_set():
            found = self._last(await asyncio.to_thread(self._reader.poll, 0.2))
        return found

    async def newest(self) -> Config | None:
        """The newest version that is on the topic now, None when there is none. Raises DaemonExit like `first`."""
        await asyncio.to_thread(self._watch.look, self._reader.position())
        return self._last(await asyncio.to_thread(lambda: self._reader.read_to(self._reader.end_offsets(), 60.0)))

    def _last(self, records: list[LogRecord]) -> Config | None:
        configs = self._read(records)
        return configs[-1] if configs else None

    async def follow(self, taken: Callable[[Config], None]) -> None:
        """Call `taken` with each new version until cancelled. Raises DaemonExit when a topic is not what was read any more."""
        while True:
            for config in self._read(await asyncio.to_thread(self._poll)):
                taken(config)

    def _poll(self) -> list[LogRecord]:
        self._watch.look(self._reader.position())
        return self._reader.poll(0.5)

    def _read(self, records: list[LogRecord]) -> list[Config]:
        found = []
        for record in records:
            try:
                if record.value is None:
                    raise ConfigError([])
                if record.value["seq"] <= self._seq:
                    continue
                config = configuration.from_record(record.value, record.offset)
            except ConfigError as error:
                self._problem(f"{record.place}: {record.error or error}")
                continue
            self._seq = config.seq
            found.append(config)
        return found

    def close(self) -> None:
        """Stop reading; only when no read is under way."""
        self._reader.close()
