"""What `status` and `doctor` say of a daemon that the supervisor has given up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.command import triplane
from triplane.runtime.settings import Settings
from triplane.stack import state_file
from triplane.stack.specs import ProcessStatus

WHY = "control ended with code 78: control: control.config-0@4 cannot be decoded"


def test_a_daemon_that_was_given_up_says_why(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    state = Settings(state_dir=tmp_path / ".triplane").state_dir
    (state / "run").mkdir(parents=True)
    run_file = {"pid": ended.pid, "started": 0.0, "http": "http://127.0.0.1:9"}
    (state / "run" / "control.json").write_text(json.dumps(run_file))
    plain = triplane("status", "--json", cwd=tmp_path)
    assert [(each["state"], each["reason"]) for each in plain.json["daemons"]] == [("stopped", "")]
    given_up = ProcessStatus(
        name="control", pid=0, started=0.0, state="given up", detail=WHY, restarts=0, since=0.0, log=""
    )
    state_file.write(state, [given_up])  # this process is the supervisor that lives
    told = triplane("status", "--json", cwd=tmp_path)
    assert [(each["state"], each["reason"]) for each in told.json["daemons"]] == [("given up", WHY)]
    assert told.code == 1  # nothing runs
    assert WHY in triplane("status", cwd=tmp_path).out
    found = {each["what"]: each for each in triplane("doctor", "--json", cwd=tmp_path).json}
    assert WHY in found["control"]["found"]


def test_a_service_beside_them_that_was_given_up_says_why(tmp_path: Path) -> None:
    why = "registry ended with code 1: Port 21106 seems to be in use by another process."
    state = Settings(state_dir=tmp_path / ".triplane").state_dir
    state.mkdir()
    about = ProcessStatus(
        name="registry", pid=0, started=0.0, state="given up", detail=why, restarts=5, since=0.0, log=""
    )
    state_file.write(state, [about])
    told = triplane("status", "--json", cwd=tmp_path).json
    assert [(each["service"], each["state"], each["reason"]) for each in told["services"]] == [
        ("registry", "given up", why)
    ]
    assert f"registry given up ({why})" in triplane("status", cwd=tmp_path).out.replace("\n", " ")
