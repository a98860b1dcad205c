"""The local side of the kill switch: a file that holds every order, noticed within a tenth of a second and kept across restarts."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

from order_plane.kill.files import file_of, hold, identity, read_file, rearm_file_of, told
from triplane.runtime.settings import Settings


class KillLatch:
    """Watches state_dir/KILL. While `tripped`, nothing is sent, whatever the engine knows."""

    def __init__(self, settings: Settings) -> None:
        self._file: Path = file_of(settings)
        self._aside: Path = self._file.with_name(f"{self._file.name}.lifted")
        self._rearm: Path = rearm_file_of(settings)
        self._taken: tuple[int, int] | None = None
        self.tripped = False
        self.by_file = False
        """Whether somebody else's file tripped it: one that `look` found."""
        self.document: dict[str, str] = {}
        """What the file said when it was last looked at."""

    @property
    def known(self) -> str:
        """Which file is there now; empty without one (`files.told`)."""
        return told(self._file)

    def look(self) -> dict[str, str] | None:
        """What the file says when it is new since the last look, else None."""
        found = identity(self._file)
        if found is None or found == self._taken:
            return None
        self._taken = found
        self.tripped = self.by_file = True
        self.document = read_file(self._file) or {}
        return self.document

    def trip(self, document: dict[str, Any]) -> None:
        """Hold from now on, durably; keeps a file that is there already. The hold stands even when the disk fails (OSError).

        A re-arming from before is worth nothing any more.
        """
        self.tripped = True
        self.document = {name: str(value) for name, value in document.items()}
        if identity(self._file) is None:
            hold(self._file, document)
        self._taken = identity(self._file)
        self.forget_rearm()

    def trip_again(self, document: dict[str, Any], wall: int) -> None:
        """As `trip`, by somebody who asks at `wall` (ns UTC): a re-arming that knew the file as it was lifts this kill no more."""
        try:
            os.utime(
                self._file, ns=(wall, wall), follow_symlinks=False
            )  # the kernel's own time of a file is as coarse as its ticks
        except FileNotFoundError:
            pass
        except OSError:  # another user's file: one of ours takes its place
            with contextlib.suppress(OSError):
                hold(self._file, document)
        self.trip(document)

    def set_aside(self) -> bool:
        """Take the file away before a re-arming is decided on: one that cannot hold must not begin PnL and drawdown anew.

        False when it was one that nobody has looked at: it holds again. Raises OSError, its `filename` what is in the way, when something
        keeps it there. A crash before `lift` leaves the kill on the log, which makes the file again.
        """
        for path in (self._file, self._aside, self._rearm):
            if path.is_dir() and not path.is_symlink():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        self._aside.unlink(missing_ok=True)  # of a run that ended between the two
        with contextlib.suppress(FileNotFoundError):
            self._file.rename(self._aside)
            if identity(self._aside) != self._taken:
                self.put_back()
                return False
        return True

    def put_back(self) -> None:
        """The re-arming was refused: the file holds again, unless a newer one does."""
        with contextlib.suppress(FileNotFoundError):
            if identity(self._file) is None:
                self._aside.rename(self._file)
            self._aside.unlink(missing_ok=True)

    def lift(self) -> None:
        """A person has re-armed: remove the file, unless a newer one came that nobody has looked at."""
        if identity(self._file) not in (None, self._taken):
            return
        self.forget_rearm()
        self._file.unlink(missing_ok=True)
        self._aside.unlink(missing_ok=True)
        self._taken = None
        self.tripped = self.by_file = False

    def take_rearm(self) -> dict[str, str] | None:
        """A person's re-arming from while the process was down; the file is removed by `forget_rearm` once it is on the log."""
        return read_file(self._rearm)

    def forget_rearm(self) -> None:
        """The re-arming was taken up, or is worth nothing any more; one that cannot be removed is nothing beside a KILL."""
        with contextlib.suppress(OSError):
            self._rearm.unlink(missing_ok=True)
