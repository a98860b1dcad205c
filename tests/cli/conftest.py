"""A folder as a user has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.command import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the repository's targets.yaml and assets.csv."""
    for name in ("targets.yaml", "assets.csv"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path
