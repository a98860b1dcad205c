"""The folder of a demonstration: whose it is, and what is put into it before a run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from triplane.runtime.configuration import Config, load_files
from triplane.stack import state_file

DEFAULT = Path(".triplane/demo")
MARKER = "demonstration"
"""A file of this name says that a directory is a demonstration's own."""


class DemoError(RuntimeError):
    """The demonstration cannot go on; one sentence says why."""


def refuse_foreign(directory: Path, sources: Sequence[Path]) -> None:
    """DemoError where a file of `sources` is not here, or where no demonstration wrote what the directory holds."""
    for source in sources:
        if not source.is_file():
            is_what = "is a directory" if source.is_dir() else "is not here"
            raise DemoError(
                f"{source} {is_what}; run the demonstration from the folder that holds targets.yaml and assets.csv"
            )
    if directory.exists() and not directory.is_dir():
        raise DemoError(f"{directory} is not a directory; name another with --directory")
    foreign = directory.is_dir() and any(
        old.name not in (state_file.NAME, state_file.LOCK) for old in directory.iterdir()
    )
    if foreign and directory != DEFAULT and not (directory / MARKER).is_file():
        raise DemoError(
            f"{directory} holds files that no demonstration wrote, and a run empties its directory first; name a new or empty "
            "one with --directory"
        )


def configuration(sources: tuple[Path, Path]) -> Config:
    """What `sources` (targets.yaml, assets.csv) say. ProblemsError for what the control daemon would refuse: before anything is emptied."""
    return load_files(*sources)


def prepare(directory: Path, sources: Sequence[Path]) -> None:
    """Empty the directory and copy `sources` into it."""
    for old in directory.iterdir():
        if old.name in (state_file.NAME, state_file.LOCK, MARKER):
            continue
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink()
    (directory / MARKER).write_text("A demonstration may empty this directory.\n", encoding="utf-8")
    for source in sources:
        shutil.copy(source, directory / source.name)
