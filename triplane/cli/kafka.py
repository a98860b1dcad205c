"""`triplane kafka up|down|status`: the local Kafka and schema registry alone."""

from __future__ import annotations

import asyncio

import typer

from triplane.cli import context, listener

app = typer.Typer(no_args_is_help=True, help="Start, stop or show the local Kafka and schema registry.")


@app.command("up")
def up(
    registry: bool = typer.Option(True, help="Start the schema registry too."),
    refill_registry: bool = context.REFILL,
) -> None:
    """Start Kafka and the registry in the foreground, with the catalogue's topics; Ctrl-C stops them."""
    from triplane.runtime import garbage

    garbage.usual()  # it stays for weeks
    with listener.needed("triplane kafka up"):
        asyncio.run(_up(registry, refill_registry))


async def _up(registry: bool, refill: bool) -> None:
    from triplane.runtime.interruption import when_asked_to_end
    from triplane.runtime.settings import from_environment
    from triplane.stack.local_services import LocalServices, unless
    from triplane.stack.supervisor import Supervisor

    settings = from_environment()
    stop = asyncio.Event()
    when_asked_to_end(stop.set)
    services = LocalServices(settings.state_dir, refill=refill)

    async def start(supervisor: Supervisor) -> None:
        bootstrap = await services.start(supervisor, registry, settings.topic_prefix)
        environment = {"TRIPLANE_BOOTSTRAP": bootstrap, "TRIPLANE_STATE_DIR": str(settings.state_dir.absolute())}
        if services.registry_url:
            environment["TRIPLANE_REGISTRY_URL"] = services.registry_url
        context.write_environment(settings.state_dir, environment)
        print(
            f"up; set KAFKA_BOOTSTRAP_SERVERS={bootstrap} elsewhere, Ctrl-C or `triplane kafka down` stops it",
            flush=True,
        )

    async with Supervisor([], settings.state_dir) as supervisor:
        try:
            if await unless(stop, start(supervisor)):
                await supervisor.run(stop)
        finally:
            context.forget_environment(settings.state_dir)


@app.command("down")
def down() -> None:
    """Stop what `triplane kafka up` (or `triplane up`) runs on this state directory."""
    names = context.down(context.state_dir())
    print(f"stopped {', '.join(names) or 'nothing that still ran'}")


@app.command("status")
def status(json_: bool = context.JSON) -> None:
    """Whether Kafka answers, and how its topics differ from the catalogue; exits 1 when something is wrong."""
    from triplane.stack.topics import broker_count, diff

    settings = context.connected_settings()
    brokers = broker_count(settings.bootstrap, settings.kafka_options)
    differences = [
        str(d) for d in diff(settings.bootstrap, prefix=settings.topic_prefix, options=settings.kafka_options)
    ]
    if json_:
        context.print_json({"bootstrap": settings.bootstrap, "brokers": brokers, "differences": differences})
    else:
        print(f"{settings.bootstrap}: {brokers} broker(s)")
        print("\n".join(differences) or "topics are as the catalogue says")
    if differences:
        raise typer.Exit(1)
