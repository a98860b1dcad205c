"""What IB limits, refused by the gateway: market data lines, tick-by-tick lines, the pace of requests, what a type can be asked to show."""

from __future__ import annotations

from tests.paper.harness import codes, connected, eventually, ib, listed, running, to


async def test_too_many_market_data_lines_give_101() -> None:
    """Quotes and five-second bars of all clients share the lines."""
    async with running(lines=3) as gateway, connected(gateway) as client, connected(gateway, 13) as other:
        other.reqMktData(listed("PEP"))
        client.reqRealTimeBars(listed("AAPL"), 5, "TRADES", True)
        ticker = client.reqMktData(listed("KO"))
        client.reqMktData(listed("GE"))
        await eventually(lambda: codes(client) == [101])
        client.reqRealTimeBars(listed("GE"), 5, "TRADES", True)
        await eventually(lambda: codes(client) == [101, 101])
        client.cancelMktData(ticker.contract)
        client.reqRealTimeBars(listed("GE"), 5, "TRADES", True)
        await client.reqCurrentTimeAsync()
        assert codes(client) == [101, 101]


async def test_too_many_tick_by_tick_lines_give_10190() -> None:
    async with running(tick_by_tick_lines=1) as gateway, connected(gateway) as client:
        for symbol in ("AAPL", "KO"):
            client.reqTickByTickData(listed(symbol), "AllLast")
        await eventually(lambda: codes(client) == [10190])


async def test_pacing_rules_are_kept_when_asked_for() -> None:
    async with running(pacing=600.0) as gateway, connected(gateway) as client:
        await to(gateway, "10:00")
        ends = [f"20180119-14:4{minute}:00" for minute in range(1, 7)]

        async def refusals(symbol: str, ends: list[str], what: str = "TRADES") -> list[int]:
            client.errors.clear()
            raw = client.client
            for end in ends:
                raw.reqHistoricalData(raw.getReqId(), listed(symbol), end, "60 S", "5 secs", what, True, 2, False, [])
            await client.reqCurrentTimeAsync()  # all those before it have been answered
            return codes(client)

        assert await refusals("KO", [ends[0], ends[0]]) == [162]
        assert "pacing violation" in client.errors[-1][2]
        assert await refusals("PEP", ends) == [162]  # the sixth within two seconds
        # Each counts twice; what is not simulated is refused only after that.
        assert await refusals("GE", ends[:3], "BID_ASK") == [321, 321, 162]
        names = [c.symbol for c in gateway.core.contracts.priced if c.symbol not in ("KO", "PEP", "GE")][:17]
        first = [code for end in ends[:2] for name in names for code in await refusals(name, [end])]
        rest = [await refusals(name, ends[2:3]) for name in names]
        # 1 + 5 + 4 went before: the last of these 51 is the sixty-first of all.
        assert (first, rest) == ([], [[]] * 16 + [[162]])
        client.errors.clear()
        client.reqRealTimeBars(listed("MSFT"), 5, "TRADES", True)
        await eventually(lambda: codes(client) == [420])
        await client.reqHistoricalDataAsync(listed("MSFT"), "", "1 D", "1 min", "TRADES", True)
        assert codes(client) == [420]


async def test_crypto_has_aggregated_trades_only() -> None:
    async with running() as gateway, connected(gateway) as client:
        coin = ib.Contract(symbol="BTC", secType="CRYPTO", exchange="PAXOS", currency="USD")
        for what in ("TRADES", "AGGTRADES"):
            await client.reqHistoricalDataAsync(coin, "", "1 D", "1 min", what, False)
        assert codes(client) == [10299, 162]
