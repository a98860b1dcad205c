"""What an earlier run left in the spool, less what has come to the log since.

A record that was handed to a broker which stood still goes to disk when its run ends, and may be on the log all the same. Another run may have
loaded it meanwhile, too. It is known by its identity in the catalogue, and is not sent again.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_plane.daemon.spool import Spool, Spooled
from schemas import catalogue
from triplane.runtime.exit_codes import DaemonExit


class LeftOver:
    """Open it before the topics are read, let it `learn` their records, then `settle`."""

    def __init__(self, path: Path, max_bytes: int, damaged: Callable[[str], None]) -> None:
        """`damaged` is told what was left out of a damaged file. Raises DaemonExit where it cannot be read or written."""
        self._path = path
        try:
            self.spool = spool = Spool(path, max_bytes)
        except OSError as error:
            raise self._refused("opened", error) from error
        if spool.damage is not None:
            size, kept = spool.damage
            damaged(f"{size} bytes are left out, {len(spool)} records taken up; as found it is kept as {kept.name}")
        self._topics = catalogue.load()
        self._owed: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
        for output in spool.contents():
            self._owed[output.topic].add(self._topics[output.topic].identify(output.record))

    def learn(self, topic: str, record: Mapping[str, Any]) -> None:
        """A record is on its topic."""
        owed = self._owed.get(topic)
        if owed:
            owed.discard(self._topics[topic].identify(record))

    def settle(self) -> list[Spooled]:
        """Leave in the spool what is not on the log, each record once; those for which it has no room any more.

        Raises DaemonExit where the disk has none for the new file beside the old one.
        """
        items = list(iter(self.spool.pop, None))
        try:
            return self.spool.prepend([item for item in items if self._take(item)])
        except OSError as error:
            raise self._refused("taken up", error) from error

    def _refused(self, what: str, error: OSError) -> DaemonExit:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room on that disk" if full else "make it a file that this user may write, or move it away"
        return DaemonExit(f"the spool {self._path} cannot be {what} ({error.strerror}); {remedy}")

    def _take(self, item: Spooled) -> bool:
        owed, identity = self._owed[item.output.topic], self._topics[item.output.topic].identify(item.output.record)
        if identity not in owed:
            return False
        owed.discard(identity)
        return True
