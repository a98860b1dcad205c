"""`triplane data fundamentals` against a real Kafka: what was known of a company on a day."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import Ran, triplane, variables_of
from tests.data_plane.support import engine
from tests.data_plane.test_fundamentals_publication import year
from tests.recordings import Message, publish
from triplane.cli import data_fundamentals
from triplane.runtime.settings import Settings

pytestmark = pytest.mark.integration


def test_a_sum_of_reported_decimals_is_told_as_one() -> None:
    columns = {"names": ["eps"], "bases": ["ttm"], "units": ["USD/shares"], "period_start": [0], "period_end": [0]}
    total = 0.1 + 0.2
    assert total != 0.3
    (row,) = data_fundamentals.chosen(columns | {"values": [total]}, "")
    assert row["value"] == 0.3
    (row,) = data_fundamentals.chosen(columns | {"values": [383_285_000_000.25]}, "")
    assert row["value"] == 383_285_000_000.25


def test_a_company_is_shown_as_it_was_known_on_a_day(settings: Settings, tmp_path: Path) -> None:
    machine = engine()
    outputs = [output for number in (2014, 2015) for output in machine.take(year(number, number / 10, 5.0))]
    publish(settings, [Message(output.topic, output.record) for output in outputs if "fund" in output.topic])

    def run(*arguments: str) -> Ran:
        return triplane("data", "fundamentals", *arguments, cwd=tmp_path, variables=variables_of(settings))

    shown = run("AAA", "--basis", "instant")
    assert shown.code == 0, shown.err
    assert "AAA after the 10-K 2015, known since 2016-02-14 19:00 New York; money in USD" in shown.out
    assert "201.5" in shown.out
    before = run("AAA", "--as-of", "2016-02-13", "--json").json
    assert before["accession"] == "2014"
    assert {
        "name": "total_assets",
        "basis": "year",
        "value": 201.4,
        "unit": "USD",
        "start": "",
        "end": "2014-12-31",
    } in before["values"]
    early = run("AAA", "--as-of", "2015-01-31")
    assert (early.code, early.sentence) == (
        1,
        "triplane: nothing of AAA was known on 2015-01-31; the first filing here is later",
    )
    nothing = run("AAB").sentence
    assert "data.fundamentals has nothing of AAB; did you mean" in nothing
    assert "the simulated market of `demo` and `up` files numbers of shares only" in nothing
    assert "--basis is one of quarter, ttm, year, instant" in run("AAA", "--basis", "month").sentence
