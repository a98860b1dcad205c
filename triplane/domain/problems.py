"""A problem in a file that a person edits: where it is, what stands there, and what would be allowed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic.fields import FieldInfo

_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_KINDS: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with one place of an edited file. `line` counts from 1; 0 means the whole file."""

    file: str
    line: int
    parameter: str
    value: str
    allowed: str

    def __str__(self) -> str:
        where = f"{self.file} line {self.line}" if self.line else self.file
        what = f"{self.parameter} = {self.value}" if self.parameter and self.value else self.parameter or self.value
        return f"{where}: {what}: {self.allowed}" if what else f"{where}: {self.allowed}"


def undecodable(file: str, data: bytes, error: UnicodeDecodeError) -> Problem:
    """What is wrong with a file that is no UTF-8, by the line of its first such byte."""
    line, wrong = data.count(b"\n", 0, error.start) + 1, data[error.start]
    return Problem(file, line, "", "", f"holds the byte 0x{wrong:02x}, which is not UTF-8; save the file as UTF-8")


class ProblemsError(ValueError):
    """Everything wrong with an edit, in file order; `problems` has the parts, the text has one line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the known name closest to `name`, or nothing when none is close."""
    candidates = {candidate.upper(): candidate for candidate in known}
    found = get_close_matches(name.upper(), sorted(candidates), n=1, cutoff=0.6)
    return f"; did you mean {candidates[found[0]]}?" if found else ""


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The words that a field of type Literal takes, or nothing for another type."""
    return tuple(str(choice) for choice in get_args(field.annotation))


def bounds(field: FieldInfo) -> str:
    """The range of a field in words: `> 0 and <= 1`, `a | b`, a pattern, or nothing when every value of its type is allowed."""
    if choices(field):
        return " | ".join(choices(field))
    parts: list[str] = []
    for item in field.metadata:
        for bound, sign in _SIGNS.items():
            limit: Any = getattr(item, bound, None)
            if limit is not None:
                parts.append(f"{sign} {limit:.10g}")
        if getattr(item, "pattern", None) is not None:
            parts.append(f"matching {item.pattern}")
    return " and ".join(parts)


def allowed(field: FieldInfo, value: str = "") -> str:
    """What a field takes, as a sentence's end; for a word close to an allowed one, that one too."""
    words = choices(field)
    if words:
        return f"allowed is one of {', '.join(words)}{nearest(value, words)}"
    return f"allowed is {_KINDS.get(field.annotation, 'a value')} {bounds(field)}".rstrip()
