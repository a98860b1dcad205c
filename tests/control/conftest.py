"""The control daemon for one test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.daemon import Control
from triplane.runtime.settings import Settings


@pytest.fixture
def control(settings: Settings, tmp_path: Path) -> Iterator[Control]:
    daemon = Control(settings, tmp_path / "files")
    yield daemon
    daemon.client.close()
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.end(signal.SIGKILL)
