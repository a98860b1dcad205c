"""What a client can ask, as types (server version 176); `decoding.py` reads them from messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContractQuery:
    """The contract a request names; as a real gateway does, only what is given has to match."""

    con_id: int
    symbol: str
    sec_type: str
    expiry: str
    exchange: str
    currency: str
    local_symbol: str


@dataclass(frozen=True, slots=True)
class StartApi:
    """Who the client is; the first message after the handshake."""

    client_id: int


@dataclass(frozen=True, slots=True)
class MarketData:
    """Quotes of a contract, streaming or once."""

    req_id: int
    contract: ContractQuery
    generic_ticks: str
    snapshot: bool


@dataclass(frozen=True, slots=True)
class CancelMarketData:
    """End of a quote subscription."""

    req_id: int


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """`values` has every field of the message by name; `unsupported` names features that are not simulated."""

    order_id: int
    values: Mapping[str, str]
    unsupported: tuple[str, ...]
    contract: ContractQuery


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """One order of the asking client."""

    order_id: int


@dataclass(frozen=True, slots=True)
class OpenOrders:
    """reqOpenOrders (own) or reqAllOpenOrders."""

    everyone: bool


@dataclass(frozen=True, slots=True)
class AccountUpdates:
    """Account values and portfolio, streaming."""

    subscribe: bool
    account: str


@dataclass(frozen=True, slots=True)
class Executions:
    """Today's executions; empty fields and client id 0 match all."""

    req_id: int
    client_id: int
    account: str
    time: str
    symbol: str
    sec_type: str
    exchange: str
    side: str


@dataclass(frozen=True, slots=True)
class NextId:
    """The next order id."""


@dataclass(frozen=True, slots=True)
class ContractDetails:
    """Details of every contract that matches."""

    req_id: int
    contract: ContractQuery
    sec_id_type: str
    sec_id: str
    include_expired: bool


@dataclass(frozen=True, slots=True)
class Ignored:
    """Messages without an effect here and without an answer: log level, automatic binding."""

    msg_id: int


@dataclass(frozen=True, slots=True)
class ManagedAccounts:
    """The accounts of the login."""


@dataclass(frozen=True, slots=True)
class HistoricalData:
    """Bars in a span of time."""

    req_id: int
    contract: ContractQuery
    end: str
    bar_size: str
    duration: str
    what: str
    format_date: int
    keep_up_to_date: bool
    include_expired: bool = False


@dataclass(frozen=True, slots=True)
class CancelHistorical:
    """End of a historical request."""

    req_id: int


@dataclass(frozen=True, slots=True)
class CurrentTime:
    """The broker's clock."""


@dataclass(frozen=True, slots=True)
class RealTimeBars:
    """Five-second bars, streaming."""

    req_id: int
    contract: ContractQuery
    bar_size: int
    what: str


@dataclass(frozen=True, slots=True)
class CancelRealTimeBars:
    """End of a bar subscription."""

    req_id: int


@dataclass(frozen=True, slots=True)
class GlobalCancel:
    """Cancel the orders of all clients."""


@dataclass(frozen=True, slots=True)
class MarketDataType:
    """Whether live, frozen or delayed data are wanted."""

    type: int


@dataclass(frozen=True, slots=True)
class Positions:
    """All positions, streaming."""

    subscribe: bool


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """Some account values."""

    req_id: int
    tags: str


@dataclass(frozen=True, slots=True)
class AccountUpdatesMulti:
    """Account values under a request id, streaming."""

    req_id: int
    account: str
    model: str


@dataclass(frozen=True, slots=True)
class CancelAccountRequest:
    """Ends an account summary, a multi subscription or a profit and loss subscription."""

    req_id: int


@dataclass(frozen=True, slots=True)
class MatchingSymbols:
    """Contracts whose symbol or name fits."""

    req_id: int
    pattern: str


@dataclass(frozen=True, slots=True)
class HeadTimestamp:
    """Where a contract's data begin."""

    req_id: int
    contract: ContractQuery
    format_date: int


@dataclass(frozen=True, slots=True)
class MarketRule:
    """Price increments by band."""

    rule_id: int


@dataclass(frozen=True, slots=True)
class ProfitAndLoss:
    """For the account, or for one contract when `con_id` is not None."""

    req_id: int
    account: str
    con_id: int | None


@dataclass(frozen=True, slots=True)
class TickByTick:
    """Every trade or quote, streaming."""

    req_id: int
    contract: ContractQuery
    kind: str


@dataclass(frozen=True, slots=True)
class CancelTickByTick:
    """End of a tick-by-tick subscription."""

    req_id: int


@dataclass(frozen=True, slots=True)
class CompletedOrders:
    """Today's finished orders."""


@dataclass(frozen=True, slots=True)
class OptionParameters:
    """Option chains; there are none here."""

    req_id: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message that is not simulated."""

    msg_id: int


Request = (
    StartApi | MarketData | CancelMarketData | PlaceOrder | CancelOrder | OpenOrders | AccountUpdates | Executions | NextId
    | ContractDetails | Ignored | ManagedAccounts | HistoricalData | CancelHistorical | CurrentTime | RealTimeBars | CancelRealTimeBars
    | GlobalCancel | MarketDataType | Positions | AccountSummary | AccountUpdatesMulti | CancelAccountRequest | MatchingSymbols
    | HeadTimestamp | MarketRule | ProfitAndLoss | TickByTick | CancelTickByTick | CompletedOrders | OptionParameters | Unknown
)  # fmt: skip
