"""Daily bars of funds, futures, currencies and crypto, which the simulated market does not quote."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator
from datetime import date, time, timedelta
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path
from typing import Any, Never

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.broker.gateways import GatewayProcess
from tests.broker.sessions import connected, place
from tests.paper.harness import ASSETS
from triplane.broker import contracts as client_contracts
from triplane.broker.contracts import ContractInfo, make_contract, terms_of
from triplane.broker.market_data import history
from triplane.broker.session import BrokerSession, RequestFailed
from triplane.domain import calendars
from triplane.domain.assets import Asset, Universe
from triplane.domain.timestamps import at
from triplane.paper.market.history import RequestError, Row
from triplane.paper.market.index import HEADER, load_index, parse
from triplane.paper.market.prices import PricesError
from triplane.paper.market.watched import CARRY, LISTED, Watched, last_trade
from triplane.paper.protocol.contracts import Contract, Contracts
from triplane.paper.protocol.requests import ContractQuery

TODAY = date(2018, 1, 19)
NOW = at(TODAY, time(15, 25))
ROWS = {asset.symbol: asset for asset in Universe.load(ASSETS).assets}
CONTRACTS = Contracts(ROWS.values(), ["KO"])
WATCHED = Watched(7)
SHOWN = {"SPY": "TRADES", "MES": "TRADES", "EUR.USD": "MIDPOINT", "BTC.USD": "AGGTRADES"}


def asked(**fields: Any) -> ContractQuery:
    blank = ContractQuery(0, "", "", "", "", "", "")
    return ContractQuery(*(fields.get(name, getattr(blank, name)) for name in ContractQuery.__slots__))


def named(today: date = TODAY, include_expired: bool = False, **fields: Any) -> list[Contract]:
    return CONTRACTS.named(asked(**fields), today, include_expired=include_expired)


def mes(local_symbol: str) -> Asset:
    (found,) = named(include_expired=True, local_symbol=local_symbol, exchange="CME")
    return found.asset


INSTRUMENTS = {s: ROWS[s] for s in SHOWN if s != "MES"} | {s: mes(s) for s in ("MESH8", "MESU8", "MESZ7")}


def bars(name: str, duration: str, now: int = NOW, end: str = "", watched: Watched = WATCHED) -> list[Row]:
    asset = INSTRUMENTS[name]
    return watched.bars(asset, SHOWN[asset.symbol], "1 day", duration, end, now)


def real_index() -> dict[date, dict[str, float]]:
    path = Path(str(distribution("arch").locate_file("arch/data/sp500/sp500.csv.gz")))
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        month, day, year = (int(part) for part in row.pop("Date").split("/"))
        found[date(year, month, day)] = {name: float(cell) for name, cell in row.items()}
    return found


INDEX = real_index()


def test_the_fund_is_a_tenth_of_the_real_index_on_cents() -> None:
    rows = bars("SPY", "30 Y", at(date(2018, 12, 31), time(16, 0)))
    assert [row.day for row in rows] == calendars.sessions("XNYS", date(1999, 1, 4), date(2018, 12, 31)) == list(INDEX)
    for name in ("Open", "High", "Low", "Close"):
        off = [abs(getattr(row, name.lower()) - INDEX[row.day][name] / 10) for row in rows]
        assert max(off) < 0.005 + 1e-9
    assert all(row.close == round(row.close, 2) for row in rows)
    assert [row.volume for row in rows] == [int(INDEX[row.day]["Volume"]) for row in rows]


def sessions_over(name: str, count: int, now: int) -> list[date]:
    """The last `count` sessions of an instrument's calendar that are over by `now`, as far as it has bars."""
    asset, today = INSTRUMENTS[name], date(1970, 1, 1) + timedelta(microseconds=now / 1000)
    days = calendars.sessions(asset.calendar, today - timedelta(days=2 * count + 10), today)
    over = [day for day in days[-count - 3 :] if calendars.session_close(asset.calendar, day) <= now][-count:]
    if asset.sec_type != "FUT":
        return over
    last = last_trade(asset)  # from its listing to its expiry, and not where New York is closed
    return [day for day in over if day in INDEX and last - LISTED <= day <= last]


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(INSTRUMENTS)),
    count=st.integers(1, 300),
    other=st.integers(1, 300),
    minutes=st.integers(-60 * 24 * 250, 60 * 24 * 300),
)
def test_a_day_is_the_same_however_it_is_asked_for_and_never_past_the_clock(
    name: str, count: int, other: int, minutes: int
) -> None:
    asset, now = INSTRUMENTS[name], NOW + minutes * 60_000_000_000
    expected = sessions_over(name, count, now)
    if not expected:
        with pytest.raises(RequestError, match="no data"):
            bars(name, f"{count} D", now)
        return
    rows = bars(name, f"{count} D", now)
    assert [row.day for row in rows] == expected
    for row in rows:
        assert row.start == calendars.session_open(asset.calendar, row.day)
        assert 0 < row.low <= min(row.open, row.close) <= max(row.open, row.close) <= row.high
        ticks = [price / asset.min_tick for price in (row.open, row.high, row.low, row.close)]
        assert ticks == pytest.approx([round(each) for each in ticks])
        if asset.sec_type == "CASH":
            assert (row.volume, row.wap, row.count) == (-1, -1.0, -1)
        else:
            assert row.volume >= row.count >= 1
            assert row.low <= row.wap <= row.high
    if sessions_over(name, other, now):
        again = bars(name, f"{other} D", now, watched=Watched(7))
        common = min(len(rows), len(again))
        assert rows[-common:] == again[-common:]


def test_durations_of_each_unit_end_where_the_last_session_does() -> None:
    assert [row.day.weekday() for row in bars("EUR.USD", "7 D")] == [2, 3, 4, 0, 1, 2, 3]
    assert [row.day for row in bars("BTC.USD", "1 W")] == [date(2018, 1, day) for day in range(13, 19)]
    assert bars("BTC.USD", "1 M")[0].day == date(2017, 12, 20)
    assert bars("EUR.USD", "2 Y")[0].day == date(2016, 1, 20)
    for name in INSTRUMENTS:
        asked_ahead = bars(name, "1 Y", end="20181231-00:00:00")
        assert asked_ahead == bars(name, "1 Y")
        assert asked_ahead[-1].day < TODAY
    # At midnight UTC, seven in the evening of New York, a day is over and the next has begun.
    assert bars("BTC.USD", "1 D", end="20180117-00:00:00")[0].day == date(2018, 1, 16)
    assert bars("BTC.USD", "1 D", end="20180116-23:59:59")[0].day == date(2018, 1, 15)
    assert bars("MESH8", "1 D", end="20180112-23:00:00")[0].day == date(2018, 1, 12)
    assert bars("MESH8", "1 D", end="20180112-22:59:59")[0].day == date(2018, 1, 11)


def test_a_futures_basis_is_the_carry_to_its_expiry_and_a_roll_has_a_step() -> None:
    later = at(date(2018, 10, 1), time(12, 0))
    series = {name: {row.day: row for row in bars(name, "3 Y", later)} for name in ("MESZ7", "MESH8", "MESU8")}
    for name, rows in series.items():
        expiry = last_trade(INSTRUMENTS[name])
        assert max(rows) == expiry
        assert timedelta(0) <= min(rows) - (expiry - LISTED) <= timedelta(4)
        assert (rows[expiry].close - INDEX[expiry]["Close"]) < 0.125 + 1e-9
        for day, row in rows.items():
            fair = INDEX[day]["Close"] * math.exp(CARRY * (expiry - day).days / 365.25)
            assert abs(row.close - fair) <= 0.125 + 1e-6
        basis = [math.log(rows[day].close / INDEX[day]["Close"]) for day in sorted(rows)]
        assert all(later < earlier + 2e-4 for earlier, later in pairwise(basis))
        assert basis[0] > 0.018
        assert abs(basis[-1]) < 1e-4
    roll = date(2017, 12, 8)
    step = series["MESH8"][roll].close / series["MESZ7"][roll].close - 1
    assert step == pytest.approx(CARRY * 91 / 365.25, abs=2e-4)
    assert series["MESH8"][roll].volume * 5 < series["MESZ7"][roll].volume
    # Martin Luther King's day: Chicago has a session, New York has none, and the index no level.
    assert calendars.is_session("CMES", date(2018, 1, 15))
    assert date(2018, 1, 15) not in series["MESH8"]
    with pytest.raises(RequestError, match="no data"):
        bars("MESH8", "1 D", end="20180116-00:00:00")


@pytest.mark.parametrize(("name", "volatility", "level"), [("EUR.USD", 0.08, 1.2), ("BTC.USD", 0.7, 10_000.0)])
def test_a_walk_is_the_seeds_and_meets_its_level(name: str, volatility: float, level: float) -> None:
    now = at(date(2018, 12, 31), time(12, 0))
    rows = bars(name, "5 Y", now)
    close = np.array([row.close for row in rows])
    a_year = len(rows) / 5
    assert np.diff(np.log(close)).std() * math.sqrt(a_year) == pytest.approx(volatility, rel=0.08)
    assert all(after.open == before.close for before, after in pairwise(rows))
    assert any(row.high > max(row.open, row.close) for row in rows)
    others = [bars(name, "5 Y", now, watched=Watched(seed)) for seed in (8, 9)]
    assert [row.close for row in others[0]] != [row.close for row in rows] != [row.close for row in others[1]]
    for each in (rows, *others):
        (anchor,) = [row for row in each if row.day == date(2018, 1, 2)]
        assert anchor.close == pytest.approx(level)


@pytest.mark.parametrize(
    ("name", "what", "size", "duration", "end", "code", "text"),
    [
        ("EUR.USD", "TRADES", "1 day", "5 D", "", 162, r"No historical market data for EUR/CASH@IDEALPRO Last 1d"),
        ("EUR.USD", "BID", "1 day", "5 D", "", 321, "only complete bars of MIDPOINT are simulated"),
        ("BTC.USD", "MIDPOINT", "1 day", "5 D", "", 321, "only complete bars of AGGTRADES"),
        ("SPY", "MIDPOINT", "1 day", "5 D", "", 321, "only complete bars of ADJUSTED_LAST and TRADES"),
        ("MESH8", "ADJUSTED_LAST", "1 day", "5 D", "", 321, "only complete bars of TRADES"),
        ("SPY", "TRADES", "1 day", "0 D", "", 321, "duration '0 D'"),
        ("SPY", "TRADES", "1 day", "1 D", "noon", 321, "end time 'noon'"),
        ("SPY", "TRADES", "1 hour", "1 D", "", 321, "bar size '1 hour'"),
        ("SPY", "TRADES", "1 min", "1 D", "", 162, "no data"),
        ("EUR.USD", "TRADES", "5 secs", "60 S", "", 162, "no data"),
        ("SPY", "TRADES", "1 day", "1 D", "19981231", 162, "no data"),
        ("SPY", "TRADES", "1 day", "1 Y", "19850101", 162, "no data"),
        ("BTC.USD", "AGGTRADES", "1 day", "1 D", "20111231", 162, "no data"),
        ("MESU8", "TRADES", "1 day", "1 D", "20170601", 162, "no data"),
    ],
)
def test_refused_requests(name: str, what: str, size: str, duration: str, end: str, code: int, text: str) -> None:
    with pytest.raises(RequestError, match=text) as caught:
        WATCHED.bars(INSTRUMENTS[name], what, size, duration, end, NOW)
    assert caught.value.code == code


def test_a_row_that_nothing_is_known_of_has_no_data() -> None:
    for symbol, update in (("SPY", "GLD"), ("EUR.USD", "GBP.USD"), ("MES", "MGC")):
        with pytest.raises(RequestError, match="no data"):
            WATCHED.bars(ROWS[symbol].model_copy(update={"symbol": update}), SHOWN[symbol], "1 day", "5 D", "", NOW)
    big = INSTRUMENTS["MESH8"].model_copy(update={"symbol": "ES"})
    assert WATCHED.bars(big, "TRADES", "1 day", "5 D", "", NOW) == bars("MESH8", "5 D")
    with pytest.raises(RequestError, match="no data"):  # the row's own contract expires in 2027
        WATCHED.bars(ROWS["MES"], "TRADES", "1 day", "5 D", "", NOW)


def test_what_adjusted_bars_say_is_what_trades_say() -> None:
    assert WATCHED.bars(ROWS["SPY"], "ADJUSTED_LAST", "1 day", "1 M", "", NOW) == bars("SPY", "1 M")


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER,
        "Date,Close\n1/4/1999,1\n",
        f"{HEADER}\n1/4/1999,1,2,1,1,1,5\n1/4/1999,1,2,1,1,1,5\n",
        f"{HEADER}\n1/4/1999,1,0.9,0.8,1,1,5\n",
        f"{HEADER}\n1/4/1999,1,2,1,1,1,0\n",
        f"{HEADER}\n1/4/1999,1,2,1,1,1\n",
        f"{HEADER}\n13/4/1999,1,2,1,1,1,5\n",
        f"{HEADER}\n1999-01-04,1,2,1,1,1,5\n",
    ],
)
def test_a_damaged_index_is_refused(text: str) -> None:
    with pytest.raises(PricesError, match="reinstall the package arch"):
        parse(text)


def test_a_missing_package_is_said_to_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> Never:
        raise PackageNotFoundError

    monkeypatch.setattr("triplane.paper.market.prices.distribution", absent)
    monkeypatch.setattr("triplane.paper.market.watched.load_index", load_index.__wrapped__)
    with pytest.raises(RequestError, match=r"the package arch.* is not installed; install triplane\[demo\]"):
        Watched(7).bars(ROWS["SPY"], "TRADES", "1 day", "1 D", "", NOW)


def test_quarters_are_found_by_id_local_symbol_and_expiry() -> None:
    chain = CONTRACTS.matching(asked(symbol="MES", sec_type="FUT", exchange="CME"), TODAY, include_expired=True)
    expiries = [contract.asset.expiry for contract in chain]
    assert expiries == sorted(set(expiries))
    assert expiries[0] == "20160318"  # IB keeps two years
    assert expiries[-2:] == ["20191220", ROWS["MES"].expiry]
    for contract in chain:
        assert CONTRACTS.find(asked(con_id=contract.con_id)) is contract
        expiry = contract.asset.expiry
        assert named(include_expired=True, symbol="MES", exchange="CME", expiry=expiry) == [contract]
        assert named(include_expired=True, symbol="MES", exchange="CME", expiry=expiry[:6]) == [contract]
        assert named(con_id=contract.con_id) == ([] if last_trade(contract.asset) < TODAY else [contract])
        assert not contract.priced
        assert CONTRACTS.rule(contract.rule_id) == [(0.0, 0.25)]
    assert [c.asset.expiry for c in named(local_symbol="MESH8", exchange="CME")] == ["20180316"]
    assert [c.asset.expiry for c in named(date(2008, 1, 2), local_symbol="MESH8", exchange="CME")] == ["20080321"]
    (expired,) = named(include_expired=True, local_symbol="MESM6", exchange="CME")
    assert named(local_symbol="MESM6", exchange="CME") == []
    assert named(last_trade(expired.asset), con_id=expired.con_id) == [expired]
    kept = last_trade(expired.asset) + timedelta(days=730)
    assert named(kept, include_expired=True, con_id=expired.con_id) == [expired]
    assert named(kept + timedelta(days=1), include_expired=True, con_id=expired.con_id) == []
    assert named(symbol="MES", exchange="CME", expiry="2031") == []
    assert len(named(symbol="MES", exchange="CME", expiry="2018")) == 4
    assert named(symbol="MES", exchange="CME") == [CONTRACTS.by_symbol["MES"]]


# --- through a gateway's socket ------------------------------------------------------------------------------------------------


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path / "gateway", "--hold", "--seed", "7")
    try:
        process.advance(to="2018-01-19T15:25")
        yield process
    finally:
        process.stop()


async def told(session: BrokerSession, contract: Any, duration: str, **more: Any) -> dict[date, list[float]]:
    found = await history(session, contract, bar_size="1 day", duration=duration, **more)
    days = found.starts.astype("datetime64[ns]").astype("datetime64[D]").tolist()
    return dict(zip(days, found.values.tolist(), strict=True))


def of_chain(info: ContractInfo, *, expired: bool = False) -> Any:
    contract = make_contract(**terms_of(ROWS["MES"]) | {"con_id": info.con_id, "expiry": info.expiry})
    contract.includeExpired = expired
    return contract


@pytest.mark.integration
async def test_a_client_is_told_the_days_of_every_class(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    for symbol in ("SPY", "EUR.USD", "BTC.USD"):
        days = await told(session, make_contract(**terms_of(ROWS[symbol])), "10 D")
        expected = bars(symbol, "10 D")
        assert list(days) == [row.day for row in expected]
        assert [values[:4] for values in days.values()] == [[r.open, r.high, r.low, r.close] for r in expected]
        volumes = [values[4] for values in days.values()]
        assert all(map(math.isnan, volumes)) if symbol == "EUR.USD" else volumes == [row.volume for row in expected]
    chain = {info.local_symbol: info for info in await client_contracts.chain(session, ROWS["MES"])}
    live, gone = chain["MESH8"], chain["MESZ7"]
    by_id = await told(session, of_chain(live), "10 D")
    assert list(by_id) == [row.day for row in bars("MESH8", "10 D")]
    local = make_contract("MES", sec_type="FUT", exchange="CME", local_symbol="MESH8")
    assert await told(session, local, "10 D") == by_id
    month = make_contract("MES", sec_type="FUT", exchange="CME", expiry="201803")
    assert await told(session, month, "10 D") == by_id
    assert (await client_contracts.resolve(session, of_chain(live))).local_symbol == "MESH8"

    to_the_end = await told(session, of_chain(gone, expired=True), "1 Y")
    assert max(to_the_end) == date(2017, 12, 15)
    assert await told(session, of_chain(gone, expired=True), "1 D", end="20171216-00:00:00") == {
        date(2017, 12, 15): to_the_end[date(2017, 12, 15)]
    }
    with pytest.raises(RequestFailed, match="No security definition"):
        await told(session, of_chain(gone), "1 Y")
    with pytest.raises(RequestFailed, match="No historical market data for EUR/CASH@IDEALPRO"):
        await told(session, make_contract(**terms_of(ROWS["EUR.USD"])), "5 D", show="TRADES")
    with pytest.raises(RequestFailed, match="AGGTRADES"):
        await told(session, make_contract(**terms_of(ROWS["BTC.USD"])), "5 D", show="TRADES")
    for contract in (of_chain(live), make_contract(**terms_of(ROWS["SPY"]))):
        none = await history(session, contract, bar_size="1 min", duration="1 D")
        assert len(none.starts) == 0
    assert not recorder.of("error")
    order = {"symbol": "MES", "con_id": live.con_id, "sec_type": "FUT", "exchange": "CME", "quantity": 1}
    place(session, session.ib.client.getReqId(), "DU1234567/1/MES/0/0", **order)
    (refused,) = await recorder.until(lambda: recorder.of("error"))
    assert (refused["code"], refused["text"]) == (201, "Order rejected - reason:The simulation has no market for MES")
    await session.close()
