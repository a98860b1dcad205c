"""Faults on request: what each does to a client that knows nothing of them, and that no fill is lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.paper.harness import (
    codes,
    connect,
    connected,
    contract,
    eventually,
    fault,
    filled,
    http,
    ib,
    limit,
    market,
    running,
    to,
)

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
        (
            {"fault": "market_data", "symbol": "KO", "mode": "loud"},
            "use one of live, delayed, frozen, lots, none, silent",
        ),
        ({"fault": "market_data", "symbol": ["AAPL"]}, "not quoted here"),
        ([], "not a JSON object"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
    ],
    ids=lambda value: str(value)[:40],
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
