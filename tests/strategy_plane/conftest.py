"""What the tests of the strategy plane share."""

from __future__ import annotations

import pytest

from tests.recordings import Market


@pytest.fixture
def market() -> Market:
    return Market(history=6, live=3)
