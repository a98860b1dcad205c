"""What each standardised fundamental is: its name, unit and meaning, and where its value comes from, read from definitions.toml.

A definition has a ladder of tags, a formula, or both. For each period the first tag that has a value wins, so that a series runs on
when a company changes its tag; the formula is used where the ladder has nothing.
Sources: FASB US GAAP taxonomy and IFRS taxonomy for the concepts, SEC's dei taxonomy for the cover page.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from hashlib import blake2b
from importlib import resources
from typing import Any, NamedTuple

from data_plane.fundamentals.expressions import Dimension, ExpressionError, Node, around, dimension, names, parse

FILE = "definitions.toml"
STATEMENTS = ("income", "balance", "cash_flow", "per_share", "margin", "return", "turnover", "solvency", "growth")

FLOW, AVERAGE, INSTANT, COVER = "flow", "average", "instant", "cover"
KINDS = (FLOW, AVERAGE, INSTANT, COVER)

DIMENSIONS = {
    "money": Dimension(1, 0),
    "shares": Dimension(0, 1),
    "money/shares": Dimension(1, -1),
    "ratio": Dimension(0, 0),
}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TAG = re.compile(r"(-?)([a-z][a-z-]*:[A-Za-z0-9]+)")
_FIELDS = {"name", "statement", "kind", "unit", "meaning", "tags", "formula", "anchor"}


class DefinitionError(ValueError):
    """definitions.toml contradicts itself."""


class Tag(NamedTuple):
    """A concept of a ladder; `sign` is -1 where the taxonomy counts the other way round."""

    concept: str
    sign: int


@dataclass(frozen=True, slots=True)
class Definition:
    """One fundamental.

    `kind`: `flow` adds up over periods; `average` is a mean over one (share counts); `instant` is a balance; `cover` is a balance of the
    filing's cover page, dated after the balance sheet. `unit`: `money` is in the currency in which the company reports.
    """

    name: str
    statement: str
    kind: str
    unit: str
    meaning: str
    tags: tuple[Tag, ...]
    formula: Node | None
    text: str
    """The formula as written, empty without one."""
    anchor: bool
    """Whether its periods make the company's calendar."""

    @property
    def is_instant(self) -> bool:
        """Whether it is a balance and not something over a period."""
        return self.kind in (INSTANT, COVER)


class Definitions(Mapping[str, Definition]):
    """All definitions by name, each after those that its formula needs."""

    def __init__(self, definitions: Mapping[str, Definition]) -> None:
        needs: dict[str, frozenset[str]] = {}
        for definition in definitions.values():
            needs[definition.name] = _checked_names(definition, definitions)
        try:
            order = list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            circle = " -> ".join(error.args[1])
            raise DefinitionError(f"{FILE}: formulas go round in a circle ({circle}); take one of them out") from error
        self._definitions = {name: definitions[name] for name in order}
        for definition in self._definitions.values():
            _check_unit(definition, self._definitions)
        told = [
            (
                each.name,
                each.kind,
                each.unit,
                each.anchor,
                each.text,
                *(f"{tag.sign}{tag.concept}" for tag in each.tags),
            )
            for _, each in sorted(definitions.items())
        ]
        self.digest = blake2b(repr(told).encode(), digest_size=8).hexdigest()
        """Of all that decides a value: the same definitions, in any order, have the same."""

    def __getitem__(self, name: str) -> Definition:
        return self._definitions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._definitions)

    def __len__(self) -> int:
        return len(self._definitions)

    def concepts(self) -> tuple[str, ...]:
        """Every taxonomy:Concept of a ladder, sorted: what a parser of filings must keep."""
        return tuple(sorted({tag.concept for definition in self.values() for tag in definition.tags}))


def load(text: str) -> Definitions:
    """Definitions from the text of a definitions.toml. Raises DefinitionError with the entry at fault."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError(f"{FILE}: {error}; mend the file") from error
    found: dict[str, Definition] = {}
    for entry in document.get("fundamental", []):
        definition = _definition(entry)
        if definition.name in found:
            raise DefinitionError(f"{FILE}: {definition.name} is defined twice; keep one")
        found[definition.name] = definition
    return Definitions(found)


@cache
def standard() -> Definitions:
    """The definitions that the package ships."""
    return load(resources.files("data_plane.fundamentals").joinpath(FILE).read_text(encoding="utf-8"))


def _definition(entry: Mapping[str, Any]) -> Definition:
    name = str(entry.get("name", ""))

    def wrong(what: str) -> DefinitionError:
        return DefinitionError(f"{FILE}: {name or entry!r}: {what}")

    if not _NAME.fullmatch(name):
        raise wrong("a name has small letters, digits and underscores; give it one")
    unknown = sorted(set(entry) - _FIELDS)
    if unknown:
        raise wrong(f"unknown field {unknown[0]!r}; there are {', '.join(sorted(_FIELDS))}")
    for field, choices in (("statement", STATEMENTS), ("kind", KINDS), ("unit", tuple(DIMENSIONS))):
        if entry.get(field) not in choices:
            raise wrong(f"{field} {entry.get(field)!r} must be one of {', '.join(choices)}")
    if not str(entry.get("meaning", "")).strip():
        raise wrong("has no meaning; say in a line what it is")
    tags = tuple(_tag(tag, wrong_name=name) for tag in entry.get("tags", ()))
    if len({tag.concept for tag in tags}) < len(tags):
        raise wrong("names a tag twice; keep the first")
    text = str(entry.get("formula", ""))
    if not tags and not text:
        raise wrong("has neither tags nor a formula; give it one")
    if tags and entry["unit"] == "ratio":
        raise wrong("is a ratio with tags, which do not add up over periods; give it a formula instead")
    try:
        formula = parse(text) if text else None
    except ExpressionError as error:
        raise wrong(str(error)) from error
    return Definition(
        name,
        str(entry["statement"]),
        str(entry["kind"]),
        str(entry["unit"]),
        str(entry["meaning"]),
        tags,
        formula,
        text,
        bool(entry.get("anchor", False)),
    )


def _tag(text: object, *, wrong_name: str) -> Tag:
    match = _TAG.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise DefinitionError(
            f"{FILE}: {wrong_name}: tag {text!r} must be taxonomy:Concept, with a minus before it to turn its sign"
        )
    return Tag(match[2], -1 if match[1] else 1)


def _checked_names(definition: Definition, definitions: Mapping[str, Definition]) -> frozenset[str]:
    if definition.formula is None:
        return frozenset()
    used = names(definition.formula)
    for name in sorted(used):
        other = definitions.get(name)
        if other is None:
            raise DefinitionError(
                f"{FILE}: {definition.name}: its formula names {name}, which is not defined; define it"
            )
        if definition.is_instant and not other.is_instant:
            raise DefinitionError(
                f"{FILE}: {definition.name} is a balance and its formula needs {name}, which is over a period; make it a flow"
            )
    for name in sorted(around(definition.formula)):
        if definition.is_instant or not definitions[name].is_instant:
            raise DefinitionError(
                f"{FILE}: {definition.name}: opening and average take a balance around a period, and {name} is none or has none; take them out"
            )
    return used


def _check_unit(definition: Definition, definitions: Mapping[str, Definition]) -> None:
    if definition.formula is None:
        return
    dimensions = {name: DIMENSIONS[other.unit] for name, other in definitions.items()}
    try:
        found = dimension(definition.formula, dimensions)
    except ExpressionError as error:
        raise DefinitionError(f"{FILE}: {definition.name}: {error}") from error
    if found != DIMENSIONS[definition.unit]:
        raise DefinitionError(
            f"{FILE}: {definition.name} is said to be in {definition.unit} and its formula gives money^{found.money} shares^{found.shares}; mend one"
        )
