"""Fixtures of the Data Plane's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from data_plane.daemon import outlet as outlet_module
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
