"""The kill switch inside the order process: the watched file, the loopback requests, and what an earlier run left on disk.

The latch holds at once, before the engine, the log or the broker know of it (law L8).
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from order_plane.daemon.broker_link import BrokerLink
from order_plane.daemon.dispatch import Dispatcher
from order_plane.daemon.journal import Journal
from order_plane.daemon.stop_points import StopPoints
from order_plane.kill.files import MEANWHILE
from order_plane.kill.latch import KillLatch
from order_plane.messages import KillRequest, RearmRequest
from triplane.domain.timestamps import iso
from triplane.runtime.clock import SteadyClock

# Wall time: a kill file is noticed well within the second that law L8 gives.
LOOK_S = 0.05


class KillControl:
    """One per service. `dispatcher` is None until the engine has been recovered: the latch holds all the same."""

    def __init__(self, latch: KillLatch, link: BrokerLink, log: Any, stops: StopPoints, clock: SteadyClock) -> None:
        self._latch, self._link, self._log, self._stops = latch, link, log, stops
        self._clock = clock
        self.journal: Journal | None = None
        self.dispatcher: Dispatcher | None = None
        self._rearm: dict[str, str] | None = None

    @property
    def tripped(self) -> bool:
        """Whether no order may leave, by the latch or by the engine's level."""
        return self._latch.tripped or (self.dispatcher is not None and self.dispatcher.engine.s.kill.level == "stopped")

    # -- the file --------------------------------------------------------------------------------------------------------------
    async def watch_file(self) -> None:
        """Look for the file until cancelled."""
        while True:
            if self._latch.look() is not None:
                self._log.warning("kill file found")
            if self._latch.tripped and self.dispatcher is not None and self.dispatcher.engine.s.kill.level != "stopped":
                self._by_file(self.dispatcher)
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Take up a new file now; asked before every order."""
        if self._latch.look() is not None and self.dispatcher is not None:
            self._by_file(self.dispatcher)

    def note_rearm(self) -> None:
        """At the start, before the journal is taken up: a kill in it came before the re-arming, and ends it no more."""
        self._rearm = self._latch.take_rearm()

    def take_up(self, dispatcher: Dispatcher) -> None:
        """At the start: a re-arming and a file that a person left meanwhile; a level that the log knows holds locally, too.

        A re-arming takes the file away, so one that is there is of a later kill. What the journal tells of was before it.
        """
        self._latch.look()
        rearm = self._rearm
        if rearm is not None and self._latch.by_file:
            self._latch.forget_rearm()
        elif rearm is not None:
            dispatcher.take(RearmRequest("file", rearm.get("actor", ""), rearm.get("reason", ""), self._clock.now()))
            self._latch.forget_rearm()
        kill = dispatcher.engine.s.kill
        if self._latch.tripped:
            self._by_file(dispatcher)
        elif kill.level == "stopped":
            self._latch.trip(
                {"actor": kill.actor, "reason": kill.reason, "scope": kill.scope, "time": str(time.time_ns())}
            )

    def _by_file(self, dispatcher: Dispatcher) -> None:
        document = self._latch.document
        scope = "own" if document.get("scope") == "own" else "account"
        self._stop(
            dispatcher, "file", document.get("actor", ""), document.get("reason", "") or "the KILL file exists", scope
        )

    def _stop(self, dispatcher: Dispatcher, source: str, actor: str, reason: str, scope: str) -> None:
        numbers: list[int] = []
        try:
            assert self.journal is not None
            entry = {"kind": "kill", "source": source, "scope": scope, "reason": reason, "actor": actor}
            numbers = self.journal.write([entry])
        except OSError as error:  # a full disk must not keep anybody from stopping
            self._log.error("the kill could not be journalled", error=str(error))
        self._stops.reach("kill-journalled")
        again = dispatcher.engine.s.kill.level == "stopped"
        request = KillRequest(source, "own" if scope == "own" else "account", reason, actor, self._clock.now())
        dispatcher.take(request, None, numbers)
        if again and scope == "account" and self._link.session.is_connected:
            self._link.global_cancel()  # stopped before under a narrower scope: ask for the rest, too

    # -- requests, as kill.http.Switch wants them ------------------------------------------------------------------------------
    async def trip(self, source: str, actor: str, reason: str, scope: str) -> dict[str, Any]:
        """Hold all orders now and ask for cancels."""
        now = time.time_ns()
        document = {"actor": actor, "reason": reason, "scope": scope, "time": str(now)}
        try:
            self._latch.trip_again(document, now)
        except OSError as error:
            self._log.error("the kill file could not be written", error=str(error))
        if self.dispatcher is None:
            return {
                "tripped": True,
                "cancels": "waiting",
                "sentence": "no order leaves; cancels wait for the broker connection",
            }
        self._stop(self.dispatcher, source, actor, reason, scope)
        asked = self._link.session.is_connected
        count = self._open_orders()
        sentence = (
            f"no order leaves; cancels of {count} open order(s) were asked for"
            if asked
            else f"no order leaves; the broker is not connected ({self._link.problem}), so cancels of {count} order(s) wait"
        )
        return {
            "tripped": True, "cancels": "asked" if asked else "waiting", "open_orders": count, "sentence": sentence,
        }  # fmt: skip

    async def rearm(self, source: str, actor: str, reason: str, known: str | None = None) -> dict[str, Any]:
        """Let orders leave again. Raises ValueError with a sentence when that is refused.

        `known` is the KILL file that its person knew (`files.told`): another one is of a kill that came later. Who names none knew
        those that this process has seen.
        """
        dispatcher = self.dispatcher
        if dispatcher is None:
            raise ValueError("the order plane is still starting, so it stays tripped; try again when it is ready")
        there = self._latch.known
        new = self._latch.look() is not None
        if new:
            self._by_file(dispatcher)
        if there != known if known is not None else new:
            raise ValueError(MEANWHILE)
        try:
            if not self._latch.set_aside():
                raise ValueError(MEANWHILE)
        except OSError as error:
            name = Path(error.filename or "KILL").name
            raise ValueError(
                f"the file {name} cannot be removed ({error.strerror}), so it stays tripped; remove it by hand, then re-arm"
            ) from None
        dispatcher.take(RearmRequest(source, actor, reason, self._clock.now()))
        if dispatcher.engine.s.kill.level == "stopped":
            self._latch.put_back()
            raise ValueError("re-arming was refused: it needs a name and a reason")
        if self._latch.tripped:
            raise ValueError("the file KILL could not be removed, so it stays tripped; remove it, then re-arm")
        return self.kill_status()

    def kill_status(self) -> dict[str, Any]:
        """Level, reason and what is still open."""
        if self.dispatcher is None:
            return {
                "tripped": self._latch.tripped,
                "level": "",
                "reason": "starting",
                "connected": self._link.session.is_connected,
            }
        kill = self.dispatcher.engine.s.kill
        return {
            "tripped": self.tripped,
            "level": kill.level,
            "reason": kill.reason,
            "scope": kill.scope if self.tripped else "",
            "actor": kill.actor,
            "market_time": iso(kill.since) if kill.since else "",
            "open_orders": self._open_orders(),
            "connected": self._link.session.is_connected,
        }

    def _open_orders(self) -> int:
        return len(self.dispatcher.engine.s.book.all_live()) if self.dispatcher is not None else 0
