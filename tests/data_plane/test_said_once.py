"""What the log says of what was taken out or came too late: once, with how many there were."""

from __future__ import annotations

from typing import Any

import structlog
from structlog.testing import capture_logs

from data_plane.conservation import LATE, Ledger
from data_plane.daemon.said_once import AGAIN_S, BURST_MAX_S, BURST_S, LateBars, QuarantineLines
from data_plane.outputs import GATES, QUARANTINE, Output


def bad(*symbols: str, code: str = "SIZE_IN_LOTS") -> list[Output]:
    """Quarantined quotes."""
    return [
        Output(QUARANTINE, {"code": code, "symbol": name, "detail": f"{name} quote"}, "ibkr", 1) for name in symbols
    ]


def opened(symbol: str) -> list[Output]:
    """A gate that opens."""
    return [Output(GATES, {"open": True, "source": "ibkr", "scope": symbol, "gate": "quote_sanity"}, "ibkr", 0)]


def said(*batches: tuple[float, list[Output]]) -> list[dict[str, Any]]:
    """The log of batches at wall times."""
    with capture_logs() as entries:
        lines = QuarantineLines(structlog.get_logger())
        for now, outputs in batches:
            lines.take(outputs, now)
    return [dict(entry) for entry in entries]


def test_a_standing_fault_of_a_name_is_one_line_until_its_gate_opens() -> None:
    first, *rest = said(*((float(now), bad("KO")) for now in range(100)), (100.0, opened("KO")), (101.0, bad("KO")))
    assert (first["event"], first["symbol"], first["code"], first["log_level"]) == (
        "quarantined",
        "KO",
        "SIZE_IN_LOTS",
        "warning",
    )
    assert [(each["event"], each.get("more")) for each in rest] == [
        ("quarantined before its gate opened", 99),
        ("quarantined", None),
    ]


def test_another_name_or_code_is_news_and_those_of_one_moment_share_a_line() -> None:
    entries = said((0.0, bad("KO", "PG", "MCD")), (1.0, bad("KO", "GE")), (2.0, bad("KO", code="SPREAD_WIDE")))
    assert [(each["symbol"], each["code"], each.get("more")) for each in entries] == [
        ("KO", "SIZE_IN_LOTS", 2),
        ("GE", "SIZE_IN_LOTS", None),
        ("KO", "SPREAD_WIDE", None),
    ]


def test_a_fault_that_no_gate_ends_is_said_again_with_its_count() -> None:
    entries = said(*((now, bad("KO")) for now in (0.0, 1.0, 2.0, AGAIN_S - 1.0, AGAIN_S)))
    assert [each.get("since_the_last_line") for each in entries] == [None, 3]


def test_late_bars_are_told_once_a_burst_with_their_number() -> None:
    ledger = Ledger()
    late = LateBars(ledger)
    assert late.look(0.0) == []
    ledger.drop("ibkr", LATE, 20)
    ledger.drop("ibkr", "CONFLATED", 500)
    assert late.look(1.0) == []
    ledger.drop("ibkr", LATE, 20)
    assert late.look(2.0) == []
    assert late.look(2.0 + BURST_S) == [("ibkr", 40)]
    assert late.look(100.0) == []
    told = []
    for now in range(200, 200 + int(2.5 * BURST_MAX_S)):
        ledger.drop("ibkr", LATE)
        told += late.look(float(now))
    told += late.look(1000.0)
    assert len(told) == 3
    assert sum(count for _, count in told) == int(2.5 * BURST_MAX_S)
