"""Law L14: an edit is accepted whole or changes nothing, and says why."""

from __future__ import annotations

import contextlib
import copy
import re
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.control.contents import ASSETS, TARGETS, contents, with_value
from triplane.control.commands import Refused
from triplane.control.engine import MOST_TOLD, Accepted, ControlEngine, Rejected, Unchanged
from triplane.control.report import in_force
from triplane.domain.assets import Universe
from triplane.domain.targets import Targets
from triplane.domain.targets.consistency import conflicts
from triplane.runtime.configuration import ConfigError, from_record


@cache
def committed() -> Accepted:
    """The first version, of the committed files: reading them takes a tenth of a second under coverage, and judging changes nothing."""
    verdict = ControlEngine().judge(contents(), actor="ana", event_time=1)
    assert isinstance(verdict, Accepted)
    return verdict


def started() -> ControlEngine:
    """An engine with the committed configuration in force."""
    engine = ControlEngine()
    assert engine.took(copy.deepcopy(committed().record), 0)
    return engine


def test_the_first_version_and_the_next():
    engine = started()
    assert engine.last is not None
    assert (engine.last["seq"], engine.last["prev_hash"], engine.offset) == (1, "", 0)
    verdict = engine.judge(contents(with_value("VOL_TARGET", "0.07")), actor="ben", event_time=2)
    assert isinstance(verdict, Accepted)
    assert verdict.record["seq"] == 2
    assert verdict.record["prev_hash"] == engine.last["hash"]
    assert verdict.record["changes"] == ["strategy.VOL_TARGET: 0.1 -> 0.07"]
    assert (verdict.record["actor"], verdict.record["event_time"]) == ("ben", 2)
    assert verdict.config.targets.strategy.VOL_TARGET == 0.07
    assert from_record(verdict.record).hash == verdict.config.hash


def test_a_file_with_a_problem_in_each_line_is_told_by_its_first():
    rows = "AAPL,of another table\n" * 5_000
    verdict = started().judge(contents(assets=ASSETS + rows), actor="ana", event_time=2)
    assert isinstance(verdict, Rejected)
    assert len(verdict.problems) == MOST_TOLD + 1
    assert "has 2 cells" in str(verdict.problems[0])
    assert str(verdict.problems[-1]) == "assets.csv: 4900 more problems follow; restore the file, or mend these first"


def test_nothing_is_in_force_before_the_log_has_it():
    engine = started()
    before = copy.deepcopy(engine.last)
    assert isinstance(engine.judge(contents(with_value("VOL_TARGET", "0.07")), actor="ana", event_time=2), Accepted)
    assert engine.last == before


def test_comments_and_spelling_are_no_edit():
    engine = started()
    assert isinstance(engine.judge(contents(), actor="ana", event_time=2), Unchanged)
    spelled = with_value("VOL_TARGET", "1e-1 # as before") + "# a remark\n"
    assert isinstance(engine.judge(contents(spelled), actor="ana", event_time=2), Unchanged)
    assert isinstance(engine.judge(contents(TARGETS.replace("\n", "\r\n")), actor="ana", event_time=2), Unchanged)


def test_an_edit_taken_back_before_it_was_published_is_no_edit_and_one_after_is():
    engine = started()
    verdict = engine.judge(contents(with_value("VOL_TARGET", "0.07")), actor="ana", event_time=2)
    assert isinstance(verdict, Accepted)
    assert isinstance(engine.judge(contents(), actor="ana", event_time=3), Unchanged)
    assert engine.took(verdict.record, 1)
    back = engine.judge(contents(), actor="ana", event_time=3)
    assert isinstance(back, Accepted)
    assert (back.record["seq"], back.record["prev_hash"]) == (3, verdict.record["hash"])
    assert back.config.hash == verdict.record["prev_hash"]


def test_the_first_record_of_a_sequence_number_is_the_version():
    engine = started()
    verdict = engine.judge(contents(with_value("VOL_TARGET", "0.07")), actor="ana", event_time=2)
    other = engine.judge(contents(with_value("VOL_TARGET", "0.08")), actor="ana", event_time=2)
    assert isinstance(verdict, Accepted)
    assert isinstance(other, Accepted)
    assert engine.took(verdict.record, 1)
    assert not engine.took(other.record, 2)
    assert engine.last == verdict.record
    assert engine.offset == 1


def test_a_record_that_nobody_can_read_uses_up_its_number_and_changes_nothing():
    engine = started()
    before = engine.last
    assert before is not None
    with pytest.raises(ConfigError, match="was altered"):
        engine.took(before | {"seq": 2, "values": before["values"].replace("0.1", "0.2", 1)}, 1)
    assert (engine.last, engine.offset, engine.seq) == (before, 0, 2)
    verdict = engine.judge(contents(with_value("VOL_TARGET", "0.07")), actor="ana", event_time=2)
    assert isinstance(verdict, Accepted)
    assert (verdict.record["seq"], verdict.record["prev_hash"]) == (3, before["hash"])
    assert verdict.record["changes"] == ["strategy.VOL_TARGET: 0.1 -> 0.07"]


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("number", [2**63 - 1, 2**53, 2**20 + 2])
def test_a_made_up_number_is_none(number: int, readable: bool):
    engine = started()
    before = engine.last
    assert before is not None
    with pytest.raises(ConfigError, match="counts like this"):
        engine.took(before | {"seq": number} | ({} if readable else {"hash": "0" * 64}), 1)
    verdict = engine.judge(contents(with_value("VOL_TARGET", "0.07")), actor="ana", event_time=2)
    assert isinstance(verdict, Accepted)
    assert (engine.last, verdict.record["seq"]) == (before, 2)
    assert engine.took(verdict.record, 2)


@pytest.mark.parametrize("number", [0, -3])
def test_the_first_number_is_one(number: int):
    engine = ControlEngine()
    known = started().last
    assert known is not None
    with pytest.raises(ConfigError, match="counts like this"):
        engine.took(known | {"seq": number}, 0)
    assert (engine.last, in_force([(0, known | {"seq": number})])) == (None, None)
    assert engine.took(known, 1)


@pytest.mark.parametrize("readable", [True, False])
def test_however_often_somebody_makes_up_a_number_an_edit_follows(readable: bool):
    """The highest that is believed moves along with the log: nothing uses up the numbers."""
    engine = started()
    config = engine.last
    assert config is not None
    for offset in range(1, 60, 2):
        record = config | {"seq": offset + 2**20} | ({} if readable else {"hash": "0" * 64})
        with contextlib.suppress(ConfigError):
            engine.took(record, offset)
        verdict = engine.judge(contents(with_value("VOL_TARGET", f"0.{offset + 300}")), actor="ana", event_time=2)
        assert isinstance(verdict, Accepted)
        assert engine.took(verdict.record, offset + 1)
        assert engine.last == verdict.record


def test_a_good_record_behind_one_of_its_number_that_nobody_can_read_is_the_version():
    """As it is to the planes: they never heard of the other."""
    engine = started()
    before = engine.last
    assert before is not None
    good = engine.judge(contents(with_value("VOL_TARGET", "0.07")), actor="ana", event_time=2)
    assert isinstance(good, Accepted)
    with pytest.raises(ConfigError):
        engine.took(before | {"seq": 2, "values": "{}"}, 1)
    assert engine.took(good.record, 2)
    assert (engine.last, engine.seq) == (good.record, 2)


def test_problems_of_both_files_and_unreadable_ones():
    engine = started()
    verdict = engine.judge(
        contents(with_value("BOX_LIM", "7"), ASSETS.replace("US0378331005", "US0378331006")), actor="", event_time=2
    )
    assert isinstance(verdict, Rejected)
    assert [problem.file for problem in verdict.problems] == ["assets.csv", "targets.yaml"]
    gone = engine.judge(contents(None, b"\xff", "No such file or directory"), actor="", event_time=2)
    assert isinstance(gone, Rejected)
    assert [str(problem) for problem in gone.problems] == [
        "assets.csv line 1: holds the byte 0xff, which is not UTF-8; save the file as UTF-8",
        "targets.yaml: cannot be read (No such file or directory); restore the file",
    ]


def test_digests_tell_contents_apart():
    digests = {
        contents(targets, assets, error).digest
        for targets in ("a", "ab", "", None)
        for assets in ("b", "", None)
        for error in ("gone", "denied")
    }
    # Without a missing file the reason does not count: 3 * 2 contents, and 2 reasons for each of the 6 others.
    assert len(digests) == 3 * 2 + 2 * 6


LINES = TARGETS.splitlines(keepends=True)
VALUE_LINES = [number for number, line in enumerate(LINES) if re.match(r"  [A-Z]", line)]


@st.composite
def edits(draw: st.DrawFn) -> str:
    """targets.yaml after a few edits such as people and half-finished writes make."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(
            st.sampled_from(["value", "value", "delete", "double", "insert", "swap", "cut", "indent", "rename"])
        )
        place = draw(st.integers(0, len(lines) - 1))
        if kind == "value":
            place = draw(st.sampled_from(VALUE_LINES)) % len(lines)
            value = draw(
                st.sampled_from(["0.07", "1", "-1", "1e9", ".nan", "x", "''", "15:00", "market", "[1]", "2"])
                | st.floats().map(repr)
            )
            lines[place] = lines[place].partition(":")[0] + f": {value}\n"
        elif kind == "delete":
            del lines[place]
        elif kind == "double":
            lines.insert(place, lines[place])
        elif kind == "insert":
            lines.insert(place, draw(st.text(max_size=12)) + "\n")
        elif kind == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[place], lines[other] = lines[other], lines[place]
        elif kind == "cut":
            lines[place] = lines[place][: draw(st.integers(0, len(lines[place])))]
        elif kind == "indent":
            lines[place] = draw(st.sampled_from([" ", "\t", "    "])) + lines[place]
        else:
            lines[place] = lines[place].replace(draw(st.sampled_from("ABCDEFG_")), draw(st.sampled_from("XYZ ")), 1)
        if not lines:
            break
    return "".join(lines)


@settings(max_examples=100, deadline=None)
@given(edits())
def test_a_random_edit_is_accepted_whole_or_nothing_changes(text: str):
    engine = started()
    before = copy.deepcopy(engine.last)
    verdict = engine.judge(contents(text), actor="ana", event_time=2)
    assert engine.last == before, "judging changes nothing"
    if isinstance(verdict, Rejected):
        assert verdict.problems
        for problem in verdict.problems:
            assert problem.file == "targets.yaml"
            assert 0 <= problem.line <= text.count("\n") + 1
            assert problem.allowed
        return
    # An independent reading of the same text must give exactly the accepted values, and they must be inside every range.
    plain = YAML(typ="safe", pure=True).load(text.replace("\r\n", "\n").replace("\r", "\n"))
    whole = Targets.model_validate(plain)
    assert (
        whole.model_dump() == Targets().model_dump()
        if isinstance(verdict, Unchanged)
        else whole == verdict.config.targets
    )
    assert set(plain) == set(Targets.model_fields)
    assert all(set(plain[group]) == set(type(getattr(whole, group)).model_fields) for group in plain)
    assert not conflicts(whole)
    if isinstance(verdict, Accepted):
        assert verdict.record["changes"]
        assert engine.took(verdict.record, 1)
        assert isinstance(engine.judge(contents(text), actor="ana", event_time=3), Unchanged)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(TARGETS) - 1))
def test_half_a_targets_file_is_never_accepted(length: int):
    engine = started()
    assert isinstance(engine.judge(contents(TARGETS[:length]), actor="ana", event_time=2), Rejected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(ASSETS) - 1))
def test_half_an_assets_file_is_accepted_at_most_at_the_end_of_a_row(length: int):
    # Whole rows cannot be told from a shorter file by content; the watcher waits until nobody has the file open for writing.
    engine = started()
    verdict = engine.judge(contents(assets=ASSETS[:length]), actor="ana", event_time=2)
    if isinstance(verdict, Accepted):
        whole = Universe.parse(ASSETS)
        rows = ASSETS[:length].count("\n")
        assert verdict.config.universe.assets[: rows - 1] == whole.assets[: rows - 1]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_make_the_engine_fail(targets: bytes, assets: bytes):
    assert isinstance(started().judge(contents(targets, assets), actor="", event_time=2), Rejected)


def test_commands_become_records_once():
    engine = ControlEngine()
    request = {"command": "kill.trip", "arguments": {"scope": "own"}, "actor": "ana", "reason": "drill"}
    record, new = engine.command(request, command_id="c1", event_time=5)
    assert new
    assert record == {
        "event_time": 5,
        "available_time": 0,
        "command_id": "c1",
        "command": "kill.trip",
        "arguments": {"scope": "own"},
        "actor": "ana",
        "reason": "drill",
    }
    engine.took_command(record)
    again, new = engine.command({**request, "command_id": "c1"}, command_id="c2", event_time=6)
    assert (again, new) == (record, False)
    other, new = engine.command(request, command_id="c2", event_time=6)
    assert new
    assert other["command_id"] == "c2"
    with pytest.raises(Refused, match="command_id c1 was used for another command") as caught:
        engine.command({**request, "command_id": "c1", "reason": "real"}, command_id="c3", event_time=7)
    assert caught.value.conflict
    engine.took_command({**record, "reason": "later"})
    assert engine.commands["c1"]["reason"] == "drill", "the first record of an id is the command"
