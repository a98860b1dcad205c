"""The gateway's own state: its journal, and what a restart finds again."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.paper.harness import ACCOUNT, ASSETS, connected, eventually, fault, http, ib, running, stock, to
from triplane.domain.assets import AssetsError
from triplane.paper.desk.journal import JOURNAL_NAME, Journal, JournalError


def limit(quantity: float, price: float, ref: str, action: str = "BUY") -> Any:
    return ib.LimitOrder(action, quantity, price, orderRef=ref, account=ACCOUNT, tif="DAY")


async def test_a_restarted_gateway_continues_with_account_orders_and_time(tmp_path: Path) -> None:
    async with running(state_dir=tmp_path, positions=(("KO", 70.0),)) as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        await fault(gateway, "correct_executions")
        client.placeOrder(stock("AAPL"), limit(100, 60.0, "R1"))
        await eventually(lambda: gateway.core.desk.executions)
        working = limit(40, 20.0, "R2")
        client.placeOrder(stock("AAPL"), working)
        await eventually(lambda: len(gateway.core.desk.orders) == 2)
        working.totalQuantity = 50
        client.placeOrder(stock("AAPL"), working)
        await eventually(lambda: gateway.core.desk.orders[1_000_002].terms.quantity == 50)
        gone = limit(10, 20.0, "R3")
        client.placeOrder(stock("KO"), gone)
        await eventually(lambda: len(gateway.core.desk.orders) == 3)
        client.cancelOrder(gone)
        await eventually(lambda: len(gateway.core.desk.active()) == 1)
        await to(gateway, "15:32")
        before = gateway.core.status()
    async with running(state_dir=tmp_path, positions=(("KO", 70.0),)) as gateway:
        after = gateway.core.status()
        for key in (
            "market_time",
            "session",
            "session_open",
            "account",
            "positions",
            "open_orders",
            "orders",
            "executions",
            "commissions",
            "order_refs",
        ):
            assert after[key] == before[key], key
        assert {order.order_ref: order.status for order in gateway.core.desk.orders.values()} == {
            "R1": "Filled",
            "R2": "Submitted",
            "R3": "Cancelled",
        }
        async with connected(gateway) as client:
            assert [(t.order.orderRef, t.order.totalQuantity) for t in client.openTrades()] == [("R2", 50)]
            assert [f.execution.execId[-3:] for f in client.fills()] == [".02"]
            assert client.client.getReqId() > 3
            client.reqGlobalCancel()
            await eventually(lambda: not gateway.core.desk.active())
        await to(gateway, "16:00")
        equity = gateway.core.status()["account"]["NetLiquidation"]
    async with running(state_dir=tmp_path, positions=(("KO", 70.0),)) as gateway:
        assert gateway.core.status()["account"]["NetLiquidation"] == equity
        assert gateway.core.equity_at_close == pytest.approx(equity, abs=0.01)
        assert not gateway.core.clock.in_session
        await to(gateway, "09:31", date(2018, 1, 22))
        assert str(gateway.core.clock.day) == "2018-01-22"


async def test_orders_that_can_trade_do_so_after_a_restart(tmp_path: Path) -> None:
    async with running(state_dir=tmp_path) as gateway, connected(gateway) as client:
        client.placeOrder(stock("AAPL"), limit(100, 60.0, "R1"))
        await eventually(lambda: gateway.core.desk.active())
    async with running(state_dir=tmp_path) as gateway:
        assert gateway.core.desk.active()[0].status == "PreSubmitted"
        await to(gateway, "09:30:05")
        assert sum(e.quantity for e in gateway.core.desk.executions) == 100


async def test_a_kill_between_fills_loses_none(tmp_path: Path) -> None:
    async with running(state_dir=tmp_path) as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        client.placeOrder(stock("RRC"), limit(20_000, 20.0, "R1"))
        await eventually(lambda: gateway.core.desk.executions)
        await to(gateway, "15:31")
        filled = gateway.core.desk.orders[1_000_001].filled
        position = gateway.core.account.positions["RRC"].quantity
    with (tmp_path / JOURNAL_NAME).open("a") as journal:
        journal.write('{"kind":"execution","ns":15164')  # what a kill leaves of a line
    async with running(state_dir=tmp_path) as gateway:
        order = gateway.core.desk.orders[1_000_001]
        # What was filled is there once; the rest goes on working, and may have met the book again at once.
        assert order.filled >= filled == position
        assert gateway.core.account.positions["RRC"].quantity == order.filled
        assert order.filled == sum(e.quantity for e in gateway.core.desk.executions)
        assert len({e.exec_id for e in gateway.core.desk.executions}) == len(gateway.core.desk.executions)
        await to(gateway, "15:50")
        assert order.filled == sum(e.quantity for e in gateway.core.desk.executions) <= 20_000


async def test_a_journal_of_another_run_is_refused(tmp_path: Path) -> None:
    async with running(state_dir=tmp_path):
        pass
    with pytest.raises(JournalError, match="seed 7 there, 8 here"):
        async with running(state_dir=tmp_path, seed=8):
            pass
    (tmp_path / JOURNAL_NAME).write_text("not json\n")
    with pytest.raises(JournalError, match="line 1 is not JSON"):
        async with running(state_dir=tmp_path):
            pass


async def test_a_market_that_has_ended_goes_on_with_more_sessions_and_refuses_fewer_than_it_has_had(
    tmp_path: Path,
) -> None:
    async with running(state_dir=tmp_path, sessions=1) as gateway:
        await to(gateway, "16:00")
        assert gateway.core.status()["finished"]
    async with running(state_dir=tmp_path, sessions=3) as gateway:
        assert not gateway.core.status()["finished"]
        await to(gateway, "09:31", date(2018, 1, 23))
        assert str(gateway.core.clock.day) == "2018-01-23"
    with pytest.raises(
        JournalError, match="in its session 3, 2018-01-23, and is to have 2; start it with `--sessions N`"
    ):
        async with running(state_dir=tmp_path, sessions=2):
            pass


async def test_a_market_that_was_let_go_goes_on_by_itself_under_the_same_start_only(tmp_path: Path) -> None:
    """Another start of the installation loads its history first, and lets its market go when its planes are there."""
    async with running(state_dir=tmp_path, start_id="a", idle_speed=1.0, speed=1.0) as gateway:
        assert not gateway.core.clock.running
        assert (await http(gateway, "POST", "/start"))[0] == 200
    async with running(state_dir=tmp_path, start_id="a", idle_speed=1.0, speed=1.0) as gateway:
        assert gateway.core.clock.running
    async with running(state_dir=tmp_path, start_id="b", idle_speed=1.0, speed=1.0) as gateway:
        assert not gateway.core.clock.running
        assert (await http(gateway, "POST", "/start"))[0] == 200
    async with running(state_dir=tmp_path, start_id="b", idle_speed=1.0, speed=1.0) as gateway:
        assert gateway.core.clock.running


async def test_a_market_that_has_run_goes_on_with_its_rows_when_the_file_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the planes do; a new one has none and is refused."""
    assets = tmp_path / "assets.csv"
    assets.write_text(ASSETS.read_text())
    async with running(state_dir=tmp_path / "state", assets=assets) as gateway:
        rows = gateway.core.universe.canonical()
    for wrong in (ASSETS.read_bytes().replace(b"US0378331005", b"US0378331006"), b"\xff\xfe"):
        assets.write_bytes(wrong)
        async with running(state_dir=tmp_path / "state", assets=assets) as gateway, connected(gateway) as client:
            assert gateway.core.universe.canonical() == rows
            assert await client.qualifyContractsAsync(stock("AAPL"))
        assert f"{assets} is not taken; the market goes on with the rows of its last start" in capsys.readouterr().err
        with pytest.raises(AssetsError, match=r"assets\.csv"):
            async with running(state_dir=tmp_path / "another", assets=assets):
                pass
    assets.unlink()
    os.mkfifo(assets)
    async with running(state_dir=tmp_path / "state", assets=assets) as gateway:
        assert gateway.core.universe.canonical() == rows


async def test_an_order_on_a_removed_asset_is_named(tmp_path: Path) -> None:
    assets = tmp_path / "assets.csv"
    assets.write_text(ASSETS.read_text())
    async with running(state_dir=tmp_path, assets=assets) as gateway, connected(gateway) as client:
        client.placeOrder(stock("XOM"), limit(1, 60.0, "R1"))
        await eventually(lambda: gateway.core.desk.active())
    assets.write_text(
        "".join(line for line in ASSETS.read_text().splitlines(keepends=True) if not line.startswith("XOM,"))
    )
    with pytest.raises(JournalError, match=r"XOM, which assets\.csv has no more"):
        async with running(state_dir=tmp_path, assets=assets):
            pass


async def test_every_line_about_an_order_has_its_ref(tmp_path: Path) -> None:
    async with running(state_dir=tmp_path) as gateway, connected(gateway) as client:
        await to(gateway, "15:30")
        client.placeOrder(stock("AAPL"), limit(10, 60.0, "R1"))
        bad = limit(10, 60.005, "R2")
        client.placeOrder(stock("AAPL"), bad)
        rest = limit(10, 20.0, "R3")
        client.placeOrder(stock("AAPL"), rest)
        await eventually(lambda: len(gateway.core.desk.orders) == 2)
        client.cancelOrder(rest)
        await eventually(lambda: not gateway.core.desk.active())
        _, told = await http(gateway, "GET", "/status")
    lines = [json.loads(line) for line in (tmp_path / JOURNAL_NAME).read_text().splitlines()]
    found = [(line["kind"], line["orderRef"]) for line in lines if "orderRef" in line]
    assert found == [
        ("order", "R1"), ("ack", "R1"), ("execution", "R1"), ("order", "R2"), ("refused", "R2"), ("order", "R3"), ("ack", "R3"),
        ("cancel_request", "R3"), ("ended", "R3"),
    ]  # fmt: skip
    assert lines[0]["kind"] == "start"
    assert lines[0]["simulated"] is True
    assert told["order_refs"]["R3"]["cancels"] == 1
    assert told["journal"]["order"] == 3


def test_a_journal_without_a_path_only_counts() -> None:
    journal = Journal(None)
    assert journal.open() == []
    journal.append("order", 1, orderRef="R", modify=True)
    assert (journal.counts["R"].messages, journal.counts["R"].orders) == (1, 0)
    journal.close()


async def test_a_run_that_was_let_go_goes_on_after_a_restart_in_spite_of_hold(tmp_path: Path) -> None:
    slow = {"speed": 1.0, "idle_speed": 1.0, "approach_speed": 1.0}
    async with running(state_dir=tmp_path, **slow) as gateway:
        assert not gateway.core.clock.running
        await http(gateway, "POST", "/start")
    async with running(state_dir=tmp_path, **slow) as gateway:
        assert gateway.core.clock.running
        await http(gateway, "POST", "/pause")
    async with running(state_dir=tmp_path, **slow) as gateway:
        assert not gateway.core.clock.running
