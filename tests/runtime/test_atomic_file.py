"""Replacing a file at once: its content is the old or the new one, and the file is otherwise as it was."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from triplane.runtime import atomic_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("before", [0o600, 0o640, 0o664])
@pytest.mark.parametrize("durable", [False, True])
def test_the_mode_of_what_was_there_stays(tmp_path: Path, before: int, durable: bool) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text("old")
    path.chmod(before)
    atomic_file.write(path, "new", durable=durable)
    assert (path.read_text(), mode(path)) == ("new", before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another user")
def test_the_owner_of_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "assets.csv"
    path.write_text("old")
    os.chown(path, 1234, 1235)
    atomic_file.write(path, "new")
    assert (path.read_text(), path.stat().st_uid, path.stat().st_gid) == ("new", 1234, 1235)


def test_a_link_stays_a_link_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    real = tmp_path / "versioned" / "targets.yaml"
    real.parent.mkdir()
    real.write_text("old")
    link = tmp_path / "targets.yaml"
    link.symlink_to("versioned/targets.yaml")
    atomic_file.write(link, "new", through_links=True)
    assert link.is_symlink()
    assert real.read_text() == "new"
    missing = tmp_path / "later.yaml"
    missing.symlink_to("versioned/later.yaml")
    atomic_file.write(missing, "first", through_links=True)
    assert missing.is_symlink()
    assert (real.parent / "later.yaml").read_text() == "first"
    atomic_file.write(link, "a file of our own")  # a state file is replaced, whatever it was
    assert not link.is_symlink()
    assert (link.read_text(), real.read_text()) == ("a file of our own", "new")


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        atomic_file.write(path, "a lone surrogate \udcff")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["targets.yaml"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        atomic_file.write(tmp_path / "folder", "new")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "targets.yaml"]


def test_a_new_file_is_made_with_its_folder(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        atomic_file.write_json(tmp_path / "run" / "order.json", {"pid": 1})
    finally:
        os.umask(umask)
    assert (tmp_path / "run" / "order.json").read_text() == '{"pid": 1}\n'
    assert mode(tmp_path / "run" / "order.json") == 0o640


def test_a_directory_in_a_files_place_is_told_under_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "main.snapshot"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as told:
        atomic_file.write(path, "text")
    assert (told.value.filename, told.value.filename2) == (str(path), None)
    assert list(tmp_path.iterdir()) == [path]
