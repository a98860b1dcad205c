"""Each gate by itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.gates import clock, completeness, prices, schema, values
from data_plane.gates.clock import ClockGate, ClockSample
from data_plane.gates.freshness import LastHeard
from data_plane.gates.prices import CODES, PriceMemory
from data_plane.gates.state import CLOCK, FRESHNESS, GateBook
from data_plane.gates.values import FactMemory, MacroMemory
from data_plane.observations import Bars, Fact, Filing, RealtimeBar, TradeTick, Vintage
from data_plane.slices.quotes import judge_trades
from schemas import catalogue
from tests.data_plane.support import NAN, day_open
from triplane.domain.timestamps import SECOND

GOOD = [100.0, 101.0, 99.0, 100.5, 1000.0, 100.2]
INF = math.inf


# -- price sanity --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, ""),
        ({5: NAN}, ""),  # an unknown volume-weighted price is allowed
        ({3: NAN}, "PRICE_NOT_A_NUMBER"),
        ({0: INF}, "PRICE_NOT_A_NUMBER"),
        ({4: NAN}, "PRICE_NOT_A_NUMBER"),
        ({2: 0.0}, "PRICE_NOT_POSITIVE"),
        ({2: -99.0}, "PRICE_NOT_POSITIVE"),
        ({1: 98.0}, "HIGH_BELOW_LOW"),
        ({0: 102.0}, "OUTSIDE_RANGE"),
        ({3: 98.0}, "OUTSIDE_RANGE"),
        ({3: 101.005}, ""),  # within the rounding of an adjustment
        ({4: -1.0}, "VOLUME_NEGATIVE"),
        ({0: 1e4, 1: 1.01e4, 2: 9.9e3, 3: 1.005e4}, "UNIT_100X"),
        ({0: 1.0, 1: 1.01, 2: 0.99, 3: 1.005}, "UNIT_100X"),
        ({1: 1.0e4}, "UNIT_100X"),  # one print in cents stretches the bar itself
        ({1: 120.0}, "PRICE_SPIKE"),
        ({2: 80.0}, "PRICE_SPIKE"),
    ],
)
def test_bars_are_judged(change: dict[int, float], code: str) -> None:
    row = np.array([GOOD])
    for column, value in change.items():
        row[0, column] = value
    assert CODES[prices.judge_bars(row, np.array([100.0]), np.array([0.15]))[0]] == code


def test_without_a_reference_only_the_bar_itself_is_judged() -> None:
    rows = np.array([GOOD, [1.0, 200.0, 1.0, 150.0, 1.0, NAN], [1.0, 100.0, 1.0, 50.0, 1.0, NAN]])
    codes = prices.judge_bars(rows, np.full(3, NAN), np.full(3, 0.15))
    assert [CODES[code] for code in codes] == ["", "", "UNIT_100X"]


@pytest.mark.parametrize(
    ("quote", "code"),
    [
        ((99.9, 100.1, 1.0, 1.0), ""),
        ((NAN, 100.1, 0.0, 1.0), ""),
        ((NAN, NAN, 0.0, 0.0), ""),
        ((INF, 100.1, 1.0, 1.0), "PRICE_NOT_A_NUMBER"),
        ((0.0, 100.1, 1.0, 1.0), "PRICE_NOT_POSITIVE"),
        ((99.9, -1.0, 1.0, 1.0), "PRICE_NOT_POSITIVE"),
        ((99.9, 100.1, -1.0, 1.0), "SIZE_NEGATIVE"),
        ((100.2, 100.1, 1.0, 1.0), "BID_ABOVE_ASK"),
        ((100.1, 100.1, 1.0, 1.0), ""),  # locked is not crossed
        ((90.0, 110.0, 1.0, 1.0), "SPREAD_WIDE"),
    ],
)
def test_quotes_are_judged(quote: tuple[float, float, float, float], code: str) -> None:
    bid, ask, bid_size, ask_size = (np.array([value]) for value in quote)
    assert CODES[prices.judge_quotes(bid, ask, bid_size, ask_size, 0.05)[0]] == code


@pytest.mark.parametrize(
    ("price", "size", "code"),
    [
        (100.0, 5.0, ""),
        (100.0, 0.0, "VOLUME_NEGATIVE"),
        (-1.0, 5.0, "PRICE_NOT_POSITIVE"),
        (10_000.0, 5.0, "UNIT_100X"),
        (200.0, 5.0, "PRICE_SPIKE"),
    ],
)
def test_trades_are_judged(price: float, size: float, code: str) -> None:
    trade = TradeTick("ibkr", "AAA", day_open(), price, size)
    assert CODES[judge_trades([trade], np.array([100.0]), 0.6)[0]] == code


def _level(price: float) -> np.ndarray:
    return np.array([[price, price, price, price, 1.0, NAN]])


def _judge(memory: PriceMemory, price: float, session: int = 1, confirm: int = 2) -> str:
    code = prices.judge_with_memory(
        memory,
        np.array([0]),
        _level(price),
        session,
        within=0.15,
        across=0.6,
        fallback=np.array([NAN]),
        confirm=confirm,
    )
    return CODES[code[0]]


def test_a_spike_that_reverts_is_taken_out_and_one_that_stays_becomes_the_level() -> None:
    memory = PriceMemory.empty(1)
    assert _judge(memory, 100) == ""
    assert _judge(memory, 130) == "PRICE_SPIKE"
    assert _judge(memory, 100) == ""
    # A crash that stays: held until two further bars agree, then accepted.
    assert [_judge(memory, price) for price in (70, 71, 70, 69)] == ["PRICE_SPIKE", "PRICE_SPIKE", "", ""]
    # Two spikes that do not agree with each other confirm nothing.
    assert [_judge(memory, price) for price in (120, 300, 120, 300)] == ["PRICE_SPIKE"] * 4


def test_a_level_in_another_unit_never_confirms_itself() -> None:
    memory = PriceMemory.empty(1)
    _judge(memory, 100)
    assert {_judge(memory, 10_000) for _ in range(20)} == {"UNIT_100X"}
    assert _judge(memory, 101) == ""


def test_a_gap_between_sessions_may_be_wider_than_a_move_within_one() -> None:
    memory = PriceMemory.empty(1)
    _judge(memory, 100, session=1)
    assert _judge(memory, 60, session=2) == ""
    assert _judge(memory, 40, session=2) == "PRICE_SPIKE"


def test_the_last_daily_close_is_the_reference_of_a_new_intraday_session() -> None:
    memory = PriceMemory.empty(1)
    codes = prices.judge_with_memory(
        memory, np.array([0]), _level(10_000), 1, within=0.15, across=0.6, fallback=np.array([100.0]), confirm=2
    )
    assert CODES[codes[0]] == "UNIT_100X"


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=6, max_size=6), st.floats(0.01, 1e6))
def test_whatever_comes_in_a_bar_that_passes_is_one(row: list[float], reference: float) -> None:
    values_ = np.array([row])
    if prices.judge_bars(values_, np.array([reference]), np.array([0.15]))[0] == prices.PASS:
        open_, high, low, close, volume, _ = row
        assert 0 < low <= high < INF
        assert volume >= 0
        assert low * 0.99 <= min(open_, close) <= max(open_, close) <= high * 1.01
        assert abs(close / reference - 1) <= 0.16


# -- schema --------------------------------------------------------------------------------------------------------------------
def _bars(**change: object) -> Bars:
    end = day_open() + 86_400 * SECOND
    fields = {
        "source": "ibkr", "interval": "1d", "session": "2018-01-19", "event_time": end, "available_time": end, "symbols": ("AAA",),
        "values": np.array([GOOD]), "trades": np.array([1]),
    }  # fmt: skip
    return Bars(**(fields | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, None),
        ({"interval": "7m"}, schema.UNKNOWN_INTERVAL),
        ({"values": np.zeros((2, 6))}, schema.SHAPE),
        ({"values": np.zeros((1, 5))}, schema.SHAPE),
        ({"trades": np.array([1, 2])}, schema.SHAPE),
        (
            {"symbols": ("AAA", "AAA"), "values": np.array([GOOD, GOOD]), "trades": np.array([1, 1])},
            schema.DUPLICATE_NAME,
        ),
        ({"available_time": 1}, schema.BAD_TIME),
        ({"event_time": 5, "available_time": 6}, schema.BAD_TIME),
        ({"session": "yesterday"}, schema.BAD_SESSION),
    ],
)
def test_slices_have_the_shape_of_the_contract(change: dict[str, object], code: str | None) -> None:
    fault = schema.bars_fault(_bars(**change))
    assert (fault.code if fault else None) == code


def test_single_observations_have_times_and_identities() -> None:
    bar = RealtimeBar("ibkr", "AAA", day_open(), *GOOD, trades=1)  # type: ignore[misc, arg-type]
    assert schema.realtime_fault(bar) is None
    assert schema.realtime_fault(bar._replace(start=day_open() + 1)) is not None
    assert schema.realtime_fault(bar._replace(start=1516372200)) is not None  # seconds where nanoseconds belong
    trade = TradeTick("ibkr", "AAA", day_open(), 100.0, 1.0)
    assert schema.trade_fault(trade) is None
    assert schema.trade_fault(trade._replace(price=NAN)) is not None
    assert schema.trade_fault(trade._replace(time=0)) is not None
    filing = Filing("edgar", "AAA", 1, "1-2-3", "10-K", "2018-01-19", "", day_open(), ())
    assert schema.filing_fault(filing) is None
    assert schema.filing_fault(Filing("edgar", "", 1, "1-2-3", "10-K", "2018-01-19", "", day_open(), ())) is not None
    assert schema.vintage_fault(Vintage("fred", "DTB3", "Percent", "2018-01-19", day_open(), False, ())) is None
    assert schema.vintage_fault(Vintage("fred", "DTB3", "Percent", "", day_open(), False, ())) is not None


# -- completeness, freshness, clock --------------------------------------------------------------------------------------------
def test_completeness_is_a_share_of_the_expected_names() -> None:
    assert completeness.fault(9, 10, 0.9) is None
    assert completeness.fault(8, 10, 0.9) is not None
    assert completeness.fault(0, 0, 0.9) is None


def test_age_counts_from_where_listening_restarted() -> None:
    heard = LastHeard.empty(2)
    assert not heard.stale(10**18, 30).any()  # nothing has been expected yet
    assert heard.source_age(10**18) == 0
    heard.resume(1000 * SECOND)
    heard.heard(np.array([0]), 1020 * SECOND)
    assert heard.stale(1031 * SECOND, 30).tolist() == [False, True]
    assert heard.source_age(1031 * SECOND) == 11
    heard.resume(5000 * SECOND)
    assert not heard.stale(5030 * SECOND, 30).any()
    assert heard.stale(5031 * SECOND, 30).all()
    renumbered = heard.renumbered(3, [2], [0])
    assert renumbered.names.tolist() == [1020 * SECOND, 1020 * SECOND, 1020 * SECOND]


def test_one_name_is_heard_as_many_are() -> None:
    one, many = LastHeard.empty(3), LastHeard.empty(3)
    for row, time in ((1, 50), (2, 70), (1, 40), (1, 60), (0, 60)):  # an older time changes nothing
        one.heard_one(row, time)
        many.heard(np.array([row]), time)
        assert (one.names.tolist(), one.latest) == (many.names.tolist(), many.latest)
    assert one.names.tolist() == [60, 60, 70]


def test_the_clock_gate_judges_offset_and_direction() -> None:
    gate = ClockGate({})
    assert gate.fault(ClockSample("ntp", 100 * SECOND, 4 * SECOND), 5) is None
    fault = gate.fault(ClockSample("ntp", 101 * SECOND, -6 * SECOND), 5)
    assert fault is not None
    assert fault.code == clock.SKEWED
    assert gate.fault(ClockSample("ntp", 97 * SECOND, 0), 5) is None  # within the allowed skew
    fault = gate.fault(ClockSample("ntp", 95 * SECOND, 0), 5)
    assert fault is not None
    assert fault.code == clock.BACKWARDS
    assert gate.fault(ClockSample("gateway", 1 * SECOND, 0), 5) is None  # another reference has its own past


# -- facts and macro -----------------------------------------------------------------------------------------------------------
def _fact(value: float, end: int = 10, start: int = 0) -> Fact:
    return Fact("dei:EntityCommonStockSharesOutstanding", "shares", start, end, value, 2018, "FY")


def test_a_fact_that_jumps_is_held_until_the_next_filing_repeats_it() -> None:
    memory = FactMemory()
    late = 10**18

    filings = itertools.count(late)

    def judge(value: float, end: int = 10, start: int = 0, concept: str = "us-gaap:StockholdersEquity") -> str:
        fault = memory.fault("AAA", _fact(value, end, start)._replace(concept=concept), next(filings), 20)
        return fault.code if fault else ""

    assert judge(1e9) == ""
    assert judge(1e6, end=11) == values.FACT_SCALE  # thousands
    assert judge(3e7, end=12) == values.FACT_JUMP
    assert judge(1.1e9, end=13) == ""
    assert judge(3e7, end=14) == values.FACT_JUMP
    assert judge(3.1e7, end=15) == ""  # a second filing says the same
    assert judge(-5e9, start=1) == ""  # flows go where they like
    assert judge(-5e6, start=1, end=11) == ""
    assert judge(400.0, start=1, end=12) == ""
    assert judge(0.0) == ""
    assert judge(NAN) == values.FACT_NOT_A_NUMBER
    assert judge(3.1e7, end=late + 2 * values.DAY_NS) == values.FACT_FROM_FUTURE
    # Magnitudes that no double holds the quotient of.
    assert FactMemory().fault("AAA", _fact(4.5e70), late, 20) is None
    extreme = FactMemory()
    extreme.fault("AAA", _fact(4.5e70), late, 20)
    assert extreme.fault("AAA", _fact(1.1e-253), late, 20) is not None
    # A restated older period does not become the level.
    assert judge(9e7, end=5) == ""
    assert memory.levels["AAA", "us-gaap:StockholdersEquity", "shares", 0].value == 3.1e7


def test_a_rate_that_jumps_is_held_until_the_next_value_repeats_it() -> None:
    memory = MacroMemory()

    def judge(value: float, date: int, unit: str = "Percent") -> str:
        fault = memory.fault("DTB3", unit, date, value, 5.0)
        return fault.code if fault else ""

    assert judge(1.4, 1) == ""
    assert judge(NAN, 2) == ""
    assert judge(140.0, 3) == values.MACRO_JUMP
    assert judge(1.5, 4) == ""
    assert judge(12.0, 5) == values.MACRO_JUMP
    assert judge(12.5, 6) == ""
    assert judge(1.0, 3) == ""  # a revision of an older date is not a jump from the newest
    assert judge(INF, 7) == values.MACRO_NOT_FINITE
    assert judge(20_000.0, 8, unit="Billions") == ""  # points mean nothing there


def test_a_refused_rate_of_an_earlier_run_confirms_nothing_once_a_later_one_was_accepted() -> None:
    memory = MacroMemory()
    memory.fault("DTB3", "Percent", 1, 1.4, 5.0)
    memory.fault("DTB3", "Percent", 4, 1.42, 5.0)
    memory.hold("DTB3", 3, 14.0)
    assert memory.fault("DTB3", "Percent", 5, 14.1, 5.0) is not None
    memory.hold("DTB3", 5, 14.1)
    assert memory.fault("DTB3", "Percent", 6, 14.2, 5.0) is None


# -- state ---------------------------------------------------------------------------------------------------------------------
def test_a_gate_closes_at_once_and_opens_after_several_good_verdicts() -> None:
    book = GateBook(reopen=2)
    assert book.good("clock", "ibkr", "", 1) == []  # open gates have nothing to say
    [closed] = book.bad("clock", "ibkr", "", "CLOCK_SKEWED", "9 s", 5)
    assert (closed["open"], closed["since"], closed["available_time"]) == (False, 5, 5)
    assert book.bad("clock", "ibkr", "", "CLOCK_SKEWED", "10 s", 6) == []
    [changed] = book.bad("clock", "ibkr", "", "CLOCK_BACKWARDS", "", 7)
    assert (changed["code"], changed["since"]) == ("CLOCK_BACKWARDS", 5)
    assert book.good("clock", "ibkr", "", 8) == []
    assert book.bad("clock", "ibkr", "", "CLOCK_BACKWARDS", "", 9) == []  # starts the count anew
    assert book.good("clock", "ibkr", "", 10) == []
    [opened] = book.good("clock", "ibkr", "", 11)
    assert (opened["open"], opened["code"], opened["since"]) == (True, "", 11)
    assert book.closed() == []


def test_each_record_of_a_gate_is_later_than_the_one_before() -> None:
    """Readers fold it by time and know a record by it; history that is loaded again is judged long after what the market told meanwhile."""
    book = GateBook(reopen=1)
    gate = ("price_sanity", "ibkr", "KO")
    told = [*book.bad(*gate, "PRICE_SPIKE", "", 100), *book.good(*gate, 40), *book.bad(*gate, "PRICE_SPIKE", "", 60)]
    after = GateBook(reopen=1)  # after a restart as well
    after.restore(told)
    told += [*after.good(*gate, 70), *after.bad(*gate, "PRICE_SPIKE", "", 130), *after.good(*gate, 130)]
    assert [(record["open"], record["available_time"]) for record in told] == [
        (False, 100), (True, 101), (False, 102), (True, 103), (False, 130), (True, 131),
    ]  # fmt: skip
    assert [record["since"] for record in told] == [record["available_time"] for record in told]
    identify = catalogue.load()["data.gates"].identify
    assert len({identify(record) for record in told}) == len(told)


def test_a_name_that_leaves_the_universe_leaves_no_gate_closed() -> None:
    """Nobody would ever judge it again."""
    book = GateBook(3)
    for scope in ("KO", "ZZZ", "main"):
        (closed,) = book.bad(FRESHNESS, "ibkr", scope, "STALE", "", 100)
    (opened,) = book.leave({"ZZZ", "PEP"})
    assert (opened["scope"], opened["open"], opened["gate"]) == ("ZZZ", True, FRESHNESS)
    assert opened["event_time"] > closed["event_time"]
    assert [key.scope for key, _, _ in book.closed()] == ["KO", "main"]
    again = GateBook(3)
    again.restore([closed | {"scope": "ZZZ"}, opened])
    assert again.closed() == []


def test_a_clock_that_another_mode_compared_holds_nothing_in_this_one() -> None:
    """Nobody would ever judge it again."""
    book = GateBook(3)
    for source in ("ibkr", "machine"):
        book.bad(CLOCK, source, "", "CLOCK_SKEWED", "", 100)
    book.bad(FRESHNESS, "machine", "", "STALE", "", 100)
    (opened,) = book.compare_only(["ibkr"])
    assert (opened["gate"], opened["source"], opened["open"], opened["event_time"]) == (CLOCK, "machine", True, 101)
    assert [(key.gate, key.source) for key, _, _ in book.closed()] == [(CLOCK, "ibkr"), (FRESHNESS, "machine")]
    assert book.compare_only(["ibkr"]) == []
    assert len(book.compare_only(["machine"])) == 1


def test_gates_left_closed_are_taken_over() -> None:
    book = GateBook(reopen=1)
    first = book.bad("freshness", "ibkr", "AAA", "DATA_STALE", "", 1)
    second = book.bad("freshness", "ibkr", "BBB", "DATA_STALE", "", 2)
    third = book.good("freshness", "ibkr", "AAA", 3)
    later = GateBook(reopen=1)
    later.restore([*first, *second, *third])
    assert later.is_open("freshness", "ibkr", "AAA")
    assert later.closed_scopes("freshness", "ibkr") == ["BBB"]
    [opened] = later.good("freshness", "ibkr", "BBB", 4)
    assert opened["open"]


@given(
    st.lists(st.tuples(st.sampled_from(["AAA", "BBB"]), st.booleans(), st.integers(1, 50)), min_size=1, max_size=20),
    st.data(),
)
def test_what_is_taken_up_twice_or_late_undoes_no_gate(
    verdicts: list[tuple[str, bool, int]], data: st.DataObject
) -> None:
    """A spool may hold what is on the log already, and what was told before it."""
    book, log = GateBook(reopen=1), list[dict[str, object]]()
    for scope, is_good, time in verdicts:
        say = (
            book.good(FRESHNESS, "ibkr", scope, time)
            if is_good
            else book.bad(FRESHNESS, "ibkr", scope, "STALE", "", time)
        )
        log += say
    spool = data.draw(st.lists(st.sampled_from(log), unique_by=id)) if log else []
    again = GateBook(reopen=1)
    again.restore([*log, *spool])
    assert again.closed() == book.closed()
    for scope in ("AAA", "BBB"):  # nor is anything told before what was
        told = [record["available_time"] for record in log if record["scope"] == scope]
        new = again.bad(FRESHNESS, "ibkr", scope, "OTHER", "", 1)
        assert new[0]["available_time"] > max(told, default=0)  # type: ignore[type-var]
