"""Parts of the order daemon by themselves: modes, journal, stop points."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest

from order_plane.daemon import modes
from order_plane.daemon.journal import COMPACT_BYTES, Journal
from order_plane.daemon.stop_points import PLACES, StopPoints
from triplane.runtime.exit_codes import CONFIG, DaemonExit
from triplane.runtime.settings import Settings


def settings_of(tmp_path: Path, **fields: Any) -> Settings:
    return Settings(state_dir=tmp_path / "state", account="DU1", gateway_port=4002).model_copy(update=fields)


# -- modes -----------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"mode": "live"}, "live trading is refused in this release"),
        ({"account": "DU1234567,DU7654321"}, "name exactly one account"),
        ({"mode": "live", "account": "U123"}, "live trading is refused in this release"),
        ({"account": ""}, "no account is named"),
        ({"account": "U123"}, "U123 is not a paper account"),
        ({"gateway_port": 7496}, "port 7496 is TWS's live port"),
        ({"gateway_port": 4001}, "port 4001 is IB Gateway's live port"),
        ({"gateway_port": 0}, "TRIPLANE_GATEWAY_PORT is 0"),
        ({"mode": "shadow", "account": "U123", "gateway_port": 7497}, "contradict each other"),
        ({"mode": "shadow", "account": "DU1", "gateway_port": 4001}, "contradict each other"),
        ({"mode": "shadow", "gateway_port": 0}, "set TRIPLANE_GATEWAY_PORT and TRIPLANE_ACCOUNT"),
        ({"order_client_id": 11}, "have to differ"),
        ({"order_client_id": 0}, "above 0"),
    ],
)
def test_contradicting_settings_end_the_daemon_for_good(tmp_path: Path, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DaemonExit, match=sentence) as ending:
        modes.check(settings_of(tmp_path, **fields))
    assert ending.value.code == CONFIG


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"gateway_port": 7497},
        {"gateway_port": 50123},
        {"mode": "shadow", "account": "U123", "gateway_port": 7496},
        {"mode": "shadow"},
    ],
)
def test_agreeing_settings_pass(tmp_path: Path, fields: dict[str, Any]) -> None:
    modes.check(settings_of(tmp_path, **fields))


def entry(reason: str) -> dict[str, str]:
    return {"kind": "global_cancel", "reason": reason}


def reasons(journal: Journal) -> list[str]:
    return [str(each["reason"]) for each in journal.recovered]


# -- journal ---------------------------------------------------------------------------------------------------------------------
def test_the_journal_gives_back_what_was_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        numbers = journal.write([entry("a"), entry("b"), entry("c")])
        journal.done(numbers[:2])
        assert journal.pending == 1
    with Journal(path) as journal:
        assert reasons(journal) == ["c"]
        (later,) = journal.write([entry("d")])
        assert later > numbers[2]
        journal.done([numbers[2], later])
        journal.done([later])  # twice is once
    with Journal(path) as journal:
        assert journal.recovered == []


def test_a_torn_last_line_is_dropped_and_the_next_entry_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write([entry("a")])
    with path.open("ab") as file:
        file.write(b'{"kind":"b","se')
    with Journal(path) as journal:
        assert reasons(journal) == ["a"]
        assert journal.damaged == 0
        journal.write([entry("c")])
    with Journal(path) as journal:
        assert reasons(journal) == ["a", "c"]


@pytest.mark.parametrize(
    "line",
    [
        "null", "5", "[]", "{}", '"text"', '{"done":5}', '{"seq":"1","kind":"kill"}', '{"seq":7,"kind":"unheard of"}',
        '{"seq":7,"kind":"report","report":null}', '{"seq":7,"kind":"output","topic":"order.fills","after":"x"}', "torn {",
        '{"seq":7,"kind":"report","report":{"kind":"execution"}}', '{"seq":7,"kind":"report","report":{"kind":"unheard of"}}',
    ],
)  # fmt: skip
def test_a_damaged_line_is_counted_and_the_rest_is_taken_up(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write([entry("a")])
    with path.open("a") as file:
        file.write(line + "\n")
    with Journal(path) as journal:
        assert (reasons(journal), journal.damaged) == (["a"], 1)
        journal.write([entry("b")])
    with Journal(path) as journal:
        assert reasons(journal) == ["a", "b"]


def test_a_full_disk_takes_an_entry_whole_or_not_at_all(tmp_path: Path) -> None:
    """The limit on file sizes ends a write in the middle, as a disk without room does."""
    path = tmp_path / "journal.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    acknowledged = []

    def fill(journal: Journal) -> None:
        for number in range(1000):
            journal.write([entry(f"{number} {'x' * 700}")])
            acknowledged.append(number)

    with Journal(path) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            with pytest.raises(OSError, match="File too large") as refused:
                fill(journal)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert refused.value.filename == str(path)
        assert 0 < len(acknowledged) < 1000
        journal.write([entry("later")])
    with Journal(path) as journal:
        assert [reason.split()[0] for reason in reasons(journal)] == [*map(str, acknowledged), "later"]
        assert journal.damaged == 0


def test_a_finished_journal_is_emptied_once_it_is_large(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        numbers = journal.write([{"kind": "x", "text": "y" * 1000}] * (COMPACT_BYTES // 1000))
        journal.done(numbers[1:])
        assert path.stat().st_size > COMPACT_BYTES  # one is pending still
        journal.done(numbers[:1])
        assert path.stat().st_size == 0


# -- stop points -----------------------------------------------------------------------------------------------------------------
def test_stop_points_are_inert_without_their_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: killed.append(number))
    quiet = StopPoints("")
    for place in PLACES:
        quiet.reach(place)
    assert killed == []
    third = StopPoints("order-sent:3")
    for _ in range(5):
        third.reach("placing-acked")
        third.reach("order-sent")
    assert killed == [9]
    with pytest.raises(ValueError, match="no such place"):
        StopPoints("nowhere")
