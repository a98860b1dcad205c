"""Real daily bars of the S&P 500 index, 1999-2018, from the data set that the PyPI package arch ships.

Only the packaged file is read: importing arch would pull in statsmodels. Nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from triplane.paper.market.prices import PricesError, packaged_text

DATA_FILE: Final = "arch/data/sp500/sp500.csv.gz"
HEADER: Final = "Date,Open,High,Low,Close,Adj Close,Volume"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Daily:
    """Daily bars of one instrument: `ordinals` (days,) are proleptic ordinals of its sessions, increasing; `prices` (4, days) are open, high,
    low and close in its own currency or in index points; `volume` (days,) is in shares, contracts or coins, -1 where nobody counts it.
    """

    ordinals: Ints
    prices: Floats
    volume: Ints


@lru_cache(maxsize=1)
def load_index() -> Daily:
    """The packaged bars, one a session of the New York Stock Exchange; the volume is that of the exchange. Raises PricesError when the
    package or its file is missing or damaged.
    """
    return parse(packaged_text("arch", DATA_FILE))


def parse(text: str) -> Daily:
    """Bars from CSV text: HEADER, then rows with dates as month/day/year. Bad rows raise PricesError with their line."""
    header, *lines = text.splitlines() or [""]
    ordinals = np.empty(len(lines), dtype=np.int64)
    values = np.empty((len(lines), 6))
    for i, line in enumerate(lines):
        day, *cells = line.split(",")
        try:
            month, dom, year = day.split("/")
            ordinals[i] = date(int(year), int(month), int(dom)).toordinal()
            values[i] = np.asarray(cells, dtype=np.float64)
        except ValueError as error:
            raise PricesError(f"line {i + 2} of the index is damaged ({error}); reinstall the package arch") from None
    opens, high, low, close, _, volume = values.T
    sound = np.all((low > 0) & (low <= np.minimum(opens, close)) & (high >= np.maximum(opens, close)) & (volume > 0))
    if header != HEADER or not lines or not np.all(np.diff(ordinals) > 0) or not sound:
        raise PricesError("the index has not sound bars dated in order; reinstall the package arch")
    return frozen(Daily(ordinals, values.T[:4].copy(), volume.astype(np.int64)))


def frozen(bars: Daily) -> Daily:
    """Bars that nobody can change by accident; the arrays become its own."""
    for array in (bars.ordinals, bars.prices, bars.volume):
        array.flags.writeable = False
    return bars
