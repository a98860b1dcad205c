"""Law L13: any schema ever committed can be read by today's code. And the lock that keeps it so."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import catalogue, codec, lock
from schemas.codec import HEADER, Codec, LockError, SchemaVersion, fingerprint
from tests.schemas.values import of_record, same

HISTORY = sorted((lock.SCHEMAS_DIR / "history").glob("*.avsc"))


def written(schema: dict[str, Any], schema_id: int, value: dict[str, Any]) -> bytes:
    """A message as a writer of that schema makes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(schema)), value)
    return HEADER.pack(0, schema_id) + out.getvalue()


def expected(record: str, schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """What today's reader makes of it: its own fields, those the writer lacked at their default."""
    theirs = {field["name"] for field in schema["fields"]}
    return {name: value[name] if name in theirs else default for name, default in codec.defaults(record).items()}


def test_the_history_is_what_the_lock_says() -> None:
    """Each file of the history is one line of the lock and the other way round; ids count up from 1."""
    entries = lock.read()
    assert {entry["file"] for entry in entries} == {f"history/{path.name}" for path in HISTORY}
    assert [entry["id"] for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry["record"] for entry in entries} == set(codec.record_names())
    assert lock.update() == []


@pytest.mark.parametrize("path", HISTORY, ids=lambda path: path.stem)
def test_every_committed_schema_is_read_today(path: Path) -> None:
    """L13, with random values of the historic schema."""
    schema = json.loads(path.read_text())
    entry = next(entry for entry in lock.read() if entry["file"] == f"history/{path.name}")
    record = entry["record"]

    @settings(max_examples=15, deadline=None)
    @given(of_record(schema))
    def check(value: dict[str, Any]) -> None:
        assert same(codec.load().decode(record, written(schema, entry["id"], value)), expected(record, schema, value))

    check()


@pytest.mark.parametrize("record", codec.record_names())
def test_versions_with_fewer_and_more_fields_are_read(record: str) -> None:
    """Any subset of today's fields, in any order, plus fields that have gone since."""
    today = codec.record_schema(record)

    @settings(max_examples=15, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        kept = data.draw(st.lists(st.sampled_from(today["fields"]), unique_by=lambda field: field["name"]))
        gone = [{"name": "gone", "type": {"type": "array", "items": "double"}, "default": []}]
        old = {**today, "fields": [*kept, *gone]}
        versions = [*codec.load_versions(), SchemaVersion(record, 99, 9999, fingerprint(old), old)]
        value = data.draw(of_record(old))
        assert same(Codec(versions).decode(record, written(old, 9999, value)), expected(record, old, value))

    check()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A schemas directory of this test's own."""
    for name in ("records", "history"):
        shutil.copytree(lock.SCHEMAS_DIR / name, tmp_path / name)
    shutil.copy(lock.LOCK_PATH, tmp_path)
    return tmp_path


def following(record: str) -> int:
    """The version that a change of a record gets."""
    return 1 + max(entry["version"] for entry in lock.read() if entry["record"] == record)


def edit(directory: Path, record: str, change: Any) -> dict[str, Any]:
    """Change a record's schema by `change(schema)`."""
    path = directory / "records" / f"{record}.avsc"
    schema: dict[str, Any] = json.loads(path.read_text())
    change(schema)
    path.write_text(json.dumps(schema))
    return schema


def test_a_compatible_change_is_locked_as_a_new_version(copy: Path) -> None:
    """The old version stays for ever under its id; locking again adds nothing."""
    before = lock.read(copy / "registry.lock.json")
    edit(copy, "BarSlice", lambda s: s["fields"].append({"name": "vwap", "type": "double", "default": 0.0}))
    edit(copy, "Barrier", lambda s: s["fields"].pop())
    start = len(before)
    bars, barriers = following("BarSlice"), following("Barrier")
    assert lock.update(copy) == [f"BarSlice v{bars} (id {start + 1})", f"Barrier v{barriers} (id {start + 2})"]
    after = lock.read(copy / "registry.lock.json")
    assert after[:start] == before
    assert (copy / "history" / "BarSlice.v1.avsc").read_text() == (
        lock.SCHEMAS_DIR / "history/BarSlice.v1.avsc"
    ).read_text()
    assert lock.update(copy) == []


def test_a_change_of_documentation_is_no_new_version(copy: Path) -> None:
    """Docs decide nothing about bytes."""
    edit(copy, "BarSlice", lambda s: s.update(doc="Other words."))
    assert lock.update(copy) == []


def test_a_changed_default_is_a_new_version(copy: Path) -> None:
    """Defaults decide how old records are read."""
    edit(copy, "BarSlice", lambda s: s["fields"][0].update(default=7))
    assert [line.split(" (")[0] for line in lock.update(copy)] == [f"BarSlice v{following('BarSlice')}"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s["fields"][0].update(type="string", default=""), "event_time changes type from long to string"),
        (lambda s: s["fields"][0].update(type="double", default=0.0), "event_time changes type from long to double"),
        (lambda s: s["fields"].append({"name": "vwap", "type": "double"}), "vwap has no default"),
        (lambda s: s.update(name="Bars"), "record BarSlice is renamed to Bars"),
    ],
)
def test_an_incompatible_change_is_refused_and_nothing_is_written(copy: Path, change: Any, sentence: str) -> None:
    """A promotion that Avro itself would allow (long to double) too: FULL_TRANSITIVE refuses it."""
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file() and path.parent.name != "records"}
    edit(copy, "CostEstimate", lambda s: s["fields"].append({"name": "fine", "type": "long", "default": 0}))
    edit(copy, "BarSlice", change)
    with pytest.raises(LockError, match=rf"^BarSlice.avsc is not compatible with its version 1: .*{sentence}"):
        lock.update(copy)
    assert {path: path.read_bytes() for path in before} == before
    assert not (copy / "history" / "CostEstimate.v2.avsc").exists()


def test_compatibility_reaches_back_to_every_version(copy: Path) -> None:
    """A field dropped in version 2 may not come back with another type in version 3."""
    edit(copy, "BarSlice", lambda s: s["fields"].pop(0))
    lock.update(copy)
    edit(copy, "BarSlice", lambda s: s["fields"].append({"name": "event_time", "type": "string", "default": ""}))
    with pytest.raises(
        LockError, match=r"^BarSlice.avsc is not compatible with its version 1: BarSlice.event_time changes"
    ):
        lock.update(copy)


def test_every_field_has_a_default_and_no_schema_uses_an_enum_or_union() -> None:
    """What FULL compatibility rests on; the records of the catalogue are all there."""
    for record in codec.record_names():
        schema = codec.record_schema(record)
        assert schema["name"] == record
        for field in schema["fields"]:
            assert "default" in field, f"{record}.{field['name']}"
            assert field.get("doc"), f"{record}.{field['name']} has no doc"
            assert not isinstance(field["type"], list)
        assert {"event_time", "available_time"} <= {field["name"] for field in schema["fields"]}
    assert {topic.record for topic in catalogue.load().values()} == set(codec.record_names())
