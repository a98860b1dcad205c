"""What the log has of each filing, fact by fact: a filing of which a parser once missed a part is completed, not left as it is.

What is missing goes out in a FactSet of its own, `symbol/accession/1` and so on. A value that is on the topic stays, right or wrong, and
what is in quarantine is for a person. What a person let out stands in sets of its own, which are no parts.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from data_plane.observations import Filing
from data_plane.outputs import QUARANTINE
from data_plane.published_facts import RELEASED

FACTS = "data.facts"
_PLACE = ("concept", "unit", "start", "end")


class FactsOnLog:
    """Facts by filing, each as its concept, unit, start and end."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], set[tuple[Any, ...]]] = defaultdict(set)
        self._released: dict[tuple[str, str], set[tuple[Any, ...]]] = defaultdict(set)
        self._parts: dict[tuple[str, str], set[int]] = defaultdict(set)
        """Numbers of a filing's sets; 0 is the one that bears its name alone."""

    def learn(self, topic: str, record: Mapping[str, Any]) -> None:
        """Note a record that is, or is about to be, on a topic."""
        if topic == FACTS:
            filing = (record["symbol"], record["accession"])
            columns = (record[name] for name in ("concepts", "units", "period_start", "period_end"))
            places = set(zip(*columns, strict=True))
            self._known[filing] |= places
            identity: str = record["fact_id"]
            if RELEASED in identity:
                self._released[filing] |= places
            else:
                number = identity.removeprefix(f"{'/'.join(filing)}/")
                self._parts[filing].add(int(number) if number.isdecimal() else 0)
        elif topic == QUARANTINE and record["topic"] == FACTS:
            try:
                fields = json.loads(record["raw"])
                self._known[record["symbol"], fields["accession"]].add(tuple(fields[name] for name in _PLACE))
            except (ValueError, KeyError, TypeError):
                return  # a payload that could not be read: no fact of it is known

    def lacking(self, filing: Filing) -> Filing:
        """The filing itself, but for what people let out, while no set of it is on the topic; else what it lacks, as a part of its own."""
        key = (filing.symbol, filing.accession)
        parts = self._parts.get(key, ())
        known = (self._known if parts else self._released).get(key)
        if not known:
            return filing
        part = next(number for number in itertools.count() if number not in parts)
        return replace(filing, facts=tuple(fact for fact in filing.facts if fact[:4] not in known), part=part)
