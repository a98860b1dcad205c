"""Dividends and splits derived from real prices, against those on record: three years at a time, as the source asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_plane.adjustments import Split, dividends, split
from data_plane.observations import Floats
from tests.data_plane.support import lean_rows
from triplane.cli import price_files

WINDOW = 756
LEAN = "daily/lean/Data/equity/usa"
"""Raw prices, with factors of splits and of dividends by day (both in force up to and with it)."""


@dataclass
class Tally:
    """What is on record, found, wrong, and within 2 % of the amount."""

    paid: int = 0
    found: int = 0
    invented: int = 0
    right: int = 0
    days: int = 0

    def add(self, closes: Floats, adjusted: Floats, paid: dict[int, float]) -> None:
        self.days += len(closes)
        for begin in range(0, len(closes), WINDOW):
            part = slice(begin, begin + WINDOW)
            amounts = {place - begin: amount for place, amount in paid.items() if begin < place < begin + WINDOW}
            certain = dividends(closes[part], adjusted[part]).certain
            known = [each for each in certain if each.place in amounts]
            self.paid += len(amounts)
            self.found += len(known)
            self.invented += len(certain) - len(known)
            self.right += sum(abs(each.amount / amounts[each.place] - 1.0) <= 0.02 for each in known)


PAYERS = ("aaa.1", "aapl", "aig", "bac", "ibm", "spy", "wm")
SPLITTERS = ("aapl", "aig", "bac", "bno", "goog", "ibm", "uso")
Series = tuple[list[date], Floats, Floats, Floats]


@pytest.fixture(scope="module")
def lean(shared_data: Path) -> dict[str, Series]:
    """By name: days, raw closes, and the factors of splits and of dividends that are to be applied to each."""
    return {name: _lean(shared_data / LEAN, name) for name in sorted({*PAYERS, *SPLITTERS, "fb", "googl"})}


def _lean(folder: Path, name: str) -> Series:
    rows = lean_rows(folder / "daily" / f"{name.partition('.')[0]}.zip")
    factors = [line.split(",") for line in (folder / "factor_files" / f"{name}.csv").read_text().split()]
    days = [date(int(row[0][:4]), int(row[0][4:6]), int(row[0][6:8])) for row in rows]
    places = np.searchsorted([row[0] for row in factors], [row[0][:8] for row in rows])
    known = places < len(factors)
    prices, shares = (np.array([float(row[column]) for row in factors])[places[known]] for column in (1, 2))
    closes = np.array([int(row[4]) / 1e4 for row in rows])[known]
    return [day for day, is_known in zip(days, known, strict=True) if is_known], closes, shares, prices


@pytest.mark.parametrize(("digits", "recall", "exact"), [(2, 0.9, 0.97), (4, 0.99, 1.0)])
def test_dividends_of_raw_prices_and_factors(lean: dict[str, Series], digits: int, recall: float, exact: float) -> None:
    """The provider's closes as IB gives them: adjusted for splits, and for dividends, each rounded."""
    tally = Tally()
    for name in PAYERS:
        _, raw, shares, prices = lean[name]
        closes, adjusted = raw * shares, raw * shares * prices
        steps = np.flatnonzero(np.diff(prices)) + 1
        paid = {int(p): float(closes[p - 1] * (1.0 - prices[p - 1] / prices[p])) for p in steps}
        tally.add(np.round(closes, digits), np.round(adjusted, digits), paid)
    assert tally.invented == 0
    assert tally.paid > 460
    assert tally.days > 36_000
    assert tally.found >= recall * tally.paid
    assert tally.right >= exact * tally.found


@pytest.mark.parametrize(("digits", "recall"), [(None, 0.9), (2, 0.5)])
def test_dividends_of_closes_that_were_adjusted_by_yahoo(shared_data: Path, digits: int | None, recall: float) -> None:
    """In half of these files a price is of few cents, or a payment less than one: rounded to cents they hide it."""
    tally = Tally()
    for path in price_files.find(shared_data / "bad_prints"):
        if not ("no-bad" in path.name or "-fixed" in path.name) or "-1d-" not in path.name:
            continue
        series = next(price_files.read(path)).series
        assert series.adjusted is not None
        good = (series.close > 0.0) & (series.adjusted > 0.0)
        closes, adjusted, paid = series.close[good], series.adjusted[good], series.dividends[good]
        if digits is not None:
            closes, adjusted = np.round(closes, digits), np.round(adjusted, digits)
        tally.add(closes, adjusted, {int(place): float(paid[place]) for place in np.flatnonzero(paid > 0.0)})
    assert tally.invented == 0
    assert tally.paid >= 70
    assert tally.found >= recall * tally.paid


def test_splits_of_raw_prices_and_factors(lean: dict[str, Series]) -> None:
    """Ten closes as they were published, beside the same rounded to cents in the shares of the day after."""
    found: dict[tuple[str, date], float] = {}
    on_record: dict[tuple[str, date], float] = {}
    for name in SPLITTERS:
        days, raw, shares, _ = lean[name]
        for place in (np.flatnonzero(np.diff(shares)) + 1).tolist():
            ratio = shares[place] / shares[place - 1]
            on_record[name, days[place]] = ratio
            told = split(raw[place - 10 : place], np.round(raw[place - 10 : place] / ratio, 2))
            assert told is not None
            assert told.place == 10
            if np.isfinite(told.ratio):
                found[name, days[place]] = told.ratio
    # GOOG's 1.0027 of 2015-04-27, a dividend in shares by settlement, is no usual ratio and is left to a person.
    assert on_record.keys() - found.keys() == {("goog", date(2015, 4, 27))}
    assert len(found) == 12
    assert all(ratio == pytest.approx(on_record[key], rel=1e-4) for key, ratio in found.items())


def test_closes_of_another_provider_tell_the_same_split_and_no_other(
    lean: dict[str, Series], shared_data: Path
) -> None:
    """AAPL's 7 for 1; six names that had none, whose closes the two give cents apart on some days."""
    panel = pl.read_parquet(shared_data / "daily/sp500_cnuge_2013_2018.parquet", columns=["symbol", "date", "close"])
    looks = 0
    for name in ("AIG", "BAC", "FB", "GOOG", "GOOGL", "IBM", "AAPL"):
        other = dict(panel.filter(pl.col("symbol") == name).select("date", "close").iter_rows())
        days, raw, _, _ = lean[name.lower()]
        both = [place for place, day in enumerate(days) if day in other]
        closes, theirs = raw[both], np.array([other[days[place]] for place in both])
        for place in range(10, len(both) + 1, 4):
            looks += 1
            told = split(closes[place - 10 : place], theirs[place - 10 : place])
            # The other's closes of 2013 are in shares of 2018, and some in neither.
            if told is not None and np.isfinite(told.ratio):
                assert (name, told.ratio) == ("AAPL", 7.0)
                assert days[both[place - 10]] < date(2014, 6, 9)
    assert looks > 1_700
    before = [place for place, day in enumerate(days) if date(2014, 5, 23) < day < date(2014, 6, 9)]
    assert split(raw[before], np.array([other[days[place]] for place in before])) == Split(len(before), 7.0)
