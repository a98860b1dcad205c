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
    known = dict(zip(zip(last["names"], last["bases"], strict=True), last["values"], strict=True))
    assert known["net_income", "year"] == 7.0
    assert ("total_assets", "year") not in known
    assert known["total_assets", "instant"] == 110.0
    again = engine()
    again.remember("data.facts", told(outputs, "data.facts"))
    again.remember(QUARANTINE, told(outputs, QUARANTINE))
    assert told(put(again, filings)) == told(outputs)


def test_no_more_than_one_company_is_held_and_its_return_gives_the_same() -> None:
    book = FundamentalsAfterFilings()
    mine = [year(2014, 100.0, 5.0), year(2015, 110.0, 6.0)]
    for each in mine:
        book.known(each)
    first = book.after(mine[1], "h")
    other = replace(year(2015, 1.0, 1.0), symbol="BBB", cik=2)
    book.known(other)
    assert book.after(mine[1], "h") == []  # it is not at hand any more
    for each in reversed(mine):
        book.known(each)
    assert book.after(mine[1], "h") == first
    assert book.after(replace(mine[1], accession="nobody's"), "h") == []


def test_a_cover_page_alone_makes_no_record() -> None:
    shares = (Fact("dei:EntityCommonStockSharesOutstanding", "shares", 0, day("2016-01-31"), 1e9, 2015, "FY"),)
    only = Filing("edgar", "AAA", 1, "a1", "10-K", "2016-02-15", "", day("2016-02-15"), shares)
    outputs = put(engine(), [only])
    assert told(outputs) == []
    assert len(told(outputs, "data.facts")) == 1
