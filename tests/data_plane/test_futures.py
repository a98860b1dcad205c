"""Rolls of futures chains: the rule, the series, and real ES contracts against the adjustments that QuantConnect's Lean ships."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.futures import FutureContract, Held, continuous, first_notice, last_held, schedule
from triplane.domain import calendars

ES = "intraday/lean/Data/future/cme"


def contract(month: str, last_trade: date, trading_class: str = "ES") -> FutureContract:
    return FutureContract(int(month), f"{trading_class}{month}", trading_class, month, last_trade)


CHAIN = (
    contract("201312", date(2013, 12, 20)),
    contract("201403", date(2014, 3, 21)),
    contract("201406", date(2014, 6, 20)),
    contract("201409", date(2014, 9, 19)),
)


def test_a_contract_is_left_days_before_its_last_trade_or_its_notice() -> None:
    assert last_held(CHAIN[0], 3, "CMES") == date(2013, 12, 17)
    assert last_held(CHAIN[0], 0, "CMES") == date(2013, 12, 20)
    gold = contract("201402", date(2014, 2, 26), "GC")
    assert first_notice(gold, "CMES") == date(2014, 1, 31)
    assert last_held(gold, 2, "CMES") == date(2014, 1, 29)
    assert first_notice(CHAIN[0], "CMES") is None
    new_year = contract("201401", date(2014, 1, 1))  # a holiday: the session before it counts
    assert last_held(new_year, 0, "CMES") == date(2013, 12, 31)


@pytest.mark.parametrize(
    ("trading_class", "month", "notice"),
    [
        # Globex has a session on Memorial Day, the exchange's offices have none.
        ("GC", "202106", date(2021, 5, 28)),
        ("GC", "201006", date(2010, 5, 28)),
        # As a broker lists them for 2026.
        ("GC", "202606", date(2026, 5, 29)),
        ("SI", "202605", date(2026, 4, 30)),
        ("PL", "202601", date(2025, 12, 31)),
        ("PL", "202604", date(2026, 3, 31)),
        ("PA", "202603", date(2026, 2, 27)),
        ("ZO", "202603", date(2026, 2, 27)),
        ("KE", "202609", date(2026, 8, 31)),
        ("LE", "201304", date(2013, 4, 8)),
        ("LE", "202602", date(2026, 2, 9)),
        ("CL", "202602", None),
        ("6E", "202603", None),
        ("MES", "202603", None),
    ],
)
def test_notices_begin_when_the_exchange_says(trading_class: str, month: str, notice: date | None) -> None:
    last_trade = date(int(month[:4]), int(month[4:]), 28)
    assert first_notice(contract(month, last_trade, trading_class), "CMES") == notice


def test_a_holiday_on_which_globex_trades_is_no_day_to_get_out_on() -> None:
    # Friday the 28th is the day of notice, Thursday and Wednesday come before it; and of an index that ends after the holiday as well.
    assert last_held(contract("202106", date(2021, 6, 28), "GC"), 2, "CMES") == date(2021, 5, 26)
    assert last_held(contract("202106", date(2021, 6, 1)), 1, "CMES") == date(2021, 5, 28)
    assert calendars.is_session("CMES", date(2021, 5, 31))


def test_a_class_of_which_nothing_is_known_is_refused() -> None:
    with pytest.raises(ValueError, match="trading class KC begin is not known"):
        schedule([contract("202603", date(2026, 3, 19), "KC")], 2, "CMES", date(2026, 1, 5))


def test_a_schedule_has_no_gap_and_begins_with_the_first_contract_that_is_still_held() -> None:
    held = schedule(tuple(reversed(CHAIN)), 3, "CMES", date(2013, 12, 18))
    assert [(each.contract.month, each.first, each.last) for each in held] == [
        ("201403", date(2013, 12, 18), date(2014, 3, 18)),
        ("201406", date(2014, 3, 19), date(2014, 6, 17)),
        ("201409", date(2014, 6, 18), date(2014, 9, 16)),
    ]


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[Held], np.ndarray, np.ndarray]:
    """A schedule, its sessions, and a random walk of closes of each contract, now and then without one."""
    days = draw(st.integers(0, 20))
    held = schedule(CHAIN, days, "CMES", date(2013, 11, 1))
    sessions = np.array(
        [day.toordinal() for day in calendars.sessions("CMES", held[0].first, held[-1].last)], dtype=np.int64
    )
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    closes = 1800.0 * np.exp(np.cumsum(generator.normal(0, 0.01, (len(sessions), len(held))), axis=0))
    closes[generator.random(closes.shape) < draw(st.sampled_from([0.0, 0.1]))] = np.nan
    return held, sessions, closes


@settings(max_examples=50, deadline=None)
@given(markets(), st.integers(30, 200))
def test_changes_and_returns_are_those_of_a_position_that_is_rolled(
    market: tuple[list[Held], np.ndarray, np.ndarray], cut: int
) -> None:
    held, sessions, closes = market
    series = continuous(held, sessions, closes)
    raw = series.raw(closes)
    difference, ratio = raw + series.offset, raw * series.factor
    newest = series.column == len(held) - 1
    assert np.array_equal(difference[newest], raw[newest], equal_nan=True)
    assert np.array_equal(ratio[newest], raw[newest], equal_nan=True)
    # Held since the close before, and rolled at it: the new contract's own change from there.
    then, now = closes[np.arange(len(sessions) - 1), series.column[1:]], raw[1:]
    held_through = np.isfinite(then) & np.isfinite(now) & np.isfinite(raw[:-1])
    assert held_through.sum() > 50
    np.testing.assert_allclose(np.diff(difference)[held_through], (now - then)[held_through], atol=1e-6)
    np.testing.assert_allclose((ratio[1:] / ratio[:-1])[held_through], (now / then)[held_through], rtol=1e-9)
    # A cut future shifts or scales the past as a whole, and changes nothing else of it.
    part = continuous(held, sessions[:cut], closes[:cut])
    shift, scale = part.offset - series.offset[:cut], part.factor / series.factor[:cut]
    assert np.ptp(shift) < 1e-6
    assert np.ptp(scale) < 1e-9


def test_what_lies_before_a_roll_without_a_common_session_is_not_comparable() -> None:
    held = schedule(CHAIN[:2], 3, "CMES", date(2013, 12, 16))
    sessions = np.array([date(2013, 12, day).toordinal() for day in (16, 17, 18)], dtype=np.int64)
    closes = np.array([[1780.0, np.nan], [1770.0, np.nan], [np.nan, 1790.0]])
    series = continuous(held, sessions, closes)
    assert np.isnan(series.offset[:2]).all()
    assert np.isnan(series.factor[:2]).all()
    assert series.raw(closes).tolist() == [1780.0, 1770.0, 1790.0]
    with pytest.raises(ValueError, match="outside the schedule"):
        continuous(held[:1], sessions, closes[:, :1])


def test_real_rolls_are_as_large_as_leans(shared_data: Path) -> None:
    """Lean's factors are cumulative, from minute bars; the closes here are the day's, so a roll may differ by less than a point."""
    folder = shared_data / ES
    days = sorted((folder / "universes" / "es").glob("*.csv"))
    held = schedule(CHAIN, 3, "CMES", date(2013, 10, 3))
    months = [each.contract.month for each in held]
    rows = {}
    for path in days:
        day = date(int(path.stem[:4]), int(path.stem[4:6]), int(path.stem[6:]))
        if held[0].first <= day <= held[2].last and calendars.is_session("CMES", day):
            table = pl.read_csv(
                path, columns=["#expiry", "close"], schema_overrides={"#expiry": pl.String, "close": pl.Float64}
            )
            found = dict(table.iter_rows())
            rows[day.toordinal()] = [found.get(month, np.nan) or np.nan for month in months]
    sessions, closes = np.array(sorted(rows), dtype=np.int64), np.array([rows[day] for day in sorted(rows)])
    assert len(sessions) >= 20
    series = continuous(held, sessions, closes)
    lean = [json.loads(line) for line in (folder / "factor_files" / "es.csv").read_text().splitlines()]
    scales = {
        line["Date"][:10]: line for line in lean if line["DataMappingMode"] == 2
    }  # by open interest: the same days
    for (old, new), (before, after) in {
        (0, 1): ("2013-12-17", "2014-03-18"),
        (1, 2): ("2014-03-18", "2014-06-17"),
    }.items():
        assert held[old].last.isoformat() == before
        ours = series.offset[series.column == old][0] - series.offset[series.column == new][0]
        theirs = scales[before]["BackwardsPanamaCanalScale"][0] - scales[after]["BackwardsPanamaCanalScale"][0]
        assert ours == pytest.approx(theirs, abs=0.75)
        ratio = series.factor[series.column == old][0] / series.factor[series.column == new][0]
        assert ratio == pytest.approx(
            scales[before]["BackwardsRatioScale"][0] / scales[after]["BackwardsRatioScale"][0], rel=5e-4
        )
