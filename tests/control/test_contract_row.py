"""Rows of assets.csv from the contract details of a real client library."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.control.contents import ASSETS
from triplane.control.contract_row import (
    USUAL_EXCHANGE,
    ContractRowError,
    assets_row_from_contract_details,
    pair_type,
    with_row,
)
from triplane.domain.assets import Universe

try:
    import ib_insync as client
except ImportError:
    import ib_async as client

UNSET = sys.float_info.max


def details(contract: dict[str, Any], **values: Any) -> Any:
    return client.ContractDetails(
        contract=client.Contract(**contract), **{"minTick": 0.01, "timeZoneId": "US/Eastern"} | values
    )


BERKSHIRE = {
    "symbol": "BRK B",
    "secType": "STK",
    "conId": 72063691,
    "exchange": "SMART",
    "primaryExchange": "NYSE",
    "currency": "USD",
}
BERKSHIRE |= {"localSymbol": "BRK B", "tradingClass": "BRK B"}
INSURER = {
    "longName": "BERKSHIRE HATHAWAY INC-CL B",
    "industry": "Financial",
    "category": "Insurance",
    "stockType": "COMMON",
}


def test_an_equity_becomes_a_row_that_can_be_added():
    isin = [client.TagValue("ISIN", "US0846707026")]
    asset, notes = assets_row_from_contract_details(
        details(BERKSHIRE, **INSURER, secIdList=isin, minSize=0.0001, sizeIncrement=0.0001)
    )
    assert (asset.symbol, asset.broker_symbol, asset.con_id, asset.isin) == ("BRK.B", "BRK B", 72063691, "US0846707026")
    assert (asset.sector, asset.calendar, asset.cost_profile) == ("Financials", "XNYS", "Standard")
    assert (asset.lot_size, asset.min_order) == (1, 1), "fractions of a share are not supported"
    assert asset.untradable_code() is None
    assert any("sector Financials was derived" in note for note in notes)
    assert any("no FIGI" in note for note in notes)
    added = with_row(ASSETS, asset)
    assert added.startswith(ASSETS)
    assert Universe.parse(added).assets[-1] == asset
    with pytest.raises(ContractRowError, match=r"BRK\.B is already on line 26 of assets\.csv; nothing was changed"):
        with_row(added, asset)


def test_the_file_keeps_its_own_columns_and_line_end():
    asset, notes = assets_row_from_contract_details(details(BERKSHIRE, **INSURER))
    assert any("gave no ISIN" in note for note in notes)
    columns = "name,symbol,asset_class,exchange,primary_exchange,currency,sec_type,con_id,local_symbol,trading_class,sector,cost_profile"
    row = "Apple,AAPL,Equity,SMART,NASDAQ,USD,STK,265598,AAPL,NMS,Information Technology,Standard"
    added = with_row(f"{columns}\n{row}", asset)
    assert added.splitlines()[2].startswith("BERKSHIRE HATHAWAY INC-CL B,BRK.B,Equity,SMART")
    assert Universe.parse(added)["BRK.B"] == asset
    without = f"{columns.replace(',sector', '')}\n".replace("asset_class", "asset_class")
    spy = "S,SPY,ETF,SMART,ARCA,USD,STK,1,SPY,SPY,ETF\n"
    with pytest.raises(ContractRowError, match=r"assets.csv has no column sector, which BRK.B needs"):
        with_row(without + spy, asset)


@pytest.mark.parametrize(
    ("contract", "values", "wanted"),
    [
        (
            BERKSHIRE | {"symbol": "SPY"},
            {"stockType": "ETF"},
            {"asset_class": "ETF", "cost_profile": "ETF", "sector": ""},
        ),
        (
            BERKSHIRE | {"symbol": "LLY"},
            {"industry": "Consumer, Non-cyclical", "category": "Pharmaceuticals"},
            {"sector": "Health Care"},
        ),
        (BERKSHIRE | {"symbol": "O"}, {"industry": "Financial", "category": "REITS"}, {"sector": "Real Estate"}),
        (
            {"symbol": "MES", "secType": "FUT", "conId": 5, "exchange": "CME", "currency": "USD", "multiplier": "5"}
            | {
                "lastTradeDateOrContractMonth": "20270319 08:30 US/Central",
                "localSymbol": "MESH7",
                "tradingClass": "MES",
            },
            {"minTick": 0.25, "timeZoneId": "US/Central"},
            {
                "asset_class": "Future",
                "expiry": "20270319",
                "calendar": "CMES",
                "multiplier": 5.0,
                "min_tick": 0.25,
                "cost_profile": "Futures",
            },
        ),
        (
            {
                "symbol": "EUR",
                "secType": "CASH",
                "conId": 12087792,
                "exchange": "IDEALPRO",
                "currency": "USD",
                "localSymbol": "EUR.USD",
            },
            {"minTick": 0.00005, "minSize": 20000.0, "sizeIncrement": UNSET},
            {
                "symbol": "EUR.USD",
                "asset_class": "FX",
                "calendar": "24/5",
                "min_order": 20000.0,
                "lot_size": 1.0,
                "broker_symbol": "EUR",
            },
        ),
        (
            {
                "symbol": "BTC",
                "secType": "CRYPTO",
                "conId": 479624278,
                "exchange": "PAXOS",
                "currency": "USD",
                "localSymbol": "BTC.USD",
            },
            {"minTick": 0.25, "minSize": 0.0001, "sizeIncrement": 1e-08},
            {
                "symbol": "BTC.USD",
                "asset_class": "Crypto",
                "calendar": "24/7",
                "shortable": False,
                "lot_size": 1e-08,
                "min_order": 0.0001,
            },
        ),
    ],
)
def test_each_class(contract: dict[str, Any], values: dict[str, Any], wanted: dict[str, Any]):
    asset, _ = assets_row_from_contract_details(details(contract, **values))
    for name, value in wanted.items():
        assert getattr(asset, name) == value, name


@pytest.mark.parametrize(
    ("contract", "values", "sentence"),
    [
        ({"symbol": "X", "secType": "OPT"}, {}, "X is of type OPT; assets.csv takes CASH, CRYPTO, FUT, STK"),
        (BERKSHIRE, {"industry": ""}, "the broker's industry is empty and has no GICS sector"),
        (BERKSHIRE, {"industry": "Government"}, "the broker's industry Government has no GICS sector"),
        (BERKSHIRE, {"timeZoneId": "MET"}, r"no session calendar is known for BRK B on SMART \(MET\)"),
        (BERKSHIRE, {"timeZoneId": ""}, "no time zone given"),
        (BERKSHIRE | {"currency": "usd"}, INSURER, "the broker's currency 'usd' does not fit assets.csv"),
    ],
)
def test_what_cannot_become_a_row_is_refused_with_a_remedy(
    contract: dict[str, Any], values: dict[str, Any], sentence: str
):
    with pytest.raises(ContractRowError, match=sentence):
        assets_row_from_contract_details(details(contract, **values))


@pytest.mark.parametrize(
    ("symbol", "sec_type"),
    [("EUR.USD", "CASH"), ("BTC.USD", "CRYPTO"), ("BRK.B", "STK"), ("AAPL", "STK"), ("", "STK"), ("BRK.", "STK")],
)
def test_the_type_of_a_pair_is_seen_from_its_name(symbol: str, sec_type: str) -> None:
    assert pair_type(symbol) == sec_type
    assert sec_type in USUAL_EXCHANGE
