"""The matching engine: what may never happen, and the impact that a regression finds again."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triplane.paper.market.matching import (
    ADAPTIVE,
    PASSIVE_SHARE,
    TAKE_SHARE,
    Impact,
    MatchingEngine,
    Quote,
    Trade,
    Traded,
    WorkingOrder,
)

IMPACT = Impact(0.7, 0.02, 1e6)
NEVER = 2**62
QUOTE = Quote(99.98, 100.02, 500.0, 400.0, 100.0)


def engine(quote: Quote = QUOTE, volume: float = 10_000.0, impact: Impact = IMPACT) -> MatchingEngine:
    made = MatchingEngine()
    made.open_market("A", quote, impact, volume)
    return made


def order(
    key: int = 1, side: int = 1, quantity: float = 100.0, limit: float | None = None, **fields: object
) -> WorkingOrder:
    return WorkingOrder(key, "A", side, quantity, limit, **{"parent": f"p{key}", "expires": NEVER, **fields})  # type: ignore[arg-type]


def test_market_order_pays_half_spread_and_impact() -> None:
    (trade,) = engine().add(order(quantity=400))
    displacement = 0.7 * 0.02 * np.sqrt(400 / 1e6)
    assert trade.price == pytest.approx(100.02 + 100 * displacement, abs=1e-4)
    assert trade.half_spread == pytest.approx(2e-4)
    assert trade.displacement == pytest.approx(displacement)
    (sold,) = engine().add(order(side=-1, quantity=400))
    assert sold.price == pytest.approx(99.98 - 100 * displacement, abs=1e-4)


def test_displayed_size_and_volume_limit_what_a_step_gives() -> None:
    book = engine()
    (trade,) = book.add(order(quantity=10_000))
    assert trade.quantity == 400  # the displayed size
    assert book.add(order(key=2)) == []  # nothing is left in this step
    (again,) = book.step("A", Traded(100.0, 100.0, 0.0), QUOTE, 100.0)
    assert again.quantity == TAKE_SHARE * 100


def test_orders_are_served_first_come_first_served() -> None:
    book = engine(volume=0)
    for key in (1, 2, 3):
        book.add(order(key=key, quantity=300))
    trades = book.step("A", Traded(100, 100, 0), QUOTE, 10_000)
    assert [(t.key, t.quantity) for t in trades] == [(1, 300), (2, 100)]


def test_a_limit_caps_the_quantity_that_impact_allows() -> None:
    book = engine(Quote(99.98, 100.02, 50_000, 50_000, 100.0), volume=1e6)
    (trade,) = book.add(order(quantity=50_000, limit=100.05))
    assert 0 < trade.quantity < 50_000
    assert trade.price <= 100.05
    displaced = IMPACT.slice(0, trade.quantity + 1)
    assert 100.02 + 100 * displaced > 100.05
    assert (
        book.step("A", Traded(100.1, 99.0, 1e6), Quote(99.98, 100.05, 9e4, 9e4, 100.01), 1e6) == []
    )  # its own impact is in the way


def test_a_resting_order_fills_at_its_limit_when_traded_through() -> None:
    book = engine()
    assert book.add(order(quantity=1000, limit=99.9)) == []
    assert book.step("A", Traded(100.1, 99.95, 1000), QUOTE, 1000) == []
    (touched,) = book.step("A", Traded(100.1, 99.9, 1000), QUOTE, 1000)
    assert (touched.price, touched.quantity, touched.displacement, touched.added_liquidity) == (
        99.9,
        PASSIVE_SHARE * 500,
        0.0,
        True,
    )
    (crossed,) = book.step("A", Traded(100.1, 99.8, 1000), QUOTE, 1000)
    assert crossed.quantity == PASSIVE_SHARE * 1000
    book.add(order(key=2, side=-1, quantity=10, limit=100.5))
    (sold,) = book.step("A", Traded(100.6, 99.95, 1000), QUOTE, 1000)
    assert (sold.key, sold.price) == (2, 100.5)
    assert book.get(2) is None


def test_resting_orders_share_the_volume() -> None:
    book = engine()
    for key in (1, 2, 3):
        book.add(order(key=key, quantity=200, limit=99.9))
    trades = book.step("A", Traded(100, 99.5, 1000), QUOTE, 1000)
    assert [(t.key, t.quantity) for t in trades] == [(1, 200), (2, 50)]


def test_immediate_orders_have_one_try() -> None:
    book = engine()
    (trade,) = book.add(order(quantity=1000, immediate=True))
    assert trade.quantity == 400
    assert book.working() == []
    assert book.add(order(key=2, limit=99.0, immediate=True)) == []
    assert book.working() == []


def test_orders_wait_while_the_market_is_closed() -> None:
    book = MatchingEngine()
    assert book.add(order(immediate=True)) == []
    assert [o.key for o in book.working()] == [1]
    assert book.quote("A") is None
    book.open_market("A", QUOTE, IMPACT, 1000)
    assert book.quote("A") == QUOTE
    (trade,) = book.step("A", Traded(100, 100, 0), QUOTE, 1000)
    assert trade.quantity == 100
    book.close_market()
    assert book.add(order(key=3)) == []


def test_modify_cancel_and_expiry() -> None:
    book = engine()
    book.add(order(quantity=100, limit=99.0, expires=50))
    (trade,) = book.modify(1, 300, 100.1, False, 60)
    assert trade.quantity == 300
    book.add(order(key=2, quantity=100, limit=99.0, expires=50))
    assert book.expired(49) == []
    assert book.expired(50) == [2]
    book.add(order(key=3, quantity=500, limit=100.1))
    assert book.get(3) is not None
    assert book.modify(3, 100, 100.1, False, NEVER) == []
    assert book.get(3) is None  # it had filled 100 already
    book.add(order(key=4, limit=99.0))
    assert book.cancel(4)
    assert not book.cancel(4)


def test_what_the_engine_refuses() -> None:
    book = engine()
    book.add(order(limit=99.0))
    with pytest.raises(ValueError, match="already working"):
        book.add(order(limit=99.0))
    with pytest.raises(ValueError, match="side"):
        book.add(order(key=2, side=0))
    with pytest.raises(ValueError, match="something left"):
        book.add(order(key=2, quantity=0))


def test_adaptive_pays_less_and_takes_less_the_more_patient_it_is() -> None:
    trades = {}
    for priority in ADAPTIVE:
        (trades[priority],) = engine().add(order(quantity=10_000, adaptive=priority))
    assert trades["Patient"].half_spread < trades["Normal"].half_spread < trades["Urgent"].half_spread < 2e-4
    assert trades["Patient"].quantity < trades["Normal"].quantity < trades["Urgent"].quantity
    book = engine()
    assert book.add(order(limit=100.0, adaptive="Urgent")) == []
    assert book.step("A", Traded(100, 99.0, 1000), QUOTE, 1000) == []  # it works inside the spread, it does not rest


def test_children_of_a_parent_pay_the_impact_of_the_whole() -> None:
    quote = Quote(99.98, 100.02, 1e9, 1e9, 100.0)
    whole = engine(quote, 1e9).add(order(quantity=10_000))
    book = engine(quote, 1e9)
    parts = [t for key in range(10) for t in book.add(order(key=key, quantity=1000, parent="p"))]
    paid = [sum(t.quantity * t.displacement for t in trades) / 10_000 for trades in (whole, parts)]
    assert paid[0] == pytest.approx(paid[1], rel=1e-9) == pytest.approx(0.7 * 0.02 * np.sqrt(0.01))
    other_side = book.add(order(key=99, side=-1, quantity=1000, parent="p"))
    assert other_side[0].displacement == pytest.approx(0.7 * 0.02 * np.sqrt(1e-3))
    book.open_market("A", quote, IMPACT, 1e9)  # transient: the next session knows nothing of it
    assert book.add(order(key=100, quantity=1000, parent="p"))[0].displacement == pytest.approx(
        0.7 * 0.02 * np.sqrt(1e-3)
    )


def test_a_regression_on_prices_finds_spread_and_impact_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, costs = [], []
    for key in range(400):
        sigma, adv, quantity = rng.uniform(0.005, 0.04), rng.uniform(1e6, 1e8), float(rng.integers(100, 50_000))
        mid = round(rng.uniform(20, 300), 2)
        half = 3e-4 * mid
        book = engine(Quote(mid - half, mid + half, 1e9, 1e9, mid), 1e9, Impact(0.7, sigma, adv))
        side = int(rng.choice([1, -1]))
        trades = [
            t
            for cut in range(4)
            for t in book.add(order(key=cut, side=side, quantity=quantity / 4, parent=str(key), lot=0.25))
        ]
        average = sum(t.quantity * t.price for t in trades) / sum(t.quantity for t in trades)
        rows.append([1.0, sigma * np.sqrt(quantity / adv)])
        costs.append(side * (average / mid - 1))
    (half_spread, impact_y), *_ = np.linalg.lstsq(np.array(rows), np.array(costs), rcond=None)
    assert half_spread == pytest.approx(3e-4, abs=2e-6)
    assert impact_y == pytest.approx(0.7, abs=0.005)


prices = st.integers(9_900, 10_100).map(lambda cents: cents / 100)
actions = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.sampled_from([1, -1]),
            st.integers(1, 3000),
            st.none() | prices,
            st.sampled_from(["", "Urgent", "Patient"]),
            st.booleans(),
        ),
        st.tuples(st.just("modify"), st.integers(0, 30), st.integers(1, 3000), prices),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("step"), prices, st.integers(1, 4), st.integers(0, 3000), st.integers(100, 2000)),
        st.tuples(st.just("expire"), st.integers(0, 40)),
    ),
    max_size=60,
)


@given(actions)
@settings(max_examples=300, deadline=None)
def test_no_order_ever_fills_beyond_its_size_limit_or_the_market(sequence: list[Any]) -> None:
    book = engine()
    sizes: dict[int, float] = {}
    limits: dict[int, float | None] = {}
    sides: dict[int, int] = {}
    done: dict[int, float] = defaultdict(float)
    over: set[int] = set()
    quote, volume = QUOTE, 10_000.0
    taken = 0.0

    def check(trades: list[Trade]) -> None:
        nonlocal taken
        for trade in trades:
            assert trade.key not in over
            done[trade.key] += trade.quantity
            assert trade.quantity > 0
            assert trade.quantity == int(trade.quantity)
            assert done[trade.key] <= sizes[trade.key] + 1e-9
            bound = limits[trade.key]
            if bound is not None:
                assert sides[trade.key] * (bound - trade.price) >= 0
            if trade.added_liquidity:
                assert trade.price == bound
            else:
                taken += trade.quantity
                assert sides[trade.key] * (trade.price - quote.mid) > 0
        assert taken <= TAKE_SHARE * volume

    for key, action in enumerate(sequence):
        match action:
            case ("add", side, quantity, limit, adaptive, immediate):
                sizes[key], limits[key], sides[key] = quantity, limit, side
                check(
                    book.add(
                        order(key, side, quantity, limit, adaptive=adaptive, immediate=immediate, expires=key + 10)
                    )
                )
                if immediate:
                    over.add(key)
            case ("modify", which, quantity, limit):
                known = book.get(which)
                if known is not None:
                    sizes[which], limits[which] = max(quantity, known.filled), limit
                    check(book.modify(which, quantity, limit, False, known.expires))
            case ("cancel", which):
                if book.cancel(which):
                    over.add(which)
            case ("step", mid, ticks, now, size):
                check_passive = [o.key for o in book.working() if o.resting]
                quote, volume = Quote(mid - ticks / 100, mid + ticks / 100, size, size, mid), float(now)
                taken = 0.0
                trades = book.step("A", Traded(mid + 0.05, mid - 0.05, 1000.0), quote, volume)
                passive = [t for t in trades if t.added_liquidity]
                assert {t.key for t in passive} <= set(check_passive)
                for direction in (1, -1):
                    assert sum(t.quantity for t in passive if t.side == direction) <= PASSIVE_SHARE * 1000
                check(trades)
            case ("expire", now):
                over.update(book.expired(now))
        for working in book.working():
            assert working.filled == done[working.key]
            assert working.remaining > 0
