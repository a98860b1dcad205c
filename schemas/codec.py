"""Avro in the Confluent wire format: one zero byte, a 4-byte big-endian schema id, then the Avro body.

Ids come from the committed lock (`registry.lock.json`), so that neither writing nor reading needs the registry. Readers
resolve every schema version ever committed against today's schema (law L13). The body, without the 5-byte header, is what
law L1 hashes: ids may differ between registries, bodies may not.
Source: Confluent wire format, https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import struct
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import fastavro
from fastavro.schema import to_parsing_canonical_form

from schemas.parallel import ragged
from schemas.vectors import NotAVector, VectorEncoder

HEADER = struct.Struct(">bI")
HEADER_BYTES = HEADER.size
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

NOT_IN_LOCK = "is not in schemas/registry.lock.json"
"""How an error ends whose record another build wrote: it may be perfectly good."""


class CodecError(ValueError):
    """A record cannot be encoded or decoded. The message says which record and why."""


class LockError(RuntimeError):
    """The registry lock and the committed schemas disagree."""


def fingerprint(schema: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the schema's canonical form *with defaults*, since defaults decide how old records are read.

    Avro's parsing canonical form drops defaults and docs; defaults are put back beside it here.
    """
    defaults = {field["name"]: field.get("default") for field in schema["fields"]}
    text = to_parsing_canonical_form(dict(schema)) + json.dumps(defaults, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """One committed version of one record's schema: `version` counts from 1 within the record."""

    record: str
    version: int
    schema_id: int
    fingerprint: str
    schema: Mapping[str, Any]


def _records_dir() -> Any:
    return resources.files("schemas") / "records"


@cache
def record_schema(record: str) -> dict[str, Any]:
    """Today's schema of a record, as a dict; raises CodecError for an unknown record."""
    path = _records_dir() / f"{record}.avsc"
    if not path.is_file():
        raise CodecError(f"no schema schemas/records/{record}.avsc; add the file or correct the record's name")
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


@cache
def parsed_schema(record: str) -> Any:
    """Today's schema of a record in fastavro's parsed form."""
    return fastavro.parse_schema(dict(record_schema(record)))


@cache
def _vectors(record: str) -> VectorEncoder:
    return VectorEncoder(record_schema(record))


@cache
def record_names() -> tuple[str, ...]:
    """All record names, sorted."""
    return tuple(sorted(p.name.removesuffix(".avsc") for p in _records_dir().iterdir() if p.name.endswith(".avsc")))


@cache
def defaults(record: str) -> dict[str, Any]:
    """Default value of every field of a record. Treat as read-only: arrays and maps are shared."""
    result = {}
    for field in record_schema(record)["fields"]:
        value = field["default"]
        result[field["name"]] = value.encode("latin-1") if field["type"] == "bytes" else value
    return result


def encode_body(record: str, value: Mapping[str, Any]) -> bytes:
    """Avro body of a record; fields left out take their default. Raises CodecError on an unknown field or a wrong type."""
    unknown = value.keys() - defaults(record).keys()
    if unknown:
        raise CodecError(f"{record}: unknown field {sorted(unknown)[0]!r}; fields are defined in {record}.avsc")
    out = io.BytesIO()
    whole = {**defaults(record), **value}
    vectors = _vectors(record)
    try:
        if vectors.arrays and vectors.worth_it(whole):
            with contextlib.suppress(NotAVector):
                return vectors.encode(whole)
        fastavro.schemaless_writer(out, parsed_schema(record), whole)
    except (TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
        raise CodecError(f"{record}: cannot be encoded: {error}") from error
    return out.getvalue()


class Codec:
    """Encodes with today's schemas and decodes with any locked one. `versions` come from the lock."""

    def __init__(self, versions: list[SchemaVersion]) -> None:
        self._by_id = {version.schema_id: version for version in versions}
        self._parsed = {v.schema_id: fastavro.parse_schema(dict(v.schema)) for v in versions}
        self._current: dict[str, int] = {}
        for version in versions:
            if version.fingerprint == fingerprint(record_schema(version.record)):
                self._current[version.record] = version.schema_id
        stale = [record for record in record_names() if record not in self._current]
        if stale:
            raise LockError(
                f"schemas/registry.lock.json does not hold today's {stale[0]}.avsc; run `triplane schemas lock` and commit it"
            )

    def schema_id(self, record: str) -> int:
        """Id under which today's schema of a record is written."""
        return self._current[record]

    def encode(self, record: str, value: Mapping[str, Any]) -> bytes:
        """Record in the Confluent wire format."""
        return HEADER.pack(0, self._current[record]) + encode_body(record, value)

    def decode(self, record: str, data: bytes) -> dict[str, Any]:
        """Value of a message, read into today's schema of `record`. Raises CodecError, never anything else."""
        if len(data) < HEADER_BYTES:
            raise CodecError(f"{record}: {len(data)} bytes are shorter than the 5-byte wire-format header")
        magic, schema_id = HEADER.unpack_from(data)
        if magic != 0:
            raise CodecError(f"{record}: first byte is {magic}, not 0: this is not the Confluent wire format")
        version = self._by_id.get(schema_id)
        if version is None:
            raise CodecError(f"{record}: schema id {schema_id} {NOT_IN_LOCK}")
        if version.record != record:
            raise CodecError(f"{record}: schema id {schema_id} belongs to {version.record}")
        reader = parsed_schema(record)
        writer = self._parsed[schema_id]
        body = io.BytesIO(data)
        body.seek(HEADER_BYTES)
        try:
            value = fastavro.schemaless_reader(body, writer, None if schema_id == self._current[record] else reader)
        except Exception as error:  # fastavro raises a zoo of types on malformed bytes
            raise CodecError(f"{record}: malformed Avro body: {_words(error)}") from error
        if body.read(1):
            raise CodecError(f"{record}: bytes are left over after the Avro body")
        assert isinstance(value, dict)
        unwritten: frozenset[str] = frozenset()
        if schema_id != self._current[record]:
            # fastavro gives a field that the writer lacked its default as the JSON has it: text where bytes belong, and
            # one list for all readers.
            theirs = {field["name"] for field in version.schema["fields"]}
            unwritten = frozenset(defaults(record).keys() - theirs)
            value |= {name: copy(defaults(record)[name]) for name in unwritten}
        problem = ragged(record, value, unwritten)
        if problem:
            raise CodecError(f"{record}: {problem}")
        return value


def _words(error: Exception) -> str:
    """fastavro's complaint as a function of the bytes alone: it is written to the log, and a replay must say the same.

    At a body's end it shows the buffer it read, with the buffer's address.
    """
    if isinstance(error, EOFError):
        return "it ends too early"
    return f"{type(error).__name__}: {_ADDRESS.sub('', ' '.join(str(error).split()))}"


def load_versions() -> list[SchemaVersion]:
    """All schema versions of the committed lock; raises LockError when a file's fingerprint differs from the lock's."""
    root = resources.files("schemas")
    lock_path = root / "registry.lock.json"
    if not lock_path.is_file():
        raise LockError("schemas/registry.lock.json is missing; run `triplane schemas lock`")
    versions = []
    for entry in json.loads(lock_path.read_text(encoding="utf-8"))["schemas"]:
        schema = json.loads((root / entry["file"]).read_text(encoding="utf-8"))
        if fingerprint(schema) != entry["fingerprint"]:
            raise LockError(
                f"schemas/{entry['file']} is not the schema that was locked as id {entry['id']}: "
                "a committed version never changes; run `triplane schemas lock` to lock a new one"
            )
        versions.append(SchemaVersion(entry["record"], entry["version"], entry["id"], entry["fingerprint"], schema))
    return versions


@cache
def load() -> Codec:
    """Codec over the committed lock."""
    return Codec(load_versions())
