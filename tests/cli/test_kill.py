"""The kill switch from the command line, with the order process dead, alive and standing still."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Ran, killed, triplane, variables_of
from tests.order_plane.world import OrderWorld
from tests.waiting import eventually
from triplane.cli import context
from triplane.runtime import loopback
from triplane.runtime.process_identity import start_time
from triplane.runtime.settings import Settings


def kill(state: Path, *arguments: str) -> Ran:
    """`triplane kill ...` where nothing runs."""
    variables = {"TRIPLANE_STATE_DIR": str(state), "TRIPLANE_ACCOUNT": "DU1234567", "TRIPLANE_GATEWAY_PORT": "9"}
    return triplane("kill", *arguments, cwd=state.parent, variables=variables)


def test_trip_status_and_rearm_without_kafka_gateway_or_order_process(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert kill(state, "status").out == "not tripped; the order process does not run\n"
    ran = kill(state, "trip", "--reason", "a drill", "--actor", "ada", "--json")
    assert ran.code == 0
    assert ran.json["tripped"] is True
    assert ran.json["order_process"] == "dead"
    file = json.loads((state / "KILL").read_text())
    assert (file["actor"], file["reason"], file["scope"]) == ("ada", "a drill", "account")
    assert "could not be asked to cancel" in " ".join(ran.json["lines"])
    assert f"no order process is known in {state}" in " ".join(ran.json["lines"])
    found = kill(state, "status", "--json").json
    assert found["tripped"] is True
    first, since, remedy = kill(state, "status").out.splitlines()
    assert first == "tripped by ada for the whole account: a drill"
    assert re.fullmatch(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; the order process does not run", since)
    assert "triplane kill rearm" in remedy
    doctor = triplane("doctor", "--json", cwd=tmp_path, variables={"TRIPLANE_STATE_DIR": str(state)}).json
    assert any(finding["what"] == "kill switch" and finding["found"] == "tripped" for finding in doctor)
    ran = kill(state, "rearm", "--reason", "drill over", "--actor", "ada")
    assert ran.code == 0
    assert not (state / "KILL").exists()
    assert kill(state, "status", "--json").json["tripped"] is False


def test_a_user_without_a_name_is_recorded_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under some number; a kill is not refused for it."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert context.user_name() == f"uid {os.getuid()}"


@pytest.mark.parametrize(
    "arguments", [("rearm", "--reason", " ", "--actor", "ada"), ("trip", "--reason", "")], ids=["rearm", "trip"]
)
def test_an_empty_name_or_reason_does_nothing(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ran = kill(tmp_path / "state", *arguments)
    assert ran.code == 1
    assert "a name and a reason are required" in ran.sentence
    assert not (tmp_path / "state" / "KILL").exists()


def test_a_touched_file_is_a_tripped_switch(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "KILL").touch()
    assert kill(state, "status").out.startswith("tripped")


@pytest.mark.parametrize(
    ("words", "dated"),
    [
        ("", True),
        ("ada: a drill", True),
        ('{"time": "1e99"}', False),
        ('{"time": "9%s"}' % ("9" * 40), False),
        ('{"time": "\u00b2"}', False),
    ],
    ids=["touched", "words", "no-number", "far-future", "no-digit"],
)
def test_a_file_written_by_hand_is_told_with_the_time_it_was_written(words: str, dated: bool, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "KILL").write_text(words)
    os.utime(state / "KILL", (1_500_000_000, 1_500_000_000))
    told = kill(state, "status").out
    assert ("since 2017-07-14 02:40:00 UTC; " in told) == dated
    assert "the order process does not run" in told


def test_a_state_directory_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    ran = kill(tmp_path / "state", "trip", "--reason", "r")
    assert ran.code == 1
    assert "state" in ran.sentence


def living(state: Path) -> None:
    """A run file that names this very process as the order process, at an address where nobody listens."""
    (state / "run").mkdir(parents=True)
    document = {"pid": os.getpid(), "started": start_time(), "http": "http://127.0.0.1:9"}
    (state / "run" / "order.json").write_text(json.dumps(document))


def test_with_two_living_installations_both_are_stopped(tmp_path: Path) -> None:
    """`up` on an account and a demonstration kept beside it: nobody has to think of which one is meant."""
    up, demo = tmp_path / ".triplane", tmp_path / ".triplane" / "demo"
    for state in (up, demo):
        living(state)
        (state / "environment.json").write_text(
            json.dumps({"TRIPLANE_GATEWAY_PORT": "9", "TRIPLANE_STATE_DIR": str(state)})
        )
    ran = triplane("kill", "trip", "--reason", "both", cwd=tmp_path)
    assert ran.code == 0, ran
    assert (up / "KILL").exists()
    assert (demo / "KILL").exists()
    assert ".triplane/demo: " in ran.out
    told = triplane("kill", "status", cwd=tmp_path).out.splitlines()
    assert [line.partition(": ")[0] for line in told if "tripped by" in line] == [".triplane", ".triplane/demo"]
    ran = triplane("kill", "rearm", "--reason", "over", "--actor", "ada", cwd=tmp_path)
    assert (ran.code, (up / "KILL").exists(), (demo / "KILL").exists()) == (2, True, True), "re-arming is for one"
    assert "TRIPLANE_STATE_DIR=.triplane/demo" in ran.sentence


def test_the_broker_of_an_installation_that_was_killed_is_asked_to_cancel(tmp_path: Path) -> None:
    """Its orders live on at the broker, whose address only that installation knew; also once `down` has cleared what it left."""
    state = tmp_path / ".triplane"
    killed(
        state,
        {"TRIPLANE_BOOTSTRAP": "127.0.0.1:9", "TRIPLANE_GATEWAY_PORT": "10", "TRIPLANE_ACCOUNT": "DU7"},
        "kafka",
        "order",
    )
    for _ in range(2):
        ran = triplane("kill", "trip", "--reason", "r", cwd=tmp_path)
        assert "127.0.0.1:10 could not be asked to cancel" in ran.out + ran.err
        assert triplane("down", cwd=tmp_path).code in (0, 1)
    assert json.loads((state / "environment.json").read_text()) == {
        "TRIPLANE_GATEWAY_PORT": "10",
        "TRIPLANE_ACCOUNT": "DU7",
    }


def test_without_a_gateway_a_trip_says_that_nobody_was_asked_to_cancel(tmp_path: Path) -> None:
    (tmp_path / ".triplane").mkdir()
    ran = triplane("kill", "trip", "--reason", "r", cwd=tmp_path)
    assert ran.code == 0, ran
    assert "no gateway is known here" in ran.out
    assert ":0" not in ran.out


@pytest.mark.parametrize(
    ("arguments", "undone"),
    [
        (("trip", "--reason", "r"), "nothing was tripped"),
        (("rearm", "--reason", "r", "--actor", "ada"), "nothing was re-armed"),
        (("status",), "no kill switch is known"),
    ],
    ids=["trip", "rearm", "status"],
)
def test_where_no_installation_is_nothing_is_claimed(arguments: tuple[str, ...], undone: str, tmp_path: Path) -> None:
    ran = triplane("kill", *arguments, cwd=tmp_path)
    assert ran.code == 1
    assert ran.sentence.startswith(f"triplane: {undone}: no installation is here")
    assert "set TRIPLANE_STATE_DIR" in ran.sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mark", ["targets.yaml", "assets.csv", ".triplane"])
def test_one_mark_of_an_installation_is_enough_to_trip(mark: str, tmp_path: Path) -> None:
    """Everything may be down and half of it gone: the file is the last resort."""
    (tmp_path / mark).mkdir() if mark == ".triplane" else (tmp_path / mark).touch()
    ran = triplane("kill", "trip", "--reason", "r", cwd=tmp_path)
    assert ran.code == 0, ran
    assert (tmp_path / ".triplane" / "KILL").exists()


def test_a_state_directory_named_in_the_env_file_is_the_one_that_is_stopped(tmp_path: Path) -> None:
    """The daemons read `.env`, and a kill file beside theirs would stop nobody."""
    state = tmp_path / "elsewhere"
    living(state)
    (tmp_path / ".env").write_text(f"TRIPLANE_STATE_DIR={state}\n")
    ran = triplane("kill", "trip", "--reason", "r", cwd=tmp_path)
    assert ran.code == 0, ran
    assert (state / "KILL").exists()
    assert f"(pid {os.getpid()}) does not answer" in ran.out
    assert not (tmp_path / ".triplane").exists()


def test_an_env_file_that_cannot_be_read_keeps_nobody_from_stopping(tmp_path: Path) -> None:
    (tmp_path / ".triplane").mkdir()
    (tmp_path / ".env").write_bytes(b"TRIPLANE_STATE_DIR=M\xfcller\n")
    ran = triplane("kill", "trip", "--reason", "r", cwd=tmp_path)
    assert ran.code == 0, ran
    assert (tmp_path / ".triplane" / "KILL").exists()


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]",
        "null",
        '{"TRIPLANE_HTTP_PORT": 5}',
        '{"TRIPLANE_MODE": "nonsense"}',
        '{"": "x"}',
        "[" * 200_000,
        '{"a":' * 200_000,
    ],
    ids=lambda text: text[:20],
)
def test_a_damaged_installation_is_stopped_all_the_same(damaged: str, tmp_path: Path) -> None:
    state = tmp_path / ".triplane"
    living(state)
    (state / "environment.json").write_text(damaged)
    ran = triplane("kill", "trip", "--reason", "r", cwd=tmp_path)
    assert ran.code == 0, ran
    assert (state / "KILL").exists()
    assert "only its KILL file and its order process can be reached" in ran.err


@pytest.mark.parametrize("variable", ["TRIPLANE_HTTP_PORT=abc", "TRIPLANE_MODE=nonsense", "TRIPLANE_KAFKA_OPTIONS=x"])
def test_a_misspelt_variable_keeps_nobody_from_stopping(variable: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    name, _, value = variable.partition("=")
    ran = triplane(
        "kill", "trip", "--reason", "r", cwd=tmp_path, variables={name: value, "TRIPLANE_STATE_DIR": str(state)}
    )
    assert ran.code == 0, ran
    assert (state / "KILL").exists()


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[OrderWorld]:
    made = OrderWorld(settings, tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.integration
def test_a_living_order_process_holds_within_a_second_and_is_rearmed(world: OrderWorld, tmp_path: Path) -> None:
    def verb(*arguments: str) -> Ran:
        return triplane("kill", *arguments, cwd=tmp_path, variables=variables_of(world.settings))

    world.open_market()
    process = world.start().ready()
    assert verb("status", "--json").json["order_process"] == "answers"
    began = time.monotonic()
    ran = verb("trip", "--reason", "too good to be true, M\udcfcller", "--actor", "ada", "--json")
    assert ran.code == 0, ran
    assert ran.json["order_process"] == "told"
    assert ran.json["cancels"] == "asked"
    assert time.monotonic() - began < 20  # a process start on a busy machine; the hold itself is the next line
    assert process.metric("triplane_kill_switch_tripped") == 1
    world.intents(KO=300)
    eventually(
        lambda: any(d["code"].startswith("KILL") for d in world.records("order.decisions")),
        20,
        "a denial by the kill switch",
    )
    assert world.gateway.sent() == {}
    status = verb("status").out
    assert "too good to be true, M\\udcfcller" in status  # a byte that is no UTF-8 is told, and nobody fails on it
    # Standing still it cannot be re-armed, and that is said; the file stays.
    process.signal(signal.SIGSTOP)
    refused = verb("rearm", "--reason", "over", "--actor", "ada")
    assert refused.code == 1
    assert "does not answer" in refused.sentence
    assert verb("status", "--json").json["order_process"] == "silent"
    tripped = verb("trip", "--reason", "again", "--actor", "ada", "--json").json
    assert tripped["order_process"] == "silent"
    assert tripped["cancels"] == "asked"  # by the reserved client id, past the process
    os.kill(process.pid, signal.SIGCONT)
    eventually(lambda: verb("status", "--json").json["order_process"] == "answers", 20, "the process answers again")
    ran = verb("rearm", "--reason", "over", "--actor", "ada")
    assert ran.code == 0, ran
    assert "re-armed by ada" in ran.out
    eventually(lambda: process.metric("triplane_kill_switch_tripped") == 0, 10, "re-armed")
    again = verb("rearm", "--reason", "over", "--actor", "ada")
    assert again.code == 1
    assert "nothing was re-armed: the kill switch is not tripped" in again.sentence
    assert not (world.settings.state_dir / "KILL").exists()
    # Words that no record can hold, over HTTP, too; a start after a crash reads them from the journal and the log.
    with loopback.client(5.0) as client:
        body = b'{"actor": "b\\ud800", "reason": "x\\ud800", "scope": "own"}'
        assert client.post(f"{process.url}/kill", content=body).status_code == 200
    process.kill()
    process = world.start().ready()
    assert process.metric("triplane_kill_switch_tripped") == 1
    assert "tripped by b" in verb("status").out
    world.replays()
