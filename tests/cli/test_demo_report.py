"""What the summary says when market time outran the planes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from triplane.cli.demo_outcome import ConfigEdit, Outcome, untraded


def outcome(p95: float, speed: float, expired: int = 0) -> Outcome:
    codes = {"OK": 20} | ({"EXPIRED": expired} if expired else {})
    summary = cast(Any, SimpleNamespace(latency_s=(p95 / 2, p95, p95), decisions=codes, later_decisions={}))
    return Outcome(summary, cast(Any, None), ConfigEdit(), {}, [], {}, [], {}, speed, 300.0)


@pytest.mark.parametrize(("p95", "speed"), [(0.07, 300.0), (0.24, 300.0), (1.4, 50.0), (float("nan"), 300.0)])
def test_orders_in_time_are_no_news(p95: float, speed: float) -> None:
    assert outcome(p95, speed).late == ""


@pytest.mark.parametrize(("p95", "speed", "seconds", "remedy"), [(0.4, 300.0, "120", "60"), (1.6, 50.0, "80", "10")])
def test_late_orders_are_told_with_a_remedy(p95: float, speed: float, seconds: str, remedy: str) -> None:
    said = outcome(p95, speed).late
    assert f"{seconds} market seconds" in said
    assert f"--speed {remedy}`" in said
    assert "expired" not in said
    assert "and 3 intents expired that might have filled" in outcome(p95, speed, expired=3).late


def test_a_demonstration_in_which_every_decision_was_held_has_failed() -> None:
    held = cast(Any, SimpleNamespace(intents=0, holds={"HOLD_UNIVERSE_MISSING": 4}))
    (problem,) = untraded(held)
    assert "no decision was solved (HOLD_UNIVERSE_MISSING 4)" in problem
    assert untraded(cast(Any, SimpleNamespace(intents=20, holds={"HOLD_UNIVERSE_MISSING": 3}))) == []


def _record(offset: int, **value: Any) -> Any:
    return SimpleNamespace(offset=offset, value=value)


@pytest.mark.parametrize(
    ("offset", "outcome_", "words"),
    [(4, "SOLVED", "barrier 9"), (4, "HOLD_DATA_MISSING", "barrier 9, which was held"), (2, "SOLVED", "no barrier")],
)
def test_the_barrier_that_took_the_edit_is_told_though_it_was_held(offset: int, outcome_: str, words: str) -> None:
    targets = {
        "seq": 9,
        "outcome": outcome_,
        "config_hash": "new" if offset == 4 else "old",
        "symbols": [],
        "target": [],
    }
    records = {
        "control.config": [_record(2, hash="old"), _record(4, hash="new")],
        "strategy.barriers": [_record(0, seq=9, config_offset=offset)],
        "strategy.targets": [_record(0, **targets)],
    }
    edit = ConfigEdit(change="VOL_TARGET 0.1 -> 0.06")
    edit.complete(cast(Any, SimpleNamespace(records=records)))
    assert edit.taken_by == words
