"""What a client can ask, as types, and the decoding of its messages (server version 176)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from triplane.paper.protocol.order_fields import CONTRACT_FIELDS, read_place_order
from triplane.paper.protocol.wire import Fields, WireError


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


def decode(items: Sequence[str]) -> Request:
    """The request in a message's fields. A malformed message raises WireError; one that is not simulated is Unknown."""
    fields = Fields(items)
    msg_id = fields.whole("message id")
    decoder = _DECODERS.get(msg_id)
    return decoder(fields) if decoder else Unknown(msg_id)


def query_of(values: Mapping[str, str]) -> ContractQuery:
    """The contract in a message's named fields."""
    try:
        con_id = int(values["conId"] or 0)
    except ValueError:
        raise WireError(f"conId is {values['conId']!r}, not a whole number") from None
    return ContractQuery(
        con_id, values["symbol"], values["secType"], values["lastTradeDateOrContractMonth"], values["exchange"], values["currency"],
        values["localSymbol"],
    )  # fmt: skip


def _contract(fields: Fields) -> ContractQuery:
    return query_of(fields.take(CONTRACT_FIELDS))


def _market_data(f: Fields) -> Request:
    f.skip(1, "version")
    req_id, values = f.whole("reqId"), f.take(CONTRACT_FIELDS)
    if values["secType"] == "BAG":
        f.skip(4 * f.whole("legs"), "leg")
    if f.flag("deltaNeutralContract"):
        f.skip(3, "delta neutral contract")
    return MarketData(req_id, query_of(values), f.word("genericTicks"), f.flag("snapshot"))


def _place_order(f: Fields) -> Request:
    order_id, values, unsupported = read_place_order(f)
    return PlaceOrder(order_id, values, tuple(unsupported), query_of(values))


def _account_updates(f: Fields) -> Request:
    f.skip(1, "version")
    return AccountUpdates(f.flag("subscribe"), f.word("account"))


def _executions(f: Fields) -> Request:
    f.skip(1, "version")
    return Executions(
        f.whole("reqId"),
        f.whole("clientId"),
        f.word("account"),
        f.word("time"),
        f.word("symbol"),
        f.word("secType"),
        f.word("exchange"),
        f.word("side"),
    )


def _contract_details(f: Fields) -> Request:
    f.skip(1, "version")
    req_id, contract = f.whole("reqId"), _contract(f)
    f.skip(1, "includeExpired")
    return ContractDetails(req_id, contract, f.word("secIdType"), f.word("secId"))


def _historical(f: Fields) -> Request:
    req_id, values = f.whole("reqId"), f.take(CONTRACT_FIELDS)
    f.skip(1, "includeExpired")
    end, bar_size, duration = f.word("endDateTime"), f.word("barSize"), f.word("duration")
    f.skip(1, "useRTH")
    what, format_date = f.word("whatToShow"), f.whole("formatDate")
    if values["secType"] == "BAG":
        f.skip(4 * f.whole("legs"), "leg")
    return HistoricalData(req_id, query_of(values), end, bar_size, duration, what, format_date, f.flag("keepUpToDate"))


def _real_time_bars(f: Fields) -> Request:
    f.skip(1, "version")
    return RealTimeBars(f.whole("reqId"), _contract(f), f.whole("barSize"), f.word("whatToShow"))


def _summary(f: Fields) -> Request:
    f.skip(1, "version")
    req_id = f.whole("reqId")
    f.skip(1, "group")
    return AccountSummary(req_id, f.word("tags"))


def _multi(f: Fields) -> Request:
    f.skip(1, "version")
    return AccountUpdatesMulti(f.whole("reqId"), f.word("account"), f.word("model"))


def _head(f: Fields) -> Request:
    req_id, contract = f.whole("reqId"), _contract(f)
    f.skip(3, "head timestamp field")
    return HeadTimestamp(req_id, contract, f.whole("formatDate"))


def _pnl(f: Fields) -> Request:
    return ProfitAndLoss(f.whole("reqId"), f.word("account"), None)


def _pnl_single(f: Fields) -> Request:
    req_id, account = f.whole("reqId"), f.word("account")
    f.skip(1, "model")
    return ProfitAndLoss(req_id, account, f.whole("conId"))


def _tick_by_tick(f: Fields) -> Request:
    return TickByTick(f.whole("reqId"), _contract(f), f.word("tickType"))


def _second(name: str, make: Callable[[int], Request]) -> Callable[[Fields], Request]:
    """Decoder of messages that are a version and one number."""

    def read(f: Fields) -> Request:
        f.skip(1, "version")
        return make(f.whole(name))

    return read


_DECODERS: Final[Mapping[int, Callable[[Fields], Request]]] = {
    1: _market_data,
    2: _second("reqId", CancelMarketData),
    3: _place_order,
    4: _second("orderId", CancelOrder),
    5: lambda f: OpenOrders(everyone=False),
    6: _account_updates,
    7: _executions,
    8: lambda f: NextId(),
    9: _contract_details,
    14: lambda f: Ignored(14),
    15: lambda f: Ignored(15),
    16: lambda f: OpenOrders(everyone=True),
    17: lambda f: ManagedAccounts(),
    20: _historical,
    25: _second("reqId", CancelHistorical),
    49: lambda f: CurrentTime(),
    50: _real_time_bars,
    51: _second("reqId", CancelRealTimeBars),
    58: lambda f: GlobalCancel(),
    59: _second("type", MarketDataType),
    61: lambda f: Positions(subscribe=True),
    62: _summary,
    63: _second("reqId", CancelAccountRequest),
    64: lambda f: Positions(subscribe=False),
    71: _second("clientId", StartApi),
    76: _multi,
    77: _second("reqId", CancelAccountRequest),
    78: lambda f: OptionParameters(f.whole("reqId")),
    81: lambda f: MatchingSymbols(f.whole("reqId"), f.word("pattern")),
    87: _head,
    91: lambda f: MarketRule(f.whole("ruleId")),
    92: _pnl,
    93: lambda f: CancelAccountRequest(f.whole("reqId")),
    94: _pnl_single,
    95: lambda f: CancelAccountRequest(f.whole("reqId")),
    97: _tick_by_tick,
    98: lambda f: CancelTickByTick(f.whole("reqId")),
    99: lambda f: CompletedOrders(),
}
