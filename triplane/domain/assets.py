"""assets.csv: what can be traded, typed and validated, one row an asset.

`Universe.load` reports every problem of the file at once, each with its line, column, value and what would be allowed.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path  # noqa: TID251 - Universe.load, for the services
from typing import Any, Final, Literal, Self

import pycountry
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from stdnum import figi as figi_number
from stdnum import isin as isin_number
from stdnum.exceptions import InvalidChecksum
from stdnum.exceptions import ValidationError as NumberError

from triplane.domain.calendars import CALENDARS, MARKET_CALENDAR
from triplane.domain.edited_file import read_bytes
from triplane.domain.problems import Problem, ProblemsError, allowed, nearest, undecodable

AssetClass = Literal["Equity", "ETF", "Future", "FX", "Crypto"]
CostProfile = Literal["Standard", "ETF", "Futures", "FX", "Crypto"]
SecType = Literal["STK", "FUT", "CASH", "CRYPTO"]

SEC_TYPES: Final[Mapping[str, str]] = {"Equity": "STK", "ETF": "STK", "Future": "FUT", "FX": "CASH", "Crypto": "CRYPTO"}
TRADED_CLASSES: Final = frozenset({"Equity"})
CLASS_NOT_TRADED: Final = "CLASS_NOT_TRADED"


class AssetsError(ProblemsError):
    """What is wrong with assets.csv, one sentence a problem."""


class Asset(BaseModel):
    """One row of assets.csv. Prices are in `currency`; quantities in units (shares, contracts, base currency, coins)."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, str_strip_whitespace=True, validate_default=True
    )

    symbol: str = Field(pattern=r"^[A-Z0-9][A-Z0-9.\-]{0,14}$", description="Triplane's name; part of order references")
    name: str = Field(min_length=1, max_length=120, description="name for people")
    asset_class: AssetClass = Field(description="what kind of asset it is")
    exchange: str = Field(pattern=r"^[A-Z0-9.]{1,20}$", description="where orders go, as IB names it (SMART)")
    primary_exchange: str = Field(pattern=r"^[A-Z0-9.]{0,20}$", description="listing exchange, as IB names it")
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="currency of prices, ISO 4217")
    isin: str = Field("", description="ISO 6166, check digit validated; empty where none exists")
    figi: str = Field("", description="composite FIGI, check digit validated; empty where none exists")
    sec_type: SecType = Field(description="IB security type; follows from the class")
    con_id: int = Field(0, ge=0, le=2**31 - 1, description="IB contract id; 0 = not yet resolved")
    local_symbol: str = Field("", max_length=32, description="IB local symbol")
    trading_class: str = Field("", max_length=32, description="IB trading class")
    expiry: str = Field(
        "", pattern=r"^$|^[0-9]{6}([0-9]{2})?$", description="last trading day of a future, YYYYMMDD or YYYYMM"
    )
    sector: str = Field("", max_length=60, description="GICS sector; required for equities")
    calendar: str = Field(MARKET_CALENDAR, description="session calendar, as exchange_calendars names it")
    cost_profile: CostProfile = Field(description="which learned costs apply")
    multiplier: float = Field(1.0, gt=0, le=1e6, description="units of the underlying per contract")
    risk_weight: float = Field(1.0, gt=0, le=10, description="factor on |weight| in gross and net limits")
    beta_proxy: str = Field(
        "",
        description="asset that market beta is to be measured against; checked and kept, not used yet (beta is to the equal-weighted market); empty = none",
    )
    shortable: bool = Field(True, description="whether negative positions are allowed")
    lot_size: float = Field(1.0, gt=0, le=1e9, description="quantities are multiples of this, units")
    min_tick: float = Field(0.01, gt=0, le=1e6, description="prices are multiples of this, currency")
    min_order: float = Field(1.0, gt=0, le=1e12, description="smallest order, units")
    group: Literal["main"] = Field(
        "main", description="symbol group: slice, partition and worker; this release has one"
    )

    @field_validator("*")
    @classmethod
    def _printable(cls, value: object) -> object:
        if isinstance(value, str) and any(unicodedata.category(char) == "Cc" for char in value):
            raise ValueError("text without control characters; remove them")
        return value

    @field_validator("currency")
    @classmethod
    def _currency(cls, value: str) -> str:
        if pycountry.currencies.get(alpha_3=value) is None:
            raise ValueError("a currency code of ISO 4217, such as USD")
        return value

    @field_validator("isin")
    @classmethod
    def _isin(cls, value: str) -> str:
        return _checked(value, isin_number, "isin")

    @field_validator("figi")
    @classmethod
    def _figi(cls, value: str) -> str:
        return _checked(value, figi_number, "figi")

    @field_validator("calendar")
    @classmethod
    def _calendar(cls, value: str) -> str:
        if value not in CALENDARS:
            raise ValueError(f"one of {', '.join(sorted(CALENDARS))}{nearest(value, CALENDARS)}")
        return value

    @field_validator("sec_type")
    @classmethod
    def _sec_type(cls, value: str, info: ValidationInfo) -> str:
        asset_class = info.data.get("asset_class")
        if asset_class is not None and SEC_TYPES[asset_class] != value:
            raise ValueError(f"{SEC_TYPES[asset_class]} for asset_class {asset_class}")
        return value

    @field_validator("cost_profile")
    @classmethod
    def _cost_profile(cls, value: str, info: ValidationInfo) -> str:
        asset_class = info.data.get("asset_class")
        fitting = {"Equity": "Standard", "ETF": "ETF", "Future": "Futures", "FX": "FX", "Crypto": "Crypto"}
        if asset_class is not None and fitting[asset_class] != value:
            raise ValueError(f"{fitting[asset_class]} for asset_class {asset_class}")
        return value

    @field_validator("expiry")
    @classmethod
    def _expiry(cls, value: str, info: ValidationInfo) -> str:
        asset_class = info.data.get("asset_class")
        if asset_class == "Future" and not value:
            raise ValueError("a date YYYYMMDD or month YYYYMM, as every future has one")
        if asset_class not in (None, "Future") and value:
            raise ValueError(f"empty for asset_class {asset_class}; only futures expire")
        if value:
            try:
                date(int(value[:4]), int(value[4:6]), int(value[6:] or "1"))
            except ValueError:
                raise ValueError("a real date YYYYMMDD or month YYYYMM") from None
        return value

    @field_validator("sector")
    @classmethod
    def _sector(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("asset_class") == "Equity" and not value:
            raise ValueError("a GICS sector, as signals are neutralised within sectors")
        return value

    @field_validator("min_order")
    @classmethod
    def _min_order(cls, value: float, info: ValidationInfo) -> float:
        lot = info.data.get("lot_size")
        if lot is not None and value < lot:
            raise ValueError(f"at least lot_size {lot:g}")
        return value

    def untradable_code(self) -> str | None:
        """Why this release refuses to trade the asset, as a code, or None when it trades it."""
        return None if self.asset_class in TRADED_CLASSES else CLASS_NOT_TRADED

    @property
    def broker_symbol(self) -> str:
        """The underlying's symbol as IB spells it: EUR for EUR.USD, `BRK B` for BRK.B."""
        if self.asset_class in ("FX", "Crypto"):
            return self.symbol.partition(".")[0]
        return self.symbol.replace(".", " ")


COLUMNS: Final[tuple[str, ...]] = tuple(Asset.model_fields)
_OTHER_SEPARATORS: Final = (";", "\t", "|")


class Universe:
    """The assets of one assets.csv, in file order."""

    __slots__ = ("_by_symbol", "assets", "symbols", "tradable", "watched")

    def __init__(self, assets: Iterable[Asset]) -> None:
        self.assets: tuple[Asset, ...] = tuple(assets)
        self.symbols: tuple[str, ...] = tuple(asset.symbol for asset in self.assets)
        self.tradable: tuple[Asset, ...] = tuple(asset for asset in self.assets if asset.untradable_code() is None)
        self.watched: tuple[Asset, ...] = tuple(asset for asset in self.assets if asset.untradable_code() is not None)
        self._by_symbol = {asset.symbol: asset for asset in self.assets}
        if len(self._by_symbol) != len(self.assets):
            raise ValueError("a symbol stands twice in the universe; keep one row a symbol")

    def __getitem__(self, symbol: str) -> Asset:
        return self._by_symbol[symbol]

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._by_symbol

    def __len__(self) -> int:
        return len(self.assets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Universe) and self.assets == other.assets

    def __hash__(self) -> int:
        return hash(self.assets)

    def __repr__(self) -> str:
        return f"Universe({', '.join(self.symbols)})"

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The universe in the file at `path`; AssetsError when it cannot be read or anything in it is wrong."""
        file = Path(path)
        try:
            data = read_bytes(file)
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise AssetsError([undecodable(file.name, data, error)]) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise AssetsError([Problem(file.name, 0, "", "", f"cannot be read ({reason}); restore the file")]) from None
        return cls.parse(text, file.name)

    @classmethod
    def parse(cls, text: str, name: str = "assets.csv") -> Self:
        """The universe in `text`; AssetsError with every problem, `name` being the file named in them."""
        header, rows, problems, whole = _rows(text, name)
        assets: list[Asset] = []
        lines: list[int] = []
        for line, row in rows:
            try:
                assets.append(Asset.model_validate(row))
                lines.append(line)
            except ValidationError as error:
                problems.extend(_problem(name, line, header, details) for details in error.errors())
        known = {row.get("symbol", "") for _, row in rows} if whole else None
        problems.extend(_crosswise(name, assets, lines, known))
        if not rows and not problems:
            problems.append(Problem(name, 0, "", "", "holds no asset; add at least one row"))
        if problems:
            raise AssetsError(problems)
        return cls(assets)

    def canonical(self) -> list[dict[str, Any]]:
        """Plain values in file order and column order, for JSON and hashing."""
        return [asset.model_dump() for asset in self.assets]

    @classmethod
    def from_canonical(cls, rows: Iterable[Mapping[str, Any]]) -> Self:
        """The inverse of `canonical`."""
        return cls(Asset.model_validate(row) for row in rows)


def to_csv(assets: Iterable[Asset]) -> str:
    """assets.csv with these rows; `Universe.parse` reads the same assets back."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for asset in assets:
        writer.writerow([cell(getattr(asset, column)) for column in COLUMNS])
    return out.getvalue()


def cell(value: object) -> str:
    """A value as assets.csv spells it: whole numbers without a point, booleans in small letters."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)


def _checked(value: str, number: Any, kind: str) -> str:
    if not value:
        return value
    try:
        number.validate(value)
    except InvalidChecksum:
        raise ValueError(f"check digit does not fit the other characters; correct the {kind}") from None
    except NumberError as error:
        raise ValueError(f"not a valid {kind} ({str(error).rstrip('.')}); correct it") from None
    if number.compact(value) != value:
        raise ValueError(f"{number.compact(value)}, without spaces and in capitals")
    return value


def _rows(text: str, name: str) -> tuple[list[str], list[tuple[int, dict[str, str]]], list[Problem], bool]:
    """The header; the file's rows by column name with the line on which each begins; what the header or the cells' number has wrong; whether the
    file could be read to its end."""
    whole = True
    problems: list[Problem] = []
    rows: list[tuple[int, dict[str, str]]] = []
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    header: list[str] = []
    begins = 1
    try:
        for cells in reader:
            line, begins = begins, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                problems = _header_problems(name, line, header)
                if problems:
                    return header, [], problems, False
            elif len(cells) != len(header):
                problems.append(
                    Problem(name, line, cells[0].strip(), "", f"has {len(cells)} cells; the header has {len(header)}")
                )
            else:
                # An empty cell means the column's default, where the column has one.
                row = {column: cell.strip() for column, cell in zip(header, cells, strict=True)}
                rows.append(
                    (
                        line,
                        {
                            column: cell
                            for column, cell in row.items()
                            if cell or Asset.model_fields[column].is_required()
                        },
                    )
                )
    except csv.Error as error:
        problems.append(Problem(name, max(begins, 1), "", "", f"is not CSV ({error}); correct the quotes"))
        whole = False
    if not header and not problems:
        problems.append(Problem(name, 0, "", "", f"is empty; begin with the header {','.join(COLUMNS)}"))
    return header, rows, problems, whole


def _header_problems(name: str, line: int, header: list[str]) -> list[Problem]:
    if not set(header) & set(COLUMNS):  # no header at all: one sentence, not one a column
        other = next((mark for mark in _OTHER_SEPARATORS if set(header[0].split(mark)) & set(COLUMNS)), None)
        if other is not None:
            return [Problem(name, line, "", "", f"is separated by {other!r}; save it as comma-separated values")]
        return [Problem(name, line, "", "", f"is no header; begin the file with {','.join(COLUMNS)}")]
    problems = [
        Problem(name, line, column, "", f"unknown column{nearest(column, COLUMNS)}")
        for column in header
        if column not in COLUMNS
    ]
    seen: set[str] = set()
    for column in header:
        if column in seen:
            problems.append(Problem(name, line, column, "", "column stands twice; keep one"))
        seen.add(column)
    missing = [column for column in COLUMNS if column not in seen and Asset.model_fields[column].is_required()]
    return problems + [Problem(name, line, column, "", "column is missing; add it") for column in missing]


def _problem(name: str, line: int, header: list[str], details: ErrorDetails) -> Problem:
    column = str(details["loc"][0])
    value = str(details["input"])
    if details["type"] == "value_error":
        wanted = str(details["ctx"]["error"])
    elif details["type"] in ("string_too_short", "string_too_long"):
        wanted = details["msg"].replace("String should have", "allowed is text of")
    else:
        wanted = allowed(Asset.model_fields[column], value)
    if column not in header:  # one that only some rows need: said once
        return Problem(name, 0, column, "", f"column is missing; add it: {wanted}")
    return Problem(name, line, column, repr(value), wanted)


def _crosswise(name: str, assets: list[Asset], lines: list[int], symbols: set[str] | None) -> list[Problem]:
    """What only shows between rows: the same asset twice, a beta proxy that is no row. `symbols` has those of bad rows as well; None
    where rows could not be read."""
    problems: list[Problem] = []
    for column in ("symbol", "isin", "figi", "con_id"):
        first: dict[Any, int] = {}
        for asset, line in zip(assets, lines, strict=True):
            value = getattr(asset, column)
            if column == "isin" and asset.asset_class in ("Future", "FX", "Crypto"):
                continue
            if value and value in first:
                problems.append(
                    Problem(name, line, column, repr(value), f"already on line {first[value]}; keep one row")
                )
            first.setdefault(value, line)
    for asset, line in zip(assets, lines, strict=True):
        if symbols is not None and asset.beta_proxy and asset.beta_proxy not in symbols:
            wanted = f"allowed is a symbol of this file, or nothing{nearest(asset.beta_proxy, sorted(symbols))}"
            problems.append(Problem(name, line, "beta_proxy", repr(asset.beta_proxy), wanted))
    return problems
