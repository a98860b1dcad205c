"""`triplane kill trip|rearm|status`: the kill switch by hand. Needs neither Kafka nor a living order process."""

from __future__ import annotations

import getpass
from dataclasses import asdict

import typer

from triplane.cli import context

app = typer.Typer(no_args_is_help=True, help="Trip, re-arm or show the kill switch.")
ACTOR = typer.Option(None, "--actor", help="Who asks; your login name by default.")
REASON = typer.Option(..., "--reason", help="Why; it is written to the log.")


@app.command("trip")
def trip(
    reason: str = REASON,
    actor: str | None = ACTOR,
    scope: str = typer.Option(
        "account", "--scope", help="account: cancel every order of the account. own: Triplane's only."
    ),
    json_: bool = context.JSON,
) -> None:
    """Stop new orders at once and ask the broker to cancel the open ones."""
    from order_plane.kill import switch as kill_switch

    if scope not in ("account", "own"):
        raise context.CommandError("--scope is account or own; account is the default", 2)
    report = kill_switch.run(kill_switch.trip(context.settings(), actor or getpass.getuser(), reason, scope))  # type: ignore[arg-type]
    if json_:
        context.print_json(asdict(report))
    else:
        print("\n".join(report.lines))


@app.command("rearm")
def rearm(
    reason: str = REASON,
    actor: str = typer.Option(..., "--actor", help="The person who answers for it."),
    json_: bool = context.JSON,
) -> None:
    """Let orders leave again, in the name of a person."""
    from order_plane.kill import switch as kill_switch

    report = kill_switch.run(kill_switch.rearm(context.settings(), actor, reason))
    if json_:
        context.print_json(asdict(report))
    else:
        print("\n".join(report.lines))


@app.command("status")
def status(json_: bool = context.JSON) -> None:
    """What is known of the kill switch: the file, the order process and its own word."""
    from order_plane.kill import switch as kill_switch

    found = kill_switch.run(kill_switch.status(context.settings()))
    if json_:
        context.print_json(found)
        return
    print("tripped" if found["tripped"] else "not tripped")
    for name in sorted(found.keys() - {"tripped"}):
        if found[name]:
            print(f"  {name}: {found[name]}")
