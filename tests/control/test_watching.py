"""Edits as editors, mounts and slow programs make them on a real file system."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from triplane.control import watching


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    targets, assets = tmp_path / "targets.yaml", tmp_path / "assets.csv"
    targets.write_text("one\n")
    assets.write_text("two\n")
    return targets, assets


@contextlib.asynccontextmanager
async def watched(targets: Path, assets: Path) -> AsyncIterator[asyncio.Queue[str]]:
    """A queue of the digests that a watcher sees, whenever they differ from the one before."""
    stop = asyncio.Event()
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def watch() -> None:
        last = ""
        async for _ in watching.moments(targets, assets, stop):
            digest = watching.read(targets, assets).digest
            if digest != last:
                last = digest
                seen.put_nowait(digest)

    task = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        stop.set()
        await asyncio.wait_for(task, 5)


async def expect(seen: asyncio.Queue[str], targets: Path, assets: Path) -> None:
    wanted = watching.read(targets, assets).digest
    async with asyncio.timeout(5):
        while await seen.get() != wanted:
            pass


async def test_writes_replacements_swapped_links_and_removals_are_seen(files: tuple[Path, Path]):
    targets, assets = files
    async with watched(targets, assets) as seen:
        await expect(seen, targets, assets)
        targets.write_text("in place\n")
        await expect(seen, targets, assets)
        (targets.parent / "new").write_text("replaced\n")
        (targets.parent / "new").replace(targets)
        await expect(seen, targets, assets)
        # As Kubernetes mounts a ConfigMap: the file is a link through a link that is swapped.
        for version in ("v1", "v2"):
            (targets.parent / version).mkdir()
            (targets.parent / version / "assets.csv").write_text(version)
        (targets.parent / "current").symlink_to("v1")
        assets.unlink()
        assets.symlink_to("current/assets.csv")
        await expect(seen, targets, assets)
        (targets.parent / "next").symlink_to("v2")
        (targets.parent / "next").replace(targets.parent / "current")
        await expect(seen, targets, assets)
        assert watching.read(targets, assets).assets == b"v2"
        targets.unlink()
        await expect(seen, targets, assets)
        assert watching.read(targets, assets).targets_error == "No such file or directory"
        targets.write_text("back\n")
        await expect(seen, targets, assets)


async def test_a_directory_that_is_moved_away_and_back_is_followed(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    targets, assets = folder / "targets.yaml", folder / "assets.csv"
    targets.write_text("one\n")
    assets.write_text("two\n")
    async with watched(targets, assets) as seen:
        await expect(seen, targets, assets)
        folder.rename(tmp_path / "away")
        await expect(seen, targets, assets)
        folder.mkdir()
        targets.write_text("three\n")
        assets.write_text("four\n")
        await expect(seen, targets, assets)


async def test_a_write_in_pieces_is_read_once_it_stands_still(files: tuple[Path, Path]):
    targets, assets = files
    pieces = [f"line {number}\n" for number in range(12)]

    async def write() -> None:
        with targets.open("w") as file:
            for piece in pieces:
                file.write(piece)
                file.flush()
                await asyncio.sleep(watching.SETTLE_S / 3)

    writer = asyncio.create_task(write())
    await asyncio.sleep(0)
    contents = await watching.settled(targets, assets)
    assert writer.done()
    assert contents.targets == "".join(pieces).encode()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that a file is open for writing")
async def test_a_writer_that_pauses_longer_is_waited_for(files: tuple[Path, Path]):
    targets, assets = files
    assert not watching.being_written(targets)
    resumed = asyncio.Event()

    async def write() -> None:
        with assets.open("w") as file:
            file.write("first row\n")
            file.flush()
            await asyncio.sleep(watching.SETTLE_S * 5)
            file.write("second row\n")
            resumed.set()

    writer = asyncio.create_task(write())
    await asyncio.sleep(0)
    assert watching.being_written(assets)
    contents = await watching.settled(targets, assets)
    assert resumed.is_set()
    assert contents.assets == b"first row\nsecond row\n"
    await writer
    assert not watching.being_written(assets)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that a file is open for writing")
async def test_a_program_that_never_closes_the_file_does_not_hold_an_edit_back_for_ever(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    targets, assets = files
    monkeypatch.setattr(watching, "OPEN_S", 0.3)
    with targets.open("a"):
        contents = await asyncio.wait_for(watching.settled(targets, assets), 5)
    assert contents.targets == b"one\n"


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux'")
def test_a_lease_is_given_back_and_what_has_none_counts_as_finished(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("x")
    for _ in range(3):
        assert not watching.being_written(file)
        with file.open("r+") as writer:
            writer.write("y")
    assert not watching.being_written(tmp_path / "absent")
    assert not watching.being_written(tmp_path)


def test_the_editor_is_the_owner_of_the_newest_file(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    import pwd

    targets, assets = files
    assert watching.editor_of(targets, assets) == pwd.getpwuid(os.getuid()).pw_name

    def unknown(_: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert watching.editor_of(targets, assets) == f"uid {os.getuid()}"
    assert watching.editor_of(targets.parent / "absent", assets.parent / "absent") == "unknown"
