"""The live view: what it folds from the log, and that it shows it."""

from __future__ import annotations

import io
from datetime import date, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.replay.logs import HandLog
from triplane.cli.live_state import LiveState, SessionLine
from triplane.cli.live_view import BLOCKS, LiveView, sparkline
from triplane.domain.timestamps import DAY, NEW_YORK, at

T = at(date(2018, 2, 5), time(15, 30), NEW_YORK)


def folded(log: HandLog) -> LiveState:
    state = LiveState()
    for record in log.records:
        state.take(record)
    return state


def shown(state: LiveState, width: int = 220, height: int = 50, **processes: str) -> str:
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    console.print(LiveView(state, processes or {"data": "ready"}, "session 3/21", ["one", "two"]))
    return console.export_text()


def account(log: HandLog, nav: float, **fields: Any) -> None:
    count = sum(record.topic == "order.account" for record in log.records)
    known: dict[str, Any] = {
        "symbols": ["KO", "XOM"],
        "open_buy": [5.0, 0.0],
        "open_sell": [0.0, 0.0],
        "reconciled": True,
        "kill_level": "none",
    }
    log.put(
        "order.account",
        account="DU1",
        state_id=f"1/{count}",
        nav=nav,
        base_currency="USD",
        simulated=True,
        **(known | fields),
    )


@pytest.fixture
def log() -> HandLog:
    """A little of everything."""
    log = HandLog()
    log.put(
        "data.bars",
        interval="1d",
        history=True,
        session="2018-02-02",
        symbols=["KO"],
        available_time=T - 10,
        event_time=1,
    )
    log.put(
        "data.bars", interval="1d", history=True, session="2018-02-03", symbols=[], available_time=T - 9, event_time=2
    )
    log.put("data.bars", interval="5s", session="2018-02-05", available_time=T, event_time=3)
    log.put("data.quotes", available_time=T + 1_000_000_000, event_time=4)
    log.put("data.gates", gate="freshness", source="ibkr", scope="all", open=True, event_time=1)
    log.put("data.gates", gate="clock", source="ibkr", scope="all", open=False, code="CLOCK", event_time=1)
    log.put("data.quarantine", quarantine_id="1", code="PRICE_JUMP")
    log.put_malformed("data.quotes")
    log.put("strategy.barriers", seq=1, kind="warmup", session="2018-02-02")
    log.put("strategy.barriers", seq=2, kind="decision", session="2018-02-05")
    log.put("strategy.regime", seq=2, state="Storm", posterior=[0.1, 0.9], brake=0.5, brake_reason="drawdown")
    weights: dict[str, Any] = {
        "symbols": ["KO", "XOM"],
        "current": [0.0, 0.1],
        "outcome": "SOLVED",
        "gross": 0.5,
        "net": 0.1,
        "volatility": 0.1,
    }
    log.put("strategy.targets", account="DU1", seq=1, target=[0.1, -0.2], **weights)
    log.put("strategy.targets", account="DU1", seq=2, target=[0.2, -0.3], **weights)
    log.put(
        "strategy.targets", account="DU1", seq=3, **(weights | {"outcome": "HOLD_DATA", "symbols": [], "current": []})
    )
    account(log, 0.0, reconciled=False)
    account(log, 1_000_000.0)
    account(log, 990_000.0, drawdown=0.01)
    log.put("order.events", event_id="1", kind="placing")
    log.put("order.events", event_id="2", kind="sent")
    for number, kind in enumerate(("execution", "inferred", "commission", "parent")):
        log.put("order.fills", fill_id=str(number), kind=kind, symbol="KO", side=-1, quantity=120.0, price=46.5)
    log.put("order.decisions", decision_id="1", allowed=False, code="ADV_CAP")
    log.put("order.decisions", decision_id="2", allowed=True, code="OK")
    log.put("order.costs", estimate_id="1", profiles=["Standard"], linear=[4e-4], impact=[0.8])
    log.put("control.config", seq=1, hash="aa")
    return log


def test_what_is_folded(log: HandLog) -> None:
    state = folded(log)
    assert state.history == 1  # an empty slice is no session
    assert state.market_time == T + 1_000_000_000
    assert state.clock == "Mon 2018-02-05 15:30:01"
    assert state.session == "2018-02-05"
    assert state.counts["data.quotes"] == 2  # the malformed one counts too
    assert [gate["gate"] for gate in state.closed_gates()] == ["clock"]
    assert dict(state.quarantined) == {"PRICE_JUMP": 1}
    assert dict(state.barriers) == {"warmup": 1, "decision": 1}
    assert (state.solved["seq"], state.previous_solved["seq"], state.targets["seq"]) == (2, 1, 3)
    assert (state.first_nav, state.pnl) == (1_000_000.0, -10_000.0)
    assert list(state.nav_path) == [1_000_000.0, 990_000.0]
    assert (state.orders, state.fills, dict(state.denials)) == (1, 2, {"ADV_CAP": 1})
    assert [version["hash"] for version in state.configs] == ["aa"]


def two_sessions() -> HandLog:
    """Two sessions, each with its decision, one order, one fill and the account of its end, as they follow one another."""
    log = HandLog()
    account(log, 1_000_000.0, event_time=T - 4 * DAY)
    for seq, (session, regime, gross) in enumerate((("2018-02-02", "Calm", 1.46), ("2018-02-05", "Storm", 0.45)), 7):
        now = T - (3 * DAY if seq == 7 else 0)
        if seq == 8:  # before the next decision the account moves on, and that is the next day's
            account(log, 1_000_000.0 - 500.0, event_time=now)
            log.put("order.events", event_id="marked", kind="marked", event_time=now)
        log.put("strategy.barriers", seq=seq, kind="decision", session=session)
        log.put("strategy.regime", seq=seq, state=regime)
        log.put("strategy.targets", seq=seq, account="DU1", gross=gross, outcome="SOLVED")
        log.put("order.events", event_id=str(seq), kind="placing", event_time=now)
        log.put("order.fills", fill_id=str(seq), kind="execution", symbol="KO", side=1, event_time=now)
        account(log, 1_000_000.0 - seq, event_time=now)
    return log


def test_a_session_that_was_held_is_not_told_as_flat() -> None:
    line = SessionLine("2018-01-29", 7, "Calm", 0.0, "HOLD_UNIVERSE_MISSING", 46, 77, 10_673.0)
    assert str(line) == ("2018-01-29  Calm    held HOLD_UNIVERSE_MISSING  orders 46  fills 77  PnL +10,673 (simulated)")
    log = HandLog()
    log.put("strategy.barriers", seq=7, kind="decision", session="2018-01-29", t=T)
    log.put("strategy.targets", seq=7, account="DU1", outcome="HOLD_UNIVERSE_MISSING")
    state = folded(log)
    state.close_session()
    assert state.told[0].held == "HOLD_UNIVERSE_MISSING"


FIRST_SESSION = "2018-02-02  Calm    gross 1.46  orders 1  fills 1  PnL -7 (simulated)"
SECOND_SESSION = "2018-02-05  Storm   gross 0.45  orders 2  fills 2  PnL -8 (simulated)"


def test_a_session_is_told_once_it_is_over_with_its_own_decision() -> None:
    state = folded(two_sessions())
    assert [str(line) for line in state.told] == [FIRST_SESSION]
    state.close_session()
    state.close_session()
    assert [str(line) for line in state.told] == [FIRST_SESSION, SECOND_SESSION]


@given(st.permutations(range(7)))
def test_a_session_is_told_the_same_by_a_process_that_stood_still(order: list[int]) -> None:
    """Such a process reads hours at once: one topic after the other, in any order of topics."""
    log = two_sessions()
    topics = list(dict.fromkeys(record.topic for record in log.records))
    ranks = {topic: order[place] for place, topic in enumerate(topics)}
    state = LiveState()
    for record in sorted(log.records, key=lambda record: ranks[record.topic]):  # stable: within a topic as written
        state.take(record)
    state.close_session()
    assert [(line.session, line.regime, line.gross, line.orders) for line in state.told] == [
        ("2018-02-02", "Calm", 1.46, 1),
        ("2018-02-05", "Storm", 0.45, 2),
    ]


def test_history_does_not_move_the_market_clock(log: HandLog) -> None:
    late = HandLog()
    late.put("data.bars", interval="1d", history=True, symbols=["KO"], available_time=T)
    assert folded(late).clock == "-"


def test_a_gate_that_opens_again_is_not_closed(log: HandLog) -> None:
    log.put("data.gates", gate="clock", source="ibkr", scope="all", open=True, event_time=9)
    assert folded(log).closed_gates() == []


@pytest.mark.parametrize(("width", "height"), [(220, 50), (100, 40), (80, 24)])
def test_what_is_shown(log: HandLog, width: int, height: int) -> None:
    """All of it, on the smallest terminal too: there without the frames."""
    log.put(
        "strategy.targets",
        account="DU1",
        seq=4,
        symbols=["KO", "XOM"],
        current=[0.0, 0.1],
        target=[0.2, -0.3],
        outcome="SOLVED",
        gross=0.5,
    )
    planes = dict.fromkeys(("kafka", "registry", "gateway", "providers", "control", "data", "strategy"), "ready")
    text = shown(folded(log), width, height, **planes, order="restarting")
    assert len(text.splitlines()) <= height
    assert ("╭" in text) == (height > 24)
    for words in (
        "SIMULATED", "Mon 2018-02-05 15:30:01", "session 3/21", "● order restarting", "Storm", "drawdown", "0.50",
        "XOM", "-30.0%", "+20.0%", "990,000 USD", "-10,000", "1 / 2", "-120 KO @ 46.50", "+5 KO", "gates 1 closed", "4.0 bp + 0.80", "quarantined 1", "one", "two",
    ):  # fmt: skip
        assert words in " ".join(text.split()), (words, text)
    weights = [line for line in text.splitlines() if "→" in line and "%" in line]
    assert ["XOM" in weights[0], "KO" in weights[1]] == [True, True]  # the largest first


def test_an_empty_log_is_shown_too() -> None:
    text = shown(LiveState())
    assert "SIMULATED" in text
    assert "orders / fills" in text


@given(st.lists(st.floats(-1e9, 1e9), max_size=500), st.integers(1, 60))
def test_a_sparkline_fits_and_reaches_both_ends(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) <= width
    assert set(line) <= set(BLOCKS[1:])
    if line and max(values[:: max(1, len(values) // width)][-width:]) > min(
        values[:: max(1, len(values) // width)][-width:]
    ):
        assert BLOCKS[1] in line
        assert BLOCKS[8] in line
