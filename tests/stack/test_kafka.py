"""The local Kafka, and what is said when there can be none."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.waiting import settles
from triplane.stack import java, kafka, local, ports
from triplane.stack.errors import StackError, Unavailable
from triplane.stack.kafka import KafkaLaunch, LocalKafka, prepare, why_not_ready
from triplane.stack.ports import HOST, free_ports, is_free
from triplane.stack.topics import create_topics, list_topics

NOTHING = {"PATH": "/nonexistent"}


def program(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_no_java_and_no_docker_is_one_sentence() -> None:
    """It names all three ways and what to install."""
    with pytest.raises(StackError) as caught:
        local.choose(NOTHING)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert all(word in sentence for word in ("KAFKA_BOOTSTRAP_SERVERS", "Docker", "Java 17", "Maven", "install"))


def test_the_order_of_choice(tmp_path: Path) -> None:
    """Given before Docker before jars; a Docker without an engine does not count."""
    java_only = {"PATH": str(tmp_path / "java")}
    program(tmp_path / "java" / "java", "echo 'openjdk version \"21.0.2\"' >&2")
    both = {"PATH": f"{tmp_path / 'docker'}:{tmp_path / 'java'}"}
    program(tmp_path / "docker" / "docker", "exit 0")
    dead = {"PATH": f"{tmp_path / 'dead'}:{tmp_path / 'java'}"}
    program(tmp_path / "dead" / "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    assert local.choose(java_only) == "jars"
    assert local.choose(both) == "docker"
    assert local.choose(dead) == "jars"
    assert local.choose({**both, "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}) == "given"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_292"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ("no version here", None),
    ],
)
def test_versions_of_java(tmp_path: Path, text: str, version: int | None) -> None:
    """Old and new forms of `java -version`; an old Java is as good as none."""
    path = program(tmp_path / "bin" / "java", f"echo '{text}' >&2")
    assert java.java_version(path) == version
    found = java.find_java({"JAVA_HOME": str(tmp_path), **NOTHING})
    assert found == (str(path) if version and version >= 17 else None)


def test_missing_maven_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java is there, the jars are not, and nothing can fetch them."""
    monkeypatch.setenv("TRIPLANE_CACHE", str(tmp_path))
    with pytest.raises(
        StackError, match=r"^Maven is missing, so Kafka's jars cannot be fetched; install it \(for example"
    ):
        java.kafka_jars(NOTHING)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_failing_download_is_one_sentence_with_mavens_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real Maven that cannot find an artifact."""
    if java.find_maven() is None:
        pytest.skip("Maven is not installed")
    pom = tmp_path / "deploy" / "kafka" / "pom.xml"
    pom.parent.mkdir(parents=True)
    pom.write_text((java.DEPLOY / "kafka" / "pom.xml").read_text().replace("<version>4.3.0<", "<version>4.3.0-absent<"))
    monkeypatch.setattr(java, "DEPLOY", tmp_path / "deploy")
    monkeypatch.setenv("TRIPLANE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        StackError, match=r"^Maven could not fetch Kafka's jars: .*4.3.0-absent.*; check the network"
    ) as caught:
        java.kafka_jars()
    assert "\n" not in str(caught.value)


def test_the_cache_is_filled_once_by_parallel_callers_and_again_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight callers, one download; a lost or shortened jar means another."""
    monkeypatch.setenv("TRIPLANE_CACHE", str(tmp_path))
    filled: list[Path] = []
    barrier = threading.Barrier(8)

    def fill(directory: Path) -> None:
        filled.append(directory)
        (directory / "a.jar").write_bytes(b"jar")

    def call() -> None:
        barrier.wait()
        java._cached("kafka", "pom", fill)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(filled) == 1
    home = java._cached("kafka", "pom", fill)
    (home / "a.jar").write_bytes(b"j")
    assert java._cached("kafka", "pom", fill) == home
    assert len(filled) == 2
    (home / "a.jar").unlink()
    java._cached("kafka", "pom", fill)
    assert len(filled) == 3
    assert java._cached("kafka", "another pom", fill) != home


def test_a_download_can_be_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the first start: Maven ends at once and nothing half-done stays."""
    monkeypatch.setenv("TRIPLANE_CACHE", str(tmp_path / "cache"))
    pid = tmp_path / "pid"
    program(tmp_path / "mvn", f"echo $$ > {pid}; exec sleep 600")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    caught: list[BaseException] = []

    def fetch() -> None:
        try:
            java.kafka_jars(env)
        except StackError as error:
            caught.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    try:
        settles(lambda: pid.exists() and pid.read_text().strip() != "", what="the download's start")
        java.abandon()
        thread.join(10)
        assert not thread.is_alive()
    finally:
        java.resume()
    assert "given up" in str(caught[0])
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_wanted_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    """It names the port, who wanted it, and the flag."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(
            StackError, match=rf"^port {port} on 127.0.0.1 is in use, but Kafka needs it; stop .* --kafka-port$"
        ):
            kafka.prepare(tmp_path, port)


def test_a_broker_that_does_not_answer_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something listens and says nothing: a time limit, not a hang."""
    monkeypatch.setattr(local, "GIVEN_TIMEOUT_S", 1.0)
    with socket.create_server((HOST, 0)) as silent:
        address = f"{HOST}:{silent.getsockname()[1]}"
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", address)
        monkeypatch.delenv("TRIPLANE_BOOTSTRAP", raising=False)
        with pytest.raises(
            Unavailable, match=rf"^Kafka at {address} did not answer within 1 s; start it, or correct KAFKA"
        ):
            local.LocalStack.start(tmp_path)


def test_properties_survive_odd_paths() -> None:
    """Java reads Latin-1 with escapes; a comma would be two directories."""
    text = kafka.server_properties(Path("/home/jürgen/a\\b"), 9092, 9093)
    assert "log.dirs=/home/j\\u00fcrgen/a\\\\b\n" in text
    assert text.isascii()
    with pytest.raises(StackError, match="a comma separates directories"):
        kafka.server_properties(Path("/a,b"), 9092, 9093)


@pytest.mark.integration
def test_a_damaged_data_directory_is_one_sentence(tmp_path: Path) -> None:
    """Kafka's own reason and where its log is."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=7\n")
    with pytest.raises(
        StackError, match=r"^Kafka ended while it started \(.*node.*\); the whole story is in .*kafka.log$"
    ):
        LocalKafka.start(tmp_path)


@pytest.mark.integration
def test_a_run_whose_kafka_is_given_up_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every process that is vital (tests/stack/test_restarts.py): without Kafka nothing else could do anything."""
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "TRIPLANE_BOOTSTRAP"):
        monkeypatch.delenv(name, raising=False)
    (spec,) = local.prepare(tmp_path, with_registry=False).broker
    assert (spec.name, spec.vital, spec.restart) == ("kafka", True, True)


@pytest.mark.integration
def test_another_cluster_at_the_address_is_not_taken_for_ours(tmp_path: Path, kafka: str) -> None:
    """Someone takes the port between our look at it and the start: theirs answers, and ours has to start elsewhere."""
    launches: list[KafkaLaunch] = []

    def late(directory: Path, port: int) -> KafkaLaunch:
        launch = prepare(directory, port)
        if not launches:
            config = directory / "server.properties"
            config.write_text(config.read_text().replace(launch.bootstrap, kafka))
            launch = dataclasses.replace(launch, bootstrap=kafka)
            assert f"is not what answers at {kafka}" in why_not_ready(launch)
        launches.append(launch)
        return launch

    with LocalKafka.start(tmp_path, prepare=late) as node:
        assert len(launches) == 2
        assert node.bootstrap == launches[1].bootstrap != kafka
        assert why_not_ready(launches[1]) == ""


@pytest.mark.integration
@pytest.mark.chaos
def test_acknowledged_records_survive_a_kill_and_the_address_stays(tmp_path: Path) -> None:
    """SIGKILL, then a start in the same directory: same port, every acknowledged record, same topics."""
    node = LocalKafka.start(tmp_path)
    try:
        create_topics(node.bootstrap)
        producer = Producer({"bootstrap.servers": node.bootstrap, "acks": "all", "enable.idempotence": True})
        acknowledged: list[int] = []
        for _ in range(500):
            producer.produce(
                "data.bars", b"x" * 1000, key=b"main", on_delivery=lambda e, m: acknowledged.append(m.offset())
            )
        assert producer.flush(30) == 0
        node.kill()
        again = LocalKafka.start(tmp_path)
        assert again.bootstrap == node.bootstrap
        node = again
        assert "data.bars" in list_topics(node.bootstrap)
        consumer = Consumer({"bootstrap.servers": node.bootstrap, "group.id": "t", "auto.offset.reset": "error"})
        consumer.assign([TopicPartition("data.bars", 0, 0)])
        found = [message.offset() for message in consumer.consume(500, timeout=20)]
        consumer.close()
        assert found == sorted(acknowledged) == list(range(500))
    finally:
        node.stop()
    ports = json.loads((tmp_path / "ports.json").read_text())["ports"]
    assert f"{HOST}:{ports[0]}" == node.bootstrap


def test_a_free_port_stays_free_whatever_connects_meanwhile() -> None:
    found = free_ports(3)
    assert len(set(found)) == 3
    assert all(is_free(port) for port in found)
    # A connection that is opened meanwhile cannot take one: the kernel's own choices lie elsewhere.
    range_file = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(range_file.read_text().split()[0]) if range_file.exists() else 49_152
    assert max(found) < first


def test_ports_chosen_at_the_same_time_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is bound seconds after it was chosen: whoever chooses meanwhile gets others, also from another process."""
    monkeypatch.setenv("TRIPLANE_CACHE", str(tmp_path))
    monkeypatch.setattr(ports, "LISTENERS", range(30_000, 30_040))
    program = "from triplane.stack import ports; ports.LISTENERS = range(30_000, 30_040); print(*ports.free_ports(4))"
    others = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = [port for _ in range(3) for port in ports.free_ports(4)]
    found += [int(port) for each in others for port in each.communicate(timeout=60)[0].split()]
    assert len(found) == len(set(found)) == 24
    # What is long past, or stands there in nobody's hand, is no reason to refuse.
    (tmp_path / "ports.json").write_text(json.dumps(dict.fromkeys(range(30000, 30040), 0.0)))
    assert len(ports.free_ports(4)) == 4
    (tmp_path / "ports.json").write_text("{")
    assert len(ports.free_ports(4)) == 4
