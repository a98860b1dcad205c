"""The registry lock: every schema version ever committed, with the id it is registered under.

A version, once locked, is kept for ever as `history/<record>.v<version>.avsc`. Ids count up from 1 in the order of the lock,
which is the order in which a fresh registry is filled, so that every installation writes the same ids.
"""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TID251 - the lock is a file of the repository
from typing import Any

from schemas.codec import LockError, fingerprint

SCHEMAS_DIR = Path(__file__).parent
LOCK_PATH = SCHEMAS_DIR / "registry.lock.json"


def read(path: Path = LOCK_PATH) -> list[dict[str, Any]]:
    """Entries of the lock, oldest first; an absent lock is empty."""
    if not path.exists():
        return []
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["schemas"]
    return entries


def incompatibilities(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why `new` breaks readers or writers of `old` (FULL compatibility); empty when it does not.

    Triplane's schemas are flat records whose every field has a default, so full compatibility means: fields may come and go,
    but a field that stays keeps its type, and every field has a default.
    """
    before = {field["name"]: field["type"] for field in old["fields"]}
    problems = []
    if old["name"] != new["name"]:
        problems.append(f"record {old['name']} is renamed to {new['name']}")
    for field in new["fields"]:
        name = field["name"]
        if "default" not in field:
            problems.append(f"{new['name']}.{name} has no default")
        if name in before and before[name] != field["type"]:
            problems.append(f"{new['name']}.{name} changes type from {before[name]} to {field['type']}")
    return problems


def update(directory: Path = SCHEMAS_DIR) -> list[str]:
    """Lock every schema that is not locked yet; returns the new entries as `Record v2 (id 25)`.

    Raises LockError, and writes nothing, when a new version is not fully compatible with all earlier ones.
    """
    path = directory / "registry.lock.json"
    entries = read(path)
    added = []
    for source in sorted((directory / "records").glob("*.avsc")):
        record = source.stem
        schema = json.loads(source.read_text(encoding="utf-8"))
        mine = [entry for entry in entries if entry["record"] == record]
        if any(entry["fingerprint"] == fingerprint(schema) for entry in mine):
            continue
        for entry in mine:
            old = json.loads((directory / entry["file"]).read_text(encoding="utf-8"))
            problems = incompatibilities(old, schema)
            if problems:
                raise LockError(f"{record}.avsc is not compatible with its version {entry['version']}: {problems[0]}")
        version = len(mine) + 1
        entry = {
            "record": record,
            "version": version,
            "id": len(entries) + 1,
            "fingerprint": fingerprint(schema),
            "file": f"history/{record}.v{version}.avsc",
        }
        entries.append(entry)
        added.append((entry, schema))
    for entry, schema in added:
        target = directory / entry["file"]
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
    if added:
        path.write_text(json.dumps({"schemas": entries}, indent=1) + "\n", encoding="utf-8")
    return [f"{entry['record']} v{entry['version']} (id {entry['id']})" for entry, _ in added]
