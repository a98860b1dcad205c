"""Days and times beyond what a record can hold: they once ended the plane when the record was written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data_plane.gates import schema
from data_plane.gates.schema import FIRST_TIME, LAST_TIME
from data_plane.observations import Fact, Filing, Vintage
from data_plane.outputs import quarantined
from schemas.codec import encode_body
from tests.data_plane.support import assert_conserved, engine, gate_changes, records

GOOD = Fact("us-gaap:Assets", "USD", 0, 10**18, 1.0, 2017, "FY")
FILING = Filing("edgar", "AAA", 320193, "0000320193-18-000007", "10-K", "2018-01-02", "", 15 * 10**17, (GOOD,))
BEYOND = (LAST_TIME + 1, 2**63, 2**80, -(2**70), 0)


def test_facts_before_1970_and_instants_are_sound() -> None:
    assert schema.fact_fault(GOOD) is None
    assert schema.fact_fault(GOOD._replace(start=-(10**18))) is None


@pytest.mark.parametrize(
    "bad",
    [
        GOOD._replace(end=2**63),
        GOOD._replace(start=-(2**63), end=1),
        GOOD._replace(start=10**18 + 1),
        GOOD._replace(fiscal_year=10**400),
        GOOD._replace(fiscal_year=-1),
    ],
)
def test_a_period_that_cannot_be_is_quarantined_alone(bad: Fact) -> None:
    machine = engine()
    outputs = machine.take(replace(FILING, facts=(GOOD, bad)))
    (published,) = records(outputs, "data.facts")
    assert published["concepts"] == ["us-gaap:Assets"]
    (refused,) = records(outputs, "data.quarantine")
    assert refused["code"] == schema.BAD_PERIOD
    assert len(refused["detail"]) < 200
    encode_body("QuarantinedRecord", refused)
    assert_conserved(machine)


def test_a_macro_value_of_no_day_is_quarantined_alone() -> None:
    machine = engine()
    vintage = Vintage("fred", "GDP", "", "2018-01-03", 15 * 10**17, False, ((-(10**18), 1.0), (2**63, 2.0)))
    outputs = machine.take(vintage)
    (published,) = records(outputs, "data.macro")
    assert published["values"] == [1.0]
    (refused,) = records(outputs, "data.quarantine")
    assert refused["code"] == schema.BAD_PERIOD
    encode_body("QuarantinedRecord", refused)
    assert_conserved(machine)


@pytest.mark.parametrize("cik", [0, -1, 2**70])
def test_a_cik_is_a_number_of_ten_digits(cik: int) -> None:
    fault = schema.filing_fault(replace(FILING, cik=cik))
    assert fault is not None
    assert fault.code == schema.NO_IDENTITY
    assert len(fault.detail) < 200


@pytest.mark.parametrize("time", BEYOND)
def test_a_gate_is_not_told_of_a_time_that_nothing_can_follow(time: int) -> None:
    """It closes, and the next good filing opens it."""
    machine = engine(GATE_REOPEN_SLICES=1)
    outputs = machine.take(replace(FILING, available_time=time))
    assert [change[:3] for change in gate_changes(outputs)] == [("fact_sanity", "AAA", False), ("schema", "", False)]
    for record in records(outputs, "data.gates"):
        assert 0 <= record["event_time"] < FIRST_TIME
        encode_body("GateState", record)
    after = machine.take(replace(FILING, accession="0000320193-18-000008"))
    assert [change[:3] for change in gate_changes(after)] == [("fact_sanity", "AAA", True), ("schema", "", True)]
    assert all(record["event_time"] == FILING.available_time for record in records(after, "data.gates"))


@pytest.mark.parametrize("time", [2**63, 2**90, -(2**90)])
def test_a_quarantined_record_can_be_written_whatever_its_times(time: int) -> None:
    for times in ((time, 1), (1, time), (time, time)):
        record = quarantined("edgar", "data.facts", "AAA", "CODE", "why", b"{}", *times).record
        encode_body("QuarantinedRecord", record)
