"""What IB is asked to show, against the classes of assets.csv and their calendars; and real messages of bars without volume."""

from __future__ import annotations

import math
from datetime import date
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from tests.broker.gateways import REPOSITORY, GatewayProcess
from tests.broker.sessions import connected
from triplane.broker import contracts
from triplane.broker.client_library import Contract
from triplane.broker.historical_bars import columns, delivered
from triplane.broker.market_data import BarHandler, MarketFeed
from triplane.broker.session import BrokerSession
from triplane.broker.what_to_show import SHOWN, shown
from triplane.domain.assets import SEC_TYPES, Universe
from triplane.domain.calendars import CALENDARS
from triplane.domain.timestamps import SECOND


def test_every_class_has_its_row_and_regular_hours_where_its_calendar_has_a_night() -> None:
    assert set(SHOWN) == set(SEC_TYPES.values())
    for asset in Universe.load(REPOSITORY / "assets.csv").assets:
        kind = CALENDARS[asset.calendar]
        day_long = kind.opens == kind.closes
        assert shown(asset.sec_type).regular_hours is not day_long, asset.symbol
    assert [shown(kind).bars for kind in ("STK", "FUT", "CASH", "CRYPTO")] == [
        "TRADES",
        "TRADES",
        "MIDPOINT",
        "AGGTRADES",
    ]
    assert shown("") == shown("STK")
    with pytest.raises(ValueError, match="BOND has no bars here"):
        shown("BOND")


def test_a_midpoint_bar_says_that_volume_and_trades_are_unknown() -> None:
    bar = SimpleNamespace(
        date=date(2018, 1, 19), open=1.1, high=1.2, low=1.0, close=1.15, volume=-1.0, average=-1.0, barCount=-1
    )
    without, with_volume = columns(delivered([bar]), False), columns(delivered([bar]), True)
    assert without.values[0, :4].tolist() == [1.1, 1.2, 1.0, 1.15]
    assert math.isnan(without.values[0, 4])
    assert math.isnan(without.values[0, 5])
    assert without.trades.tolist() == [-1]
    assert with_volume.values[0, 4] == -1.0  # of trades, that is a fault, and a gate's to find


@pytest.mark.integration
async def test_five_second_bars_of_a_currency_are_of_the_midpoint_and_their_volume_is_unknown(
    gateway: GatewayProcess,
) -> None:
    session, _ = await connected(gateway)
    client, sent, bars = session.ib.client, list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    send = client.send

    def recorded(*fields: Any) -> None:
        sent.append(fields)
        send(*fields)

    client.send = recorded
    handler = BarHandler(lambda *bar: bars.append(bar), lambda *_: None, lambda *_: None, lambda *_: None)
    feed = MarketFeed(session, handler, lambda: 0)
    contract = Contract(symbol="EUR", secType="CASH", exchange="IDEALPRO", currency="USD")
    contract.conId = (await contracts.resolve(session, contract)).con_id
    feed.subscribe("EUR.USD", contract)
    feed.subscribe_bars("EUR.USD")
    (request,) = [fields for fields in sent if fields[0] == 50]
    assert ("MIDPOINT", False) in pairwise(request)
    # The gateway has no market for it; this is the message of one that has.
    message = ["50", "3", str(feed._lines["EUR.USD"].bars.reqId), "1516372200", "1.1", "1.2", "1", "1.15", "-1", "-1"]
    client.decoder.interpret([*message, "-1"])
    ((symbol, start, *prices, volume, wap, trades),) = bars
    assert (symbol, start, prices, trades) == ("EUR.USD", 1516372200 * SECOND, [1.1, 1.2, 1.0, 1.15], -1)
    assert math.isnan(volume)
    assert math.isnan(wap)
    feed.close()
    await session.close()


def test_what_ib_says_of_dividends_is_passed_on_as_it_came() -> None:
    """The client library only logs what it cannot read, and then the text is lost."""
    session, heard = BrokerSession(), list[tuple[Any, str]]()
    session.dividends.append(lambda contract, text: heard.append((contract.symbol, text)))
    session.ib.wrapper.reqId2Ticker[7] = SimpleNamespace(contract=Contract(symbol="KO"))
    for request, kind, text in ((7, 59, "1.48,1.56,20180614,0.39"), (7, 59, "1.48"), (8, 59, "none's"), (7, 999, "")):
        session.ib.client.decoder.interpret(["46", "6", str(request), str(kind), text])
    assert heard == [("KO", "1.48,1.56,20180614,0.39"), ("KO", "1.48")]
    assert [kind for kind, what in SHOWN.items() if what.generic_ticks == "456"] == ["STK"]
