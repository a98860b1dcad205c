"""When the order plane asks the broker about a contract id again. What the answers do to orders: test_service.py, on a gateway."""

from __future__ import annotations

from typing import Any

import pytest

from order_plane.daemon import contract_check
from order_plane.daemon.contract_check import ContractCheck
from tests.order_plane.desk import asset
from triplane.broker import contracts
from triplane.broker.contracts import ContractUnknown
from triplane.broker.session import BrokerUnavailable


class Log:
    """What was said, by event."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def error(self, event: str, **_: Any) -> None:
        self.said.append(event)

    info = error


async def test_a_refused_id_is_asked_for_again_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Exception | None] = [
        ContractUnknown("knows no"), ContractUnknown("knows no"), BrokerUnavailable("away"), None,
    ]  # fmt: skip
    asked = 0

    async def answer(*_: Any) -> None:
        nonlocal asked
        asked += 1
        if (problem := answers[asked - 1]) is not None:
            raise problem

    monkeypatch.setattr(contracts, "resolve", answer)
    log, row = Log(), asset("AAPL", con_id=7)
    check = ContractCheck(None, log)  # type: ignore[arg-type]  # nothing but `resolve` uses the session
    check.rows = lambda: [row]
    assert "has not confirmed yet" in check.refusal(row, 7)
    await check.ask()
    await check.ask()  # too early
    assert (asked, check.refusal(row, 7)) == (1, "knows no")
    monkeypatch.setattr(contract_check, "AGAIN_S", 0.0)
    check._again[row.broker_symbol, 7] = 0.0
    for count in (2, 3):
        await check.ask()
        assert (asked, check.refusal(row, 7)) == (count, "knows no")
    await check.ask()
    assert (asked, check.refusal(row, 7)) == (4, "")
    await check.ask()  # confirmed: for good
    assert asked == 4
    assert log.said == ["no order in this contract leaves", "contract confirmed"]
