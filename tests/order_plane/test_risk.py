"""Every limit broken once on purpose, with its code and its numbers; and what passes while limits are exceeded (law L7)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from order_plane.codes import Code
from order_plane.market.quotes import Quote
from order_plane.trading.account import Exposure, Name
from order_plane.trading.risk import Context, Denial, Proposal, check, reservation
from tests.order_plane.desk import asset
from triplane.domain.targets import OrderTargets
from triplane.domain.timestamps import SECOND

NOW = 1_000_000 * SECOND


def exposure(nav: float = 1e6, **names: tuple[float, float, float, float]) -> Exposure:
    result = Exposure(nav)
    for symbol, (position, buys, sells, unit) in ({"AAPL": (0.0, 0.0, 0.0, 100.0)} | names).items():
        result.put(symbol, Name(position, buys, sells, unit))
    return result


def context(**changes: Any) -> Context:
    fields: dict[str, Any] = {
        "targets": OrderTargets(), "asset": asset("AAPL"), "now": NOW, "wall": NOW, "killed": "", "gross_factor": 1.0,
        "connected": True, "reconciled": True, "route_free": True, "hold": "", "account_hold": "", "excluded": False,
        "session": (NOW - 3600 * SECOND, NOW + 3600 * SECOND), "quote": Quote(99.99, 100.01, NOW, NOW, "live", False),
        "adv": 1e6, "day_traded": 0.0, "remaining": 1e5, "key_used": False, "opposite_open": 0.0, "active": 0,
        "orders_in_minute": 0, "notional_in_minute": 0.0, "message_allowed": True, "exposure": exposure(),
        "available_funds": 1e6, "reserved": 0.0,
    }  # fmt: skip
    return Context(**(fields | changes))


def proposal(**changes: Any) -> Proposal:
    return replace(Proposal("DU1/1/AAPL/1/0", 5, "AAPL", 1, 100.0, 100.05, True), **changes)


def targets(**changes: Any) -> OrderTargets:
    return OrderTargets(**changes)


BREAKS: list[tuple[Code, dict[str, Any], dict[str, Any]]] = [
    (Code.KILLED, {}, {"killed": "KILL_PNL"}),
    (Code.ACCOUNT_HELD, {}, {"account_hold": "NAV_JUMP"}),
    (Code.DISCONNECTED, {}, {"connected": False}),
    (Code.UNRECONCILED, {}, {"reconciled": False}),
    (Code.SYMBOL_HELD, {}, {"hold": "UNEXPLAINED"}),
    (Code.FOREIGN_POSITION, {}, {"excluded": True}),
    (Code.FIRST_ORDER_ALONE, {}, {"route_free": False}),
    (Code.UNKNOWN_SYMBOL, {}, {"asset": None}),
    (Code.CLASS_NOT_TRADED, {}, {"asset": asset("EUR.USD", asset_class="FX", sec_type="CASH", cost_profile="FX", sector="", primary_exchange="")}),
    (Code.DUPLICATE_KEY, {}, {"key_used": True}),
    (Code.SESSION_CLOSED, {}, {"session": None}),
    (Code.CLOSE_BUFFER, {}, {"session": (NOW - SECOND, NOW + 299 * SECOND)}),
    (Code.QUOTE_MISSING, {}, {"quote": None}),
    (Code.QUOTE_MISSING, {}, {"quote": Quote(math.nan, 100.0, NOW, NOW, "live", False)}),
    (Code.QUOTE_HALTED, {}, {"quote": Quote(99.99, 100.01, NOW, NOW, "live", True)}),
    (Code.QUOTE_DELAYED, {}, {"quote": Quote(99.99, 100.01, NOW, NOW, "delayed", False)}),
    (Code.QUOTE_STALE, {}, {"quote": Quote(99.99, 100.01, NOW - 21 * SECOND, NOW, "live", False)}),
    (Code.QUOTE_STALE, {}, {"quote": Quote(99.99, 100.01, NOW, NOW - 21 * SECOND, "live", False)}),
    (Code.QUOTE_CROSSED, {}, {"quote": Quote(100.02, 100.01, NOW, NOW, "live", False)}),
    (Code.NOT_A_NUMBER, {"price": math.nan}, {}),
    (Code.NOT_A_NUMBER, {}, {"adv": 0.0}),
    (Code.LOT, {"quantity": 0.5}, {}),
    (Code.LOT, {"quantity": 0.0}, {}),
    (Code.LOT, {"quantity": 5.0}, {"asset": asset("AAPL", min_order=10.0)}),
    (Code.TICK, {"price": 100.055}, {}),
    (Code.COLLAR, {"price": 102.5}, {}),
    (Code.ORDER_QTY, {"quantity": 200.0}, {"targets": targets(ORDER_QTY_MAX=199.0)}),
    (Code.ORDER_NOTIONAL, {}, {"targets": targets(ORDER_NOTIONAL_MAX=10_000.0)}),
    (Code.ORDER_ADV, {}, {"adv": 4_999.0}),
    (Code.DAY_ADV, {}, {"adv": 10_000.0, "day_traded": 401.0}),
    (Code.DAY_ADV, {}, {"adv": 10_000.0, "exposure": exposure(AAPL=(0.0, 201.0, 200.0, 100.0))}),
    (Code.CHILD_OVER_PARENT, {}, {"remaining": 99.0}),
    (Code.SELF_CROSS, {}, {"opposite_open": 1.0}),
    (Code.ACTIVE_PER_SIDE, {}, {"active": 15}),
    (Code.ORDERS_PER_MINUTE, {}, {"orders_in_minute": 20}),
    (Code.NOTIONAL_PER_MINUTE, {}, {"notional_in_minute": 1_990_000.0}),
    (Code.MESSAGE_RATE, {}, {"message_allowed": False}),
    (Code.NO_SHORT, {"side": -1, "price": 99.95}, {"asset": asset("AAPL", shortable=False)}),
    (Code.NAV_UNKNOWN, {}, {"exposure": exposure(nav=math.nan)}),
    (Code.BOX, {}, {"exposure": exposure(AAPL=(2_950.0, 0.0, 0.0, 100.0))}),
    (Code.GROSS, {}, {"exposure": exposure(BAC=(-10_000.0, 0.0, 0.0, 169.95))}),
    (Code.NET, {}, {"exposure": exposure(BAC=(6_000.0, 0.0, 0.0, 99.9))}),
    (Code.NET, {"side": -1, "price": 99.95}, {"exposure": exposure(BAC=(-6_000.0, 0.0, 0.0, 99.9))}),
    (Code.BUYING_POWER, {}, {"reserved": 946_000.0}),
    (Code.BUYING_POWER, {}, {"available_funds": math.nan}),
]  # fmt: skip


def test_a_harmless_order_passes():
    assert check(proposal(), context()) is None
    assert check(proposal(side=-1, price=99.95), context()) is None


@pytest.mark.parametrize(("code", "order", "world"), BREAKS)
def test_each_limit_broken_once(code, order, world):
    denial = check(proposal(**order), context(**world))
    assert denial is not None
    assert denial.code is code
    assert denial.detail.endswith(".")


def test_every_order_code_is_broken_here_or_elsewhere():
    broken = {code for code, _, _ in BREAKS}
    elsewhere = {Code.VOLUME_WAIT, Code.UNANSWERED, Code.FOREIGN_HALT, Code.NAV_JUMP}
    for code in Code:
        if code.group in ("session", "quote", "order", "portfolio", "hold"):
            assert code in broken | elsewhere, code


def test_denials_carry_their_numbers():
    denial = check(proposal(), context(active=15))
    assert isinstance(denial, Denial)
    assert denial.numbers == {"value": 16.0, "limit": 15.0}


@pytest.mark.parametrize(
    ("name", "order", "passes"),
    [
        ((5_000.0, 0.0, 0.0, 100.0), {"side": -1, "price": 99.95}, True),  # shrinks a long beyond box, gross and net
        ((5_000.0, 0.0, 4_950.0, 100.0), {"side": -1, "price": 99.95}, False),  # with all sells it would cross zero
        ((5_000.0, 0.0, 0.0, 100.0), {}, False),  # adds to it
        ((-5_000.0, 0.0, 0.0, 100.0), {}, True),
        ((-5_000.0, 4_950.0, 0.0, 100.0), {}, False),
    ],
)
def test_an_order_that_shrinks_a_breach_passes(name, order, passes):
    tight = targets(BOX_HARD=0.3, GROSS_HARD=0.3, NET_HARD=0.3)
    denial = check(proposal(**order), context(targets=tight, exposure=exposure(AAPL=name), available_funds=1e6))
    assert (denial is None) is passes
    if denial is not None:
        assert denial.code in (Code.BOX, Code.NET)


def test_shrinking_one_exposure_must_not_break_another():
    # Net is too short; buying more of a long name shrinks net but pushes its box
    book = exposure(AAPL=(2_990.0, 0.0, 0.0, 100.0), BAC=(-12_000.0, 0.0, 0.0, 100.0))
    denial = check(proposal(), context(exposure=book))
    assert denial is not None
    assert denial.code is Code.BOX


def test_worst_case_is_never_netted():
    # Position 0, 2,950 bought and 2,950 sold in open orders: both sides stand at 29.5 %
    book = exposure(AAPL=(0.0, 2_950.0, 2_950.0, 100.0))
    for order in (proposal(), proposal(side=-1, price=99.95)):
        denial = check(order, context(exposure=book, adv=1e7))
        assert denial is not None
        assert denial.code is Code.BOX


def test_halved_gross_is_enforced():
    book = exposure(BAC=(-8_000.0, 0.0, 0.0, 100.0), GE=(1_000.0, 0.0, 0.0, 100.0))
    assert check(proposal(), context(exposure=book)) is None
    denial = check(proposal(), context(exposure=book, gross_factor=0.5))
    assert denial is not None
    assert denial.code is Code.GROSS


@pytest.mark.parametrize(
    ("name", "side", "units"),
    [((0.0, 0.0, 0.0, 1.0), 1, 100.0), ((-60.0, 0.0, 0.0, 1.0), 1, 40.0), ((-500.0, 0.0, 0.0, 1.0), 1, 0.0),
     ((70.0, 0.0, 0.0, 1.0), -1, 30.0), ((500.0, 0.0, 0.0, 1.0), -1, 0.0), ((0.0, 50.0, 0.0, 1.0), 1, 100.0)],
)  # fmt: skip
def test_only_what_adds_exposure_reserves_funds(name, side, units):
    reserved = reservation(proposal(side=side, price=10.0), Name(*name), asset("AAPL"), OrderTargets())
    assert reserved == pytest.approx(units * 10.0 * 0.5)
