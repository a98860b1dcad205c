"""Orders of an unmodified client library at the gateway: states, fills, modify, cancel, refusals and reconnects."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest

from tests.paper.harness import (
    ACCOUNT,
    codes,
    connect,
    connected,
    contract,
    eventually,
    filled,
    http,
    ib,
    limit,
    market,
    running,
    stock,
    to,
)


async def test_market_order_fills_with_commission_and_position() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        reports: list[Any] = []
        client.commissionReportEvent += lambda trade, fill, report: reports.append((trade, fill, report))
        trade = client.placeOrder(await contract(client), market("BUY", 100))
        await filled(trade)
        await eventually(lambda: reports)
        (fill,) = trade.fills
        look = gateway.core.market.look("AAPL")
        assert look is not None
        assert fill.execution.side == "BOT"
        assert fill.execution.shares == 100
        assert fill.execution.price >= look.quote.ask
        assert fill.execution.orderRef == "DU1234567/1/AAPL/0/0"
        assert fill.execution.acctNumber == ACCOUNT
        assert fill.execution.time.isoformat() == "2018-01-19T20:30:00+00:00"
        assert reports[0][2].commission == 1.0
        assert trade.order.permId == fill.execution.permId > 0
        assert next(s.status for s in trade.log if s.status != "PendingSubmit") == "Submitted"
        await eventually(lambda: {p.contract.symbol: p.position for p in client.positions()} == {"AAPL": 100})
        cash = float(next(v.value for v in client.accountValues() if v.tag == "TotalCashValue"))
        assert cash == pytest.approx(1_000_000 - 100 * fill.execution.price - 1.0, abs=0.01)
        assert fill.contract.symbol == "AAPL"
        assert trade.orderStatus.avgFillPrice == fill.execution.price
        assert not client.openTrades()


async def test_limit_order_rests_is_modified_and_cancelled() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        aapl = await contract(client)
        order = limit("BUY", 100, 30.0)
        trade = client.placeOrder(aapl, order)
        await eventually(lambda: trade.orderStatus.status == "Submitted")
        assert trade.orderStatus.remaining == 100
        order.totalQuantity, order.lmtPrice = 200, 31.0
        client.placeOrder(aapl, order)
        await eventually(lambda: trade.orderStatus.remaining == 200)
        assert [(o.order.totalQuantity, o.order.lmtPrice) for o in await client.reqAllOpenOrdersAsync()] == [
            (200, 31.0)
        ]
        client.cancelOrder(order)
        await eventually(lambda: trade.orderStatus.status == "Cancelled")
        await eventually(lambda: 202 in codes(client))
        assert gateway.core.journal.counts["DU1234567/1/AAPL/0/0"].messages == 2
        assert gateway.core.journal.counts["DU1234567/1/AAPL/0/0"].orders == 1
        completed = await client.reqCompletedOrdersAsync(False)
        assert [(t.order.orderRef, t.orderStatus.status, t.order.permId) for t in completed] == [
            (order.orderRef, "Cancelled", order.permId)
        ]


async def test_partial_fills_are_limited_by_volume() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        rrc = await contract(client, "RRC")
        look = gateway.core.market.look("RRC")
        assert look is not None
        trade = client.placeOrder(rrc, limit("BUY", 8000, round(look.quote.ask * 1.05, 2), ref="DU1234567/1/RRC/0/0"))
        await eventually(lambda: trade.fills)
        assert trade.orderStatus.status == "Submitted"
        assert 0 < trade.orderStatus.filled < 8000
        await to(gateway, "15:35")
        await filled(trade)
        assert sum(fill.execution.shares for fill in trade.fills) == 8000
        assert len({fill.execution.execId for fill in trade.fills}) == len(trade.fills) > 1
        assert [fill.execution.cumQty for fill in trade.fills] == sorted(fill.execution.cumQty for fill in trade.fills)
        await eventually(lambda: sum(fill.commissionReport.commission for fill in trade.fills) == pytest.approx(40.0))
        assert trade.orderStatus.avgFillPrice > look.quote.mid


async def test_round_trip_realises_profit() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        aapl = await contract(client)
        await filled(client.placeOrder(aapl, market("BUY", 100, "DU1234567/1/AAPL/0/0")))
        sell = client.placeOrder(aapl, market("SELL", 100, "DU1234567/2/AAPL/0/0"))
        await filled(sell)
        await eventually(lambda: sell.fills[0].commissionReport.realizedPNL != 0)
        assert sell.fills[0].commissionReport.realizedPNL == pytest.approx(
            gateway.core.account.positions["AAPL"].realised - 1.0
        )
        await eventually(lambda: client.positions() == [])


@pytest.mark.parametrize("priority", ["Urgent", "Normal", "Patient"])
async def test_adaptive_orders_work_inside_the_spread(priority: str) -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        look = gateway.core.market.look("AMD")
        assert look is not None
        order = market(
            "SELL",
            100,
            "DU1234567/1/AMD/0/0",
            algoStrategy="Adaptive",
            algoParams=[ib.TagValue("adaptivePriority", priority)],
        )
        trade = client.placeOrder(await contract(client, "AMD"), order)
        await filled(trade)
        assert look.quote.bid < trade.fills[0].execution.price < look.quote.mid
        (completed,) = await client.reqCompletedOrdersAsync(False)
        assert completed.order.algoStrategy == "Adaptive"
        assert [(p.tag, p.value) for p in completed.order.algoParams] == [("adaptivePriority", priority)]


async def test_good_till_date_day_and_immediate_orders_expire() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        aapl = await contract(client)
        until = limit("BUY", 10, 30.0, "DU1234567/1/AAPL/1/0", tif="GTD", goodTillDate="20180119-20:36:00")
        gtd, day = (
            client.placeOrder(aapl, until),
            client.placeOrder(aapl, limit("BUY", 10, 30.0, "DU1234567/1/AAPL/2/0")),
        )
        ioc = client.placeOrder(aapl, limit("BUY", 10, 30.0, "DU1234567/1/AAPL/3/0", tif="IOC"))
        await eventually(lambda: ioc.orderStatus.status == "Cancelled")
        await to(gateway, "15:35:55")
        assert gtd.isActive()
        await to(gateway, "15:36")
        await eventually(lambda: gtd.orderStatus.status == "Cancelled")
        assert day.isActive()
        await to(gateway, "16:00")
        await eventually(lambda: day.orderStatus.status == "Cancelled")


async def test_an_order_before_the_open_waits_for_it() -> None:
    async with running() as gateway, connected(gateway) as client:
        trade = client.placeOrder(await contract(client), market("BUY", 10))
        await eventually(lambda: 399 in codes(client))
        assert gateway.core.desk.active()[0].status == "PreSubmitted"
        ioc = client.placeOrder(await contract(client, "KO"), limit("BUY", 10, 1.0, "R", tif="IOC"))
        await to(gateway, "09:30:05")
        await eventually(lambda: sum(fill.execution.shares for fill in trade.fills) == 10)
        await eventually(lambda: ioc.orderStatus.status == "Cancelled")


async def test_reconnect_finds_orders_executions_and_positions() -> None:
    async with running() as gateway:
        client = await connect(gateway, 12)
        await to(gateway, "15:30")
        aapl = await contract(client)
        await filled(client.placeOrder(aapl, market("BUY", 100, "DU1234567/1/AAPL/0/0")))
        client.placeOrder(aapl, limit("BUY", 50, 30.0, "DU1234567/2/AAPL/0/0"))
        await eventually(lambda: len(gateway.core.desk.orders) == 2)
        client.disconnect()
        await eventually(lambda: not gateway.core.clients)
        async with connected(gateway, 12) as again:
            assert [(t.order.orderRef, t.orderStatus.status) for t in again.openTrades()] == [
                ("DU1234567/2/AAPL/0/0", "Submitted")
            ]
            assert [f.execution.orderRef for f in again.fills()] == ["DU1234567/1/AAPL/0/0"]
            await eventually(lambda: again.fills()[0].commissionReport.commission == 1.0)
            assert [p.position for p in again.positions()] == [100]
            (completed,) = [t for t in again.trades() if t.orderStatus.status == "Filled"]
            assert (completed.order.orderId, completed.order.clientId) == (0, 0)
            assert again.client.getReqId() > 2
        async with connected(gateway, 13) as other:
            assert other.openTrades() == []
            assert [t.order.clientId for t in await other.reqAllOpenOrdersAsync()] == [12]
            assert len(await other.reqExecutionsAsync()) == 1
            assert await other.reqExecutionsAsync(ib.ExecutionFilter(clientId=13)) == []
            assert await other.reqExecutionsAsync(ib.ExecutionFilter(side="SELL")) == []
            assert await other.reqExecutionsAsync(ib.ExecutionFilter(time="20180119-20:31:00")) == []
            assert (
                len(
                    await other.reqExecutionsAsync(
                        ib.ExecutionFilter(symbol="AAPL", side="BUY", time="20180119-20:30:00")
                    )
                )
                == 1
            )
            await to(gateway, "09:31", date(2018, 1, 22))
            assert await other.reqExecutionsAsync() == []  # since midnight only
            assert await other.reqCompletedOrdersAsync(False) == []


async def test_only_the_placing_client_can_cancel_but_a_global_cancel_reaches_all() -> None:
    async with (
        running(master_client_id=99) as gateway,
        connected(gateway, 12) as owner,
        connected(gateway, 13) as other,
        connected(gateway, 99) as master,
    ):
        await to(gateway, "15:30")
        trade = owner.placeOrder(await contract(owner), limit("BUY", 10, 30.0))
        await eventually(lambda: trade.orderStatus.status == "Submitted")
        await eventually(lambda: [t.order.clientId for t in master.openTrades()] == [12])
        other.client.cancelOrder(trade.order.orderId)
        await eventually(lambda: codes(other) == [10147])
        assert trade.isActive()
        other.reqGlobalCancel()
        await eventually(lambda: trade.orderStatus.status == "Cancelled")
        owner.client.cancelOrder(trade.order.orderId)
        await eventually(lambda: 10148 in codes(owner))
        assert other.openTrades() == []


REFUSED: list[tuple[int, dict[str, Any]]] = [
    (200, {"symbol": "NOPE"}),
    (201, {"symbol": "SPY"}),
    (201, {"quantity": 1_000_000}),
    (201, {"tif": "GTD", "goodTillDate": "20180119-20:00:00"}),
    (321, {"tif": "GTD", "goodTillDate": "tomorrow"}),
    (110, {"price": 30.001}),
    (110, {"price": -1.0}),
    (321, {"quantity": 0}),
    (10243, {"quantity": 1.5}),
    (387, {"orderType": "MIDPRICE"}),
    (321, {"tif": "OPG"}),
    (321, {"account": "DU7"}),
    (321, {"transmit": False}),
    (321, {"action": "HOLD"}),
    (321, {"parentId": 4}),
    (321, {"ocaGroup": "x"}),
    (321, {"price": ""}),
    (439, {"algoStrategy": "Twap"}),
    (441, {"algoStrategy": "Adaptive", "algoParams": [("adaptivePriority", "Lazy")]}),
    (321, {"conditions": True}),
    (321, {"hedgeType": "D", "hedgeParam": ""}),
    (321, {"scalePriceIncrement": 0.5}),
    (321, {"deltaNeutralOrderType": "MKT"}),
]


@pytest.mark.parametrize(("code", "fields"), REFUSED)
async def test_orders_that_are_refused(code: int, fields: dict[str, Any]) -> None:
    fields = dict(fields)
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        order = limit("BUY", fields.pop("quantity", 10), fields.pop("price", 30.0))
        target = stock(fields.pop("symbol", "AAPL"))
        if fields.pop("conditions", False):
            order.conditions = [
                ib.PriceCondition(price=1.0, conId=1, exch="SMART"),
                ib.TimeCondition(time="20180119 15:00:00"),
            ]
        if "algoParams" in fields:
            fields["algoParams"] = [ib.TagValue(*pair) for pair in fields["algoParams"]]
        for name, value in fields.items():
            setattr(order, name, value)
        client.client.placeOrder(client.client.getReqId(), target, order)
        await eventually(lambda: codes(client) == [code])
        assert gateway.core.desk.orders == {}
        assert gateway.core.journal.counts[order.orderRef].refused == 1


async def test_modifies_that_are_refused_leave_the_order_live() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        aapl = await contract(client)
        send = client.client.placeOrder
        trade = client.placeOrder(aapl, limit("BUY", 10, 30.0))
        await eventually(lambda: trade.orderStatus.status == "Submitted")
        order_id = trade.order.orderId
        expected: list[int] = []
        for changed, code in (
            (limit("SELL", 10, 30.0), 105),
            (market("BUY", 10), 105),
            (limit("BUY", 10, 30.005), 110),
            (limit("BUY", 10_000_000, 30.0), 201),
        ):
            send(order_id, aapl, changed)
            expected.append(code)
            await eventually(lambda: codes(client) == expected)
            assert gateway.core.desk.orders[trade.order.permId or 1_000_001].active
        send(order_id, stock("KO"), limit("BUY", 10, 30.0))
        await eventually(lambda: codes(client).count(105) == 3)
        send(order_id, aapl, market("BUY", 10, tif="IOC"))
        await eventually(lambda: codes(client).count(105) == 4)
        send(order_id, aapl, limit("BUY", 10, 60.0))
        await eventually(lambda: gateway.core.desk.orders[1_000_001].status == "Filled")
        send(order_id, aapl, limit("BUY", 10, 60.0))
        await eventually(lambda: codes(client)[-1] == 104)
        cancelled = limit("BUY", 10, 30.0)
        send(order_id + 50, aapl, cancelled)
        client.client.cancelOrder(order_id + 50)
        await eventually(lambda: codes(client)[-1] == 202)
        send(order_id + 50, aapl, cancelled)
        await eventually(lambda: codes(client)[-1] == 103)


async def test_size_cannot_go_below_what_is_filled() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        rrc = await contract(client, "RRC")
        order = limit("BUY", 20_000, 20.0, "DU1234567/1/RRC/0/0")
        trade = client.placeOrder(rrc, order)
        await eventually(lambda: trade.orderStatus.filled > 1)
        got = trade.orderStatus.filled
        order_id = trade.order.orderId
        client.client.placeOrder(order_id, rrc, limit("BUY", 1, 20.0, order.orderRef))
        await eventually(lambda: codes(client) == [201])
        client.client.placeOrder(order_id, rrc, limit("BUY", got, 20.0, order.orderRef))
        await eventually(lambda: gateway.core.desk.find(12, order_id).status == "Filled")  # type: ignore[union-attr]
        assert gateway.core.engine.working() == []


async def test_at_most_twenty_active_orders_a_side() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        aapl = await contract(client)
        for i in range(21):
            client.placeOrder(aapl, limit("BUY", 1, 30.0, f"DU1234567/1/AAPL/{i}/0"))
        await eventually(lambda: codes(client) == [201])
        assert len(gateway.core.desk.active()) == 20


async def test_duplicate_order_refs_are_counted_not_refused() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        aapl = await contract(client)
        for _ in range(2):
            client.placeOrder(aapl, market("BUY", 1))
        await eventually(lambda: len(gateway.core.desk.executions) == 2)
        status, told = await http(gateway, "GET", "/status")
        assert status == 200
        count = told["order_refs"]["DU1234567/1/AAPL/0/0"]
        assert (count["messages"], count["orders"], count["executions"], count["filled"]) == (2, 2, 2, 2.0)


async def test_what_if_answers_and_never_trades() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        state = await asyncio.wait_for(client.whatIfOrderAsync(await contract(client), market("BUY", 1000)), 3)
        assert float(state.initMarginChange) == pytest.approx(500 * gateway.core.market.mark("AAPL"), abs=0.01)
        assert float(state.commission) == 5.0
        assert gateway.core.desk.orders == {}
        assert gateway.core.desk.executions == []
