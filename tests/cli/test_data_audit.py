"""`triplane data audit` as a process: tables, JSON, the score beside twins, and files that hold no bars."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import polars as pl
import pytest

from tests.cli.command import triplane
from tests.data_plane.test_audit import made
from triplane.cli import data_audit, price_files

COLUMNS = ("Date", "Open", "High", "Low", "Close", "Adj Close", "Volume", "Dividends", "Stock Splits")


def _rows(bars: int = 60, factor: float = 1.0, first: int = 20, last: int = 24) -> list[list[str]]:
    series = made(4, bars=bars)
    rows = []
    for place in range(bars):
        scale = factor if first <= place <= last else 1.0
        day = str((pl.Series([series.times[place]]).cast(pl.Datetime("ns"))[0]).date())
        prices = [f"{value * scale:.6f}" for value in series.prices[place]]
        rows.append([day, *prices, prices[-1], f"{series.volume[place]:.0f}", "0", "0"])
    return rows


def _write(path: Path, rows: list[list[str]], columns: tuple[str, ...] = COLUMNS) -> Path:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.getvalue().encode()))
    else:
        path.write_text(text.getvalue(), encoding="utf-8")
    return path


def test_a_fault_is_told_with_its_bar_and_repair(tmp_path: Path) -> None:
    _write(tmp_path / "one.csv", _rows(factor=100.0))
    ended = triplane("data", "audit", str(tmp_path / "one.csv"), cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "UNIT_100X" in ended.out
    assert "prices x 0.01" in ended.out
    assert "60 bars in 1 files: 1 findings" in ended.out
    assert ended.err == ""


def test_json_has_an_entry_a_file_and_the_score_beside_a_twin(tmp_path: Path) -> None:
    _write(tmp_path / "one.csv.gz", _rows(factor=0.01))
    _write(tmp_path / "one-fixed.csv.gz", _rows())
    _write(tmp_path / "other-no-bad.csv", _rows(bars=80))
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (tmp_path / "readme.txt").write_text("no prices", encoding="utf-8")
    ended = triplane("data", "audit", str(tmp_path), "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    entries = {Path(entry["file"]).name: entry for entry in told["files"]}
    assert entries.keys() == {"one.csv.gz", "one-fixed.csv.gz", "other-no-bad.csv", "notes.csv"}
    (finding,) = entries["one.csv.gz"]["findings"]
    day = _rows()[20][0]
    assert finding["kind"] == "UNIT_100X"
    assert finding["date"] == finding["from"] == day
    assert finding["to"] == _rows()[24][0]
    assert finding["repair"] == "prices x 100"
    assert entries["one-fixed.csv.gz"]["findings"] == entries["other-no-bad.csv"]["findings"] == []
    assert "no column for time, open, high, low, close" in entries["notes.csv"]["problem"]
    assert told["recall"] == told["precision"] == 1.0
    assert told["repairs"] == {"claimed": 1, "matching": 1}
    assert told["unreadable"] == 1
    assert told["by_fault"]["unit"] == {
        "broken": 1, "found": 1, "findings": 1, "right": 1, "recall": 1.0, "precision": 1.0
    }  # fmt: skip


@pytest.mark.parametrize(("first", "last"), [(0, 5), (0, 21), (20, 25), (20, 41)])
def test_a_long_stretch_has_an_entry_at_either_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], first: int, last: int
) -> None:
    """The score and the table have it once."""
    path = _write(tmp_path / "one.csv", _rows(factor=100.0, first=first, last=last))
    _write(tmp_path / "one-fixed.csv", _rows())
    data_audit.audit(tmp_path, notes=False, json_=True)
    told = json.loads(capsys.readouterr().out)
    (found,) = [entry["findings"] for entry in told["files"] if entry["file"] == str(path)]
    days = _rows()[first][0], _rows()[last][0]
    assert {entry["edge"]: entry["date"] for entry in found} == {"oldest": days[0], "newest": days[1]}
    assert {(entry["from"], entry["to"]) for entry in found} == {days}
    assert (told["recall"], told["precision"]) == (1.0, 1.0)
    assert told["by_fault"]["all"]["findings"] == told["by_fault"]["all"]["right"] == 1
    data_audit.audit(tmp_path, notes=False, json_=False)
    shown = capsys.readouterr().out
    assert "120 bars in 2 files: 1 findings" in shown
    assert shown.count("by a factor") == 1


def test_rows_without_a_close_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One with other prices is a fault; one without any may be a day without a market. Before the first bar and after the last there is none."""
    rows = _rows()
    days = [row[0] for row in rows]
    for place, empty in ((0, 5), (1, 5), (30, 1), (40, 5), (41, 5), (59, 5)):
        for column in range(4 if empty == 1 else 1, 6):
            rows[place][column] = ""
    rows.insert(10, [rows[10][0], "", "", "", "", "", "0", "0", "0"])  # the row after it has that day's bar
    data_audit.audit(_write(tmp_path / "one.csv", rows), notes=False, json_=True)
    (entry,) = json.loads(capsys.readouterr().out)["files"]
    assert entry["bars"] == 54
    (finding,), (note,) = entry["findings"], entry["notes"]
    assert (finding["kind"], finding["date"], finding["edge"]) == ("PRICE_IMPOSSIBLE", days[30], None)
    assert "1 row without a close, open, high, low " in finding["detail"]
    assert (note["kind"], note["from"], note["to"]) == ("PRICE_IMPOSSIBLE", days[40], days[41])
    assert note["detail"] == "2 rows without prices"


def test_without_a_twin_there_is_no_score(tmp_path: Path) -> None:
    _write(tmp_path / "one.csv", _rows(factor=100.0))
    told = json.loads(triplane("data", "audit", str(tmp_path), "--json", cwd=tmp_path).out)
    assert told["recall"] is None
    assert told["precision"] is None
    assert told["repairs"] is None


def test_the_names_of_files_do_not_tell_the_detector(tmp_path: Path) -> None:
    _write(tmp_path / "a-no-bad.csv", _rows(factor=100.0))
    told = json.loads(triplane("data", "audit", str(tmp_path), "--json", cwd=tmp_path).out)
    assert [finding["kind"] for finding in told["files"][0]["findings"]] == ["UNIT_100X"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.csv", None, "does not exist"),
        ("letters.txt", "x", "no column"),
        ("torn.zip", "no zip", "no such file as its name says"),
        ("torn.parquet", "no parquet", "no such file as its name says"),
        ("empty.csv", "", "no such file as its name says"),
        ("times.csv", "Date,Open,High,Low,Close\nsoon,1,1,1,1\n", "in no format that is known"),
        ("thousands.csv", 'Date,Open,High,Low,Close\n2024-01-02,1,1,1,"1,025.3"\n', "its close '1,025.3' is no number"),
        ("footer.csv", "Date,Open,High,Low,Close\n2024-01-02,1,1,1,1\nTotal,1,1,1,1\n", "such as 'Total'"),
        ("year.csv", "Date,Open,High,Low,Close\n9999-12-31,1,1,1,1\n", "in which no market was open"),
        ("dateless.csv", "Date,Open,High,Low,Close\n,1,1,1,1\n", "no bar with a time"),
        ("closeless.csv", "Date,Open,High,Low,Close\n2024-01-02,1,1,1,\n", "no bar with a close"),
    ],
)
def test_a_file_without_bars_ends_in_a_sentence(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    ended = triplane("data", "audit", str(tmp_path / name), cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert ended.out == ""


def test_an_empty_directory_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ended = triplane("data", "audit", str(tmp_path / "data"), cwd=tmp_path)
    assert ended.code == 2
    assert ".csv, .csv.gz, .parquet, .zip" in ended.err


@pytest.mark.parametrize("kind", ["torn gz", "flipped gz", "encrypted zip", "parquet of lists", "no permission"])
def test_one_bad_file_leaves_the_others_alone(tmp_path: Path, kind: str) -> None:
    _write(tmp_path / "good.csv", _rows(factor=100.0))
    whole = _write(tmp_path / "bad.csv.gz", _rows()).read_bytes()
    if kind == "torn gz":
        (tmp_path / "bad.csv.gz").write_bytes(whole[:-40])
    elif kind == "flipped gz":
        (tmp_path / "bad.csv.gz").write_bytes(whole[:60] + bytes([whole[60] ^ 0xFF]) + whole[61:])
    elif kind == "no permission":
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        (tmp_path / "bad.csv.gz").chmod(0)
    else:
        (tmp_path / "bad.csv.gz").unlink()
        if kind == "encrypted zip":
            with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
                archive.writestr("a.csv", "1,2,3,4,5,6\n")
            content = bytearray((tmp_path / "bad.zip").read_bytes())
            content[6] |= 1  # the flag of encryption, in both headers
            content[content.index(b"PK\x01\x02") + 8] |= 1
            (tmp_path / "bad.zip").write_bytes(content)
        else:
            pl.DataFrame({"date": [["2024-01-02"]], **{n: [1.0] for n in COLUMNS[1:5]}}).write_parquet(
                tmp_path / "bad.parquet"
            )
    ended = triplane("data", "audit", str(tmp_path), "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    good, bad = sorted(ended.json["files"], key=lambda entry: Path(entry["file"]).name != "good.csv")
    assert [finding["kind"] for finding in good["findings"]] == ["UNIT_100X"]
    assert bad["problem"]
    assert bad["bars"] == 0


def test_files_that_could_not_be_read_are_counted_and_the_others_audited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory holds other files as well, so that they alone are no failure."""
    _write(tmp_path / "good.csv", _rows(factor=100.0))
    for number in range(7):
        (tmp_path / f"bad{number}.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    data_audit.audit(tmp_path, notes=False, json_=False)
    shown = capsys.readouterr().out
    assert "7 of 8 files could not be read" in shown
    assert "not audited: 2 more (--json names all)" in shown
    data_audit.audit(tmp_path, notes=False, json_=True)
    told = json.loads(capsys.readouterr().out)
    assert told["unreadable"] == len([entry for entry in told["files"] if entry["problem"]]) == 7


def test_a_repair_that_does_not_make_the_twin_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The finding is right by kind and bar, and only the twin tells that fewer bars are wrong."""
    _write(tmp_path / "one.csv", _rows(factor=100.0))
    _write(tmp_path / "one-fixed.csv", _rows(factor=100.0, first=23))
    data_audit.audit(tmp_path, notes=False, json_=True)
    told = json.loads(capsys.readouterr().out)
    assert told["recall"] == 1.0
    assert told["repairs"] == {"claimed": 2, "matching": 0}  # what is claimed in a twin is wrong
    data_audit.audit(tmp_path, notes=False, json_=False)
    shown = capsys.readouterr().out
    assert "0 of 2" in shown
    assert f"not as in the twin: one.csv: {_rows()[20][0]}: prices x 0.01" in shown


def test_rows_of_one_day_that_differ_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last counts; the same answer twice is no fault."""
    rows = _rows()
    rows.insert(11, list(rows[10]))
    changed = [rows[30][0], *(f"{float(price) * 1.02:.6f}" for price in rows[30][1:6]), *rows[30][6:]]
    rows.insert(30, changed)
    data_audit.audit(_write(tmp_path / "one.csv", rows), notes=False, json_=True)
    (entry,) = json.loads(capsys.readouterr().out)["files"]
    (finding,) = entry["findings"]
    assert entry["bars"] == 60
    assert (finding["kind"], finding["date"]) == ("PRICE_IMPOSSIBLE", rows[31][0])
    assert "2 rows of this time differ" in finding["detail"]


def test_a_twin_with_other_bars_is_told(tmp_path: Path) -> None:
    _write(tmp_path / "one.csv", _rows(factor=100.0))
    _write(tmp_path / "one-fixed.csv", _rows(bars=59))
    ended = triplane("data", "audit", str(tmp_path), cwd=tmp_path)
    assert "not scored: one.csv: the twin has other bars" in ended.out


# -- the files -------------------------------------------------------------------------------------------------------------------
def test_a_panel_is_read_name_by_name_in_order_of_time(tmp_path: Path) -> None:
    days = ["2024-01-03", "2024-01-02", "2024-01-02", "2024-01-03"]
    frame = pl.DataFrame(
        {"date": days, "symbol": ["B", "B", "A", "A"], **{n: [2.0, 1.0, 3.0, 4.0] for n in COLUMNS[1:5]}}
    )
    frame = frame.with_columns(pl.col("date").str.to_date())
    frame.write_parquet(tmp_path / "panel.parquet")
    read = list(price_files.read(tmp_path / "panel.parquet"))
    assert [(named.symbol, named.labels, named.series.close.tolist()) for named in read] == [
        ("B", ["2024-01-02", "2024-01-03"], [1.0, 2.0]),
        ("A", ["2024-01-02", "2024-01-03"], [3.0, 4.0]),
    ]
    assert read[0].series.adjusted is None
    assert (read[0].series.volume == 0.0).all()


def test_rows_without_a_date_and_words_for_nothing_are_left_out(tmp_path: Path) -> None:
    rows = [["2024-01-02", "1", "1", "1", "1"], ["", "9", "9", "9", "9"], ["2024-01-03", "null", "N/A", "-", "2"]]
    (named,) = price_files.read(_write(tmp_path / "a.csv", rows, ("Date", *COLUMNS[1:5])))
    assert named.labels == ["2024-01-02", "2024-01-03"]
    assert named.series.close.tolist() == [1.0, 2.0]


def test_of_two_columns_that_could_be_the_time_the_first_name_counts(tmp_path: Path) -> None:
    rows = [[f"2024-01-0{day}", "1", "1", "1", "1", "2024-06-01"] for day in range(1, 6)]
    (named,) = price_files.read(_write(tmp_path / "a.csv", rows, ("Date", *COLUMNS[1:5], "Timestamp")))
    assert len(named.labels) == 5


@pytest.mark.parametrize(
    "text", ["2024-01-02T09:30:00Z", "2024-01-02 09:30:00.500", "2024-01-02T09:30:00+00:00", "2024-01-02"]
)
def test_the_usual_ways_to_write_a_time_are_read(tmp_path: Path, text: str) -> None:
    (named,) = price_files.read(_write(tmp_path / "a.csv", [[text, "1", "1", "1", "1"]], ("Date", *COLUMNS[1:5])))
    assert named.labels == [text]
    assert abs(int(named.series.times[0]) - 1_704_153_600_000_000_000) < 86_400_000_000_000


def test_times_with_offsets_are_put_in_order_across_a_change_of_clocks(tmp_path: Path) -> None:
    times = ("2024-03-31 03:00:00+02:00", "2024-03-31 01:00:00+01:00", "2024-03-31 00:00:00+01:00")
    path = _write(tmp_path / "a.csv", [[time, *["1"] * 4] for time in times], ("Datetime", *COLUMNS[1:5]))
    (named,) = price_files.read(path)
    assert named.labels == [times[2], times[1], times[0]]
    assert [int(gap) for gap in (named.series.times[1:] - named.series.times[:-1]) / 3.6e12] == [1, 1]


def test_zipped_bars_count_milliseconds_from_the_day_of_the_name(tmp_path: Path) -> None:
    path = tmp_path / "20240102_trade.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("20240102_x_minute_trade.csv", "34200000,10,11,9,10,100\n34260000,10,11,9,10.5,200\n")
        archive.writestr("20240102_x_Trade_Tick.csv", "34200000,10,100,P,0,0\n")
    (named,) = price_files.read(path)
    assert named.labels[0].startswith("2024-01-02 09:30")
    assert named.series.close.tolist() == [10.0, 10.5]


def test_of_quotes_the_middle_is_read_where_both_sides_belong_together(tmp_path: Path) -> None:
    path = tmp_path / "20240102_quote.zip"
    rows = "0,10,10,10,10,1,10.1,10.1,10.1,10.1,1\n60000,1,1,1,1,1,19,19,19,19,1\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("20240102_x_minute_quote.csv", rows)
    (named,) = price_files.read(path)
    assert named.series.close.tolist() == [10.05]
