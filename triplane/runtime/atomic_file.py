"""Files that are replaced at once: a reader, and a start after a crash, finds the old content or the new one, never half."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any


def write(path: Path, content: str | bytes, *, durable: bool = False, through_links: bool = False) -> None:
    """Replace a file's content, text as UTF-8; makes its folder. `durable`: it survives a power failure once this returns.

    `through_links`: a symbolic link stays one, and what it points to is replaced, as whoever edits a person's file wants it. Mode and owner
    of the file that was there stay, as far as this process may give them. Raises OSError, and leaves the old file then.
    """
    if through_links:
        path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            _as_before(path, file.fileno())
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        # Nobody knows that name, and a disk that takes no more (EFBIG, EIO, ENOSPC) names none.
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from None
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


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises OSError; ValueError for anything else in it, be it no text or nested without end."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no JSON object")
    return document


def _as_before(path: Path, descriptor: int) -> None:
    """Give the new file owner and mode of the old one; the owner first, as a change of owner may take bits of the mode."""
    try:
        before = path.lstat()
    except OSError:
        before = None
    if before is None or not stat.S_ISREG(before.st_mode):
        return  # a new file has what the process gives it
    with contextlib.suppress(OSError):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
