"""Dividends and splits that the IBKR source learns of, at a real paper gateway with some."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_plane.observations import CorporateAction
from data_plane.sources.ibkr import actions as ibkr_actions
from data_plane.sources.ibkr.actions import Announced, IbkrActions, parse_dividends
from tests.broker.gateways import GatewayProcess
from tests.data_plane.ibkr_rig import ACCOUNT, Rig, following
from tests.data_plane.support import daily, day_close, day_open
from tests.waiting import until
from triplane.broker.contracts import make_contract
from triplane.broker.historical_bars import HistoricalBars
from triplane.broker.session import BrokerUnavailable
from triplane.broker.what_to_show import ADJUSTED
from triplane.domain.timestamps import DAY, MINUTE
from triplane.runtime.settings import Settings

ACTIONS = ("--dividend KO=2017-12-15:0.37", "--dividend KO=2018-01-22:0.39", "--dividend PEP=2018-01-23:0.805", "--split GE=2018-01-22:8")  # fmt: skip


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    flags = [word for action in ACTIONS for word in action.split()]
    process = GatewayProcess(tmp_path / "gateway", "--hold", "--sessions", "3", *flags)
    yield process
    process.stop()


def actions(bench: Rig) -> dict[str, dict[str, Any]]:
    records = [output.record for output in bench.outputs if output.topic == "data.actions"]
    found = {record["action_id"]: record for record in records}
    assert len(found) == len(records)
    return found


async def test_announced_and_derived_actions_are_published_once_and_never_before_their_time(
    gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ibkr_actions, "WINDOW_S", 1.0)
    async with following(gateway) as (bench, source):
        paid, coming = "KO/dividend/2017-12-15", "KO/dividend/2018-01-22"
        await until(lambda: actions(bench).keys() == {paid, coming})
        # One that was paid is derived from adjusted prices; one of the next session is announced, and known from now on alone.
        assert actions(bench)[paid]["amount"] == pytest.approx(0.37, abs=0.005)
        assert actions(bench)[coming]["amount"] == 0.39
        assert {record["currency"] for record in actions(bench).values()} == {"USD"}
        assert actions(bench)[paid]["available_time"] >= day_open()
        assert actions(bench)[coming]["available_time"] < day_open("2018-01-22")
        await asyncio.to_thread(gateway.advance, to="2018-01-19T16:00")
        await until(lambda: bench.slices("1d")[-1]["session"] == "2018-01-19")
        # The split is in the history from its ex-date's open on, and PEP's dividend is the next session's only then.
        await asyncio.to_thread(gateway.advance, to="2018-01-22T10:00")
        split, announced = "GE/split/2018-01-22", "PEP/dividend/2018-01-23"
        await until(lambda: {split, announced} <= actions(bench).keys())
        assert (actions(bench)[split]["ratio"], actions(bench)[split]["amount"]) == (8.0, 0.0)
        assert actions(bench)[split]["available_time"] >= day_open("2018-01-22")
        assert actions(bench)[announced]["available_time"] > day_close("2018-01-19")
        names = {asset.symbol for asset in bench.context.assets()}
        await until(lambda: source._actions._looked == dict.fromkeys(names, date(2018, 1, 22)))
        await until(lambda: source._side.idle)
        assert len(actions(bench)) == 4
        # A new process knows what is on the topic, and nothing of what was asked before.
        again = IbkrActions(bench.context, "ibkr", source._requests)
        for symbol, contract in source._requests.contracts.items():
            again.told(contract, source._actions._told.get(symbol, ",,,"))
        while again.due():
            await again.look()
            again._next_look = 0.0
        assert len(again._looked) == 20
        assert len(actions(bench)) == 4
        # IB gives adjusted history up to now alone.
        end = "20180118-21:00:00"
        assert await source._requests.bars("1 day", "5 D", ["KO"], end, show=ADJUSTED) == {}
        assert ADJUSTED in source._requests.refusals["KO"]
    bad = [output.record for output in bench.outputs if output.topic == "data.quarantine"]
    assert not [record for record in bad if record["topic"] == "data.actions"]


# -- without a gateway ---------------------------------------------------------------------------------------------------------
class Asked:
    """Answers by whatToShow for the one name KO, as the requests of a connection give them."""

    def __init__(self) -> None:
        self.contracts = {"KO": make_contract("KO", con_id=7)}
        self.answers: dict[str, HistoricalBars] = {}
        self.asked: list[str] = []

    def names(self) -> list[str]:
        return ["KO"]

    async def bars(self, bar_size: str, duration: str, only: list[str], show: str = "") -> dict[str, HistoricalBars]:
        self.asked.append(show)
        if show not in self.answers:
            raise BrokerUnavailable("the broker did not answer")
        return {"KO": self.answers[show]}


def bars(closes: dict[str, float]) -> HistoricalBars:
    starts = np.array([np.datetime64(day, "ns").astype(np.int64) for day in closes], dtype=np.int64)
    values = np.repeat(np.array(list(closes.values()))[:, None], 6, axis=1)
    return HistoricalBars(starts, values, np.ones(len(starts), dtype=np.int64))


SESSIONS = ["2018-01-10", "2018-01-11", "2018-01-12", "2018-01-16", "2018-01-17", "2018-01-18"]


def bench_of(published: list[str], **data: object) -> tuple[Rig, IbkrActions, Asked]:
    bench = Rig(Settings(gateway_port=1, account=ACCOUNT), **data)
    for number, session in enumerate(published):
        bench.take(daily(session, {"KO": 46.0 + number / 10}))
    asked = Asked()
    bench.tell_time(day_open() + MINUTE)
    return bench, IbkrActions(bench.context, "ibkr", asked), asked  # type: ignore[arg-type]


def closes_of(sessions: list[str], factor: float = 1.0) -> dict[str, float]:
    return {session: round((46.0 + number / 10) * factor, 2) for number, session in enumerate(sessions)}


async def test_a_name_that_opens_far_off_is_looked_at_before_all_others_and_again_until_it_is_explained() -> None:
    bench, source, asked = bench_of(SESSIONS)
    asked.answers = {"": bars(closes_of(SESSIONS)), ADJUSTED: bars(closes_of(SESSIONS))}
    day = date(2018, 1, 19)
    source._next_look = float("inf")  # whoever else is to be looked at has to wait
    source.opened("KO", day, 46.6)
    assert not source.due()
    source._opened.clear()
    source.opened("KO", day, 23.3)
    assert source.due()
    await source.look()
    assert actions(bench) == {}
    assert not source.due()
    source._suspects["KO"] = 0.0  # five minutes later; now the provider's history is adjusted
    asked.answers[""] = bars(closes_of(SESSIONS, 0.5))
    await source.look()
    assert actions(bench)["KO/split/2018-01-19"]["ratio"] == 2.0
    assert not source._suspects


async def test_what_was_paid_before_a_split_is_not_told_in_the_shares_after_it() -> None:
    """First looked at on the day of its split: the published closes before it are in old shares, the amounts in new ones."""
    days = [f"2017-11-{day:02d}" for day in range(1, 31) if date(2017, 11, day).weekday() < 5] + SESSIONS
    closes = {day: 20.0 + number / 100 for number, day in enumerate(days)}
    paid = {day: round(close * (0.99 if day < "2017-11-20" else 1.0), 4) for day, close in closes.items()}
    for published, expected in ((SESSIONS, {"KO/split/2018-01-19"}), ([], {"KO/dividend/2017-11-20"})):
        bench, source, asked = bench_of(published)
        asked.answers = {"": bars(closes | closes_of(published, 0.5)), ADJUSTED: bars(paid | closes_of(published, 0.5))}
        await source.look()
        assert actions(bench).keys() == expected


def test_a_dividend_that_is_announced_anew_is_left_to_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    bench, source, asked = bench_of(SESSIONS)
    for amount in ("0.375", "0.38"):
        source.told(asked.contracts["KO"], f"1.48,1.50,20180122,{amount}")
    assert [record["amount"] for record in actions(bench).values()] == [0.375]
    assert "announced anew" in capsys.readouterr().out
    source.told(asked.contracts["KO"], "1.48,1.50,20180420,0.39")  # the one after it is none of its business
    assert "announced anew" not in capsys.readouterr().out


async def test_the_pace_is_kept_on_a_day_on_which_everybody_opens_far_off() -> None:
    _, source, asked = bench_of(SESSIONS)
    await source.look()
    assert not source.due()
    for _ in range(ibkr_actions.RUSHED_LOOKS + 5):
        source.opened("KO", date(2018, 1, 19), 23.3)
        source._suspects["KO"] = 0.0  # as if each were another name
        if source.due():
            await source.look()
    assert len(asked.asked) == 1 + ibkr_actions.RUSHED_LOOKS
    # Those that rushed have used the turns of those who waited.
    assert source._next_look - time.monotonic() > ibkr_actions.RUSHED_LOOKS * source.pause


@pytest.mark.parametrize("published", [SESSIONS[:-1], [*SESSIONS[:-1], "loaded"]])
async def test_a_split_whose_day_is_not_certain_is_left_to_a_person(published: list[str]) -> None:
    """The plane was away on the day before; or it loaded that day's bars when the split had happened."""
    bench, source, asked = bench_of(SESSIONS[:-1])
    if published[-1] == "loaded":
        bench.tell_time(day_open() + MINUTE)
        for number in (
            1,
            2,
            3,
        ):  # a close at half the level is believed once more of them agree; here the engine is not asked
            bench.context.published.learn(
                "data.bars",
                {"interval": "1d", "source": "ibkr", "group": "main", "event_time": day_close(SESSIONS[-1]), "available_time": number,
                 "session": SESSIONS[-1], "symbols": ["KO"], "close": [23.25]},
            )  # fmt: skip
    asked.answers = {"": bars(closes_of(SESSIONS, 0.5)), ADJUSTED: bars(closes_of(SESSIONS, 0.5))}
    await source.look()
    assert actions(bench) == {}
    assert len(source._warned) == 1


async def test_what_is_not_answered_ends_nothing_and_a_parameter_of_zero_asks_nothing() -> None:
    _, source, asked = bench_of(SESSIONS)
    await source.look()
    assert asked.asked == [""]
    _, source, asked = bench_of(SESSIONS, ACTION_REQUESTS=0)
    assert not source.due()
    await source.look()
    assert asked.asked == []


async def test_nothing_is_asked_for_outside_the_session() -> None:
    bench, source, asked = bench_of(SESSIONS)
    assert source.due()
    bench.tell_time(day_close() + MINUTE)
    await source.look()
    assert asked.asked == []


def test_what_cannot_be_read_is_handed_in_as_such_and_once() -> None:
    bench, source, asked = bench_of(SESSIONS)
    for _ in range(2):
        source.told(asked.contracts["KO"], "0.83,0.92,tomorrow,0.23")
    assert [output.record["code"] for output in bench.outputs if output.topic == "data.quarantine"] == [
        "MESSAGE_UNREADABLE"
    ]
    source.told(make_contract("KO", con_id=8), "0.83,0.92,20180122,0.23")  # a contract that nobody asked for
    assert actions(bench) == {}


def test_a_dividend_that_two_tellers_date_a_day_apart_is_one() -> None:
    bench, source, asked = bench_of(SESSIONS)
    bench.take(CorporateAction("other", "KO", "dividend", "2018-01-23", day_open() - DAY, amount=0.37, currency="USD"))
    source.told(asked.contracts["KO"], "1.48,1.50,20180122,0.375")
    assert actions(bench).keys() == {"KO/dividend/2018-01-23"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.83,0.92,20130219,0.23", Announced(date(2013, 2, 19), 0.23)),
        (",,,", None),
        ("0.83,0.92,,", None),
        ("0.83,,20130219,", None),
        ("0,0,20130219,0", None),
    ],
)
def test_the_dividend_tick(text: str, expected: Announced | None) -> None:
    assert parse_dividends(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "0.83,0.92,20130219", "a,b,c,d", "1,1,20131319,1", "1,1,20130219,inf", "1,1,²0130219,1", "1,1,20130219,1_0"],
)
def test_what_is_no_dividend_tick(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_dividends(text)
