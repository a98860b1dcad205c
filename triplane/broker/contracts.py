"""Contract details: what the broker knows of an instrument, for data, orders and `triplane assets add`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from triplane.broker.client_library import Contract
from triplane.broker.session import BrokerError, BrokerSession, RequestFailed
from triplane.domain.assets import Asset

NO_SUCH_CONTRACT = 200


class ContractUnknown(BrokerError):
    """The broker knows no such instrument, or more than one."""


@dataclass(frozen=True, slots=True)
class ContractInfo:
    """An instrument as the broker describes it. `multiplier` is 1 for shares; hours are IB's own text in `time_zone`."""

    con_id: int
    symbol: str
    name: str
    sec_type: str
    exchange: str
    primary_exchange: str
    currency: str
    local_symbol: str
    trading_class: str
    expiry: str
    contract_month: str
    multiplier: float
    min_tick: float
    min_size: float
    size_increment: float
    market_rule_ids: str
    industry: str
    category: str
    stock_type: str
    isin: str
    time_zone: str
    trading_hours: str
    liquid_hours: str


def make_contract(
    symbol: str,
    *,
    sec_type: str = "STK",
    exchange: str = "SMART",
    currency: str = "USD",
    primary_exchange: str = "",
    con_id: int = 0,
    local_symbol: str = "",
    trading_class: str = "",
    expiry: str = "",
    multiplier: str = "",
) -> Any:
    """The client's Contract for a request; fields left empty are for the broker to fill."""
    return Contract(
        symbol=symbol,
        secType=sec_type,
        exchange=exchange,
        currency=currency,
        primaryExchange=primary_exchange,
        conId=con_id,
        localSymbol=local_symbol,
        tradingClass=trading_class,
        lastTradeDateOrContractMonth=expiry,
        multiplier=multiplier,
    )


def terms_of(asset: Asset) -> dict[str, Any]:
    """Arguments of `make_contract` for a row of assets.csv."""
    return {
        "symbol": asset.broker_symbol,
        "sec_type": asset.sec_type,
        "exchange": asset.exchange,
        "currency": asset.currency,
        "primary_exchange": asset.primary_exchange,
        "con_id": asset.con_id,
    } | ({"expiry": asset.expiry, "trading_class": asset.trading_class} if asset.sec_type == "FUT" else {})


def info_of(details: Any) -> ContractInfo:
    """ContractInfo of the client's ContractDetails."""
    contract = details.contract
    security_ids = {pair.tag: pair.value for pair in details.secIdList or []}
    return ContractInfo(
        con_id=int(contract.conId),
        symbol=contract.symbol,
        name=details.longName,
        sec_type=contract.secType,
        exchange=contract.exchange,
        primary_exchange=contract.primaryExchange,
        currency=contract.currency,
        local_symbol=contract.localSymbol,
        trading_class=contract.tradingClass,
        expiry=contract.lastTradeDateOrContractMonth,
        contract_month=details.contractMonth,
        multiplier=float(contract.multiplier or 1),
        min_tick=float(details.minTick),
        min_size=float(details.minSize),
        size_increment=float(details.sizeIncrement),
        market_rule_ids=details.marketRuleIds,
        industry=details.industry,
        category=details.category,
        stock_type=details.stockType,
        isin=security_ids.get("ISIN", ""),
        time_zone=details.timeZoneId,
        trading_hours=details.tradingHours,
        liquid_hours=details.liquidHours,
    )


async def raw_details(session: BrokerSession, contract: Any, timeout: float = 10.0) -> list[Any]:
    """The client's own ContractDetails of all instruments that match; empty when the broker knows none (error 200)."""
    request_id = session.new_request_id()
    try:
        rows = await session.collect(
            request_id, lambda: session.ib.client.reqContractDetails(request_id, contract), timeout
        )
    except RequestFailed as error:
        if error.code == NO_SUCH_CONTRACT:
            return []
        raise
    return list(rows)


async def details(session: BrokerSession, contract: Any, timeout: float = 10.0) -> list[ContractInfo]:
    """All instruments that match, in the broker's order; empty when it knows none. `timeout` in wall seconds."""
    return [info_of(row) for row in await raw_details(session, contract, timeout)]


async def chain(session: BrokerSession, asset: Asset, timeout: float = 10.0) -> list[ContractInfo]:
    """All contracts of a future's trading class, those that have expired as well (IB keeps them for two years), first to expire first.

    `asset` is any of them. Raises ContractUnknown when the broker knows none.
    """
    terms = terms_of(asset) | {"expiry": "", "con_id": 0}
    wanted = make_contract(**terms)
    wanted.includeExpired = True
    found = await details(session, wanted, timeout)
    if not found:
        raise ContractUnknown(
            f"the broker knows no contracts of {asset.symbol} on {asset.exchange}; check symbol, exchange and trading class"
        )
    return sorted(found, key=lambda info: info.expiry)


async def resolve(session: BrokerSession, contract: Any, timeout: float = 10.0) -> ContractInfo:
    """The one instrument that matches. Raises ContractUnknown when there is none or more than one, or when the contract's id is of
    an instrument with another symbol: its prices would be taken for this one's.
    """
    found = await details(session, contract, timeout)
    if not found:
        if contract.conId:
            raise ContractUnknown(
                f"the broker knows no contract id {contract.conId} ({contract.symbol}); correct con_id in assets.csv, or set it to 0"
            )
        raise ContractUnknown(
            f"the broker knows no {contract.secType} {contract.symbol} in {contract.currency}; check symbol, exchange and currency"
        )
    if len(found) > 1:
        choices = ", ".join(sorted({f"{info.primary_exchange} ({info.con_id})" for info in found}))
        raise ContractUnknown(
            f"{contract.symbol} is ambiguous at the broker: {choices}; name the primary exchange or the contract id"
        )
    (info,) = found
    if contract.conId and contract.symbol and info.symbol != contract.symbol:
        raise ContractUnknown(
            f"contract id {contract.conId} is {info.symbol} ({info.name}) at the broker, not {contract.symbol}; correct con_id in "
            "assets.csv, or set it to 0"
        )
    return info
