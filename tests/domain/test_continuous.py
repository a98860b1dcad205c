"""The continuous series that is made of rolls on the log is the one that the Data Plane makes of the contracts themselves."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_plane.futures import FutureContract, Held
from data_plane.futures import continuous as from_contracts
from triplane.domain import continuous

FIRST = date(2018, 1, 1).toordinal()
CLOSES = st.one_of(st.floats(1.0, 1e4), st.just(np.nan), st.just(-37.63))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_rolls_give_what_the_contracts_give(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    ends = FIRST + np.cumsum(lengths) - 1
    begins = ends - np.array(lengths) + 1
    chain = [
        Held(FutureContract(n, f"C{n}", "ES", "201803", date.fromordinal(int(last))), *map(date.fromordinal, map(int, (first, last))))
        for n, (first, last) in enumerate(zip(begins, ends, strict=True))
    ]  # fmt: skip
    # Up to anywhere in the chain: rolls after the last session lie ahead.
    sessions = np.arange(FIRST, data.draw(st.integers(FIRST, int(ends[-1]))) + 1)
    closes = data.draw(arrays(np.float64, (len(sessions), len(chain)), elements=CLOSES))
    expected = from_contracts(chain, sessions, closes)

    left, entered = np.full((2, len(chain)), np.nan)
    for old, new in pairwise(range(len(chain))):
        mine = np.flatnonzero((expected.column == old) & np.isfinite(closes[:, [old, new]]).all(axis=1))
        if len(mine):
            left[new], entered[new] = closes[mine[-1], [old, new]]
    column = continuous.held(begins, sessions)
    np.testing.assert_array_equal(column, expected.column)
    np.testing.assert_array_equal(continuous.difference(column, left, entered), expected.offset)
    np.testing.assert_array_equal(continuous.ratio(column, left, entered), expected.factor)


def test_before_the_first_roll_nothing_is_held() -> None:
    sessions = np.arange(FIRST, FIRST + 4)
    column = continuous.held(np.array([FIRST + 1, FIRST + 3]), sessions)
    assert column.tolist() == [-1, 0, 0, 1]
    left, entered = np.array([np.nan, 100.0]), np.array([np.nan, 102.0])
    np.testing.assert_array_equal(continuous.difference(column, left, entered), [np.nan, 2.0, 2.0, 0.0])
    np.testing.assert_array_equal(continuous.ratio(column, left, entered), [np.nan, 1.02, 1.02, 1.0])
    none = continuous.held(np.array([], dtype=np.int64), sessions)
    assert np.isnan(continuous.difference(none, left[:0], entered[:0])).all()
    assert continuous.ratio(none[:0], left[:0], entered[:0]).shape == (0,)
