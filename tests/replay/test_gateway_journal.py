"""The log against the gateway's own journal: each way in which they can differ is found, and agreement is silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.replay.logs import HandLog
from triplane.replay.gateway_journal import disagreements, read


def executed(exec_id: str, quantity: float = 10.0) -> dict[str, Any]:
    return {"kind": "execution", "orderRef": "r", "execution": {"exec_id": exec_id, "quantity": quantity}}


def order(ref: str, modify: bool = False) -> dict[str, Any]:
    return {"kind": "order", "orderRef": ref, "modify": modify}


def booked(*fills: tuple[str, float]) -> HandLog:
    log = HandLog()
    for number, (exec_id, quantity) in enumerate(fills):
        log.put("order.fills", fill_id=str(number), kind="execution", exec_id=exec_id, quantity=quantity)
    log.put("order.fills", fill_id="c", kind="commission", exec_id="not an execution")
    return log


JOURNAL = [
    executed("a"),
    executed("b"),
    order("r"),
    order("r", modify=True),
    order("s"),
    order(""),
    order(""),
    {"kind": "cancel"},
]


def test_agreement_is_silent() -> None:
    assert disagreements(booked(("a", 10.0), ("b", 10.0)).recording(), JOURNAL) == []


@pytest.mark.parametrize(
    ("fills", "journal", "words"),
    [
        ([("a", 10.0)], JOURNAL, ["execution b (r) is lost"]),
        ([("a", 10.0), ("b", 10.0), ("x", 1.0)], JOURNAL, ["execution x", "never made it"]),
        ([("a", 10.0), ("b", 10.0), ("b", 10.0)], JOURNAL, ["execution b is on order.fills 2 times"]),
        ([("a", 9.0), ("b", 10.0)], JOURNAL, ["order.fills says 9 units, the gateway 10"]),
        ([("a", 10.0), ("b", 10.0)], [*JOURNAL, order("s")], ["order s reached the gateway 2 times"]),
    ],
    ids=["lost", "invented", "doubled", "another quantity", "sent twice"],
)
def test_each_difference_is_found(
    fills: list[tuple[str, float]], journal: list[dict[str, Any]], words: list[str]
) -> None:
    found = disagreements(booked(*fills).recording(), journal)
    assert found
    for word in words:
        assert word in found[0]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in JOURNAL) + '{"kind": "exec')
    assert read(path) == JOURNAL
    path.write_text("")
    assert read(path) == []
