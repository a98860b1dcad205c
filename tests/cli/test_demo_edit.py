"""The demonstration's edit: which version has it, and what is said of the barrier that took it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from triplane.cli.demo_directory import DemoError
from triplane.cli.demo_edit import ConfigEdit


def _record(offset: int, **value: Any) -> Any:
    return SimpleNamespace(offset=offset, value=value)


@pytest.mark.parametrize(("symbols", "told"), [([], "each of the 1 decisions under it was held"), (["KO"], "")])
def test_a_hold_under_the_edit_is_no_decision_that_took_it(symbols: list[str], told: str) -> None:
    slices = [_record(0, config_hash="old", symbols=["KO"]), _record(1, config_hash="new", symbols=symbols)]
    found = cast(Any, SimpleNamespace(records={"strategy.intents": slices}))
    problems = ConfigEdit(new_hash="new").problems(found)
    assert told in " ".join(problems)
    assert bool(problems) == bool(told)


def test_a_brake_that_changed_with_the_edit_is_told() -> None:
    before = {"symbols": ["KO"], "target": [0.2], "brake": 1.0}
    after = {"seq": 9, "symbols": ["KO"], "target": [0.1], "brake": 0.4}
    edit = ConfigEdit()
    edit.take(before, after)
    assert edit.brake == (1.0, 0.4)
    edit = ConfigEdit()
    edit.take(before, after | {"brake": 1.0})
    assert edit.brake is None


@pytest.mark.parametrize(
    ("offset", "outcome_", "words"),
    [(4, "SOLVED", "barrier 9"), (4, "HOLD_DATA_MISSING", "barrier 9, which was held"), (2, "SOLVED", "no barrier")],
)
def test_the_barrier_that_took_the_edit_is_told_though_it_was_held(offset: int, outcome_: str, words: str) -> None:
    targets = {
        "seq": 9,
        "outcome": outcome_,
        "config_hash": "new" if offset == 4 else "old",
        "symbols": [],
        "target": [],
    }
    records = {
        "control.config": [
            _record(2, hash="old"),
            _record(4, hash="new", changes=["strategy.VOL_TARGET: 0.1 -> 0.06"]),
        ],
        "strategy.barriers": [_record(0, seq=9, config_offset=offset)],
        "strategy.targets": [_record(0, **targets)],
    }
    edit = ConfigEdit(change="VOL_TARGET 0.1 -> 0.06", to="0.06")
    edit.complete(cast(Any, SimpleNamespace(records=records)))
    assert edit.taken_by == words


def test_whoever_else_edits_the_demonstrations_own_edit_is_found(tmp_path: Path) -> None:
    """A person may edit before it and after it, also to the value that it would have taken."""
    path = tmp_path / "targets.yaml"
    path.write_text("strategy:\n  VOL_TARGET: 0.060  # mine\n  BOX_LIM: 0.2\n")
    edit = ConfigEdit()
    assert edit.told == "not edited"
    edit.write(path, 2)
    assert path.read_text() == "strategy:\n  VOL_TARGET: 0.05  # mine\n  BOX_LIM: 0.2\n"
    assert edit.told == "VOL_TARGET 0.060 -> 0.05, not taken"
    versions = [
        {"hash": "a", "changes": []},
        {"hash": "b", "changes": ["strategy.VOL_TARGET: 0.1 -> 0.06"]},
        {"hash": "c", "changes": ["strategy.BOX_LIM: 0.25 -> 0.2", "strategy.VOL_TARGET: 0.06 -> 0.05"]},
        {"hash": "d", "changes": ["assets.RRC: removed", "order.POV_CAP: 0.08 -> 0.05"]},
    ]
    assert not edit.notice(versions[:2])
    assert edit.notice(versions)
    assert not edit.notice(versions)
    assert edit.told == "VOL_TARGET 0.060 -> 0.05: b -> c, taken by no barrier"
    path.write_text("strategy:\n  VOL_TARGET: 0.10\n")
    late = ConfigEdit()
    late.write(path, 3)  # a person had set it to 0.06 before, and back
    assert not late.notice(versions[:3])
    path.write_text("strategy:\n  BOX_LIM: 0.2\n")
    with pytest.raises(DemoError, match="has no VOL_TARGET to edit"):
        ConfigEdit().write(path, 0)
