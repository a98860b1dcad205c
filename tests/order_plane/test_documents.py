"""docs/orders.md carries the tables of the code, and names every event kind and code of differences."""

from __future__ import annotations

from pathlib import Path

from order_plane.codes import Code
from order_plane.ledger.folding import Fold
from order_plane.ledger.order_state import MEANING, errors_markdown, table_markdown
from order_plane.ledger.owed import DECIDED

TEXT = (Path(__file__).parents[2] / "docs" / "orders.md").read_text(encoding="utf-8")


def test_tables_are_those_of_the_code():
    assert table_markdown() in TEXT, "docs/orders.md is stale: put order_state.table_markdown() in"
    assert errors_markdown() in TEXT, "docs/orders.md is stale: put order_state.errors_markdown() in"
    assert all(meaning in TEXT for meaning in MEANING.values())


def test_every_event_kind_is_described():
    kinds = set(Fold("DU1", simulated=True).kinds) | DECIDED | {"clock", "kill_requested", "rearm_requested"}
    events = TEXT[TEXT.index("## Events") : TEXT.index("## Reconciliation")]
    for kind in sorted(kinds):
        assert kind in events, kind


def test_codes_are_their_own_names_and_sentences():
    for code in Code:
        assert code.value == code.name
        assert code.meaning.endswith(".")
        assert str(code) == code.name
