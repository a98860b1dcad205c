"""Frames, fields and requests: what goes over the wire and what malformed bytes do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.paper.harness import ib
from triplane.paper.protocol import requests as r
from triplane.paper.protocol.decoding import decode, query_of
from triplane.paper.protocol.order_fields import C11, CONTRACT_FIELDS, completed_order, open_order
from triplane.paper.protocol.wire import Fields, WireError, frame, parse_versions, read_body, split, text

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


class Recorder:
    """Stands where a client's socket is and keeps the bodies that the real library encodes."""

    def __init__(self) -> None:
        self.sent: list[list[str]] = []

    def sendMsg(self, data: bytes) -> None:  # noqa: N802
        self.sent.append(split(data[4:]))

    def disconnect(self) -> None:
        """The library says goodbye when it is garbage-collected."""


def recorded(call: Any) -> r.Request:
    """The request that the real client library encodes for a call on its Client."""
    client = ib.IB().client
    client.connState = client.CONNECTED
    client._serverVersion = client.decoder.serverVersion = 176
    client.conn = Recorder()
    call(client)
    client.connState = client.DISCONNECTED
    (fields,) = client.conn.sent
    return decode(fields)


@given(st.lists(words, min_size=1))
def test_fields_survive_the_wire(fields: list[str]) -> None:
    async def through() -> list[str]:
        reader = asyncio.StreamReader()
        reader.feed_data(frame(*fields))
        return split(await read_body(reader))

    assert asyncio.run(through()) == fields


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "1"),
        (False, "0"),
        (None, ""),
        (3, "3"),
        (3.0, "3"),
        (0.1, "0.1"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        ("x", "x"),
    ],
)
def test_field_texts(value: Any, expected: str) -> None:
    assert text(value) == expected


async def test_impossible_frames() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"\xff\xff\xff\xff")
    with pytest.raises(WireError, match="claims"):
        await read_body(reader)
    for body, match in ((b"no end", "end with NUL"), (b"\xff\xfe\0", "UTF-8")):
        with pytest.raises(WireError, match=match):
            split(body)


@pytest.mark.parametrize(
    ("hello", "expected"), [(b"v157..176", (157, 176)), (b"v100..225 +PACEAPI", (100, 225)), (b"v176", (176, 176))]
)
def test_versions(hello: bytes, expected: tuple[int, int]) -> None:
    assert parse_versions(hello) == expected


def test_malformed_versions() -> None:
    with pytest.raises(WireError, match="names no versions"):
        parse_versions(b"GET / HTTP/1.1")


def test_field_reader_names_what_is_wrong() -> None:
    fields = Fields(["", "2", "x", "y"])
    assert (fields.whole("a", 7), fields.flag("b")) == (7, True)
    with pytest.raises(WireError, match="c is 'x', not a whole number"):
        fields.whole("c")
    with pytest.raises(WireError, match="d is 'y', not a number"):
        fields.number("d")
    assert fields.left == 0
    with pytest.raises(WireError, match="ends before e"):
        fields.word("e")
    assert Fields(["1.5", ""]).number("x") == 1.5
    assert Fields([""]).number("x", 2.5) == 2.5


@given(st.lists(words, max_size=40))
def test_any_message_decodes_or_is_refused(fields: list[str]) -> None:
    for message_id in ("1", "3", "7", "9", "20", "50", "62", "76", "87", "94", "97", "250", ""):
        try:
            decode([message_id, *fields])
        except WireError:
            continue


AAPL = ib.Contract(conId=5, symbol="AAPL", secType="STK", exchange="SMART", currency="USD")
WANTED = r.ContractQuery(5, "AAPL", "STK", "", "SMART", "USD", "")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda c: c.reqMktData(1, AAPL, "236", True, False, []), r.MarketData(1, WANTED, "236", True)),
        (lambda c: c.cancelMktData(1), r.CancelMarketData(1)),
        (lambda c: c.cancelOrder(7), r.CancelOrder(7)),
        (lambda c: c.reqOpenOrders(), r.OpenOrders(False)),
        (lambda c: c.reqAllOpenOrders(), r.OpenOrders(True)),
        (lambda c: c.reqAccountUpdates(True, "DU1"), r.AccountUpdates(True, "DU1")),
        (lambda c: c.reqExecutions(3, ib.ExecutionFilter(clientId=4, symbol="KO", side="BUY")), r.Executions(3, 4, "", "", "KO", "", "", "BUY")),
        (lambda c: c.reqIds(1), r.NextId()),
        (lambda c: c.reqContractDetails(2, AAPL), r.ContractDetails(2, WANTED, "", "", False)),
        (lambda c: c.setServerLogLevel(5), r.Ignored(14)),
        (lambda c: c.reqAutoOpenOrders(True), r.Ignored(15)),
        (lambda c: c.reqManagedAccts(), r.ManagedAccounts()),
        (lambda c: c.reqHistoricalData(2, AAPL, "", "3 Y", "1 day", "TRADES", True, 1, False, []), r.HistoricalData(2, WANTED, "", "1 day", "3 Y", "TRADES", 1, False)),
        (lambda c: c.cancelHistoricalData(2), r.CancelHistorical(2)),
        (lambda c: c.reqCurrentTime(), r.CurrentTime()),
        (lambda c: c.reqRealTimeBars(2, AAPL, 5, "TRADES", True, []), r.RealTimeBars(2, WANTED, 5, "TRADES")),
        (lambda c: c.cancelRealTimeBars(2), r.CancelRealTimeBars(2)),
        (lambda c: c.reqGlobalCancel(), r.GlobalCancel()),
        (lambda c: c.reqMarketDataType(3), r.MarketDataType(3)),
        (lambda c: c.reqPositions(), r.Positions(True)),
        (lambda c: c.cancelPositions(), r.Positions(False)),
        (lambda c: c.reqAccountSummary(2, "All", "NetLiquidation"), r.AccountSummary(2, "NetLiquidation")),
        (lambda c: c.cancelAccountSummary(2), r.CancelAccountRequest(2)),
        (lambda c: c.startApi(), r.StartApi(-1)),
        (lambda c: c.reqAccountUpdatesMulti(2, "DU1", "", False), r.AccountUpdatesMulti(2, "DU1", "")),
        (lambda c: c.cancelAccountUpdatesMulti(2), r.CancelAccountRequest(2)),
        (lambda c: c.reqSecDefOptParams(2, "AAPL", "", "STK", 5), r.OptionParameters(2)),
        (lambda c: c.reqMatchingSymbols(2, "AA"), r.MatchingSymbols(2, "AA")),
        (lambda c: c.reqHeadTimeStamp(2, AAPL, "TRADES", True, 2), r.HeadTimestamp(2, WANTED, 2)),
        (lambda c: c.reqMarketRule(26), r.MarketRule(26)),
        (lambda c: c.reqPnL(2, "DU1", ""), r.ProfitAndLoss(2, "DU1", None)),
        (lambda c: c.cancelPnL(2), r.CancelAccountRequest(2)),
        (lambda c: c.reqPnLSingle(2, "DU1", "", 5), r.ProfitAndLoss(2, "DU1", 5)),
        (lambda c: c.cancelPnLSingle(2), r.CancelAccountRequest(2)),
        (lambda c: c.reqTickByTickData(2, AAPL, "Last", 0, False), r.TickByTick(2, WANTED, "Last")),
        (lambda c: c.cancelTickByTickData(2), r.CancelTickByTick(2)),
        (lambda c: c.reqCompletedOrders(False), r.CompletedOrders()),
        (lambda c: c.reqNewsProviders(), r.Unknown(85)),
    ],
)  # fmt: skip
async def test_requests_as_the_client_library_sends_them(call: Any, expected: r.Request) -> None:
    assert recorded(call) == expected


BAG = ib.Contract(
    symbol="AAPL",
    secType="BAG",
    exchange="SMART",
    currency="USD",
    comboLegs=[ib.ComboLeg(conId=1, ratio=1, action="BUY", exchange="SMART")],
)
NEUTRAL = ib.Contract(
    conId=5,
    symbol="AAPL",
    secType="STK",
    exchange="SMART",
    currency="USD",
    deltaNeutralContract=ib.DeltaNeutralContract(1, 0.5, 2.0),
)


@pytest.mark.parametrize(
    ("contract", "fields", "unsupported"),
    [
        (AAPL, {}, ()),
        (AAPL, {"algoStrategy": "Adaptive", "algoParams": [ib.TagValue("adaptivePriority", "Patient")]}, ()),
        (BAG, {"smartComboRoutingParams": [ib.TagValue("NonGuaranteed", "1")], "orderComboLegs": [ib.OrderComboLeg(price=1.0)]}, ("combo legs",)),
        (NEUTRAL, {}, ("delta neutral contracts",)),
        (AAPL, {"deltaNeutralOrderType": "MKT"}, ("delta neutral orders",)),
        (AAPL, {"scalePriceIncrement": 0.5}, ("scale orders",)),
        (AAPL, {"hedgeType": "D", "hedgeParam": "x"}, ("hedge orders",)),
        (AAPL, {"orderType": "PEG BENCH"}, ()),
        (AAPL, {"conditions": [ib.PriceCondition(price=1.0), ib.TimeCondition(time="x"), ib.MarginCondition(percent=1), ib.ExecutionCondition(secType="STK"), ib.VolumeCondition(volume=1), ib.PercentChangeCondition(changePercent=1.0)]}, ("conditions",)),
    ],
)  # fmt: skip
async def test_place_order_reads_every_optional_block(
    contract: Any, fields: dict[str, Any], unsupported: tuple[str, ...]
) -> None:
    order = ib.Order(
        action="BUY",
        totalQuantity=10,
        orderType="LMT",
        lmtPrice=1.5,
        orderRef="REF",
        tif="GTD",
        goodTillDate="x",
    )
    for name, value in fields.items():
        setattr(order, name, value)
    request = recorded(lambda c: c.placeOrder(9, contract, order))
    assert isinstance(request, r.PlaceOrder)
    assert (request.order_id, request.unsupported) == (9, unsupported)
    assert request.values["orderRef"] == "REF"
    assert request.values["goodTillDate"] == "x"
    # The last field by name is read from its own place, whatever blocks came before it.
    assert (request.values["manualOrderTime"], request.values["cashQty"]) == ("", "")
    if fields.get("algoStrategy"):
        assert request.values["algo:adaptivePriority"] == "Patient"


async def test_combo_market_data_and_history_are_read() -> None:
    assert isinstance(recorded(lambda c: c.reqMktData(1, BAG, "", False, False, [])), r.MarketData)
    assert isinstance(recorded(lambda c: c.reqMktData(1, NEUTRAL, "", False, False, [])), r.MarketData)
    assert isinstance(
        recorded(lambda c: c.reqHistoricalData(2, BAG, "", "1 D", "1 day", "TRADES", True, 1, False, [])),
        r.HistoricalData,
    )


def test_con_id_must_be_a_number() -> None:
    with pytest.raises(WireError, match="conId"):
        query_of(dict.fromkeys(CONTRACT_FIELDS, "x"))


def test_long_messages_have_the_length_that_clients_expect() -> None:
    contract = dict.fromkeys(C11, "")
    assert len(split(open_order(1, contract, {})[4:])) == 128
    plain = len(split(completed_order(contract, {})[4:]))
    adaptive = {"algoStrategy": "Adaptive", "algo:adaptivePriority": "Urgent"}
    assert len(split(open_order(1, contract, adaptive)[4:])) == 131
    assert len(split(completed_order(contract, adaptive)[4:])) == plain + 3
