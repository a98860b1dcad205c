"""assets.csv: every kind of mistake is told with its line, and nothing is lost between file, values and file."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triplane.domain.assets import CLASS_NOT_TRADED, COLUMNS, Asset, AssetsError, Universe, to_csv

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "assets.csv").read_text(encoding="utf-8")
DEMO = [
    "AAPL",
    "AMD",
    "BAC",
    "BBY",
    "CVX",
    "GE",
    "HD",
    "JNJ",
    "JPM",
    "KO",
    "LLY",
    "MRK",
    "MSFT",
    "PEP",
    "PFE",
    "PG",
    "RRC",
    "UNH",
    "WMT",
    "XOM",
]


def edited(row_of: str, /, **values: str) -> str:
    """The committed file with cells of one row replaced."""
    lines = TEXT.splitlines()
    header = lines[0].split(",")
    for number, line in enumerate(lines):
        if line.startswith(f"{row_of},"):
            cells = next(csv.reader([line]))
            for column, value in values.items():
                cells[header.index(column)] = value
            lines[number] = ",".join(f'"{cell}"' if "," in cell else cell for cell in cells)
    return "\n".join(lines) + "\n"


def sentences(text: str) -> list[str]:
    with pytest.raises(AssetsError) as caught:
        Universe.parse(text)
    return [str(problem) for problem in caught.value.problems]


def test_the_committed_file_holds_the_demonstration_and_one_asset_of_each_other_class():
    universe = Universe.load(ROOT / "assets.csv")
    assert [asset.symbol for asset in universe.tradable] == DEMO
    assert {asset.asset_class for asset in universe.assets} == {"Equity", "ETF", "Future", "FX", "Crypto"}
    for asset in universe.tradable:
        assert asset.isin
        assert asset.figi
        assert asset.sector
    refused = [asset for asset in universe.assets if asset not in universe.tradable]
    assert {asset.untradable_code() for asset in refused} == {CLASS_NOT_TRADED}
    assert universe["EUR.USD"].broker_symbol == "EUR"
    assert universe["MES"].multiplier == 5
    assert "AAPL" in universe
    assert "TSLA" not in universe
    assert len(universe) == 24


def test_identifiers_agree_with_the_public_reference_table(shared_data: Path):
    table = shared_data / "reference" / "us_equity_identifiers_financedatabase.csv.gz"
    with gzip.open(table, "rt", encoding="utf-8") as file:
        reference = {row["symbol"]: row for row in csv.DictReader(file)}
    compared = 0
    for asset in Universe.load(ROOT / "assets.csv").tradable:
        row = reference.get(asset.symbol)
        if row is not None:
            assert asset.isin[2:11] == row["cusip"], asset.symbol
            assert asset.figi == row["composite_figi"], asset.symbol
            assert not row["isin"] or asset.isin == row["isin"], asset.symbol
            compared += 1
    assert compared >= 16


@pytest.mark.parametrize(
    ("symbol", "values", "wanted"),
    [
        ("AAPL", {"isin": "US0378331006"}, "assets.csv line 2: isin = 'US0378331006': check digit does not fit the other characters; correct the isin"),
        ("AAPL", {"isin": "US03783310"}, "not a valid isin"),
        ("AAPL", {"isin": "us0378331005"}, "US0378331005, without spaces and in capitals"),
        ("AMD", {"figi": "BBG000BBQCY1"}, "assets.csv line 3: figi = 'BBG000BBQCY1': check digit does not fit"),
        ("AMD", {"asset_class": "Equty"}, "allowed is one of Equity, ETF, Future, FX, Crypto; did you mean Equity?"),
        ("BAC", {"calendar": "XNYZ"}, "one of 24/5, 24/7, CMES, XNYS; did you mean XNYS?"),
        ("BAC", {"cost_profile": "ETF"}, "Standard for asset_class Equity"),
        ("BAC", {"sec_type": "FUT"}, "STK for asset_class Equity"),
        ("BAC", {"sector": ""}, "a GICS sector"),
        ("BAC", {"expiry": "20270101"}, "empty for asset_class Equity"),
        ("MES", {"expiry": ""}, "every future has one"),
        ("MES", {"expiry": "20271350"}, "a real date"),
        ("MES", {"expiry": "2027"}, "expiry = '2027'"),
        ("BAC", {"multiplier": "x"}, "multiplier = 'x': allowed is a number > 0 and <= 1000000"),
        ("BAC", {"risk_weight": "nan"}, "risk_weight = 'nan': allowed is a number > 0 and <= 10"),
        ("BAC", {"risk_weight": "inf"}, "risk_weight = 'inf'"),
        ("BAC", {"lot_size": "0"}, "lot_size = '0': allowed is a number > 0"),
        ("BAC", {"lot_size": "100"}, "min_order = '1': at least lot_size 100"),
        ("BAC", {"min_tick": "-0.01"}, "min_tick = '-0.01'"),
        ("BAC", {"con_id": "1.5"}, "con_id = '1.5': allowed is a whole number >= 0"),
        ("BAC", {"shortable": "perhaps"}, "shortable = 'perhaps': allowed is true or false"),
        ("BAC", {"currency": "usd"}, "currency = 'usd'"),
        ("BAC", {"currency": "XXD"}, "currency = 'XXD'"),
        ("BAC", {"symbol": "bac"}, "symbol = 'bac'"),
        ("BAC", {"name": ""}, "name = '': allowed is text of at least 1 character"),
        ("BAC", {"name": "n" * 121}, "allowed is text of at most 120 characters"),
        ("BAC", {"name": "B\0AC"}, "text without control characters"),
        ("BAC", {"beta_proxy": "SPI"}, "allowed is a symbol of this file, or nothing; did you mean SPY?"),
        ("BAC", {"symbol": "AAPL"}, "assets.csv line 4: symbol = 'AAPL': already on line 2; keep one row"),
        ("BAC", {"isin": "US0378331005"}, "isin = 'US0378331005': already on line 2"),
        ("BAC", {"group": "Main"}, "group = 'Main'"),
    ],
)  # fmt: skip
def test_a_bad_cell_is_told_with_line_column_value_and_what_is_allowed(
    symbol: str, values: dict[str, str], wanted: str
):
    found = sentences(edited(symbol, **values))
    assert len(found) == 1, found
    assert wanted in found[0]
    assert found[0].startswith("assets.csv line ")


def test_every_problem_is_told_at_once_in_file_order():
    text = edited("AAPL", isin="US0378331006").replace("BBG000BCTLF6", "BBG000BCTLF7")
    assert [sentence.split(":")[0] for sentence in sentences(text)] == ["assets.csv line 2", "assets.csv line 4"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "assets.csv: is empty; begin with the header symbol,name"),
        (TEXT.splitlines()[0] + "\n", "holds no asset"),
        (TEXT.replace("symbol,name,", "symbol,nam,", 1), "line 1: nam: unknown column; did you mean name?"),
        (TEXT.replace("symbol,name,", "symbol,symbol,", 1), "line 1: symbol: column stands twice"),
        (TEXT.replace("symbol,name,", "symbol,", 1), "line 1: name: column is missing"),
        (TEXT + "TSLA,Tesla\n", "line 26: TSLA: has 2 cells; the header has 24"),
        (TEXT + '"TSLA\n', "line 26: is not CSV"),
        (TEXT + '"TS"LA,x\n', "is not CSV"),
    ],
)
def test_a_bad_file_is_told(text: str, wanted: str):
    assert any(wanted in sentence for sentence in sentences(text)), sentences(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (TEXT.replace(",", ";"), "line 1: is separated by ';'; save it as comma-separated values"),
        (TEXT.replace(",", "\t"), "line 1: is separated by '\\t'; save it as comma-separated values"),
        (TEXT.partition("\n")[2], "line 1: is no header; begin the file with symbol,name,"),
    ],
)
def test_a_file_without_its_header_or_with_another_separator_is_one_sentence(text: str, wanted: str):
    (sentence,) = sentences(text)
    assert wanted in sentence


def test_lines_are_counted_through_quoted_line_ends_and_blank_lines():
    text = TEXT.replace("Apple Inc.", '"Apple\nInc."').replace("\nAMD", "\n\nAMD")
    found = sentences(text.replace("BBG000BBQCY0", "BBG000BBQCY1"))
    assert [sentence for sentence in found if sentence.startswith("assets.csv line 5: figi")]


def test_what_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(
        AssetsError, match=r"assets.csv: cannot be read \(No such file or directory\); restore the file"
    ):
        Universe.load(tmp_path / "assets.csv")
    os.mkfifo(tmp_path / "pipe.csv")  # nobody writes to it, and nobody waits for it
    with pytest.raises(AssetsError, match=r"pipe.csv: cannot be read \(not a regular file\); restore the file"):
        Universe.load(tmp_path / "pipe.csv")
    (tmp_path / "assets.csv").write_bytes(b"symbol\xff")
    with pytest.raises(AssetsError, match=r"assets\.csv line 1: holds the byte 0xff, which is not UTF-8"):
        Universe.load(tmp_path / "assets.csv")


def test_column_order_byte_order_mark_windows_line_ends_and_missing_defaults_do_not_matter():
    universe = Universe.parse(TEXT)
    columns = [column for column in reversed(COLUMNS) if column != "group"]
    rows = [",".join(columns)]
    for asset in universe.assets:
        rows.append(",".join(f'"{getattr(asset, column)}"' for column in columns))
    assert Universe.parse("\ufeff" + "\r\n".join(rows) + "\r\n") == universe


def test_file_values_and_canonical_form_hold_the_same_assets():
    universe = Universe.parse(TEXT)
    assert to_csv(universe.assets) == TEXT
    assert Universe.from_canonical(universe.canonical()) == universe
    assert hash(Universe.from_canonical(universe.canonical())) == hash(universe)
    assert "AAPL" in repr(universe)
    with pytest.raises(ValueError, match="stands twice"):
        Universe([universe["AAPL"], universe["AAPL"]])


def test_broker_symbols_follow_ib():
    asset = Universe.parse(TEXT)["AAPL"]
    assert asset.model_copy(update={"symbol": "BRK.B"}).broker_symbol == "BRK B"


names = (
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
    .map(str.strip)
    .filter(bool)
)


@given(
    name=names,
    tick=st.floats(1e-6, 1e5),
    multiplier=st.floats(1e-3, 1e6),
    weight=st.floats(0.01, 10),
    shortable=st.booleans(),
    con_id=st.integers(0, 2**31 - 1),
)
def test_any_valid_asset_survives_the_file(
    name: str, tick: float, multiplier: float, weight: float, shortable: bool, con_id: int
):
    asset = Asset.model_validate(
        Universe.parse(TEXT)["AAPL"].model_dump()
        | {"name": name, "min_tick": tick, "multiplier": multiplier, "risk_weight": weight, "shortable": shortable}
        | {"con_id": con_id, "beta_proxy": ""}
    )
    assert Universe.parse(to_csv([asset])).assets == (asset,)


@given(st.text(max_size=400))
def test_no_text_makes_the_parser_fail_otherwise(text: str):
    with contextlib.suppress(AssetsError):
        assert Universe.parse(text).assets


def test_rows_that_a_quote_swallows_are_missed_by_nobody():
    """The last rows are inside the quotes, the ETF among them that the others name: one fault is one sentence."""
    lines = TEXT.splitlines(keepends=True)
    lines[1] = '"' + lines[1]
    with pytest.raises(AssetsError) as caught:
        Universe.parse("".join(lines))
    [problem] = caught.value.problems
    assert "correct the quotes" in str(problem)
    lines[1], lines[3] = lines[1][1:], '"' + lines[3]
    with pytest.raises(AssetsError) as caught:
        Universe.parse("".join(lines))
    [problem] = caught.value.problems
    assert "correct the quotes" in str(problem)


def test_a_column_that_some_rows_need_is_told_missing_once_and_an_empty_cell_in_its_line():
    rows = list(csv.reader(io.StringIO(TEXT)))
    place = rows[0].index("sector")

    def told(lines: list[list[str]]) -> str:
        out = io.StringIO()
        csv.writer(out).writerows(lines)
        (sentence,) = sentences(out.getvalue())
        return sentence

    assert told([cells[:place] + cells[place + 1 :] for cells in rows]).startswith(
        "assets.csv: sector: column is missing; add it: a GICS sector"
    )
    rows[2][place] = ""
    assert told(rows).startswith("assets.csv line 3: sector = '': a GICS sector")
