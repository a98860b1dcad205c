"""The IBKR source and the broker's market data against the real paper gateway process, in good weather and bad."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from datetime import date, datetime
from functools import partial
from typing import Any

import numpy as np
import pytest

from data_plane.observations import Bars, TradeTick
from data_plane.sources.ibkr import IbkrSource
from data_plane.sources.ibkr import requests as ibkr_requests
from data_plane.sources.ibkr.requests import pivot
from data_plane.sources.ibkr.speed import Speed
from tests.broker.gateways import GatewayProcess
from tests.data_plane.ibkr_rig import ACCOUNT, Rig, following, rig
from tests.data_plane.support import assert_conserved, day_close, day_open
from tests.waiting import until
from triplane.broker import market_data
from triplane.broker.contracts import make_contract, resolve
from triplane.broker.historical_bars import HistoricalBars
from triplane.broker.market_data import BarHandler, MarketFeed, _side
from triplane.broker.session import BrokerSession, BrokerUnavailable
from triplane.domain.timestamps import MINUTE, NEW_YORK, SECOND
from triplane.runtime.settings import Settings


async def test_history_then_minutes_then_live(running: tuple[Rig, IbkrSource], gateway: GatewayProcess) -> None:
    bench, _ = running
    history = bench.slices("1d")
    assert len(history) > 40
    assert [record["session"] for record in history] == sorted(record["session"] for record in history)
    assert history[-1]["session"] == "2018-01-18"  # the running session's unfinished bar is not history
    assert all(record["history"] and record["available_time"] == day_close(record["session"]) for record in history)
    assert all(item.asked >= item.available_time > 0 for item in bench.taken if isinstance(item, Bars))
    live = bench.slices("5s")
    assert all(len(record["symbols"]) == 20 and record["event_time"] == record["available_time"] for record in live)
    await until(lambda: len(bench.slices("1m")) >= 350)
    minutes = bench.slices("1m")
    assert minutes[0]["event_time"] == day_open() + MINUTE
    assert minutes[-1]["event_time"] <= live[0]["event_time"]
    # Five-second bars aggregate to what the gateway's own minutes would be: they are the same market.
    assert live[0]["open"] == pytest.approx(minutes[-1]["close"], rel=5e-3)
    assert bench.quotes()[-1]["status"] == ["live"] * 20
    assert all(bid < ask for bid, ask in zip(bench.quotes()[-1]["bid"], bench.quotes()[-1]["ask"], strict=True))
    assert any(isinstance(item, TradeTick) for item in bench.taken)
    # The close: the session's daily bars, not as history, each equal to the gateway's own aggregate.
    await asyncio.to_thread(gateway.advance, to="2018-01-19T16:00")
    await until(lambda: [r["session"] for r in bench.slices("1d")][-1] == "2018-01-19")
    last = bench.slices("1d")[-1]
    assert (last["history"], last["available_time"], len(last["symbols"])) == (False, day_close(), 20)
    # What the stream left out before the close comes in minutes, none of them twice.
    streamed = bench.slices("5s")[-1]["event_time"]
    assert streamed < day_close() - MINUTE
    await until(lambda: bench.slices("1m")[-1]["event_time"] == day_close())
    rest = [record["event_time"] for record in bench.slices("1m") if record["event_time"] > live[0]["event_time"]]
    assert rest == list(range(streamed + MINUTE, day_close() + 1, MINUTE))


async def test_minutes_are_not_asked_for_just_before_a_decision(gateway: GatewayProcess) -> None:
    """Hundreds of slices would go to Kafka before the bar that the decision waits for, of a market that leapt to it."""
    async with following(gateway, rebalance="15:30") as (bench, source):
        assert len(bench.slices("5s")) >= 55
        assert source._minutes_due
        assert not bench.slices("1m")
        await asyncio.to_thread(gateway.advance, to="2018-01-19T15:32")
        await until(lambda: len(bench.slices("1m")) >= 350)
        assert bench.slices("1m")[0]["event_time"] == day_open() + MINUTE
        await until(lambda: source._side.idle)
        told = {
            end - step for end in (r["event_time"] for r in bench.slices("1m")) for step in range(0, MINUTE, 5 * SECOND)
        }
        told |= {record["event_time"] for record in bench.slices("5s")}
        assert set(range(day_open() + 5 * SECOND, bench.slices("5s")[-1]["event_time"] + 1, 5 * SECOND)) <= told


async def test_no_session_lacks_minutes_because_earlier_ones_were_still_awaited(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess
) -> None:
    """As while Kafka stands still: the market opens session after session, and what asks for minutes is under way all the while."""
    bench, source = running

    def streamed(day: str) -> list[int]:
        return [record["event_time"] for record in bench.slices("5s") if record["session"] == day]

    def has_streamed(day: str) -> bool:
        return len(streamed(day)) >= 55

    await until(lambda: len(bench.slices("1m")) >= 350)
    await until(lambda: source._side.idle)
    released = asyncio.Event()

    async def loads() -> None:
        await released.wait()

    assert source._side.start("minutes", loads())
    sessions = ["2018-01-19", "2018-01-22", "2018-01-23"]
    for day in sessions[1:]:
        await asyncio.to_thread(gateway.advance, to=f"{day}T15:25")
        await until(partial(has_streamed, day))
    released.set()
    await asyncio.to_thread(gateway.advance, minutes=1)
    lasts = {day_close(day) for day in sessions[:-1]}
    await until(lambda: lasts <= {r["event_time"] for r in bench.slices("1m")})
    await until(lambda: source._side.idle)
    minutes = [r["event_time"] for r in bench.slices("1m")]
    assert len(minutes) == len(set(minutes))
    for day in sessions:
        told = {end - step for end in minutes for step in range(0, MINUTE, 5 * SECOND)} | set(streamed(day))
        last = day_close(day) if day != sessions[-1] else max(streamed(day))
        assert set(range(day_open(day) + 5 * SECOND, last + 1, 5 * SECOND)) <= told, day


async def test_one_name_without_an_answer_costs_its_minutes_and_not_the_stream(
    gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time it was asked for again, the stream of all names would end once more."""
    asked: list[str] = []
    real = market_data.history

    async def history(session: BrokerSession, contract: Any, **request: Any) -> HistoricalBars:
        if request["bar_size"] == "1 min" and contract.symbol == "KO":
            asked.append(request["duration"])
            raise BrokerUnavailable("the broker did not answer a request for 1 min bars within 60 s")
        return await real(session, contract, **request)

    monkeypatch.setattr(ibkr_requests, "history", history)
    async with following(gateway) as (bench, source):
        await until(lambda: len(bench.slices("1m")) >= 350)
        assert asked
        assert all("KO" not in record["symbols"] and len(record["symbols"]) == 19 for record in bench.slices("1m"))
        assert bench.blocked[-1] == ""
        assert source._session is not None
        assert not [why for why in bench.blocked if "did not answer" in why]


async def test_a_bar_that_comes_when_its_session_is_done_with_asks_for_nothing(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess
) -> None:
    """At the real pace the last one comes after the close; the whole session would be asked for and handed in again."""
    bench, source = running
    await until(lambda: len(bench.slices("1m")) >= 350)
    await asyncio.to_thread(gateway.advance, to="2018-01-19T16:00")
    closes = day_close("2018-01-19")
    await until(lambda: closes in {record["event_time"] for record in bench.slices("1m")})
    await until(lambda: source._side.idle)
    source._history.heard(date(2018, 1, 19), closes - 5 * SECOND, closes)
    assert not source._history.rests_due(bench.context.clock.now())


async def test_a_silent_and_a_delayed_name_are_recognised(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess
) -> None:
    bench, _ = running
    await asyncio.to_thread(gateway.fault, "market_data", symbol="KO", mode="silent")
    await asyncio.to_thread(gateway.fault, "market_data", symbol="XOM", mode="delayed")
    before = len(bench.slices("5s"))
    await asyncio.to_thread(gateway.advance, minutes=2)
    await until(lambda: len(bench.slices("5s")) >= before + 23)
    last = bench.slices("5s")[-1]
    assert last["missing"] == ["KO"]
    assert ("freshness", "KO", False, "DATA_STALE") in bench.gates()
    quotes = bench.quotes()[-1]
    status = dict(zip(quotes["symbols"], quotes["status"], strict=True))
    assert status.pop("XOM") == "delayed"
    assert set(status.values()) == {"live"}
    await asyncio.to_thread(gateway.fault, "clear")
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: ("freshness", "KO", True, "") in bench.gates())
    quotes = bench.quotes()[-1]
    assert dict(zip(quotes["symbols"], quotes["status"], strict=True))["XOM"] == "live"


async def test_what_a_line_is_worth_is_told_per_name(running: tuple[Rig, IbkrSource], gateway: GatewayProcess) -> None:
    """Frozen, without permission, taken by another session, in lots: each name by itself, and live again when it is."""
    bench, _ = running
    codes = {"KO": 354, "PEP": 10089, "PG": 10090, "WMT": 10168, "GE": 10197}
    for symbol, code in codes.items():
        await asyncio.to_thread(gateway.fault, "market_data", symbol=symbol, mode="none", code=code)
    await asyncio.to_thread(gateway.fault, "market_data", symbol="XOM", mode="frozen")
    await asyncio.to_thread(gateway.fault, "market_data", symbol="HD", mode="lots")
    await asyncio.to_thread(gateway.advance, minutes=2)
    worse = dict.fromkeys(codes, "none") | {"XOM": "frozen"}

    def status() -> dict[str, str]:
        last = bench.quotes()[-1]
        return dict(zip(last["symbols"], last["status"], strict=True))

    await until(lambda: {name: told for name, told in status().items() if told != "live"} == worse)
    await until(lambda: ("quote_sanity", "HD", False, "SIZE_IN_LOTS") in bench.gates())
    assert "HD" not in status()
    stale = {symbol for gate, symbol, is_open, _ in bench.gates() if gate == "quote_freshness" and not is_open}
    assert set(worse) <= stale
    await asyncio.to_thread(gateway.fault, "clear")
    await asyncio.to_thread(gateway.advance, minutes=1)
    await until(lambda: ("quote_sanity", "HD", True, "") in bench.gates())
    # The data of another session come back by themselves; without permission nothing is believed until it is asked for anew.
    await until(lambda: (status()["XOM"], status()["GE"], status()["HD"], status()["KO"]) == ("live",) * 3 + ("none",))


async def test_a_name_whose_history_is_refused_is_asked_for_again_on_its_own(gateway: GatewayProcess) -> None:
    bench = rig(gateway)
    source = IbkrSource(bench.context)
    await asyncio.to_thread(
        gateway.fault, "history_error", code=162, text="Historical Market Data Service error message: pacing violation"
    )
    await source.backfill()
    await source.close()
    days = bench.slices("1d")
    whole, alone = days[: len(days) // 2], days[len(days) // 2 :]
    assert {len(record["symbols"]) for record in whole} == {19}
    missing = {name for record in whole for name in record["missing"]}
    assert {name for record in alone for name in record["symbols"]} == missing
    assert len(missing) == 1
    assert [record["session"] for record in alone] == [record["session"] for record in whole]


async def test_a_name_that_the_topic_lacks_is_loaded_at_the_next_start(gateway: GatewayProcess) -> None:
    bench = rig(gateway)
    assets = bench.context.assets
    bench.context.assets = lambda: assets()[:-1]  # type: ignore[method-assign]
    source = IbkrSource(bench.context)
    await source.backfill()
    await source.close()
    whole = bench.slices("1d")
    bench.context.assets = assets  # type: ignore[method-assign]
    for count in (2, 2):  # once; the start after it finds nothing to load
        source = IbkrSource(bench.context)
        await source.backfill()
        await source.close()
        assert len(bench.slices("1d")) == count * len(whole)
    alone = bench.slices("1d")[len(whole) :]
    assert {tuple(record["symbols"]) for record in alone} == {(assets()[-1].symbol,)}
    assert {record["available_time"] for record in alone} == {day_close(whole[-1]["session"]) + 1}
    assert all(record["history"] and not record["missing"] for record in alone)
    assert_conserved(bench.engine)


async def test_the_universe_is_followed(running: tuple[Rig, IbkrSource], gateway: GatewayProcess) -> None:
    bench, source = running
    assert source._feed is not None
    all_names = source._feed.symbols
    assets = bench.context.assets
    bench.context.assets = lambda: assets()[:5]  # type: ignore[method-assign]
    await until(lambda: source._feed is not None and len(source._feed.symbols) == 5)
    bench.context.assets = assets  # type: ignore[method-assign]
    await until(lambda: source._feed is not None and sorted(source._feed.symbols) == sorted(all_names))
    # Who reads the topic has dropped them meanwhile, so their history comes once more, known from now on and not before.
    history = [record["session"] for record in bench.slices("1d") if record["available_time"] == record["event_time"]]
    newest = bench.slices("5s")[-1]["event_time"]
    put_back = {asset.symbol for asset in assets()[5:]}
    times = []
    for count in (2, 3):  # and again while market time stands still
        whole = count * len(history)
        await until(lambda whole=whole: len(bench.slices("1d")) == whole)
        late = bench.slices("1d")[-len(history) :]
        assert [record["session"] for record in late] == history
        assert {name for record in late for name in record["symbols"]} == put_back
        assert not any(record["missing"] for record in late)
        times.append({record["available_time"] for record in late})
        bench.context.assets = lambda: assets()[:5]  # type: ignore[method-assign]
        await until(lambda: source._feed is not None and len(source._feed.symbols) == 5)
        bench.context.assets = assets  # type: ignore[method-assign]
        await until(lambda: source._feed is not None and len(source._feed.symbols) == len(all_names))
    assert times == [{newest}, {newest + 1}]


async def test_a_row_that_names_another_contract_is_followed(
    running: tuple[Rig, IbkrSource], gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corrected con_id is subscribed at once; one that is another name's gives no prices at all, and is asked for again."""
    bench, source = running
    feed = source._feed
    assert feed is not None
    assets = bench.context.assets
    ids = {symbol: contract.conId for symbol, contract in source._requests.contracts.items()}
    (first, second, *_) = ids

    def row(con_id: int) -> None:
        changed = [a.model_copy(update={"con_id": con_id}) if a.symbol == first else a for a in assets()]
        bench.context.assets = lambda: changed  # type: ignore[method-assign]

    row(ids[second])
    await until(lambda: first not in feed.symbols)
    await until(lambda: first in source._requests._refused)
    assert first not in source._requests.contracts
    assert ("contract", first, False, "CONTRACT_UNKNOWN") in bench.gates()
    asked_at = source._requests._refused[first]
    monkeypatch.setattr(ibkr_requests, "CONTRACT_AGAIN_S", 0.2)
    await until(lambda: source._requests._refused[first] >= asked_at + 0.2)
    row(ids[first])
    await until(lambda: first in feed.symbols)
    assert source._requests.contracts[first].conId == ids[first]
    assert [gate for gate in bench.gates() if gate[0] == "contract"][-1] == ("contract", first, True, "")
    before = len(bench.quotes())
    await asyncio.to_thread(gateway.advance, to="2018-01-19T15:27")
    await until(lambda: any(first in record["symbols"] for record in bench.quotes()[before:]))


# -- without a gateway ---------------------------------------------------------------------------------------------------------


def test_a_leap_is_told_from_a_fast_clock() -> None:
    speed = Speed()
    assert not speed.sample(0.0, 0)
    assert not speed.sample(0.1, 150 * SECOND)  # 1,500 times as fast, streaming
    assert speed.sample(0.2, 10_000 * SECOND)
    assert not speed.real
    speed = Speed()
    for number in range(40):
        assert not speed.sample(number * 0.1, number // 10 * SECOND)
    assert speed.real
    held = Speed()
    for number in range(40):
        held.sample(number * 0.1, 0)
    assert not held.real


async def test_the_first_bars_after_a_night_call_nobody_stale() -> None:
    """They may come before the source looks at the gateway's clock, and before the day's first quotes."""
    bench = Rig(Settings(gateway_port=1, account=ACCOUNT))
    source = IbkrSource(bench.context)
    names = [asset.symbol for asset in bench.context.assets()]
    for day in ("2018-01-19T15:20", "2018-01-22T15:20"):
        begin = int(datetime.fromisoformat(day).replace(tzinfo=NEW_YORK).timestamp()) * SECOND
        for start in range(begin, begin + 60 * SECOND, 5 * SECOND):
            for name in names:
                source._on_bar(name, start, 10.0, 10.0, 10.0, 10.0, 100.0, 10.0, 1)
            if start > begin:
                for name in names:
                    source._on_quote(name, start, 9.99, 10.01, 100.0, 100.0, 10.0, 100.0, "live", False)
    await asyncio.gather(
        *source._side._tasks, return_exceptions=True
    )  # the minutes before, which nobody is there to give
    assert len(bench.slices("5s")) == 24
    assert bench.gates() == []


def test_bars_by_name_become_cross_sections() -> None:
    def bars(starts: list[int], price: float) -> HistoricalBars:
        return HistoricalBars(
            np.array(starts, dtype=np.int64), np.full((len(starts), 6), price), np.arange(len(starts), dtype=np.int64)
        )

    starts, names, values, trades = pivot({"AAA": bars([1, 2, 4], 5.0), "BBB": bars([2, 3], 7.0)})
    assert (starts, names) == ([1, 2, 3, 4], ("AAA", "BBB"))
    assert trades.tolist() == [[0, -2], [1, 0], [-2, 1], [2, -2]]
    assert values[1].tolist() == [[5.0] * 6, [7.0] * 6]
    assert math.isnan(values[0, 1, 0])
    assert pivot({})[0] == []


@pytest.mark.parametrize(
    ("price", "size", "expected"),
    [
        (100.0, 5.0, (100.0, 5.0)),
        (-1.0, 0.0, None),
        (0.0, 0.0, None),
        (math.nan, math.nan, None),
        (0.0, 5.0, (0.0, 5.0)),
        (100.0, math.nan, (100.0, 0.0)),
    ],
)
def test_a_side_that_does_not_exist_is_no_price(
    price: float, size: float, expected: tuple[float, float] | None
) -> None:
    side = _side(price, size)
    assert side == expected if expected else (math.isnan(side[0]) and side[1] == 0.0)


async def test_unreadable_messages_are_handed_in_as_such(gateway: GatewayProcess) -> None:
    """The library's own objects, broken: whatever it makes of a message goes somewhere."""
    session = BrokerSession()
    await session.connect("127.0.0.1", gateway.port, 31, ACCOUNT)
    seen: Counter[str] = Counter()
    handler = BarHandler(
        lambda *arguments: seen.update(["bar"]), lambda *arguments: seen.update(["quote"]), lambda *arguments: seen.update(["trade"]),
        lambda symbol, what, raw: seen.update([f"malformed {what.split(':')[0]}"]),
    )  # fmt: skip
    feed = MarketFeed(session, handler, lambda: day_open())
    info = await resolve(session, make_contract("AAPL"))
    contract = make_contract("AAPL", con_id=info.con_id)
    for _ in range(2):
        feed.subscribe("AAPL", contract)
        feed.subscribe_bars("AAPL")
    assert feed.lines == 2
    line = feed._lines["AAPL"]
    line.bars.append(object())
    line.bars.updateEvent.emit(line.bars, True)
    line.ticker.ticks = [object()]
    feed._on_tickers({line.ticker})
    assert seen["malformed real-time bar"] == 1
    assert seen["malformed ticks"] == 1
    assert not list(line.bars)
    feed._on_error(line.ticker_id, 354, "Requested market data is not subscribed.")
    assert seen["quote"] == 1
    assert line.status == "none"
    feed._on_error(99, 354, "of another request")
    feed._on_error(line.ticker_id, 399, "of no meaning here")
    assert seen["quote"] == 1
    feed.unsubscribe("AAPL")
    feed.unsubscribe("AAPL")
    feed.close()
    await session.close()
