"""The state machine: the table is total, unknown is never left without evidence, error codes mean what the reference says (law L6)."""

from __future__ import annotations

import pytest

from order_plane.ledger.order_state import (
    DEAD,
    ERRORS,
    MEANING,
    TABLE,
    State,
    Trigger,
    errors_markdown,
    of_error,
    of_status,
    step,
    table_markdown,
)

EVIDENCE = {
    Trigger.ACKNOWLEDGED, Trigger.HOLD, Trigger.AMENDED, Trigger.CANCEL_SEEN, Trigger.CANCEL_CONFIRMED, Trigger.FILL_COMPLETE,
    Trigger.REFUSED, Trigger.EXPIRE, Trigger.ABSENT, Trigger.NOT_SENT,
}  # fmt: skip


def test_every_state_and_trigger_has_an_answer():
    for state in State:
        assert MEANING[state]
        for trigger in Trigger:
            result = step(state, trigger)
            assert result.state in State
            if trigger not in TABLE[state]:
                assert result.state is state
                assert result.anomaly


def test_unknown_is_left_only_by_evidence():
    for trigger in Trigger:
        if step(State.UNKNOWN, trigger).state is not State.UNKNOWN:
            assert trigger in EVIDENCE


def test_doubt_never_kills_an_order():
    for state in State:
        after = step(state, Trigger.DOUBT).state
        assert after is state if state in DEAD else after is State.UNKNOWN


def test_a_dead_order_that_lives_is_an_anomaly_and_unknown():
    for state in (State.CANCELLED, State.REJECTED, State.EXPIRED, State.ABANDONED):
        result = step(state, Trigger.ACKNOWLEDGED)
        assert result.state is State.UNKNOWN
        assert result.anomaly


def test_only_proof_of_absence_abandons():
    for state in State:
        for trigger in Trigger:
            if step(state, trigger).state is State.ABANDONED and state is not State.ABANDONED:
                assert trigger in (Trigger.ABSENT, Trigger.NOT_SENT)


@pytest.mark.parametrize(
    ("code", "state", "expected"),
    [
        (103, State.PLACING, State.REJECTED), (104, State.SUBMITTED, State.SUBMITTED), (105, State.MODIFY_PENDING, State.SUBMITTED),
        (110, State.PLACING, State.REJECTED), (110, State.MODIFY_PENDING, State.SUBMITTED), (161, State.CANCEL_PENDING, State.UNKNOWN),
        (200, State.PLACING, State.REJECTED), (201, State.PLACING, State.REJECTED), (201, State.SUBMITTED, State.UNKNOWN),
        (201, State.MODIFY_PENDING, State.SUBMITTED), (202, State.CANCEL_PENDING, State.CANCELLED), (203, State.PLACING, State.REJECTED),
        (321, State.PLACING, State.REJECTED), (387, State.PLACING, State.REJECTED), (399, State.SUBMITTED, State.HELD),
        (404, State.SUBMITTED, State.HELD), (10147, State.CANCEL_PENDING, State.UNKNOWN), (10148, State.CANCEL_PENDING, State.UNKNOWN),
        (10349, State.SUBMITTED, State.SUBMITTED), (2109, State.SUBMITTED, State.SUBMITTED), (109, State.PLACING, State.HELD),
        (163, State.PLACING, State.HELD), (383, State.PLACING, State.HELD), (451, State.PLACING, State.HELD), (4711, State.SUBMITTED, State.UNKNOWN),
    ],
)  # fmt: skip
def test_error_codes(code, state, expected):
    rule = of_error(code, about_order=True)
    after = step(state, rule.trigger).state if rule.trigger is not None else state
    assert after is expected
    assert after not in DEAD or code in (103, 110, 200, 201, 202, 203, 321, 387)


@pytest.mark.parametrize(
    ("code", "topic"),
    [(1100, "link_lost"), (2110, "link_lost"), (1300, "link_lost"), (504, "link_lost"), (1101, "link_restored"), (1102, "link_restored"),
     (2103, "notice"), (2105, "notice"), (2150, "notice"), (4711, "notice"), (201, "notice")],
)  # fmt: skip
def test_codes_about_the_connection(code, topic):
    rule = of_error(code, about_order=False)
    assert rule.topic == topic
    assert rule.trigger is None


def test_unlisted_codes_alert_and_broker_warnings_do_not():
    assert of_error(4711, about_order=True).alert
    assert of_error(4711, about_order=False).alert
    assert not of_error(2150, about_order=False).alert


def test_statuses():
    assert of_status("Inactive") is Trigger.HOLD
    assert of_status("Inactive", completed=True) is Trigger.REFUSED
    assert of_status("NeverHeardOf") is Trigger.DOUBT


def test_generated_tables_name_everything():
    text = table_markdown()
    assert all(f"| {state.value} |" in text for state in State)
    assert all(f"| {code} |" in errors_markdown() for code in ERRORS)
