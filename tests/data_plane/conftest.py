"""Fixtures of the Data Plane's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.data_plane.support import ProvidersProcess


@pytest.fixture
def providers() -> Iterator[ProvidersProcess]:
    process = ProvidersProcess()
    yield process
    process.stop()
