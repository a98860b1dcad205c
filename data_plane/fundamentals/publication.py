"""Fundamentals for the log: after each filing what was then known of its company, made of facts that passed the gates.

A source hands in the filings of one company after another, all of them whenever one is new. So no more than one company's facts are
held: those of three thousand would be many gigabytes. What a filing's facts were is taken from what it publishes or, where it stands on
the log already, from the filing less the facts that were quarantined.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from data_plane.fundamentals.definitions import Definitions, standard
from data_plane.fundamentals.evaluation import Basis
from data_plane.fundamentals.statements import Fundamentals, Snapshot
from data_plane.observations import Fact, Filing
from data_plane.outputs import QUARANTINE, Output

TOPIC = "data.fundamentals"
FACTS = "data.facts"

_Barred = tuple[str, str, str, str, int, int]
"""Symbol, accession, concept, unit, start and end of a fact that a gate refused."""


class FundamentalsAfterFilings:
    """State: the filings of the company at hand, and which facts are not to be counted."""

    def __init__(self, definitions: Definitions | None = None) -> None:
        self._definitions = standard() if definitions is None else definitions
        self._symbol = ""
        self._filings: dict[str, Filing] = {}
        """Of one company, good facts only, by accession number."""
        self._fundamentals: Fundamentals | None = None
        """Has taken all of them but those that came since it was last asked."""
        self._taken = 0
        self._barred: set[_Barred] = set()

    def remember(self, quarantined: Mapping[str, Any]) -> None:
        """Take over a quarantined record of an earlier run, or of this one."""
        if quarantined["topic"] != FACTS:
            return
        try:
            fields = json.loads(quarantined["raw"])
            place = (str(fields["accession"]), str(fields["concept"]), str(fields["unit"]))
            self._barred.add((quarantined["symbol"], *place, int(fields["start"]), int(fields["end"])))
        except (ValueError, KeyError, TypeError):
            return  # a payload that could not be read: nothing of it is a fact

    def known(self, filing: Filing) -> None:
        """A filing whose facts are on the log already."""
        if not self._barred:
            self._take(filing)
            return
        barred, key = self._barred, (filing.symbol, filing.accession)
        facts = tuple(fact for fact in filing.facts if (*key, *fact[:4]) not in barred)
        self._take(filing if len(facts) == len(filing.facts) else replace(filing, facts=facts))

    def judged(self, filing: Filing, outputs: Sequence[Output]) -> None:
        """A filing and what the gates made of it."""
        for output in outputs:
            if output.topic == QUARANTINE:
                self.remember(output.record)
            elif output.topic == FACTS:
                record = output.record
                columns = ("concepts", "units", "period_start", "period_end", "values", "fiscal_year", "fiscal_period")
                rows = zip(*(record[column] for column in columns), strict=True)
                self._take(replace(filing, facts=tuple(Fact(*row) for row in rows)))

    def _take(self, filing: Filing) -> None:
        if filing.symbol != self._symbol:
            self._symbol, self._filings = filing.symbol, {}
            self._fundamentals, self._taken = None, 0
        if filing.accession in self._filings:  # judged anew: what is known of it may be more now
            self._fundamentals, self._taken = None, 0
            del self._filings[filing.accession]
        self._filings[filing.accession] = filing

    def after(self, filing: Filing, config_hash: str) -> list[Output]:
        """The record of what was known of the company at the filing's availability; none when nothing could be made of it."""
        taken = self._filings.get(filing.accession)
        if taken is None or filing.symbol != self._symbol:
            return []
        if self._fundamentals is None:
            self._fundamentals = Fundamentals(self._definitions)
        for other in list(self._filings.values())[self._taken :]:
            if other.cik == taken.cik:
                self._fundamentals.take(other)
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
