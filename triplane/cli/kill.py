"""`triplane kill trip|rearm|status`: the kill switch by hand. Needs neither Kafka nor a living order process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import typer

from triplane.cli import context

app = typer.Typer(no_args_is_help=True, help="Trip the kill switch, re-arm it, or see its status.")
ACTOR = typer.Option(None, "--actor", help="Who asks; your login name by default.")
PROCESS = {"dead": "does not run", "silent": "does not answer", "answers": "answers"}
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
    """Stop new orders at once and ask the broker to cancel the open ones, in every installation of this folder that runs.

    TRIPLANE_STATE_DIR names a single one.
    """
    from order_plane.kill import switch as kill_switch

    if scope not in ("account", "own"):
        raise context.CommandError("--scope is account or own; account is the default", 2)
    reports, failed = {}, []
    found = context.kill_settings("nothing was tripped")
    for settings in found:
        try:
            asked = kill_switch.trip(settings, actor or context.user_name(), reason, scope)  # type: ignore[arg-type]
            reports[str(settings.state_dir)] = kill_switch.run(asked)
        except kill_switch.KillSwitchError as error:  # the others are stopped all the same
            failed.append(f"{settings.state_dir}: {error}" if len(found) > 1 else str(error))
    if json_:
        listed = [{"state_dir": directory, **asdict(report)} for directory, report in reports.items()]
        context.print_json(listed[0] if len(listed) == 1 else listed)
    else:
        for directory, report in reports.items():
            print("\n".join(f"{directory}: {line}" if len(found) > 1 else line for line in report.lines))
    if failed:
        raise context.CommandError("; ".join(failed))


@app.command("rearm")
def rearm(
    reason: str = REASON,
    actor: str = typer.Option(..., "--actor", help="The person who answers for it."),
    json_: bool = context.JSON,
) -> None:
    """Let orders leave again, in the name of a person, in one installation.

    NAV as it is now becomes the new mark: today's PnL, the drawdown and the record behind PSR begin again from it.
    """
    from order_plane.kill import switch as kill_switch

    found = context.kill_settings("nothing was re-armed")
    if len(found) > 1:
        listed = " or ".join(f"TRIPLANE_STATE_DIR={settings.state_dir}" for settings in found)
        raise context.CommandError(f"{len(found)} installations run here, and re-arming is for one: set {listed}", 2)
    before = kill_switch.run(kill_switch.status(found[0]))
    if before["order_process"] == "answers" and not before["tripped"]:
        raise context.CommandError(
            "nothing was re-armed: the kill switch is not tripped, and today's marks stay as they are"
        )
    report = kill_switch.run(kill_switch.rearm(found[0], actor, reason))
    if json_:
        context.print_json(asdict(report))
    else:
        print("\n".join(report.lines))
        print(
            ("NAV as it is now is" if before["tripped"] else "NAV as it is then will be")
            + " the new mark: today's PnL, the drawdown and the record behind PSR begin again from it"
        )


@app.command("status")
def status(json_: bool = context.JSON) -> None:
    """What is known of the kill switch: the file, the order process and its own word, for each installation that runs."""
    from order_plane.kill import switch as kill_switch

    found_here = context.kill_settings("no kill switch is known")
    told = {str(each.state_dir): kill_switch.run(kill_switch.status(each)) for each in found_here}
    if json_:
        listed = [{"state_dir": directory, **found} for directory, found in told.items()]
        context.print_json(listed[0] if len(listed) == 1 else listed)
        return
    for directory, found in told.items():
        print("\n".join(f"{directory}: {line}" if len(told) > 1 else line for line in describe(found)))


def _since(time_ns: object) -> str:
    """`since ...; ` of wall time in ns; nothing where a file written by hand says something else there."""
    try:
        return f"since {datetime.fromtimestamp(int(str(time_ns)) / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC; "
    except (ValueError, OverflowError, OSError):
        return ""


def describe(found: Mapping[str, Any]) -> list[str]:
    """The answer of `kill status` in sentences. Times are wall time, UTC."""
    if not found["tripped"]:
        return [f"not tripped; the order process {PROCESS[found['order_process']]}"]
    document = found.get("file") or {}
    actor = document.get("actor") or found.get("actor") or "somebody"
    reason = document.get("reason") or found.get("reason") or "no reason given"
    scope = "Triplane's orders" if (document.get("scope") or found.get("scope")) == "own" else "the whole account"
    lines = [f"tripped by {actor} for {scope}: {reason}"]
    lines.append(f"{_since(document.get('time'))}the order process {PROCESS[found['order_process']]}")
    if found.get("open_orders"):
        lines.append(f"{found['open_orders']} order(s) are still open")
    return [*lines, "`triplane kill rearm --actor NAME --reason WHY` lets orders leave again"]
