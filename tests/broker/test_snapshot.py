"""Snapshots of a real gateway process: complete, or said to be incomplete."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.broker.gateways import ACCOUNT, GatewayProcess
from tests.broker.sessions import connected, place
from triplane.broker import snapshot
from triplane.broker.snapshot import account_values
from triplane.domain import names

pytestmark = pytest.mark.integration


async def test_a_fresh_account_is_complete_and_flat(gateway: GatewayProcess) -> None:
    session, _ = await connected(gateway)
    taken = await snapshot.take(session)
    assert taken.complete, taken.problems
    assert (taken.open_orders, taken.completed_orders, taken.executions, taken.positions) == ((), (), (), ())
    assert taken.values["NetLiquidation"] == 1_000_000.0
    assert taken.base_currency == "USD"
    report = taken.report()
    assert (report["kind"], report["status"], report["symbols"]) == ("snapshot", "complete", [])
    await session.close()


async def test_orders_fills_and_positions_are_all_there_for_another_client_too(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    first = session.next_order_id
    place(session, first, f"{ACCOUNT}/1/KO/1/0", quantity=100)
    place(session, first + 1, f"{ACCOUNT}/1/KO/2/0", quantity=50, limit_price=10.0)
    await recorder.until(
        lambda: (
            recorder.of("order_status", status="Filled")
            and recorder.of("order_status", status="Submitted", order_id=first + 1)
        )
    )
    await session.close()
    other, heard = await connected(gateway, client_id=13)
    taken = await snapshot.take(other)
    assert taken.complete, taken.problems
    assert [order["order_ref"] for order in taken.open_orders] == [f"{ACCOUNT}/1/KO/2/0"]
    assert taken.open_orders[0]["client_id"] == 12
    assert [(order["order_ref"], order["status"], order["filled"]) for order in taken.completed_orders] == [
        (f"{ACCOUNT}/1/KO/1/0", "Filled", 100.0)
    ]
    assert sum(fill["quantity"] for fill in taken.executions) == 100.0
    assert all(fill["labels"]["live"] == "0" for fill in taken.executions)
    report = taken.report()
    assert (report["symbols"], report["quantities"]) == (["KO"], [100.0])
    assert report["refs"] == [f"{ACCOUNT}/1/KO/2/0"]
    # Each row was also reported by itself, before the snapshot's own report would be.
    for kind in ("open_order", "completed_order", "execution", "position"):
        assert heard.of(kind), kind
    # IB reports commissions of another client's orders to the master client id only.
    assert not heard.of("commission")
    await other.close()


async def test_a_gateway_that_falls_silent_gives_no_snapshot(gateway: GatewayProcess) -> None:
    session, _ = await connected(gateway)
    gateway.signal(signal.SIGSTOP)
    try:
        taken = await snapshot.take(session, timeout=0.5)
    finally:
        gateway.signal(signal.SIGCONT)
    assert not taken.complete
    assert len(taken.problems) == 5
    assert taken.report()["status"] == "incomplete"
    # The late answers of the abandoned requests do not confuse the next one.
    taken = await snapshot.take(session)
    assert taken.complete, taken.problems
    await session.close()


async def test_a_connection_that_ends_meanwhile_gives_no_snapshot(gateway: GatewayProcess) -> None:
    session, _ = await connected(gateway)
    gateway.signal(signal.SIGSTOP)
    pending = asyncio.ensure_future(snapshot.take(session, timeout=10))
    await asyncio.sleep(0)
    gateway.process.kill()  # type: ignore[union-attr]
    taken = await pending
    assert not taken.complete
    assert "ended" in taken.problems[0]
    assert len(set(taken.problems)) == len(taken.problems), "one cause is told once"
    # And without a connection there is none either.
    assert not (await snapshot.take(session)).complete


async def test_a_lost_link_makes_it_incomplete_even_when_all_end_markers_come(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    gateway.fault("notice", code=1100)
    await recorder.until(lambda: recorder.of("error", code=1100))
    taken = await snapshot.take(session)
    assert not taken.complete
    assert "down" in taken.problems[0]
    gateway.fault("notice", code=1102)
    await recorder.until(lambda: recorder.of("error", code=1102))
    assert (await snapshot.take(session)).complete
    await session.close()


async def test_a_fill_while_it_is_taken_is_named(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    pending = asyncio.ensure_future(snapshot.take(session))
    place(session, session.next_order_id, f"{ACCOUNT}/1/KO/1/0", quantity=100)
    # The order went out first, so its fill is live and comes before the answers end.
    taken = await pending
    await recorder.until(lambda: recorder.of("execution"))
    assert taken.complete, taken.problems
    assert taken.touched == ("KO",)
    assert names.split(taken.report()["labels"]["touched"]) == ["KO"]
    await session.close()


def test_account_values_are_of_the_account_in_its_base_currency() -> None:
    values, base = account_values(
        [
            ("DU1", "NetLiquidation", "1000.5", "EUR"),
            ("DU1", "AvailableFunds", "900", "EUR"),
            ("DU1", "AvailableFunds", "990", "USD"),
            ("DU2", "NetLiquidation", "5", "USD"),
            ("DU1", "AccountType", "INDIVIDUAL", ""),
            ("DU1", "DayTradesRemaining", "-1", ""),
            ("DU1", "CashBalance", "10", "USD"),
            ("DU1", "CashBalance", "20", "EUR"),
        ],
        "DU1",
    )
    assert base == "EUR"
    assert values == {
        "NetLiquidation": 1000.5, "AvailableFunds": 900.0, "DayTradesRemaining": -1.0, "CashBalance.USD": 10.0, "CashBalance.EUR": 20.0
    }  # fmt: skip
