"""Orders of an unmodified client library at the gateway: states, fills, modify, cancel, error codes, reconnects and faults."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest

from tests.paper.harness import ACCOUNT, codes, connect, connected, eventually, fault, http, ib, running, stock, to


async def contract(client: Any, symbol: str = "AAPL") -> Any:
    return (await client.qualifyContractsAsync(stock(symbol)))[0]


def limit(action: str, quantity: float, price: float, ref: str = "DU1234567/1/AAPL/0/0", **fields: Any) -> Any:
    return ib.LimitOrder(action, quantity, price, orderRef=ref, account=ACCOUNT, tif=fields.pop("tif", "DAY"), **fields)


def market(action: str, quantity: float, ref: str = "DU1234567/1/AAPL/0/0", **fields: Any) -> Any:
    return ib.MarketOrder(action, quantity, orderRef=ref, account=ACCOUNT, tif=fields.pop("tif", "DAY"), **fields)


async def filled(trade: Any) -> None:
    await eventually(lambda: trade.orderStatus.status == "Filled")


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


# --- faults -------------------------------------------------------------------------------------------------------------------


async def test_fault_drop_cuts_every_connection_and_orders_survive() -> None:
    async with running() as gateway, connected(gateway, 12) as client, connected(gateway, 13):
        await to(gateway, "15:30")
        client.placeOrder(await contract(client), limit("BUY", 10, 30.0))
        await eventually(lambda: gateway.core.desk.active())
        await fault(gateway, "drop")
        await eventually(lambda: not client.isConnected())
        await eventually(lambda: not gateway.core.clients)
        assert len(gateway.core.desk.active()) == 1


async def test_fault_hang_stops_answers_and_the_market() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        await fault(gateway, "hang", seconds=0.3)
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asked := asyncio.ensure_future(client.reqCurrentTimeAsync())), 0.1)
        await to(gateway, "15:31")
        await asked
        assert loop.time() - began >= 0.28
        await fault(gateway, "hang", seconds=600)
        await fault(gateway, "hang", seconds=0)
        await asyncio.wait_for(client.reqCurrentTimeAsync(), 2)


async def test_fault_delayed_acks_come_late_and_in_order() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        aapl = await contract(client)
        await fault(gateway, "delay_acks", seconds=0.3)
        trade = client.placeOrder(aapl, market("BUY", 10))
        await eventually(lambda: gateway.core.desk.executions)
        second = client.placeOrder(aapl, limit("BUY", 10, 30.0, "R2"))
        await eventually(lambda: len(gateway.core.desk.orders) == 2)
        await asyncio.sleep(0.05)
        assert (trade.orderStatus.status, second.orderStatus.status) == ("PendingSubmit", "PendingSubmit")
        await filled(trade)
        await eventually(lambda: second.orderStatus.status == "Submitted")
        assert [entry.status for entry in trade.log][:2] == ["PendingSubmit", "Submitted"]


async def test_fault_suppressed_execution_is_found_by_request() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        await fault(gateway, "suppress_executions")
        trade = client.placeOrder(await contract(client), market("BUY", 10))
        await filled(trade)
        assert trade.fills == []
        assert [f.execution.shares for f in await client.reqExecutionsAsync()] == [10]


async def test_fault_duplicate_and_corrected_executions() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        seen: list[str] = []
        original = client.client.decoder.handlers[11]

        def heard(fields: list[str]) -> None:
            seen.append(fields[14])
            original(fields)

        client.client.decoder.handlers[11] = heard
        aapl = await contract(client)
        await fault(gateway, "duplicate_executions")
        await filled(client.placeOrder(aapl, market("BUY", 10)))
        assert seen[0] == seen[1]
        await fault(gateway, "correct_executions")
        cash = gateway.core.account.cash
        await filled(client.placeOrder(aapl, market("BUY", 10, "R2")))
        await eventually(lambda: len(seen) == 4)
        assert seen[2].endswith(".01")
        assert seen[3] == seen[2][:-2] + "02"
        last = gateway.core.desk.executions[-1]
        assert last.exec_id == seen[3]
        assert gateway.core.account.cash == pytest.approx(cash - 10 * last.price - 1.0)
        assert len(await client.reqExecutionsAsync()) == 2


async def test_fault_disconnect_mid_fill_loses_no_fill() -> None:
    async with running() as gateway:
        client = await connect(gateway)
        await to(gateway, "15:30")
        await fault(gateway, "disconnect_mid_fill")
        client.placeOrder(await contract(client), market("BUY", 10))
        await eventually(lambda: not client.isConnected())
        async with connected(gateway) as again:
            assert [f.execution.shares for f in again.fills()] == [10]
            assert [p.position for p in again.positions()] == [10]


@pytest.mark.parametrize("code", [103, 104, 110, 161, 201, 203, 321])
async def test_fault_order_errors(code: int) -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        await fault(gateway, "order_error", code=code, text="injected")
        client.placeOrder(await contract(client), market("BUY", 10))
        await eventually(lambda: codes(client) == [code])
        assert gateway.core.desk.orders == {}
        await filled(client.placeOrder(await contract(client), market("BUY", 10, "R2")))


@pytest.mark.parametrize("code", [10349, 399, 404])
async def test_fault_error_that_leaves_the_order_live(code: int) -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        await fault(gateway, "order_error", code=code, live=True)
        trade = client.placeOrder(await contract(client), limit("BUY", 10, 30.0))
        await eventually(lambda: codes(client) == [code])
        assert len(gateway.core.desk.active()) == 1
        if code == 10349:
            assert trade.orderStatus.status == "Cancelled"  # both libraries believe so, wrongly
        assert [t.order.orderRef for t in await client.reqAllOpenOrdersAsync()] == ["DU1234567/1/AAPL/0/0"]


async def test_fault_modify_and_cancel_errors() -> None:
    async with running() as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        aapl = await contract(client)
        trade = client.placeOrder(aapl, limit("BUY", 10, 30.0))
        await eventually(lambda: trade.orderStatus.status == "Submitted")
        await fault(gateway, "modify_error", code=201)
        client.client.placeOrder(trade.order.orderId, aapl, limit("BUY", 20, 30.0))
        await eventually(lambda: codes(client) == [201])
        await fault(gateway, "cancel_error", code=161)
        client.client.cancelOrder(trade.order.orderId)
        await eventually(lambda: codes(client) == [201, 161])
        (order,) = gateway.core.desk.active()
        assert order.terms.quantity == 10


async def test_fault_notice_reaches_every_client() -> None:
    async with running() as gateway, connected(gateway, 12) as one, connected(gateway, 13) as two:
        for code in (1100, 1102, 2110):
            await fault(gateway, "notice", code=code)
        await eventually(lambda: codes(one) == codes(two) == [1100, 1102, 2110])


async def test_fault_next_valid_id_rolls_back_and_a_live_id_is_a_modify() -> None:
    async with running() as gateway:
        client = await connect(gateway)
        await to(gateway, "15:30")
        aapl = await contract(client)
        trade = client.placeOrder(aapl, limit("BUY", 10, 30.0))
        await eventually(lambda: trade.orderStatus.status == "Submitted")
        live = trade.order.orderId
        client.disconnect()
        await eventually(lambda: not gateway.core.clients)
        await fault(gateway, "next_valid_id", value=live)
        answers: list[int] = []
        again = ib.IB()
        handler = again.client.decoder.handlers[9]

        def heard(fields: list[str]) -> None:
            answers.append(int(fields[2]))
            handler(fields)

        again.client.decoder.handlers[9] = heard
        await again.connectAsync("127.0.0.1", gateway.port, clientId=12, timeout=5)
        again.client.reqIds(1)
        await eventually(lambda: answers == [live, live])
        again.client.placeOrder(live, aapl, limit("BUY", 25, 30.0, "R2"))
        await eventually(lambda: gateway.core.desk.orders[1_000_001].terms.quantity == 25)
        assert len(gateway.core.desk.orders) == 1
        again.disconnect()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"fault": "earthquake"}, "unknown; use one of"),
        ({"fault": "hang", "seconds": "long"}, "give a number"),
        ({"fault": "order_error"}, "give IB's error code"),
        ({"fault": "market_data", "symbol": "SPY"}, "not quoted here"),
        ({"fault": "market_data", "symbol": "KO", "mode": "loud"}, "use live, delayed or silent"),
        ([], "not a JSON object"),
    ],
)
async def test_faults_that_cannot_be_understood(body: object, sentence: str) -> None:
    async with running() as gateway:
        status, answer = await http(gateway, "POST", "/fault", body)
        assert status == 400
        assert sentence in answer["error"]


async def test_http_control() -> None:
    async with running() as gateway, connected(gateway) as client:
        assert (await http(gateway, "GET", "/healthz"))[1]["simulated"] is True
        _, told = await http(gateway, "GET", "/status")
        assert (told["phase"], told["running"], told["session"], told["sessions_done"]) == ("held", False, None, 0)
        status, answer = await http(gateway, "POST", "/advance", {"to": "2018-01-19T15:30:00-05:00"})
        assert (status, answer["market_time_iso"]) == (200, "2018-01-19T20:30:00Z")
        status, answer = await http(gateway, "POST", "/advance", {"minutes": 1})
        assert answer["market_time_iso"] == "2018-01-19T20:31:00Z"
        assert (await http(gateway, "POST", "/advance", {"to": answer["market_time"] + 5_000_000_000}))[1][
            "market_time"
        ] == answer["market_time"] + 5_000_000_000
        assert (await http(gateway, "POST", "/advance", {"to": "teatime"}))[0] == 400
        assert (await http(gateway, "POST", "/advance", {}))[0] == 400
        client.placeOrder(await contract(client), limit("BUY", 10, 30.0))
        await eventually(lambda: gateway.core.desk.active())
        assert (await http(gateway, "GET", "/orders"))[1][0]["status"] == "Submitted"
        await fault(gateway, "suppress_executions", count=2)
        await fault(gateway, "order_error", code=201)
        await fault(gateway, "delay_acks", seconds=1)
        await fault(gateway, "market_data", symbol="KO", mode="silent")
        armed = {"suppress_executions": 2, "order_error": [201], "delay_acks": [1], "market_data": {"KO": "silent"}}
        assert (await http(gateway, "GET", "/fault"))[1]["armed"] == armed
        _, told = await http(gateway, "GET", "/status")
        assert told["faults"] == armed
        assert told["open_orders"] == 1
        assert told["true_costs"]["AAPL"] == {"half_spread": 1.5e-4, "impact_y": 0.7, "adv": 160e6}
        assert told["simulated"] is True
        assert (await http(gateway, "POST", "/start"))[1] == {"running": True}
        assert (await http(gateway, "POST", "/pause"))[1]["running"] is False
