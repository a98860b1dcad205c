"""SEC's frames against what is on record: facts that a frame has of a filing, and the topic has not.

A frame and companyfacts are two accounts of the same filings, made apart from each other. Where they differ, one of them or who read it is
wrong; which, a person finds out. So the finding is told and nothing is mended: a frame has the value that was filed last, and not when it
could be known (law L3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from data_plane.gates.schema import Fault
from data_plane.observations import Fact, FramedFact

FACT_LACKING: Final = "FACT_LACKING"
FACT_DIFFERS: Final = "FACT_DIFFERS"
CODES: Final = (FACT_LACKING, FACT_DIFFERS)


def faults(
    rows: Sequence[FramedFact], known: Callable[[str, Fact], bool], on_record: Callable[[Fact], float | None]
) -> list[tuple[FramedFact, Fault]]:
    """Rows of one name that contradict the record, each with why.

    `known` tells whether a filing's fact (accession number, fact) was published or taken out by a gate with that very value, `on_record`
    what the newest filing said of its period.
    """
    found = []
    for row in rows:
        if known(row.accession, row.fact):
            continue
        says = f"{row.frame} has {row.fact.value:g} from {row.accession}"
        value = on_record(row.fact)
        if value is not None and value != row.fact.value:
            found.append((row, Fault(FACT_DIFFERS, f"{says}, and data.facts {value:g} for that period")))
        else:
            found.append((row, Fault(FACT_LACKING, f"{says}, which data.facts has not of that filing")))
    return found
