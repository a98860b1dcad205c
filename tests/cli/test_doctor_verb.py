"""`triplane doctor`: each problem with its remedy."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.command import triplane
from triplane.cli.doctor_kafka import examine_kafka
from triplane.runtime.process_identity import start_time
from triplane.runtime.settings import Settings
from triplane.runtime.unknown_variables import PREFIX


def test_doctor_names_each_problem_with_its_remedy(folder: Path) -> None:
    (folder / "targets.yaml").write_text("strategy:\n  VOL_TARGET: 7\n")
    ran = triplane(
        "doctor", "--json", cwd=folder,
        variables={"TRIPLANE_BOOTSTRAP": "127.0.0.1:9", "TRIPLANE_GATEWAY_PORT": "9", f"{PREFIX}ACOUNT": "DU1"},
    )  # fmt: skip
    assert f"{PREFIX}ACOUNT is no variable of Triplane and has no effect; did you mean TRIPLANE_ACCOUNT?" in [
        finding["found"] for finding in ran.json if finding["state"] == "warning"
    ]
    assert ran.code == 1
    problems = {finding["what"]: finding for finding in ran.json if finding["state"] == "problem"}
    assert set(problems) >= {"configuration", "Kafka", "mode, account and port"}
    assert all(finding["remedy"] for finding in problems.values())
    text = triplane("doctor", cwd=folder)
    assert text.code == 1
    assert "VOL_TARGET" in text.out
    assert "Traceback" not in text.out + text.err


def test_doctor_says_how_to_get_a_missing_file(tmp_path: Path) -> None:
    ran = triplane("doctor", "--json", cwd=tmp_path)
    assert ran.code == 1
    remedies = {f["found"].partition(":")[0]: f["remedy"] for f in ran.json if f["what"] == "configuration"}
    assert "`python -m triplane.control.document` write one" in remedies["targets.yaml"]
    assert "copy it from the repository" in remedies["assets.csv"]


def test_doctor_tells_a_stopped_kafka_of_its_own_from_a_foreign_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triplane.stack.topics.ANSWER_S", 0.2)
    state = tmp_path / "state"

    def kafka(bootstrap: str = "127.0.0.1:9") -> tuple[str, str]:
        (found,) = examine_kafka(Settings(bootstrap=bootstrap, state_dir=state))
        assert found.state == "problem"
        return found.found, found.remedy

    found, remedy = kafka()
    assert found == "127.0.0.1:9, which KAFKA_BOOTSTRAP_SERVERS or TRIPLANE_BOOTSTRAP names, does not answer"
    assert "correct KAFKA_BOOTSTRAP_SERVERS" in remedy
    # What `triplane up` leaves when it is killed: the address of a Kafka that died with it.
    (state / "kafka").mkdir(parents=True)
    (state / "environment.json").write_text('{"TRIPLANE_BOOTSTRAP": "127.0.0.1:9"}')
    found, remedy = kafka()
    assert found == "this folder's own is not running (it was at 127.0.0.1:9)"
    assert "start it with `triplane up`" in remedy
    assert "KAFKA_BOOTSTRAP_SERVERS" in kafka("127.0.0.1:10")[1]
    # One whose supervisor lives is started again without anybody's help.
    (state / "supervisor.json").write_text(json.dumps({"pid": os.getpid(), "started": start_time(), "processes": []}))
    found, remedy = kafka()
    assert found == "this folder's own does not answer at 127.0.0.1:9"
    assert remedy.startswith(f"wait: the supervisor (pid {os.getpid()})")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"TRIPLANE_MODE": "live", "TRIPLANE_GATEWAY_PORT": "4001", "TRIPLANE_ACCOUNT": "U1"},
            "live trading is refused",
        ),
        ({"TRIPLANE_GATEWAY_PORT": "4001", "TRIPLANE_ACCOUNT": "DU1"}, "port 4001 is IB Gateway's live port"),
        ({"TRIPLANE_GATEWAY_PORT": "4002", "TRIPLANE_ACCOUNT": "U1"}, "U1 is not a paper account"),
        ({"TRIPLANE_MODE": "shadow"}, "the simulated market is not"),
        ({"TRIPLANE_ACCOUNT": "DU1,DU2"}, "TRIPLANE_ACCOUNT is 'DU1,DU2'"),
    ],
)
def test_doctor_names_what_up_would_refuse(folder: Path, variables: dict[str, str], words: str) -> None:
    ran = triplane("doctor", "--json", cwd=folder, variables=variables)
    assert ran.code == 1
    (found,) = [each for each in ran.json if each["what"] == "mode, account and port"]
    assert words in found["found"]
    assert found["remedy"]


def test_doctor_without_problems(folder: Path) -> None:
    ran = triplane("doctor", "--json", cwd=folder)
    assert [f for f in ran.json if f["state"] == "problem"] == []
    assert ran.code == 0
