"""The file that says how far order.events is known. What a start does with it: test_lost_log.py, on a log."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from order_plane.daemon import log_extent
from triplane.runtime.daemon import lock_path
from triplane.runtime.settings import Settings


def test_it_is_known_for_its_own_log_alone(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, topic_prefix="a.")
    lock_path(settings, "order").touch()
    assert log_extent.seen(settings) == 0
    log_extent.note_seen(settings, 0, log_extent.held_lock(settings))  # nothing acknowledged yet says nothing
    assert log_extent.seen(settings) == 0
    log_extent.note_seen(settings, 41, log_extent.held_lock(settings))
    assert log_extent.seen(settings) == 41
    assert log_extent.seen(settings.model_copy(update={"topic_prefix": "b."})) == 0
    for torn in (b"", b"{", b"[]", b'{"events": 4}', b"\xff\xfe", b'{"prefix": "a.", "events": 1e999}', b"[" * 200_000):
        log_extent.seen_path(settings).write_bytes(torn)
        assert log_extent.seen(settings) is None


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    lock_path(settings, "order").touch()
    log_extent.seen_path(settings).mkdir()
    log_extent.note_seen(
        settings, 41, log_extent.held_lock(settings)
    )  # under a running plane there is nothing to be done about it
    with pytest.raises(IsADirectoryError, match=r"order-seen\.json"):
        log_extent.seen(settings)


def test_a_state_folder_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "gone")
    settings.state_dir.mkdir()
    lock_path(settings, "order").touch()
    kept = lock_path(settings, "order").open()  # as the process holds it
    lock = log_extent.held_lock(settings)
    shutil.rmtree(settings.state_dir)
    log_extent.note_seen(settings, 41, lock)
    assert not settings.state_dir.exists()
    settings.state_dir.mkdir()  # by another process of the stack, or by its next start: what was known is not of that log
    log_extent.note_seen(settings, 41, lock)
    assert log_extent.seen(settings) == 0
    lock_path(settings, "order").touch()  # another run has it now
    log_extent.note_seen(settings, 41, lock)
    assert log_extent.seen(settings) == 0
    kept.close()
