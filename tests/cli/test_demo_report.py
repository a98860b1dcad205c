"""What the summary says when market time outran the planes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from triplane.cli.demo_outcome import ConfigEdit, Outcome


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
