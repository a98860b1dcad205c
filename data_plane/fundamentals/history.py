"""Every value that one company's filings gave to a fact, in the order in which the world could know them.

A value is usable from the acceptance of the filing that carries it. A later filing (a restatement, an amendment, or a comparative
column) replaces it from its own acceptance on, and not before. Nothing is forgotten: what was known at any earlier time can be asked.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from data_plane.fundamentals.periods import Period
from data_plane.observations import Filing


class HistoryError(ValueError):
    """A filing does not belong into this history."""


class Version(NamedTuple):
    """A value as one filing gave it. Versions sort by availability; filings of one instant by accession number."""

    available: int
    accession: str
    value: float


class Key(NamedTuple):
    """A fact without its value: `concept` is taxonomy:Concept, `period` its own dates."""

    concept: str
    unit: str
    period: Period


class FiledAt(NamedTuple):
    """A filing: when it became available (ns UTC), its accession number and form."""

    available: int
    accession: str
    form: str


class FactHistory:
    """The facts of one company. Filings may arrive in any order and more than once; the answers are the same."""

    def __init__(self) -> None:
        self.cik = 0
        self.filings: list[FiledAt] = []
        """In order of availability."""
        self.facts = 0
        """Versions held."""
        self._known: set[FiledAt] = set()
        self._forms: dict[str, str] = {}
        self._periods: dict[tuple[str, str], dict[Period, list[Version]]] = {}
        self._units: dict[str, list[str]] = {}

    def take(self, filing: Filing) -> int:
        """Add a filing's facts and return how many versions were new. Values that are no finite number are left out.

        Raises HistoryError for a filing of another company.
        """
        if self.cik and filing.cik != self.cik:
            raise HistoryError(
                f"filing {filing.accession} is of CIK {filing.cik} and this history of CIK {self.cik}; keep one history a company"
            )
        self.cik = filing.cik
        filed = FiledAt(filing.available_time, filing.accession, filing.form)
        if filed not in self._known:
            self._known.add(filed)
            insort(self.filings, filed)
            self._forms[filing.accession] = filing.form
        added = 0
        isfinite, available, accession = math.isfinite, filing.available_time, filing.accession
        tables = self._periods
        for concept, unit, start, end, value, _, _ in filing.facts:
            if not isfinite(value):
                continue
            table = tables.get((concept, unit))
            if table is None:
                table = tables[(concept, unit)] = {}
                insort(self._units.setdefault(concept, []), unit)
            version = Version(available, accession, value)
            period = Period(start, end)
            versions = table.get(period)
            if versions is None:
                table[period] = [version]
            elif version > versions[-1]:
                versions.append(version)
            elif version not in versions:
                insort(versions, version)
            else:
                continue
            added += 1
        self.facts += added
        return added

    def units(self, concept: str) -> list[str]:
        """Units in which a concept was reported."""
        return self._units.get(concept, [])

    def versions(self, key: Key) -> list[Version]:
        """All versions of a fact, in order of availability; empty when it was never reported."""
        return self._periods.get((key.concept, key.unit), {}).get(key.period, [])

    def periods(self, concept: str, unit: str) -> Mapping[Period, list[Version]]:
        """Versions of a concept by period."""
        return self._periods.get((concept, unit), {})

    def tables(self) -> Iterator[tuple[str, str, Mapping[Period, list[Version]]]]:
        """(concept, unit, versions by period) of everything."""
        for (concept, unit), table in self._periods.items():
            yield concept, unit, table

    def form(self, accession: str) -> str:
        """The form of a filing, such as 10-K/A."""
        return self._forms[accession]

    def known_filings(self, time: int) -> int:
        """How many filings were available at `time` (ns UTC)."""
        return bisect_right(self.filings, time, key=lambda filed: filed.available)

    def as_of(self, key: Key, time: int) -> Version | None:
        """The value known at `time`, under the first filing of those that gave it without another in between; None when unknown."""
        known = known_versions(self.versions(key), time)
        return known[-1] if known else None


def known_versions(versions: list[Version], time: int) -> list[Version]:
    """Versions available at `time`, without those that only repeat the one before."""
    known: list[Version] = []
    for version in versions:
        if version.available > time:
            break
        if not known or version.value != known[-1].value:
            known.append(version)
    return known
