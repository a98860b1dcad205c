"""The edited files on disk: when they may have changed, and what they hold once a writer is done.

Editors replace, rename and truncate; mounts swap symbolic links; a program may write in pieces. So nothing here trusts the kind
of event: any event in a directory, and twice a second none, leads to a comparison of contents.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import watchfiles

from triplane.control.engine import Contents
from triplane.domain.edited_file import read_bytes

# Two equal readings this far apart (wall seconds) are taken as one finished write. Editors write within a millisecond; a writer
# that pauses longer is noticed by the lease below where the system has leases, else by the checks: half a targets.yaml lacks
# parameters.
SETTLE_S = 0.1
# Contents that are refused must stay the same this long before a person is told: what is half written now may be whole soon.
BAD_SETTLE_S = 0.4
# A program that keeps a file open for writing holds an edit back no longer than this, once the contents stand still.
OPEN_S = 2.0
# Directory events get lost on some network and container mounts: the contents are compared at least this often.
POLL_S = 0.5


def read(targets: Path, assets: Path) -> Contents:
    """Both files as they are now."""
    targets_data, targets_error = _bytes(targets)
    assets_data, assets_error = _bytes(assets)
    return Contents(targets_data, assets_data, targets.name, assets.name, targets_error, assets_error)


def _bytes(path: Path) -> tuple[bytes | None, str]:
    try:
        return read_bytes(path), ""
    except OSError as error:
        return None, error.strerror or str(error)


def being_written(path: Path) -> bool:
    """Whether some process holds the file open for writing, as far as this system tells; False where it cannot.

    Linux grants a read lease only on a file that nobody has open for writing. Needs the file's owner or privilege. A writer
    that comes while the lease is held waits the microseconds until it is given back.
    """
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # The signal of a broken lease would end the process by default; SIGURG is ignored by default.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    else:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(descriptor)


async def settled(targets: Path, assets: Path, settle_s: float = SETTLE_S) -> Contents:
    """Both files once they read the same twice, `settle_s` wall seconds apart, with nobody writing (or OPEN_S seconds apart)."""
    before = read(targets, assets)
    still_s = 0.0
    while True:
        await asyncio.sleep(settle_s)
        writing = being_written(targets) or being_written(assets)
        after = read(targets, assets)
        still_s = still_s + settle_s if after.digest == before.digest else 0.0
        if still_s >= (OPEN_S if writing else settle_s):
            return after
        before = after


async def moments(targets: Path, assets: Path, stop: asyncio.Event) -> AsyncIterator[None]:
    """Yields whenever the contents may have changed, and every POLL_S; ends when `stop` is set."""
    while not stop.is_set():
        directories = sorted({path.parent.resolve() for path in (targets, assets) if path.parent.is_dir()})
        try:
            async for _ in watchfiles.awatch(
                *directories,
                watch_filter=None,
                debounce=50,
                step=10,
                stop_event=stop,
                rust_timeout=int(POLL_S * 1000),
                yield_on_timeout=True,
                recursive=False,
            ):
                yield
        except OSError:
            # A directory was moved away: go on by comparing contents until it is back.
            yield
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await stop.wait()


def editor_of(targets: Path, assets: Path) -> str:
    """Who owns the file that was written last: the closest a file system comes to naming an editor."""
    newest: os.stat_result | None = None
    for path in (targets, assets):
        with contextlib.suppress(OSError):
            found = path.stat()
            if newest is None or found.st_mtime_ns > newest.st_mtime_ns:
                newest = found
    if newest is None:
        return "unknown"
    try:
        return pwd.getpwuid(newest.st_uid).pw_name
    except KeyError:
        return f"uid {newest.st_uid}"
