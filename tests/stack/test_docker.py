"""What a Docker engine would be told. No engine is needed: the lifeline is plain sh, the rest is words."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.stack.test_kafka import program
from tests.waiting import settles
from triplane.stack import docker, kafka
from triplane.stack.errors import StackError


def lifeline(tmp_path: Path, text: str) -> subprocess.Popen[bytes]:
    """The lifeline around a program, as a container runs it."""
    path = program(tmp_path / "run", text)
    return subprocess.Popen(["sh", "-c", docker.LIFELINE, str(path)], stdin=subprocess.PIPE)


POLITE = "trap 'echo stopped > {0}.stopped; exit 0' TERM; touch {0}; while :; do sleep 0.05; done"


@pytest.mark.parametrize("how", ["term", "end of input"])
def test_the_lifeline_stops_the_program(tmp_path: Path, how: str) -> None:
    """SIGTERM is passed on; the end of standard input, which is the end of whoever started it, counts as SIGTERM."""
    up = tmp_path / "up"
    process = lifeline(tmp_path, POLITE.format(up))
    settles(up.exists, what="the program")
    assert process.stdin is not None
    if how == "term":
        process.send_signal(signal.SIGTERM)
    else:
        process.stdin.close()
    assert process.wait(10) == 0
    assert Path(f"{up}.stopped").exists()


def test_the_lifeline_reports_the_programs_code(tmp_path: Path) -> None:
    """A program that ends by itself ends the container with its code."""
    assert lifeline(tmp_path, "exit 78").wait(10) == 78


def test_the_container_has_the_settings_of_the_jars() -> None:
    """One table of settings for both; every name is in the image's form."""
    env = docker.kafka_environment("127.0.0.1", 19092, "kafka")
    for key, value in kafka.ONE_NODE.items():
        assert env[f"KAFKA_{key.upper().replace('.', '_')}"] == value
    assert env["KAFKA_ADVERTISED_LISTENERS"] == "OUTSIDE://127.0.0.1:19092,INSIDE://kafka:29092"
    assert all("." not in key for key in env)


def test_kafka_in_a_container_is_published_on_loopback_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line names the image's version, a loopback port and a volume; an old container of the name is removed."""
    log = tmp_path / "calls"
    program(tmp_path / "bin" / "docker", f'echo "$@" >> {log}; test "$2" != inspect || test "$1" != network')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    launch = docker.prepare_kafka(tmp_path / "state" / "kafka")
    port = launch.bootstrap.split(":")[1]
    text = " ".join(launch.argv)
    assert f"-p 127.0.0.1:{port}:{port} " in text
    assert docker.KAFKA_IMAGE in launch.argv
    assert "0.0.0.0" not in text
    calls = log.read_text().splitlines()
    assert any(call.startswith("rm -f triplane-kafka-") for call in calls)
    assert any(call.startswith("network create triplane-") for call in calls)
    registry = docker.prepare_registry(tmp_path / "state" / "registry", launch.bootstrap)
    name = launch.argv[launch.argv.index("--name") + 1]
    assert f"APICURIO_KAFKASQL_BOOTSTRAP_SERVERS={name}:29092" in registry.argv
    network = launch.argv[launch.argv.index("--network") + 1]
    assert registry.argv[registry.argv.index("--network") + 1] == network


def test_an_engine_that_cannot_pull_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of Docker's complaint, and the remedy."""
    program(tmp_path / "bin" / "docker", "echo 'Error response from daemon: no such host' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(
        StackError, match=r"^Docker could not pull apache/kafka:4.3.0: Error response .*no such host; check"
    ):
        docker.prepare_kafka(tmp_path / "state" / "kafka")
    assert not docker.engine_answers()
