"""The files of the kill switch in the state directory: KILL holds every order by being there, REARM is a person's written re-arming.

They are written by hand, by the `triplane` command and by the order process, so whatever they hold is read as well as it can be.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from triplane.runtime import atomic_file
from triplane.runtime.settings import Settings

FILE_NAME: Final = "KILL"
REARM_NAME: Final = "REARM"
LONGEST: Final = 500
"""Characters of a name or a reason that are kept."""
LOCK_WAIT_S: Final = 1.0
MEANWHILE: Final = (
    "the kill switch was tripped meanwhile, so it stays tripped; see `triplane kill status`, then re-arm again"
)


def file_of(settings: Settings) -> Path:
    """The file whose presence holds all orders."""
    return settings.state_dir / FILE_NAME


def rearm_file_of(settings: Settings) -> Path:
    """A person's written re-arming, taken up by the order process when it runs again."""
    return settings.state_dir / REARM_NAME


def plain(text: str) -> str:
    """`text` as every later reader can take it: one line, valid Unicode, at most LONGEST characters.

    A byte that is no UTF-8 (an old terminal's umlaut) arrives as a lone surrogate, which no record and no journal could hold. A kill is
    never refused for its words, so they are mended and not judged.
    """
    whole = text[: 2 * LONGEST].encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else " " for letter in whole).strip()[:LONGEST]


def hold(path: Path, document: Mapping[str, Any]) -> str:
    """Make the KILL file; an empty one where the disk has no room for its words, and why. Raises OSError when there is none at all.

    Whatever stands there already holds as well, also where it cannot be written.
    """
    try:
        atomic_file.write_json(path, document, durable=True)
    except OSError as error:
        if not os.path.lexists(path):
            path.touch()  # an empty file needs no room, and holds as well
        return error.strerror or str(error)
    return ""


def read_file(path: Path) -> dict[str, str] | None:
    """Contents of a KILL or REARM file; None when there is none. A file that holds anything else, or a link to nothing, still counts."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        if identity(path) is None:
            return None
        why = "is a link to nowhere" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        return {"actor": "", "reason": f"{path.name} {why}", "scope": "account"}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return {"actor": "", "reason": plain(text[:200]) or f"{path.name} exists", "scope": "account"}
    return {plain(str(key)): plain(str(value)) for key, value in document.items()}


def identity(path: Path) -> tuple[int, int] | None:
    """What tells one writing of a file from the next (inode, modification time in ns); None when there is none."""
    try:
        stat = path.lstat()  # a link to nowhere is there all the same
    except FileNotFoundError:
        return None
    except OSError:
        return (0, 0)  # something is there and cannot be read: that trips, too
    return (stat.st_ino, stat.st_mtime_ns)


def told(path: Path) -> str:
    """The identity of a file as a re-arming carries it: which kill its person knew. Empty when there is none."""
    known = identity(path)
    return f"{known[0]}:{known[1]}" if known is not None else ""


@contextlib.contextmanager
def one_at_a_time(settings: Settings) -> Iterator[None]:
    """Keep a trip and a re-arming from meeting half way. Nobody waits long for it, and a trip never fails for want of it."""
    lock = FileLock(settings.state_dir / "kill.lock")
    with contextlib.suppress(OSError, Timeout):
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_WAIT_S)
    try:
        yield
    finally:
        lock.release()
