"""`triplane schemas lock|list`: the registry lock."""

from __future__ import annotations

import typer

from triplane.cli import context

app = typer.Typer(no_args_is_help=True, help="Lock and list the Avro schemas.")


@app.command("lock")
def lock() -> None:
    """Lock every schema that is not locked yet; refuses one that breaks readers or writers of an earlier version."""
    from schemas import lock as registry_lock

    added = registry_lock.update()
    for line in added:
        print(line)
    print(f"{len(added)} version{'s' if len(added) != 1 else ''} locked" if added else "nothing new to lock")


@app.command("list")
def list_(json_: bool = context.JSON) -> None:
    """Every schema version ever committed."""
    from schemas import lock as registry_lock

    entries = registry_lock.read()
    if json_:
        context.print_json(entries)
    else:
        columns = ("record", "version", "id", "fingerprint")
        context.print_table("Schemas", columns, [[entry[column] for column in columns] for entry in entries])
