"""Real daily closes of 20 large US companies, 1990-2022, from the data set that the PyPI package skfolio ships.

The closes are adjusted for splits and dividends, so they are not on the tick grid. Only the packaged file is read: importing
skfolio itself would pull in scikit-learn and cvxpy. Nothing is downloaded.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

DATA_FILE: Final = "skfolio/datasets/data/sp500_dataset.csv.gz"


class PricesError(RuntimeError):
    """The closes are absent, damaged, or do not cover what was asked for."""


@dataclass(frozen=True, slots=True)
class Closes:
    """Adjusted closes in USD: `values` has shape (days, names), `ordinals` are proleptic ordinals of the days, increasing."""

    symbols: tuple[str, ...]
    ordinals: NDArray[np.int64]
    values: NDArray[np.float64]

    def row(self, day: date) -> int:
        """Row of `day`. A day without closes raises PricesError."""
        place = int(self.ordinals.searchsorted(day.toordinal()))
        if place == len(self.ordinals) or int(self.ordinals[place]) != day.toordinal():
            first, last = date.fromordinal(int(self.ordinals[0])), date.fromordinal(int(self.ordinals[-1]))
            raise PricesError(f"no closes of {day}; choose sessions between {first} and {last}")
        return place

    def day(self, row: int) -> date:
        """The day of a row."""
        return date.fromordinal(int(self.ordinals[row]))


@lru_cache(maxsize=1)
def load_closes() -> Closes:
    """The packaged closes, names in file order. Raises PricesError when the package or its file is missing or damaged."""
    return parse(packaged_text("skfolio", DATA_FILE))


def packaged_text(package: str, file: str) -> str:
    """Text of a gzip file of an installed package, which is not imported. Raises PricesError when either is missing or damaged."""
    try:
        path = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError:
        raise PricesError(
            f"the package {package}, which ships the closes, is not installed; install triplane[demo]"
        ) from None
    try:
        return gzip.decompress(path.read_bytes()).decode("ascii")
    except (OSError, EOFError, ValueError) as error:
        raise PricesError(f"{path} cannot be read ({error}); reinstall the package {package}") from None


def parse(text: str) -> Closes:
    """Closes from CSV text: header `Date,<symbols>`, one ISO date a row. Bad rows raise PricesError with their line."""
    header, *lines = text.splitlines()
    symbols = tuple(header.split(",")[1:])
    ordinals = np.empty(len(lines), dtype=np.int64)
    values = np.empty((len(lines), len(symbols)))
    for i, line in enumerate(lines):
        day, *cells = line.split(",")
        try:
            ordinals[i] = date.fromisoformat(day).toordinal()
            values[i] = np.asarray(cells, dtype=np.float64)
        except ValueError as error:
            raise PricesError(
                f"line {i + 2} of the closes is damaged ({error}); reinstall the package skfolio"
            ) from None
    if not symbols or len(lines) < 2 or not np.all(np.diff(ordinals) > 0) or not np.all(values > 0):
        raise PricesError("the closes are not dated in order with positive prices; reinstall the package skfolio")
    ordinals.flags.writeable = False
    values.flags.writeable = False
    return Closes(symbols, ordinals, values)
