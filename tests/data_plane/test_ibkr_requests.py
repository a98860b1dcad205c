"""Historical requests of small bars at a gateway that keeps IB's pacing rules: ten minutes last a second here."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from data_plane.sources.ibkr.chain import rolls
from data_plane.sources.ibkr.chunks import plan
from data_plane.sources.ibkr.pacing import Pacing, is_refusal
from data_plane.sources.ibkr.requests import Requests
from tests.broker.gateways import GatewayProcess
from tests.data_plane.ibkr_rig import ACCOUNT, Rig, rig
from triplane.broker.contracts import make_contract, terms_of
from triplane.broker.market_data import history
from triplane.broker.session import BrokerSession
from triplane.domain import calendars
from triplane.domain.timestamps import MINUTE, SECOND

TEN_MINUTES_S = 1.0
SCALE = TEN_MINUTES_S / 600.0


@pytest.fixture
def ten_minutes_s() -> float:
    return TEN_MINUTES_S


@pytest.fixture
def gateway(tmp_path: Path, ten_minutes_s: float) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path / "gateway", "--hold", "--sessions", "3", "--pacing", str(ten_minutes_s))
    yield process
    process.stop()


@pytest.fixture
async def session(gateway: GatewayProcess) -> AsyncIterator[tuple[BrokerSession, list[int]]]:
    """A connected session and the pacing violations that it hears of."""
    session, violations = BrokerSession(), list[int]()
    session.errors.append(lambda _, code, text: violations.append(code) if is_refusal(code, text) else None)
    await session.connect("127.0.0.1", gateway.port, 11, ACCOUNT)
    yield session, violations
    await session.close()


async def requests(bench: Rig, session: BrokerSession, margin_s: float) -> Requests:
    found = Requests(bench.context, "ibkr", lambda: session)
    found.pacing = Pacing(SCALE, margin_s)
    await found.resolve(session, bench.context.assets())
    return found


async def test_small_bars_come_whole_and_as_fast_as_ib_allows(
    gateway: GatewayProcess, session: tuple[BrokerSession, list[int]]
) -> None:
    bench, (connection, violations) = rig(gateway), session
    day = date(2018, 1, 18)
    opens = calendars.session_open("XNYS", day)
    chunks = plan("5 secs", opens + 30 * MINUTE, opens + 210 * MINUTE, "XNYS")
    assert [chunk.duration for chunk in chunks] == ["1800 S", "3600 S", "3600 S", "1800 S"]
    asking = await requests(bench, connection, 0.05)
    began = time.monotonic()
    starts: dict[str, list[int]] = {}
    for chunk in chunks:
        for name, bars in (await asking.chunk(chunk)).items():
            starts.setdefault(name, []).extend(bars.starts.tolist())
    # 80 requests: 60 and, ten minutes later, the rest.
    assert time.monotonic() - began >= TEN_MINUTES_S
    assert violations == []
    whole = list(range(opens + 30 * MINUTE, opens + 210 * MINUTE, 5 * SECOND))
    assert len(starts) == 20
    assert all(of_name == whole for of_name in starts.values())


@pytest.mark.parametrize("ten_minutes_s", [60.0])
async def test_what_another_process_asked_for_is_learned_from_a_refusal(
    gateway: GatewayProcess, session: tuple[BrokerSession, list[int]], ten_minutes_s: float
) -> None:
    bench, (connection, violations) = rig(gateway), session
    opens = calendars.session_open("XNYS", date(2018, 1, 18))
    (chunk,) = plan("5 secs", opens, opens + 10 * MINUTE, "XNYS")
    before = await requests(bench, connection, 0.0)
    found = await before.chunk(chunk, ["KO", "PEP"])
    after = await requests(bench, connection, 0.0)
    after.pacing = Pacing(ten_minutes_s / 600.0)
    again = await after.chunk(chunk, ["KO", "PEP"])
    assert violations == [162, 162]
    for name in ("KO", "PEP"):
        assert again[name].starts.tolist() == found[name].starts.tolist()


async def test_a_chain_of_the_broker_is_held_contract_by_contract(
    gateway: GatewayProcess, session: tuple[BrokerSession, list[int]]
) -> None:
    universe = {asset.symbol: asset for asset in rig(gateway).config.universe.assets}
    opens = calendars.session_open("XNYS", date(2018, 1, 19))
    held = await rolls(session[0], universe["MES"], 5, opens)
    assert [(each.contract.local_symbol, each.first, each.last) for each in held[:2]] == [
        ("MESH8", date(2018, 1, 19), date(2018, 3, 9)),
        ("MESM8", date(2018, 3, 12), date(2018, 6, 8)),
    ]
    assert len({each.contract.con_id for each in held}) == len(held)


async def test_a_planned_day_is_that_day_and_a_currency_is_asked_for_its_midpoint(
    gateway: GatewayProcess, session: tuple[BrokerSession, list[int]]
) -> None:
    bench, (connection, _) = rig(gateway), session
    asking = await requests(bench, connection, 0.0)
    opens = calendars.session_open("XNYS", date(2018, 1, 16))
    chunks = plan("1 day", opens, calendars.session_close("XNYS", date(2018, 1, 17)), "XNYS")
    (bars,) = [await asking.chunk(chunk, ["KO"]) for chunk in chunks]
    assert bars["KO"].starts.astype("datetime64[ns]").astype("datetime64[D]").tolist() == [
        date(2018, 1, 16),
        date(2018, 1, 17),
    ]
    universe = {asset.symbol: asset for asset in bench.config.universe.assets}
    for symbol in ("EUR.USD", "BTC.USD", "MES"):  # not simulated; what is wrong to ask would be another error
        none = await history(connection, make_contract(**terms_of(universe[symbol])), bar_size="1 min", duration="1 D")
        assert none.starts.dtype == np.int64
        assert len(none.starts) == 0
