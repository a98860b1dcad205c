"""Fundamentals on the log: one record a filing, of good facts alone, the same after any restart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_plane.engine import DataEngine
from data_plane.fundamentals.publication import TOPIC, FundamentalsAfterFilings
from data_plane.fundamentals.statements import Fundamentals
from data_plane.observations import Fact, Filing
from data_plane.outputs import QUARANTINE, Output
from tests.data_plane.fundamentals_support import AAPL, AMD, day, filing, real, usd
from tests.data_plane.support import engine

ASSETS, NET = "us-gaap:Assets", "us-gaap:NetIncomeLoss"


def told(outputs: Iterable[Output], topic: str = TOPIC) -> list[Mapping[str, Any]]:
    return [output.record for output in outputs if output.topic == topic]


def put(machine: DataEngine, filings: Sequence[Filing]) -> list[Output]:
    return [output for each in filings for output in machine.take(each)]


def values(record: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """By name and basis."""
    return dict(zip(zip(record["names"], record["bases"], strict=True), record["values"], strict=True))


def of(filings: Sequence[Filing], symbol: str) -> list[Filing]:
    return [replace(each, symbol=symbol) for each in filings]


@pytest.fixture(scope="module")
def companies(shared_data: Path) -> tuple[list[Filing], list[Filing]]:
    """Some years of two companies."""
    return of(real(shared_data, AMD)[20:30], "AAA"), of(real(shared_data, AAPL)[40:46], "BBB")


def test_each_filing_gives_what_was_known_after_it(companies: tuple[list[Filing], list[Filing]]) -> None:
    machine = engine(FACT_JUMP_MAX=1e4)
    records = told(put(machine, [*companies[0], *companies[1]]))
    expected = Fundamentals()
    for each in companies[0]:
        expected.take(each)
    mine = [record for record in records if record["symbol"] == "AAA"]
    assert [record["accession"] for record in mine] == [each.accession for each in companies[0]]
    for record in (mine[3], mine[-1]):
        snapshot = expected.as_of(record["available_time"])
        values = {
            (value.name, value.basis.value): value.value for on in snapshot.values.values() for value in on.values()
        }
        assert dict(zip(zip(record["names"], record["bases"], strict=True), record["values"], strict=True)) == values
    assert len(set(mine[-1]["names"])) >= 120
    assert set(mine[-1]["bases"]) == {"quarter", "ttm", "year", "instant"}
    assert len({record["definitions"] for record in records}) == 1
    assert machine.ledger.difference({}) == {"edgar": 0}


def test_a_restart_publishes_what_is_missing_and_nothing_twice(companies: tuple[list[Filing], list[Filing]]) -> None:
    filings = [*companies[0], *companies[1]]
    whole = put(engine(FACT_JUMP_MAX=1e4), filings)
    for cut in (1, len(whole) // 2, len(whole) - 1):
        again = engine(FACT_JUMP_MAX=1e4)
        for topic in ("data.facts", TOPIC, QUARANTINE):
            again.remember(topic, told(whole[:cut], topic))
        rest = put(again, filings)
        assert told(rest) == told(whole[cut:])
        assert told(rest, "data.facts") == told(whole[cut:], "data.facts")
    assert told(put(again, filings)) == []


def year(number: int, assets: float, net: float) -> Filing:
    ends = f"{number}-12-31"
    facts = [usd("Assets", "", ends, assets), usd("NetIncomeLoss", f"{number}-01-01", ends, net)]
    return replace(filing(f"{number}", f"{number + 1}-02-15", "10-K", facts), symbol="AAA")


def test_what_a_gate_refused_counts_neither_now_nor_after_a_restart() -> None:
    filings = [year(2014, 100.0, 5.0), year(2015, 110.0, 6.0), year(2016, 110e6, 7.0)]
    machine = engine()
    outputs = put(machine, filings)
    assert [record["code"] for record in told(outputs, QUARANTINE)] == ["FACT_SCALE"]
    (last,) = [record for record in told(outputs) if record["accession"] == "2016"]
    assert values(last)["net_income", "year"] == 7.0
    assert ("total_assets", "year") not in values(last)
    assert values(last)["total_assets", "instant"] == 110.0
    again = engine()
    again.remember("data.facts", told(outputs, "data.facts"))
    again.remember(QUARANTINE, told(outputs, QUARANTINE))
    assert told(put(again, filings)) == told(outputs)


def test_of_two_values_for_one_place_the_one_on_the_log_counts_whenever_it_is_asked() -> None:
    twice = year(2015, 110.0, 6.0)
    twice = replace(twice, facts=(*twice.facts, twice.facts[0]._replace(value=111.0)))
    filings = [year(2014, 100.0, 5.0), twice, year(2016, 121.0, 7.0)]
    machine = engine()
    outputs = put(machine, filings)
    assert [record["code"] for record in told(outputs, QUARANTINE)] == ["FACT_CONFLICT"]
    assert values(told(outputs)[-1])["asset_growth", "year"] == pytest.approx(0.1)
    again = engine()
    for topic in ("data.facts", QUARANTINE):
        again.remember(topic, told(outputs, topic))
    again.remember(TOPIC, told(outputs)[:2])
    put(again, [replace(year(2015, 1.0, 1.0), symbol="BBB", cik=2)])  # another company in between
    assert told(put(again, filings)) == told(outputs)[2:]


def test_what_was_never_judged_does_not_count() -> None:
    """An earlier release kept fewer concepts: the filing is on the topic, and not its assets."""
    before = engine()
    outputs = put(
        before, [replace(each, facts=each.facts[1:]) for each in (year(2014, 1.0, 5.0), year(2015, 1.0, 6.0))]
    )
    machine = engine()
    machine.remember("data.facts", told(outputs, "data.facts"))
    now = put(machine, [year(2014, 100.0, 5.0), year(2015, 110e6, 6.0), year(2016, 121.0, 7.0)])
    assert told(now, QUARANTINE) == []
    last = values(told(now)[-1])
    assert last["total_assets", "year"] == 121.0
    assert last["net_income", "year"] == 7.0
    assert ("asset_growth", "year") not in last


def test_what_a_person_let_out_counts_from_then_on() -> None:
    filings = [year(2014, 100.0, 5.0), year(2015, 110e6, 6.0)]
    machine = engine()
    outputs = put(machine, filings)
    (bad,) = told(outputs, QUARANTINE)
    at = day("2016-06-01")
    command = {
        "event_time": 1, "available_time": 0, "command_id": "c1", "command": "data.release", "actor": "ann", "reason": "r",
        "arguments": {"quarantine_id": bad["quarantine_id"], "repair": "no"},
    }  # fmt: skip
    released = machine.releases.carry_out(command, bad, at)
    assert [record["values"] for record in told(released, "data.facts")] == [[110e6]]
    later = put(machine, [*filings, year(2016, 121e6, 7.0)])
    assert values(told(later)[-1])["asset_growth", "year"] == pytest.approx(0.1)
    again = engine()
    for topic in ("data.facts", QUARANTINE):
        again.remember(topic, [*told(outputs, topic), *told(released, topic), *told(later, topic)])
    anew = told(put(again, [*filings, year(2016, 121e6, 7.0)]))
    # A record of before the release has nothing of it, also when it is made after.
    assert anew == [*told(outputs), *told(later)]


def test_no_more_than_one_company_is_held_and_its_return_gives_the_same() -> None:
    machine = engine()
    mine = [year(2014, 100.0, 5.0), year(2015, 110.0, 6.0)]
    put(machine, mine)
    book = FundamentalsAfterFilings(machine.published.facts)
    for each in mine:
        book.hand_in(each)
    first = book.after(mine[1], "h")
    assert first
    book.hand_in(replace(year(2015, 1.0, 1.0), symbol="BBB", cik=2))
    assert book.after(mine[1], "h") == []  # it is not at hand any more
    for each in reversed(mine):
        book.hand_in(each)
    assert book.after(mine[1], "h") == first
    assert book.after(replace(mine[1], accession="nobody's"), "h") == []
    book.hand_in(replace(mine[0], cik=9))  # a symbol that is another company's now
    assert book.after(mine[0], "h") == []


def test_a_cover_page_alone_makes_no_record() -> None:
    shares = (Fact("dei:EntityCommonStockSharesOutstanding", "shares", 0, day("2016-01-31"), 1e9, 2015, "FY"),)
    only = Filing("edgar", "AAA", 1, "a1", "10-K", "2016-02-15", "", day("2016-02-15"), shares)
    outputs = put(engine(), [only])
    assert told(outputs) == []
    assert len(told(outputs, "data.facts")) == 1
