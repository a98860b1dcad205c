"""Session tables on disk: the same table, from the file, and a bad file is never believed."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from triplane.domain import calendars
from triplane.domain.calendars import Table
from triplane.runtime import calendar_cache, snapshots


class Builds:
    """Builds the real table and counts how often it was asked to."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Table:
        self.count += 1
        return calendars.built("24/5")


def same(one: Table, other: Table) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("ordinals", "opens", "closes"))


def test_the_second_process_reads_what_the_first_one_built(tmp_path: Path) -> None:
    build = Builds()
    first = calendar_cache.kept(tmp_path / "new", "24/5", build)
    second = calendar_cache.kept(tmp_path / "new", "24/5", build)
    assert build.count == 1
    assert same(first, second)
    assert not second.opens.flags.writeable


@pytest.mark.parametrize("damage", ["torn", "changed", "foreign"])
def test_a_file_that_is_not_right_is_built_anew(tmp_path: Path, damage: str) -> None:
    build = Builds()
    right = calendar_cache.kept(tmp_path, "24/5", build)
    path = tmp_path / "24-5.npz"
    data = path.read_bytes()
    if damage == "torn":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "changed":
        path.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    else:
        meta, state = snapshots.load(path)
        state["opens"] = state["opens"] + 1
        snapshots.save(path, {"identity": [*meta["identity"][:2], "another version", *meta["identity"][3:]]}, state)
    assert same(calendar_cache.kept(tmp_path, "24/5", build), right)
    assert build.count == 2
    calendar_cache.kept(tmp_path, "24/5", build)
    assert build.count == 2  # and the right one was kept


def test_without_a_place_to_keep_them_tables_are_built(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    build = Builds()
    assert same(calendar_cache.kept(tmp_path / "file", "24/5", build), calendars.built("24/5"))


def test_a_process_with_kept_tables_needs_no_pandas(tmp_path: Path) -> None:
    ask = (
        "import sys; from datetime import date; from triplane.domain import calendars; from triplane.runtime import calendar_cache;"
        "calendar_cache.install(); print(calendars.session_close('XNYS', date(2018, 7, 3)), 'pandas' in sys.modules)"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", ask],
            env={**os.environ, "TRIPLANE_CACHE": str(tmp_path)}, capture_output=True, text=True, check=True,
        ).stdout.split()
        for _ in range(2)
    ]  # fmt: skip
    assert said[0][1:] == ["True"]
    assert said[1][1:] == ["False"]
    assert said[0][0] == said[1][0] == str(calendars.session_close("XNYS", date(2018, 7, 3)))
