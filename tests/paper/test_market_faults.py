"""Faults of the market's data: a bad print, a clock that lies, and those that wait for their time."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path

import pytest

from tests.paper.harness import connected, eventually, fault, http, running, stock, to
from triplane.paper.filings import amended, load_reports
from triplane.paper.providers import Providers
from triplane.paper.server.faults import FaultError, Faults

SYMBOLS = ("AAPL", "KO")


async def test_a_bad_print_is_one_bar_of_one_name_for_every_subscriber() -> None:
    async with running() as gateway, connected(gateway, 12) as one, connected(gateway, 13) as two:
        await to(gateway, "15:25")
        ask = [(client, symbol) for client in (one, two) for symbol in SYMBOLS]
        bars = [client.reqRealTimeBars(stock(symbol), 5, "TRADES", True) for client, symbol in ask]
        await eventually(lambda: sum(len(c.subscriptions.bars) for c in gateway.core.clients.values()) == 4)
        await to(gateway, "15:25:05")
        await fault(gateway, "bad_print", symbol="KO")
        await to(gateway, "15:25:15")
        await eventually(lambda: all(len(each) == 3 for each in bars))
        ratios = [[bar.close / each[0].close for bar in each] for each in bars]
        assert [[round(ratio) for ratio in each] for each in ratios] == [[1, 1, 1], [1, 100, 1]] * 2
        assert bars[1][1].high >= bars[1][1].close >= bars[1][1].low
        assert round(bars[1][1].wap / bars[1][0].wap) == 100
        assert bars[1][1].volume < 100 * bars[1][0].volume


async def test_a_second_stall_waits_for_the_end_of_the_first() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        await fault(gateway, "stall", seconds=0.1)
        first = asyncio.ensure_future(client.reqContractDetailsAsync(stock("AAPL")))
        await eventually(lambda: next(iter(gateway.core.clients.values())).held)
        await fault(gateway, "stall", seconds=0.1)
        rest = [asyncio.ensure_future(client.reqContractDetailsAsync(stock(name))) for name in ("KO", "PFE", "XOM")]
        told = [await asyncio.wait_for(each, 5) for each in (first, *rest)]
        assert [each[0].contract.symbol for each in told] == ["AAPL", "KO", "PFE", "XOM"]
        assert client.isConnected()


async def test_the_clock_lies_once_and_to_one_client_only() -> None:
    async with running() as gateway, connected(gateway, 12) as one, connected(gateway, 13) as two:
        await to(gateway, "15:30")
        true = await two.reqCurrentTimeAsync()
        await fault(gateway, "clock", client_id=12, seconds=-3600)
        assert (true - await two.reqCurrentTimeAsync()).total_seconds() == 0
        assert (true - await one.reqCurrentTimeAsync()).total_seconds() == 3600
        assert (true - await one.reqCurrentTimeAsync()).total_seconds() == 0


async def test_a_fault_waits_for_its_market_time_and_outlives_a_restart(tmp_path: Path) -> None:
    async with running(state_dir=tmp_path) as gateway:
        await fault(gateway, "market_data", symbol="KO", mode="silent", at="2018-01-19T15:26")
        await fault(gateway, "market_data", symbol="KO", mode="live", at="2018-01-19T15:27")
        await to(gateway, "15:25")
        assert gateway.core.faults.mode("KO") == "live"
        await to(gateway, "15:26")
        assert gateway.core.faults.mode("KO") == "silent"
        _, told = await http(gateway, "GET", "/fault")
        assert told["armed"]["waiting"] == [
            {"fault": "market_data", "symbol": "KO", "mode": "live", "at": "2018-01-19T20:27:00Z"}
        ]
    async with running(state_dir=tmp_path) as gateway:
        assert [at for at, _ in gateway.core.faults.waiting] == [1_516_393_620 * 10**9]
        await to(gateway, "15:27")
        assert gateway.core.faults.waiting == []
        await fault(gateway, "clock", at="2018-01-19T15:28")
        await fault(gateway, "clear")
    async with running(state_dir=tmp_path) as gateway:
        assert gateway.core.faults.armed() == {}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"fault": "bad_print", "symbol": "SPY"}, "not quoted here"),
        ({"fault": "bad_print", "symbol": "KO", "factor": 0}, "give a number"),
        ({"fault": "clock", "client_id": "mine"}, "give a client id"),
        ({"fault": "clock", "at": "teatime"}, "give an ISO time"),
        ({"fault": "clock", "at": None}, "give an ISO time"),
        ({"fault": "clock", "at": 10**30}, "give an ISO time"),
        ({"fault": "drop", "at": "2018-01-19T15:28"}, "cannot wait"),
        ({"fault": "bad_print", "symbol": "SPY", "at": "2018-01-19T15:28"}, "not quoted here"),
    ],
)
def test_what_cannot_be_understood_changes_nothing(body: dict[str, object], sentence: str) -> None:
    faults = Faults()
    with pytest.raises(FaultError, match=sentence):
        faults.arm(body, SYMBOLS)
    assert faults == Faults()


def test_an_amended_report_has_its_shares_in_thousands_and_moves_no_other() -> None:
    plain, wrong = Providers(), Providers(restated="AAPL")
    rows = []
    for each in (plain, wrong):
        document = each.company_facts(320193)
        assert document is not None
        rows.append(document["facts"]["dei"]["EntityCommonStockSharesOutstanding"]["units"]["shares"])
    (more,) = [row for row in rows[1] if row not in rows[0]]
    right = next(row for row in rows[0] if row["end"] == more["end"])
    assert (more["form"], right["form"], more["val"]) == ("10-K/A", "10-K", right["val"] // 1000)
    assert date.fromisoformat(more["filed"]) > date.fromisoformat(right["filed"])
    assert len({row["accn"] for row in rows[1]}) == len(rows[1])
    with pytest.raises(ValueError, match="NOPE has no second annual report"):
        amended(load_reports(), "NOPE")
