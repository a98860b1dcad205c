"""The file that says how far order.events is known. What a start does with it: test_lost_log.py, on a log."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from pathlib import Path

import pytest

from order_plane.daemon import log_extent
from tests.waiting import until
from triplane.runtime.daemon import Daemon, lock_path
from triplane.runtime.exit_codes import CONFIG, DaemonExit
from triplane.runtime.settings import Settings
from triplane.runtime.tasks import end_tasks


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


def test_a_start_finds_out_whether_it_can_be_written_and_changes_nothing(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, topic_prefix="a.")
    lock_path(settings, "order").touch()
    path = log_extent.seen_path(settings)
    log_extent.refuse_unwritable(settings)
    assert log_extent.seen(settings) == 0
    log_extent.note_seen(settings, 41, log_extent.held_lock(settings))
    log_extent.refuse_unwritable(settings.model_copy(update={"topic_prefix": "b."}))
    assert log_extent.seen(settings) == 41
    in_the_way = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    in_the_way.mkdir()
    with pytest.raises(
        DaemonExit, match=r"order-seen\.json cannot be written \(Is a directory\).*make it a file"
    ) as refused:
        log_extent.refuse_unwritable(settings)
    assert refused.value.code == CONFIG
    in_the_way.rmdir()
    log_extent.refuse_unwritable(settings)


async def test_what_cannot_be_noted_any_more_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log_extent, "NOTE_EVERY_S", 0.0)
    daemon = Daemon("order", Settings(state_dir=tmp_path))
    lock_path(daemon.settings, "order").touch()
    end, path = itertools.count(1), log_extent.seen_path(daemon.settings)
    path.mkdir()
    noting = asyncio.create_task(
        log_extent.keep_noting(daemon, lambda: next(end), log_extent.held_lock(daemon.settings))
    )
    await until(lambda: next(end) > 100)
    path.rmdir()
    await until(lambda: (log_extent.seen(daemon.settings) or 0) > 100)
    await end_tasks([noting])
    said = capsys.readouterr().out
    assert said.count("is not noted") == 1
    assert "order-seen.json" in said


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
