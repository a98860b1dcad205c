"""Fixtures of the Data Plane's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from data_plane.daemon import outlet as outlet_module
from data_plane.sources.ibkr import IbkrSource, speed
from tests.broker.gateways import GatewayProcess
from tests.data_plane.ibkr_rig import Rig, following
from tests.data_plane.support import ProvidersProcess


@pytest.fixture
def providers() -> Iterator[ProvidersProcess]:
    process = ProvidersProcess()
    yield process
    process.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet_module, "AWAY_S", 0.05)
    monkeypatch.setattr(outlet_module, "PUMP_S", 0.01)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet_module, "PUMP_S", 0.01)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """Its clock stands before the first session."""
    process = GatewayProcess(tmp_path / "gateway", "--hold", "--sessions", "3")
    yield process
    process.stop()


@pytest.fixture
async def running(gateway: GatewayProcess) -> AsyncIterator[tuple[Rig, IbkrSource]]:
    """A source that has loaded its history and follows; the market stands at 15:25 of the first session."""
    async with following(gateway) as pair:
        yield pair


@pytest.fixture
def leaps_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a minute between two looks at the gateway's clock is a leap, however long the looks lie apart: where a test expects that nobody
    is called stale, a busy machine that comes to look late would else take the hand that moves the market for a fast stream."""
    monkeypatch.setattr(speed, "LEAP_SPEED", 0.0)
