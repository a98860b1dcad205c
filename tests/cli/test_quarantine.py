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
from triplane.cli import quarantine, quarantine_decisions
from triplane.runtime import run_file
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


def test_what_was_taken_out_is_listed_and_shown(filled: Settings, tmp_path: Path) -> None:
    listed = _run(filled, tmp_path, "list")
    assert listed.code == 0, listed.err
    for said in ("UNIT_100X", "HIGH_BELOW_LOW", "BODY_MALFORMED", "3 in all"):
        assert said in listed.out
    found = _run(filled, tmp_path, "list", "--limit", "2", "--json").json
    assert (found["total"], len(found["records"])) == (3, 2)
    assert found["by_code"] == {"UNIT_100X": 1, "HIGH_BELOW_LOW": 1, "BODY_MALFORMED": 1}
    (one,) = _run(filled, tmp_path, "list", "--symbol", "AAA", "--source", "ibkr", "--json").json["records"]
    assert "none of 3 matches" in _run(filled, tmp_path, "list", "--code", "NOPE").out

    shown = _run(filled, tmp_path, "show", one["quarantine_id"])
    assert shown.code == 0, shown.err
    assert "a repair would make it" in shown.out
    assert "the last good close before it: 100" in shown.out
    whole = _run(filled, tmp_path, "show", one["quarantine_id"], "--json").json
    assert whole["last_good_close"] == 100.0
    assert whole["repair"]["values"]["close"] == pytest.approx(101.0)
    assert whole["raw"]["close"] == 10_100.0
    unread = _run(filled, tmp_path, "show", "edgar/")  # the beginning of an id, if it is alone
    assert "7 bytes that are no document" in unread.out

    absent = _run(filled, tmp_path, "show", "nobody/1")
    assert absent.code == 1
    assert "nothing in quarantine has the id 'nobody/1'" in absent.err
    several = _run(filled, tmp_path, "show", "ibkr/")
    assert several.code == 1
    assert "2 ids begin with 'ibkr/'" in several.err


def test_of_a_plane_that_is_not_seen_nothing_more_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in a container of its own has no run file here, or one with a process id of its own namespace."""
    monkeypatch.setenv("TRIPLANE_STATE_DIR", str(tmp_path))
    unseen = quarantine_decisions._silence()
    assert unseen.startswith(
        "no answer has come within 5 s, and no data plane is seen to run here, as one in a container"
    )
    run_file.write(tmp_path, "data", "http://127.0.0.1:1")
    assert quarantine_decisions._silence() == "the data plane has not answered within 60 s"


def test_an_empty_quarantine_says_so(settings: Settings, tmp_path: Path) -> None:
    publish(settings, [])
    listed = _run(settings, tmp_path, "list")
    assert listed.code == 0, listed.err
    assert listed.out == "nothing is in quarantine\n"


@pytest.mark.parametrize(
    "raw", [b'{"open": null, "high": 1, "low": 1, "close": 1}', b"[1]", b'{"open": "1,000"}', b"\xff"]
)
def test_what_is_no_bar_is_no_bar(raw: bytes) -> None:
    assert quarantine._bar(quarantine.decoded(raw)) == {}
