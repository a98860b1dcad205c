"""Order flow: the arithmetic beside one that goes event by event, what breaks a chain and whose trade it was."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_plane.observations import QuoteTick, TradeTick
from data_plane.slices.frame import Frame
from data_plane.slices.micro import SIZE_MAX, MicroSlices
from data_plane.slices.order_flow import increments
from tests.data_plane.support import NAN, STEP, day_close, day_open
from triplane.domain.targets.data import DataTargets
from triplane.domain.timestamps import SECOND

NAMES = ("AAA", "BBB", "CCC")
OPEN, CLOSE = day_open(), day_close()
HOURS = (OPEN, CLOSE)
NO_CLOSES = np.full(len(NAMES), NAN)


def best(
    second: float = 1, bid: float = 10.0, ask: float = 10.02, sizes: tuple[float, float] = (5.0, 7.0), name: str = "AAA",
    status: str = "live", halted: bool = False,
) -> QuoteTick:  # fmt: skip
    return QuoteTick("ibkr", name, OPEN + round(second * SECOND), bid, ask, *sizes, 10.01, 1e6, status, halted)


def deal(price: float, size: float = 1.0, second: float = 1, name: str = "AAA") -> TradeTick:
    return TradeTick("ibkr", name, OPEN + round(second * SECOND), price, size)


def micro(**data: float) -> MicroSlices:
    return MicroSlices(Frame("main", NAMES, DataTargets(**data), "h", "XNYS"), "ibkr")


def take(flow: MicroSlices, *ticks: QuoteTick | TradeTick) -> MicroSlices:
    for tick in ticks:
        row = NAMES.index(tick.symbol)
        if isinstance(tick, QuoteTick):
            flow.quote(row, tick)
        else:
            flow.trade(row, tick)
    return flow


def rows(flow: MicroSlices, second: float, hours: tuple[int, int] = HOURS) -> dict[str, dict[str, float]]:
    """The slice at a second of the session, by name; empty where there is none."""
    now = hours[0] + round(second * SECOND)
    outputs = flow.slice(now, now, hours, NO_CLOSES, due=True)
    if not outputs:
        return {}
    record = outputs[-1].record
    columns = ("ofi", "depth", "signed_volume", "mid", "spread", "increments")
    return {name: {column: record[column][place] for column in columns} for place, name in enumerate(record["symbols"])}


# -- the paper's cases ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("before", "after", "flow"),
    [
        # Cont, Kukanov, Stoikov 2014, section 2.1: with standing prices the increment is the change of the queues ...
        ((10.00, 10.02, 5, 7), (10.00, 10.02, 9, 7), 4),
        ((10.00, 10.02, 5, 7), (10.00, 10.02, 2, 7), -3),
        ((10.00, 10.02, 5, 7), (10.00, 10.02, 5, 3), 4),
        ((10.00, 10.02, 5, 7), (10.00, 10.02, 9, 8), 3),
        # ... a new best bid counts whole, and one that is gone as well ...
        ((10.00, 10.02, 5, 7), (10.01, 10.02, 4, 7), 4),
        ((10.00, 10.02, 5, 7), (9.99, 10.02, 6, 7), -5),
        # ... and the other way round on the ask.
        ((10.00, 10.02, 5, 7), (10.00, 10.01, 5, 2), -2),
        ((10.00, 10.02, 5, 7), (10.00, 10.03, 5, 9), 7),
        # Both sides step up: q'_b + q_a.
        ((10.00, 10.02, 5, 7), (10.01, 10.03, 3, 8), 10),
        ((10.00, 10.02, 5, 7), (10.00, 10.02, 5, 7), 0),
    ],
)
def test_an_increment_is_what_the_paper_says(before: tuple[float, ...], after: tuple[float, ...], flow: float) -> None:
    assert increments(np.array([before]), np.array([after])).tolist() == [flow]


def test_a_slice_sums_its_increments_and_says_what_stands() -> None:
    flow = take(
        micro(),
        best(1),
        best(2, 10.00, 10.02, (9.0, 7.0)),  # +4, depth 8
        best(2, 20.00, 20.50, (1.0, 1.0), name="CCC"),
        best(3, 10.01, 10.03, (3.0, 8.0)),  # +3 +7, depth 5.5
    )
    assert rows(flow, 5) == {
        "AAA": {"ofi": 14.0, "depth": 6.75, "signed_volume": 0.0, "mid": 10.02, "spread": pytest.approx(0.02), "increments": 2},
        # A name's first quote says what stands and nothing of the flow.
        "CCC": {"ofi": 0.0, "depth": 1.0, "signed_volume": 0.0, "mid": 20.25, "spread": 0.5, "increments": 0},
    }  # fmt: skip
    assert rows(flow, 6) == {}
    # The first quote of the next slice is compared with the last of this one.
    assert rows(take(flow, best(7, 10.01, 10.03, (3.0, 6.0))), 8)["AAA"]["ofi"] == 2.0
    # A trade alone shows its name: with the quote that stands.
    found = rows(take(flow, deal(10.03, 4.0, 9), deal(7.0, 2.0, 9, "BBB")), 10)
    assert found["AAA"] == {"ofi": 0.0, "depth": 4.5, "signed_volume": 4.0, "mid": 10.02, "spread": pytest.approx(0.02), "increments": 0}  # fmt: skip
    assert found["BBB"]["signed_volume"] == found["BBB"]["ofi"] == 0.0
    assert all(math.isnan(found["BBB"][column]) for column in ("depth", "mid", "spread"))


# -- what breaks a chain -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "odd",
    [
        best(2, NAN, 10.02),
        best(2, 10.0, NAN),
        best(2, 10.03, 10.02),
        best(2, 9.0, 10.02),  # wider than SPREAD_MAX
        best(2, 0.0, 10.02),
        best(2, math.inf, math.inf),
        best(2, sizes=(-1.0, 7.0)),
        best(2, sizes=(5.0, NAN)),
        best(2, sizes=(5.0, 2 * SIZE_MAX)),
        best(2, status="delayed"),
        best(2, status="frozen"),
        best(2, status="none"),
        best(2, halted=True),
        best(-1),
        best(7 * 3600),
    ],
    ids=lambda tick: (
        f"{tick.bid} {tick.ask} {tick.bid_size} {tick.ask_size} {tick.status} {tick.halted} {tick.time - OPEN}"
    ),
)
@pytest.mark.parametrize("sliced", [False, True])
def test_a_quote_that_does_not_count_breaks_the_chain(odd: QuoteTick, sliced: bool) -> None:
    flow = take(micro(), best(1), odd)
    if sliced:  # within one slice or over two
        found = rows(flow, 3)["AAA"]
        assert found["increments"] == 0
        assert math.isnan(found["mid"])  # no quote stands
    take(flow, best(4, sizes=(50.0, 70.0)), best(5, sizes=(51.0, 70.0)))
    found = rows(flow, 6)["AAA"]
    assert (found["ofi"], found["increments"]) == (1.0, 1)
    # Alone it is no news of its name.
    assert rows(take(micro(), odd), 6) == {}


def test_a_restart_of_listening_breaks_the_chain_where_it_happens() -> None:
    flow = take(micro(), best(1), best(2, sizes=(6.0, 7.0)), best(2, name="BBB"), deal(10.0, name="CCC"))
    flow.resume()
    take(flow, best(3, sizes=(60.0, 7.0)), best(4, sizes=(61.0, 7.0)), deal(11.0, 5.0, 4, "CCC"))
    found = rows(flow, 5)
    assert (found["AAA"]["ofi"], found["AAA"]["increments"]) == (2.0, 2)  # +1 before, +1 after, nothing across
    assert found["CCC"]["signed_volume"] == 0.0  # nor does the tick test look back
    assert math.isnan(found["BBB"]["mid"])  # it may have changed unheard
    # A trade afterwards is held against the quotes that came after the restart.
    take(flow, best(6), best(6), best(6))
    flow.resume()
    take(flow, best(6), deal(10.02, 3.0), best(6, 10.10, 10.12), best(6, name="BBB"))
    assert rows(flow, 6)["AAA"]["signed_volume"] == 3.0
    flow.resume()  # with nothing taken meanwhile
    found = rows(take(flow, best(7), best(7, name="BBB")), 7)
    assert [found[name]["increments"] for name in ("AAA", "BBB")] == [0, 0]


def test_a_session_begins_with_nothing_and_its_rest_is_published() -> None:
    tomorrow = (day_open("2018-01-22"), day_close("2018-01-22"))
    flow = take(micro(MICRO_SLICE_S=60), best(1), deal(10.0, second=1), best(2, sizes=(6.0, 7.0)))
    assert flow.slice(OPEN + STEP, OPEN + STEP, HOURS, NO_CLOSES) != []
    take(flow, best(6, sizes=(8.0, 7.0)))
    assert flow.slice(OPEN + 2 * STEP, OPEN + 2 * STEP, HOURS, NO_CLOSES) == []  # not due yet
    after = round((CLOSE - OPEN) / SECOND) + 1
    [rest] = flow.close(CLOSE + SECOND)
    assert (rest.record["event_time"], rest.record["available_time"]) == (CLOSE, CLOSE + SECOND)
    assert rest.record["ofi"] == [2.0]
    assert take(flow, best(after - 2)).close(CLOSE + 2 * SECOND) == []  # too late: the close has its slice
    assert take(flow, best(after), deal(10.0, second=after)).close(CLOSE + 3 * SECOND) == []
    night = round((tomorrow[0] - OPEN) / SECOND)
    take(flow, best(night + 1, sizes=(90.0, 7.0)), deal(11.0, 3.0, night + 1))
    found = rows(flow, 5, tomorrow)["AAA"]
    assert (found["increments"], found["signed_volume"]) == (
        0,
        3.0,
    )  # by the quote; the tick test knows no price before it
    # Where nobody said that the session was over, its rest comes out with the next one's first slice, under its own time.
    flow = take(micro(MICRO_SLICE_S=60), best(1), best(2, sizes=(6.0, 7.0)))
    flow.last = OPEN
    assert flow.slice(OPEN + STEP, OPEN + STEP, HOURS, NO_CLOSES) == []
    now = tomorrow[0] + STEP
    first, second = take(flow, best(night + 1)).slice(now, now, tomorrow, NO_CLOSES)
    assert (first.record["event_time"], first.record["ofi"]) == (CLOSE, [1.0])
    assert (second.record["event_time"], second.record["increments"]) == (now, [0])


# -- whose trade it was --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("ticks", "signed"),
    [
        ([best(), deal(10.015, 3)], 3.0),
        ([best(), deal(10.005, 3)], -3.0),
        ([best(), deal(10.01, 3)], 0.0),  # at the mid, with no trade before it
        ([best(), deal(10.00), deal(10.01, 3)], 2.0),  # -1 at the bid, then an uptick at the mid
        ([best(), deal(10.02), deal(10.01, 3)], -2.0),
        ([best(), deal(10.00), deal(10.01, 3), deal(10.01, 5)], 7.0),  # a zero uptick
        ([best(1, 0.1, 0.3), deal(0.2, 5)], 0.0),  # too wide to count: no quote
        ([best(1, 100.1, 100.3), deal(100.2, 5)], 0.0),  # at the mid but for rounding
        ([deal(10.0, 3)], 0.0),  # no quote: the tick test
        ([deal(10.0, 3), deal(10.01, 4), deal(10.01, 1), deal(10.0, 2)], 3.0),
        ([best(), best(2, 10.10, 10.12), deal(10.05, 3)], -3.0),  # by the quote that stands when it comes,
        ([best(), deal(10.05, 3), best(2, 10.10, 10.12)], 3.0),  # not by one that comes after
        ([best(), best(2, 10.03, 10.02), deal(10.05, 3)], 0.0),  # a crossed quote is none
        ([best(), deal(10.0), best(2, status="delayed"), deal(10.05, 3)], -1.0),
        ([best(), deal(10.0), best(2, halted=True), deal(10.05, 3)], -1.0),
        ([best(), best(2, status="delayed"), best(3), deal(10.05, 3)], 3.0),
        ([best(), deal(-1.0), deal(10.05, 0.0), deal(10.05, 2 * SIZE_MAX), deal(10.05, 3, 9e5), deal(10.05, 2)], 2.0),
    ],
)
@pytest.mark.parametrize("sliced", [False, True])
def test_the_side_of_a_trade(ticks: list[QuoteTick | TradeTick], signed: float, sliced: bool) -> None:
    flow, total = micro(), 0.0
    for second, tick in enumerate(ticks, 1):
        take(flow, tick)
        if sliced or second == len(ticks):
            total += rows(flow, second).get("AAA", {}).get("signed_volume", 0.0)
    assert total == signed


def test_a_trade_far_from_the_last_close_is_none() -> None:
    flow = take(micro(), best(), deal(10.05, 3), deal(1000.0, 9))
    [output] = flow.slice(OPEN + STEP, OPEN + STEP, HOURS, np.full(3, 10.0))
    assert output.record["signed_volume"] == [3.0]


# -- beside one event after the other ------------------------------------------------------------------------------------------
@dataclass
class Naive:
    """One name, one event at a time."""

    quote: tuple[float, float, float, float] | None = None
    live: bool = True
    price: float = NAN
    direction: float = 0.0
    seen: bool = False
    ofi: float = 0.0
    depths: list[float] = field(default_factory=list)
    signed: float = 0.0

    def forget(self) -> None:
        self.quote, self.price, self.direction = None, NAN, 0.0

    def cut(self) -> dict[str, float]:
        quote = self.quote
        standing = NAN if quote is None else (quote[2] + quote[3]) / 2
        found = {
            "ofi": self.ofi,
            "depth": sum(self.depths) / len(self.depths) if self.depths else standing,
            "signed_volume": self.signed,
            "mid": NAN if quote is None else quote[0] / 2 + quote[1] / 2,
            "spread": NAN if quote is None else quote[1] - quote[0],
            "increments": len(self.depths),
        }
        self.seen, self.ofi, self.depths, self.signed = False, 0.0, [], 0.0
        return found

    def take_quote(self, tick: QuoteTick) -> None:
        bid, ask, bid_size, ask_size = tick[3:7]
        self.live = tick.status == "live" and not tick.halted
        sizes = all(0 <= size <= SIZE_MAX for size in (bid_size, ask_size))
        good = 0 < bid <= ask < math.inf and sizes and (ask - bid) / ((ask + bid) / 2) <= 0.05
        if not (good and self.live and OPEN <= tick.time <= CLOSE):
            self.quote = None
            return
        self.seen = True
        if self.quote is not None:
            b, a, qb, qa = self.quote
            if bid >= b:
                self.ofi += bid_size
            if bid <= b:
                self.ofi -= qb
            if ask <= a:
                self.ofi -= ask_size
            if ask >= a:
                self.ofi += qa
            self.depths.append((bid_size + ask_size) / 2)
        self.quote = (bid, ask, bid_size, ask_size)

    def take_trade(self, tick: TradeTick) -> None:
        if not (tick.price > 0 and 0 < tick.size <= SIZE_MAX and self.live and OPEN <= tick.time <= CLOSE):
            return
        self.seen = True
        if tick.price > self.price:
            self.direction = 1.0
        elif tick.price < self.price:
            self.direction = -1.0
        self.price = tick.price
        side = self.direction
        if self.quote is not None:
            mid = self.quote[0] / 2 + self.quote[1] / 2
            if abs(tick.price - mid) > 1e-9 * mid:
                side = 1.0 if tick.price > mid else -1.0
        self.signed += side * tick.size


cents = st.integers(995, 1005).map(lambda n: n / 100)
sizes = st.one_of(st.integers(0, 9).map(float), st.floats(0, 1e4), st.sampled_from([-1.0, NAN]))
times = st.one_of(*[st.integers(0, 600).map(lambda n: OPEN + n * SECOND)] * 5, st.sampled_from([OPEN - 1, CLOSE + 1]))
a_quote = st.builds(
    lambda name, at, bid, ask, sizes, status, halted: QuoteTick(
        "ibkr", name, at, bid, ask, sizes[0], sizes[1], 10.0, 1.0, status, halted
    ),
    st.sampled_from(NAMES), times, st.one_of(cents, cents, cents, st.just(NAN)), cents, st.tuples(sizes, sizes),
    st.sampled_from(["live"] * 7 + ["delayed"]), st.sampled_from([False] * 7 + [True]),
)  # fmt: skip
a_trade = st.builds(
    lambda *values: TradeTick("ibkr", *values), st.sampled_from(NAMES), times, st.one_of(cents, st.just(-1.0)), sizes.filter(math.isfinite)
)  # fmt: skip
SESSION = {"deal": 0.4, "odd": 0.1, "slice": 0.02, "resume": 0.01}


def a_session(seed: int, count: int = 2000) -> list[QuoteTick | TradeTick | str]:
    """Events of three names whose best quotes wander by a cent, with some that do not count."""
    rng = np.random.default_rng(seed)
    stream: list[QuoteTick | TradeTick | str] = []
    for number in range(count):
        name, bid, spread = NAMES[rng.integers(3)], 1000 + int(rng.integers(-3, 4)), int(rng.integers(0, 3))
        chance = dict(zip(SESSION, (rng.random(len(SESSION)) < list(SESSION.values())).tolist(), strict=True))
        at = OPEN + number * SECOND
        if chance["resume"] or chance["slice"]:
            stream.append("resume" if chance["resume"] else "slice")
        elif chance["deal"]:
            stream.append(
                TradeTick("ibkr", name, at, (bid + int(rng.integers(-1, 3))) / 100, float(rng.integers(0, 9)))
            )
        else:
            side = NAN if chance["odd"] and rng.random() < 0.3 else bid / 100
            status = "delayed" if chance["odd"] and rng.random() < 0.3 else "live"
            bid_size, ask_size = rng.integers(-1 if chance["odd"] else 1, 20, 2).astype(float).tolist()
            ask = (bid + spread) / 100
            stream.append(QuoteTick("ibkr", name, at, side, ask, bid_size, ask_size, 10.0, 1.0, status, False))
    return stream


events = st.one_of(a_quote, a_quote, a_quote, a_trade, a_trade, st.sampled_from(["slice", "resume"]))


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=60))
@example(a_session(1))
@example(a_session(2))
def test_it_is_what_one_event_after_the_other_gives(stream: list[QuoteTick | TradeTick | str]) -> None:
    flow, naive, second = micro(), [Naive() for _ in NAMES], 0
    for event in [*stream, "slice"]:
        if isinstance(event, QuoteTick):
            naive[NAMES.index(event.symbol)].take_quote(event)
        elif isinstance(event, TradeTick):
            naive[NAMES.index(event.symbol)].take_trade(event)
        elif event == "resume":
            flow.resume()
            for one in naive:
                one.forget()
        else:
            second += 1
            found = rows(flow, second)
            expected = {name: one.cut() for name, one in zip(NAMES, naive, strict=True) if one.seen}
            assert list(found) == list(expected)
            for name, values in expected.items():
                assert found[name] == pytest.approx(values, rel=1e-12, abs=1e-9, nan_ok=True)
        if not isinstance(event, str):
            take(flow, event)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.one_of(a_quote, a_quote, a_trade), st.integers(0, 9)), max_size=60))
def test_ten_slices_add_up_to_one(stream: list[tuple[QuoteTick | TradeTick, int]]) -> None:
    stream = [(tick._replace(time=OPEN + second * SECOND), second) for tick, second in stream]
    stream.sort(key=lambda pair: pair[1])
    whole = rows(take(micro(), *(tick for tick, _ in stream)), 10)
    parts: dict[str, list[dict[str, float]]] = {}
    flow = micro()
    for second in range(10):
        take(flow, *(tick for tick, at in stream if at == second))
        for name, values in rows(flow, second + 1).items():
            parts.setdefault(name, []).append(values)
    assert set(parts) == set(whole)
    for name, slices in parts.items():
        for column in ("ofi", "signed_volume", "increments"):
            assert sum(each[column] for each in slices) == pytest.approx(whole[name][column], rel=1e-12, abs=1e-9)
        weight = whole[name]["increments"]
        depth = sum(each["depth"] * each["increments"] for each in slices if each["increments"])
        assert not weight or depth / weight == pytest.approx(whole[name]["depth"], rel=1e-12)


def test_sizes_in_lots_are_no_flow_as_they_are_no_quote() -> None:
    """What the quote gate takes out as SIZE_IN_LOTS is not in the flow either, nor are the trades of such a name."""
    flow = micro()
    for name, volume in (("AAA", 1e6), ("BBB", 1e4)):
        for second, size in ((1, 5.0), (2, 9.0)):
            take(flow, best(second, sizes=(size, 7.0), name=name)._replace(volume=volume), deal(10.02, 3, second, name))
    now = OPEN + 3 * SECOND
    (output,) = flow.slice(now, now, HOURS, NO_CLOSES, volume_by_now=np.array([1e6, 1e6, NAN]), due=True)
    assert output.record["symbols"] == ["AAA"]
    assert output.record["ofi"] == [4.0]
    assert output.record["signed_volume"] == [6.0]
