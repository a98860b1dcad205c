"""What the summary says when market time outran the planes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from triplane.cli.demo import kept
from triplane.cli.demo_edit import ConfigEdit
from triplane.cli.demo_outcome import Outcome, under_way, untraded


def outcome(p95: float, speed: float, expired: int = 0, final_speed: float | None = None) -> Outcome:
    codes = {"OK": 20} | ({"EXPIRED": expired} if expired else {})
    summary = cast(
        Any, SimpleNamespace(latency_s=(p95 / 2, p95, p95), latencies=20, decisions=codes, later_decisions={})
    )
    return Outcome(summary, cast(Any, None), ConfigEdit(), {}, [], {}, [], {}, speed, final_speed or speed, 300.0)


@pytest.mark.parametrize(("p95", "speed"), [(0.07, 300.0), (0.24, 300.0), (1.4, 50.0), (float("nan"), 300.0)])
def test_orders_in_time_are_no_news(p95: float, speed: float) -> None:
    assert outcome(p95, speed).late == ""


def test_a_few_orders_have_no_95th_percentile() -> None:
    few = outcome(1.4, 300.0)
    few.summary.latencies = 19  # type: ignore[misc]
    assert few.late == ""


@pytest.mark.parametrize(("p95", "speed", "seconds", "remedy"), [(0.4, 300.0, "120", "60"), (1.6, 50.0, "80", "10")])
def test_late_orders_are_told_with_a_remedy(p95: float, speed: float, seconds: str, remedy: str) -> None:
    said = outcome(p95, speed).late
    assert f"{seconds} market seconds" in said
    assert f"--speed {remedy}`" in said
    assert "expired" not in said
    assert "and 3 intents expired that might have filled" in outcome(p95, speed, expired=3).late


def test_a_demonstration_in_which_every_decision_was_held_has_failed() -> None:
    held = cast(Any, SimpleNamespace(intents=0, fills=0, holds={"HOLD_UNIVERSE_MISSING": 4}))
    (problem,) = untraded(held)
    assert "no decision was solved (HOLD_UNIVERSE_MISSING 4)" in problem
    assert untraded(cast(Any, SimpleNamespace(intents=20, fills=1, holds={"HOLD_UNIVERSE_MISSING": 3}))) == []


def test_a_demonstration_in_which_no_order_was_filled_has_failed() -> None:
    nothing = cast(Any, SimpleNamespace(intents=220, orders=47, fills=0, decisions={"EXPIRED": 180, "OK": 40}))
    (problem,) = untraded(nothing)
    assert "220 intents and 47 orders, and not one was filled (EXPIRED 180, OK 40)" in problem


@pytest.mark.parametrize(
    ("holds", "missed", "said"),
    [
        ({}, [], ""),
        ({"HOLD_UNIVERSE_MISSING": 3}, [], "3 of 20 decisions held every name (HOLD_UNIVERSE_MISSING 3): nothing"),
        ({}, ["2018-02-05"], "1 session passed without one: nothing"),
        ({"HOLD_GATE_CLOSED": 1}, ["2018-02-02", "2018-02-05"], "(HOLD_GATE_CLOSED 1) and 2 sessions passed without"),
    ],
)
def test_decisions_that_traded_nothing_are_told(holds: dict[str, int], missed: list[str], said: str) -> None:
    run = outcome(0.05, 300.0)
    found = SimpleNamespace(holds=holds, decision_barriers=20, latency_s=(0.05, 0.05, 0.05), latencies=20)
    run = replace(run, summary=cast(Any, found), missed=missed)
    assert said in run.undecided
    assert bool(run.undecided) == bool(said)
    assert not said or "`triplane demo --speed 60` waits" in run.undecided


def test_the_speed_that_is_advised_meets_the_rule_it_is_advised_for() -> None:
    said = outcome(1.93, 300.0).late
    advised = int(said.partition("--speed ")[2].partition("`")[0])
    assert outcome(1.93, advised).late == ""


def test_a_market_that_was_slowed_is_told_and_both_notes_give_one_speed() -> None:
    said = outcome(0.05, 300.0, expired=40, final_speed=37.5).late
    assert said.startswith(
        "intents came too late for the market: the machine is busy, or a process stood still, and 40 intents expired"
    )
    assert "the market's clock was slowed to 37.5x for it; `triplane demo --speed 38` waits for it" in said
    both = outcome(1.2, 300.0, expired=40, final_speed=75.0)
    held = SimpleNamespace(**vars(both.summary), holds={"HOLD_UNIVERSE_MISSING": 3}, decision_barriers=20)
    both = replace(both, summary=cast(Any, held))
    assert both.late.partition("`")[2] == both.undecided.partition("`")[2]


def test_what_is_under_way_makes_the_numbers_add_up() -> None:
    counted = {"received": 100.0, "published": 80.0, "quarantined": 3.0, "deduplicated": 1.0, "dropped": 2.0}
    assert under_way(counted | {"dropped:LATE": 2.0}) == 14.0
    assert under_way({}) == 0.0


def test_a_run_that_failed_and_is_kept_says_so_and_what_its_code_will_be() -> None:
    assert kept(False).startswith("the demonstration FAILED, as the summary says; it stays up for --keep alone")
    assert "its exit code will be 1" in kept(False)
    assert kept(True) in kept(False)
    assert "exit code" not in kept(True)
