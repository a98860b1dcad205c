"""Session tables on disk, so that a process need not import pandas to know when an exchange opens.

Building a table takes 0.7 s of CPU, nearly all of it the import of pandas under exchange_calendars; reading it back takes 2 ms. A file
belongs to one version of exchange_calendars and tzdata and one span of days; another version builds its own. A file that is damaged or
cannot be written costs time, never an answer: the table is then built as without a cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from triplane.domain import calendars
from triplane.domain.calendars import Table
from triplane.runtime import snapshots
from triplane.runtime.settings import cache_root

FORMAT = 1


def install() -> None:
    """Keep the tables of this process under `cache_root()`."""
    calendars.keep_tables(partial(kept, cache_root() / "calendars"))


def kept(directory: Path, calendar: str, build: Callable[[], Table]) -> Table:
    """The table of `calendar` from its file in `directory`, else from `build`, which then fills the file."""
    identity = [
        FORMAT, calendar, calendars.CALENDAR_VERSION, calendars.TZDATA_VERSION,
        calendars.FIRST_DAY.isoformat(), calendars.LAST_DAY.isoformat(),
    ]  # fmt: skip
    path = directory / f"{calendar.replace('/', '-')}.npz"
    with contextlib.suppress(snapshots.SnapshotError, OSError, KeyError):
        meta, state = snapshots.load(path)
        if meta["identity"] == identity:
            return calendars.frozen(state["ordinals"], state["opens"], state["closes"])
    table = build()
    with contextlib.suppress(OSError):
        arrays = {"ordinals": table.ordinals, "opens": table.opens, "closes": table.closes}
        snapshots.save(path, {"identity": identity}, arrays)
    return table
