"""Daily bars of every class of assets.csv from a real gateway process: at the start, as sessions close, and of a span."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from data_plane.observations import Bars, Chain
from data_plane.sources.ibkr import IbkrSource
from data_plane.sources.ibkr import requests as ibkr_requests
from data_plane.sources.span import Span
from tests.broker.gateways import GatewayProcess
from tests.data_plane.ibkr_rig import ACCOUNT, Rig, following, rig
from tests.data_plane.support import assert_conserved, day_close, day_open
from tests.waiting import until
from triplane.broker import market_data
from triplane.broker.historical_bars import HistoricalBars
from triplane.broker.session import BrokerSession, BrokerUnavailable, RequestFailed
from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE
from triplane.runtime.settings import Settings

CLASSES = {"SPY": "XNYS", "MES": "CMES", "EUR.USD": "24/5", "BTC.USD": "24/7"}
FIRST = date(2017, 11, 8)
"""Within what the rig loads."""


def slices(bench: Rig, asset: str) -> list[dict[str, Any]]:
    return [o.record for o in bench.outputs if o.topic == "data.watched" and o.record["group"] == asset]


def rolls(bench: Rig) -> list[tuple[str, str]]:
    return [(o.record["from_contract"], o.record["to_contract"]) for o in bench.outputs if o.topic == "data.rolls"]


async def loaded(bench: Rig) -> Rig:
    source = IbkrSource(bench.context)
    await source.backfill()
    await source.close()
    assert_conserved(bench.engine)
    return bench


async def test_every_class_is_loaded_along_its_own_calendar_and_once(gateway: GatewayProcess) -> None:
    bench = await loaded(rig(gateway))
    for asset, calendar in CLASSES.items():
        found = slices(bench, asset)
        over = [
            day.isoformat()
            for day in calendars.sessions(calendar, FIRST, date(2018, 1, 19))
            if calendars.session_close(calendar, day) <= day_open("2018-01-19") + 330 * MINUTE
        ]
        sessions = [record["session"] for record in found]
        assert sessions == sorted(set(sessions))
        lacking = [day for day in over if day not in sessions]
        # Globex opens on holidays of New York, on which the index that the gateway makes its futures of has no level.
        closed = [day for day in lacking if not calendars.is_session("XNYS", date.fromisoformat(day))]
        assert lacking == (closed if asset == "MES" else [])
        for record in found:
            assert record["event_time"] == calendars.session_close(calendar, date.fromisoformat(record["session"]))
            assert record["available_time"] == record["event_time"]
            assert (record["history"], record["interval"], record["missing"]) == (True, "1d", [])
    assert {tuple(record["symbols"]) for record in slices(bench, "EUR.USD")} == {("EUR.USD",)}
    contracts = Counter(name for record in slices(bench, "MES") for name in record["symbols"])
    assert set(contracts) == {"MESZ2017", "MESH2018"}
    assert len(slices(bench, "MES")) < contracts.total() <= len(slices(bench, "MES")) + 15
    assert rolls(bench) == [("", "MESZ2017"), ("MESZ2017", "MESH2018")]
    (roll,) = [o.record for o in bench.outputs if o.topic == "data.rolls" and o.record["from_contract"]]
    assert roll["compared_session"] == "2017-12-08"  # five business days before 2017-12-15
    assert 0 < roll["to_close"] - roll["from_close"] < 0.01 * roll["from_close"]
    assert not bench.gates()
    assert not [o for o in bench.outputs if o.topic == "data.quarantine"]

    again = rig(gateway)
    for output in bench.outputs:
        again.engine.remember(output.topic, [output.record])
    await loaded(again)
    assert not [o for o in again.outputs if o.topic in ("data.watched", "data.rolls")]
    assert not [item for item in again.taken if isinstance(item, Bars | Chain)]


async def test_sessions_that_close_are_loaded_when_no_decision_is_near(gateway: GatewayProcess) -> None:
    async with following(gateway) as (bench, source):
        before = {asset: len(slices(bench, asset)) for asset in CLASSES}
        assert all(before.values())
        await asyncio.to_thread(gateway.advance, to="2018-01-22T15:25")
        await until(lambda: [slices(bench, asset)[-1]["session"] for asset in ("SPY", "MES")] == ["2018-01-19"] * 2)
        await until(
            lambda: (
                [slices(bench, asset)[-1]["session"] for asset in ("EUR.USD", "BTC.USD")]
                == ["2018-01-19", "2018-01-21"]
            )
        )
        late = slices(bench, "SPY")[-1]
        # The plane's stream had come to 15:25 when that session closed.
        assert late["event_time"] == day_close("2018-01-19") <= late["available_time"]
        assert [record["session"] for record in slices(bench, "BTC.USD")[before["BTC.USD"] :]] == [
            "2018-01-19",
            "2018-01-20",
            "2018-01-21",
        ]
        await until(lambda: source._side.idle)
        asked = len(bench.taken)
        assert not source._watched.due(bench.clock.now())
        assert len([item for item in bench.taken[asked:] if isinstance(item, Chain)]) == 0


async def test_one_without_an_answer_costs_its_bars_and_not_the_stream(
    gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No decision waits for it. A request that is refused once is sent again before the slice goes out."""
    asked: list[str] = []
    real = market_data.history

    async def history(session: BrokerSession, contract: Any, **request: Any) -> HistoricalBars:
        asked.append(contract.localSymbol or contract.symbol)
        if contract.symbol == "EUR":
            raise BrokerUnavailable("the broker did not answer a request for 1 day bars within 60 s")
        if contract.localSymbol == "MESZ7" and asked.count("MESZ7") == 1:
            raise RequestFailed(162, "pacing violation")
        return await real(session, contract, **request)

    monkeypatch.setattr(ibkr_requests, "history", history)
    async with following(gateway) as (bench, source):
        assert asked.count("EUR") == 2
        assert not slices(bench, "EUR.USD")
        assert source._session is not None
        assert not [why for why in bench.blocked if "did not answer" in why]
        assert slices(bench, "MES")[0]["symbols"] == ["MESZ2017"]
        assert slices(bench, "BTC.USD")
        assert source._watched._lacks


async def test_a_span_brings_what_lacks_of_it_with_rolls_before_those_that_are_known(gateway: GatewayProcess) -> None:
    bench = await loaded(rig(gateway))
    wanted = rig(gateway)
    wanted.context.span = Span(date(2017, 5, 15), date(2017, 7, 14))
    for output in bench.outputs:
        wanted.engine.published.learn(output.topic, output.record)
    await loaded(wanted)
    for asset, calendar in CLASSES.items():
        sessions = [record["session"] for record in slices(wanted, asset)]
        expected = [day.isoformat() for day in calendars.sessions(calendar, date(2017, 5, 15), date(2017, 7, 14))]
        assert set(sessions) <= set(expected)
        assert len(sessions) >= len(expected) - 2
    assert rolls(wanted) == [("", "MESM2017"), ("MESM2017", "MESU2017")]


async def test_kept_answers_are_read_again_without_a_gateway(gateway: GatewayProcess, tmp_path: Path) -> None:
    bench = rig(gateway)
    bench.context.responses = tmp_path / "responses"
    await loaded(bench)
    again = Rig(Settings(account=ACCOUNT), BACKFILL_YEARS=0.2)
    again.context.responses, again.context.reread = tmp_path / "responses", True
    again.context.span = Span(date(2017, 1, 1), date(2018, 12, 31))
    # Of some sessions nothing was lost.
    known = {asset: slices(bench, asset)[:7] for asset in CLASSES}
    for record in [record for found in known.values() for record in found]:
        again.engine.remember("data.watched", [record])
    await loaded(again)
    for asset in CLASSES:
        found, lost = slices(again, asset), slices(bench, asset)[7:]
        assert [(r["session"], r["symbols"], r["close"]) for r in found] == [
            (r["session"], r["symbols"], r["close"]) for r in lost
        ]
    assert rolls(again) == rolls(bench)
