"""Orders against a real gateway process: what goes out once, and what comes back raw."""

from __future__ import annotations

from typing import Any

import pytest

from tests.broker.gateways import ACCOUNT, GatewayProcess
from tests.broker.sessions import connected, place, request
from tests.waiting import eventually
from triplane.broker import orders
from triplane.broker.orders import OrderFieldError
from triplane.broker.session import BrokerSession, BrokerUnavailable
from triplane.domain.timestamps import MINUTE

pytestmark = pytest.mark.integration


async def test_a_market_order_fills_and_every_report_has_its_identity(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    place(session, session.next_order_id, f"{ACCOUNT}/1/KO/1/0", quantity=100)
    await recorder.until(lambda: recorder.of("commission"))
    opened = recorder.of("open_order")[0]
    assert opened["order_ref"] == f"{ACCOUNT}/1/KO/1/0"
    assert (opened["symbol"], opened["action"], opened["quantity"], opened["order_type"]) == ("KO", "BUY", 100.0, "MKT")
    assert opened["perm_id"] > 0
    assert opened["client_id"] == 12
    fills = recorder.of("execution")
    assert sum(fill["quantity"] for fill in fills) == 100.0
    fill = fills[0]
    assert fill["perm_id"] == opened["perm_id"]
    assert fill["action"] == "BUY"
    assert fill["labels"]["live"] == "1"
    assert fill["labels"]["liquidation"] == "0"
    assert fill["broker_time"] == gateway.status()["market_time"]
    truth = [line["execution"] for line in gateway.journal() if line["kind"] == "execution"]
    assert [(f["exec_id"], f["quantity"], f["last_price"]) for f in fills] == [
        (t["exec_id"], t["quantity"], t["price"]) for t in truth
    ]
    assert {report["exec_id"] for report in recorder.of("commission")} == {t["exec_id"] for t in truth}
    assert recorder.of("commission")[0]["values"]["commission"] > 0
    status = await recorder.until(lambda: recorder.of("order_status", status="Filled"))
    assert status[0]["filled"] == 100.0
    await session.close()


async def test_a_resting_order_is_modified_and_cancelled_under_its_id(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    order_id = session.next_order_id
    place(session, order_id, f"{ACCOUNT}/2/KO/1/0", limit_price=10.0)
    await recorder.until(lambda: recorder.of("order_status", status="Submitted"))
    place(session, order_id, f"{ACCOUNT}/2/KO/1/1", limit_price=11.0)
    await recorder.until(lambda: recorder.of("open_order", limit_price=11.0))
    orders.cancel(session, order_id)
    await recorder.until(lambda: recorder.of("order_status", status="Cancelled"))
    assert recorder.of("error", code=202, order_id=order_id)
    kinds = [
        (line["kind"], line.get("modify"))
        for line in gateway.journal()
        if line.get("orderRef", "").startswith(f"{ACCOUNT}/2/")
    ]
    assert kinds.count(("order", False)) == 1
    assert kinds.count(("order", True)) == 1
    await session.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"limit_price": 10.0, "tif": "IOC"},
        {"limit_price": 10.0, "tif": "GTD"},
        {"limit_price": 45.0, "algo": "Adaptive", "algo_priority": "Patient"},
        {"action": "SELL", "tif": "IOC"},
    ],
)
async def test_the_gateway_takes_every_shape_that_is_built(gateway: GatewayProcess, fields: dict[str, Any]) -> None:
    session, recorder = await connected(gateway)
    if fields.get("tif") == "GTD":
        fields = fields | {"good_till": gateway.status()["market_time"] + 2 * MINUTE}
    place(session, session.next_order_id, f"{ACCOUNT}/3/KO/1/0", **fields)
    (opened,) = await recorder.until(lambda: recorder.of("open_order")[:1])
    assert opened["tif"] == fields.get("tif", "DAY")
    assert opened["algo"] == fields.get("algo", "")
    if fields.get("tif") == "GTD":
        gateway.advance(minutes=3)
    if fields.get("tif") in ("IOC", "GTD"):
        await recorder.until(
            lambda: recorder.of("order_status", status="Cancelled") or recorder.of("order_status", status="Filled")
        )
    assert gateway.sent() == {f"{ACCOUNT}/3/KO/1/0": 1}
    await session.close()


async def test_a_false_error_changes_nothing_and_is_only_reported(gateway: GatewayProcess) -> None:
    """Error 10349 makes the client library mark the order cancelled while it is live (protocol reference, section 6)."""
    session, recorder = await connected(gateway)
    gateway.fault("order_error", code=10349, live=True)
    order_id = session.next_order_id
    place(session, order_id, f"{ACCOUNT}/4/KO/1/0", limit_price=10.0)
    await recorder.until(lambda: recorder.of("error", code=10349, order_id=order_id))
    await recorder.until(lambda: recorder.of("order_status", status="Submitted"))
    assert not recorder.of("order_status", status="Cancelled")
    assert [order["status"] for order in gateway.orders()] == ["Submitted"]
    await session.close()


async def test_repeats_and_corrections_are_passed_on_as_they_came(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    gateway.fault("duplicate_executions")
    place(session, session.next_order_id, f"{ACCOUNT}/5/KO/1/0", quantity=10)
    await recorder.until(lambda: len(recorder.of("execution")) == 2)
    assert len({fill["exec_id"] for fill in recorder.of("execution")}) == 1
    gateway.fault("correct_executions")
    place(session, session.next_order_id + 1, f"{ACCOUNT}/6/KO/1/0", quantity=10)
    await recorder.until(lambda: len(recorder.of("execution")) == 4)
    first, second = (fill["exec_id"] for fill in recorder.of("execution")[2:])
    assert first.rsplit(".", 1)[0] == second.rsplit(".", 1)[0]
    assert first != second
    await session.close()


async def test_only_the_placing_client_cancels_but_a_global_cancel_reaches_all(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    other, heard = await connected(gateway, client_id=13)
    order_id = session.next_order_id
    place(session, order_id, f"{ACCOUNT}/7/KO/1/0", limit_price=10.0)
    await recorder.until(lambda: recorder.of("order_status", status="Submitted"))
    orders.cancel(other, order_id)
    await heard.until(lambda: heard.of("error", code=10147))
    assert gateway.status()["open_orders"] == 1
    orders.global_cancel(other)
    await recorder.until(lambda: recorder.of("order_status", status="Cancelled"))
    assert gateway.status()["open_orders"] == 0
    await session.close()
    await other.close()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"tif": "GTC"}, "time in force 'GTC'"),
        ({"tif": "GTD"}, "good-till 0"),
        ({"good_till": 5}, "DAY with good-till 5"),
        ({"quantity": 0}, "quantity 0"),
        ({"quantity": 1.5}, "quantity 1.5"),
        ({"quantity": float("nan")}, "quantity nan"),
        ({"action": "SHORT"}, "action 'SHORT'"),
        ({"order_type": "STP"}, "order type 'STP'"),
        ({"order_type": "LMT"}, "LMT with limit price 0"),
        ({"order_type": "MKT", "limit_price": 3.0}, "MKT with limit price 3"),
        ({"algo": "Vwap"}, "algo 'Vwap'"),
        ({"order_ref": "x" * 41}, "1 to 40 ASCII"),
        ({"order_ref": "é"}, "1 to 40 ASCII"),
        ({"account": ""}, "without an account"),
    ],
)
def test_contradictory_fields_never_reach_the_socket(fields: dict[str, Any], sentence: str) -> None:
    values: dict[str, Any] = {
        "order_ref": "DU1/1/KO/1/0", "account": "DU1", "symbol": "KO", "con_id": 0, "action": "BUY", "order_type": "MKT", "quantity": 1.0
    }  # fmt: skip
    with pytest.raises(OrderFieldError, match=sentence):
        orders.order_of(orders.OrderRequest(**(values | fields)))


async def test_without_a_connection_nothing_is_sent_and_that_is_said(gateway: GatewayProcess) -> None:
    session, _ = await connected(gateway)
    await session.close()
    with pytest.raises(BrokerUnavailable, match="nothing was sent"):
        orders.place(session, 1, request("DU1/1/KO/1/0"))
    with pytest.raises(BrokerUnavailable):
        orders.cancel(BrokerSession(), 1)
    eventually(lambda: gateway.status()["clients"] == [])
    assert gateway.sent() == {}
