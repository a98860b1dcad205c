"""Filings for tests of fundamentals: from real companyfacts files, and made up."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from data_plane.fundamentals.definitions import Definitions, load
from data_plane.fundamentals.evaluation import Basis, Missing, Value
from data_plane.fundamentals.periods import Period
from data_plane.fundamentals.shares import Split
from data_plane.fundamentals.statements import Fundamentals
from data_plane.observations import Fact, Filing
from data_plane.point_in_time import filing_available
from data_plane.sources.edgar.source import Submissions
from triplane.domain.timestamps import from_datetime

AMD, KMB, PG, AAPL, APH, TSLA, SNOW, GOOGL, LPA = (
    "CIK0000002488",
    "CIK0000055785",
    "CIK0000080424",
    "CIK0000320193",
    "CIK0000820313",
    "CIK0001318605",
    "CIK0001640147",
    "CIK0001652044.vintage-2024-08",
    "CIK0001997711",
)
FULL = (AMD, KMB, PG, AAPL, APH, TSLA, SNOW, GOOGL, LPA)


@cache
def day(text: str) -> int:
    """Midnight UTC of a date, ns."""
    stamp = date.fromisoformat(text)
    return from_datetime(datetime(stamp.year, stamp.month, stamp.day, tzinfo=UTC))


def document(path: Path) -> dict[str, Any]:
    """A gzipped JSON document."""
    loaded: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return loaded


def acceptance(folder: Path, cik: int) -> dict[str, str]:
    """Acceptance times that the stored submissions files have; older filings have none there."""
    submissions = Submissions()
    for path in sorted(folder.glob(f"CIK{cik:010d}*.json.gz")):
        content = document(path)
        submissions.add(content["filings"]["recent"] if "filings" in content else content)
    return submissions.acceptance


def filings_of(
    content: dict[str, Any], accepted: dict[str, str], concepts: Iterable[str] | None = None
) -> list[Filing]:
    """Every filing of a companyfacts document, in order of availability, with all its facts or those of `concepts`."""
    wanted = None if concepts is None else set(concepts)
    heads: dict[str, dict[str, Any]] = {}
    facts: dict[str, list[Fact]] = defaultdict(list)
    for taxonomy, table in content["facts"].items():
        for name, entry in table.items():
            concept = f"{taxonomy}:{name}"
            if wanted is not None and concept not in wanted:
                continue
            for unit, rows in entry["units"].items():
                for row in rows:
                    heads.setdefault(row["accn"], row)
                    start = day(row["start"]) if row.get("start") else 0
                    facts[row["accn"]].append(
                        Fact(
                            concept,
                            unit,
                            start,
                            day(row["end"]),
                            float(row["val"]),
                            row.get("fy") or 0,
                            row.get("fp") or "",
                        )
                    )
    filings = []
    for accession, row in heads.items():
        stamp = accepted.get(accession, "")
        available = filing_available(date.fromisoformat(row["filed"]), stamp)
        filings.append(
            Filing(
                "edgar",
                "X",
                int(content.get("cik", 0)),
                accession,
                row["form"],
                row["filed"],
                stamp,
                available,
                tuple(facts[accession]),
            )
        )
    return sorted(filings, key=lambda filing: (filing.available_time, filing.accession))


@cache
def real(shared: Path, name: str) -> tuple[Filing, ...]:
    """Filings of a full companyfacts file."""
    content = document(shared / "sec" / "companyfacts" / f"{name}.json.gz")
    return tuple(filings_of(content, acceptance(shared / "sec" / "submissions", int(content["cik"]))))


def filing(
    accession: str, available: str, form: str, facts: Iterable[tuple[str, str, str, str, float]], cik: int = 1
) -> Filing:
    """A made-up filing available at midnight of a date; facts are (concept, unit, start or "", end, value)."""
    made = tuple(
        Fact(
            concept if ":" in concept else f"us-gaap:{concept}",
            unit,
            day(start) if start else 0,
            day(end),
            value,
            0,
            "",
        )
        for concept, unit, start, end, value in facts
    )
    return Filing("edgar", "X", cik, accession, form, available, "", day(available), made)


@cache
def subset(shared: Path, ticker: str) -> tuple[Filing, ...]:
    """Filings of a file with a score of core concepts; these hold no CIK and no acceptance times."""
    return tuple(filings_of(document(shared / "sec" / "companyfacts_subset91" / f"{ticker}.json.gz"), {}))


# -- made-up companies -----------------------------------------------------------------------------------------------------------
Row = tuple[str, str, str, str, float]


def usd(concept: str, start: str, end: str, value: float) -> Row:
    """A fact in USD."""
    return (concept, "USD", start, end, value)


def company(
    *filings: Filing, definitions: Definitions | None = None, splits: Sequence[Split] | None = None
) -> Fundamentals:
    """A company that has taken these filings."""
    fundamentals = Fundamentals(definitions, splits)
    for item in filings:
        fundamentals.take(item)
    return fundamentals


def value(fundamentals: Fundamentals, time: str, name: str, basis: Basis) -> Value:
    """A value that must be there."""
    found = fundamentals.at(day(time)).value(name, basis)
    assert isinstance(found, Value), found
    return found


def missing(fundamentals: Fundamentals, time: str, name: str, basis: Basis) -> Missing:
    """A reason that must be there."""
    found = fundamentals.at(day(time)).value(name, basis)
    assert isinstance(found, Missing), found
    return found


def numbers(fundamentals: Fundamentals, time: str, name: str, basis: Basis, count: int) -> list[float | None]:
    """Values of a series."""
    return [item.value if item else None for item in fundamentals.at(day(time)).series(name, basis, count)]


QUARTERS = (("01-01", "03-31"), ("04-01", "06-30"), ("07-01", "09-30"), ("10-01", "12-31"))
FILED = ("05-01", "08-01", "11-01")


def cumulative(year: int, totals: Sequence[float], concept: str = "NetIncomeLoss") -> list[Filing]:
    """Three 10-Q and a 10-K of a calendar year, each with the year to date alone: it takes as many as `totals` has."""
    made = []
    for place, total in enumerate(totals):
        accession = f"{year}-{place + 1}"
        row = usd(concept, f"{year}-01-01", f"{year}-{QUARTERS[place][1]}", total)
        filed = f"{year}-{FILED[place]}" if place < 3 else f"{year + 1}-02-15"
        made.append(filing(accession, filed, "10-Q" if place < 3 else "10-K", [row]))
    return made


def period(start: str, end: str) -> Period:
    """A period between two dates."""
    return Period(day(start), day(end))


def define(*entries: tuple[str, str, str, str]) -> Definitions:
    """income (flow, anchor), assets (balance, anchor), debt, and (name, kind, unit, formula)."""
    text = ""
    for name, kind, *concepts in (
        ("income", "flow", "NetIncomeLoss", "Profit"),
        ("assets", "instant", "Assets"),
        ("debt", "instant", "Debt"),
        ("sales", "flow", "Sales"),
    ):
        anchor = "anchor = true\n" if name in ("income", "assets") else ""
        tags = [f"us-gaap:{concept}" for concept in concepts]
        text += f'[[fundamental]]\nname="{name}"\nstatement="income"\nkind="{kind}"\nunit="money"\nmeaning="m"\ntags={tags}\n{anchor}'
    for name, kind, unit, formula in entries:
        text += f'[[fundamental]]\nname="{name}"\nstatement="income"\nkind="{kind}"\nunit="{unit}"\nmeaning="m"\nformula="{formula}"\n'
    return load(text)
