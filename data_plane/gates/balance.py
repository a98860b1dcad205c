"""Balance sheets that do not balance: the identities of a filing's own totals, by unit and date.

    assets = liabilities and equity                          two totals of one sheet, equal to the last digit
    liabilities + equity <= assets                           what is between (redeemable shares and interests) is not negative
    liabilities + equity + what is between = assets          where a filing tells all of it; it often does not
    equity <= assets                                         for filings of which only these two are taken

Which of the facts is wrong, their history tells: the one that would be what the name reported for this date before, or near its last value,
were it what the others imply, and as reported is far off. Where no one stands out, all facts of an identity that cannot hold are taken out,
and none of one that may hold with something that was not told.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from data_plane.gates.schema import Fault
from data_plane.observations import Fact

UNBALANCED = "FACT_UNBALANCED"

FAR: Final = math.log(2.0)
NEARER: Final = 0.25
"""A fact stands out that is off its last value by a factor of two, and would be off by a quarter of that (in logs) as implied."""


class _Tags(NamedTuple):
    assets: str
    both: str
    liabilities: str
    equity: str
    equity_of_all: str
    minority: str


_TAXONOMIES: Final = (
    _Tags(
        "us-gaap:Assets",
        "us-gaap:LiabilitiesAndStockholdersEquity",
        "us-gaap:Liabilities",
        "us-gaap:StockholdersEquity",
        "us-gaap:StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest",
        "us-gaap:MinorityInterest",
    ),
    _Tags(
        "ifrs-full:Assets",
        "ifrs-full:EquityAndLiabilities",
        "ifrs-full:Liabilities",
        "ifrs-full:EquityAttributableToOwnersOfParent",
        "ifrs-full:Equity",
        "ifrs-full:NoncontrollingInterests",
    ),
)
_BETWEEN: Final = (
    "us-gaap:TemporaryEquityCarryingAmountAttributableToParent",
    "us-gaap:TemporaryEquityCarryingAmountIncludingPortionAttributableToNoncontrollingInterests",
    "us-gaap:RedeemableNoncontrollingInterestEquityCarryingAmount",
)
_CONCEPTS: Final = frozenset(_BETWEEN).union(*_TAXONOMIES)

History = Callable[[Fact], tuple[float, float]]
"""(what was reported for the same period before, the concept's last value), NaN where there is none."""


class _Identity(NamedTuple):
    """sum of coefficient * value may not be above 0 (`over`), may not be below it (`under`); `certain` when nothing untold could make it hold."""

    terms: tuple[tuple[str, float], ...]
    over: bool = True
    under: bool = False
    certain: bool = True


def faults(facts: Sequence[Fact], history: History, tolerance: float) -> dict[int, Fault]:
    """Faults by place of the facts of one filing that do not balance; `tolerance` is a fraction of assets."""
    sheets: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for place, fact in enumerate(facts):
        if fact.start == 0 and fact.concept in _CONCEPTS:
            sheets[fact.unit, fact.end][fact.concept] = place
    found: dict[int, Fault] = {}
    for sheet in sheets.values():
        for tags in _TAXONOMIES:
            if tags.assets in sheet:
                _judge(facts, sheet, tags, history, tolerance, found)
    return found


def _identities(sheet: Mapping[str, int], tags: _Tags) -> Iterator[_Identity]:
    """The identities of which a sheet has all facts."""
    if tags.both in sheet:
        yield _Identity(((tags.assets, -1.0), (tags.both, 1.0)), under=True)
    own = [(tags.equity, 1.0), *([(tags.minority, 1.0)] if tags.minority in sheet else [])]
    equity = [(tags.equity_of_all, 1.0)] if tags.equity_of_all in sheet else own
    if equity[0][0] not in sheet:
        return
    yield _Identity(((tags.assets, -1.0), equity[0]))
    if tags.liabilities in sheet:
        terms = ((tags.assets, -1.0), (tags.liabilities, 1.0), *equity)
        yield _Identity(terms)
        between = tuple((tag, 1.0) for tag in _BETWEEN if tag in sheet)
        # What is between may stand in the equity of all as well: only too little is a fault.
        yield _Identity(terms + between, over=False, under=True, certain=False)


def _judge(
    facts: Sequence[Fact],
    sheet: dict[str, int],
    tags: _Tags,
    history: History,
    tolerance: float,
    found: dict[int, Fault],
) -> None:
    for identity in _identities(dict(sheet), tags):
        if any(concept not in sheet for concept, _ in identity.terms):
            continue  # taken out by an identity before
        values = {concept: facts[sheet[concept]].value for concept, _ in identity.terms}
        excess = sum(sign * values[concept] for concept, sign in identity.terms)
        allowed = tolerance * max(abs(value) for value in values.values())
        if not (identity.over and excess > allowed) and not (identity.under and excess < -allowed):
            continue
        bound = not identity.under
        suspects = [
            concept
            for concept, sign in identity.terms
            if _stands_out(
                facts[sheet[concept]], values[concept] - sign * excess, sign if bound else 0.0, history, allowed
            )
        ]
        if len(suspects) != 1:
            if not identity.certain:
                continue
            suspects = [concept for concept, _ in identity.terms]
        listed = ", ".join(f"{concept.partition(':')[2]} {value:g}" for concept, value in values.items())
        relation = "do not add up" if identity.under else "leave less than nothing"
        for concept in suspects:
            found[sheet.pop(concept)] = Fault(UNBALANCED, f"{listed} {relation}, by {abs(excess):g}")


def _stands_out(fact: Fact, implied: float, side: float, history: History, allowed: float) -> bool:
    """Whether `implied`, or with a `side` (1 or -1) anything up or down to it, fits a fact's history as its value does not."""
    before, last = history(fact)
    fits = side * (before - implied) <= allowed if side else abs(before - implied) <= allowed
    if fits and abs(fact.value - before) > allowed:
        return True
    if last == 0.0 or math.isnan(last) or fact.value / last <= 0.0:
        return False
    if side and side * (last - implied) <= allowed:
        implied = last
    if implied / last <= 0.0:
        return False
    off = abs(math.log(fact.value / last))
    return off >= FAR and abs(math.log(implied / last)) <= NEARER * off
