"""A client's messages, read into requests (server version 176)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from triplane.paper.protocol.order_fields import CONTRACT_FIELDS, read_place_order
from triplane.paper.protocol.requests import (
    AccountSummary,
    AccountUpdates,
    AccountUpdatesMulti,
    CancelAccountRequest,
    CancelHistorical,
    CancelMarketData,
    CancelOrder,
    CancelRealTimeBars,
    CancelTickByTick,
    CompletedOrders,
    ContractDetails,
    ContractQuery,
    CurrentTime,
    Executions,
    GlobalCancel,
    HeadTimestamp,
    HistoricalData,
    Ignored,
    ManagedAccounts,
    MarketData,
    MarketDataType,
    MarketRule,
    MatchingSymbols,
    NextId,
    OpenOrders,
    OptionParameters,
    PlaceOrder,
    Positions,
    ProfitAndLoss,
    RealTimeBars,
    Request,
    StartApi,
    TickByTick,
    Unknown,
)
from triplane.paper.protocol.wire import Fields, WireError


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
    expired = f.flag("includeExpired")
    return ContractDetails(req_id, contract, f.word("secIdType"), f.word("secId"), expired)


def _historical(f: Fields) -> Request:
    req_id, values = f.whole("reqId"), f.take(CONTRACT_FIELDS)
    expired = f.flag("includeExpired")
    end, bar_size, duration = f.word("endDateTime"), f.word("barSize"), f.word("duration")
    f.skip(1, "useRTH")
    what, format_date = f.word("whatToShow"), f.whole("formatDate")
    if values["secType"] == "BAG":
        f.skip(4 * f.whole("legs"), "leg")
    keep = f.flag("keepUpToDate")
    return HistoricalData(req_id, query_of(values), end, bar_size, duration, what, format_date, keep, expired)


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
