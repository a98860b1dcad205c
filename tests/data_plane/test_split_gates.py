"""Splits and dividends: moves that look like one, those on record, and the gate that actions pass."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.engine import DataEngine
from data_plane.gates.splits import UsualTurnover, like_a_split
from data_plane.observations import Bars, CorporateAction, TradeTick
from data_plane.outputs import Output
from data_plane.slices.actions import ActionMemory
from schemas import catalogue
from schemas.codec import encode_body
from tests.data_plane.support import (
    DAY,
    NAN,
    assert_conserved,
    bad,
    bar,
    daily,
    day_open,
    engine,
    gate_changes,
    lean_rows,
    quote,
    records,
    run,
    sessions,
)
from triplane.domain.calendars import session_close
from triplane.domain.targets.data import DataTargets
from triplane.domain.timestamps import DAY as DAY_NS
from triplane.domain.timestamps import MINUTE, SECOND, from_datetime

BEFORE = "2018-01-18"


# -- splits ----------------------------------------------------------------------------------------------------------------------
def warm(machine: DataEngine, price: float = 100.0, count: int = 8, source: str = "ibkr") -> str:
    """So many sessions of AAA near `price`, the last of them BEFORE; returns the next session."""
    days = sessions("2018-01-02", 12)
    days = days[days.index(BEFORE) - count + 1 :][:count]
    for number, day in enumerate(days):
        assert (
            bad(machine.take(daily(day, {"AAA": price * (1 + number % 2 / 100)}, source=source, history=False))) == []
        )
    return DAY


@pytest.mark.parametrize("ratio", [1.5, 2.0, 3.0, 4.0, 10.0, 0.1, 0.5])
def test_a_split_that_nobody_told_of_is_held_until_the_level_is_confirmed(ratio: float) -> None:
    machine = engine(("AAA",))
    warm(machine)
    price = 101.0 / ratio
    days = sessions(DAY, 4)
    volume = {"AAA": 1e6 * ratio}
    codes = [
        bad(machine.take(daily(day, {"AAA": price * (1 + n / 200)}, history=False, volume=volume)))
        for n, day in enumerate(days)
    ]
    assert codes == [[("AAA", "SPLIT_SUSPECTED")], [("AAA", "SPLIT_SUSPECTED")], [], []]


def test_a_restart_knows_the_usual_turnover_and_the_splits_on_record() -> None:
    machine = engine(("AAA",))
    outputs: list[Output] = []
    for number, day in enumerate(sessions("2018-01-08", 8)):
        outputs += machine.take(daily(day, {"AAA": 100.0 + number % 2}, history=False))
    halved = daily(DAY, {"AAA": 50.0}, history=False, volume={"AAA": 2e6})
    for actions, code in (([], [("AAA", "SPLIT_SUSPECTED")]), ([split(2.0)], [])):
        told = records(run(machine, actions), "data.actions")
        restarted = engine(("AAA",))
        restarted.remember("data.actions", told)
        restarted.remember("data.bars", records(outputs, "data.bars"))
        assert bad(restarted.take(halved)) == code


def test_a_crash_of_a_splits_size_comes_with_turnover_and_passes() -> None:
    machine = engine(("AAA",))
    warm(machine)
    assert bad(machine.take(daily(DAY, {"AAA": 50.0}, history=False, volume={"AAA": 8e6}))) == []
    unknown = engine(("AAA",))
    unknown.take(daily(BEFORE, {"AAA": 100.0}, history=False))
    assert bad(unknown.take(daily(DAY, {"AAA": 50.0}, history=False))) == []  # nobody knows its usual turnover
    between = engine(("AAA",))
    warm(between)
    assert bad(between.take(daily(DAY, {"AAA": 59.0}, history=False))) == []  # no ratio


def split(ratio: float, day: str = DAY, **change: Any) -> CorporateAction:
    return CorporateAction("ibkr", "AAA", "split", day, day_open(BEFORE), ratio=ratio, **change)


@pytest.mark.parametrize("ratio", [4.0, 1.5, 20.0, 100.0, 0.05])
def test_a_split_on_record_is_no_spike_at_any_interval(ratio: float) -> None:
    machine = engine(("AAA",))
    warm(machine)
    machine.take(bar("AAA", 4000, 101.0, day=BEFORE))
    run(machine, [split(ratio)])
    price = 101.0 / ratio
    minute = replace(
        daily(DAY, {"AAA": price}, history=False),
        interval="1m",
        event_time=day_open() + MINUTE,
        available_time=day_open() + MINUTE,
    )
    outputs = run(
        machine,
        [TradeTick("ibkr", "AAA", day_open() + SECOND, price, 5.0), quote("AAA", day_open() + SECOND, price, price)],
    )
    outputs += run(
        machine, [minute, *(bar("AAA", step, price) for step in range(4)), daily(DAY, {"AAA": price}, history=False)]
    )
    outputs += run(
        machine, [bar("AAA", 0, price, day="2018-01-22"), daily("2018-01-22", {"AAA": price * 1.01}, history=False)]
    )
    assert bad(outputs) == []
    assert_conserved(machine)


def test_a_split_that_is_told_late_explains_what_was_held() -> None:
    machine = engine(("AAA",))
    warm(machine)
    first, second = sessions(DAY, 2)
    assert bad(machine.take(daily(first, {"AAA": 25.2}, history=False, volume={"AAA": 4e6}))) == [
        ("AAA", "SPLIT_SUSPECTED")
    ]
    machine.take(split(4.0))
    assert bad(machine.take(daily(second, {"AAA": 25.4}, history=False, volume={"AAA": 4e6}))) == []


def test_bars_in_old_units_after_a_split_on_record_are_told_apart_from_a_move() -> None:
    machine = engine(("AAA",))
    warm(machine)
    machine.take(split(1.5))
    assert bad(machine.take(daily(DAY, {"AAA": 101.5}, history=False))) == [("AAA", "SPLIT_NOT_APPLIED")]


def test_history_may_be_adjusted_for_a_split_or_not() -> None:
    """Loaded after the ex-date it is in new units throughout, raw it is not; neither is a fault of the bar."""
    days = sessions("2018-01-10", 6)
    for before in (100.0, 25.0):
        machine = engine(("AAA",))
        machine.take(split(4.0, day=days[3]))
        closes = [before] * 3 + [25.0] * 3
        slices = [
            daily(day, {"AAA": close * (1 + n / 500)}) for n, (day, close) in enumerate(zip(days, closes, strict=True))
        ]
        assert bad(run(machine, slices)) == []
    # A name's history that was loaded in new units on the morning of its split meets the first bar in them.
    machine = engine(("AAA",))
    run(machine, [split(4.0), daily(BEFORE, {"AAA": 25.0})])
    assert bad(run(machine, [bar("AAA", step, 25.1) for step in range(3)])) == []


def test_a_dividend_on_record_lowers_the_reference() -> None:
    memory = ActionMemory()
    record = {
        "event_time": from_datetime(datetime(2018, 1, 19, tzinfo=UTC)),
        "available_time": 5,
        "source": "ibkr",
        "action_id": "1",
        "symbol": "AAA",
        "kind": "dividend",
        "ratio": 0.0,
        "amount": 30.0,
    }
    memory.learn(record)
    memory.learn(record | {"symbol": "BBB", "amount": 500.0})  # more than the price: known to be wrong by now
    memory.learn(record | {"symbol": "CCC", "kind": "split", "ratio": 4.0, "amount": 0.0})
    ex = date(2018, 1, 19).toordinal()
    closes, rows = np.array([100.0, 100.0, 100.0, NAN]), {"AAA": 0, "BBB": 1, "CCC": 2, "DDD": 3}
    assert memory.adjusted(closes, np.full(4, ex - 1), ex, rows)[:3].tolist() == [70.0, 100.0, 25.0]
    for before, session in ((ex - 2, ex - 1), (ex, ex), (ex, ex + 3)):
        assert memory.adjusted(closes, np.full(4, before), session, rows) is closes
    assert closes.tolist()[:3] == [100.0] * 3


@settings(deadline=None)
@given(st.floats(0.01, 1e5), st.sampled_from([2.0, 3.0, 4.0, 1.5, 10.0, 0.1, 1 / 15]), st.floats(-0.02, 0.02))
def test_any_usual_ratio_is_recognised_and_what_lies_between_is_not(price: float, ratio: float, move: float) -> None:
    def row(level: float) -> np.ndarray:
        return np.array([[level, level, level, level, 1.0, NAN]])

    assert like_a_split(row(price / ratio * np.exp(move)), np.array([price]))[0]
    for between in (1.0, 1.2, 1.75, 2.5, 3.5, 0.6, 0.4):
        assert not like_a_split(row(price / between), np.array([price]))[0]


def test_usual_turnover_follows_a_name_slowly() -> None:
    usual = UsualTurnover.empty(1)
    rows = np.array([0])

    def bars(volume: float) -> np.ndarray:
        return np.array([[10.0, 10.0, 10.0, 10.0, volume, NAN]])

    assert not usual.quiet(rows, bars(1e6))[0]
    for volume in (1e6, 2e6, 5e5, 1e6, 0.0, 1e6):
        usual.learn(rows, bars(volume))
    assert usual.days[0] == 5
    assert usual.quiet(rows, bars(2.9e6))[0]
    assert not usual.quiet(rows, bars(3.1e6))[0]
    assert not usual.quiet(rows, bars(0.0))[0]


# -- corporate actions -----------------------------------------------------------------------------------------------------------
def test_an_action_goes_to_its_topic_once_whoever_tells_of_it() -> None:
    machine = engine(("AAA",))
    warm(machine)
    outputs = machine.take(split(4.0))
    [record] = records(outputs, "data.actions")
    assert (record["action_id"], record["kind"], record["ratio"]) == (f"AAA/split/{DAY}", "split", 4.0)
    assert record["event_time"] == from_datetime(datetime(2018, 1, 19, tzinfo=UTC))
    encode_body(catalogue.load()["data.actions"].record, record)
    assert machine.take(replace(split(4.0), source="other")) == []
    restarted = engine(("AAA",))
    restarted.remember("data.actions", [record])
    assert restarted.take(split(4.0)) == []
    assert restarted.ledger.deduplicated["ibkr"] == 1
    assert bad(restarted.take(split(5.0))) == [("AAA", "ACTION_CONFLICT")]
    # Told in another rounding it is the same, and opens the gate that the other one closed.
    assert gate_changes(restarted.take(split(4.0001))) == [("action_sanity", "AAA", True, "")]
    assert restarted.take(replace(split(2.0), symbol="ZZZ")) == []
    assert restarted.ledger.dropped["ibkr", "NOT_IN_UNIVERSE"] == 1
    # One that did not reach its topic may be told again.
    restarted.published.forget("data.actions", record)
    assert records(restarted.take(split(4.0)), "data.actions") == [record]
    assert_conserved(restarted)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(700_000, 700_020), st.sampled_from([0.5, 2.0, 3.0]), st.booleans())
    ),
    st.lists(st.integers(699_995, 700_025), min_size=4, max_size=4),
    st.integers(699_995, 700_025),
)
def test_closes_are_carried_over_the_actions_between(
    actions: list[tuple[int, int, float, bool]], sessions_of: list[int], session: int
) -> None:
    names = ("AAA", "BBB", "CCC", "DDD")
    row = {name: place for place, name in enumerate(names)}
    memory, expected = ActionMemory(), {}
    for number, (place, day, size, is_split) in enumerate(actions):
        kind, time = ("split" if is_split else "dividend"), (day - date(1970, 1, 1).toordinal()) * DAY_NS
        ratio, amount = (size, 0.0) if is_split else (0.0, size)
        about = {"event_time": time, "available_time": 5, "source": "ibkr", "action_id": f"{place}/{day}/{kind}"}
        memory.learn(about | {"symbol": names[place], "kind": kind, "ratio": ratio, "amount": amount})
        expected[place, day, kind] = (ratio, amount)
        if number == 1:
            memory.adjusted(np.ones(4), np.array(sessions_of), session, row)  # what comes later counts as well
    closes = np.full(4, 100.0)
    for (place, day, _), (ratio, amount) in sorted(expected.items()):
        if sessions_of[place] < day <= session:
            closes[place] = closes[place] / ratio if ratio else closes[place] - amount * (amount < closes[place])
    assert memory.adjusted(np.full(4, 100.0), np.array(sessions_of), session, row).tolist() == closes.tolist()
    days = np.array([sessions_of, [0, 0, 0, 0]])
    shares = memory.shares(days, session, row)
    wanted = [
        math.prod(r for (p, day, _), (r, _) in expected.items() if r and p == place and since < day <= session)
        for place, since in enumerate(sessions_of)
    ]
    assert (np.ones(4) if shares is None else shares[0]).tolist() == wanted


def payment(amount: float, day: str = DAY, kind: str = "dividend") -> CorporateAction:
    return CorporateAction("ibkr", "AAA", kind, day, day_open(BEFORE), amount=amount, currency="USD")


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (split(0.0), "ACTION_RATIO"),
        (split(-4.0), "ACTION_RATIO"),
        (split(NAN), "ACTION_RATIO"),
        (split(float("inf")), "ACTION_RATIO"),
        (split(1.0), "ACTION_RATIO"),
        (split(4000.0), "ACTION_RATIO"),
        (split(1 / 4000.0), "ACTION_RATIO"),
        (split(200.0), ""),
        (payment(0.5), ""),
        (payment(0.0), "ACTION_AMOUNT"),
        (payment(-0.5), "ACTION_AMOUNT"),
        (payment(NAN), "ACTION_AMOUNT"),
        (payment(101.0), "ACTION_AMOUNT"),  # cents for dollars
        (payment(101.0, day="2016-01-19"), ""),  # of a price that nobody knows any more
        (payment(20.0, kind="spinoff"), ""),
        (payment(0.0, kind="delisting"), ""),
        (payment(1.0, kind="party"), "SCHEMA_UNKNOWN_ACTION"),
        (payment(1.0, day="yesterday"), "SCHEMA_BAD_SESSION"),
        (payment(1.0, day="20180119"), "SCHEMA_BAD_SESSION"),
        (payment(1.0, day="2018-W03-5"), "SCHEMA_BAD_SESSION"),
        (payment(1.0, day="0001-01-01"), "SCHEMA_BAD_TIME"),
        (replace(payment(1.0), available_time=5), "SCHEMA_BAD_TIME"),
    ],
)
def test_actions_that_cannot_be_are_kept_off(action: CorporateAction, code: str) -> None:
    machine = engine(("AAA",))
    warm(machine)
    outputs = machine.take(action)
    assert bad(outputs) == ([("AAA", code)] if code else [])
    assert len(records(outputs, "data.actions")) == (not code)
    assert_conserved(machine)


def test_a_payment_is_judged_by_closes_from_before_it_and_a_repetition_not_at_all() -> None:
    days = sessions("2018-01-08", 8)
    off = payment(38.5, days[5], "spinoff")
    machine = engine(("AAA",))
    outputs = run(machine, [*(daily(day, {"AAA": 66.0}) for day in days[:5]), off])
    outputs += run(machine, [*(daily(day, {"AAA": 27.5}) for day in days[5:]), off])
    assert (bad(outputs), gate_changes(outputs), len(records(outputs, "data.actions"))) == ([], [], 1)
    machine = engine(("AAA",))  # told after the history
    outputs = run(machine, [daily(day, {"AAA": 27.5}) for day in days] + [off])
    assert bad(outputs) == []
    assert bad(run(machine, [daily(days[0], {"AAA": 27.5}), payment(101.0, sessions(days[7], 2)[1])])) == [
        ("AAA", "ACTION_AMOUNT")
    ]


def test_a_regular_and_a_special_dividend_may_fall_on_one_day() -> None:
    machine = engine(("AAA",))
    warm(machine)
    both = [payment(0.5), payment(2.0)]
    outputs = run(machine, both)
    identities = [record["action_id"] for record in records(outputs, "data.actions")]
    assert identities == [f"AAA/dividend/{DAY}", f"AAA/dividend/{DAY}/2"]
    restarted = engine(("AAA",))
    restarted.remember("data.actions", records(outputs, "data.actions"))
    for one in (machine, restarted):
        assert run(one, [*reversed(both), replace(both[1], source="other", amount=2.0001)]) == []
        assert one.ledger.deduplicated.total() == 3
        row = {"AAA": 0}
        ex = date.fromisoformat(DAY).toordinal()
        assert one._slices.actions.adjusted(np.array([100.0]), np.array([ex - 1]), ex, row).tolist() == [97.5]
        # Later, or by another, another amount is a contradiction.
        assert bad(run(one, [replace(both[0], amount=0.7, available_time=both[0].available_time + 1)])) == [
            ("AAA", "ACTION_CONFLICT")
        ]
        assert bad(run(one, [replace(both[0], amount=0.8, source="other")])) == [("AAA", "ACTION_CONFLICT")]
        assert_conserved(one)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            CorporateAction,
            st.sampled_from(["ibkr", "other"]),
            st.sampled_from(["AAA", "ZZZ", ""]),
            st.sampled_from(["split", "dividend", "spinoff", "delisting", ""]),
            st.sampled_from([DAY, "2018-01-22", "9999-12-31", "", "2018-02-30"]),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(),
            st.floats(),
        ),
        max_size=12,
    )
)
def test_whatever_is_told_of_actions_bars_are_judged_and_all_is_counted(actions: list[CorporateAction]) -> None:
    machine = engine(("AAA",))
    machine.take(daily(BEFORE, {"AAA": 100.0}))
    outputs = run(machine, actions)
    for record in records(outputs, "data.actions"):
        encode_body(catalogue.load()["data.actions"].record, record)
        assert record["kind"] != "split" or 1 / 200 <= record["ratio"] <= 200
        assert record["kind"] not in ("dividend", "spinoff") or 0 < record["amount"] < 1e308
    run(machine, [bar("AAA", 0), daily(DAY, {"AAA": 100.0}, history=False)])
    machine.flush()
    assert_conserved(machine)


# -- real files
def test_raw_daily_bars_of_a_crash_pass_and_a_split_is_told_apart(shared_data: Path) -> None:
    """AIG fell with the turnover of news; AAPL's raw bars show its splits, which only a record explains, and a true fall by half."""
    folder = shared_data / "daily" / "lean" / "Data" / "equity" / "usa" / "daily"

    def judged(name: str, first: str, last: str, *actions: CorporateAction) -> dict[str, str]:
        machine = DataEngine("main", (name,), DataTargets(), "h")
        run(machine, actions)
        found = {}
        for row in lean_rows(folder / f"{name.lower()}.zip"):
            if first <= row[0][:8] <= last:
                day = f"{row[0][:4]}-{row[0][4:6]}-{row[0][6:8]}"
                end = session_close("XNYS", date.fromisoformat(day))
                values = np.array([[*(float(price) / 1e4 for price in row[1:5]), float(row[5]), NAN]])
                for _, code in bad(machine.take(Bars("file", "1d", day, end, end, (name,), values, np.array([-1])))):
                    found[day] = code
        return found

    def told(day: str, ratio: float) -> CorporateAction:
        return CorporateAction("file", "AAPL", "split", day, day_open(), ratio=ratio)

    assert "SPLIT_SUSPECTED" not in judged("AIG", "20080801", "20081231").values()
    assert judged("AAPL", "20140501", "20140731")["2014-06-09"] == "SPLIT_SUSPECTED"
    assert judged("AAPL", "20140501", "20140731", told("2014-06-09", 7.0)) == {}
    assert next(iter(judged("AAPL", "20000501", "20001231"))) == "2000-06-21"
    assert judged("AAPL", "20000501", "20001231", told("2000-06-21", 2.0)) == {}  # and minus 52 % on 2000-09-29
