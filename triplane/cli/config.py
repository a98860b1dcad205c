"""`triplane config check|diff|history`: targets.yaml, and its versions on control.config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from triplane.cli import context

if TYPE_CHECKING:
    from triplane.runtime.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Check targets.yaml, compare it with what is in force, list its versions.")


def _records() -> list[tuple[int, Mapping[str, Any] | str]]:
    """Records of control.config with their offsets; of one that cannot be decoded, the reason."""
    from triplane.runtime.kafka_in import read_all

    records = read_all(context.connected_settings(), ["control.config"])
    return [(record.offset, record.error if record.value is None else record.value) for record in records]


def _versions() -> list[tuple[int, Mapping[str, Any]]]:
    return [(offset, record) for offset, record in _records() if not isinstance(record, str)]


def _positions(settings: Settings) -> dict[str, float]:
    """Units held by symbol, as the newest account record tells; empty where there is none."""
    from triplane.cli.status import latest

    if not settings.bootstrap:
        return {}
    account = next(iter(latest(settings, {"order.account": 1})["order.account"]), None)
    return dict(zip(account["symbols"], account["position"], strict=True)) if account else {}


@app.command("check")
def check(
    targets: Path | None = typer.Argument(
        None, help="A targets.yaml to check instead of the one that the installation watches."
    ),
    json_: bool = context.JSON,
) -> None:
    """Check targets.yaml and assets.csv; with a running installation, also what they would change. Exits 1 on a problem."""
    from triplane.control.report import config_check, in_force
    from triplane.runtime.kafka_in import LogUnavailable

    settings = context.settings()
    path = targets or settings.targets_path
    try:
        versions = _versions() if settings.bootstrap else []
        found = config_check(path, settings.assets_path, in_force(versions), _positions(settings))
    except LogUnavailable as error:  # the files can be judged all the same
        found = config_check(path, settings.assets_path)
        found = replace(found, warnings=(f"what it would change is not known: {error}",))
    if json_:
        context.print_json({"file": str(path), **found.as_json()})
    else:
        print(f"checking {path.absolute()} and {settings.assets_path.absolute()}")
        for problem in found.problems:
            print(problem)
        for change in found.changes:
            print(change)
        for warning in found.warnings:
            print(f"warning: {warning}")
        print(found.summary)
    if not found.ok:
        raise typer.Exit(1)


@app.command("diff")
def diff(
    old: str = typer.Argument("", help="Version number or hash; the one before by default."),
    new: str = typer.Argument("latest", help="Version number or hash."),
    json_: bool = context.JSON,
) -> None:
    """What differs between two versions."""
    from triplane.control.report import config_diff, select

    records = _versions()
    newer = select(records, new)
    older = select(records, old or str(max(1, newer["seq"] - 1)))
    changes = config_diff(older, newer)
    if json_:
        context.print_json({"old": older["seq"], "new": newer["seq"], "changes": changes})
    else:
        print("\n".join(changes) or f"versions {older['seq']} and {newer['seq']} say the same")


@app.command("history")
def history(json_: bool = context.JSON) -> None:
    """Every version that was accepted, and what stands among them that no plane can read."""
    from triplane.control.report import config_history

    found = config_history(_records())
    if json_:
        context.print_json([asdict(version) for version in found])
    else:
        rows = [
            (v.seq or f"@{v.offset}", "not in force", v.hash[:12], v.actor, f"unreadable: {v.unreadable}")
            if v.unreadable
            else (v.seq, v.time, v.hash[:12], v.actor, "; ".join(v.changes))
            for v in found
        ]
        context.print_table("Configurations", ("version", "accepted", "hash", "actor", "changes"), rows)
