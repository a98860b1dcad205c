"""Avro bodies of records with long arrays, arrays written as vectors: the same bytes as fastavro's, without a call for each element.

An Avro record is its fields one after the other, and an array is a count, its items and a zero. Items of an array of doubles are
their eight bytes in little-endian order, which is how they lie in memory; longs are zigzag varints, made for all at once. What lies between
two arrays is left to fastavro.
Source: Avro 1.11 specification, "Binary encoding", https://avro.apache.org/docs/1.11.1/specification/#binary-encoding
"""

from __future__ import annotations

import io
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import fastavro
import numpy as np

SHORT: Final = 64
"""Elements in all arrays of a record below which fastavro alone is faster."""
_Part = Callable[[Mapping[str, Any], io.BytesIO], None]


class NotAVector(TypeError):
    """An array holds something else than the plain values of its type; fastavro may still know what to do."""


class VectorEncoder:
    """Encodes one record's values. `schema` is the record's, as a dict."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.arrays: tuple[str, ...] = tuple(field["name"] for field in schema["fields"] if _items(field) in _WRITERS)
        self._parts: list[_Part] = []
        between: list[Mapping[str, Any]] = []
        for field in schema["fields"]:
            writer = _WRITERS.get(_items(field))
            if writer is None:
                between.append(field)
                continue
            self._flush(between)
            self._parts.append(_array_part(field["name"], writer))
        self._flush(between)

    def _flush(self, fields: list[Mapping[str, Any]]) -> None:
        if fields:
            self._parts.append(_library_part(list(fields), len(self._parts)))
            fields.clear()

    def worth_it(self, value: Mapping[str, Any]) -> bool:
        """Whether the arrays of a value are long enough."""
        return sum(len(value[name]) for name in self.arrays) >= SHORT

    def encode(self, value: Mapping[str, Any]) -> bytes:
        """Avro body of a value that has every field. Raises NotAVector, or what fastavro raises for the fields between."""
        out = io.BytesIO()
        for part in self._parts:
            part(value, out)
        return out.getvalue()


def _items(field: Mapping[str, Any]) -> str:
    """Type of an array's items, empty for what is no array of a plain type."""
    kind = field["type"]
    return (
        kind["items"] if isinstance(kind, dict) and kind["type"] == "array" and isinstance(kind["items"], str) else ""
    )


def _library_part(fields: list[Mapping[str, Any]], number: int) -> _Part:
    parsed = fastavro.parse_schema({"type": "record", "name": f"Part{number}", "fields": fields})

    def write(value: Mapping[str, Any], out: io.BytesIO) -> None:
        fastavro.schemaless_writer(out, parsed, value)

    return write


def _array_part(name: str, writer: Callable[[Sequence[Any]], bytes]) -> _Part:
    def write(value: Mapping[str, Any], out: io.BytesIO) -> None:
        items = value[name]
        if not isinstance(items, list | tuple):
            raise NotAVector(f"{name} is a {type(items).__name__}")
        if items:
            out.write(_varint(len(items)))
            out.write(writer(items))
        out.write(b"\0")

    return write


def _varint(number: int) -> bytes:
    """A long that is not negative, as a zigzag varint."""
    left, out = number << 1, bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def _doubles(items: Sequence[Any]) -> bytes:
    try:
        packed = array("d", items)
    except TypeError as error:
        raise NotAVector(str(error)) from None
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _longs(items: Sequence[Any]) -> bytes:
    values = np.array(items)
    if values.dtype != np.int64 or values.ndim != 1:
        raise NotAVector(f"{values.dtype} among whole numbers")
    zigzag = ((values << 1) ^ (values >> 63)).view(np.uint64)
    if zigzag.max() < 0x80:
        return zigzag.astype(np.uint8).tobytes()
    # A row of seven-bit groups for each number; all but its last carry the bit that says that more follow.
    width = (int(zigzag.max()).bit_length() + 6) // 7
    groups = zigzag[:, None] >> (np.arange(width, dtype=np.uint64) * np.uint64(7))
    needed = groups > 0
    needed[:, 0] = True
    more = groups > 0x7F
    octets = (groups & np.uint64(0x7F)).astype(np.uint8) | (more.astype(np.uint8) << 7)
    return bytes(octets[needed].tobytes())


def _strings(items: Sequence[Any]) -> bytes:
    return _same_strings(tuple(items))


@lru_cache(maxsize=64)
def _same_strings(items: tuple[Any, ...]) -> bytes:
    """Symbols are the same in slice after slice."""
    out = io.BytesIO()
    for item in items:
        if not isinstance(item, str):
            raise NotAVector(f"{type(item).__name__} among texts")
        text = item.encode()
        out.write(_varint(len(text)))
        out.write(text)
    return out.getvalue()


_WRITERS: Final[Mapping[str, Callable[[Sequence[Any]], bytes]]] = {
    "double": _doubles,
    "long": _longs,
    "string": _strings,
}
