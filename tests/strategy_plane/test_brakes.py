"""Brakes: the smallest binds, nothing multiplies, and release is slow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_plane.risk.brakes import Brake, BrakeMemory, combine, drawdown_brake


@pytest.mark.parametrize(
    ("drawdown", "expected"),
    [(0.0, 1.0), (0.05, 1.0), (0.10, 0.5), (0.15, 0.0), (0.9, 0.0), (float("nan"), 0.0)],
)
def test_drawdown_brake(drawdown, expected):
    assert drawdown_brake(drawdown, 0.05, 0.15) == pytest.approx(expected)


def test_a_start_beyond_the_stop_is_a_cliff():
    assert drawdown_brake(0.19, 0.2, 0.15) == 1.0
    assert drawdown_brake(0.21, 0.2, 0.15) == 0.0


def test_the_smallest_binds_and_says_so():
    brakes = [Brake(0.4, "REGIME_STORM"), Brake(0.3, "DRAWDOWN"), Brake(0.5, "KILL_HALVED")]
    assert combine(brakes, 1.0, 0.1) == Brake(0.3, "DRAWDOWN")
    assert combine([Brake(1.0, "REGIME_STORM")], 1.0, 0.1) == Brake(1.0, "NONE")


def test_release_is_per_session_not_per_barrier():
    memory = BrakeMemory()
    assert memory.step("1", [Brake(0.4, "REGIME_STORM")], 0.1).value == 0.4
    assert memory.step("1", [], 0.1) == Brake(
        1.0, "NONE"
    )  # the session before had none: the same session may correct itself
    memory = BrakeMemory("0", 0.4, 0.4)
    values = [memory.step(session, [], 0.1).value for session in ("1", "1", "2", "2", "3")]
    assert values == pytest.approx([0.5, 0.5, 0.6, 0.6, 0.7])
    assert BrakeMemory(*memory.state()).state() == memory.state()
    assert memory.step("4", [], 0.1).reason == "RELEASE"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40), st.floats(0.01, 1))
def test_never_above_any_brake_and_never_released_faster(path, release):
    memory, before = BrakeMemory(), 1.0
    for session, (a, b) in enumerate(path):
        brake = memory.step(str(session), [Brake(a, "A"), Brake(b, "B")], release)
        assert brake.value <= min(a, b) + 1e-15
        assert brake.value <= before + release + 1e-15
        assert brake.value == pytest.approx(min(a, b, 1.0)) or brake.reason == "RELEASE"
        before = brake.value
