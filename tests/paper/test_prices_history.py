"""Real closes from the package, and bars by historical request."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import date, time, timedelta
from importlib.metadata import PackageNotFoundError, PathDistribution
from pathlib import Path
from typing import Never

import pytest

from tests.paper.harness import connected, http, running, stock
from triplane.domain.timestamps import NEW_YORK, SECOND, at, to_datetime
from triplane.paper.market.history import History, RequestError, Row, parse_end
from triplane.paper.market.prices import PricesError, load_closes, parse

DAY = date(2018, 2, 5)
HISTORY = History(load_closes(), 7)


def test_closes_are_the_packaged_ones() -> None:
    closes = load_closes()
    assert len(closes.symbols) == 20
    assert closes.values.shape == (8313, 20)
    assert (closes.day(0), closes.day(-1)) == (date(1990, 1, 2), date(2022, 12, 28))
    assert dict(zip(closes.symbols, closes.values[closes.row(DAY)].tolist(), strict=True))["AAPL"] == 37.094
    with pytest.raises(PricesError, match="no closes of 2018-02-04"):
        closes.row(date(2018, 2, 4))
    with pytest.raises(PricesError, match="between 1990-01-02 and 2022-12-28"):
        closes.row(date(2024, 1, 2))


def test_reading_closes_needs_neither_network_nor_skfolio() -> None:
    code = "import socket, sys; socket.socket = None; from triplane.paper.market.prices import load_closes; load_closes(); print('skfolio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "text",
    [
        "Date,A\n2018-01-02,1\n2018-01-02,2\n",
        "Date,A\n2018-01-02,1\n2018-01-03,-2\n",
        "Date,A\n2018-01-02,x\n2018-01-03,2\n",
        "Date,A\n2018-01-02,1\n",
        "Date\n",
    ],
)
def test_damaged_closes_are_refused(text: str) -> None:
    with pytest.raises(PricesError, match="reinstall the package skfolio"):
        parse(text)


def times(rows: list[Row]) -> tuple[int, str, str]:
    stamp = [f"{to_datetime(row.start, NEW_YORK):%m-%d %H:%M:%S}" for row in (rows[0], rows[-1])]
    return len(rows), stamp[0], stamp[1]


@pytest.mark.parametrize(
    ("size", "duration", "end", "expected"),
    [
        ("1 day", "3 D", "", (3, "02-01 09:30:00", "02-05 09:30:00")),
        ("1 day", "1 W", "", (5, "01-30 09:30:00", "02-05 09:30:00")),
        ("1 day", "1 M", "", (20, "01-08 09:30:00", "02-05 09:30:00")),
        ("1 day", "1 D", "20180202", (1, "02-02 09:30:00", "02-02 09:30:00")),
        ("1 day", "2 D", "20180202 23:59:59 UTC", (2, "02-01 09:30:00", "02-02 09:30:00")),
        ("1 min", "1 D", "", (350, "02-05 09:30:00", "02-05 15:19:00")),
        ("1 min", "2 D", "", (740, "02-02 09:30:00", "02-05 15:19:00")),
        ("1 min", "3600 S", "20180202-21:00:00", (60, "02-02 15:00:00", "02-02 15:59:00")),
        ("1 min", "3600 S", "20180202 16:00:00 America/New_York", (60, "02-02 15:00:00", "02-02 15:59:00")),
        ("5 secs", "300 S", "", (60, "02-05 15:15:05", "02-05 15:20:00")),
        ("5 secs", "30 S", "20180205 09:30:10", (2, "02-05 09:30:00", "02-05 09:30:05")),
    ],
)
def test_spans(size: str, duration: str, end: str, expected: tuple[int, str, str]) -> None:
    assert times(HISTORY.bars("KO", size, duration, end, at(DAY, time(15, 20, 5)))) == expected


def test_one_day_of_daily_bars_on_a_month_end() -> None:
    rows = HISTORY.bars("KO", "1 day", "1 M", "", at(date(2018, 3, 30), time(16, 0)))
    assert rows[0].day == date(2018, 3, 1)


@pytest.mark.parametrize(
    "clock", [time(9, 30), time(9, 30, 4), time(9, 30, 5), time(11, 0), time(11, 0, 35), time(15, 59, 55), time(16, 0)]
)
def test_nothing_is_past_the_clock(clock: time) -> None:
    now = at(DAY, clock)
    whole = HISTORY.bars("KO", "5 secs", "1 D", "", at(DAY, time(16, 0)))
    known = [row for row in whole if row.start + 5 * SECOND <= now]
    # Daily bars go back further, so that a session without a bar yet is no error.
    days = HISTORY.bars("KO", "1 day", "2 D", "", now)
    today = [row for row in days if row.day == DAY]
    assert len(today) == (1 if known else 0)
    if known:
        assert today[0].volume == sum(row.volume for row in known)
        assert (today[0].high, today[0].low, today[0].close) == (
            max(r.high for r in known),
            min(r.low for r in known),
            known[-1].close,
        )
        assert HISTORY.bars("KO", "5 secs", "1 D", "", now) == known


def test_durations_before_the_data_begin_give_what_there_is() -> None:
    rows = HISTORY.bars("KO", "1 day", "10 Y", "", at(date(1990, 1, 10), time(12, 0)))
    assert rows[0].day == date(1990, 1, 3)
    assert HISTORY.earliest() == at(date(1990, 1, 3), time(9, 30))


@pytest.mark.parametrize(
    ("symbol", "size", "duration", "end", "code"),
    [
        ("KO", "1 hour", "1 D", "", 321),
        ("KO", "1 day", "0 D", "", 321),
        ("KO", "1 day", "D", "", 321),
        ("KO", "1 day", "1 D", "yesterday", 321),
        ("KO", "1 day", "1 D", "20181301 00:00:00", 321),
        ("KO", "5 secs", "10 D", "", 321),
        ("SPY", "1 day", "1 D", "", 162),
        ("KO", "1 day", "1 D", "19850101", 162),
        ("KO", "1 min", "30 S", "20180204 12:00:00", 162),
    ],
)
def test_refused_requests(symbol: str, size: str, duration: str, end: str, code: int) -> None:
    with pytest.raises(RequestError) as caught:
        HISTORY.bars(symbol, size, duration, end, at(DAY, time(12, 0)))
    assert caught.value.code == code


def test_memory_stays_bounded() -> None:
    history = History(load_closes(), 7)
    for back in range(10):
        day = DAY - timedelta(days=back)
        if day.weekday() < 5:
            history.steps(day)
    assert len(history._sessions) <= 4
    assert len(history._steps) <= 4


def test_end_times() -> None:
    assert parse_end("20180205-20:00:00") == parse_end("20180205 20:00:00 UTC") == parse_end("20180205 15:00:00")
    assert parse_end("20180205") == at(date(2018, 2, 6), time(0, 0))


def test_a_missing_package_and_a_missing_file_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(_: str) -> Never:
        raise PackageNotFoundError

    load = load_closes.__wrapped__
    monkeypatch.setattr("triplane.paper.market.prices.distribution", absent)
    with pytest.raises(PricesError, match=r"install triplane\[demo\]"):
        load()
    damaged = PathDistribution(tmp_path / "skfolio.dist-info")
    monkeypatch.setattr("triplane.paper.market.prices.distribution", lambda _: damaged)
    with pytest.raises(PricesError, match="cannot be read"):
        load()


async def test_years_of_history_keep_nobody_else_waiting() -> None:
    async with running() as gateway, connected(gateway) as client:
        asked = asyncio.ensure_future(
            client.reqHistoricalDataAsync(stock("KO"), "", "3 Y", "1 day", "TRADES", True, timeout=60)
        )
        answered = 0
        while not asked.done():
            assert (await http(gateway, "GET", "/status"))[0] == 200
            answered += 1
        assert len(asked.result()) > 740
        assert answered > 10
