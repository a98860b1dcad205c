"""The demonstration's script: bring everything up, let it trade, edit targets.yaml half way, wind down, judge.

What it shows is real: a Kafka, five daemons and two servers in processes of their own, an unmodified IB client. What is simulated
is the market between the real closes, and so every price path, fill, cost and PnL.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from triplane.cli import context, demo_directory, demo_faults
from triplane.cli.demo_directory import DemoError
from triplane.cli.demo_edit import ConfigEdit
from triplane.cli.demo_faults import MarketFaults
from triplane.cli.demo_outcome import Outcome, received, under_way, untraded
from triplane.cli.log_follower import LogFollower
from triplane.cli.log_relay import relayed
from triplane.cli.market_pace import MarketPace
from triplane.domain import calendars
from triplane.replay import gateway_journal
from triplane.runtime import loopback, run_file
from triplane.runtime.settings import BOOTSTRAP_NAMES, Settings
from triplane.runtime.tasks import end_tasks
from triplane.stack.installation import Installation, PaperMarket, start_market
from triplane.stack.local import choose, given_bootstrap
from triplane.stack.local_services import LocalServices
from triplane.stack.specs import Event
from triplane.stack.supervisor import Supervisor

if TYPE_CHECKING:
    from triplane.replay.recording import Recording

TELL_S = 5.0
"""Wall seconds between two lines of a history that is being loaded."""
ASK_S = 0.3
"""Wall seconds between two questions to the gateway how far it is."""
MINUTES_S = 4.0
"""Wall seconds: the data plane asks for the rest of a session once its stream has been quiet for 1.5."""
AWAITED_S = 180.0
"""Wall time that a process which is not ready may take at the end: it was stopped for a minute, perhaps, and catches up."""
GATEWAY_AWAY_S = 120.0
"""Wall time that the paper gateway may be away before the run is given up."""


class Demonstration:
    """One run in `directory`, which is emptied first. `say` gets one line for people at each stage."""

    def __init__(
        self,
        directory: Path,
        market: PaperMarket,
        targets: Path,
        assets: Path,
        say: Callable[[str], None],
        faults: MarketFaults | None = None,
    ) -> None:
        """`faults` None: the market injects none."""
        self.directory = directory
        self.faults = faults
        self.market = market.with_ports()
        self._sources = (targets, assets)
        self._say = say
        self._services = LocalServices(directory, say)
        self._relaying = contextlib.AsyncExitStack()
        self.supervisor: Supervisor | None = None
        self.follower: LogFollower | None = None
        self.installation: Installation | None = None
        self._parent_life_s = 0.0
        self.edit = ConfigEdit()
        self.unsettled = False
        """Whether the planes still wrote at the end of `trade`."""
        self.pace = MarketPace(market.speed)
        self.seconds: dict[str, float] = {}
        self.gateway: dict[str, Any] = {}
        self.processes: dict[str, str] = {}

    # Up ----------------------------------------------------------------------------------------------------------------

    async def up(self, registry: bool = True) -> None:
        """Start Kafka, topics, the registry in the background, and all processes; returns when every plane is ready."""
        started = time.perf_counter()
        if given_bootstrap():
            raise DemoError(
                f"the demonstration wants a Kafka of its own and {BOOTSTRAP_NAMES} names {given_bootstrap()}; unset it for this run"
            )
        demo_directory.refuse_foreign(self.directory, self._sources)
        config = demo_directory.configuration(self._sources)
        self._parent_life_s = config.targets.order.PARENT_EXPIRY_S
        if self.faults is not None:
            self.market = self.faults.prepare(self.market, config)
        await asyncio.to_thread(choose)  # no Java and no Docker: refused while the last run's directory is still whole
        self.supervisor = Supervisor([], self.directory, events=self._on_event)
        await self.supervisor.__aenter__()  # refused while another run has the directory, which is emptied next
        demo_directory.prepare(self.directory, self._sources)
        # The replay's engines take more than a second to import; while Kafka starts this process has nothing else to do.
        engines = asyncio.ensure_future(asyncio.to_thread(importlib.import_module, "triplane.replay.verification"))
        try:
            bootstrap = await self._services.start(self.supervisor, registry)
        finally:
            await engines
        self.installation = Installation(
            self.directory,
            bootstrap,
            self.directory / "targets.yaml",
            self.directory / "assets.csv",
            registry_url=self._services.registry_url,
            market=self.market,
        )
        context.write_environment(self.directory, self.installation.environment())
        self.follower = LogFollower(self.settings)
        self.follower.start()
        self.seconds["kafka"] = time.perf_counter() - started
        self._say("starting the paper gateway, the provider server, control and the three planes")
        await self._relaying.enter_async_context(relayed(self.directory / "logs", self._hear, self._hear_held))
        telling = asyncio.create_task(self._tell_history())
        try:
            await self.supervisor.start(self.installation.specs())
        finally:
            await end_tasks([telling])
        await self._warm()
        self.seconds["ready"] = time.perf_counter() - started

    def _hear(self, line: str) -> None:
        self._say(line)
        if slower := self.pace.hear(line, time.monotonic()):
            self._say(slower)

    def _hear_held(self, entry: Mapping[str, Any]) -> None:
        if slower := self.pace.hear_entry(entry, time.monotonic()):
            self._say(slower)

    async def _tell_history(self) -> None:
        """How far the history is, every few seconds until cancelled: loading it is most of what a start takes."""
        while True:
            await asyncio.sleep(TELL_S)
            self._tell_warm_up()

    def _tell_warm_up(self) -> None:
        assert self.follower is not None
        state = self.follower.state
        known = f" of {state.history}" if state.history else ""
        self._say(f"warming up: {state.barriers['warmup']}{known} sessions loaded so far")

    async def _warm(self, limit_s: float = 240.0) -> None:
        """Wait until the Strategy Plane has stepped through the whole of the loaded history."""
        assert self.follower is not None
        state = self.follower.state
        deadline = time.monotonic() + limit_s
        said = time.monotonic()
        while (
            state.history == 0
            or state.barriers["warmup"] < state.history
            or state.counts["strategy.regime"] < state.history
        ):
            self._check_alive()
            if time.monotonic() > deadline:
                raise DemoError(
                    f"warm-up took longer than {limit_s:.0f} s ({state.barriers['warmup']} of {state.history} sessions); "
                    f"see {self.directory / 'logs' / 'strategy.log'}"
                )
            if time.monotonic() - said > TELL_S:
                said = time.monotonic()
                self._tell_warm_up()
            await asyncio.sleep(0.05)  # the view's frame rate; the condition is on the log
        self._say(f"warm: {state.barriers['warmup']} sessions of history folded")

    def _on_event(self, event: Event) -> None:
        before, self.processes[event.process] = self.processes.get(event.process), event.state
        if event.state == before == "not ready":
            return  # the same with other numbers
        if event.state == "restarting":
            self.pace.excuse(time.monotonic())
        if event.state in ("restarting", "given up", "exited", "not ready"):
            self._say(f"{event.process}: {event.state}{': ' if event.detail else ''}{event.detail}")

    @property
    def settings(self) -> Settings:
        """Settings that reach this run's Kafka."""
        assert self.installation is not None
        return Settings(bootstrap=self.installation.bootstrap, state_dir=self.directory)

    # Trade -------------------------------------------------------------------------------------------------------------

    async def trade(self, redraw: Callable[[], None]) -> None:
        """Let the market run to its end; edits targets.yaml half way. `redraw` is called some times a second."""
        started = time.perf_counter()
        assert self.follower is not None
        state = self.follower.state
        url = f"http://127.0.0.1:{self.market.http_port}"
        async with loopback.async_client(5.0) as client:
            if self.faults is not None:
                await self.faults.inject(client, url)
                self._say(self.faults.announced)
            await start_market(self.market)
            asked = answered = time.monotonic()
            while True:
                self._check_alive()
                try:
                    if not self.gateway or time.monotonic() - asked > ASK_S:
                        asked = time.monotonic()
                        self.gateway = (await client.get(f"{url}/status")).json()
                        answered = time.monotonic()
                        await self.pace.keep(client, url, self.gateway["fastest"])
                except httpx.TransportError as error:
                    # The supervisor restarts it, and it goes on where it was.
                    if time.monotonic() - answered > GATEWAY_AWAY_S:
                        raise DemoError(
                            f"the paper gateway has not answered for {GATEWAY_AWAY_S:.0f} s ({type(error).__name__}); "
                            f"see {self.directory / 'logs' / 'gateway.log'}"
                        ) from None
                    await asyncio.sleep(0.2)  # until it is asked again
                    continue
                done = max(state.barriers["decision"], int(self.gateway["sessions_done"]))  # the view may lag
                if not self.edit.change and done >= self.market.sessions // 2:
                    self.edit.write(self.directory / "targets.yaml", len(state.configs))
                    self._say(f"editing targets.yaml: {self.edit.change}")
                self._follow_edit()
                redraw()
                if self.gateway["finished"] and not self.gateway["open_orders"]:
                    break
                await asyncio.sleep(0.1)  # the view's frame rate
        self.unsettled = not await self._quiet(redraw)
        self.seconds["trading"] = time.perf_counter() - started

    async def _quiet(self, redraw: Callable[[], None], still_s: float = 1.0, limit_s: float = 60.0) -> bool:
        """Wait until nothing more is written: the log has stood still for `still_s` wall seconds, or for MINUTES_S while the last
        session's minutes are not there, the data plane has nothing under way, and the planes that follow it are ready: one that was
        stopped has work to make up for. False when that has not come in `limit_s`, or in AWAITED_S while one is not ready.
        """
        day = date.fromisoformat(self.market.start)
        for _ in range(self.market.sessions - 1):
            day = calendars.next_session(calendars.MARKET_CALENDAR, day)
        closes = calendars.session_close(calendars.MARKET_CALENDAR, day)
        assert self.follower is not None
        began = since = time.monotonic()
        last, told = -1, ""
        while time.monotonic() < began + (AWAITED_S if self._unready else limit_s):
            total = sum(self.follower.state.counts.values())
            if total != last or self._unready:
                last, since = total, time.monotonic()
                if self._unready not in ("", told):
                    told = self._unready
                    self._say(f"the market has closed; waiting for {told} until its part is done")
            elif time.monotonic() - since > (still_s if self.follower.state.minutes_until >= closes else MINUTES_S):
                if not under_way(await received(self.directory)):
                    return True
                since = time.monotonic()
            redraw()
            await asyncio.sleep(0.1)  # the view's frame rate
        return False

    @property
    def _unready(self) -> str:
        """A plane that is to come back and finish its part, if there is one."""
        away = ("not ready", "restarting", "starting")
        return next((name for name in ("strategy", "order") if self.processes.get(name) in away), "")

    def _check_alive(self) -> None:
        assert self.supervisor is not None
        assert self.follower is not None
        if self.supervisor.failure is not None:
            raise DemoError(str(self.supervisor.failure))
        given_up = [name for name, state in self.processes.items() if state == "given up"]
        if given_up:
            raise DemoError(
                f"{given_up[0]} has ended for good; its last words are in {self.directory / 'logs' / given_up[0]}.log"
            )
        if self.follower.error:
            raise DemoError(self.follower.error)

    def _follow_edit(self) -> None:
        """Notice the new version, then the first barrier that was decided under it."""
        assert self.follower is not None
        state, edit = self.follower.state, self.edit
        if edit.notice(state.configs):
            self._say(f"configuration {edit.old_hash[:12]} -> {edit.new_hash[:12]}")
        targets, before = state.solved, state.previous_solved
        if edit.new_hash and not edit.barrier and targets and targets["config_hash"] == edit.new_hash:
            edit.take(before, targets)
            shown = ", ".join(f"{s} {a:+.1%} -> {b:+.1%}" for s, a, b in edit.moved)
            self._say(
                f"barrier {edit.barrier} took it: gross {before.get('gross', 0):.2f} -> {targets['gross']:.2f}; {shown}"
            )

    # Judge -------------------------------------------------------------------------------------------------------------

    async def judge(self, keep: bool, progress: Callable[[str, int, int], None] | None = None) -> Outcome:
        """Take the whole log, sum it up, compare it with the gateway's journal, and replay it.

        The log is in memory by then: unless the run is to `keep` running, every process is stopped meanwhile. The directory stays ours.
        """
        from triplane.replay.summary import summarise
        from triplane.replay.verification import verify

        started = time.perf_counter()
        counters = await received(self.directory)
        assert self.follower is not None
        found = await asyncio.to_thread(self.follower.recording)
        self.follower.stop()  # with --keep the planes write on, for hours perhaps, and nobody looks at its state any more
        summary = summarise(found)
        problems = list(summary.problems)
        journal = gateway_journal.read(self.directory / "gateway" / "gateway-journal.jsonl")
        problems += gateway_journal.disagreements(found, journal)
        self.edit.complete(found)
        problems += self.edit.problems(found) + untraded(summary)
        caught = self.faults.caught(found, self.gateway["market_time"]) if self.faults is not None else []
        problems += demo_faults.problems(caught, self._restarts())
        stopping = [] if keep else [asyncio.ensure_future(self._stop_processes())]
        try:
            verdict = await asyncio.to_thread(verify, found, progress)
        finally:
            await asyncio.gather(*stopping, return_exceptions=True)  # `down` meets again what went wrong
        self.seconds["replay"] = time.perf_counter() - started
        return Outcome(
            summary, verdict, self.edit, counters, self._missed(found), self._truth(), problems, self.seconds,
            self.market.speed, self.pace.speed, self._parent_life_s, self._restarts(), self.unsettled, self._killed(), caught,
        )  # fmt: skip

    def _killed(self) -> str:
        from order_plane.kill.files import file_of, read_file

        found = read_file(file_of(self.settings))
        return (
            "" if found is None else f"{found.get('actor') or 'somebody'}, {found.get('reason') or 'no reason given'}"
        )

    def _restarts(self) -> dict[str, int]:
        assert self.supervisor is not None
        return {process.name: process.restarts for process in self.supervisor.status() if process.restarts}

    def _missed(self, found: Recording) -> list[str]:
        decided = {
            r.value["session"] for r in found.records["strategy.barriers"] if r.value and r.value["kind"] == "decision"
        }
        day, missed = date.fromisoformat(self.market.start), []
        for _ in range(self.market.sessions):
            if day.isoformat() not in decided:
                missed.append(day.isoformat())
            day = calendars.next_session(calendars.MARKET_CALENDAR, day)
        return missed

    def _truth(self) -> dict[str, float]:
        """The simulated market's true costs, averaged over names: half spread as a fraction, Y of the square-root law."""
        costs = list(self.gateway.get("true_costs", {}).values())
        return {key: sum(c[key] for c in costs) / len(costs) for key in ("half_spread", "impact_y")} if costs else {}

    # Down --------------------------------------------------------------------------------------------------------------

    async def down(self) -> None:
        """Stop every process that was started, and only those; never raises."""
        if self.follower is not None:
            self.follower.stop()
        if self.supervisor is not None:
            await self._stop_processes()
            await self.supervisor.stop()
        if self.installation is not None:  # where nothing runs, other verbs must not look for it
            context.forget_environment(self.directory)

    async def _stop_processes(self) -> None:
        assert self.supervisor is not None
        await self._relaying.aclose()
        await self.supervisor.stop_processes()

    async def stay(self) -> None:
        """Keep running until cancelled. Raises StackError when something without which nothing else works is given up."""
        assert self.supervisor is not None
        await self.supervisor.run(asyncio.Event())

    def addresses(self) -> list[tuple[str, str]]:
        """What to look at while it runs."""

        assert self.installation is not None
        found = [("Kafka", self.installation.bootstrap)]
        if self._services.registry_url:
            found.append(("schema registry", f"{self._services.registry_url}/apis/ccompat/v7/subjects"))
        found.append(
            (
                "paper gateway",
                f"127.0.0.1:{self.market.port} (TWS protocol), http://127.0.0.1:{self.market.http_port}/status",
            )
        )
        for path in sorted((self.directory / "run").glob("*.json")):
            if (daemon := run_file.read(self.directory, path.stem)) is not None:
                found.append((f"{path.stem} plane", f"{daemon.http}/metrics"))
        found.append(("logs", str(self.directory / "logs")))
        found.append(("targets.yaml", str(self.directory / "targets.yaml")))
        return found
