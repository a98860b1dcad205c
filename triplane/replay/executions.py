"""What was executed, from the records of order.fills: a correction has the whole new execution, and replaces the one before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from order_plane.ledger.book import split_exec_id

KINDS = frozenset({"execution", "correction", "inferred"})


def executions(fills: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The newest revision of each execution, without those that were taken back whole; `fills` in log order."""
    newest = {split_exec_id(fill["exec_id"])[0]: fill for fill in fills if fill["kind"] in KINDS}
    return [fill for fill in newest.values() if fill["quantity"] > 0.0]
