"""When a partition counts as passed over."""

from __future__ import annotations

from strategy_plane.worker.passed_over import PassedOver


def test_a_partition_that_stands_still_below_its_end_is_named_once_per_interval() -> None:
    watch = PassedOver(after_s=2.0)
    assert watch.look({"a-0": 5, "b-0": 9}, {"a-0": 7, "b-0": 9}, 10.0) == {}
    assert watch.look({"a-0": 5, "b-0": 9}, {"a-0": 7, "b-0": 9}, 11.9) == {}
    assert watch.look({"a-0": 5, "b-0": 9}, {"a-0": 8, "b-0": 9}, 12.1) == {"a-0": 8}
    assert watch.look({"a-0": 5, "b-0": 9}, {"a-0": 8, "b-0": 9}, 12.2) == {}
    assert watch.look({"a-0": 5, "b-0": 9}, {"a-0": 8, "b-0": 9}, 14.2) == {"a-0": 8}


def test_a_partition_that_moves_or_has_reached_its_end_is_not_named() -> None:
    watch = PassedOver(after_s=2.0)
    for second, position in enumerate(range(0, 12, 3)):
        assert watch.look({"a-0": position}, {"a-0": 100}, 3.0 * second) == {}
    assert watch.look({"a-0": 100}, {"a-0": 100}, 60.0) == {}
    assert watch.look({"a-0": 100}, {"a-0": 101}, 61.0) == {}, "it has only now fallen behind"
