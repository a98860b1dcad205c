"""Bring a registry to what the committed lock says, and refuse one that says otherwise.

Subjects are `<topic>-value` of every topic and twin of the catalogue; each holds every locked version of the topic's record,
oldest first, FULL_TRANSITIVE. Ids are by content, so subjects with the same record share them. Law: an id, once on the
log, means one schema for ever; a registry that contradicts it would let other tools decode records as the wrong type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas import catalogue, lock
from schemas.catalogue import Catalogue
from schemas.codec import fingerprint
from triplane.runtime import atomic_file
from triplane.stack.errors import StackError
from triplane.stack.registry import Registry, refusal

MARKER = "registry.json"


@dataclass(frozen=True, slots=True)
class Locked:
    """One line of the lock with the text of its file."""

    record: str
    version: int
    schema_id: int
    fingerprint: str
    text: str


def locked(directory: Path = lock.SCHEMAS_DIR) -> list[Locked]:
    """The committed lock, oldest first."""
    return [
        Locked(
            entry["record"],
            entry["version"],
            entry["id"],
            entry["fingerprint"],
            (directory / entry["file"]).read_text(encoding="utf-8"),
        )
        for entry in lock.read(directory / lock.LOCK_PATH.name)
    ]


def subjects(topics: Catalogue, prefix: str = "") -> dict[str, str]:
    """Record by subject, in the catalogue's order."""
    result = {}
    for topic in topics.values():
        for name in (topic.name, topic.latest_name):
            if name is not None:
                result[f"{prefix}{name}-value"] = topic.record
    return result


def register(
    registry: Registry, entries: Sequence[Locked] | None = None, topics: Catalogue | None = None, prefix: str = ""
) -> list[str]:
    """Register what is missing, in lock order; returns `subject vN (id I)` for each. Raises StackError.

    Asks the registry whether each new version is compatible before anything is written.
    """
    entries = locked() if entries is None else entries
    wanted = subjects(catalogue.load() if topics is None else topics, prefix)
    known = registry.subjects()
    before = frozenset(known)
    held = verify(registry, entries, complete=False)
    missing: list[tuple[str, Locked]] = []
    for entry in entries:
        for subject, record in wanted.items():
            if record != entry.record or (subject in known and registry.id_of(subject, entry.text) is not None):
                continue
            if subject in known:
                reason = registry.incompatibility(subject, entry.text)
                if reason is not None:
                    raise refusal(subject, reason)
            missing.append((subject, entry))
    placed = {entry.schema_id: entry.text for entry in entries if entry.schema_id not in held}
    if placed:
        registry.place(placed.items())
    added = []
    for subject, entry in missing:
        if subject not in known:
            registry.require_full_transitive(subject)
            known.add(subject)
        schema_id = registry.register(subject, entry.text)
        if schema_id != entry.schema_id:
            raise _differs(registry, entry, f"the registry gives it id {schema_id}")
        added.append(f"{subject} v{entry.version} (id {schema_id})")
    for subject in wanted:
        # A subject that someone made by hand has the registry's default, NONE.
        if subject in before and registry.level(subject) != "FULL_TRANSITIVE":
            registry.require_full_transitive(subject)
    if placed:
        verify(registry, entries)
    return added


def verify(registry: Registry, entries: Sequence[Locked] | None = None, complete: bool = True) -> set[int]:
    """Every locked id holds the locked schema; returns the ids. With `complete` false an id may be free. Raises StackError."""
    held = set()
    for entry in locked() if entries is None else entries:
        schema = registry.schema(entry.schema_id)
        if schema is None:
            if complete:
                raise _differs(registry, entry, f"id {entry.schema_id} is unknown")
        elif fingerprint(schema) != entry.fingerprint:
            raise _differs(registry, entry, f"id {entry.schema_id} is {schema.get('name', 'another schema')}")
        else:
            held.add(entry.schema_id)
    return held


def _differs(registry: Registry, entry: Locked, what: str) -> StackError:
    return StackError(
        f"the registry at {registry.url} has lost its ids: the lock says {entry.record} v{entry.version} is id "
        f"{entry.schema_id}, but there {what}; restore its topic kafkasql-journal, or use a registry of Triplane's own"
    )


class History:
    """Whether this installation has filled a registry before: `registry.json` in the state directory.

    Tells an empty registry that is new from one that has lost its store. Written `pending` before the first daemon can
    write a record, `filled` when registration has succeeded.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / MARKER

    def state(self) -> str:
        """`unknown`, `pending` or `filled`."""
        try:
            return str(atomic_file.read_json(self._path).get("state", "unknown"))
        except (OSError, ValueError):
            return "unknown"

    def begin(self, topic_with_data: str | None) -> None:
        """Call before daemons start. New topics and no history: what an empty registry is then is new."""
        if self.state() == "unknown" and topic_with_data is None:
            self._write("pending")

    def filled(self) -> None:
        """Call after registration."""
        self._write("filled")

    def _write(self, state: str) -> None:
        atomic_file.write_json(self._path, {"state": state})


def refuse_lost(registry: Registry, history: History, topic_with_data: str | None, prefix: str = "") -> None:
    """Stop when the registry is empty although this log has been written before. Raises StackError."""
    if topic_with_data is None or history.state() == "pending":
        return
    if not registry.subjects() & subjects(catalogue.load(), prefix).keys():
        raise StackError(
            f"the registry at {registry.url} is empty although {topic_with_data} holds records: it has lost its store; "
            "restore its topic kafkasql-journal, or, when it is known that the store is gone, start once with "
            "`triplane up --refill-registry` (a registry elsewhere: `python -m triplane.stack.init --refill`), which fills it "
            "from the committed lock with the same ids"
        )
