"""What the log has of each filing, fact by fact: a filing of which a parser once missed a part is completed, not left as it is.

What is missing goes out in a FactSet of its own, `symbol/accession/1` and so on. A value that is on the topic stays, right or wrong, and
what is in quarantine is for a person.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from data_plane.observations import Filing
from data_plane.outputs import QUARANTINE

FACTS = "data.facts"
_PLACE = ("concept", "unit", "start", "end")


class FactsOnLog:
    """Facts by filing, each as its concept, unit, start and end."""

    def __init__(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        self._known: dict[tuple[str, str], set[tuple[Any, ...]]] = defaultdict(set)
        self._sets: Counter[tuple[str, str]] = Counter()
        for topic, record in records:
            self.learn(topic, record)

    def learn(self, topic: str, record: Mapping[str, Any]) -> None:
        """Note a record that is, or is about to be, on a topic."""
        if topic == FACTS:
            filing = (record["symbol"], record["accession"])
            columns = (record[name] for name in ("concepts", "units", "period_start", "period_end"))
            self._known[filing].update(zip(*columns, strict=True))
            self._sets[filing] += 1
        elif topic == QUARANTINE and record["topic"] == FACTS:
            try:
                fields = json.loads(record["raw"])
                self._known[record["symbol"], fields["accession"]].add(tuple(fields[name] for name in _PLACE))
            except (ValueError, KeyError, TypeError):
                return  # a payload that could not be read: no fact of it is known

    def lacking(self, filing: Filing) -> Filing:
        """The filing itself while nothing of it is on the topic; else what it lacks there, as a part of its own."""
        key = (filing.symbol, filing.accession)
        if not self._sets[key]:
            return filing
        known = self._known[key]
        return replace(filing, facts=tuple(f for f in filing.facts if f[:4] not in known), part=self._sets[key])
