"""Fundamentals for the log: after each filing what was then known of its company, made of facts that passed the gates.

A source hands in the filings of one company after another, all of them whenever one is new. So no more than one company's facts are
held: those of three thousand would be many gigabytes. Of what is handed in only what is on data.facts counts, so that a record is the
same whenever it is made: now, after a restart, or at a later look.
"""

from __future__ import annotations

from typing import Any

from data_plane.fundamentals.definitions import Definitions, standard
from data_plane.fundamentals.evaluation import Basis
from data_plane.fundamentals.statements import Fundamentals, Snapshot
from data_plane.observations import Filing
from data_plane.outputs import Output
from data_plane.published_facts import PublishedFacts

TOPIC = "data.fundamentals"


class FundamentalsAfterFilings:
    """State: the filings of the company at hand, as they were handed in."""

    def __init__(self, published: PublishedFacts, definitions: Definitions | None = None) -> None:
        self._definitions = standard() if definitions is None else definitions
        self._published = published
        self._company = ("", 0)
        self._filings: dict[str, Filing] = {}
        """By accession number."""
        self._fundamentals: Fundamentals | None = None
        """Has taken the first `_taken` of them, and what was let out of quarantine by then."""
        self._taken = 0
        self._released = 0

    def hand_in(self, filing: Filing) -> None:
        """A filing, judged or known: what of it passed is on data.facts, or about to be."""
        company = (filing.symbol, filing.cik)
        if company != self._company or filing.accession in self._filings:
            # Another company, or another look at this one: what is known of its filings may be more now.
            again = company == self._company
            self._company, self._fundamentals, self._taken = company, None, 0
            self._filings = {key: each for key, each in self._filings.items() if again and key != filing.accession}
        self._filings[filing.accession] = filing

    def after(self, filing: Filing, config_hash: str) -> list[Output]:
        """The record of what was known of the company at the availability of a filing that was handed in; none when nothing can be made."""
        if (filing.symbol, filing.cik) != self._company or filing.accession not in self._filings:
            return []
        released = [each for each in self._published.released(filing.symbol) if each.cik == filing.cik]
        if self._fundamentals is None or len(released) != self._released:
            self._fundamentals, self._taken, self._released = Fundamentals(self._definitions), 0, len(released)
            for each in released:
                self._fundamentals.take(each)
        for each in list(self._filings.values())[self._taken :]:
            self._fundamentals.take(self._published.only_published(each))
        self._taken = len(self._filings)
        snapshot = self._fundamentals.as_of(filing.available_time)
        record = fundamental_set(filing, snapshot, self._definitions, config_hash)
        return [Output(TOPIC, record, filing.source, 0)] if record["names"] else []


def fundamental_id(filing: Filing) -> str:
    """Identity of a filing's fundamentals on data.fundamentals."""
    return f"{filing.symbol}/{filing.accession}"


def fundamental_set(filing: Filing, snapshot: Snapshot, definitions: Definitions, config_hash: str) -> dict[str, Any]:
    """A FundamentalSet: quarter, twelve months, year and balance sheet in that order, names in alphabetical."""
    found = [value for basis in Basis for _, value in sorted(snapshot.values[basis].items())]
    return {
        "event_time": max((value.end for value in found), default=0),
        "available_time": filing.available_time,
        "source": filing.source,
        "fundamental_id": fundamental_id(filing),
        "symbol": filing.symbol,
        "accession": filing.accession,
        "form": filing.form,
        "currency": snapshot.currency,
        "names": [value.name for value in found],
        "bases": [value.basis.value for value in found],
        "values": [value.value for value in found],
        "units": [value.unit for value in found],
        "period_start": [value.start for value in found],
        "period_end": [value.end for value in found],
        "definitions": definitions.digest,
        "config_hash": config_hash,
    }
