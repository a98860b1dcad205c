"""FRED-MD: the code of each of its series, and its monthly files.

A file has a line of names, a line `Transform:` with the codes, then a line a month, its date as month/day/year; empty cells are missing.
Source: https://www.stlouisfed.org/research/economists/mccracken/fred-databases; McCracken and Ng (2016), appendix.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from types import MappingProxyType

import numpy as np

from data_plane.observations import Floats

HEADING, CODES_LINE = "sasdate", "Transform:"


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One monthly file: n months, k series."""

    dates: tuple[date, ...]
    """First day of each month, ascending."""
    names: tuple[str, ...]
    codes: tuple[int, ...]
    levels: Floats
    """(n, k) before any transformation; NaN where the file has nothing."""


@functools.cache
def codes() -> Mapping[str, int]:
    """Transformation code by series, of every series in the vintages that the table's heading names.

    A name that ends in x is FRED-MD's own splice or adjustment and no series of FRED.
    """
    text = (resources.files("data_plane.macro") / "fred_md_codes.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return MappingProxyType({row["series"]: int(row["code"]) for row in rows})


def parse(text: str) -> Panel:
    """A monthly file. Raises ValueError, naming the line, when it is none."""
    lines = list(csv.reader(io.StringIO(text)))
    if len(lines) < 2 or lines[0][:1] != [HEADING] or lines[1][:1] != [CODES_LINE]:
        raise ValueError(
            f"no FRED-MD file: it must begin with {HEADING!r} and {CODES_LINE!r}; pass a monthly file as downloaded"
        )
    names = tuple(lines[0][1:])
    dates: list[date] = []
    levels: list[list[float]] = []
    try:
        marks = tuple(int(cell) for cell in lines[1][1:])
    except ValueError as error:
        raise ValueError(f"line 2 of a FRED-MD file holds codes: {error}; pass a monthly file as downloaded") from None
    for number, cells in enumerate(lines[2:], start=3):
        if not any(cells):  # the files end in lines of commas
            continue
        try:
            month, day, year = (int(part) for part in cells[0].split("/"))
            dates.append(date(year, month, day))
            values = [float(cell) if cell else np.nan for cell in cells[1:]]
        except ValueError as error:
            raise ValueError(
                f"line {number} of a FRED-MD file cannot be read: {error}; pass a file as downloaded"
            ) from None
        if len(values) != len(names):
            raise ValueError(
                f"line {number} has {len(values)} values for {len(names)} series; the file is cut, load it again"
            )
        levels.append(values)
    if len(marks) != len(names):
        raise ValueError(f"{len(marks)} codes for {len(names)} series; the file is cut, load it again")
    return Panel(tuple(dates), names, marks, np.array(levels, dtype=np.float64).reshape(len(dates), len(names)))
