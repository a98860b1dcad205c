"""`triplane quarantine` against a real Kafka: what was taken out, why, and what a repair would change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_plane.engine import DataEngine
from data_plane.observations import Malformed
from tests.cli.command import Ran, triplane, variables_of
from tests.data_plane.support import daily, engine
from tests.recordings import Message, publish
from triplane.runtime.settings import Settings

pytestmark = pytest.mark.integration


def _messages(machine: DataEngine, observations: list[Any]) -> list[Message]:
    return [
        Message(output.topic, output.record)
        for observation in observations
        for output in machine.take(observation)
        if output.topic in ("data.bars", "data.quarantine")
    ]


@pytest.fixture
def filled(settings: Settings, tmp_path: Path) -> Settings:
    """A name whose second day came in cents, one with high below low, and a body that nobody could read."""
    machine = engine()
    good = {"AAA": 100.0, "BBB": 50.0, "CCC": 20.0}
    observations = [
        daily("2018-01-18", good),
        daily("2018-01-19", good | {"AAA": 10_100.0}),
        daily("2018-01-22", good, high={"BBB": 49.5}, low={"BBB": 50.5}),
        Malformed(
            "edgar",
            "data.facts",
            "",
            "BODY_MALFORMED",
            "edgar: it is not JSON",
            b"<html>\xff",
            1_516_600_000_000_000_000,
        ),
    ]
    publish(settings, _messages(machine, observations))
    return settings


def _run(settings: Settings, cwd: Path, *arguments: str) -> Ran:
    return triplane("quarantine", *arguments, cwd=cwd, variables=variables_of(settings))


def test_the_list_has_code_reason_and_id_and_counts_each_code(filled: Settings, tmp_path: Path) -> None:
    listed = _run(filled, tmp_path, "list")
    assert listed.code == 0, listed.err
    for said in ("UNIT_100X", "HIGH_BELOW_LOW", "BODY_MALFORMED", "3 in all"):
        assert said in listed.out
    found = _run(filled, tmp_path, "list", "--json").json
    assert found["total"] == 3
    assert found["by_code"] == {"UNIT_100X": 1, "HIGH_BELOW_LOW": 1, "BODY_MALFORMED": 1}
    assert _run(filled, tmp_path, "list", "--symbol", "AAA", "--json").json["by_code"] == {"UNIT_100X": 1}
    assert _run(filled, tmp_path, "list", "--source", "edgar", "--json").json["total"] == 1
    newest = _run(filled, tmp_path, "list", "--limit", "1", "--json").json
    assert (newest["total"], len(newest["records"])) == (3, 1)
    assert "none of 3 matches" in _run(filled, tmp_path, "list", "--code", "NOPE").out


def test_one_is_shown_with_what_a_repair_would_change(filled: Settings, tmp_path: Path) -> None:
    by_code = {r["code"]: r["quarantine_id"] for r in _run(filled, tmp_path, "list", "--json").json["records"]}
    shown = _run(filled, tmp_path, "show", by_code["UNIT_100X"])
    assert shown.code == 0, shown.err
    assert "a repair would make it" in shown.out
    assert "the last good close before it: 100" in shown.out
    found = _run(filled, tmp_path, "show", by_code["UNIT_100X"], "--json").json
    assert found["last_good_close"] == 100.0
    assert found["repair"]["values"]["close"] == pytest.approx(101.0)
    assert found["raw"]["close"] == 10_100.0
    exchanged = _run(filled, tmp_path, "show", by_code["HIGH_BELOW_LOW"], "--json").json
    assert exchanged["repair"]["values"] == {"high": 50.5, "low": 49.5}
    unread = _run(filled, tmp_path, "show", by_code["BODY_MALFORMED"])
    assert "7 bytes that are no document" in unread.out
    assert _run(filled, tmp_path, "show", by_code["BODY_MALFORMED"], "--json").json["repair"] is None


def test_an_id_that_is_not_there_or_not_alone_is_a_sentence(filled: Settings, tmp_path: Path) -> None:
    absent = _run(filled, tmp_path, "show", "nobody/1")
    assert absent.code == 1
    assert "nothing in quarantine has the id 'nobody/1'" in absent.err
    several = _run(filled, tmp_path, "show", "ibkr/")
    assert several.code == 1
    assert "2 ids begin with 'ibkr/'" in several.err


def test_an_empty_quarantine_says_so(settings: Settings, tmp_path: Path) -> None:
    publish(settings, [])
    listed = _run(settings, tmp_path, "list")
    assert listed.code == 0, listed.err
    assert listed.out == "nothing is in quarantine\n"
