"""The growing window: what it holds is the newest rows, whatever its buffer did."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from strategy_plane.inputs.window import RowWindow
from strategy_plane.plain import plain


@given(st.integers(1, 4), st.integers(1, 70), st.integers(0, 400), st.integers(0, 90))
def test_holds_the_newest_rows(width, capacity, rows, asked):
    window = RowWindow(width, capacity)
    everything = np.arange(rows * width, dtype=float).reshape(rows, width)
    for row in everything:
        window.append(row)
    kept = everything[-capacity:]
    assert len(window) == len(kept)
    assert np.array_equal(window.all(), kept)
    assert np.array_equal(window.tail(asked), kept[len(kept) - min(asked, len(kept)) :])
    back = window.at(asked)
    assert (back is None) == (asked >= len(kept))
    if back is not None:
        assert np.array_equal(back, kept[-1 - asked])


def test_appends_after_load_go_on():
    window = RowWindow(2, 3)
    window.load(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    for value in (7.0, 8.0, 9.0, 10.0, 11.0):
        window.append(np.array([value, value]))
    assert window.all()[:, 0].tolist() == [9.0, 10.0, 11.0]


def test_reindex_moves_columns_of_each_block():
    window = RowWindow(4, 5)
    window.append(np.array([1.0, 2.0, 10.0, 20.0]))
    window.reindex([1, -1, 0], np.nan, blocks=2)
    np.testing.assert_array_equal(window.all(), [[2.0, np.nan, 1.0, 20.0, np.nan, 10.0]])
    window.append(np.zeros(6))
    assert len(window) == 2


def test_reindex_of_an_empty_window():
    window = RowWindow(0, 5)
    window.reindex([-1, -1], np.nan)
    window.append(np.array([1.0, 2.0]))
    assert window.all().tolist() == [[1.0, 2.0]]


def test_records_carry_one_nan_and_no_negative_zero():
    odd = np.array([[-np.nan, np.nan], [-0.0, 1.5]])
    assert np.array(plain(odd)).tobytes() == np.array([np.nan, np.nan, 0.0, 1.5]).tobytes()
