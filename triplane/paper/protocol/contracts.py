"""Contracts as the gateway knows them: the rows of assets.csv, their ids, details, hours and price rules."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from triplane.domain import calendars
from triplane.domain.assets import Asset
from triplane.domain.timestamps import NEW_YORK, at, to_datetime
from triplane.paper.market.watched import last_trade
from triplane.paper.protocol.requests import ContractQuery
from triplane.paper.protocol.wire import frame

# Real gateways say US/Eastern, which newer systems have only in tzdata-legacy: clients then drop executions.
ZONE: Final = "America/New_York"
ORDER_TYPES: Final = "LMT,MKT,ADAPT"
# Rule 26 is IB's for US stocks: sub-penny under a dollar. Others get a rule of their one tick.
STOCK_RULE: Final = 26
_OTHER_RULE: Final = 1000
KEPT: Final = timedelta(days=730)
"""For how long IB knows a future that has expired."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One contract. `values` are its fields by their wire names; `priced` says whether the simulated market quotes it."""

    asset: Asset
    con_id: int
    rule_id: int
    priced: bool
    values: Mapping[str, str]

    @property
    def symbol(self) -> str:
        """Triplane's symbol."""
        return self.asset.symbol


class Contracts:
    """All contracts, found by id or by description."""

    def __init__(self, assets: Iterable[Asset], priced: Iterable[str]) -> None:
        """`priced` are the symbols with real closes; only equities and ETFs among them are quoted."""
        quoted = frozenset(priced)
        self.all: tuple[Contract, ...] = tuple(
            _contract(
                asset,
                STOCK_RULE if asset.sec_type == "STK" else _OTHER_RULE + i,
                asset.sec_type == "STK" and asset.symbol in quoted,
            )
            for i, asset in enumerate(assets)
        )
        self._futures = tuple(c for row in self.all if row.asset.sec_type == "FUT" for c in _siblings(row))
        self._by_id = {contract.con_id: contract for contract in (*self._futures, *self.all)}
        self.by_symbol = {contract.symbol: contract for contract in self.all}
        self.priced = tuple(contract for contract in self.all if contract.priced)

    def find(self, query: ContractQuery) -> Contract | None:
        """The contract that a request names: by id when it has one, that of another quarter of a future as well; else the row that has what
        it gives of the description."""
        if query.con_id:
            return self._by_id.get(query.con_id)
        return next((contract for contract in self.all if _matches(contract, query)), None)

    def matching(self, query: ContractQuery, today: date, *, include_expired: bool) -> list[Contract]:
        """The contracts that a request for details describes. What is listed are the rows; who asks for expired futures as well, by their
        symbol alone, is told the quarters from two years ago to next year."""
        found = self.find(query)
        whole = include_expired and not (query.con_id or query.expiry or query.local_symbol)
        if found is None or not whole or found.asset.sec_type != "FUT":
            return self.named(query, today, include_expired=include_expired)
        chain = [c for c in (*self._futures, found) if c.symbol == found.symbol]
        listed = [contract for contract in chain if self._listed(contract, today, include_expired)]
        return sorted(listed, key=lambda contract: contract.asset.expiry)

    def named(self, query: ContractQuery, today: date, *, include_expired: bool) -> list[Contract]:
        """What `find` gives or else, by expiry or local symbol, the other quarters of a future; an expired one where it is asked for."""
        found = self.find(query)
        candidates = [found] if found else [] if query.con_id else [c for c in self._futures if _matches(c, query)]
        return [contract for contract in candidates if self._listed(contract, today, include_expired)]

    def _listed(self, contract: Contract, today: date, include_expired: bool) -> bool:
        if contract.asset.sec_type != "FUT":
            return True
        last = last_trade(contract.asset)
        if last < today:
            return include_expired and last >= today - KEPT
        return last.year <= today.year + 1 or self.by_symbol[contract.symbol] is contract

    def by_isin(self, isin: str) -> Contract | None:
        """The contract with this ISIN."""
        return next((contract for contract in self.all if isin and contract.asset.isin == isin), None)

    def like(self, pattern: str) -> list[Contract]:
        """Contracts whose symbol begins with `pattern` or whose name holds it."""
        wanted = pattern.upper()
        return [c for c in self.all if wanted and (c.symbol.startswith(wanted) or wanted in c.asset.name.upper())]

    def rule(self, rule_id: int) -> list[tuple[float, float]] | None:
        """Price increments of a market rule as (from price, increment), or None when there is no such rule."""
        if rule_id == STOCK_RULE:
            return [(0.0, 0.0001), (1.0, 0.01)]
        found = next((contract for contract in self.all if contract.rule_id == rule_id), None)
        return [(0.0, found.asset.min_tick)] if found else None


def con_id_of(asset: Asset) -> int:
    """The asset's contract id; one that is not resolved gets a positive one that depends on its symbol only."""
    return asset.con_id or (zlib.crc32(asset.symbol.encode()) & 0x3FFFFFFF) + 1


def contract_details(req_id: int, contract: Contract, today: date) -> bytes:
    """The contractData message; hours cover `today` and the five days after it."""
    asset, values = contract.asset, contract.values
    hours = trading_hours(asset.calendar, today)
    exchanges = [asset.exchange] + ([asset.primary_exchange] if asset.primary_exchange else [])
    identifiers = [("ISIN", asset.isin)] if asset.isin else []
    return frame(
        "10", req_id, values["symbol"], values["secType"], asset.expiry, "0", "", asset.exchange, asset.currency, values["localSymbol"],
        values["tradingClass"], values["tradingClass"], contract.con_id, asset.min_tick, values["multiplier"], ORDER_TYPES,
        ",".join(exchanges), 1, 0, asset.name, asset.primary_exchange, asset.expiry[:6], asset.sector, "", "",
        calendars.kind_of(asset.calendar).zone, hours, hours, "", 0, len(identifiers),
        *(part for pair in identifiers for part in pair), 1, "", "", ",".join([str(contract.rule_id)] * len(exchanges)), asset.expiry,
        "COMMON" if asset.asset_class == "Equity" else asset.asset_class.upper(), asset.min_order, asset.lot_size, asset.lot_size,
    )  # fmt: skip


def trading_hours(calendar: str, today: date) -> str:
    """IB's hours: `YYYYMMDD:HHMM-YYYYMMDD:HHMM` or `YYYYMMDD:CLOSED` for each of six days, in the calendar's zone."""
    zone = ZoneInfo(calendars.kind_of(calendar).zone)
    parts = []
    for day in (today + timedelta(days=i) for i in range(6)):
        if calendars.is_session(calendar, day):
            bounds = (calendars.session_open(calendar, day), calendars.session_close(calendar, day))
            parts.append("-".join(to_datetime(ns, zone).strftime("%Y%m%d:%H%M") for ns in bounds))
        else:
            parts.append(f"{day:%Y%m%d}:CLOSED")
    return ";".join(parts)


def ib_time(ns: int) -> str:
    """`YYYYMMDD HH:MM:SS America/New_York`."""
    return f"{to_datetime(ns, NEW_YORK):%Y%m%d %H:%M:%S} {ZONE}"


def midnight_before(ns: int) -> int:
    """The last midnight in New York, ns UTC."""
    return at(to_datetime(ns, NEW_YORK).date(), to_datetime(0).time().replace(tzinfo=None))


def _siblings(row: Contract) -> list[Contract]:
    """The contracts of a future's other quarters."""
    years = range(calendars.FIRST_DAY.year, calendars.LAST_DAY.year + 2)
    assets = (_sibling(row.asset, year, month) for year in years for month in (3, 6, 9, 12))
    return [_contract(asset, row.rule_id, priced=False) for asset in assets if asset.expiry != row.asset.expiry]


def _sibling(asset: Asset, year: int, month: int) -> Asset:
    """The contract of another quarter: its last trade is the third Friday."""
    first = date(year, month, 1)
    last = first + timedelta(days=(4 - first.weekday()) % 7 + 14)
    name = f"{asset.symbol}{'HMUZ'[month // 3 - 1]}{year % 10}"
    return asset.model_copy(
        update={
            "expiry": f"{last:%Y%m%d}",
            "local_symbol": name,
            "con_id": zlib.crc32(f"{name} {year}".encode()) & 0x3FFFFFFF,
        }
    )


def _matches(contract: Contract, query: ContractQuery) -> bool:
    asset, values = contract.asset, contract.values
    given = (
        (query.symbol, values["symbol"]),
        (query.local_symbol, values["localSymbol"]),
        (query.sec_type, values["secType"]),
        (query.currency, values["currency"]),
    )
    if not (query.symbol or query.local_symbol) or any(wanted and wanted != has for wanted, has in given):
        return False
    exchanges = {asset.exchange, asset.primary_exchange, ""} | ({"SMART"} if asset.sec_type == "STK" else set())
    return query.exchange in exchanges and asset.expiry.startswith(query.expiry)


def _contract(asset: Asset, rule_id: int, priced: bool) -> Contract:
    con_id = con_id_of(asset)
    values = {
        "conId": str(con_id),
        "symbol": asset.broker_symbol,
        "secType": asset.sec_type,
        "lastTradeDateOrContractMonth": asset.expiry,
        "strike": "0",
        "right": "",
        "multiplier": "" if asset.multiplier == 1 else f"{asset.multiplier:g}",
        "exchange": asset.exchange,
        "primaryExchange": asset.primary_exchange,
        "currency": asset.currency,
        "localSymbol": asset.local_symbol or asset.broker_symbol,
        "tradingClass": asset.trading_class or asset.broker_symbol,
    }
    return Contract(asset, con_id, rule_id, priced, values)
