"""A process that stood still notices it, by whichever clock went on; a clock that was set is told once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from order_plane.daemon import standstill
from order_plane.daemon.standstill import Standstill


class Log:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.told: list[float] = []

    def warning(self, _: str, *, seconds: float) -> None:
        self.told.append(seconds)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Both clocks of the machine, and by how much its wall clock was set, all under the test's hand."""
    clocks = SimpleNamespace(monotonic=100.0, wall=5_000.0, stepped=0.0)
    monkeypatch.setattr(
        standstill, "time", SimpleNamespace(monotonic=lambda: clocks.monotonic, time=lambda: clocks.wall)
    )
    return clocks


def test_a_gap_in_either_clock_is_a_standstill_and_work_is_none(now: SimpleNamespace) -> None:
    log = Log()
    watch = Standstill(lambda: now.stepped, log, pause_s=5.0, step_s=1.0)
    assert watch.beat() == 0.0
    now.monotonic, now.wall = 105.0, 5_005.0
    assert watch.beat() == 0.0
    now.monotonic, now.wall = 111.0, 5_011.0
    assert watch.beat() == 6.0
    assert watch.beat() == 0.0
    now.wall += 3_600.0  # suspended: the monotonic clock of Linux stopped
    assert watch.beat() == 3_600.0
    now.monotonic, now.wall = 200.0, 9_000.0
    watch.restart()
    assert watch.beat() == 0.0
    assert log.told == []


def test_a_clock_that_was_set_is_told_once_per_jump(now: SimpleNamespace) -> None:
    log = Log()
    watch = Standstill(lambda: now.stepped, log, pause_s=5.0, step_s=1.0)
    for now.stepped in (0.5, 30.0, 30.5, 30.0, -10.0):
        watch.beat()
    assert log.told == [30.0, -40.0]
