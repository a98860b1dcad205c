"""`triplane assets add SYMBOL`: a row of assets.csv from what the broker says of a contract.

Takes the client's ContractDetails by the names of its attributes, so that nothing here imports a client. What the broker does not
tell (FIGI, GICS sector) is left empty or derived, and a note says so.
"""

from __future__ import annotations

import csv
import io
import math
from typing import Any, Final

import pycountry
from pydantic import ValidationError

from triplane.domain.assets import COLUMNS, SEC_TYPES, Asset, Universe, cell
from triplane.domain.calendars import MARKET_CALENDAR

# IB classifies by an industry scheme of its own; GICS is what signals are neutralised within.
_SECTORS: Final = {
    "Basic Materials": "Materials",
    "Communications": "Communication Services",
    "Consumer, Cyclical": "Consumer Discretionary",
    "Consumer, Non-cyclical": "Consumer Staples",
    "Energy": "Energy",
    "Financial": "Financials",
    "Industrial": "Industrials",
    "Technology": "Information Technology",
    "Utilities": "Utilities",
}
_GICS: Final = frozenset({*_SECTORS.values(), "Health Care", "Real Estate"})
_HEALTH: Final = ("Pharmaceuticals", "Biotechnology", "Healthcare-Products", "Healthcare-Services")
_US_ZONES: Final = ("US/Eastern", "America/New_York", "EST5EDT", "EST")

USUAL_EXCHANGE: Final = {"STK": "SMART", "FUT": "", "CASH": "IDEALPRO", "CRYPTO": "PAXOS"}
"""Where IB routes each type; a future is asked for at every exchange that lists it."""


class ContractRowError(ValueError):
    """The contract cannot become a row; the sentence says why and what to do."""


def pair_type(symbol: str) -> str:
    """CASH for a pair of currencies (EUR.USD), CRYPTO for a coin against one (BTC.USD), else STK (BRK.B is a share)."""
    base, _, quote = symbol.partition(".")
    if pycountry.currencies.get(alpha_3=quote) is None:
        return "STK"
    return "CASH" if pycountry.currencies.get(alpha_3=base) is not None else "CRYPTO"


def assets_row_from_contract_details(details: Any) -> tuple[Asset, list[str]]:
    """The asset of a ContractDetails, and a note for each value that a person should look at. Raises ContractRowError."""
    contract = details.contract
    classes = {"STK": "Equity", "FUT": "Future", "CASH": "FX", "CRYPTO": "Crypto"}
    sec_type = str(contract.secType)
    if sec_type not in classes:
        raise ContractRowError(
            f"{contract.symbol} is of type {sec_type}; assets.csv takes {', '.join(sorted(classes))}"
        )
    asset_class = (
        "ETF"
        if sec_type == "STK" and _text(details, "stockType").upper() in ("ETF", "ETN", "ETC", "ETP")
        else classes[sec_type]
    )
    notes: list[str] = []
    values = {
        "symbol": _symbol(contract, asset_class),
        "name": _text(details, "longName") or str(contract.symbol),
        "asset_class": asset_class,
        "exchange": "SMART" if sec_type == "STK" else str(contract.exchange),
        "primary_exchange": _text(contract, "primaryExchange") if sec_type == "STK" else "",
        "currency": str(contract.currency),
        "isin": _identifier(details, "ISIN"),
        "sec_type": SEC_TYPES[asset_class],
        "con_id": int(contract.conId),
        "local_symbol": _text(contract, "localSymbol"),
        "trading_class": _text(contract, "tradingClass"),
        "expiry": _text(contract, "lastTradeDateOrContractMonth").split(" ")[0] if sec_type == "FUT" else "",
        "calendar": _calendar(details, asset_class),
        "cost_profile": {"Equity": "Standard", "Future": "Futures"}.get(asset_class, asset_class),
        "multiplier": float(_text(contract, "multiplier") or 1),
        "beta_proxy": "",
        "shortable": asset_class != "Crypto",
        "min_tick": float(details.minTick),
    }
    if asset_class == "Equity":
        values["sector"] = _sector(details, notes)
    lot = _size(details, "sizeIncrement") or 1.0
    values["lot_size"] = lot if asset_class == "Crypto" else max(lot, 1.0)
    values["min_order"] = max(_size(details, "minSize") or 0.0, float(str(values["lot_size"])))
    if asset_class in ("Equity", "ETF") and not values["isin"]:
        notes.append("the broker gave no ISIN (it needs a market data subscription for it): add it")
    if asset_class in ("Equity", "ETF"):
        notes.append("the broker gives no FIGI: add it from openfigi.com")
        notes.append(
            "beta_proxy is empty, which changes nothing yet: beta is measured against the equal-weighted market"
        )
    if asset_class != "Equity":
        notes.append("risk_weight is 1, no haircut on gross and net: that is yours to say, not the broker's")
    try:
        return Asset.model_validate(values), notes
    except ValidationError as error:
        first = error.errors()[0]
        raise ContractRowError(
            f"{contract.symbol}: the broker's {first['loc'][0]} {first['input']!r} does not fit assets.csv ({first['msg']}); add the row by hand"
        ) from None


def with_row(text: str, asset: Asset, name: str = "assets.csv") -> str:
    """`text` of assets.csv with the asset as its last row, the rest untouched. AssetsError when the whole would not be valid.

    The text alone need not be: the row may be the one that others refer to as their beta proxy.
    """
    lines = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    header = next((row for row in lines if any(map(str.strip, row))), None)
    if header is None:
        raise ContractRowError(f"{name} is empty; restore it, at least its header")
    columns = [column.strip() for column in header]
    for column in COLUMNS:
        if column not in columns and getattr(asset, column) != Asset.model_fields[column].default:
            raise ContractRowError(
                f"{name} has no column {column}, which {asset.symbol} needs; add the column to the header and every row"
            )
    place = columns.index("symbol") if "symbol" in columns else len(columns)
    for row in lines:
        if asset.symbol in map(str.strip, row[place : place + 1]):
            raise ContractRowError(f"{asset.symbol} is already on line {lines.line_num} of {name}; nothing was changed")
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([cell(getattr(asset, column)) for column in columns])
    added = text + ("" if text.endswith("\n") else "\n") + out.getvalue()
    Universe.parse(added, name)
    return added


def _text(source: Any, name: str) -> str:
    return str(getattr(source, name, "") or "").strip()


def _symbol(contract: Any, asset_class: str) -> str:
    if asset_class in ("FX", "Crypto"):
        return f"{contract.symbol}.{contract.currency}"
    return str(contract.symbol).replace(" ", ".")


def _identifier(details: Any, tag: str) -> str:
    for item in getattr(details, "secIdList", None) or []:
        if str(item.tag).upper() == tag:
            return str(item.value)
    return ""


def _calendar(details: Any, asset_class: str) -> str:
    if asset_class == "FX":
        return "24/5"
    if asset_class == "Crypto":
        return "24/7"
    zone = _text(details, "timeZoneId")
    if asset_class == "Future" and str(details.contract.exchange) in ("CME", "CBOT", "NYMEX", "COMEX"):
        return "CMES"
    if asset_class in ("Equity", "ETF") and zone in _US_ZONES:
        return MARKET_CALENDAR
    raise ContractRowError(
        f"no session calendar is known for {details.contract.symbol} on {details.contract.exchange} ({zone or 'no time zone given'}); "
        "add its calendar to triplane/domain/calendars.py first"
    )


def _sector(details: Any, notes: list[str]) -> str:
    industry, category = _text(details, "industry"), _text(details, "category")
    sector = (
        "Health Care"
        if category in _HEALTH
        else "Real Estate"
        if category.startswith("REITS")
        else _SECTORS.get(industry, industry if industry in _GICS else "")
    )
    if not sector:
        raise ContractRowError(
            f"{details.contract.symbol}: the broker's industry {industry or 'is empty and'} has no GICS sector; add the row by hand"
        )
    notes.append(
        f"sector {sector} was derived from the broker's industry {industry!r}, category {category!r}: check it"
    )
    return sector


def _size(details: Any, name: str) -> float | None:
    """A size of the details, or None when the client left it at its unset marker (the largest float) or zero."""
    value = float(getattr(details, name, 0) or 0)
    return value if 0 < value < 1e12 and math.isfinite(value) else None
