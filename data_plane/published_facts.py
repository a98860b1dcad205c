"""Which facts of each filing are on data.facts: what may be counted on, fact by fact, in a few bytes each.

A filing that is on the topic need not be there whole: a gate took a fact out, or an older release kept fewer concepts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from data_plane.observations import Fact, Filing, Ints

COLUMNS = ("concepts", "units", "period_start", "period_end", "values")
RELEASED = "+"
"""Between the identity of a filing or a vintage and the digest of what was let out of quarantine later."""
_Key = tuple[str, str]


def _marks(rows: Iterable[Sequence[Any]]) -> Ints:
    """A number a fact: the hash of its concept, unit, period and value, which is the same for two that differ once in 2^64.

    The value as text: -1 and -2 have one hash as numbers.
    """
    return np.fromiter((_mark(row) for row in rows), dtype=np.int64)


def _mark(row: Sequence[Any]) -> int:
    return hash((*row[:4], repr(row[4])))


class PublishedFacts:
    """Facts by (symbol, accession number). What a person let out is kept apart: it is known from then on, and not with its filing."""

    def __init__(self) -> None:
        self._marks: dict[_Key, Ints] = {}
        self._released: dict[str, dict[str, Filing]] = {}

    def learn(self, record: Mapping[str, Any]) -> None:
        """Note a FactSet that is, or is about to be, on the topic."""
        if RELEASED in record["fact_id"]:
            self._released.setdefault(record["symbol"], {})[record["fact_id"]] = _filing(record)
            return
        key, marks = (record["symbol"], record["accession"]), _marks(zip(*(record[c] for c in COLUMNS), strict=True))
        before = self._marks.get(key)
        self._marks[key] = marks if before is None else np.union1d(before, marks)

    def forget(self, record: Mapping[str, Any]) -> None:
        """A FactSet did not reach its topic after all."""
        self._released.get(record["symbol"], {}).pop(record["fact_id"], None)
        if RELEASED not in record["fact_id"]:
            self._marks.pop((record["symbol"], record["accession"]), None)

    def only_published(self, filing: Filing) -> Filing:
        """The filing with those of its facts that are on the topic."""
        marks = self._marks.get((filing.symbol, filing.accession))
        if marks is None:
            return replace(filing, facts=())
        there = np.isin(_marks(fact[:5] for fact in filing.facts), marks)
        if there.all():
            return filing
        return replace(filing, facts=tuple(fact for fact, known in zip(filing.facts, there, strict=True) if known))

    def has(self, symbol: str, accession: str, fact: Fact) -> bool:
        """Whether a fact of a filing is on the topic with this value; what a person let out counts as taken out of it."""
        marks = self._marks.get((symbol, accession))
        return marks is not None and bool((marks == _mark(fact)).any())

    def released(self, symbol: str) -> list[Filing]:
        """What people let out of quarantine of a name, each as a filing that is available from then on, in the order of identities."""
        return [filing for _, filing in sorted(self._released.get(symbol, {}).items())]


def _filing(record: Mapping[str, Any]) -> Filing:
    rows = zip(*(record[c] for c in (*COLUMNS, "fiscal_year", "fiscal_period")), strict=True)
    return Filing(
        record["source"],
        record["symbol"],
        record["cik"],
        record["fact_id"],
        record["form"],
        record["filed"],
        record["acceptance"],
        record["available_time"],
        tuple(Fact(*row) for row in rows),
    )
