"""`triplane assets add` against the real paper gateway: the row comes from contract details, the file stays as it was otherwise."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.gateways import ACCOUNT, GatewayProcess
from tests.cli.command import ROOT, Ran, triplane

ORIGINAL = (ROOT / "assets.csv").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), "--hold")
    yield process
    process.stop()


def add(gateway: GatewayProcess, folder: Path, *arguments: str) -> Ran:
    variables = {
        "TRIPLANE_GATEWAY_PORT": str(gateway.port),
        "TRIPLANE_ACCOUNT": ACCOUNT,
        "TRIPLANE_ASSETS_PATH": str(folder / "assets.csv"),
        "TRIPLANE_STATE_DIR": str(folder / "state"),
    }
    return triplane("assets", "add", *arguments, cwd=folder, variables=variables)


def without(folder: Path, symbol: str) -> str:
    """Write an assets.csv without a symbol; returns its text."""
    text = "".join(line for line in ORIGINAL.splitlines(keepends=True) if not line.startswith(f"{symbol},"))
    assert text != ORIGINAL
    (folder / "assets.csv").write_text(text, encoding="utf-8")
    return text


def rows(text: str) -> dict[str, dict[str, str]]:
    return {row["symbol"]: row for row in csv.DictReader(text.splitlines())}


@pytest.mark.parametrize("symbol", ["SPY", "KO"])
def test_a_removed_symbol_comes_back_from_contract_details(
    gateway: GatewayProcess, tmp_path: Path, symbol: str
) -> None:
    before = without(tmp_path, symbol)
    ran = add(gateway, tmp_path, symbol.lower())
    assert ran.code == 0, ran
    after = (tmp_path / "assets.csv").read_text(encoding="utf-8")
    assert after.startswith(before)
    assert len(after.splitlines()) == len(before.splitlines()) + 1
    row, original = rows(after)[symbol], rows(ORIGINAL)[symbol]
    for column in (
        "asset_class",
        "currency",
        "isin",
        "sec_type",
        "calendar",
        "cost_profile",
        "multiplier",
        "min_tick",
        "primary_exchange",
    ):
        assert row[column] == original[column], column
    assert int(row["con_id"]) > 0
    assert after.splitlines()[-1] in ran.out
    assert triplane("assets", "check", cwd=tmp_path).code == 0
    # A second time it is there already, and nothing changes.
    again = add(gateway, tmp_path, symbol)
    assert again.code == 1
    assert "already on line 25" in again.err
    assert "Traceback" not in again.err
    assert (tmp_path / "assets.csv").read_text(encoding="utf-8") == after


@pytest.mark.parametrize(
    ("symbol", "options"),
    [
        ("EUR.USD", ()),
        ("EUR.USD", ("--type", "CASH", "--exchange", "IDEALPRO")),
        ("BTC.USD", ()),
        ("BTC.USD", ("--type", "CRYPTO")),
        ("MES", ("--type", "FUT")),
    ],
)
def test_what_is_no_share_is_added_by_the_name_that_status_shows(
    gateway: GatewayProcess, tmp_path: Path, symbol: str, options: tuple[str, ...]
) -> None:
    without(tmp_path, symbol)
    ran = add(gateway, tmp_path, symbol.lower(), *options)
    assert ran.code == 0, ran
    row, original = rows((tmp_path / "assets.csv").read_text(encoding="utf-8"))[symbol], rows(ORIGINAL)[symbol]
    assert [row[name] for name in ("asset_class", "exchange")] == [original[n] for n in ("asset_class", "exchange")]
    assert "risk_weight is 1" in ran.out


def test_a_dry_run_writes_nothing(gateway: GatewayProcess, tmp_path: Path) -> None:
    before = without(tmp_path, "SPY")
    ran = add(gateway, tmp_path, "SPY", "--dry-run")
    assert ran.code == 0, ran
    assert ran.out.startswith("SPY,")
    told = add(gateway, tmp_path, "SPY", "--dry-run", "--json").json
    assert told["row"] == ran.out.splitlines()[0]
    assert told["added"] is False
    assert (tmp_path / "assets.csv").read_text(encoding="utf-8") == before


def test_an_unknown_symbol_is_one_sentence(gateway: GatewayProcess, tmp_path: Path) -> None:
    before = without(tmp_path, "SPY")
    ran = add(gateway, tmp_path, "NOSUCH")
    assert ran.code == 1
    assert "NOSUCH" in ran.sentence
    assert (tmp_path / "assets.csv").read_text(encoding="utf-8") == before


def test_no_gateway_is_one_sentence(tmp_path: Path) -> None:
    without(tmp_path, "SPY")
    ran = triplane("assets", "add", "SPY", cwd=tmp_path, variables={"TRIPLANE_STATE_DIR": str(tmp_path / "s")})
    assert ran.code == 1
    assert "TRIPLANE_GATEWAY_PORT" in ran.sentence
    variables = {"TRIPLANE_GATEWAY_PORT": "9", "TRIPLANE_ACCOUNT": ACCOUNT, "TRIPLANE_STATE_DIR": str(tmp_path / "s")}
    ran = triplane("assets", "add", "SPY", cwd=tmp_path, variables=variables)
    assert ran.code == 1
    assert "127.0.0.1:9" in ran.sentence


def test_a_missing_or_damaged_file_is_one_sentence(gateway: GatewayProcess, tmp_path: Path) -> None:
    ran = add(gateway, tmp_path, "SPY")
    assert ran.code == 1
    assert "assets.csv" in ran.sentence
    (tmp_path / "assets.csv").write_text("symbol,name\nAAPL\n")
    ran = add(gateway, tmp_path, "SPY")
    assert ran.code == 1
    assert "assets.csv has no column" in ran.sentence
    assert (tmp_path / "assets.csv").read_text() == "symbol,name\nAAPL\n"
