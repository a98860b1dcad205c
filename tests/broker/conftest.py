"""Fixtures for tests against a real gateway process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.gateways import GatewayProcess


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A paper gateway whose clock stands at 2018-01-19 15:25 New York, with an open market."""
    process = GatewayProcess(tmp_path / "gateway", "--hold")
    try:
        process.advance(to="2018-01-19T15:25")
        yield process
    finally:
        process.stop()
