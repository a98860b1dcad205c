"""Files that say which process is which: whatever else stands in them is as if they were not there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from triplane.runtime import run_file
from triplane.stack import state_file
from triplane.stack.specs import ProcessStatus

DAMAGED = ["", "{", "[]", "null", "7", "{}", "[" * 200_000, '{"a":' * 200_000, "\x00\x00", '{"pid": 1}']
PIDS: list[object] = ["abc", None, -1, 0, 2**31, 10**400, 1.5, [], {}, True]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    run_file.write(tmp_path, "data", "http://127.0.0.1:1")
    found = run_file.read(tmp_path, "data")
    assert found is not None
    assert (found.pid, found.http, found.alive) == (os.getpid(), "http://127.0.0.1:1", True)
    assert run_file.read(tmp_path, "order") is None


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:10])
def test_a_damaged_file_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for path in (run_file.path_of(tmp_path, "data"), tmp_path / state_file.NAME):
        path.write_text(text)
    assert run_file.read(tmp_path, "data") is None
    assert state_file.read(tmp_path) is None


@pytest.mark.parametrize("pid", [pid for pid in PIDS if pid not in (1.5, True)], ids=str)
def test_a_pid_that_is_none_names_no_daemon(pid: object, tmp_path: Path) -> None:
    run_file.write(tmp_path, "data", "")
    path = run_file.path_of(tmp_path, "data")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": pid}))
    assert run_file.read(tmp_path, "data") is None


@pytest.mark.parametrize(
    "change",
    [*({"pid": pid} for pid in PIDS if pid not in (0, True)), {"started": None}, {"name": 5}, {"state": "asleep"}, {"restarts": "x"}],
    ids=str,
)  # fmt: skip
def test_a_supervisors_file_with_anything_else_in_it_is_none(change: dict[str, object], tmp_path: Path) -> None:
    """A process group of -1 is every process of this user."""
    state_file.write(tmp_path, [ProcessStatus("data", "ready", "", os.getpid(), 1.0, 0, 1.0, "")])
    path = tmp_path / state_file.NAME
    document = json.loads(path.read_text())
    assert state_file.read(tmp_path) is not None
    for changed in (
        {**document, **{k: v for k, v in change.items() if k in ("pid", "started")}},
        document | {"processes": [document["processes"][0] | change]},
    ):
        if changed != document:
            path.write_text(json.dumps(changed))
            assert state_file.read(tmp_path) is None
    path.write_text(json.dumps(document | {"processes": 5}))
    assert state_file.read(tmp_path) is None
