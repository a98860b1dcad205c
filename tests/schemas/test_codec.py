"""The codec: what is written is read, what is not ours is an error and never anything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec
from schemas.codec import HEADER, CodecError, LockError
from schemas.parallel import PARALLEL
from tests.schemas.values import of_record, same

RECORDS = codec.record_names()


@pytest.mark.parametrize("record", RECORDS)
def test_round_trip(record: str) -> None:
    """Every record type, any value, NaN and infinities included; encoding is a function of the value."""

    @settings(max_examples=30, deadline=None)
    @given(of_record(codec.record_schema(record)))
    def check(value: dict[str, Any]) -> None:
        data = codec.load().encode(record, value)
        assert same(codec.load().decode(record, data), value)
        assert codec.load().encode(record, value) == data
        assert data[5:] == codec.encode_body(record, value)
        assert HEADER.unpack_from(data) == (0, codec.load().schema_id(record))

    check()


@pytest.mark.parametrize("record", RECORDS)
def test_fields_left_out_take_their_default(record: str) -> None:
    """An empty value is the record of all defaults, and is not shared between readers."""
    first = codec.load().decode(record, codec.load().encode(record, {}))
    assert same(first, codec.defaults(record))
    for value in first.values():
        if isinstance(value, list):
            value.append("mine")
        elif isinstance(value, dict):
            value["mine"] = 1
    assert same(codec.load().decode(record, codec.load().encode(record, {})), codec.defaults(record))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(RECORDS), st.data())
def test_malformed_bytes_are_a_codec_error(record: str, data: st.DataObject) -> None:
    """Random bodies, and good messages cut, extended or with a byte changed: CodecError or a record, nothing else."""
    good = codec.load().encode(record, data.draw(of_record(codec.record_schema(record))))
    kind = data.draw(st.sampled_from(["random", "cut", "extended", "changed"]))
    if kind == "random":
        message = good[:5] + data.draw(st.binary(max_size=200))
    elif kind == "cut":
        message = good[: data.draw(st.integers(0, len(good) - 1))]
    elif kind == "extended":
        message = good + data.draw(st.binary(min_size=1, max_size=10))
    else:
        place = data.draw(st.integers(0, len(good) - 1))
        message = good[:place] + bytes([data.draw(st.integers(0, 255))]) + good[place + 1 :]
    sentence = ""
    try:
        value = codec.load().decode(record, message)
    except CodecError as error:
        sentence = str(error)
    if sentence:
        assert sentence.startswith(f"{record}: ")
        assert "\n" not in sentence
        assert " at 0x" not in sentence
    else:
        assert kind in ("random", "changed")
        assert value.keys() == codec.defaults(record).keys()


def test_every_truncation_and_any_tail_is_refused() -> None:
    """A message cut anywhere, or with bytes left over, never passes for a shorter or another record."""
    value = {"symbols": ["AAPL", "MSFT"], "close": [1.0, 2.0], "interval": "1d", "group": "main"}
    good = codec.load().encode("BarSlice", value)
    for length in range(len(good)):
        with pytest.raises(CodecError) as refused:
            codec.load().decode("BarSlice", good[:length])
        # The sentence is written to the log, so it is made of the bytes and of nothing else, such as where they lay.
        assert " at 0x" not in str(refused.value)
    with pytest.raises(CodecError, match="left over"):
        codec.load().decode("BarSlice", good + b"\0")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (b"", "0 bytes are shorter than the 5-byte"),
        (HEADER.pack(1, 2), "first byte is 1, not 0"),
        (HEADER.pack(0, 4_000_000_000), "schema id 4000000000 is not in schemas/registry.lock.json"),
    ],
)
def test_a_foreign_header_is_named(header: bytes, sentence: str) -> None:
    """Too short, not the wire format, an unknown id."""
    with pytest.raises(CodecError, match=sentence):
        codec.load().decode("BarSlice", header)


def test_an_id_of_another_record_is_refused() -> None:
    """Bytes that would decode by chance as another type do not."""
    data = codec.load().encode("QuoteSlice", {})
    with pytest.raises(CodecError, match=r"^BarSlice: schema id \d+ belongs to QuoteSlice$"):
        codec.load().decode("BarSlice", data)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"symbols": "AAPL", "nonsense": 1}, "unknown field 'nonsense'"),
        ({"event_time": "yesterday"}, "cannot be encoded"),
        ({"close": ["x"]}, "cannot be encoded"),
        ({"event_time": 2**64}, "cannot be encoded"),
        ({"symbols": None}, "cannot be encoded"),
    ],
)
def test_a_wrong_value_is_refused(value: dict[str, Any], sentence: str) -> None:
    """The sentence names the record."""
    with pytest.raises(CodecError, match=f"^BarSlice: {sentence}"):
        codec.encode_body("BarSlice", value)


def test_an_unknown_record_and_a_stale_lock_are_named() -> None:
    """The remedy is in the sentence."""
    with pytest.raises(CodecError, match=r"no schema schemas/records/Nope.avsc; add the file"):
        codec.record_schema("Nope")
    versions = [version for version in codec.load_versions() if version.record != "BarSlice"]
    with pytest.raises(LockError, match=r"does not hold today's BarSlice.avsc; run `triplane schemas lock`"):
        codec.Codec(versions)


@pytest.mark.parametrize(("record", "group"), [(r, g) for r, groups in PARALLEL.items() for g in groups])
def test_arrays_of_different_lengths_are_refused(record: str, group: tuple[str, ...]) -> None:
    """Schema and bytes are right, and yet element i of one array has no partner in another."""
    fields = {
        field["name"]: field["type"]["items"]
        for field in codec.record_schema(record)["fields"]
        if field["name"] in group
    }
    samples: dict[str, Any] = {"string": "x", "double": 1.0, "long": 1, "int": 1, "boolean": True}
    even = {name: [samples[fields[name]]] * 3 for name in group}
    assert codec.load().decode(record, codec.load().encode(record, even))[group[0]] == even[group[0]]
    for name in group:
        odd = even | {name: even[name][:2]}
        with pytest.raises(CodecError, match=r"has \d elements where"):
            codec.load().decode(record, codec.load().encode(record, odd))
