"""Files that are replaced at once: a reader, and a start after a crash, finds the old content or the new one, never half."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def write(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Replace a file's content, text as UTF-8; makes its folder. `durable`: it survives a power failure once this returns.

    Raises OSError, and leaves the old file then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:  # the name in the folder, too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, document: Any, *, indent: int | None = None, durable: bool = False) -> None:
    """`write` a JSON document and a newline."""
    write(path, json.dumps(document, indent=indent) + "\n", durable=durable)
