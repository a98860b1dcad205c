"""The parts of a backfill without Kafka: the past in order of time, what goes first, and requests of a span."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.daemon.absent_names import AbsentNames
from data_plane.daemon.backfill import Backfill
from data_plane.daemon.backfill_job import Job
from data_plane.daemon.deliveries import Deliveries
from data_plane.daemon.facts_on_log import FactsOnLog
from data_plane.daemon.outlet import Outlet
from data_plane.daemon.past import Past
from data_plane.daemon.spool import Spool
from data_plane.daemon.telemetry import conservation
from data_plane.engine import DataEngine
from data_plane.observations import Bars, CorporateAction, Fact, Filing, Vintage
from data_plane.published import PublishedIndex
from data_plane.slices.actions import action_record
from data_plane.sources import registered
from data_plane.sources.ibkr.span import SESSIONS_AT_ONCE, SpanHistory, daily_chunks
from data_plane.sources.span import Span
from tests.data_plane.outlets import Broker, output
from tests.data_plane.release_support import decide
from tests.data_plane.support import Bench, bar, config, daily, day_open, engine, records, run, sessions
from tests.waiting import until
from triplane.cli import data_backfill
from triplane.domain import calendars
from triplane.domain.calendars import MARKET_CALENDAR
from triplane.runtime.settings import Settings
from triplane.runtime.tasks import end_tasks

NEW = {"AAA": 1000.0, "BBB": 50.0, "CCC": 20.0}
OLD = {"AAA": 10.0, "BBB": 50.0, "CCC": 20.0}
"""Years before: AAA at a hundredth, which a bar in the wrong unit would be today."""


def published(observations: list[Bars]) -> list[tuple[str, dict[str, Any]]]:
    return [("data.bars", record) for record in records(run(engine(), observations), "data.bars")]


def backfilled(past: list[tuple[str, dict[str, Any]]], observations: list[Any]) -> tuple[DataEngine, list[Any]]:
    machine = engine()
    before, outputs = Past(machine), list[Any]()
    for topic, record in past:
        before.add(topic, record)
    for observation in observations:
        before.before(observation)
        outputs += machine.take(observation)
    return machine, outputs


def test_older_bars_are_judged_by_what_came_before_them() -> None:
    newer = published([daily("2018-01-18", NEW), daily("2018-01-19", NEW)])
    older = published([daily("2015-01-20", OLD)])
    bad = OLD | {"BBB": 5000.0}
    machine, outputs = backfilled(
        newer + older, [daily("2015-01-21", OLD), daily("2015-01-22", bad), daily("2018-01-19", NEW)]
    )
    assert [record["symbols"] for record in records(outputs, "data.bars")] == [["AAA", "BBB", "CCC"], ["AAA", "CCC"]]
    assert [record["code"] for record in records(outputs, "data.quarantine")] == ["UNIT_100X"]
    assert machine.ledger.deduplicated["ibkr"] == 3


def test_a_fact_that_was_taken_out_confirms_a_later_filing_of_a_backfill() -> None:
    def assets(accession: str, available: int, value: float) -> Filing:
        fact = Fact("us-gaap:Assets", "USD", 0, available, value, 2017, "FY")
        return Filing("edgar", "AAA", 7, accession, "10-K", "2018-01-19", "", available, (fact,))

    filings = [assets(str(place), 10**17 + place, value) for place, value in enumerate((2e4, 2.3e7, 2.4e7))]
    log = [(output.topic, output.record) for output in run(engine(), filings[:2])]
    _, outputs = backfilled(log, [filings[2]])
    assert [record["values"] for record in records(outputs, "data.facts")] == [[2.4e7]]
    _, outputs = backfilled(log, filings)  # what was taken out is looked at again, and does not confirm itself
    assert [record["values"] for record in records(outputs, "data.facts")] == [[2.4e7]]


def test_a_split_on_the_log_is_no_bar_in_a_wrong_unit() -> None:
    """Whenever it was told, and though the bars before it are loaded only now."""
    whole, parted = OLD | {"AAA": 1000.0}, OLD | {"AAA": 10.0}
    split = CorporateAction("ibkr", "AAA", "split", "2015-01-22", day_open("2018-01-18"), ratio=100.0)
    told = [("data.actions", action_record(split, "AAA/split/2015-01-22").record)]
    bars = [daily("2015-01-20", whole), daily("2015-01-21", whole), daily("2015-01-22", parted)]
    for past, codes in ((told, []), ([], ["UNIT_100X"])):
        _, outputs = backfilled(past, bars)
        assert [record["code"] for record in records(outputs, "data.quarantine")] == codes


def test_history_that_was_loaded_late_is_not_the_last_close_of_the_next_start() -> None:
    """On the log it stands behind what is newer."""
    machine = engine()
    log = published([daily("2018-01-18", NEW)]) + published([daily("2015-01-20", OLD), daily("2015-01-21", OLD)])
    machine.remember("data.bars", [record for _, record in log])
    outputs = run(machine, [daily("2018-01-19", NEW)])
    assert not records(outputs, "data.quarantine")


def vintage(start: str, value: float) -> Vintage:
    return Vintage("fred", "X", "Percent", start, 10**18, False, ((10**17 + int(start[-2:]) * 10**13, value),))


def test_an_older_vintage_is_no_jump_from_a_newer_one() -> None:
    newest = [("data.macro", r) for r in records(run(engine(), [vintage("2018-01-20", 1.0)]), "data.macro")]
    _, outputs = backfilled(newest, [vintage("2010-01-04", 12.0), vintage("2010-01-05", 12.5)])
    assert not records(outputs, "data.quarantine")
    # What was taken out of a vintage is not confirmed by the vintage that is handed in again.
    whole = run(engine(), [vintage("2010-01-04", 1.0), vintage("2010-01-05", 90.0)])
    kept = [(output.topic, output.record) for output in whole if output.topic in ("data.macro", "data.quarantine")]
    machine, outputs = backfilled(kept, [vintage("2010-01-04", 1.0), vintage("2010-01-05", 90.0)])
    assert not records(outputs, "data.macro")
    assert machine.ledger.deduplicated["fred"] == 2


def decision(found: dict[str, Any], action: str) -> dict[str, Any]:
    about = {name: found[name] for name in ("quarantine_id", "source", "topic", "symbol", "code", "raw")}
    return about | {"command_id": "c", "action": action, "identity": "", "available_time": 2 * 10**18, "actor": "tests"}


def test_what_people_decided_counts_whatever_its_time() -> None:
    """A value that was dropped is not judged anew, and confirms no later one as the first of a new level."""
    first, second = vintage("2010-01-04", 1.0), vintage("2010-01-05", 90.0)
    log = [each for each in run(engine(), [first, second]) if each.topic in ("data.macro", "data.quarantine")]
    (bad,) = records(log, "data.quarantine")
    past = [(each.topic, each.record) for each in log] + [("data.decisions", decision(bad, "dropped"))]
    machine, outputs = backfilled(past, [first, second])
    assert not records(outputs, "data.macro") + records(outputs, "data.quarantine")
    assert machine.ledger.deduplicated["fred"] == 2
    for known, good in ((past[:-1], [[91.0], [91.5]]), (past, [[91.5]])):
        _, outputs = backfilled(known, [vintage("2010-01-06", 91.0), vintage("2010-01-07", 91.5)])
        assert [record["values"] for record in records(outputs, "data.macro")] == good


def fact_record(identity: str, *concepts: str) -> dict[str, Any]:
    count = len(concepts)
    columns = {"concepts": list(concepts), "units": ["USD"] * count}
    times = {"period_start": [0] * count, "period_end": [1] * count}
    return {"fact_id": identity, "symbol": "AMD", "accession": "0-1", **columns, **times}


@pytest.mark.parametrize(
    ("log", "part", "facts"),
    [
        ((), 0, "abc"),
        ((("AMD/0-1", "a"),), 1, "bc"),
        ((("AMD/0-1", "a"), ("AMD/0-1+77", "b")), 1, "c"),
        ((("AMD/0-1+77", "b"),), 0, "ac"),
        ((("AMD/0-1", "a"), ("AMD/0-1/1", "b"), ("AMD/0-1/1+77", "c")), 2, ""),
        ((("AMD/0-1/1", "b"),), 0, "ac"),
    ],
    ids=("nothing", "original", "released beside it", "released alone", "parts", "original lost"),
)
def test_what_people_let_out_is_no_part_of_a_filing(log: tuple[tuple[str, str], ...], part: int, facts: str) -> None:
    known = FactsOnLog()
    for identity, concepts in log:
        known.learn("data.facts", fact_record(identity, *concepts))
    every = tuple(Fact(concept, "USD", 0, 1, 5.0, 2010, "FY") for concept in "abc")
    rest = known.lacking(Filing("edgar", "AMD", 2488, "0-1", "10-K", "2010-02-01", "", 10**18, every))
    assert "".join(fact.concept for fact in rest.facts) == facts
    assert rest.part == part or not facts


def test_minutes_that_are_kept_one_by_one_may_be_loaded_in_any_order() -> None:
    index = PublishedIndex()
    record = {"source": "ibkr", "group": "main", "interval": "1m", "event_time": 600, "available_time": 600}
    index.keep_minutes()
    index.learn("data.bars", record)
    assert index.has_bars("ibkr", "main", "1m", 600, 900)
    assert not index.has_bars("ibkr", "main", "1m", 540, 540)
    index.forget("data.bars", record)
    assert not index.has_bars("ibkr", "main", "1m", 600, 600)
    plain = PublishedIndex()
    plain.learn("data.bars", record)
    assert plain.has_bars("ibkr", "main", "1m", 540, 540)


SESSIONS = calendars.sessions(MARKET_CALENDAR, date(2014, 1, 1), date(2018, 12, 31))


@given(st.sets(st.sampled_from(range(len(SESSIONS))), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_requests_reach_over_every_session_that_lacks_and_no_more_than_ib_gives(places: set[int]) -> None:
    wanted = [SESSIONS[place] for place in sorted(places)]
    chunks = daily_chunks(wanted)
    assert [day for chunk in chunks for day in chunk.sessions] == wanted
    for chunk in chunks:
        reach = SESSIONS.index(chunk.sessions[-1]) - SESSIONS.index(chunk.sessions[0]) + 1
        assert chunk.duration == f"{reach} D"
        assert reach <= SESSIONS_AT_ONCE
        assert chunk.end > calendars.session_close(MARKET_CALENDAR, chunk.sessions[-1])


async def test_what_is_quarantined_is_on_its_topic_before_the_rest_of_its_observation_is_sent(tmp_path: Path) -> None:
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None)
    line = Deliveries(way)
    sending = asyncio.create_task(line.run())
    line.hand_in([output(1)])
    line.hand_in([output(2, "data.quarantine"), output(3)])
    line.hand_in([output(4)])
    await until(lambda: len(broker.sent) == 2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert [topic for topic, _, _ in broker.sent] == ["data.bars", "data.quarantine"]
    broker.acknowledge()
    await asyncio.wait_for(line.sent(), 10)
    assert [record.get("event_time") for _, record, _ in broker.sent] == [1, None, 3, 4]
    # Told to end before an acknowledgement: each record goes to the outlet once.
    line.hand_in([output(5, "data.quarantine"), output(6)])
    await until(lambda: len(broker.sent) == 5)
    await end_tasks([sending])
    line.let_go()
    way.close()
    assert [topic for topic, _, _ in broker.sent[4:]] == ["data.quarantine"]
    on_disk = [each.topic for each in Spool(tmp_path / "s", 10**6).contents()]
    assert on_disk[-2:] == ["data.quarantine", "data.bars"]


async def test_a_kafka_that_goes_away_leaves_no_observation_on_disk_without_its_quarantined_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that only the producer's memory has ends with a killed process."""
    monkeypatch.setattr("data_plane.daemon.outlet.AWAY_S", 0.05)
    monkeypatch.setattr("data_plane.daemon.deliveries.PUMP_S", 0.01)
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None)
    line = Deliveries(way)
    sending = asyncio.create_task(line.run())
    line.hand_in([output(1, "data.quarantine"), output(2)])
    await until(lambda: way.away)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(line.sent(), 0.2)
    assert (way.spooled, line.waiting) == (0, 1)
    broker.acknowledge()
    await asyncio.wait_for(line.sent(), 10)
    assert [topic for topic, _, _ in broker.sent] == ["data.quarantine", "data.bars"]
    # What comes while it is away goes to disk at once, the quarantined part first.
    await until(lambda: way.away)
    line.hand_in([output(3, "data.quarantine"), output(4)])
    await asyncio.wait_for(line.sent(), 10)
    assert [each.topic for each in Spool(tmp_path / "s", 10**6).contents()] == ["data.quarantine", "data.bars"]
    await end_tasks([sending])
    way.close()


async def test_what_waits_behind_a_quarantined_part_is_counted_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_plane.daemon.deliveries.MOST", 20)
    monkeypatch.setattr("data_plane.daemon.deliveries.PUMP_S", 0.01)
    broker = Broker()
    way = Outlet(broker, Spool(tmp_path / "s", 10**6), lambda _: None)
    line, machine = Deliveries(way), engine()
    handed_in = 0

    def conserved() -> None:
        left = conservation(machine.ledger, machine, way, line.in_flight())
        assert set(left.values()) <= {0}, left

    async def source() -> None:
        """As long as there is room a session more, of which one name of three is bad."""
        nonlocal handed_in
        for day in sessions("2018-01-02", 40):
            assert await line.room(60.0)
            bars = daily(day, NEW, high={"AAA": 1.0})
            line.hand_in([each for each in machine.take(bars) if each.topic != "data.gates"])
            handed_in += len(bars.symbols)
            conserved()

    sending, loading = asyncio.create_task(line.run()), asyncio.create_task(source())
    await until(lambda: line.in_flight().get("ibkr", 0) > 20)
    for _ in range(20):
        await asyncio.sleep(0)
    assert handed_in == 24  # the first one's quarantined part is on its way, and nobody says that it has arrived
    assert line.in_flight() == {"ibkr": 23}
    conserved()
    assert not await line.room(0.01)
    while not loading.done():
        broker.acknowledge()
        conserved()
        await asyncio.sleep(0)
    loading.result()
    assert handed_in == 120
    await end_tasks([sending])
    line.let_go()
    assert line.in_flight() == {}
    way.close()
    conserved()


async def test_a_kafka_that_takes_nothing_for_long_ends_a_run_whose_memory_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_plane.daemon.deliveries.MOST", 0)
    monkeypatch.setattr("data_plane.daemon.backfill.AWAY_S", 0.01)
    (spec,) = (each for each in registered() if each.name == "edgar")
    run = Backfill(Settings(), Job(spec, Span(date(2018, 1, 2), date(2018, 1, 3))), Told())
    run._deliveries = Deliveries(Outlet(Broker(), Spool(tmp_path / "s", 10**6), lambda _: None))
    await run._room()
    run._deliveries.hand_in([output(1)])
    waiting = asyncio.create_task(run._room())
    await asyncio.wait_for(run._given_up.wait(), 10)
    assert not waiting.done()  # the source hands in nothing more
    run._stop.set()
    await asyncio.wait_for(waiting, 10)


@pytest.mark.parametrize("name", ["edgar", "fred", "ibkr"])
async def test_every_source_asks_for_room_before_it_asks_its_provider(name: str) -> None:
    asked = 0

    class EnoughError(Exception):
        pass

    async def room() -> None:
        nonlocal asked
        asked += 1
        raise EnoughError

    bench = Bench(Settings(fred_api_key="k", user_agent="Test test@example.com"), config(), day_open())
    bench.context.room = room
    bench.context.span = Span(date(2018, 1, 2), date(2018, 1, 3))
    if name == "ibkr":
        loading: Any = SpanHistory(bench.context, name, None).load()  # type: ignore[arg-type]
    else:
        source: Any = next(each for each in registered() if each.name == name).create(bench.context)
        source._ciks = {"AAA": 1}
        loading = source.backfill()
    with pytest.raises(EnoughError):
        await loading
    assert asked == 1


def test_what_sessions_of_a_span_lack_is_told_with_what_can_be_done() -> None:
    """A slice is published once: AAA's bars of two sessions are in quarantine, BBB's of one never came, and CCC is listed late."""
    machine = engine()
    days = sessions("2018-01-02", 8)
    two = {"AAA": 1000.0, "BBB": 50.0}
    log = run(machine, [daily(days[0], two), daily(days[1], two | {"AAA": 4000.0}), daily(days[2], NEW)])
    log += run(machine, [daily(days[3], {"AAA": 1000.0, "CCC": 20.0}), daily(days[4], NEW | {"AAA": 5000.0})])
    log += run(machine, [daily(days[5], NEW), daily(days[6], NEW | {"AAA": 6000.0}), bar("AAA", 0, 1.0)])
    span = Span(date.fromisoformat(days[0]), date.fromisoformat(days[5]))
    lacking = AbsentNames("ibkr", "main", list(NEW), span)
    for each in log:
        lacking.learn(each.topic, each.record)
    ids = [record["quarantine_id"] for record in records(log, "data.quarantine")]
    assert lacking.found() == [(days[1], "AAA", ids[0]), (days[3], "BBB", ""), (days[4], "AAA", ids[1])]
    lines = list(data_backfill._absent(lacking.found()))
    assert lines == [
        f"2 sessions of the span lack a name (AAA {days[1]}, AAA {days[4]}) whose bar is in quarantine: "
        "`triplane quarantine release` adds one, `drop` says that it is not missed",
        f"1 session of the span lacks a name (BBB {days[3]}) whose bar never came: a slice is published once, and another run does not ask for these",
    ]
    # One is let out, the other dropped.
    bad = records(log, "data.quarantine")
    for found, drop in ((bad[0], False), (bad[1], True)):
        for each in decide(machine, found, drop=drop)[1]:
            lacking.learn(each.topic, each.record)
    assert lacking.found() == [(days[3], "BBB", "")]
    assert list(data_backfill._absent([])) == []


class Told:
    """Nobody watches."""

    def progress(self, done: int, of: int, what: str) -> None:
        pass

    def note(self, line: str) -> None:
        pass


def test_a_gateway_that_answers_at_last_is_not_given_up_and_one_that_goes_again_and_again_is() -> None:
    (spec,) = (each for each in registered() if each.name == "ibkr")

    def run_of() -> Backfill:
        run = Backfill(Settings(), Job(spec, Span(date(2018, 1, 2), date(2018, 1, 3))), Told())
        run.config = config(SOURCE_RETRIES=2)
        return run

    def connects(run: Backfill) -> None:
        run._tell_time(day_open())
        run._blocked("ibkr", "not subscribed yet")

    run = run_of()
    for _ in range(2):
        run._blocked("ibkr", "nobody listens")
    connects(run)
    assert not run._given_up.is_set()
    run._blocked("ibkr", "nobody listens")
    assert run._given_up.is_set()
    assert run._why == "nobody listens"
    flapping = run_of()
    for _ in range(3):
        connects(flapping)
    assert not flapping._given_up.is_set()
    connects(flapping)
    assert flapping._given_up.is_set()
    # What is loaded in between counts for it.
    patient = run_of()
    for _ in range(9):
        connects(patient)
        patient._progress(1, 2, "")
    assert not patient._given_up.is_set()
