"""Random values for Avro schemas, for hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from schemas.parallel import PARALLEL

LONGS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


def of_type(avro: Any, nan: bool = True) -> st.SearchStrategy[Any]:
    """Values of an Avro type that the schemas use."""
    if isinstance(avro, Mapping):
        if avro["type"] == "array":
            return st.lists(of_type(avro["items"], nan), max_size=5)
        if avro["type"] == "map":
            return st.dictionaries(TEXTS, of_type(avro["values"], nan), max_size=5)
        return of_type(avro["type"], nan)
    return {
        "long": LONGS,
        "int": st.integers(-(2**31), 2**31 - 1),
        "double": st.floats(allow_nan=nan),
        "string": TEXTS,
        "boolean": st.booleans(),
        "bytes": st.binary(max_size=40),
    }[avro]


def of_record(schema: Mapping[str, Any], nan: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """Records of a schema, every field set; arrays that run in parallel have one length."""
    whole = st.fixed_dictionaries({field["name"]: of_type(field["type"], nan) for field in schema["fields"]})
    return whole.map(lambda record: _even(schema["name"], record))


def _even(name: str, record: dict[str, Any]) -> dict[str, Any]:
    for group in PARALLEL.get(name, ()):
        present = [field for field in group if field in record]
        length = min((len(record[field]) for field in present), default=0)
        record |= {field: record[field][:length] for field in present}
    return record


def same(one: Any, other: Any) -> bool:
    """Equality in which NaN equals NaN and -0.0 differs from 0.0, as bytes do."""
    if isinstance(one, float) and isinstance(other, float):
        return one.hex() == other.hex()
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other
