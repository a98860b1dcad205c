"""An unmodified client library against the gateway: start-up, account, contracts and market data."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime

import pytest

from tests.paper.harness import (
    ACCOUNT,
    LIBRARY,
    codes,
    connect,
    connected,
    eventually,
    fault,
    ib,
    listed,
    running,
    stock,
    to,
)
from triplane.paper.market.liquidity import TRUE_COSTS
from triplane.paper.protocol.wire import frame, split


async def test_start_up_burst_is_answered_completely() -> None:
    async with running(positions=(("AAPL", 100.0), ("KO", -50.0))) as gateway, connected(gateway) as client:
        assert client.client.serverVersion() == 176
        assert client.managedAccounts() == [ACCOUNT]
        assert {code for _, code, _ in client.errors} == {2104, 2106, 2158}
        held = {p.contract.symbol: p.position for p in client.positions()}
        assert held == {"AAPL": 100.0, "KO": -50.0}
        values = {v.tag: v.value for v in client.accountValues() if v.account == ACCOUNT}
        assert float(values["NetLiquidation"]) > 1_000_000
        assert values["Simulated"] == "true"
        assert {p.contract.symbol: p.position for p in client.portfolio()} == held
        assert client.trades() == []
        assert client.fills() == []


async def test_account_summary_and_profit_and_loss() -> None:
    async with running(positions=(("AAPL", 100.0),)) as gateway, connected(gateway) as client:
        summary = {v.tag: v.value for v in await client.accountSummaryAsync()}
        assert float(summary["TotalCashValue"]) == 1_000_000
        pnl, single = (
            client.reqPnL(ACCOUNT),
            client.reqPnLSingle(ACCOUNT, "", (await client.reqContractDetailsAsync(stock("AAPL")))[0].contract.conId),
        )
        await eventually(lambda: pnl.dailyPnL == 0.0 and single.position == 100)
        await to(gateway, "15:40")
        await eventually(lambda: pnl.dailyPnL != 0.0)
        client.cancelPnL(ACCOUNT)
        await eventually(lambda: len(gateway.core.clients[12].pnl) == 1)


async def test_client_id_in_use_is_refused_with_326() -> None:
    async with running() as gateway, connected(gateway, 12):
        second = ib.IB()
        errors: list[int] = []
        second.errorEvent += lambda _id, code, _text, _contract: errors.append(code)
        with pytest.raises((TimeoutError, asyncio.TimeoutError, ConnectionError)):
            await second.connectAsync("127.0.0.1", gateway.port, clientId=12, timeout=0.5)
        assert errors == [326]
        async with connected(gateway, 13):
            assert sorted(gateway.core.clients) == [12, 13]
        await eventually(lambda: sorted(gateway.core.clients) == [12])


async def test_a_client_of_another_version_is_turned_away() -> None:
    async with running() as gateway:
        for hello in (b"v157..175", b"v177..222", b"nonsense"):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"API\0" + len(hello).to_bytes(4, "big") + hello)
            assert await asyncio.wait_for(reader.read(), 2) == b""
            writer.close()


async def test_contract_details() -> None:
    async with running() as gateway, connected(gateway) as client:
        (details,) = await client.reqContractDetailsAsync(stock("AAPL"))
        contract = details.contract
        assert contract.conId > 0
        assert (contract.primaryExchange, contract.currency, details.longName) == ("NASDAQ", "USD", "Apple Inc.")
        assert details.timeZoneId == "America/New_York"
        assert details.liquidHours.startswith(
            "20180119:0930-20180119:1600;20180120:CLOSED;20180121:CLOSED;20180122:0930"
        )
        assert [(tag.tag, tag.value) for tag in details.secIdList] == [("ISIN", "US0378331005")]
        assert (details.minTick, details.minSize, details.sizeIncrement) == (0.01, 1, 1)
        by_id = await client.reqContractDetailsAsync(ib.Contract(conId=contract.conId, exchange="SMART"))
        assert by_id[0].contract == contract
        by_isin = await client.reqContractDetailsAsync(
            ib.Contract(secIdType="ISIN", secId="US0378331005", exchange="SMART")
        )
        assert by_isin[0].contract.symbol == "AAPL"
        rule = await client.reqMarketRuleAsync(int(details.marketRuleIds.split(",")[0]))
        assert [(band.lowEdge, band.increment) for band in rule] == [(0.0, 0.0001), (1.0, 0.01)]
        future = await client.reqContractDetailsAsync(ib.Future("MES", exchange="CME", currency="USD"))
        assert future[0].contract.multiplier == "5"
        assert [d.contract.symbol for d in await client.reqMatchingSymbolsAsync("apple")] == ["AAPL"]
        assert await client.reqContractDetailsAsync(stock("NOPE")) == []
        assert codes(client) == [200]
        client.client.reqMarketRule(99)
        client.client.send(250, 1)
        client.client.send(1, 11, "not a number")
        await eventually(lambda: codes(client) == [200, 321, 321, 320])


async def test_current_time_and_next_id_and_head_timestamp() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "12:00:05")
        now = await client.reqCurrentTimeAsync()
        assert now == datetime(2018, 1, 19, 17, 0, 5, tzinfo=UTC)
        head = await client.reqHeadTimeStampAsync(stock("AAPL"), "TRADES", True, 2)
        assert head == datetime(1990, 1, 3, 14, 30, tzinfo=UTC)
        first = client.client.getReqId()
        assert client.client.getReqId() == first + 1
        assert await client.reqSecDefOptParamsAsync("AAPL", "", "STK", 1) == []


async def test_historical_bars_reach_to_the_clock_and_no_further() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "11:30:10")
        aapl = stock("AAPL")
        days = await client.reqHistoricalDataAsync(aapl, "", "10 D", "1 day", "TRADES", True, formatDate=1)
        assert days[-1].date == date(2018, 1, 19)
        assert len(days) == 10
        minutes = await client.reqHistoricalDataAsync(aapl, "", "1 D", "1 min", "TRADES", True, formatDate=2)
        assert len(minutes) == 120
        assert minutes[-1].date == datetime(2018, 1, 19, 16, 29, tzinfo=UTC)
        zoned = await client.reqHistoricalDataAsync(aapl, "", "1 D", "1 min", "TRADES", True, formatDate=1)
        assert zoned[-1].date == minutes[-1].date
        assert str(zoned[-1].date.tzinfo) == "America/New_York"
        fives = await client.reqHistoricalDataAsync(aapl, "", "600 S", "5 secs", "TRADES", True, formatDate=2)
        assert fives[-1].date == datetime(2018, 1, 19, 16, 30, 5, tzinfo=UTC)
        # The day so far is the aggregate of its minutes and the two steps after them.
        assert days[-1].high == max(bar.high for bar in [*minutes, *fives[-2:]])
        assert days[-1].volume == sum(bar.volume for bar in [*minutes, *fives[-2:]])
        # What is asked for of the future is not there.
        late = await client.reqHistoricalDataAsync(
            aapl, datetime(2018, 2, 28, tzinfo=UTC), "10 D", "1 day", "TRADES", True, formatDate=1
        )
        assert late[-1].date == date(2018, 1, 19)


@pytest.mark.parametrize(
    ("symbol", "size", "duration", "what", "code"),
    [
        ("AAPL", "3 mins", "1 D", "TRADES", 321),
        ("AAPL", "1 min", "1 fortnight", "TRADES", 321),
        ("AAPL", "1 min", "1 D", "BID", 321),
        ("AAPL", "5 secs", "30 D", "TRADES", 321),
        ("SPY", "1 min", "1 D", "TRADES", 162),
        ("NOPE", "1 day", "1 D", "TRADES", 200),
    ],
)
async def test_historical_requests_that_cannot_be_answered(
    symbol: str, size: str, duration: str, what: str, code: int
) -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "10:00")
        # ib_async takes 321 for a warning and goes on waiting, so the request needs a timeout of its own.
        bars = await client.reqHistoricalDataAsync(stock(symbol), "", duration, size, what, True, timeout=1)
        assert not bars
        assert codes(client) == [code]


async def test_history_error_fault() -> None:
    async with running() as gateway, connected(gateway) as client:
        await fault(gateway, "history_error", code=162, text="pacing violation")
        assert not await client.reqHistoricalDataAsync(stock("KO"), "", "2 D", "1 day", "TRADES", True)
        assert codes(client) == [162]
        assert len(await client.reqHistoricalDataAsync(stock("KO"), "", "2 D", "1 day", "TRADES", True)) == 2


async def test_real_time_bars_are_the_historical_ones_without_a_gap() -> None:
    async with running() as gateway, connected(gateway) as client:
        bars = client.reqRealTimeBars(stock("AAPL"), 5, "TRADES", True)
        await to(gateway, "15:19:55")
        await client.reqCurrentTimeAsync()
        assert len(bars) == 0  # nothing flows while the session idles
        await to(gateway, "15:40")
        await eventually(lambda: len(bars) >= 192)
        assert [bar.time for bar in bars][::191] == [
            datetime(2018, 1, 19, 20, 20, tzinfo=UTC),
            datetime(2018, 1, 19, 20, 35, 55, tzinfo=UTC),
        ]
        history = await client.reqHistoricalDataAsync(
            stock("AAPL"), datetime(2018, 1, 19, 20, 36, tzinfo=UTC), "960 S", "5 secs", "TRADES", True, formatDate=2
        )
        live = [(b.time, b.open_, b.high, b.low, b.close, b.volume, b.count) for b in bars]
        assert live == [(b.date, b.open, b.high, b.low, b.close, b.volume, b.barCount) for b in history]
        client.cancelRealTimeBars(bars)
        await eventually(lambda: not gateway.core.clients[12].subscriptions.bars)


async def test_quotes_tick_and_stay_unchanged_names_silent() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:19:55")
        ticker = client.reqMktData(listed("AAPL"), "236")
        await eventually(lambda: ticker.bid > 0)
        assert ticker.marketDataType == 1
        assert 0 < ticker.ask - ticker.bid < 0.1
        assert ticker.close > 0
        assert ticker.open > 0
        assert ticker.shortableShares == 10_000_000
        volume = ticker.volume
        await to(gateway, "15:21")
        look = gateway.core.market.look("AAPL")
        assert look is not None
        await eventually(
            lambda: (ticker.bid, ticker.ask, ticker.volume) == (look.quote.bid, look.quote.ask, look.volume)
        )
        assert ticker.volume > volume
        day = (await client.reqHistoricalDataAsync(stock("AAPL"), "", "1 D", "1 day", "TRADES", True))[0]
        # Size units of ticks and history agree.
        assert (day.volume, day.high, day.low) == (ticker.volume, ticker.high, ticker.low)
        sent = gateway.core.feed.sent
        assert gateway.core.feed.step(gateway.core.clients[12].subscriptions) == b""
        assert gateway.core.feed.sent == sent
        client.cancelMktData(ticker.contract)
        await eventually(lambda: not gateway.core.clients[12].subscriptions.quotes)


async def test_last_timestamp_is_tick_45() -> None:
    async with running() as gateway, connected(gateway) as client:
        stamps: list[tuple[int, str]] = []
        original = client.client.decoder.handlers[46]

        def heard(fields: list[str]) -> None:
            stamps.append((int(fields[3]), fields[4]))
            original(fields)

        client.client.decoder.handlers[46] = heard
        await to(gateway, "15:19:55")
        client.reqMktData(listed("AAPL"))
        await eventually(lambda: len(stamps) == 1)
        await to(gateway, "15:20:10")
        await eventually(lambda: len(stamps) == 3)
        base = int(datetime(2018, 1, 19, 20, 20, tzinfo=UTC).timestamp())
        assert stamps == [(45, str(base + after)) for after in (-5, 5, 10)]


async def test_snapshot_ends() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "12:00")
        (ticker,) = await asyncio.wait_for(client.reqTickersAsync(listed("KO")), 3)
        assert 0 < ticker.bid < ticker.ask
        assert gateway.core.clients[12].subscriptions.quotes == {}
        before_open = None
    async with running() as gateway, connected(gateway) as client:
        (before_open,) = await asyncio.wait_for(client.reqTickersAsync(listed("KO")), 3)
        assert before_open.close > 0
        assert not before_open.bid > 0


async def test_tick_by_tick() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:20")
        kinds = ("Last", "AllLast", "BidAsk", "MidPoint")
        tickers = [
            client.reqTickByTickData(listed(symbol), kind)
            for symbol, kind in zip(("KO", "PEP", "PG", "XOM"), kinds, strict=True)
        ]
        await client.reqCurrentTimeAsync()
        seen: dict[str, int] = {}
        client.pendingTickersEvent += lambda changed: [
            seen.update({t.contract.symbol: 1}) for t in changed if t.tickByTicks
        ]
        await to(gateway, "15:20:10")
        await eventually(lambda: len(seen) == 4)
        client.reqTickByTickData(listed("GE"), "Everything")
        await eventually(lambda: codes(client) == [321])
        client.cancelTickByTickData(tickers[0].contract, "Last")
        await eventually(lambda: len(gateway.core.clients[12].subscriptions.ticks) == 3)


async def test_contracts_without_a_market_give_354() -> None:
    async with running() as gateway, connected(gateway) as client:
        client.reqMktData(listed("SPY"))
        client.reqRealTimeBars(ib.Forex("EURUSD"), 5, "TRADES", True)
        client.reqTickByTickData(listed("NOPE"), "Last")
        await eventually(lambda: codes(client) == [354, 354, 200])
        client.reqRealTimeBars(stock("AAPL"), 10, "TRADES", True)
        await eventually(lambda: codes(client)[-1] == 321)


async def test_delayed_and_silent_symbols() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:20")
        delayed, silent = client.reqMktData(listed("AAPL")), client.reqMktData(listed("KO"))
        bars = client.reqRealTimeBars(stock("KO"), 5, "TRADES", True)
        await eventually(lambda: silent.bid > 0 and delayed.bid > 0)
        assert delayed.marketDataType == 1
        await fault(gateway, "market_data", symbol="AAPL", mode="delayed")
        await fault(gateway, "market_data", symbol="KO", mode="silent")
        volume = silent.volume
        types: set[int] = set()
        client.pendingTickersEvent += lambda changed: types.update(tick.tickType for t in changed for tick in t.ticks)
        await to(gateway, "15:21")
        await eventually(lambda: delayed.marketDataType == 3)
        await eventually(lambda: {66, 67, 68, 74} <= types)
        assert 10167 in codes(client)
        assert (silent.volume, len(bars)) == (volume, 0)
        before = gateway.core.market.look("AAPL", 180)
        assert before is not None
        await eventually(lambda: delayed.volume == before.volume)
        await fault(gateway, "clear")
        await to(gateway, "15:22")
        await eventually(lambda: delayed.marketDataType == 1 and len(bars) == 12)


async def test_account_updates_come_while_streaming_and_foreign_accounts_are_refused() -> None:
    async with running(positions=(("AAPL", 1000.0),)) as gateway, connected(gateway) as client:

        def net() -> float:
            return float(next(v.value for v in client.accountValues() if v.tag == "NetLiquidation"))

        before = net()
        await to(gateway, "15:36")
        await eventually(lambda: net() != before)
        for request in (
            lambda: client.client.reqAccountUpdates(True, "U999"),
            lambda: client.client.reqAccountUpdatesMulti(77, "U999", "", False),
            lambda: client.client.reqPnL(78, "U999", ""),
        ):
            request()
        await eventually(lambda: codes(client) == [321, 321, 321])
        client.client.reqAccountUpdates(False, ACCOUNT)
        client.client.cancelPositions()
        await eventually(
            lambda: not gateway.core.clients[12].account_updates and not gateway.core.clients[12].positions
        )


async def test_every_quoted_name_has_a_known_truth() -> None:
    async with running() as gateway:
        assert list(gateway.core.costs) == list(TRUE_COSTS)
        assert LIBRARY in ("ib_insync", "ib_async")


async def test_a_slow_subscriber_stops_the_clock_not_the_data() -> None:
    async with running() as gateway:
        client = await connect(gateway, 11)
        bars = client.reqRealTimeBars(stock("AAPL"), 5, "TRADES", True)
        for symbol in TRUE_COSTS:
            client.reqRealTimeBars(stock(symbol), 5, "TRADES", True)
            client.reqMktData(listed(symbol))
        await eventually(lambda: len(gateway.core.clients[11].subscriptions.quotes) == 20)
        client.client.conn.transport.pause_reading()
        walk = asyncio.create_task(to(gateway, "15:50", date(2018, 1, 23)))
        seen = [0, gateway.core.clock.now]
        while seen[-1] != seen[-2]:  # until it stands for a while
            await asyncio.sleep(0.2)
            seen.append(gateway.core.clock.now)
        assert gateway.core.clients[11].writer.transport.get_write_buffer_size() > 0
        assert not walk.done()
        client.client.conn.transport.resume_reading()
        await asyncio.wait_for(walk, 60)
        await eventually(lambda: len(bars) == 3 * 192)
        client.disconnect()


async def test_small_questions() -> None:
    async with running() as gateway, connected(gateway) as client:
        seen: list[list[str]] = []
        handlers = client.client.decoder.handlers
        handlers[15] = handlers[95] = seen.append
        client.client.reqManagedAccts()
        client.client.setServerLogLevel(5)
        client.client.reqPnLSingle(900, ACCOUNT, "", 1)
        client.client.reqExecutions(901, ib.ExecutionFilter(time="noon"))
        client.client.reqContractDetails(902, ib.Contract(secIdType="ISIN", secId="US0000000000"))
        client.client.reqHeadTimeStamp(903, stock("SPY"), "TRADES", True, 1)
        client.client.cancelHistoricalData(904)
        await eventually(lambda: codes(client) == [321, 200, 354])
        assert seen == [["15", "1", ACCOUNT], ["95", "900", "0", "0", "0", "0", "0"]]
        head = await client.reqHeadTimeStampAsync(stock("AAPL"), "TRADES", True, 1)
        assert head == datetime(1990, 1, 3, 14, 30, tzinfo=UTC)


async def test_a_client_that_never_speaks_the_protocol_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triplane.paper.gateway.HELLO_TIMEOUT_S", 0.05)
    async with running() as gateway:
        silent, _ = await asyncio.open_connection("127.0.0.1", gateway.port)
        assert await asyncio.wait_for(silent.read(), 2) == b""
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 2) == b""
        hello = b"v157..176"
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"API\0" + len(hello).to_bytes(4, "big") + hello + frame("49", "1"))  # a request before START_API
        answer = await asyncio.wait_for(reader.read(), 2)
        assert split(answer[4:])[0] == "176"
        writer.close()
