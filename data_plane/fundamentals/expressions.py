"""Formulas of fundamentals: a small language of names, numbers, + - * / and a few functions, parsed into a tree. Nothing is evaluated
as Python.

    sum       = product (("+" | "-") product)*
    product   = factor (("*" | "/") factor)*
    factor    = "-" factor | number | name | name "(" sum ("," sum)* ")" | "(" sum ")"

Functions:
    opening(x)    x at the day before the period starts
    average(x)    mean of x at the start and at the end of the period
    lag(x, n)     x of the n-th period before, of the same kind
    year_ago(x)   x of the same period a year before
    sum(a, b, ..) of those that have a value; at least one must
    first(a, ..)  the first that has a value
    max(a, b)     the greater; min(a, b) the smaller
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class ExpressionError(ValueError):
    """A formula that cannot be read or whose units do not fit."""


class Dimension(NamedTuple):
    """Powers of money and of shares; both 0 for a ratio."""

    money: int = 0
    shares: int = 0

    def times(self, other: Dimension, sign: int = 1) -> Dimension:
        """Of a product, or with sign -1 of a quotient."""
        return Dimension(self.money + sign * other.money, self.shares + sign * other.shares)


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Name:
    """Another fundamental."""

    name: str


@dataclass(frozen=True, slots=True)
class Binary:
    """`operator` is one of + - * /."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Negative:
    """The negative of a value."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the language; `steps` is the number in lag."""

    function: str
    arguments: tuple[Node, ...]
    steps: int = 0


Node = Number | Name | Binary | Negative | Call

# Least and most arguments, most None without limit.
FUNCTIONS: Mapping[str, tuple[int, int | None]] = {
    "opening": (1, 1),
    "average": (1, 1),
    "lag": (2, 2),
    "year_ago": (1, 1),
    "sum": (1, None),
    "first": (1, None),
    "max": (2, 2),
    "min": (2, 2),
}
# What asks for the balance before a period.
AROUND = ("opening", "average")

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[a-z_][a-z0-9_]*)|(?P<sign>[-+*/(),]))")


def parse(text: str) -> Node:
    """The tree of a formula. Raises ExpressionError with the place of what does not fit."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._place = 0

    def whole(self) -> Node:
        node = self._sum()
        if self._peek():
            raise self._error("an operator or the end")
        return node

    def _peek(self) -> str:
        return self._tokens[self._place][1] if self._place < len(self._tokens) else ""

    def _next(self) -> tuple[str, str]:
        if self._place == len(self._tokens):
            raise self._error("a name or a number")
        self._place += 1
        return self._tokens[self._place - 1]

    def _error(self, wanted: str) -> ExpressionError:
        found = repr(self._peek()) if self._peek() else "the end"
        return ExpressionError(f"formula {self._text!r}: {found} where {wanted} is expected; mend the formula")

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            raise self._error(repr(sign))
        self._place += 1

    def _sum(self) -> Node:
        node = self._product()
        while self._peek() in ("+", "-"):
            node = Binary(self._next()[1], node, self._product())
        return node

    def _product(self) -> Node:
        node = self._factor()
        while self._peek() in ("*", "/"):
            node = Binary(self._next()[1], node, self._factor())
        return node

    def _factor(self) -> Node:
        if self._peek() == "-":
            self._place += 1
            return Negative(self._factor())
        if self._peek() == "(":
            self._place += 1
            node = self._sum()
            self._expect(")")
            return node
        kind, token = self._next()
        if kind == "number":
            return Number(float(token))
        if kind == "name":
            return self._call(token) if self._peek() == "(" else Name(token)
        self._place -= 1
        raise self._error("a name or a number")

    def _call(self, function: str) -> Node:
        limits = FUNCTIONS.get(function)
        if limits is None:
            raise ExpressionError(
                f"formula {self._text!r}: no function {function!r}; there are {', '.join(sorted(FUNCTIONS))}"
            )
        self._expect("(")
        arguments = [self._sum()]
        while self._peek() == ",":
            self._place += 1
            arguments.append(self._sum())
        self._expect(")")
        least, most = limits
        if len(arguments) < least or (most is not None and len(arguments) > most):
            raise ExpressionError(f"formula {self._text!r}: {function} does not take {len(arguments)} arguments")
        if function != "lag":
            return Call(function, tuple(arguments))
        steps = arguments.pop()
        if not isinstance(steps, Number) or steps.value < 1 or steps.value != int(steps.value):
            raise ExpressionError(f"formula {self._text!r}: the second argument of lag must be a whole number from 1")
        return Call(function, tuple(arguments), int(steps.value))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise ExpressionError(
                f"formula {text!r}: {text[place:].strip()[0]!r} is no part of the language; mend the formula"
            )
        yield match.lastgroup, match[match.lastgroup]
        place = match.end()


def names(node: Node) -> frozenset[str]:
    """Names that a formula uses."""
    match node:
        case Name(name):
            return frozenset((name,))
        case Binary(_, left, right):
            return names(left) | names(right)
        case Negative(operand):
            return names(operand)
        case Call(_, arguments, _):
            return frozenset().union(*(names(argument) for argument in arguments))
    return frozenset()


def around(node: Node) -> frozenset[str]:
    """Names of which a formula asks for the balance before the period."""
    match node:
        case Call(function, arguments, _):
            inner = [names(argument) if function in AROUND else around(argument) for argument in arguments]
            return frozenset().union(*inner)
        case Binary(_, left, right):
            return around(left) | around(right)
        case Negative(operand):
            return around(operand)
    return frozenset()


def dimension(node: Node, dimensions: Mapping[str, Dimension]) -> Dimension:
    """Dimension of a formula's value. Raises ExpressionError where unlike things are added or compared."""
    match node:
        case Name(name):
            return dimensions[name]
        case Binary("+" | "-", left, right):
            return _same([dimension(left, dimensions), dimension(right, dimensions)])
        case Binary(operator, left, right):
            return dimension(left, dimensions).times(dimension(right, dimensions), 1 if operator == "*" else -1)
        case Negative(operand):
            return dimension(operand, dimensions)
        case Call(_, arguments, _):
            return _same([dimension(argument, dimensions) for argument in arguments])
    return Dimension()


def _same(found: list[Dimension]) -> Dimension:
    if len(set(found)) > 1:
        raise ExpressionError("amounts of different units are added or compared; bring them to one unit")
    return found[0]
