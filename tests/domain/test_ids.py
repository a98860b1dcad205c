"""Order references: there and back, within what the broker takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triplane.domain.ids import ORDER_REF_MAX, OrderRef, intent_id, intent_slice_id, parse_order_ref

accounts = st.from_regex(r"[A-Z]{1,2}[0-9]{5,7}", fullmatch=True)
symbols = st.from_regex(r"[A-Z0-9][A-Z0-9.\-]{0,5}", fullmatch=True)
refs = st.builds(OrderRef, accounts, st.integers(0, 10**7), symbols, st.integers(0, 999), st.integers(0, 99))


@given(refs)
def test_a_reference_survives_its_text(ref: OrderRef):
    text = str(ref)
    assert len(text) <= ORDER_REF_MAX
    assert text.isascii()
    assert parse_order_ref(text) == ref
    assert text.startswith(ref.intent_id + "/")


@given(refs, refs)
def test_different_children_have_different_references(one: OrderRef, other: OrderRef):
    assert (str(one) == str(other)) == (one == other)


@given(st.text(max_size=50))
def test_what_triplane_did_not_write_is_none_or_reads_back(text: str):
    ref = parse_order_ref(text)
    assert ref is None or parse_order_ref(str(ref)) == ref


@pytest.mark.parametrize(
    "text", ["", "manual", "DU1/1/AAPL/0", "DU1/1/aapl/0/0", "DU1/-1/AAPL/0/0", "DU1/1/AAPL/0/0/0", "DU1/1/AAPL/0/0\n"]
)
def test_foreign_references_are_none(text: str):
    assert parse_order_ref(text) is None


def test_a_reference_that_the_broker_would_cut_is_refused():
    with pytest.raises(ValueError, match="shorten the symbol"):
        str(OrderRef("DU1234567", 10**9, "ABCDEFGHIJKLMNO", 100, 100))
    with pytest.raises(ValueError, match="is not A-Z0-9"):
        str(OrderRef("DU1234567", 1, "aapl", 0, 0))


def test_intents():
    assert intent_id("DU1", 7, "AAPL") == "DU1/7/AAPL"
    assert intent_slice_id("DU1", 7) == "DU1/7"
