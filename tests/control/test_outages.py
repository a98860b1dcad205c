"""The control daemon while it is killed, and while Kafka is: the log stays a chain of whole versions."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.control.contents import ASSETS, with_value
from tests.control.daemon import ACTOR, Control, check_chain
from tests.foreign_transaction import foreign_transaction
from tests.waiting import eventually, wait
from triplane.runtime import atomic_file
from triplane.runtime.configuration import from_record, parse
from triplane.runtime.kafka_probe import SILENT
from triplane.runtime.settings import Settings
from triplane.stack.kafka import LocalKafka
from triplane.stack.topics import create_topics, delete_topics

pytestmark = pytest.mark.integration


def test_a_daemon_killed_at_any_moment_leaves_a_chain_of_whole_versions(
    control: Control, seed: int, counts: Callable[[int, int], int]
):
    import random

    chance = random.Random(seed)
    rounds = counts(4, 20)
    for number in range(rounds):
        control.launch()
        if number:
            atomic_file.write(control.targets, with_value("VOL_TARGET", f"{0.1 + number / 100:.2f}"))
        wait(chance.uniform(0.5, 2.5))  # the fault is a moment
        control.end(signal.SIGKILL)
    control.start()
    final = parse(control.targets.read_text(), ASSETS)
    assert control.get("/status")["config"]["hash"] == final.hash
    check_chain(control.versions())


def test_an_edit_behind_an_open_transaction_is_one_version_and_waits_for_its_end(control: Control, settings: Settings):
    """Published, acknowledged and hidden: neither the daemon nor its successor writes it a second time."""
    control.start()
    name = "control.config-0 is not readable from"
    with foreign_transaction(settings, "control.config"):
        atomic_file.write(control.targets, with_value("VOL_TARGET", "0.07"))
        eventually(lambda: name in control.get("/readyz")["reason"], 30, "why it is not ready")
        eventually(lambda: "waiting for the whole log" in control.stderr.read_text(), 40, "it waits for what it wrote")
        control.end(signal.SIGKILL)
        control.launch()
        eventually(lambda: control.address() and name in control.get("/readyz")["reason"], 30, "its successor waits")
        assert control.end() == 0, "it can be stopped while it waits"
        control.launch()
        eventually(lambda: control.address() and name in control.get("/readyz")["reason"], 30, "the next one waits")

        def refused() -> str:
            answer = control.post({"command": "kill.trip", "command_id": "c1", **ACTOR})
            assert answer.status_code == 503
            return answer.json()["error"]

        eventually(lambda: name in refused(), 30, "a command is told why nobody takes it")
        assert "`triplane kill trip`, which needs no Kafka" in refused()
    eventually(lambda: control.get("/readyz")["ready"], 20, "ready once the transaction ended")
    assert control.status_seq() == 2
    versions = [version["seq"] for version in control.versions()]
    assert versions == [1, 2]
    check_chain(control.versions())
    assert "another control daemon" not in control.stderr.read_text()


def test_a_log_that_was_made_anew_ends_the_daemon_with_what_happened(control: Control, settings: Settings):
    """Not as a second daemon's doing, and before anything is written on it."""
    control.start()
    delete_topics(settings.bootstrap, settings.topic("control.config"))
    create_topics(settings.bootstrap, prefix=settings.topic_prefix)
    assert control.process is not None
    assert control.process.wait(30) == 78
    assert "control.config-0 ends at 0, and this daemon has read it up to 1: records of the log are lost" in (
        control.stderr.read_text()
    )
    assert control.versions() == []


def test_a_log_that_was_made_anew_while_nobody_looked_is_refused_before_anything_is_written(
    control: Control, settings: Settings
):
    control.start()
    assert control.end() == 0
    delete_topics(settings.bootstrap, settings.topic("control.config"))
    create_topics(settings.bootstrap, prefix=settings.topic_prefix)
    assert control.launch().wait(60) == 78
    assert "control.config was deleted and made anew since this daemon first read it" in control.stderr.read_text()
    assert control.versions() == []


def test_a_command_behind_an_open_transaction_is_told_to_be_read_by_nobody_yet(control: Control, settings: Settings):
    """Whoever stops trading by it must not believe that it has stopped."""
    control.start()
    request = {"command": "kill.trip", "command_id": "c1", **ACTOR}
    with foreign_transaction(settings, "control.commands"):
        answer = control.post(request)
        assert answer.status_code == 503
        error = answer.json()["error"]
        assert error.startswith("the command is written, and nobody reads it yet: control.commands-0 is not readable")
        assert "`triplane kill trip`, which needs no Kafka" in error
        assert control.post(request).status_code == 503, "a repeat is answered alike"
    assert control.post(request).status_code == 200
    assert len(control.log("control.commands")) == 1  # it was not sent again


def test_an_edit_and_a_command_while_kafka_is_down_are_on_the_log_once_it_is_back(tmp_path: Path):
    data = tmp_path / "kafka"
    kafka = LocalKafka.start(data)
    control: Control | None = None
    try:
        create_topics(kafka.bootstrap)
        control = Control(Settings(bootstrap=kafka.bootstrap, state_dir=tmp_path / "state"), tmp_path / "files")
        control.start()
        kafka.kill()
        eventually(
            lambda: control.get("/readyz")["reason"] == SILENT, 20, "not ready before there is anything to publish"
        )
        atomic_file.write(control.targets, with_value("VOL_TARGET", "0.07"))
        answer = control.post({"command": "kill.trip", "command_id": "c1", **ACTOR})
        assert answer.status_code == 503
        assert "repeat it with this command_id" in answer.json()["error"]
        eventually(lambda: "could not be published" in control.get("/readyz")["reason"], 20, "why it is not ready")
        assert control.status_seq() == 1
        # Edited again meanwhile: what counts is what stands in the file when Kafka is back.
        atomic_file.write(control.targets, with_value("VOL_TARGET", "0.08"))
        kafka = LocalKafka.start(data, int(kafka.bootstrap.rpartition(":")[2]))
        eventually(lambda: from_record(control.versions()[-1]).targets.strategy.VOL_TARGET == 0.08, 60, "the edit")
        eventually(lambda: control.get("/readyz")["ready"], 20, "ready again")
        assert control.post({"command": "kill.trip", "command_id": "c1", **ACTOR}).status_code == 200
        check_chain(control.versions())
        assert {record.raw for record in control.log("control.commands")} == {control.log("control.commands")[0].raw}
    finally:
        if control is not None:
            control.client.close()
            control.end(signal.SIGKILL)
        kafka.stop()
