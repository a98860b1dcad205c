"""The value of a fundamental in one period, as known at one time: by its ladder of tags, else by its formula over other fundamentals."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from data_plane.fundamentals.definitions import Definition, Definitions
from data_plane.fundamentals.expressions import AROUND, Binary, Call, Name, Negative, Node, Number, names
from data_plane.fundamentals.periods import DAY_NS, Period
from data_plane.fundamentals.reported import Reported


class Basis(StrEnum):
    """Over what a value is: a fiscal quarter, twelve months, a fiscal year, or the instant of a balance sheet."""

    QUARTER = "quarter"
    TTM = "ttm"
    YEAR = "year"
    INSTANT = "instant"


class Context(NamedTuple):
    """One period to evaluate in; `period` of an instant has start 0. Both days inclusive, ns UTC."""

    basis: Basis
    period: Period


class Value(NamedTuple):
    """One fundamental in one period.

    `value` is in `unit` (a currency code, shares, a currency a share, or pure), per-share amounts and share counts on the share basis
    of the time asked. `start` is 0 for a balance. `available` is when the newest part could be known, ns UTC. `source` is the tag (tags
    joined by " + ") or the formula; `how` says reported, which periods were put together, or formula.
    """

    name: str
    basis: Basis
    value: float
    unit: str
    start: int
    end: int
    available: int
    source: str
    how: str


class Missing(NamedTuple):
    """Why there is no value: `code` is NOT_REPORTED, NEEDS, DIVISION_BY_ZERO, NO_PERIOD or STALE."""

    code: str
    detail: str


class _Part(NamedTuple):
    value: float
    available: int


class _DivisionByZeroError(ArithmeticError):
    pass


class Evaluation:
    """Values of all definitions on what was reported. Every answer is kept, so that formulas share their parts."""

    def __init__(self, reported: Reported, definitions: Definitions) -> None:
        self.reported = reported
        self._definitions = definitions
        self._values: dict[tuple[str, Context], Value | Missing] = {}

    def value(self, name: str, context: Context) -> Value | Missing:
        """A fundamental in a period; a balance in a period that is no instant is the one at its end. Raises KeyError for no definition."""
        definition = self._definitions[name]
        if definition.is_instant and context.period.start:
            context = self.at(context, context.period.end)
        key = (name, context)
        found = self._values.get(key)
        if found is None:
            found = self._values[key] = self._find(definition, context)
        return found

    def at(self, context: Context, end: int) -> Context:
        """The balance sheet on a day; the basis stays, so that a year's balance is told as the year's."""
        return Context(context.basis, Period(0, self.reported.balance_date(end)))

    def before(self, context: Context, steps: int, *, years: bool) -> Context | None:
        """The context `steps` periods earlier: of its own kind, or with `years` whole years; None when the calendar has a gap.

        A balance goes back by quarters, or by years where no quarters are reported.
        """
        calendar = self.reported.calendar
        end = self._calendar_end(context.period.end)
        if context.basis is Basis.YEAR or (
            years and context.basis is not Basis.QUARTER and end in calendar.year_ending
        ):
            place = calendar.year_ending.get(end)
            place = None if place is None else calendar.year_before(place, steps)
            return None if place is None else self._like(context, calendar.years[place])
        place = calendar.slot_ending.get(end)
        if place is None and context.basis is Basis.INSTANT and end in calendar.year_ending:
            return self.before(context, steps, years=True)
        quarters = steps * 4 if years or context.basis is Basis.TTM else steps
        place = None if place is None else calendar.quarter_before(place, quarters)
        if place is None:
            return None
        if context.basis is Basis.TTM and context.period.start:
            trailing = calendar.trailing(calendar.slots[place].period.end)
            return None if trailing is None else self._like(context, trailing.period)
        return self._like(context, calendar.slots[place].period)

    def _like(self, context: Context, period: Period) -> Context:
        return Context(context.basis, period) if context.period.start else self.at(context, period.end)

    def _calendar_end(self, end: int) -> int:
        """The period end that a balance date belongs to."""
        calendar = self.reported.calendar
        if end in calendar.slot_ending or end in calendar.year_ending:
            return end
        for known in (*calendar.slot_ending, *calendar.year_ending):
            if self.reported.balance_date(known) == end:
                return known
        return end

    def _find(self, definition: Definition, context: Context) -> Value | Missing:
        basis, period = context
        if not definition.is_instant and period.start == 0:
            return Missing(
                "NO_PERIOD", f"{definition.name} is over a period and not at an instant; ask for a quarter, ttm or year"
            )
        reported = self.reported
        calendar = reported.calendar
        if definition.is_instant:
            reading = reported.instant(definition, period.end)
        elif basis is Basis.QUARTER:
            reading = reported.quarter(definition, calendar.slots[calendar.slot_ending[period.end]])
        else:
            trailing = calendar.trailing(period.end)
            reading = None if trailing is None else reported.trailing(definition, trailing)
        unit = reported.unit(definition)
        if reading is not None:
            return Value(
                definition.name,
                basis,
                reading.value,
                unit,
                period.start,
                period.end,
                reading.available,
                reading.tag,
                reading.how,
            )
        if definition.formula is None:
            return Missing("NOT_REPORTED", "no tag of its ladder has a value for the period")
        try:
            part = self._evaluate(definition.formula, context)
        except _DivisionByZeroError:
            return Missing("DIVISION_BY_ZERO", f"{definition.text}: what it divides by is zero")
        if part is None:
            lacking = sorted(
                name for name in names(definition.formula) if isinstance(self.value(name, context), Missing)
            )
            return Missing("NEEDS", ", ".join(lacking) or "an earlier period")
        return Value(
            definition.name,
            basis,
            part.value,
            unit,
            period.start,
            period.end,
            part.available,
            definition.text,
            "formula",
        )

    def _evaluate(self, node: Node, context: Context) -> _Part | None:
        match node:
            case Number(value):
                return _Part(value, 0)
            case Name(name):
                found = self.value(name, context)
                return _Part(found.value, found.available) if isinstance(found, Value) else None
            case Negative(operand):
                part = self._evaluate(operand, context)
                return None if part is None else _Part(-part.value, part.available)
            case Binary(operator, left, right):
                one, other = self._evaluate(left, context), self._evaluate(right, context)
                return None if one is None or other is None else _binary(operator, one, other)
            case Call():
                return self._call(node, context)

    def _call(self, node: Call, context: Context) -> _Part | None:
        if node.function in AROUND:
            return self._around(node, context)
        if node.function in ("lag", "year_ago"):
            earlier = self.before(context, node.steps or 1, years=node.function == "year_ago")
            return None if earlier is None else self._evaluate(node.arguments[0], earlier)
        parts = [self._evaluate(argument, context) for argument in node.arguments]
        present = [part for part in parts if part is not None]
        if node.function == "first":
            return present[0] if present else None
        if not present or (node.function in ("max", "min") and len(present) < len(parts)):
            return None
        values = [part.value for part in present]
        combined = sum(values) if node.function == "sum" else max(values) if node.function == "max" else min(values)
        return _Part(combined, max(part.available for part in present))

    def _around(self, node: Call, context: Context) -> _Part | None:
        """A balance before the first day of the period, alone or averaged with that at its end."""
        opening = self._evaluate(node.arguments[0], self.at(context, context.period.start - DAY_NS))
        if node.function == "opening" or opening is None:
            return opening
        closing = self._evaluate(node.arguments[0], self.at(context, context.period.end))
        if closing is None:
            return None
        return _Part((opening.value + closing.value) / 2, max(opening.available, closing.available))


def _binary(operator: str, left: _Part, right: _Part) -> _Part:
    available = max(left.available, right.available)
    if operator == "+":
        return _Part(left.value + right.value, available)
    if operator == "-":
        return _Part(left.value - right.value, available)
    if operator == "*":
        return _Part(left.value * right.value, available)
    if right.value == 0:
        raise _DivisionByZeroError
    return _Part(left.value / right.value, available)
