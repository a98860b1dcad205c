"""Quotes, gates, account and costs as folded, and what they block."""

import math
from typing import Any

import numpy as np
import pytest

from strategy_plane.inputs.account import AccountBook
from strategy_plane.inputs.gates import GateBoard
from strategy_plane.inputs.quotes import QuoteBoard
from strategy_plane.portfolio.blocking import HOLDS, PRICE_CODES, Block, name_blocks, warming
from strategy_plane.portfolio.decision import universe_hold
from triplane.domain.targets import StrategyTargets
from triplane.domain.timestamps import SECOND

SYMBOLS = ["A", "B", "C"]


def quote(symbols=SYMBOLS, mid=10.0, t=100, status="live", halted=False, **changes):
    n = len(symbols)
    return {
        "symbols": list(symbols), "bid": [mid - 0.1] * n, "ask": [mid + 0.1] * n, "quote_time": [t * SECOND] * n,
        "status": [status] * n, "halted": [halted] * n, **changes,
    }  # fmt: skip


def board(*records):
    result = QuoteBoard(SYMBOLS)
    for record in records:
        result.offer(record)
    result.settle()
    return result


def test_the_newest_quote_of_each_name_counts():
    got = board(quote(mid=1.0), quote(["B"], mid=2.0), quote(["C", "Z"], mid=3.0), quote(["C"], mid=4.0))
    assert got.mid().tolist() == [1.0, 2.0, 4.0]
    assert got.half_spread().tolist() == pytest.approx([0.1, 0.05, 0.025])
    got.offer(quote(["A"], mid=9.0))
    got.settle()
    assert got.mid().tolist() == [9.0, 2.0, 4.0]
    got.offer({"symbols": []})
    got.settle()
    assert got.mid().tolist() == [9.0, 2.0, 4.0]


def test_slices_are_equal_to_reading_them_one_by_one():
    rng = np.random.default_rng(1)
    records = []
    for k in range(60):
        names = [s for s in SYMBOLS if rng.random() < 0.5]
        records.append(quote(names, mid=float(k), t=k))
    last = {name: record["bid"][record["symbols"].index(name)] for record in records for name in record["symbols"]}
    assert board(*records).bid.tolist() == [last[name] for name in SYMBOLS]


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (quote(t=100), ""),
        (quote(t=70), ""),
        (quote(t=69), "DATA_STALE"),
        (quote(status="delayed"), "DATA_DELAYED"),
        (quote(status="frozen"), "DATA_STALE"),
        (quote(status="none"), "DATA_STALE"),
        (quote(halted=True), "HALTED"),
        (quote(bid=[float("nan")] * 3), "DATA_STALE"),
        (quote(ask=[9.0] * 3), "DATA_STALE"),
        (quote(bid=[0.0] * 3), "DATA_STALE"),
    ],
)
def test_quote_codes(record, code):
    assert board(record).codes(100 * SECOND, 30.0) == [code] * 3


def test_no_quote_is_stale_and_boards_continue_exactly():
    assert board().codes(100 * SECOND, 30.0) == ["DATA_STALE"] * 3
    one = board(quote(), quote(["B"], status="delayed"))
    two = QuoteBoard.restored(one.state())
    np.testing.assert_equal(one.state(), two.state())
    one.reindex(["B", "NEW", "A"], [1, -1, 0])
    assert one.codes(100 * SECOND, 30.0) == ["DATA_DELAYED", "DATA_STALE", ""]


def gate(name, source, scope, is_open, code="X"):
    return {"gate": name, "source": source, "scope": scope, "open": is_open, "code": code}


def test_gates_of_market_sources_hold_and_others_do_not():
    gates = GateBoard()
    columns = {"A": 0, "B": 1}
    gates.fold(gate("freshness", "ibkr", "B", False))
    gates.fold(gate("schema", "edgar", "", False))
    assert gates.closed(columns, {"main"}) == ("", {})
    gates.observe("ibkr")
    gates.observe("ibkr")
    assert gates.closed(columns, {"main"}) == ("", {1: "freshness"})
    gates.fold(gate("completeness", "ibkr", "main", False))
    assert gates.closed(columns, {"main"})[0] == "completeness"
    assert GateBoard.restored(gates.state()).state() == gates.state()
    for name in ("freshness", "contract", "quote_freshness"):  # that of the contract is the cause of the others
        gates.fold(gate(name, "ibkr", "A", False))
    assert gates.closed({"A": 0}, {"main"})[1] == {0: "contract"}
    for name in ("freshness", "contract", "quote_freshness"):
        gates.fold(gate(name, "ibkr", "A", True))
    gates.fold(gate("completeness", "ibkr", "main", True))
    gates.fold(gate("freshness", "ibkr", "B", True))
    gates.fold(gate("freshness", "ibkr", "B", True))
    assert gates.closed(columns, {"main"}) == ("", {})
    gates.fold(gate("freshness", "ibkr", "ZZZ", False))  # it was a row of assets.csv once
    assert gates.closed(columns, {"main"}) == ("", {})
    gates.fold(gate("clock", "ntp", "", False))
    gates.fold(gate("clock", "ntp2", "", False))
    assert gates.closed(columns, {"main"})[0] == "clock"


def account(**changes):
    return {
        "account": "DU1", "nav": 1000.0, "reconciled": True, "drawdown": 0.02, "kill_level": "none", "kill_reason": "",
        "base_currency": "", "symbols": ["B", "Z"], "position": [5.0, 9.0], "mark": [2.0, 1.0], "held": [], "excluded": [],
        **changes,
    }  # fmt: skip


def test_account_facts():
    book = AccountBook("DU1")
    assert not book.known
    assert np.isnan(book.nav)
    assert (book.drawdown, book.kill_level, book.kill_reason, book.base_currency) == (0.0, "", "", "USD")
    assert book.held() == {}
    assert book.positions(SYMBOLS)[0].tolist() == [0, 0, 0]
    book.fold_account(4, account(account="DU2"))
    assert book.offset == -1
    book.fold_account(5, account(held=["A:SHORT_RECALLED", "C"], excluded=["A", "B"]))
    assert (book.known, book.offset, book.nav, book.drawdown) == (True, 5, 1000.0, 0.02)
    position, mark = book.positions(SYMBOLS)
    assert position.tolist() == [0.0, 5.0, 0.0]
    np.testing.assert_array_equal(mark, [np.nan, 2.0, np.nan])
    assert book.held() == {"A": "FOREIGN_POSITION", "B": "FOREIGN_POSITION", "C": "SYMBOL_HELD"}
    again = AccountBook.restored("DU1", book.state())
    assert again.state() == book.state()
    for bad in ({"reconciled": False}, {"nav": 0.0}, {"nav": float("nan")}):
        book.fold_account(6, account(**bad))
        assert not book.known


def test_costs_are_the_profile_s_or_the_initial_ones():
    book = AccountBook("DU1")
    linear, impact = book.costs(["Standard", "ETF"], 5e-4, 1.0)
    assert (linear.tolist(), impact.tolist()) == ([5e-4] * 2, [1.0] * 2)
    estimate = {"account": "DU1", "profiles": ["Standard"], "linear": [2e-4], "impact": [0.7]}
    book.fold_costs({**estimate, "account": "DU2"})
    assert book.costs(["Standard"], 5e-4, 1.0)[0].tolist() == [5e-4]
    book.fold_costs(estimate)
    linear, impact = book.costs(["Standard", "ETF"], 5e-4, 1.0)
    assert (linear.tolist(), impact.tolist()) == ([2e-4, 5e-4], [0.7, 1.0])
    assert AccountBook.restored("DU1", book.state()).costs(["Standard"], 0, 0)[1].tolist() == [0.7]
    for wrong in (
        {"linear": [math.nan]},
        {"impact": [-math.inf]},
        {"linear": [-1e-4]},
    ):  # no cost: the one before stands
        book.fold_costs(estimate | {"linear": [3e-4], "impact": [0.9]} | wrong)
        assert [values.tolist() for values in book.costs(["Standard"], 0, 0)] == [[2e-4], [0.7]]


def test_warming_tells_the_wait_that_ends_last():
    targets = StrategyTargets(MOM_LOOKBACK=252, POS_LOOKBACK=200, REV_LOOKBACK=21, COV_MIN_OBS=60)
    age = np.array([0, 180, 252, 252, 300])
    seen = np.array([0, 179, 251, 30, 299])
    assert warming(age, seen, targets) == [
        "momentum 0/252 bars",
        "momentum 180/252 bars",
        "",
        "covariance 30/60 bars",
        "",
    ]
    pos = StrategyTargets(MOM_LOOKBACK=100, MOM_LAG=5, POS_LOOKBACK=200)
    assert warming(np.array([150]), np.array([149]), pos) == ["POS 150/200 bars"]


def blocks(**changes):
    fields: dict[str, Any] = {
        "class_codes": [""], "currencies": ["USD"], "base_currency": "USD", "account_held": {}, "gates": {},
        "quote_codes": [""], "idle": np.array([0]), "bars_behind": 0, "warm": [""], "adv": np.array([1.0]),
        "costs": np.array([1.0]), "spoke": np.array([True]),
    } | changes  # fmt: skip
    return name_blocks(["A"], **fields)[0]


def test_names_without_a_contract_count_for_nothing_in_what_the_universe_lacks():
    unknown, stale = Block("CONTRACT_UNKNOWN"), Block("DATA_STALE")
    usable = np.array([True] * 10)
    assert universe_hold([unknown] * 4 + [None] * 6, usable, 0.2) == ("", "")
    assert universe_hold([unknown] * 4 + [stale] * 2 + [None] * 4, usable, 0.2)[1] == "2 of 6 (DATA_STALE 2)"
    assert universe_hold([unknown] * 10, usable, 0.2) == ("HOLD_NOTHING_TRADABLE", "CONTRACT_UNKNOWN")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"class_codes": ["CLASS_NOT_TRADED"]}, "A:CLASS_NOT_TRADED"),
        ({"currencies": ["EUR"]}, "A:CURRENCY_NOT_TRADED EUR prices, USD account"),
        ({"account_held": {"A": "FOREIGN_POSITION"}}, "A:FOREIGN_POSITION"),
        ({"gates": {0: "freshness"}}, "A:GATE_CLOSED freshness"),
        ({"gates": {0: "contract"}}, "A:CONTRACT_UNKNOWN"),
        ({"quote_codes": ["DATA_DELAYED"]}, "A:DATA_DELAYED"),
        ({"warm": ["momentum 180/252 bars"]}, "A:WARMING momentum 180/252 bars"),
        ({"idle": np.array([2]), "bars_behind": 1}, "A:BARS_STALE last daily bar is 3 sessions old"),
        ({"adv": np.array([np.nan])}, "A:ADV_UNKNOWN fewer than 11 of the last 21 sessions have a volume"),
        ({"costs": np.array([np.nan])}, "A:COST_UNKNOWN the learned cost is not a number"),
        ({"spoke": np.array([False])}, "A:NO_SIGNAL every signal abstains"),
    ],
)
def test_each_block_and_its_text(changes, text):
    assert blocks() is None
    assert blocks(**changes).text("A") == text


def test_the_first_block_in_order_is_told():
    both = blocks(quote_codes=["DATA_STALE"], warm=["momentum 1/2 bars"], account_held={"A": "SYMBOL_HELD"})
    assert both == Block("SYMBOL_HELD")
    assert blocks(quote_codes=["DATA_STALE"], warm=["momentum 1/2 bars"]).code in PRICE_CODES


def test_every_hold_has_a_sentence():
    for code, sentence in HOLDS.items():
        assert code.startswith("HOLD_")
        assert len(sentence) > 10
