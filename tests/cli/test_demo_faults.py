"""What the demonstration says of the faults that its market injects."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.replay.logs import HandLog
from triplane.cli import demo_faults
from triplane.cli.demo_faults import Injection, MarketFaults, plan
from triplane.domain import calendars
from triplane.domain.timestamps import NEW_YORK, to_datetime

NAMES = {"AAPL", "KO", "PFE", "XOM"}


def times(injections: list[Injection]) -> dict[str, str]:
    return {each.what: f"{to_datetime(each.at, NEW_YORK):%m-%d %H:%M}" for each in injections if each.at}


def test_each_is_over_before_the_decision_that_it_could_disturb() -> None:
    found = plan("2018-01-22", 20, "15:30", NAMES, 11)
    assert times(found) == {
        "bad print of KO": "01-29 15:22",
        "silent PFE": "01-30 15:21",
        "skewed clock": "01-31 15:32",
    }
    assert found[0].what == "restated fact of AAPL"
    modes = [(body["mode"], body["at"] - found[2].at) for body in found[2].bodies]
    assert modes == [("silent", 0), ("live", 90 * 10**9)]
    assert found[3].bodies[0]["client_id"] == 11


def test_a_short_run_has_them_all_and_a_decision_at_the_open_only_those_that_fit() -> None:
    assert len(times(plan("2018-01-22", 2, "15:30", NAMES, 11))) == 3
    assert set(times(plan("2018-01-22", 20, "09:35", NAMES, 11))) == {"skewed clock"}
    assert [each.what for each in plan("2018-01-22", 20, "15:30", {"XOM"}, 11)] == ["skewed clock"]


@pytest.fixture
def injection() -> Injection:
    at = calendars.decision_time("XNYS", date(2018, 1, 19), "15:22")
    return Injection("bad print of KO", "ibkr", "KO", "price_sanity", at, True)


def judged(injection: Injection, *records: tuple[str, dict[str, Any]]) -> demo_faults.Caught:
    log = HandLog()
    for topic, fields in records:
        log.put(topic, **fields)
    (caught,) = MarketFaults([injection]).caught(log.recording(), injection.at)
    return caught


def gate(at: int, opened: bool, **other: Any) -> tuple[str, dict[str, Any]]:
    told = {
        "gate": "price_sanity",
        "source": "ibkr",
        "scope": "KO",
        "code": "" if opened else "UNIT_100X",
        "open": opened,
    }
    return "data.gates", {**told, "event_time": at, "available_time": at, **other}


def bad(at: int, **other: Any) -> tuple[str, dict[str, Any]]:
    told = {"source": "ibkr", "symbol": "KO", "code": "UNIT_100X", "quarantine_id": f"ibkr/{at}", "event_time": at}
    return "data.quarantine", {**told, "available_time": at, **other}


def test_caught_is_a_gate_that_closed_and_opened_and_a_record_in_quarantine(injection: Injection) -> None:
    at = injection.at + 1
    caught = judged(injection, gate(at, False), bad(at), gate(at + 1, True))
    assert caught.whole
    assert caught.told == "bad print of KO: UNIT_100X, 1 in quarantine"
    assert demo_faults.problems([caught], {}) == []


@pytest.mark.parametrize("missing", ["all", "before", "other name", "open", "quarantine"])
def test_what_is_not_dealt_with_fails_the_run_unless_the_plane_was_away(injection: Injection, missing: str) -> None:
    at = injection.at + 1
    records = {
        "all": [],
        "before": [gate(at - 2, False), bad(at - 2), gate(at - 1, True)],
        "other name": [gate(at, False, scope="XOM"), bad(at, symbol="XOM"), gate(at + 1, True, scope="XOM")],
        "open": [gate(at, False), bad(at)],
        "quarantine": [gate(at, False), bad(at, symbol="XOM"), gate(at + 1, True)],
    }[missing]
    caught = judged(injection, *records)
    assert not caught.whole
    (problem,) = demo_faults.problems([caught], {"order": 1})
    assert "(2018-01-19 15:22 New York)" in problem
    assert demo_faults.problems([caught], {"data": 1}) == []


def test_what_was_not_due_yet_is_not_asked_for(injection: Injection) -> None:
    assert MarketFaults([injection]).caught(HandLog().recording(), injection.at - 1) == []
    assert demo_faults.told([]) == "none was injected"
