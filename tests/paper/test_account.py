"""The account: commissions, positions, margin, and conservation of cash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triplane.paper.desk.account import Account, order_commission

fills = st.lists(
    st.tuples(
        st.sampled_from(["A", "B"]),
        st.sampled_from([1, -1]),
        st.integers(1, 1000),
        st.integers(100, 10_000).map(lambda c: c / 100),
        st.integers(0, 500).map(lambda c: c / 100),
    ),
    max_size=40,
)


@pytest.mark.parametrize(
    ("quantity", "notional", "expected"),
    [(0, 0, 0.0), (1, 50, 0.5), (100, 5000, 1.0), (1000, 50_000, 5.0), (100, 20, 0.2)],
)
def test_commission_schedule(quantity: float, notional: float, expected: float) -> None:
    assert order_commission(quantity, notional) == pytest.approx(expected)


@given(fills)
def test_cash_is_conserved(sequence: list[tuple[str, int, int, float, float]]) -> None:
    account = Account("DU1", 1e6)
    held = {"A": 0, "B": 0}
    spent = fees = 0.0
    for symbol, side, quantity, price, fee in sequence:
        account.fill(symbol, side, quantity, price, fee)
        held[symbol] += side * quantity
        spent += side * quantity * price
        fees += fee
    assert account.cash == pytest.approx(1e6 - spent - fees, abs=1e-6)
    assert account.commissions == pytest.approx(fees)
    marks = {"A": 17.0, "B": 42.0}
    values = account.values(marks)
    assert values["NetLiquidation"] == pytest.approx(account.cash + sum(held[s] * marks[s] for s in held), abs=1e-6)
    # What was earned is realised or unrealised, and nothing else.
    assert values["NetLiquidation"] - 1e6 == pytest.approx(values["RealizedPnL"] + values["UnrealizedPnL"], abs=1e-5)
    assert account.held() == sorted(symbol for symbol, quantity in held.items() if quantity)
    assert values["GrossPositionValue"] >= abs(values["StockMarketValue"]) - 1e-9
    assert values["AvailableFunds"] == pytest.approx(
        values["NetLiquidation"] - 0.5 * values["GrossPositionValue"], abs=1e-6
    )


def test_average_cost_and_realised_profit_through_a_reversal() -> None:
    account = Account("DU1", 0.0)
    assert account.fill("A", 1, 100, 10.0, 1.0) == -1.0
    account.fill("A", 1, 100, 20.0, 0.0)
    assert account.positions["A"].average_cost == 15.0
    assert account.fill("A", -1, 300, 25.0, 2.0) == pytest.approx(200 * 10 - 2.0)
    assert (account.positions["A"].quantity, account.positions["A"].average_cost) == (-100, 25.0)
    assert account.fill("A", 1, 100, 20.0, 0.0) == pytest.approx(500.0)
    assert (account.positions["A"].quantity, account.positions["A"].average_cost) == (0, 0.0)


def test_corrections_move_cash_and_cost() -> None:
    account = Account("DU1", 1000.0)
    account.fill("A", 1, 10, 10.0, 0.0)
    account.correct("A", 1, 10, 10.0, 10.5)
    assert account.cash == pytest.approx(895.0)
    assert account.positions["A"].average_cost == pytest.approx(10.5)
    account.fill("A", -1, 10, 12.0, 0.0)
    account.correct("A", -1, 10, 12.0, 11.0)
    assert account.cash == pytest.approx(895.0 + 110.0)
