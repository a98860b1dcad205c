"""Daily bars of what the simulated market does not quote: the fund and the futures of the S&P 500, a currency, a coin.

Nothing of them is traded here; a plane that watches them asks for their days. One bar a session of the instrument's own calendar, and only
of sessions that are over: without a path within the day, the running one's bar would be the future. Other bar sizes have no data. A
duration in days counts sessions of the calendar back from its end, of an expired contract as well: who wants its last days names an end.

- **SPY**: a tenth of the real index, on its tick, with the index's volume. Dividends are not simulated, so ADJUSTED_LAST is the same.
- **MES, ES**: the real index times exp(CARRY * years to the expiry), on their tick, from LISTED before the expiry to its day, where the
  basis is nil (cost of carry: Hull, Options, Futures, and Other Derivatives, ch. 5). So two contracts of a day differ, and a roll has a
  step. The rate is one constant and simulated. A session of the exchange on which New York is closed (Thanksgiving) has no bar: the index
  says nothing of it, and a bar repeated from the day before would be a frozen price.
- **EUR.USD, BTC.USD**: simulated, with no real price in them: a geometric walk without drift of a plausible volatility, which meets a
  plausible level on ANCHOR. All days of it are drawn at once, from the gateway's seed and the name, so that what a day was does not
  depend on what is asked. Each session opens where the last one closed; its extremes are those of a Brownian bridge.

A currency has midpoints and neither volume nor trades (-1 on the wire), a coin aggregated trades.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triplane.domain import calendars
from triplane.domain.assets import Asset
from triplane.paper.market.history import RequestError, Row, check_size, no_data, parse_end, span
from triplane.paper.market.index import Daily, Floats, frozen, load_index
from triplane.paper.market.path import on_grid
from triplane.paper.market.prices import PricesError

INDEX_FUNDS: Final[Mapping[str, float]] = {"SPY": 0.1}
"""Price of a share in index points."""
INDEX_FUTURES: Final = frozenset({"MES", "ES"})
CARRY: Final = 0.015
"""Interest less dividends, a year, continuously compounded."""
LISTED: Final = timedelta(days=456)
"""How long a contract trades before it expires, about fifteen months."""
YEAR_DAYS: Final = 365.25
INDEX_LOT: Final = 2_000
"""Shares of the exchange's volume for one future in the contract that expires next."""
ROLL_DECAY: Final = 10.0
"""A contract's volume falls with exp(-ROLL_DECAY * years to its expiry)."""
TRADE_SIZE: Final = 100
ANCHOR: Final = date(2018, 1, 2)
_CLASS_SHOWS: Final[Mapping[str, frozenset[str]]] = {
    "STK": frozenset({"TRADES", "ADJUSTED_LAST"}),
    "FUT": frozenset({"TRADES"}),
    "CASH": frozenset({"MIDPOINT"}),
    "CRYPTO": frozenset({"AGGTRADES"}),
}


class Walk(NamedTuple):
    """A simulated price: `level` on ANCHOR, `volatility` of a year (fraction), its first day, and its volume of a usual day (0: unknown)."""

    level: float
    volatility: float
    first: date
    volume: float


WALKS: Final[Mapping[str, Walk]] = {
    "EUR.USD": Walk(1.2, 0.08, date(1999, 1, 4), 0.0),
    "BTC.USD": Walk(10_000.0, 0.7, date(2012, 1, 1), 10_000.0),
}


class Watched:
    """Bars by request, one series for each instrument, made at first use."""

    def __init__(self, seed: int) -> None:
        """`seed` is the gateway's; the walks depend on it, the index does not."""
        self._seed = seed
        self._series: dict[tuple[str, str], Daily] = {}

    def bars(self, asset: Asset, what: str, size: str, duration: str, end: str, now: int) -> list[Row]:
        """Complete daily bars of an asset in the `duration` that ends at `end` (empty: now), oldest first; nothing after `now` (ns UTC).

        For a future `asset` is the contract, with its own expiry. Raises RequestError: 321 for a bar size, duration, end or whatToShow that
        cannot be answered, 162 for the trades of a currency and where there is no data.
        """
        check_size(size)
        if size != "1 day":
            raise no_data()
        shows = _CLASS_SHOWS[asset.sec_type]
        if asset.sec_type == "CASH" and what in _CLASS_SHOWS["STK"]:
            # IB's words: https://github.com/ib-ruby/ib-ruby/pull/50
            name = f"{asset.broker_symbol}/CASH@{asset.exchange}"
            raise RequestError(
                162, f"Historical Market Data Service error message:No historical market data for {name} Last 1d"
            )
        if what not in shows:
            raise RequestError(
                321, f"Error validating request: only complete bars of {' and '.join(sorted(shows))} are simulated"
            )
        stop = min(parse_end(end), now) if end else now
        _, days = span(duration, size, stop, asset.calendar, complete=True)
        series = self._daily(asset)
        found = np.isin(series.ordinals, np.array([day.toordinal() for day in days], dtype=np.int64))
        if not found.any():
            raise no_data()
        return _rows(series, found, asset.calendar)

    def _daily(self, asset: Asset) -> Daily:
        key = (asset.symbol, asset.expiry)
        if key not in self._series:
            self._series[key] = frozen(self._made(asset))
        return self._series[key]

    def _made(self, asset: Asset) -> Daily:
        if asset.symbol in WALKS and asset.sec_type in ("CASH", "CRYPTO"):
            return _walk(asset, WALKS[asset.symbol], self._seed)
        try:
            if asset.symbol in INDEX_FUNDS and asset.sec_type == "STK":
                index = load_index()
                return _scaled(index, np.full(len(index.ordinals), INDEX_FUNDS[asset.symbol]), asset.min_tick)
            if asset.symbol in INDEX_FUTURES and asset.sec_type == "FUT":
                return _future(load_index(), asset)
        except PricesError as error:
            raise RequestError(162, f"Historical Market Data Service error message:{error}") from None
        raise no_data()


def last_trade(asset: Asset) -> date:
    """The day of a future's last trade."""
    return datetime.strptime(asset.expiry[:8], "%Y%m%d").date()  # noqa: DTZ007 - a day


def _scaled(bars: Daily, factor: Floats, tick: float) -> Daily:
    """Prices times `factor` (days,), on the tick; rounding keeps their order, so a sound bar stays one."""
    return Daily(bars.ordinals.copy(), on_grid(bars.prices * factor, np.asarray(tick)), bars.volume.copy())


def _future(index: Daily, asset: Asset) -> Daily:
    expiry = last_trade(asset)
    days_left = expiry.toordinal() - index.ordinals
    listed = (days_left >= 0) & (days_left <= LISTED.days)
    years = days_left[listed] / YEAR_DAYS
    volume = np.rint(index.volume[listed] / INDEX_LOT * np.exp(-ROLL_DECAY * years))
    raw = Daily(index.ordinals[listed], index.prices[:, listed], np.maximum(volume, 1.0).astype(np.int64))
    return _scaled(raw, np.exp(CARRY * years), asset.min_tick)


def _walk(asset: Asset, walk: Walk, seed: int) -> Daily:
    """All sessions of a simulated price to the end of the calendar's table."""
    days = calendars.table(asset.calendar).ordinals
    ordinals = days[days >= walk.first.toordinal()]
    anchor = int(ordinals.searchsorted(ANCHOR.toordinal()))
    per_year = YEAR_DAYS * anchor / (ANCHOR - walk.first).days
    sd = walk.volatility / np.sqrt(per_year)
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, zlib.crc32(asset.symbol.encode())])))
    # A row a day, so that a longer table of sessions leaves the earlier days as they are.
    normal = rng.standard_normal((len(ordinals) + 1, 6))
    log_close = np.cumsum(sd * normal[:, 0])
    log_close += np.log(walk.level) - log_close[anchor + 1]
    start, stop = log_close[:-1], log_close[1:]
    # Half the sum of two squares of normals is exponential.
    top, bottom = (np.sqrt((start - stop) ** 2 + sd**2 * (normal[1:, k] ** 2 + normal[1:, k + 1] ** 2)) for k in (2, 4))
    log_prices = np.stack((start, (start + stop + top) / 2, (start + stop - bottom) / 2, stop))
    prices = np.maximum(on_grid(np.exp(log_prices), np.asarray(asset.min_tick)), asset.min_tick)
    volume = np.full(len(ordinals), -1, dtype=np.int64)
    if walk.volume:
        volume = np.maximum(np.rint(walk.volume * np.exp(0.5 * normal[1:, 1])), 1.0).astype(np.int64)
    return Daily(ordinals.copy(), prices, volume)


def _rows(bars: Daily, found: NDArray[np.bool_], calendar: str) -> list[Row]:
    """The bars of `found` (days,) as history gives them."""
    columns = (bars.ordinals[found], *bars.prices[:, found], bars.volume[found])
    rows = []
    for ordinal, open_, high, low, close, volume in zip(*(column.tolist() for column in columns), strict=True):
        day = date.fromordinal(ordinal)
        mean = round((open_ + high + low + close) / 4, 4)
        wap, count = (-1.0, -1) if volume < 0 else (mean, -(-volume // TRADE_SIZE))
        rows.append(Row(calendars.session_open(calendar, day), day, open_, high, low, close, volume, wap, count))
    return rows
