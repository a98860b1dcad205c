"""Wall time that does not follow a clock that somebody sets."""

from __future__ import annotations

import time

from triplane.runtime.clock import SteadyClock

SECOND = 10**9


def test_a_set_clock_moves_nothing_and_is_told() -> None:
    wall, count = [1_000 * SECOND], [5 * SECOND]
    clock = SteadyClock(lambda: wall[0], lambda: count[0])
    assert (clock.now(), clock.stepped()) == (1_000 * SECOND, 0.0)
    wall[0] += 86_400 * SECOND
    assert (clock.now(), clock.stepped()) == (1_000 * SECOND, 86_400.0)
    count[0] += 2 * SECOND
    wall[0] = 1_001 * SECOND
    assert (clock.now(), clock.stepped()) == (1_002 * SECOND, -1.0)


def test_it_runs_with_the_machines_clock() -> None:
    clock = SteadyClock()
    first = clock.now()
    assert abs(first - time.time_ns()) < SECOND
    assert clock.now() >= first
