"""`triplane up|down`: the supervised installation in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from triplane.cli import context, listener

if TYPE_CHECKING:
    from triplane.runtime.settings import Settings
    from triplane.stack.specs import Event

SIMULATED_START = "2018-01-22"
WAITING_TOLD_S = 5.0
"""Wall time between two looks at who is not ready yet."""
END_ASKED_S = 2.0
"""Wall seconds between two questions whether the simulated market has ended."""


def up(
    sessions: int = typer.Option(
        250,
        "--sessions",
        min=1,
        help="Sessions of the simulated market since its first start, where no gateway is configured; after about 330 its newest facts are older than FACTS_STALE_DAYS.",
    ),
    speed: float = typer.Option(
        300.0, "--speed", min=1, max=300, help="Fastest clock of the simulated market, times real time."
    ),
    registry: bool = typer.Option(True, help="Start a schema registry on the local stack."),
    refill_registry: bool = context.REFILL,
) -> None:
    """Start the stack and the planes in the foreground, supervised; Ctrl-C stops them in order.

    With KAFKA_BOOTSTRAP_SERVERS the planes use that cluster; else a local Kafka keeps its log under the state directory. With
    TRIPLANE_GATEWAY_PORT they trade through that gateway; else, in paper mode, through the simulated market, which continues where it stopped.
    """
    import asyncio

    from triplane.runtime import garbage

    garbage.usual()  # it stays for weeks
    with listener.needed("triplane up"):
        asyncio.run(_up(sessions, speed, registry, refill_registry))


async def _up(sessions: int, speed: float, registry: bool, refill: bool) -> None:
    import asyncio
    import os

    from order_plane.daemon import modes
    from triplane.cli.log_relay import relayed
    from triplane.runtime.interruption import when_asked_to_end
    from triplane.runtime.settings import from_environment
    from triplane.runtime.tasks import end_tasks
    from triplane.runtime.unknown_variables import unknown_variables
    from triplane.stack.installation import Installation, PaperMarket, market_end, start_market
    from triplane.stack.local_services import LocalServices, unless
    from triplane.stack.supervision_metrics import SupervisionServer
    from triplane.stack.supervisor import Supervisor

    settings = from_environment()
    stop = asyncio.Event()
    when_asked_to_end(stop.set)
    reader = listener.Listener(stop.set)
    say = reader.say
    market = None
    if not settings.gateway_port and settings.mode == "paper":
        market = PaperMarket(SIMULATED_START, sessions, speed=speed).with_ports()
    modes.check(settings, simulated=market is not None)  # what the order plane would refuse, before anything is started
    for unknown in unknown_variables():
        say(f"note: {unknown}")
    if (beside := context.running_beside(settings.state_dir)) is not None:
        say(
            f"note: {beside} runs, too, on the same processors, and verbs without TRIPLANE_STATE_DIR mean this one from now on; "
            f"`TRIPLANE_STATE_DIR={beside} triplane down` stops the other"
        )
    first = not settings.bootstrap and not (settings.state_dir / "kafka").exists()
    _tell_problems(settings, nothing_in_force=first)
    extra = {name: value for name, value in os.environ.items() if name.startswith("TRIPLANE_")}
    if market is not None:
        extra.pop("TRIPLANE_GATEWAY_PORT", None)  # 0, which means the same, and must not hide the market's own
    services = LocalServices(settings.state_dir, refill=refill)

    states: dict[str, str] = {}

    def tell(event: Event) -> None:
        before, states[event.process] = states.get(event.process), event.state
        if event.state == before == "not ready":
            return  # the same with other numbers; who stays so is told below
        say(f"{event.process}: {event.state}{': ' if event.detail else ''}{event.detail}")

    async def start(supervisor: Supervisor) -> None:
        bootstrap = await services.start(supervisor, registry, settings.topic_prefix)
        installation = Installation(
            settings.state_dir,
            bootstrap,
            settings.targets_path,
            settings.assets_path,
            registry_url=settings.registry_url or services.registry_url,
            topic_prefix=settings.topic_prefix,
            market=market,
            extra=extra | {"TRIPLANE_BOOTSTRAP": bootstrap},
        )
        context.write_environment(settings.state_dir, installation.environment())
        say("loading history and folding it")
        await supervisor.start(installation.specs())
        await supervisor.settle()
        if market is not None:
            await start_market(market)
            say(
                "the market is SIMULATED; set TRIPLANE_GATEWAY_PORT and TRIPLANE_ACCOUNT to use a real IB paper account"
            )
        say("up; `triplane status` shows what runs, Ctrl-C or `triplane down` stops it")

    async def tell_waiting(supervisor: Supervisor) -> None:
        """Whoever is not ready for a while has a reason; it is told once, and again when it changes."""
        told: dict[str, str] = {}
        while True:
            await asyncio.sleep(WAITING_TOLD_S)
            for process in supervisor.status():
                reason = process.detail if process.state in ("starting", "not ready") else ""
                if reason and told.get(process.name) != reason:
                    say(f"{process.name}: still not ready: {reason}")
                told[process.name] = reason

    async def tell_end(market: PaperMarket) -> None:
        """A market that ends by itself looks like one that stands still."""
        url = f"http://127.0.0.1:{market.http_port}"
        while not (ended := await market_end(url)):  # noqa: ASYNC110  its clock is another process's
            await asyncio.sleep(END_ASKED_S)
        say(ended)

    async with (
        Supervisor([], settings.state_dir, events=tell) as supervisor,
        SupervisionServer(supervisor),
        relayed(settings.state_dir / "logs", say),
    ):
        telling = [asyncio.create_task(tell_waiting(supervisor))]
        if market is not None:
            telling.append(asyncio.create_task(tell_end(market)))
        try:
            if await unless(stop, start(supervisor)):
                await supervisor.run(stop)
        finally:
            await end_tasks(telling)
            context.forget_environment(settings.state_dir)
    reader.check()


def _tell_problems(settings: Settings, *, nothing_in_force: bool) -> None:
    """What is wrong with the edited files. Raises CommandError where no earlier configuration can stand in for them."""
    from triplane.domain.problems import ProblemsError
    from triplane.runtime.configuration import load_files

    try:
        load_files(settings.targets_path, settings.assets_path)
    except ProblemsError as error:
        if nothing_in_force:
            raise context.CommandError(f"nothing was started: {error}", 78) from None
        print(f"{error}\nnot taken; the planes go on with the configuration that was accepted last", flush=True)


def down(json_: bool = context.JSON) -> None:
    """Stop what `triplane up` or `triplane demo` started on this state directory, in order."""
    names: list[Any] = context.down(context.state_dir())
    if json_:
        context.print_json({"stopped": names})
    else:
        print(f"stopped {', '.join(names) or 'nothing that still ran'}")
