"""The price panel against a whole-panel computation, and what halts, splits and late bars do to it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_plane.inputs.panel import PricePanel, move_square, session_midnight
from tests.strategy_plane import naive
from triplane.domain.timestamps import DAY, HOUR

SYMBOLS = ["A", "B", "C", "D"]


def slice_of(session, closes, *, volume=1000.0, history=True, symbols=SYMBOLS):
    present = [i for i, close in enumerate(closes) if not np.isnan(close)]
    return {
        "session": session, "symbols": [symbols[i] for i in present], "close": [float(closes[i]) for i in present],
        "volume": [volume] * len(present), "history": history, "event_time": session_midnight(session) + 21 * HOUR,
    }  # fmt: skip


def day(t):
    return f"2020-{1 + t // 28:02d}-{1 + t % 28:02d}"


def panels(rows=60):
    """Random closes with halts, late listings, zeros and negative prints."""
    return st.builds(
        lambda seed, holes, n: _panel(seed, holes, rows, n),
        st.integers(0, 2**31 - 1), st.floats(0, 0.3), st.integers(1, 4),
    )  # fmt: skip


def _panel(seed, holes, rows, n):
    rng = np.random.default_rng(seed)
    closes = 50 * np.exp(np.cumsum(rng.normal(0, 0.03, (rows, n)), axis=0))
    closes[rng.random((rows, n)) < holes] = np.nan
    for i in range(n):
        closes[: rng.integers(0, rows), i] = np.nan if rng.random() < 0.5 else closes[:1, i]
    closes[rng.random((rows, n)) < 0.01] = -1.0
    return closes


@given(panels())
@settings(max_examples=60, deadline=None)
def test_streamed_returns_equal_the_whole_panel(closes):
    """Law L2."""
    n = closes.shape[1]
    panel = PricePanel(SYMBOLS[:n])
    streamed = []
    for t, row in enumerate(closes):
        record = {
            "session": day(t),
            "symbols": SYMBOLS[:n],
            "close": row.tolist(),
            "volume": [1.0] * n,
            "history": True,
        }
        panel.offer(record)
        streamed.append(panel.advance(day(t)))
    np.testing.assert_allclose(np.array(streamed), naive.returns(closes), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(panel.returns.all(), np.array(streamed))
    for i in range(n):
        first = naive.first_bar(closes, i)
        assert panel.age[i] == (0 if first is None else len(closes) - first)


def test_a_halt_gives_its_move_when_trading_resumes():
    panel = PricePanel(["A"])
    for t, close in enumerate([100.0, np.nan, np.nan, 110.0]):
        panel.offer(slice_of(day(t), [close, np.nan, np.nan, np.nan]) | {"session": day(t)})
        if day(t) in panel.pending():
            panel.advance(day(t))
    # sessions without any bar have no slice with symbols, so only two rows exist
    assert panel.sessions == [day(0), day(3)]
    assert panel.returns.all()[-1, 0] == pytest.approx(0.1)


def test_idle_counts_sessions_without_a_bar():
    panel = PricePanel(SYMBOLS)
    panel.offer(slice_of(day(0), [1.0, 1.0, 1.0, 1.0]))
    panel.advance(day(0))
    panel.offer(slice_of(day(1), [1.0, np.nan, 1.0, 1.0]))
    panel.advance(day(1))
    assert panel.idle.tolist() == [0, 1, 0, 0]
    assert panel.age.tolist() == [2, 2, 2, 2]


def test_groups_of_one_session_make_one_row_and_the_first_value_wins():
    panel = PricePanel(SYMBOLS)
    panel.offer(slice_of(day(0), [1.0, np.nan, np.nan, np.nan]))
    panel.offer(slice_of(day(0), [9.0, 2.0, 3.0, 4.0]))
    assert panel.pending() == [day(0)]
    panel.advance(day(0))
    assert panel.close.all().tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_a_bar_of_a_closed_session_is_counted_and_changes_nothing():
    panel = PricePanel(SYMBOLS)
    panel.offer(slice_of(day(1), [1.0] * 4))
    panel.advance(day(1))
    panel.offer(slice_of(day(1), [2.0] * 4))
    panel.offer(slice_of(day(0), [2.0] * 4, history=False))
    assert panel.fill() == []
    assert panel.pending() == []
    assert panel.late == 8
    assert panel.last_close.tolist() == [1.0] * 4


def test_punctuations_and_foreign_names_are_left_out():
    panel = PricePanel(SYMBOLS)
    assert panel.offer({"session": day(0), "symbols": [], "close": [], "volume": [], "history": True}) == []
    assert panel.pending() == []
    panel.offer({"session": day(0), "symbols": ["Z", "B"], "close": [7.0, 2.0], "volume": [1.0, 1.0], "history": True})
    panel.advance(day(0))
    np.testing.assert_array_equal(panel.close.all(), [[np.nan, 2.0, np.nan, np.nan]])


@pytest.mark.parametrize("absurd", [1e300, 1e150, 5e-324, float("inf"), -1.0, 0.0])
def test_a_close_that_can_be_no_price_is_no_bar(absurd):
    """Its square would be no number, and the moments would remember it for months."""
    panel = PricePanel(SYMBOLS)
    for t, close in enumerate([100.0, absurd, 101.0]):
        panel.offer(slice_of(day(t), [close, 1.0, 1.0, 1.0], history=False))
        returns = panel.advance(day(t))
    assert returns[0] == pytest.approx(0.01)
    assert np.isnan(panel.close.all()[1, 0])


@pytest.mark.parametrize("absurd", [1e300, 1e-300, float("inf"), -2.0, 0.0])
def test_a_split_that_can_be_none_is_ignored(absurd):
    panel = PricePanel(SYMBOLS)
    panel.split("B", 1, absurd)
    assert panel.offer(slice_of(day(0), [1.0] * 4)) == []


@pytest.mark.parametrize("history", [True, False])
def test_a_split_adjusts_older_bars_only_when_the_next_one_is_live(history):
    panel = PricePanel(SYMBOLS)
    panel.offer(slice_of(day(0), [100.0] * 4))
    panel.advance(day(0))
    panel.split("B", 123, 2.0)
    panel.split("Z", 123, 2.0)
    panel.split("B", 123, float("nan"))
    settled = panel.offer(slice_of(day(1), [100.0, 51.0, 100.0, 100.0], history=history))
    assert settled == [("B", 123, 2.0)]
    returns = panel.advance(day(1))
    assert returns[1] == pytest.approx(0.02 if not history else -0.49)
    assert panel.volume.all()[0, 1] == (1000.0 if history else 2000.0)
    assert panel.offer(slice_of(day(2), [1.0] * 4)) == []


@pytest.mark.parametrize("later", [True, False])
def test_a_bar_out_of_quarantine_settles_a_split_that_it_comes_after_as_a_live_one_does(later):
    """It is flagged as history, but nobody adjusted the older ones for it."""
    panel = PricePanel(SYMBOLS)
    panel.offer(slice_of(day(0), [100.0] * 4))
    panel.advance(day(0))
    panel.offer(slice_of(day(1), [100.0, np.nan, 100.0, 100.0]))
    panel.split("B", 123, 2.0)
    close = 51.0 if later else 102.0
    released = slice_of(day(1), [np.nan, close, np.nan, np.nan]) | {"released": ["x"], "event_time": 122 + later}
    assert panel.offer(released) == ([("B", 123, 2.0)] if later else [])
    assert panel.advance(day(1))[1] == pytest.approx(0.02)
    panel.offer(slice_of(day(2), [100.0, 51.0, 100.0, 100.0], history=False))
    assert panel.advance(day(2))[1] == pytest.approx(0.0)


def released(session, close):
    """One name's bar out of quarantine, of the close of its session."""
    return slice_of(session, [np.nan, close, np.nan, np.nan], volume=500.0) | {"released": ["x"]}


@pytest.mark.parametrize("when", ["before", "beside", "after", "after a restart", "as history"])
def test_a_bar_out_of_quarantine_is_in_units_of_now(when):
    """Of the 100, 101 and, split 2:1, 51 of a name the second was quarantined; when it is let out changes nothing."""
    panel = PricePanel(SYMBOLS)
    full = [100.0] * 4
    panel.offer(slice_of(day(0), full))
    panel.advance(day(0))
    panel.offer(slice_of(day(1), [100.0, np.nan, 100.0, 100.0]))
    panel.advance(day(1))
    bad = released(day(1), 101.0)
    if when == "before":
        panel.offer(bad)
        panel.fill()
    panel.split("B", session_midnight(day(2)), 2.0)
    panel.split("C", session_midnight(day(2)), 7.0)
    if when == "beside":
        panel.offer(bad)
    panel.offer(slice_of(day(2), [100.0, 51.0, np.nan, 100.0], history=when == "as history"))
    panel.fill()
    panel.advance(day(2))
    if when == "after a restart":
        panel = PricePanel.restored(panel.state())
        panel.reindex(SYMBOLS)
    if when.startswith(("after", "as")):
        panel.offer(bad | {"symbols": ["Z", "B"], "close": [1.0, 101.0], "volume": [1.0, 500.0]})
        panel.fill()
    adjusted = (
        1.0 if when == "as history" else 2.0
    )  # a provider that adjusted the older ones had adjusted this one as well
    assert panel.close.all()[:, 1] == pytest.approx([100.0 / adjusted, 101.0 / adjusted, 51.0])
    assert panel.volume.all()[:, 1] == pytest.approx([1000.0 * adjusted, 500.0 * adjusted, 1000.0])
    assert panel.returns.all()[1:, 1] == pytest.approx([0.01, 51.0 * adjusted / 101.0 - 1.0])
    # A later one is in those units already.
    panel.offer(slice_of(day(3), [100.0, np.nan, 100.0, 100.0], history=False))
    panel.advance(day(3))
    panel.offer(released(day(3), 52.0))
    panel.fill()
    assert panel.close.all()[3, 1] == 52.0


@pytest.mark.parametrize("asked", ["before", "after", "between"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_bar_that_was_loaded_after_a_split_is_divided_by_it_no_second_time(asked, beside):
    """Its provider had adjusted it for the splits until it was asked for, before a person let it out of quarantine."""
    panel = PricePanel(SYMBOLS)
    full = [100.0] * 4
    panel.offer(slice_of(day(0), full, history=False))
    panel.advance(day(0))
    panel.offer(slice_of(day(1), [100.0, np.nan, 100.0, 100.0], history=False))
    panel.advance(day(1))
    for t, ratio in ((2, 2.0), (3, 5.0)):
        panel.split("B", session_midnight(day(t)), ratio)
    loaded, close = {"before": (1, 101.0), "between": (2, 50.5), "after": (3, 10.1)}[asked]
    bad = released(day(1), close) | {
        "event_time": session_midnight(day(1)) + 1,
        "adjusted_until": session_midnight(day(loaded)) + 2,
    }
    for t, price in ((2, 51.0), (3, 10.3)):
        if beside and t == min(loaded + 1, 3):  # the split's day comes in the same step as what is let out
            panel.offer(bad)
        panel.offer(
            slice_of(day(t), [100.0, price, 100.0, 100.0], history=False) | {"event_time": session_midnight(day(t)) + 1}
        )
    if not beside:
        panel.offer(bad)
    panel.fill()
    for t in (2, 3):
        panel.advance(day(t))
    assert panel.close.all()[:, 1] == pytest.approx([10.0, 10.1, 10.2, 10.3])


@pytest.mark.parametrize("history", [True, False])
def test_a_split_that_is_known_before_it_comes_waits_for_its_day(history):
    panel = PricePanel(SYMBOLS)
    panel.split("B", session_midnight(day(2)), 2.0)
    for t in (0, 1):
        assert panel.offer(slice_of(day(t), [100.0] * 4, history=history)) == []
        panel.advance(day(t))
    assert panel.offer(slice_of(day(2), [100.0, 51.0, 100.0, 100.0], history=False))
    assert panel.advance(day(2))[1] == pytest.approx(0.02)


def test_a_split_adjusts_older_bars_that_wait_for_their_session_s_end():
    panel = PricePanel(SYMBOLS)
    panel.offer(slice_of(day(0), [100.0] * 4))
    panel.advance(day(0))
    panel.offer(slice_of(day(1), [100.0] * 4, history=False))
    panel.split("B", session_midnight(day(2)), 2.0)
    panel.offer(slice_of(day(2), [100.0, 51.0, 100.0, 100.0], history=False))
    assert panel.advance(day(1))[1] == pytest.approx(0.0)
    assert panel.advance(day(2))[1] == pytest.approx(0.02)


def test_a_split_leaves_history_of_a_name_that_joined_as_its_provider_adjusted_it():
    panel = PricePanel(SYMBOLS)
    for t in (0, 1):
        panel.offer(slice_of(day(t), [100.0, np.nan, 100.0, 100.0]))
        panel.advance(day(t))
    panel.offer(slice_of(day(0), [np.nan, 50.0, np.nan, np.nan]))
    panel.split("B", session_midnight(day(2)), 2.0)
    panel.offer(slice_of(day(2), [100.0, 51.0, 100.0, 100.0], history=False))
    panel.fill()
    assert panel.close.all()[0, 1] == 50.0


def test_a_split_waits_for_the_name_s_own_bar():
    panel = PricePanel(SYMBOLS)
    panel.split("B", 1, 2.0)
    assert panel.offer(slice_of(day(0), [1.0, np.nan, 1.0, 1.0])) == []
    assert panel.offer(slice_of(day(0), [np.nan, 1.0, np.nan, np.nan])) == [("B", 1, 2.0)]


@given(st.integers(0, 2**31 - 1), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_adv_is_the_median_of_21_sessions(seed, rows):
    rng = np.random.default_rng(seed)
    volumes = rng.integers(0, 1000, (rows, 4)).astype(float)
    volumes[rng.random((rows, 4)) < 0.3] = np.nan
    panel = PricePanel(SYMBOLS)
    for t in range(rows):
        panel.offer(
            {"session": day(t), "symbols": SYMBOLS, "close": [1.0] * 4, "volume": volumes[t].tolist(), "history": True}
        )
        panel.advance(day(t))
    for i in range(4):
        window = [v for v in volumes[-21:, i] if np.isfinite(v)]
        expected = float(np.median(window)) if len(window) >= 11 else np.nan
        if not expected > 0:
            expected = np.nan
        np.testing.assert_equal(panel.adv()[i], expected)


def test_adv_before_any_session():
    assert np.isnan(PricePanel(SYMBOLS).adv()).all()


def test_reindex_keeps_histories_and_starts_new_names_empty():
    panel = PricePanel(SYMBOLS)
    for t in range(3):
        panel.offer(slice_of(day(t), [1.0 + t, 2.0, 3.0, 4.0]))
        panel.advance(day(t))
    panel.offer(slice_of(day(3), [9.0, 8.0, 7.0, 6.0]))
    panel.split("D", 1, 2.0)
    assert panel.reindex(["C", "NEW", "A"]) == [2, -1, 0]
    panel.advance(day(3))
    np.testing.assert_array_equal(panel.close.all()[-1], [7.0, np.nan, 9.0])
    assert panel.age.tolist() == [4, 0, 4]
    assert panel.returns.all()[-1, 2] == pytest.approx(2.0)


def test_state_continues_exactly():
    one = PricePanel(SYMBOLS)
    for t in range(5):
        one.offer(slice_of(day(t), [1.0 + t, 2.0, np.nan, 4.0]))
        if t < 4:
            one.advance(day(t))
    one.split("A", 3, 2.0)
    two = PricePanel.restored(one.state())
    for panel in (one, two):
        panel.advance(day(4))
        panel.offer(slice_of(day(5), [3.0] * 4, history=False))
        panel.advance(day(5))
    np.testing.assert_equal(one.state(), two.state())


def test_move_square_and_midnight():
    assert move_square(np.array([[1.0, 2.0], [3.0, 4.0]]), [1, -1]).tolist() == [[4.0, 0.0], [0.0, 0.0]]
    assert session_midnight("1970-01-03") == 2 * DAY


@given(panels(), st.integers(0, 59))
@settings(max_examples=60, deadline=None)
def test_history_that_comes_late_gives_the_panel_of_one_that_came_in_time(closes, joins):
    """The last name's bars before session `joins` are loaded after that session closed without it."""
    n = closes.shape[1]
    whole, late = PricePanel(SYMBOLS[:n]), PricePanel(SYMBOLS[:n])
    for t, row in enumerate(closes):
        whole.offer(slice_of(day(t), row))
        # A session in which no other name traded has a row of NaN all the same, so that both panels have the same rows.
        late.offer(slice_of(day(t), [*row[:-1], row[-1] if t > joins else np.nan]))
        for panel in (whole, late):
            if day(t) not in panel.pending():
                panel._pending[day(t)] = (np.full(n, np.nan), np.full(n, np.nan))
            panel.advance(day(t))
        if t == joins:
            for past in range(t + 1):
                late.offer(slice_of(day(past), [np.nan] * (n - 1) + [closes[past, -1]]))
            good = bool((closes[: t + 1, -1] > 0).any())
            assert late.fill() == ([n - 1] if good else [])
            assert late.fill() == []
    expected, found = whole.state(), late.state()
    for name in ("close", "returns", "volume", "last_close", "age", "idle"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=0, err_msg=name)
    assert found["late"] == expected["late"] == 0


def test_late_history_changes_no_bar_that_is_known_and_is_counted_where_there_is_no_row():
    panel = PricePanel(SYMBOLS[:2])
    for t in (1, 2):
        panel.offer(slice_of(day(t), [10.0 + t, 20.0 + t], symbols=SYMBOLS[:2]))
        panel.advance(day(t))
    panel.offer(slice_of(day(1), [99.0, 99.0], symbols=SYMBOLS[:2]))
    panel.offer(slice_of(day(0), [98.0, 98.0], symbols=SYMBOLS[:2]))
    panel.offer(slice_of(day(1), [97.0, 97.0], symbols=SYMBOLS[:2], history=False))
    assert panel.fill() == []
    assert panel.close.all().tolist() == [[11.0, 21.0], [12.0, 22.0]]
    assert panel.late == 6
