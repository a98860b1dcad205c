"""What a source is, and what it is given.

A source never touches Kafka, gates or metrics. It hands observations to `Context.take`, says where market time is with
`Context.advance`, and may ask what is on the topics already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Protocol

import structlog

from data_plane.gates.clock import ClockSample
from data_plane.observations import Malformed, Observation
from data_plane.published import PublishedIndex
from data_plane.sources.archive import DamagedArchiveError, ResponseArchive
from data_plane.sources.http import JsonClient, Policy
from data_plane.sources.kept import KeptResponses
from data_plane.sources.span import Span
from triplane.domain.assets import Asset
from triplane.domain.targets.data import DataTargets
from triplane.runtime.clock import Clock
from triplane.runtime.configuration import Config
from triplane.runtime.settings import Settings

NOT_SUBSCRIBED = "not subscribed yet"
"""Why a source that has just connected is not ready."""
LOOK_S = 1.0
"""Wall seconds within which an edited interval is noticed."""


class Stage(IntEnum):
    """Order at the start: everything of an earlier stage is on the log, acknowledged, before a later one begins."""

    REFERENCE = 0
    MARKET = 1


async def _room() -> None:
    """A daemon's records go on, or to its bounded spool, at once."""


@dataclass
class Context:
    """What the service gives a source."""

    settings: Settings
    config: Callable[[], Config]
    """The configuration in force."""
    clock: Clock
    """Market time: the stream's on paper, else the machine's."""
    published: PublishedIndex
    take: Callable[[Observation], None]
    """Hand in an observation; records leave at once."""
    turn: Callable[[Stage], Awaitable[None]]
    """Returns once everything of earlier stages is on the log; a source waits for its turn before it hands in its backfill."""
    tell_time: Callable[[int], None]
    """A source that knows market time (ns UTC) tells it; it never runs backwards."""
    time_known: asyncio.Event
    """Set once market time is known: at once in shadow and live, from the gateway's first answer on paper."""
    resume: Callable[[str, int], None]
    """Listening of a source (re)starts at a market time."""
    advance: Callable[[str, int], None]
    """Market time has come so far, and all that a source sent before has been handed in."""
    source_age: Callable[[str], float]
    """Market seconds since a source's last bar."""
    compare_clock: Callable[[str, ClockSample | str], None]
    source_state: Callable[[str, bool, str], None]
    """A source is up or down (with one sentence why); shown as its freshness gate and as health."""
    contract_state: Callable[[str, str, str], None]
    """A source's answer on a name's contract: (source, symbol, why there is none; empty when there is one); shown as a gate."""
    covered: Callable[[str, Collection[str] | None, float], None]
    """What a source streams: (source, the names whose five-second bars run or None for all, market seconds within which each other name
    is quoted once)."""
    blocked: Callable[[str, str], None]
    """(source, why it is not ready; empty when it is): shown on /readyz."""
    log: structlog.stdlib.BoundLogger
    gap: Callable[[str], None] = lambda source: None
    """What a source sends next does not follow on what it sent before: it subscribed again, or was cut off."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    more_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the service when a version of the configuration brings names or series; cleared by the source that sees to them."""
    responses: Path | None = None
    """Where raw responses are kept; None: nowhere."""
    span: Span | None = None
    """What `backfill` is to load; None: BACKFILL_YEARS up to now."""
    interval: str = "1d"
    """Bars that `backfill` is to load over a span: `1d` or `1m`."""
    decided: int = 0
    """Time of the newest decision (ns UTC, 0 before the first): history that comes later must not seem to have been known to it."""
    reread: bool = False
    """Whether clients answer from the kept responses, and ask nobody."""
    progress: Callable[[int, int, str], None] = lambda done, of, what: None
    """How far `backfill` is: so many of so many, and what was the last."""
    incomplete: Callable[[str, str], None] = lambda source, why: None
    """(source, which document of a provider could not be used, in a sentence): what `backfill` handed in is not all then. Bodies that are
    handed in as `Malformed` need no telling."""
    room: Callable[[], Awaitable[None]] = field(default=_room)
    """Returns once more may be handed in; a `backfill` that hands in much asks for it between its requests."""

    @property
    def targets(self) -> DataTargets:
        """The Data Plane's parameters in force."""
        return self.config().targets.data

    def client(
        self, source: str, policy: Callable[[], Policy], headers: Mapping[str, str]
    ) -> JsonClient | KeptResponses:
        """An HTTP client for a source, which keeps what it receives. An archive that cannot be used is told and done without.

        Where responses are only read again it is one without a network. Raises DamagedArchiveError and OSError then.
        """
        if self.reread:
            assert self.responses is not None
            archive = ResponseArchive(self.responses, source)
            return KeptResponses(source, archive, lambda why: self.incomplete(source, why))

        def failed(reason: str) -> None:
            self.log.warning("a response is not kept", source=source, reason=reason)

        return JsonClient(source, policy, headers, archive=self.archive(source), archive_failed=failed)

    def archive(self, source: str) -> ResponseArchive | None:
        """Where a source's responses are kept; None for nowhere. One that cannot be used is told and done without.

        Where responses are only read again it raises DamagedArchiveError and OSError then.
        """
        if self.responses is None:
            return None
        try:
            return ResponseArchive(self.responses, source)
        except (OSError, DamagedArchiveError) as error:
            if self.reread:
                raise
            self.log.warning("responses are not kept", source=source, reason=str(error))
            return None

    def assets(self) -> list[Asset]:
        """Tradable assets of this worker's symbol group, in file order."""
        return [asset for asset in self.config().universe.tradable if asset.group == self.settings.group]

    def watched(self) -> list[Asset]:
        """Assets of the group that are not traded, in file order: their history is loaded, nothing of them streams."""
        return [asset for asset in self.config().universe.watched if asset.group == self.settings.group]

    def malformed(self, source: str, topic: str, symbol: str, code: str, detail: str, raw: bytes) -> None:
        """Hand in something unreadable, for quarantine."""
        self.take(Malformed(source, topic, symbol, code, detail, raw, self.clock.now()))

    async def pause(self, seconds: float) -> bool:
        """Wait wall seconds, or until the daemon stops; True when it is to stop."""
        await self._first_of((self.stop,), seconds)
        return self.stop.is_set()

    async def until_due(self, interval_s: Callable[[DataTargets], float]) -> bool:
        """Wait for the next round: `interval_s` of the parameters in force, in wall seconds from now, or until more is wanted.

        An interval that is edited while it is waited for counts at once. True when the daemon is to stop.
        """
        began = time.monotonic()
        while (left := interval_s(self.targets) - (time.monotonic() - began)) > 0:
            if await self._first_of((self.stop, self.more_wanted), min(left, LOOK_S)):
                break
        return self.stop.is_set()

    @staticmethod
    async def _first_of(events: Sequence[asyncio.Event], seconds: float) -> bool:
        """Whether one of the events is set within wall seconds."""
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return bool(done)


class Source(Protocol):
    """A source at work."""

    async def backfill(self) -> None:
        """Hand in everything that the topics lack; returns when it is handed in, or when the source has given up for now."""
        ...

    async def follow(self) -> None:
        """Hand in what comes, until the daemon stops; reconnects and retries by itself."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Registration. `missing` says in one sentence why the source cannot run on these settings, or is empty when it can."""

    name: str
    stage: Stage
    create: Callable[[Context], Source]
    missing: Callable[[Settings], str] = lambda _: ""
    watches: bool = False
    """Whether it loads daily bars of assets that are not traded, too."""
