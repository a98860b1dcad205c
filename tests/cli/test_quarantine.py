"""`triplane quarantine` against a real Kafka: what was taken out, why, and what a repair would change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from data_plane.engine import DataEngine
from data_plane.observations import Malformed
from tests.cli.command import Ran, triplane, variables_of
from tests.data_plane.support import daily, engine
from tests.recordings import Message, publish
from triplane.cli import context, quarantine, quarantine_decisions, quarantine_log
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
    assert (
        "none of 3 matches; those that were decided on are left out, and `--state all`"
        in _run(filled, tmp_path, "list", "--code", "NOPE").out
    )

    shown = _run(filled, tmp_path, "show", one["quarantine_id"])
    assert shown.code == 0, shown.err
    assert "a repair would make it" in shown.out
    assert "2018-01-19 16:00:00 New York" in shown.out
    assert not re.search(r"[0-9]{19}", shown.out.partition("What came in")[2])
    assert "the last good close before it: 100" in shown.out
    whole = _run(filled, tmp_path, "show", one["quarantine_id"], "--json").json
    assert whole["last_good_close"] == 100.0
    assert whole["repair"]["values"]["close"] == pytest.approx(101.0)
    assert whole["raw"]["close"] == 10_100.0
    let_out = _run(filled, tmp_path, "release", one["quarantine_id"], "--reason", "it was so")
    assert f"note: a repair of {one['quarantine_id']} suggests itself (UNIT_100X: " in let_out.err
    assert "triplane: no control daemon has run here" in let_out.err
    unread = _run(filled, tmp_path, "show", "edgar/")  # the beginning of an id, if it is alone
    assert "7 bytes that are no document" in unread.out

    absent = _run(filled, tmp_path, "show", "nobody/1")
    assert absent.code == 1
    assert "nothing in quarantine has the id 'nobody/1'" in absent.err
    several = _run(filled, tmp_path, "show", "ibkr/")
    assert several.code == 1
    assert "2 ids begin with 'ibkr/'" in several.err


def test_runs_of_one_name_and_code_share_a_row_and_hide_nothing() -> None:
    def record(number: int, symbol: str, code: str, state: str = "open") -> dict[str, Any]:
        return {
            "available_time": number,
            "source": "ibkr",
            "symbol": symbol,
            "code": code,
            "state": state,
            "quarantine_id": f"ibkr/{number}",
        }

    flood = [record(number, "PFE", "SIZE_IN_LOTS") for number in range(0, 2000, 2)]
    others = [
        record(1, "KO", "UNIT_100X"),
        record(3, "PFE", "SPREAD_WIDE"),
        record(5, "PFE", "SIZE_IN_LOTS", "dropped"),
    ]
    unnamed = [record(7, "", "BODY_MALFORMED"), record(9, "", "BODY_MALFORMED")]
    found = quarantine.groups([*flood, *others, *unnamed])
    assert [(group[-1]["quarantine_id"], len(group)) for group in found] == [
        ("ibkr/1", 1),
        ("ibkr/3", 1),
        ("ibkr/5", 1),
        ("ibkr/7", 1),
        ("ibkr/9", 1),
        ("ibkr/1998", 1000),
    ]
    assert found[-1][0]["available_time"] == 0


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
    assert quarantine_log.bar_of(quarantine_log.decoded(raw)) == {}


def test_where_nothing_is_chosen_the_default_is_named() -> None:
    assert quarantine.nothing(0, "open") == "nothing is in quarantine"
    assert quarantine.nothing(2, "open") == (
        "none of 2 matches; those that were decided on are left out, and `--state all` has them"
    )
    assert quarantine.nothing(2, "released") == "none of 2 matches"


def test_an_empty_id_names_nothing() -> None:
    with pytest.raises(context.CommandError, match="an empty id names nothing; `triplane quarantine list`"):
        quarantine_log.one([{"quarantine_id": "ibkr/1"}, {"quarantine_id": "ibkr/2"}], "")


@pytest.mark.parametrize(
    ("action", "detail", "said"),
    [
        ("repaired", "repaired, since it is in cents, and published", "repaired, since it is in cents, and published"),
        ("released", "published as ibkr/1", "released, published as ibkr/1"),
    ],
)
def test_what_became_of_it_is_said_once_and_what_came_in_is_an_object(action: str, detail: str, said: str) -> None:
    decision = {"action": action, "detail": detail, "raw": b'{"close": 10100.0}'}
    assert quarantine_decisions._said(decision) == said
    assert quarantine_decisions._told(decision, "c", "q")["raw"] == {"close": 10100.0}
    assert quarantine_decisions._told(decision | {"raw": b"<html>"}, "c", "q")["raw"] == "<html>"


def test_moments_are_told_to_people_as_such() -> None:
    assert quarantine._text("end", 1_516_395_600_000_000_000) == "2018-01-19 16:00:00 New York"
    assert quarantine._text("start", 1_516_320_000_000_000_000) == "2018-01-19"
    assert quarantine._text("volume", 1_516_395_600_000_000_000) == "1516395600000000000"
    assert quarantine._text("trades", 7) == "7"
