"""When the planes decide, read from the files that they are steered by: around it the simulated market is slow and tells everything.

A broker knows nothing of anybody's decisions; this one is told where to look, because its clock leaps over what nobody needs. The files
are judged as the control daemon judges them: what it refuses is not followed here.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from triplane.domain.assets import Universe
from triplane.domain.edited_file import read_bytes
from triplane.domain.targets import Targets
from triplane.domain.targets.consistency import conflicts
from triplane.domain.timestamps import MINUTE, SECOND
from triplane.paper.market.clock import STREAM_AFTER, Pace

# Wall time within which an edit has been judged and has reached the planes; until then they may decide at the earlier time.
EDIT_TAKEN_S: Final = 10.0
LOOK_EVERY_S: Final = 0.2
Stamp = tuple[tuple[int, int], ...]


class DecisionHours:
    """Follows REBALANCE and PARENT_EXPIRY_S of a targets.yaml; without one the pace stays as it is given."""

    def __init__(self, targets: Path | None, assets: Path) -> None:
        self._targets, self._assets = targets, assets
        self.taken = False
        """Whether the files have been good once."""
        self._seen: Stamp = ()
        self._edited_at = self._looked_at = float("-inf")

    def follow(self, pace: Pace, *, first: bool = False) -> Pace:
        """`pace` with what the files say by now; as it is where they are gone or cannot be taken. `first`: there was no earlier time."""
        now = time.monotonic()
        if self._targets is None or now < self._looked_at + LOOK_EVERY_S:
            return pace
        self._looked_at = now
        if pace.earlier and now > self._edited_at + EDIT_TAKEN_S:
            pace = replace(pace, earlier="")
        stamp = tuple(_stamp(path) for path in (self._targets, self._assets))
        if stamp == self._seen:
            return pace
        self._seen = stamp
        targets = _taken(self._targets, self._assets)
        if targets is None:
            return pace  # the control daemon tells what is wrong with them, and the planes stay with what they have
        self.taken = True
        lives = round(targets.order.PARENT_EXPIRY_S * SECOND)
        after = max(STREAM_AFTER, lives + MINUTE)
        if pace.rebalance == targets.strategy.REBALANCE:
            return replace(pace, stream_after=after)
        self._edited_at = now
        earlier = "" if first else pace.rebalance
        return replace(pace, rebalance=targets.strategy.REBALANCE, earlier=earlier, stream_after=after)


def _taken(targets: Path, assets: Path) -> Targets | None:
    """The parameters, where both files are good alone and together; else None."""
    from triplane.domain.targets.reading import read  # where nothing is followed, its imports are not paid for

    try:
        reading = read(read_bytes(targets).decode("utf-8-sig"), targets.name)
        universe = Universe.load(assets)
    except (OSError, ValueError):
        return None
    if reading.targets is None or conflicts(reading.targets, {asset.calendar for asset in universe.tradable}):
        return None
    return reading.targets


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
