"""Dividends and splits that a test wants of the simulated market, as IB would tell of them."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest

from tests.paper.harness import connected, listed, running, stock, to
from triplane.domain.timestamps import at
from triplane.paper.market.actions import Action, SimulatedActions
from triplane.paper.market.history import Row
from triplane.paper.server import options
from triplane.paper.server.options import OptionsError

PAID, SPLIT, EX = date(2017, 12, 15), date(2018, 1, 8), date(2018, 1, 19)


def rows(*days: date) -> list[Row]:
    return [Row(0, day, 40.0, 41.0, 39.0, 40.0, 1000, 40.01, 10) for day in days]


def told(ticker: Any) -> tuple[Any, ...]:
    """What a client library read."""
    d = ticker.dividends
    return d.past12Months, d.next12Months, d.nextDate, d.nextAmount


def test_the_dividend_tick_tells_what_was_paid_and_what_comes() -> None:
    actions = SimulatedActions([Action("KO", PAID, 0.37), Action("KO", EX, 0.39), Action("KO", date(2018, 6, 14), 0.4)])
    assert actions.told("KO", at(date(2018, 1, 18), time(16))) == "0.37,0.79,20180119,0.39"
    assert actions.told("KO", at(EX, time(0))) == "0.76,0.4,20180614,0.4"
    assert actions.told("KO", at(date(2018, 7, 1), time(9))) == "1.16,0,,"
    assert actions.told("XOM", at(EX, time(9))) == ",,,"


def test_history_is_adjusted_from_the_open_of_the_ex_date_on() -> None:
    """A split halves prices and doubles volumes of all days before, a payment of a share after it is twice as much of one before it."""
    actions = SimulatedActions([Action("KO", PAID, 0.4), Action("KO", EX, 0.4)], [Action("KO", SPLIT, 2.0)])
    days = rows(date(2017, 12, 14), PAID, date(2018, 1, 18))

    def closes(now: int, *, adjusted: bool) -> list[float]:
        return [row.close for row in actions.rows("KO", days, now, lambda _: 40.0, adjusted=adjusted)]

    before, after = at(EX, time(9, 29)), at(EX, time(9, 30))
    assert closes(at(date(2018, 1, 7), time(12)), adjusted=False) == [40.0] * 3
    assert closes(before, adjusted=False) == [20.0] * 3
    assert closes(before, adjusted=True) == [19.8, 20.0, 20.0]
    assert closes(after, adjusted=True) == [round(20.0 * 0.99 * 0.98, 2), 19.6, 19.6]
    assert actions.rows("KO", days, before, lambda _: 40.0, adjusted=False)[0].volume == 2000
    assert actions.rows("XOM", days, after, lambda _: 40.0, adjusted=True) == [
        *(Row(0, row.day, 40.0, 41.0, 39.0, 40.0, 1000, 40.01, 10) for row in days)
    ]


async def test_a_client_is_told_with_its_quotes_when_it_asks_for_it() -> None:
    coming = Action("KO", date(2018, 1, 22), 0.39)
    async with running(dividends=(coming,)) as gateway, connected(gateway) as client:
        ticker = client.reqMktData(listed("KO"), "456")
        other = client.reqMktData(listed("PEP"), "456")
        await to(gateway, "10:00")
        days: list[Any] = await client.reqHistoricalDataAsync(stock("KO"), "", "3 D", "1 day", "ADJUSTED_LAST", True)
        assert len(days) == 3
        assert told(ticker) == (0.0, 0.39, date(2018, 1, 22), 0.39)
        assert other.dividends is None
        await to(gateway, "10:00", coming.day)
        client.cancelMktData(listed("KO"))
        ticker = client.reqMktData(listed("KO"), "456")
        await client.reqCurrentTimeAsync()
        assert told(ticker) == (0.39, 0.0, None, None)


@pytest.mark.parametrize("flag", ["--dividend", "--split"])
def test_actions_are_read_from_the_command_line(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    parsed = options.parse([flag, "KO=2018-01-22:0.39", flag, "KO=2018-06-14:0.4"])
    told = parsed.dividends if flag == "--dividend" else parsed.splits
    assert told == (Action("KO", date(2018, 1, 22), 0.39), Action("KO", date(2018, 6, 14), 0.4))
    for wrong in ("KO", "KO=2018-01-21:0.39", "KO=2018-01-22:0", "KO=today:1", "=2018-01-22:1"):
        with pytest.raises(SystemExit):
            options.parse([flag, wrong])
        assert "is not SYMBOL=DATE:NUMBER" in capsys.readouterr().err


async def test_an_action_of_a_name_without_a_market_is_refused() -> None:
    with pytest.raises(OptionsError, match="no market for NOPE"):
        async with running(splits=(Action("NOPE", EX, 2.0),)):
            pass
