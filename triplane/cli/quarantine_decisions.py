"""`triplane quarantine release|drop`: a person decides on what was taken out; the data plane carries it out and writes who decided what."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from triplane.cli import context, quarantine_log
from triplane.cli.control_commands import ACTOR, REASON, give
from triplane.runtime import run_file

WAIT_S = 60.0
"""Wall seconds that a decision is waited for: a repair of a long log has to find the last good close first."""
BELIEVED_S = 5.0
"""So long is waited even where the data plane's process is not seen: it may run beside, in a container of its own."""
IDS = typer.Argument(metavar="ID...", help="Ids, or the beginnings of them.")


def add_to(app: typer.Typer) -> None:
    """Offer both verbs in the group of the quarantine."""
    app.command("release")(release)
    app.command("drop")(drop)


def release(
    ids: list[str] = IDS,
    reason: str = REASON,
    repair: bool = typer.Option(False, "--repair", help="With the values that `quarantine show` suggests."),
    actor: str | None = ACTOR,
    json_: bool = context.JSON,
) -> None:
    """Let bars, facts or macro values out of quarantine, known from now on; `triplane quarantine show ID` shows one before."""
    _decide("data.release", ids, {"repair": "yes" if repair else "no"}, actor, reason, json_)


def drop(ids: list[str] = IDS, reason: str = REASON, actor: str | None = ACTOR, json_: bool = context.JSON) -> None:
    """Say that what was taken out is wrong for good: it leaves the list, and nothing lets it out later."""
    _decide("data.drop", ids, {}, actor, reason, json_)


def _decide(
    command: str, ids: Sequence[str], arguments: Mapping[str, str], actor: str | None, reason: str, json_: bool
) -> None:
    """Give the commands and tell what came of them. Exit code 1 where one was refused or is not decided yet."""
    from triplane.runtime.kafka_in import TopicReader

    records = quarantine_log.read()
    wanted = {record["quarantine_id"]: record for record in (quarantine_log.one(records, each) for each in ids)}
    if arguments.get("repair") == "no":
        _tell_repairs(wanted.values())
    reader = TopicReader(context.connected_settings(), [quarantine_log.DECISIONS], "end")
    try:
        given = {
            give(command, {"quarantine_id": each, **arguments}, actor, reason)["command_id"]: each for each in wanted
        }
        decided = _awaited(reader, set(given))
    finally:
        reader.close()
    if json_:
        context.print_json([_told(decided.get(key), key, each) for key, each in given.items()])
    for key, each in given.items() if not json_ else ():
        found = decided.get(key)
        print(f"{each}: {_said(found)}" if found else f"{each}: not decided yet")
    if len(decided) < len(given):
        raise context.CommandError(
            f"{_silence()}; what is not decided yet is on the log, and carried out once the data plane is ready "
            "(`triplane quarantine show ID` tells it then)"
        )
    if any(each["action"] == "refused" for each in decided.values()):
        raise typer.Exit(1)


def _tell_repairs(wanted: Iterable[Mapping[str, Any]]) -> None:
    """Say of what is to be let out as it came that a repair suggests itself."""
    from data_plane.gates.repairs import REPAIRED

    records = [record for record in wanted if record["code"] in REPAIRED]
    for record, (repair, _) in zip(records, quarantine_log.repairs_of(records), strict=True):
        if repair is not None:
            print(
                f"note: a repair of {record['quarantine_id']} suggests itself ({record['code']}: {repair.reason}); without --repair it is not "
                "used",
                file=sys.stderr,
            )


def _said(decision: Mapping[str, Any]) -> str:
    """What became of it: its detail begins with the action where that says how."""
    action, detail = decision["action"], decision["detail"]
    return detail if detail.startswith(f"{action}, ") else f"{action}, {detail}"


def _awaited(reader: Any, commands: set[str]) -> dict[str, dict[str, Any]]:
    """Decisions on these commands, by command, as far as they come in time."""
    decided: dict[str, dict[str, Any]] = {}
    began = time.monotonic()
    while commands - decided.keys() and time.monotonic() < began + WAIT_S:
        for record in reader.poll(0.2):
            if record.value is not None and record.value["command_id"] in commands:
                decided.setdefault(record.value["command_id"], dict(record.value))
        if time.monotonic() > began + BELIEVED_S and _unseen():
            break
    return decided


def _unseen() -> bool:
    found = run_file.read(context.settings().state_dir, "data")
    return found is None or not found.alive


def _silence() -> str:
    """What is known of a data plane that has told no decision."""
    if not _unseen():
        return f"the data plane has not answered within {WAIT_S:g} s"
    where = "no data plane is seen to run here, as one in a container of its own never is (`triplane status` says more)"
    return f"no answer has come within {BELIEVED_S:g} s, and {where}"


def _told(decision: Mapping[str, Any] | None, command_id: str, quarantine_id: str) -> dict[str, Any]:
    if decision is None:
        return {"command_id": command_id, "quarantine_id": quarantine_id, "action": ""}
    return quarantine_log.plain(decision)
