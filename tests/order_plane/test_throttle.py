"""Participation, message budget and rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_plane.market.quotes import KEEP_NS, Market, Volume
from order_plane.market.throttle import Bucket, Rates, pov_allowance
from triplane.domain.targets import OrderTargets
from triplane.domain.timestamps import MINUTE, SECOND

T = OrderTargets()


def test_bucket_keeps_the_reserve_for_cancels():
    bucket, wall = Bucket(), 10 * SECOND
    orders = 0
    while bucket.allows(wall, T, cancel=False):
        bucket.spend(wall, T)
        orders += 1
    assert orders == 30  # 40 a second less 10 kept
    cancels = 0
    while bucket.allows(wall, T, cancel=True):
        bucket.spend(wall, T)
        cancels += 1
    assert cancels == 10
    assert bucket.allows(wall + SECOND // 40, T, cancel=True)
    assert not bucket.allows(wall + SECOND // 40, T, cancel=False)
    assert bucket.allows(wall + SECOND, T, cancel=False)


@given(st.lists(st.integers(0, SECOND // 4), min_size=1, max_size=300))
def test_never_more_than_the_rate_allows(gaps):
    bucket, wall, times = Bucket(), 0, []
    for gap in gaps:
        wall += gap
        if bucket.allows(wall, T, cancel=True):
            bucket.spend(wall, T)
            times.append(wall)
    for first in times:
        assert sum(1 for time in times if first <= time < first + SECOND) <= 80  # a full burst and a second's refill


def test_pov_bounds_window_and_life():
    volume = Volume()
    for second in range(0, 120, 5):
        volume.add(second * SECOND, 1_000.0)
    now = 115 * SECOND
    # 60 s window: 12 bars of 1,000; since the start of the life: all 24
    assert pov_allowance(volume, now, base=0.0, done=0.0, done_in_window=0.0, targets=T) == pytest.approx(0.08 * 12_000)
    assert pov_allowance(volume, now, base=0.0, done=1_900.0, done_in_window=0.0, targets=T) == pytest.approx(20.0)
    assert pov_allowance(volume, now, base=0.0, done=0.0, done_in_window=950.0, targets=T) == pytest.approx(10.0)
    assert pov_allowance(volume, now, base=0.0, done=5_000.0, done_in_window=0.0, targets=T) == 0.0


def test_volume_forgets_old_bars_but_not_their_sum():
    volume = Volume()
    volume.add(0, 5.0)
    volume.add(KEEP_NS + 2, 7.0)
    volume.add(KEEP_NS + 1, 1.0)  # late: counted from the latest time
    assert volume.total == 13.0
    assert volume.until(1) == 5.0
    assert volume.until(KEEP_NS + 2) == 13.0
    assert Market().volume("X").total == 0.0


@pytest.mark.parametrize("absurd", [1e300, float("inf"), float("nan"), -5.0, 1e13])
def test_a_volume_that_no_market_trades_neither_counts_nor_drowns_the_others(absurd):
    market = Market()
    for time, units in ((1, 1_000.0), (2, absurd), (3, 2_000.0)):
        bar = {
            "source": "ibkr",
            "group": "main",
            "event_time": time,
            "available_time": time * SECOND,
            "interval": "5s",
            "symbols": ["KO"],
            "volume": [units],
        }
        market.take_bars(bar)
    assert market.volume("KO").total == 3_000.0


def test_a_slice_that_is_on_the_log_twice_was_traded_once():
    """A data plane that is killed while it empties its spool sends again what Kafka has."""
    market = Market()
    bars = [
        {"source": "ibkr", "group": "main", "event_time": n * 5 * SECOND, "available_time": (n * 5 + 1) * SECOND,
         "interval": "5s", "symbols": ["KO"], "volume": [100.0]}
        for n in range(5_000)
    ]  # fmt: skip
    for bar in bars[:12] * 2 + bars[12:]:
        market.take_bars(bar)
    assert market.volume("KO").total == 500_000.0
    for bar in bars:  # the whole spool, though less of it is remembered
        market.take_bars(bar)
    assert market.volume("KO").total == 500_000.0
    assert len(market.slices) == KEEP_NS // (5 * SECOND) + 1


def test_rates_of_a_minute():
    rates = Rates()
    rates.add_order("A", 0, 100.0)
    rates.add_order("A", MINUTE, 50.0)
    assert rates.orders_within("A", MINUTE) == 1
    assert rates.notional_within(MINUTE) == 50.0
    rates.add_reject(0)
    rates.add_reject(MINUTE - 1)
    assert rates.rejects_within(MINUTE) == 1
