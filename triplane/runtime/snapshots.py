"""Engine state on disk: one file, written atomically, checked when read, and always rebuildable from the log.

The file is numpy's npz: arrays as they are, everything else as one JSON text, and a SHA-256 over both. Floats in the JSON part
survive exactly (shortest round-trip representation).
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from triplane.runtime import atomic_file

_ARRAY = "__array__"


class SnapshotError(ValueError):
    """A snapshot is absent, torn or of another format; the state is rebuilt from the log instead."""


def _split(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return _split(np.frombuffer(value, dtype=np.uint8), arrays) | {"bytes": True}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"snapshot keys are strings, not {type(key).__name__}: convert {key!r} first")
            if key == _ARRAY:
                raise TypeError(f"{_ARRAY!r} marks arrays inside a snapshot; rename that key")
        return {key: _split(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_split(item, arrays) for item in value]
    return value


def _join(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if _ARRAY in value:
            array = arrays[value[_ARRAY]]
            return array.tobytes() if value.get("bytes") else array
        return {key: _join(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_join(item, arrays) for item in value]
    return value


def dumps(meta: Mapping[str, Any], state: Mapping[str, Any]) -> bytes:
    """Snapshot as bytes; the same input gives the same bytes. Tuples come back as lists."""
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps({"meta": _split(meta, arrays), "state": _split(state, arrays)}, separators=(",", ":"))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        digest = hashlib.sha256()

        def put(name: str, data: bytes) -> None:
            digest.update(data)
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)

        put("json", text.encode())
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            put(name, buffer.getvalue())
        archive.writestr(zipfile.ZipInfo("sha256", date_time=(1980, 1, 1, 0, 0, 0)), digest.hexdigest())
    return out.getvalue()


def loads(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Meta and state of a snapshot's bytes; raises SnapshotError on anything torn or foreign."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if name != "sha256"]
            parts = {name: archive.read(name) for name in names}
            expected = archive.read("sha256").decode()
        digest = hashlib.sha256()
        for name in names:
            digest.update(parts[name])
        if digest.hexdigest() != expected:
            raise SnapshotError("snapshot checksum differs; the file is damaged and the state is rebuilt from the log")
        arrays = {
            name: np.lib.format.read_array(io.BytesIO(part), allow_pickle=False)
            for name, part in parts.items()
            if name != "json"
        }
        document = json.loads(parts["json"])
    except Exception as error:  # zipfile and numpy raise a zoo of types on damaged bytes
        if isinstance(error, SnapshotError):
            raise
        raise SnapshotError(f"snapshot cannot be read ({error}); the state is rebuilt from the log") from error
    joined = _join(document, arrays)
    return joined["meta"], joined["state"]


def save(path: Path, meta: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Write a snapshot so that a crash leaves the old or the new one, never half; returns its SHA-256."""
    data = dumps(meta, state)
    atomic_file.write(path, data, durable=True)
    return hashlib.sha256(data).hexdigest()


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Meta and state of a snapshot file; raises SnapshotError when it is absent or damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SnapshotError(f"no snapshot at {path}; the state is rebuilt from the log") from None
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read ({error.strerror}); the state is rebuilt from the log") from None
    return loads(data)
