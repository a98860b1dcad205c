"""Arrays written as vectors are the bytes that fastavro writes."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec
from schemas.codec import CodecError
from schemas.vectors import SHORT, NotAVector, VectorEncoder
from tests.schemas.values import TEXTS, of_record

ARRAYS = [name for name in codec.record_names() if VectorEncoder(codec.record_schema(name)).arrays]
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Mixed",
    "fields": [
        {"name": "first", "type": {"type": "array", "items": "long"}},
        {"name": "between", "type": {"type": "map", "values": "double"}},
        {"name": "texts", "type": {"type": "array", "items": "string"}},
        {"name": "flags", "type": {"type": "array", "items": "boolean"}},
        {"name": "numbers", "type": {"type": "array", "items": "double"}},
    ],
}
# Around every length of a zigzag varint.
EDGES = st.integers(0, 63).flatmap(lambda bits: st.integers(2**bits - 2, 2**bits + 1)).map(lambda n: min(n, 2**63 - 1))
LONGS = st.one_of(EDGES, EDGES.map(lambda n: -n - 1), st.integers(-(2**63), 2**63 - 1))


def library(schema: Any, value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(schema)), value)
    return out.getvalue()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(LONGS, max_size=200),
    st.dictionaries(TEXTS, st.floats()),
    st.lists(TEXTS, max_size=80),
    st.lists(st.booleans(), max_size=3),
    st.lists(st.one_of(st.floats(), st.integers(-(2**60), 2**60)), max_size=200),
)
def test_any_values_are_fastavros_bytes(
    first: list[int], between: dict[str, float], texts: list[str], flags: list[bool], numbers: list[float]
) -> None:
    value = {"first": first, "between": between, "texts": texts, "flags": flags, "numbers": numbers}
    assert VectorEncoder(SCHEMA).encode(value) == library(SCHEMA, value)


@pytest.mark.parametrize("record", ARRAYS)
def test_every_record_with_arrays_is_fastavros_bytes(record: str) -> None:
    schema = codec.record_schema(record)

    @settings(max_examples=10, deadline=None)
    @given(of_record(schema))
    def check(value: dict[str, Any]) -> None:
        expected = library(schema, value)
        assert VectorEncoder(schema).encode(value) == expected
        assert codec.encode_body(record, value) == expected

    check()


def test_long_arrays_take_the_short_way_and_come_back() -> None:
    names = [f"N{number}" for number in range(SHORT)]
    value = {"symbols": names, "close": [float(number) for number in range(SHORT)], "trades": [300] * SHORT}
    for column in ("open", "high", "low", "volume", "wap"):
        value[column] = [1.5] * SHORT
    raw = codec.load().encode("BarSlice", value)
    assert raw[5:] == library(codec.record_schema("BarSlice"), {**codec.defaults("BarSlice"), **value})
    assert codec.load().decode("BarSlice", raw)["trades"] == [300] * SHORT


@pytest.mark.parametrize(
    ("field", "items"),
    [
        ("first", [1.5] * SHORT),
        ("first", [True] * SHORT),
        ("first", [2**63] * SHORT),
        ("texts", [1] * SHORT),
        ("numbers", ["1"] * SHORT),
        ("numbers", {1.0: 1}),
    ],
)
def test_what_is_no_vector_is_said(field: str, items: Any) -> None:
    value = {"first": [], "between": {}, "texts": [], "flags": [], "numbers": []} | {field: items}
    with pytest.raises(NotAVector):
        VectorEncoder(SCHEMA).encode(value)


def test_a_wrong_value_is_refused_as_before() -> None:
    for wrong in ([None] * SHORT, ["x"] * SHORT):
        with pytest.raises(CodecError, match="BarSlice: cannot be encoded"):
            codec.encode_body("BarSlice", {"close": wrong})
    with pytest.raises(CodecError, match="BarSlice: cannot be encoded"):
        codec.encode_body("BarSlice", {"symbols": [1] * SHORT})
