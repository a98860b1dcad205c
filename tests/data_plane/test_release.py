"""What a person lets out of quarantine or drops: what is published, who decided, and that a crash neither loses nor doubles it."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_plane.engine import DataEngine
from data_plane.observations import Malformed
from data_plane.outputs import DECISIONS, Output
from schemas import catalogue, codec
from tests.data_plane.release_support import (
    DAYS,
    GOOD,
    NOW,
    a_bar,
    a_fact,
    a_macro_value,
    body,
    command,
    decide,
    quarantined,
    restarted,
    vintage,
)
from tests.data_plane.support import (
    assert_conserved,
    bar,
    daily,
    day_close,
    day_open,
    engine,
    filing,
    gate_changes,
    quote,
    records,
    run,
)
from tests.data_plane.test_conservation import clean, observations
from triplane.domain.timestamps import DAY, SECOND


def with_cents(*days: str) -> tuple[DataEngine, list[Output]]:
    """An engine whose first name came in cents on its first day, and as it is on the others."""
    machine = engine()
    first = daily(DAYS[0], GOOD | {"AAA": 10_000.0})
    return machine, run(machine, [first, *(daily(day, GOOD) for day in days)])


def test_a_series_whose_first_bar_was_in_the_wrong_unit_comes_back() -> None:
    machine, log = with_cents(*DAYS[1:4])
    bad = quarantined(log)
    assert [each["code"] for each in bad] == ["UNIT_100X"] * 3
    # The oldest is no reference once a newer one is: only what nothing has passed after opens the gate.
    newest, oldest = bad[-1], bad[0]
    decision, outputs = decide(machine, newest)
    assert decision["action"] == "released"
    (released,) = records(outputs, "data.bars")
    assert (released["symbols"], released["close"], released["history"]) == (["AAA"], [100.0], True)
    assert (released["event_time"], released["session"]) == (day_close(DAYS[3]), DAYS[3])
    assert released["available_time"] == NOW == decision["available_time"]
    assert released["released"] == [newest["quarantine_id"]]
    assert decision["identity"] == "/".join(map(str, catalogue.load()["data.bars"].identify(released)))
    assert gate_changes(outputs) == [("price_sanity", "AAA", True, "")]
    for output in outputs:
        codec.encode_body(catalogue.load()[output.topic].record, output.record)

    _, more = decide(machine, oldest)
    assert gate_changes(more) == []
    following = daily(DAYS[4], GOOD | {"AAA": 101.0}, history=False)
    for each in restarted([*log, *outputs, *more]), machine:
        after = each.take(following)
        assert not quarantined(after)
        assert records(after, "data.bars")[0]["symbols"] == ["AAA", "BBB", "CCC"]


def test_an_old_bar_does_not_replace_a_newer_reference() -> None:
    """A spike that was real is let out hours later; what came since is what the next bar is compared with."""
    machine = engine()
    log = run(machine, [bar(name, 0, GOOD[name]) for name in GOOD])
    log += run(machine, [bar(name, 1, 130.0 if name == "AAA" else GOOD[name]) for name in GOOD])
    log += run(machine, [bar(name, 2, GOOD[name]) for name in GOOD])
    (spike,) = quarantined(log)
    decision, outputs = decide(machine, spike, now=day_open() + 3600 * SECOND)
    assert decision["action"] == "released"
    assert gate_changes(outputs) == []
    (slice_,) = records(outputs, "data.bars")
    assert (slice_["interval"], slice_["history"]) == ("5s", True)
    for each in restarted([*log, *outputs]), machine:
        assert not quarantined(run(each, [bar(name, 3, GOOD[name]) for name in GOOD]))


def test_bars_let_out_at_the_same_market_time_keep_an_identity_each() -> None:
    """At night market time stands still."""
    machine, outputs = with_cents(DAYS[1])
    machine.take(replace(daily(DAYS[1], GOOD), available_time=NOW))  # of names that joined
    outputs += run(machine, [bar(name, 0, 2.0 * GOOD[name]) for name in GOOD])
    seen = set()
    for bad in quarantined(outputs):
        (slice_,) = records(decide(machine, bad)[1], "data.bars")
        seen.add(catalogue.load()["data.bars"].identify(slice_))
    assert [each[3:] for each in sorted(seen, key=lambda each: each[2:])] == [
        (day_close(DAYS[1]), NOW + 1),
        *((day_open() + 5 * SECOND, NOW + place) for place in range(3)),
    ]


def test_a_repair_publishes_its_values_and_keeps_what_came() -> None:
    machine = engine()
    outputs = run(machine, [daily(DAYS[0], GOOD), daily(DAYS[1], GOOD | {"AAA": 10_100.0})])
    (bad,) = quarantined(outputs)
    decision, outputs = decide(machine, bad, last_good=100.0, repair=True)
    assert decision["action"] == "repaired"
    assert decision["repaired"]["close"] == pytest.approx(101.0)
    assert decision["raw"] == bad["raw"]
    assert "a hundred times off the last good close of 100" in decision["detail"]
    (slice_,) = records(outputs, "data.bars")
    assert slice_["close"] == [pytest.approx(101.0)]
    assert slice_["wap"] == [decision["repaired"]["wap"]] == [pytest.approx(101.0)]  # it came in cents as well
    assert slice_["repaired"] == ["AAA:UNIT_100X"]
    assert gate_changes(outputs) == [("price_sanity", "AAA", True, "")]


def test_what_contradicts_itself_is_let_out_repaired_only() -> None:
    machine = engine()
    outputs = run(machine, [daily(DAYS[0], GOOD), daily(DAYS[1], GOOD, high={"BBB": 49.5}, low={"BBB": 50.5})])
    (bad,) = quarantined(outputs)
    decision, _ = decide(machine, bad)
    assert (decision["action"], decision["identity"]) == ("refused", "")
    assert "no bar can be like this (HIGH_BELOW_LOW); release it with --repair" in decision["detail"]
    decision, outputs = decide(machine, bad, repair=True)
    assert decision["action"] == "repaired"
    assert records(outputs, "data.bars")[0]["high"] == [50.5]


def test_each_refusal_is_one_sentence() -> None:
    machine = engine()
    at = day_open() + SECOND
    outputs = run(machine, [daily(DAYS[0], GOOD), daily(DAYS[1], GOOD | {"AAA": 370.0, "BBB": -1.0})])
    outputs += run(machine, [quote("AAA", at, bid=101.0, ask=99.0), filing("1", 1.0, math.nan)])
    outputs += run(machine, [Malformed("edgar", "data.facts", "", "BODY_MALFORMED", "no JSON", b"<html>", at)])
    outputs += run(machine, [Malformed("edgar", "data.actions", "", "X", "", b"{}", at)])
    outputs += run(machine, [replace(daily(DAYS[2], GOOD), symbols=("AAA", "AAA", "CCC"))]) + machine.advance(
        "ibkr", at + 10 * SECOND
    )
    bad = {(each["code"], each["topic"]): each for each in quarantined(outputs)}
    spike = bad["PRICE_SPIKE", "data.bars"]
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        (spike, {"repair": True}, "no repair suggests itself"),
        (bad["PRICE_NOT_POSITIVE", "data.bars"], {}, "no bar can be like this (PRICE_NOT_POSITIVE); drop it"),
        (bad["BID_ABOVE_ASK", "data.quotes"], {}, "is no price of now"),
        (bad["FACT_NOT_A_NUMBER", "data.facts"], {}, "us-gaap:NetIncomeLoss is nan, which is no value"),
        (bad["FACT_NOT_A_NUMBER", "data.facts"], {"repair": True}, "no repair suggests itself"),
        (bad["BODY_MALFORMED", "data.facts"], {}, "could not be read as an observation (BODY_MALFORMED)"),
        (bad["X", "data.actions"], {}, "what was meant for data.actions cannot be let out"),
        (bad["SCHEMA_DUPLICATE_NAME", "data.bars"], {}, "could not be read as an observation"),
        (spike | {"offset": 7, "source": "strategy", "quarantine_id": "data.bars-0@7"}, {}, "the strategy plane could not take it"),
    ]  # fmt: skip
    for record, how, words in cases:
        decision, others = decide(machine, record, **how)
        assert (decision["action"], decision["topic"]) == ("refused", record["topic"]), words
        assert words in decision["detail"]
        assert len(others) == 1
    unknown = machine.releases.carry_out(command({"quarantine_id": "ibkr/none"}), None, NOW)
    assert "nothing in quarantine has the id 'ibkr/none'" in unknown[0].record["detail"]
    codec.encode_body("QuarantineDecision", unknown[0].record)

    machine.configure(["BBB", "CCC"], machine.targets, "hash-2")
    assert "AAA has left the universe" in decide(machine, spike)[0]["detail"]
    machine.configure(list(GOOD), machine.targets, "hash-3")
    assert decide(machine, spike)[0]["action"] == "released"  # a refusal decides nothing for good
    assert "ann has decided already: it is released" in decide(machine, spike, drop=True, actor="bob")[0]["detail"]
    quoted = bad["BID_ABOVE_ASK", "data.quotes"]
    assert decide(machine, quoted, drop=True)[0]["action"] == "dropped"
    assert "it is dropped, and stays so" in decide(machine, quoted)[0]["detail"]


def test_a_bar_whose_time_has_not_come_is_not_let_out() -> None:
    machine = engine()
    names = tuple(GOOD)
    log = run(machine, [bar(name, step) for step in (1, 2) for name in names])
    log += run(machine, [bar("AAA", 800)]) + machine.advance("ibkr", day_open() + 20 * SECOND)
    (ahead,) = quarantined(log)
    assert ahead["code"] == "TIME_AHEAD"
    decision, outputs = decide(machine, ahead, now=day_open() + 25 * SECOND)
    assert (decision["action"], decision["detail"]) == (
        "refused",
        "its interval has not ended: its time is wrong; drop it",
    )
    assert len(outputs) == 1


def test_what_was_let_out_tells_no_time_of_the_stream_at_a_restart() -> None:
    machine = engine()
    log = run(machine, [bar(name, step) for step in (1, 2) for name in GOOD])
    log += run(machine, [bar("AAA", 3)._replace(high=99.9, low=100.1), bar("BBB", 3), bar("CCC", 3)])
    decision, outputs = decide(machine, quarantined(log)[0], repair=True)
    assert decision["action"] == "repaired"
    again = engine()
    again.remember("data.bars", records(log, "data.bars")[:1] + records(outputs, "data.bars"))
    assert len(records(run(again, [bar(name, 2) for name in GOOD]), "data.bars")) == 1


payloads = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just("\ud800")),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3),
    max_leaves=6,
)
numbers_and_texts = st.one_of(payloads, st.integers(-10, 10**19), st.sampled_from([-1.0, 0.5, "1d", "AAA", "nan", "x"]))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([("data.facts", a_fact), ("data.macro", a_macro_value), ("data.bars", a_bar)]),
    st.one_of(payloads, st.dictionaries(st.integers(0, 20), numbers_and_texts, max_size=3)),
    st.sampled_from(["release", "repair", "drop"]),
)
@example(("data.facts", a_fact), [], "drop")
@example(("data.facts", a_fact), None, "release")
@example(("data.facts", a_fact), ["a"], "release")
@example(("data.facts", a_fact), {6: {}}, "drop")
@example(("data.facts", a_fact), {5: "\ud800"}, "release")
def test_whatever_is_in_quarantine_a_command_on_it_gets_its_decision(kind: Any, payload: Any, how: str) -> None:
    """Commands are read again at each start: one that ended the plane would end it for good."""
    machine = engine()
    topic, came = kind
    (bad,) = quarantined(run(machine, came()))
    raw = payload
    if isinstance(payload, dict):  # a record like one of ours, of which some is wrong
        fields = json.loads(bad["raw"])
        names = sorted(fields)
        raw = fields | {names[key % len(names)] if isinstance(key, int) else key: each for key, each in payload.items()}
    outputs = run(
        machine, [Malformed(bad["source"], topic, bad["symbol"], "ROW_MALFORMED", "", json.dumps(raw).encode(), NOW)]
    )
    for each in quarantined(outputs):
        decision, others = decide(machine, each, repair=how == "repair", drop=how == "drop", last_good=100.0)
        assert decision["action"] in (("dropped",) if how == "drop" else ("refused", "released", "repaired"))
        for output in others:
            codec.encode_body(catalogue.load()[output.topic].record, output.record)
        assert restarted(outputs, others).releases.carry_out(command(each, drop=True), each, NOW)


@pytest.mark.parametrize("kind", [a_fact, a_macro_value])
def test_what_is_not_known_yet_is_not_known_earlier_by_a_release(kind: Any) -> None:
    """EDGAR's filings and FRED's vintages are handed in ahead of the open from which they count."""
    machine = engine()
    (bad,) = quarantined(run(machine, kind()))
    now = bad["available_time"] - 3600 * SECOND
    decision, outputs = decide(machine, bad, now=now)
    known = [output.record["available_time"] for output in outputs if output.topic != "data.gates"]
    assert known == [bad["available_time"]] * 2
    assert min(output.record["available_time"] for output in outputs) == bad["available_time"]
    given_ = command(bad)
    again = restarted(run(engine(), kind()))
    again.remember(DECISIONS, [decision | {"command_id": given_["command_id"]}])  # what it let out was lost
    assert again.releases.carry_out(given_, bad, now)[0].record["available_time"] == bad["available_time"]


@pytest.mark.parametrize(("kind", "name"), [(a_fact, "cik"), (a_fact, "form"), (a_macro_value, "unit")])
def test_what_an_earlier_release_kept_too_little_of_is_refused(kind: Any, name: str) -> None:
    machine = engine()
    (bad,) = quarantined(run(machine, kind()))
    fields = json.loads(bad["raw"])
    decision, _ = decide(
        machine, bad | {"raw": json.dumps({key: fields[key] for key in fields if key != name}).encode()}
    )
    assert decision["action"] == "refused"
    assert f"an earlier release kept it without {name}, which its record needs; drop it" in decision["detail"]


def test_what_is_known_at_no_time_is_refused() -> None:
    machine = engine()
    (bad,) = quarantined(run(machine, a_fact()))
    decision, _ = decide(machine, bad | {"available_time": 2**63 - 1})
    assert "which is no time; drop it" in decision["detail"]


def test_a_fact_goes_out_beside_its_filing_and_is_the_new_level() -> None:
    machine = engine()
    run(machine, [filing("1", 1e6, available=NOW - 9)])
    late = filing("2", 5e9, available=NOW - 8)
    (bad,) = quarantined(machine.take(late))
    assert bad["code"] == "FACT_JUMP"
    decision, outputs = decide(machine, bad)
    (fact_set,) = records(outputs, "data.facts")
    assert fact_set["fact_id"] == decision["identity"] == f"AAA/2+{bad['quarantine_id'].partition('/')[2]}"
    assert (fact_set["available_time"], fact_set["cik"], fact_set["form"]) == (NOW, 7, "10-K")
    assert gate_changes(outputs) == [("fact_sanity", "AAA", True, "")]
    # A filing of which nothing else was good comes again at each look: what is decided is not judged anew.
    assert machine.take(late) == []
    assert_conserved(machine)
    assert not quarantined(machine.take(filing("3", 5.1e9, available=NOW - 7)))


def test_a_macro_value_goes_out_and_no_later_vintage_confirms_it_again() -> None:
    machine = engine()
    history = vintage("2018-01-18", *((day * DAY, 1.0 + day / 100) for day in range(20)))
    revised = vintage("2018-01-19", (10 * DAY, 9.0))
    outputs = run(machine, [history, revised])
    (bad,) = quarantined(outputs)
    assert bad["code"] == "MACRO_REVISION"
    decision, outputs = decide(machine, bad)
    (let_out,) = records(outputs, "data.macro")
    assert let_out["vintage_id"] == decision["identity"] == f"DTB3/2018-01-19+{bad['quarantine_id'].partition('/')[2]}"
    assert (let_out["unit"], let_out["values"], let_out["available_time"]) == ("Percent", [9.0], NOW)
    assert machine.take(revised) == []
    (after,) = records(machine.take(vintage("2018-01-22", (20 * DAY, 1.2))), "data.macro")
    assert after["observation_time"] == [20 * DAY]
    assert_conserved(machine)


def test_a_macro_value_that_the_provider_stood_by_meanwhile_is_not_let_out_twice() -> None:
    machine = engine()
    outputs = run(machine, [*a_macro_value(), vintage("2018-01-22", (20 * DAY, 1.2))])
    (bad,) = quarantined(outputs)
    assert records(outputs, "data.macro")[-1]["values"] == [9.0, 1.2]
    assert "a later vintage stood by it" in decide(machine, bad)[0]["detail"]


@pytest.mark.parametrize("before_restart", [True, False])
def test_a_macro_value_that_is_dropped_is_confirmed_by_nobodys_silence(before_restart: bool) -> None:
    machine = engine()
    history = vintage("2018-01-18", *((day * DAY, 1.0 + day / 100) for day in range(20)))
    revised, following = vintage("2018-01-19", (10 * DAY, 9.0)), vintage("2018-01-22", (20 * DAY, 1.2))
    outputs = run(machine, [history, revised])
    (bad,) = quarantined(outputs)
    decision, _ = decide(machine, bad, drop=True)
    if not before_restart:
        machine = restarted(outputs, [Output(DECISIONS, decision, "fred", 0)])
    assert machine.take(revised) == []
    assert records(machine.take(following), "data.macro")[0]["values"] == [1.2]


# -- crashes -------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("kind", [a_bar, a_fact, a_macro_value])
def test_whatever_part_a_crash_leaves_on_the_log_the_rest_follows_and_nothing_twice(kind: Any, repair: bool) -> None:
    machine = engine()
    log = run(machine, kind())
    (bad,) = quarantined(log)
    given_ = command(bad, repair=repair)
    whole = machine.releases.carry_out(given_, bad, NOW, 100.0)
    assert not machine.releases.owes(given_)
    told = [output for output in whole if output.topic != "data.gates"]
    later = NOW + 99 * SECOND
    assert len(whole) == len(told) + (not machine.gates.closed())
    for count in range(len(whole) + 1):
        for left in itertools.combinations(whole, count):
            again = restarted(log, left, reopen=9)  # so many that it does not open by itself
            # Its source looks again before the commands are read, and where there is something of it a vintage more.
            assert {output.topic for output in again.take(kind()[-1])} <= {"data.gates"}
            if any(output.record.get("action", "released") != "refused" for output in left if output in told):
                (next_,) = records(again.take(vintage("2018-01-22", (20 * DAY, 1.2))), "data.macro")
                assert next_["values"] == [1.2]
            before = again.ledger.released.total()
            rest = again.releases.carry_out(given_, bad, later, 100.0)
            published = [output for output in rest if output.topic not in (DECISIONS, "data.gates")]
            assert again.ledger.released.total() - before == len(published)
            assert_conserved(again)
            both = [output for output in [*left, *rest] if output.topic != "data.gates"]
            assert len(both) == len(told)
            assert again.gates.closed() == machine.gates.closed()
            if any(output.topic in (DECISIONS, "data.bars", "data.facts", "data.macro") for output in left):
                # Whichever is there has the time: the other ones are the same as without the crash.
                assert sorted(map(body, [*left, *rest])) == sorted(map(body, whole))
            assert not again.releases.owes(given_)
            assert again.releases.carry_out(given_, bad, later, 100.0) == []
            assert restarted(log, left, rest).releases.carry_out(given_, bad, later, 100.0) == []


decisions = st.tuples(st.integers(0, 9), st.sampled_from([False, False, True]), st.booleans())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(observations, decisions, decisions, decisions), min_size=4, max_size=16))
def test_whoever_decides_what_and_when_everything_is_counted_and_stays_clean(stream: list[Any]) -> None:
    machine = engine()
    beside = [daily(DAYS[2], {"AAA": 101.0, "BBB": 150.0, "CCC": 0.2}), daily(DAYS[3], {"AAA": 300.0, "BBB": 0.5})]
    outputs = run(machine, [*a_bar(), *a_fact(), *a_macro_value(), *beside])
    for item in stream:
        if type(item) is tuple:
            place, drop, repair = item
            record = (bad := quarantined(outputs))[place % len(bad)]
            outputs += machine.releases.carry_out(command(record, drop, repair), record, day_open(), 100.0)
        else:
            outputs += machine.take(item)
        assert_conserved(machine)
    assert all(clean(output) for output in outputs)
    standing = [each["quarantine_id"] for each in records(outputs, DECISIONS) if each["action"] != "refused"]
    assert len(standing) == len(set(standing))
    topics = catalogue.load()
    identities = [(output.topic, topics[output.topic].identify(output.record)) for output in outputs]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("asked", [0, NOW - 5])
def test_until_when_a_bar_was_adjusted_for_splits_stays_with_it(asked: int) -> None:
    """A provider that was asked for it after a split has divided it; who reads what is let out does not do so again."""
    machine = engine()
    machine.take(daily("2018-01-17", GOOD))
    log = machine.take(replace(daily("2018-01-18", GOOD | {"BBB": 150.0}), asked=asked))
    (first,) = quarantined(log)
    assert first["adjusted_until"] == asked
    codec.encode_body("QuarantinedRecord", first)
    again = replace(daily("2018-01-18", GOOD | {"BBB": 150.0}), asked=asked + 1)
    machine.published._daily.clear()
    assert quarantined(machine.take(again)) == []  # asked for once more, it is the same bar
    _, outputs = decide(machine, first)
    (let_out,) = records(outputs, "data.bars")
    assert (let_out["symbols"], let_out["adjusted_until"]) == (["BBB"], asked)
    codec.encode_body("BarSlice", let_out)
