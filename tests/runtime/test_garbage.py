"""When garbage is collected."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from triplane.runtime import garbage


@pytest.fixture(autouse=True)
def threshold() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


def test_collections_are_rare_while_modules_are_loaded_and_usual_after_it(threshold: tuple[int, int, int]) -> None:
    garbage.loading()
    assert gc.get_threshold()[0] > 10 * threshold[0]
    assert gc.isenabled()
    garbage.usual()
    assert gc.get_threshold() == threshold


def test_a_daemon_chooses_the_moment_of_full_collections(threshold: tuple[int, int, int]) -> None:
    garbage.loading()
    garbage.postpone()
    assert gc.get_threshold()[:2] == threshold[:2]
    assert gc.get_threshold()[2] > 1_000_000
    frozen = gc.get_freeze_count()
    kept = [[object()] for _ in range(3)]
    garbage.settle()
    assert gc.get_freeze_count() > frozen
    assert kept


def test_nothing_is_collected_between_a_record_that_decides_and_the_end_of_the_decision() -> None:
    collected: list[str] = []

    def told(phase: str, info: dict[str, int]) -> None:
        collected.append(phase)

    gc.callbacks.append(told)
    try:
        garbage.hold_off()
        kept = [[object()] for _ in range(5_000)]
        assert not collected
        garbage.settle()
        assert collected
        assert gc.isenabled()
        assert kept
    finally:
        gc.callbacks.remove(told)
        gc.enable()
