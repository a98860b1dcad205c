"""SEC's companyfacts documents: the values a company reported, by concept, unit and the filing that carried them.

A document is megabytes, of which some concepts are wanted: the concepts stay bytes until they are, and their rows are decoded into types. A
document in which anything is of another shape is read again value by value, so that only what is wrong is lost.
Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from data_plane.fundamentals.definitions import standard
from data_plane.observations import Fact, Filing, Malformed
from data_plane.point_in_time import filing_available
from data_plane.sources.http import json_object
from triplane.domain.timestamps import midnight

SOURCE_NAME = "edgar"
TOPIC = "data.facts"

_BESIDES = ("dei:EntityCommonStockSharesOutstanding", "us-gaap:CommonStockSharesOutstanding")
"""What the Strategy Plane reads, whatever the ladders say."""


@cache
def concepts() -> tuple[str, ...]:
    """Every taxonomy:Concept that is kept: what the standardised fundamentals are made of. Sorted."""
    return tuple(sorted({*standard().concepts(), *_BESIDES}))


class _Row(msgspec.Struct, gc=False):
    """One value: what was reported, for which period, in which filing."""

    end: str
    val: float
    accn: str
    filed: str
    form: str = ""
    start: str | None = None
    fy: int | None = None
    fp: str | None = None


class _Concept(msgspec.Struct):
    units: dict[str, list[_Row]] = {}


class _Document(msgspec.Struct):
    cik: int | str
    facts: dict[str, dict[str, msgspec.Raw]]


_fields = attrgetter("accn", "start", "end", "val", "fy", "fp")
_UNSEEN: list[Fact] = []
_DOCUMENT = msgspec.json.Decoder(_Document)
_CONCEPT = msgspec.json.Decoder(_Concept)


def parse(
    symbol: str, url: str, body: bytes, acceptance: Mapping[str, str], since: date, now: int
) -> list[Filing | Malformed]:
    """Filings of a document, as `parse_facts` has them. Raises BodyMalformed for a body that is no JSON object, else as that."""
    try:
        return _typed(symbol, body, acceptance, since)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
        return parse_facts(symbol, json_object(SOURCE_NAME, url, body), acceptance, since, now)


def _typed(symbol: str, body: bytes, acceptance: Mapping[str, str], since: date) -> list[Filing | Malformed]:
    """All of a document that is without fault. Raises ValueError (msgspec's are) or OverflowError for any other."""
    document = _DOCUMENT.decode(body)
    heads: dict[str, tuple[_Row, date]] = {}
    facts: dict[str, list[Fact] | None] = {}
    """By accession number; None for a filing that is too old."""
    days = _Days()
    for concept in concepts():
        taxonomy, _, name = concept.partition(":")
        raw = document.facts.get(taxonomy, {}).get(name)
        if raw is None:
            continue
        for unit, entries in sorted(_CONCEPT.decode(raw).units.items()):
            for row in entries:
                accession, start, end, value, year, quarter = _fields(row)
                found = facts.get(accession, _UNSEEN)
                if found is _UNSEEN:
                    filed = date.fromisoformat(row.filed)
                    heads[accession] = (row, filed)
                    found = facts[accession] = [] if filed >= since else None
                if found is not None:
                    begun = days[start] if start else 0
                    found.append(Fact(concept, unit, begun, days[end], value, year or 0, quarter or ""))
    if "" in heads:
        raise ValueError("a row without an accession number")
    cik = int(document.cik)
    filings: list[Filing | Malformed] = []
    for accession, (head, filed) in heads.items():
        found = facts[accession]
        if found is None:
            continue
        accepted = acceptance.get(accession, "")
        filings.append(
            Filing(
                SOURCE_NAME,
                symbol,
                cik,
                accession,
                head.form,
                filed.isoformat(),
                accepted,
                filing_available(filed, accepted),
                tuple(found),
            )
        )
    filings.sort(key=_order)
    return filings


class _Days(dict[str, int]):
    """Days as ns UTC; the same come again and again. Raises ValueError for what is none."""

    def __missing__(self, text: str) -> int:
        day = self[text] = day_ns(text)
        return day


def _order(filing: Filing | Malformed) -> tuple[int, str]:
    assert isinstance(filing, Filing)
    return filing.available_time, filing.accession


@lru_cache(maxsize=16_384)
def day_ns(text: str) -> int:
    """A day as ns UTC; the same days come again and again."""
    return midnight(date.fromisoformat(text))


def _fact(concept: str, unit: str, row: Mapping[str, Any]) -> Fact:
    start = row.get("start")
    return Fact(
        concept,
        unit,
        day_ns(start) if start else 0,
        day_ns(row["end"]),
        float(row["val"]),
        int(row.get("fy") or 0),
        str(row.get("fp") or ""),
    )


def parse_facts(
    symbol: str, document: Mapping[str, Any], acceptance: Mapping[str, str], since: date, now: int
) -> list[Filing | Malformed]:
    """Filings of a companyfacts document filed on or after `since`, in order of availability, each with the facts of `concepts`.

    A row that cannot be read becomes a Malformed (stamped `now`, ns UTC) and leaves the others alone. Raises KeyError or TypeError
    when the document itself has another shape.
    """
    cik = int(document["cik"])
    rows: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = defaultdict(list)
    broken: list[Filing | Malformed] = []

    def malformed(detail: str, raw: object) -> None:
        broken.append(
            Malformed(
                SOURCE_NAME, TOPIC, symbol, "FACT_UNREADABLE", detail, json.dumps(raw, default=repr).encode(), now
            )
        )

    for concept in concepts():
        taxonomy, name = concept.split(":")
        for unit, entries in sorted(document["facts"].get(taxonomy, {}).get(name, {}).get("units", {}).items()):
            for row in entries:
                accession = row.get("accn") if isinstance(row, Mapping) else None
                if not isinstance(accession, str) or not accession:
                    malformed(f"{concept}: a row without an accession number", row)
                else:
                    rows[accession].append((concept, unit, row))
    filings: list[Filing] = []
    for accession, items in sorted(rows.items()):
        head = items[0][2]
        try:
            filed = date.fromisoformat(head["filed"])
            if filed < since:
                continue
            accepted = acceptance.get(accession, "")
            available = filing_available(filed, accepted)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            for _, _, row in items:
                malformed(f"{accession}: filing or acceptance date: {error}", row)
            continue
        facts = []
        for concept, unit, row in items:
            try:
                facts.append(_fact(concept, unit, row))
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                malformed(f"{accession}: {concept}: {type(error).__name__} {error}", row)
        form = str(head.get("form", ""))
        filings.append(
            Filing(SOURCE_NAME, symbol, cik, accession, form, filed.isoformat(), accepted, available, tuple(facts))
        )
    return broken + sorted(filings, key=lambda filing: (filing.available_time, filing.accession))
