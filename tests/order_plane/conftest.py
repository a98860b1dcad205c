"""Fixtures of the order plane's service tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.order_plane.world import OrderWorld
from triplane.runtime.settings import Settings


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[OrderWorld]:
    """Gateway, log and configuration; the order process is started by the test."""
    made = OrderWorld(settings, tmp_path)
    try:
        yield made
    finally:
        made.close()
