"""The pacing schedule against an oracle that counts IB's rules in every window, one by one."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.sources.ibkr.pacing import Pacing, Wish, is_refusal

# Whole seconds: what the rules say at their edges is then exact.
wishes = st.builds(
    Wish,
    contract=st.sampled_from("AB"),
    exchange=st.sampled_from(["SMART", "ISLAND"]),
    what=st.sampled_from(["TRADES", "BID_ASK"]),
    terms=st.integers(0, 3),
    bar_s=st.sampled_from([5.0, 30.0, 60.0, 86_400.0]),
)


def broken(sent: list[tuple[float, Wish]], limit: int) -> bool:
    """Whether requests sent at these times break a rule. A window of a span is half open: (t - span, t]."""
    small = [(time, wish) for time, wish in sent if wish.bar_s < 60]
    for end, last in small:
        before = [(time, wish) for time, wish in small if time <= end]
        if sum(2 if w.what == "BID_ASK" else 1 for time, w in before if time > end - 600) > limit:
            return True
        line = [w for time, w in before if time > end - 2 and w[:3] == last[:3]]
        if sum(2 if w.what == "BID_ASK" else 1 for w in line) >= 6:
            return True
    return any(
        mine == other and abs(time - when) < 15
        for place, (time, mine) in enumerate(small)
        for when, other in small[:place]
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(wishes, st.sampled_from([0, 0, 0, 1, 3, 40])), max_size=24), st.integers(2, 12))
def test_no_rule_is_broken_and_nobody_waits_longer_than_the_rules_need(
    wanted: list[tuple[Wish, int]], limit: int
) -> None:
    pacing, now = Pacing(), 0.0
    sent: list[tuple[float, Wish]] = []
    for wish, pause in wanted:
        now += pause
        wait = pacing.delay(now, wish, limit)
        assert wait >= 0
        if wait > 0:
            assert broken([*sent, (now, wish)], limit)
            assert broken([*sent, (now + wait - 1, wish)], limit)
        now += wait
        pacing.sent(now, wish)
        sent.append((now, wish))
        assert not broken(sent, limit)


def test_a_refusal_holds_everything_and_each_in_a_row_twice_as_long() -> None:
    pacing, wish = Pacing(), Wish("A", "SMART", "TRADES", 0, 5.0)
    now, waits = 0.0, []
    for _ in range(8):
        waits.append(pacing.refused(now))
        assert pacing.refused(now + 5.0) == waits[-1] - 5.0  # another of the same burst
        assert pacing.delay(now + 5.0, wish, 60) == waits[-1] - 5.0
        assert pacing.delay(now, wish._replace(bar_s=60.0), 60) == 0.0
        now += waits[-1]
        assert pacing.delay(now, wish, 60) == 0.0
    assert waits == [15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    pacing.answered()
    assert pacing.refused(now) == 15.0


def test_a_margin_and_a_scale_stretch_and_shorten_every_span() -> None:
    wish = Wish("A", "SMART", "TRADES", 0, 5.0)
    for scale, margin, wait in ((1.0, 0.5, 15.5), (0.01, 0.0, 0.15)):
        pacing = Pacing(scale, margin)
        pacing.sent(0.0, wish)
        assert pacing.delay(0.0, wish, 60) == wait


def test_a_violation_is_known_by_code_and_words() -> None:
    assert is_refusal(162, "Historical Market Data Service error message:Historical data request pacing violation")
    assert is_refusal(420, "Invalid Real-time Query:Historical data request pacing violation")
    assert not is_refusal(162, "Historical Market Data Service error message:HMDS query returned no data")
    assert not is_refusal(420, "Invalid Real-time Query:No market data permissions for NYSE STK")
