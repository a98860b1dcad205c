"""What `config` and `assets check` say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.control.contents import ASSETS, ROOT, TARGETS, with_value
from triplane.control import report
from triplane.control.report import VersionError
from triplane.runtime.configuration import hash_of, parse, to_record


def versions() -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for number, text in enumerate((TARGETS, with_value("VOL_TARGET", "0.07"), TARGETS), 1):
        previous = records[-1] if records else None
        records.append(to_record(parse(text, ASSETS), previous, actor="ana", event_time=number * 10**9))
    return records


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "targets.yaml").write_text(TARGETS, encoding="utf-8")
    (tmp_path / "assets.csv").write_text(ASSETS, encoding="utf-8")
    return tmp_path / "targets.yaml", tmp_path / "assets.csv"


def test_a_good_file_alone_and_against_the_version_in_force(files: tuple[Path, Path]):
    first, second, _ = versions()
    alone = report.config_check(*files)
    assert alone.ok
    assert alone.hash == first["hash"]
    assert "parameters and 24 assets, hash " + first["hash"][:12] in alone.summary
    same = report.config_check(*files, against=first)
    assert same.changes == ()
    assert same.summary.endswith("version 1 in force says the same")
    other = report.config_check(*files, against=second)
    assert other.changes == ("strategy.VOL_TARGET: 0.07 -> 0.1",)
    assert other.summary.endswith("1 change(s) against version 2")
    assert json.loads(json.dumps(other.as_json()))["ok"] is True


def test_a_row_that_goes_while_its_position_is_open_is_warned_of(files: tuple[Path, Path]):
    first, _, _ = versions()
    lines = ASSETS.splitlines(keepends=True)
    files[1].write_text("".join(line for line in lines if not line.startswith("AAPL,")), encoding="utf-8")
    held = {"AAPL": -12.0, "KO": 5.0, "XOM": 0.0, "GONE": 0.0}
    check = report.config_check(*files, against=first, positions=held)
    assert check.ok
    (warning,) = check.as_json()["warnings"]
    assert warning.startswith("assets.csv has no row for AAPL, and -12 are held")
    assert report.config_check(*files, against=first).warnings == ()


def test_a_bad_file(files: tuple[Path, Path]):
    files[0].write_text(with_value("BOX_LIM", "7"), encoding="utf-8")
    check = report.config_check(*files)
    assert not check.ok
    assert check.summary == "1 problem; nothing would change"
    found = check.as_json()["problems"]
    assert found[0]["parameter"] == "strategy.BOX_LIM"
    assert found[0]["value"] == "7"
    assert found[0]["sentence"].startswith("targets.yaml line ")


def test_history_keeps_the_first_record_of_a_sequence_number():
    first, second, third = versions()
    rows = report.config_history([(0, first), (1, second), (2, {**second, "hash": "other"}), (3, third)])
    assert [(row.seq, row.offset, row.time, row.hash) for row in rows] == [
        (1, 0, "1970-01-01T00:00:01Z", first["hash"]),
        (2, 1, "1970-01-01T00:00:02Z", second["hash"]),
        (3, 3, "1970-01-01T00:00:03Z", first["hash"]),
    ]
    assert rows[1].changes == ("strategy.VOL_TARGET: 0.1 -> 0.07",)


def test_what_no_plane_can_read_is_listed_as_unreadable_and_never_in_force():
    first, second, third = versions()
    altered = {**second, "values": first["values"]}
    parts = (second["values"], "null", second["calendar_version"], second["tzdata_version"])
    foreign = {**second, "seq": 9, "assets": "null", "hash": hash_of(*parts), "actor": "elsewhere"}
    records = [(0, first), (1, altered), (2, second), (3, foreign), (4, third)]
    rows = report.config_history(records)
    assert [(row.seq, row.offset, row.unreadable[:19]) for row in rows] == [
        (1, 0, ""), (2, 1, "does not fit the va"), (2, 2, ""), (9, 3, "was written by anot"), (3, 4, "")
    ]  # fmt: skip
    assert report.in_force(records[:4]) is second
    assert report.in_force([(3, foreign)]) is None
    assert report.select(records[:4], "latest") is second
    assert report.select(records, "2") is second
    assert report.select(records, "9") is foreign, "it can still be compared"
    with pytest.raises(VersionError, match="no version yet that this release can read"):
        report.select([(3, foreign)], "latest")


def test_versions_are_named_by_number_hash_or_latest():
    records = list(enumerate(versions()))
    assert report.select(records, "2") is records[1][1]
    assert report.select(records, "latest") is records[2][1]
    assert report.select(records, records[1][1]["hash"][:8].upper()) is records[1][1]
    assert report.select(records, records[0][1]["hash"][:8]) is records[2][1]
    assert report.config_diff(report.select(records, "1"), report.select(records, "2")) == [
        "strategy.VOL_TARGET: 0.1 -> 0.07"
    ]
    for unknown in ("9", "zzzz", "ab"):
        with pytest.raises(VersionError, match="no single version is called"):
            report.select(records, unknown)
    with pytest.raises(VersionError, match="holds no version yet"):
        report.select([], "latest")


def test_assets_check(files: tuple[Path, Path]):
    check = report.assets_check(ROOT / "assets.csv")
    assert check.ok
    assert check.classes == {"Equity": 20, "ETF": 1, "Future": 1, "FX": 1, "Crypto": 1}
    assert len(check.tradable) == 20
    assert check.refused == dict.fromkeys(["SPY", "MES", "EUR.USD", "BTC.USD"], "CLASS_NOT_TRADED")
    assert json.loads(json.dumps(check.as_json()))["unresolved"]
    files[1].write_text(ASSETS.replace("US0378331005", "US0378331006"), encoding="utf-8")
    bad = report.assets_check(files[1])
    assert not bad.ok
    assert bad.as_json()["problems"][0]["line"] == 2


def test_what_cannot_be_decoded_stands_in_the_history():
    """It may be what refuses the next start."""
    rows = report.config_history([(0, "no record"), (1, versions()[0]), (2, "schema id 99 is not in the lock")])
    assert [(row.seq, row.offset, row.unreadable) for row in rows] == [
        (0, 0, "no record"),
        (1, 1, ""),
        (0, 2, "schema id 99 is not in the lock"),
    ]
