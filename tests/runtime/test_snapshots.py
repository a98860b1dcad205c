"""Snapshots: exact round trips, damage noticed, atomic replacement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from triplane.runtime import snapshots
from triplane.runtime.snapshots import SnapshotError

keys = st.text().filter(lambda key: key != "__array__")
scalars = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text() | st.binary()
arrays = hnp.arrays(
    hnp.floating_dtypes(sizes=(32, 64)) | hnp.integer_dtypes(), hnp.array_shapes(max_dims=3, max_side=4)
)
values = st.recursive(
    scalars | arrays, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)


def equal(left, right) -> bool:
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and left.dtype == right.dtype and left.tobytes() == right.tobytes()
    if isinstance(left, dict):
        return isinstance(right, dict) and list(left) == list(right) and all(equal(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, float):
        return isinstance(right, float) and (left == right or (left != left and right != right))
    return type(left) is type(right) and left == right


@given(st.dictionaries(keys, values, max_size=4))
def test_round_trip_is_exact(state):
    data = snapshots.dumps({"seq": 7}, state)
    meta, back = snapshots.loads(data)
    assert meta == {"seq": 7}
    assert equal(state, back)
    assert snapshots.dumps({"seq": 7}, back) == data


def test_every_flipped_byte_is_noticed_or_harmless():
    state = {"x": np.arange(5.0), "n": 3}
    data = snapshots.dumps({"seq": 1}, state)
    for position in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        try:
            meta, back = snapshots.loads(bytes(damaged))
        except SnapshotError:
            continue
        assert meta == {"seq": 1}
        assert equal(state, back), f"byte {position} changed the state unnoticed"


def test_torn_and_absent_files_are_snapshot_errors(tmp_path):
    path = tmp_path / "strategy.snapshot"
    with pytest.raises(SnapshotError, match="no snapshot"):
        snapshots.load(path)
    snapshots.save(path, {"seq": 1}, {"x": np.ones(3)})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SnapshotError):
        snapshots.load(path)


def test_save_replaces_whole_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "s"
    first = snapshots.save(path, {"seq": 1}, {})
    second = snapshots.save(path, {"seq": 2}, {})
    assert first != second
    assert snapshots.load(path)[0] == {"seq": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_keys_that_json_would_change_are_refused():
    with pytest.raises(TypeError, match="keys are strings"):
        snapshots.dumps({}, {"a": {1: 2}})
    with pytest.raises(TypeError, match="marks arrays"):
        snapshots.dumps({}, {"__array__": "a0"})
