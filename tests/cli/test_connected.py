"""Verbs against a real Kafka: configuration, topics, and what they say of an empty or a silent log."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas import codec
from tests.cli.command import ROOT, Ran, triplane, variables_of
from tests.foreign_transaction import foreign_transaction
from tests.recordings import Market, Message, publish, targets
from tests.silent_server import silent_server
from triplane.cli.status import latest, unavailable
from triplane.runtime.kafka_in import LogUnavailable
from triplane.runtime.process_identity import start_time
from triplane.runtime.settings import Settings
from triplane.stack import state_file
from triplane.stack.specs import ProcessStatus
from triplane.stack.topics import delete_topics

pytestmark = pytest.mark.integration


class Folder:
    """A folder with its own files on the test's installation."""

    def __init__(self, settings: Settings, path: Path) -> None:
        self.path = path
        path.mkdir()
        for name in ("targets.yaml", "assets.csv"):
            shutil.copy(ROOT / name, path)
        self.settings = settings.model_copy(
            update={"targets_path": path / "targets.yaml", "assets_path": path / "assets.csv"}
        )

    def run(self, *arguments: str, **variables: str) -> Ran:
        return triplane(*arguments, cwd=self.path, variables=variables_of(self.settings) | variables)


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Folder:
    return Folder(settings, tmp_path / "folder")


@pytest.fixture
def silent() -> Iterator[str]:
    with silent_server() as address:
        yield address


def test_history_diff_and_check_of_published_versions(folder: Folder) -> None:
    market = Market(history=2, live=1)
    publish(
        folder.settings,
        [market.config(), market.config(targets(VOL_TARGET=0.08)), market.config(targets(VOL_TARGET=0.06))],
    )
    versions = folder.run("config", "history", "--json").json
    assert [version["seq"] for version in versions] == [1, 2, 3]
    assert len({version["hash"] for version in versions}) == 3
    text = folder.run("config", "history")
    assert text.code == 0
    assert all(version["hash"][:12] in text.out for version in versions)
    last = folder.run("config", "diff", "--json").json
    assert (last["old"], last["new"]) == (2, 3)
    (change,) = last["changes"]
    assert "VOL_TARGET" in change
    assert "0.08" in change
    assert "0.06" in change
    assert folder.run("config", "diff", "1", "1").out == "versions 1 and 1 say the same\n"
    assert folder.run("config", "diff", versions[0]["hash"][:16], "3", "--json").json["old"] == 1
    # What nobody can read is shown as such, and what is in force stays in force.
    foreign = codec.defaults("ConfigVersion") | {"seq": 4, "hash": "f" * 64, "actor": "elsewhere"}
    publish(folder.settings, [Message("control.config", foreign)])
    assert [bool(version["unreadable"]) for version in folder.run("config", "history", "--json").json] == [
        *(False, False, False),
        True,
    ]
    (line,) = [line for line in folder.run("config", "history").out.splitlines() if "elsewhere" in line]
    assert "not in force" in line
    assert "unreadable: does not fit the values" in line
    # The files against what is in force.
    checked = folder.run("config", "check", "--json").json
    assert checked["ok"] is True
    assert any("VOL_TARGET" in change for change in checked["changes"])
    unknown = folder.run("config", "diff", "1", "99")
    assert unknown.code == 1
    assert "no single version is called '99'" in unknown.sentence


def test_a_log_without_versions(folder: Folder) -> None:
    assert folder.run("config", "history", "--json").json == []
    assert folder.run("config", "check").code == 0
    ran = folder.run("config", "diff")
    assert ran.code == 1
    assert ran.sentence


def test_an_empty_log_is_explained_and_replayed(folder: Folder) -> None:
    ran = folder.run("explain", "AAPL")
    assert ran.code == 1
    assert "no decision has been made yet" in ran.sentence
    ran = folder.run("replay", "--verify")
    assert "Traceback" not in ran.err
    assert ran.code == 1
    status = folder.run("status", "--json")
    assert status.json["problem"] == ""
    assert status.json["blocked"] == []
    # An empty key comes from no producer of ours.
    writer = Producer({"bootstrap.servers": folder.settings.bootstrap})
    blank = codec.load().encode("GateState", codec.defaults("GateState"))
    writer.produce(folder.settings.topic("data.gates"), key=b"", value=blank)
    assert writer.flush(10) == 0
    status = folder.run("status", "--json").json
    assert status["blocked"] == []
    assert "data.gates-0@0 names no gate" in status["passed_over"][0]
    assert "names no gate" in folder.run("status").out


def test_what_somebody_else_wrote_does_not_hide_what_the_planes_wrote_last(folder: Folder) -> None:
    market = Market(history=2, live=1)
    publish(folder.settings, [market.config()])
    for commit in (False, True):
        with foreign_transaction(folder.settings, "control.config", commit=commit):
            pass
    found = latest(folder.settings, {"control.config": 1, "order.account": 1})
    assert [len(records) for records in found.values()] == [1, 0]
    assert found["control.config"][0]["seq"] == 1


def test_a_log_that_cannot_be_read_though_kafka_answers_is_not_told_as_a_silent_kafka(folder: Folder) -> None:
    """The supervisor keeps that Kafka running; what to do about its process is no remedy."""
    kept = [{"service": "kafka", "state": "ready", "pid": os.getpid()}]
    why = LogUnavailable("reading to the end of the log took longer than 10 s")
    assert unavailable(folder.settings, kept, why) == str(why)
    with foreign_transaction(folder.settings, "data.gates"):
        told = unavailable(folder.settings, kept, why)
    assert told.startswith("data.gates-0 is not readable from 0 on: somebody else's transaction is open there")


def test_topics_and_kafka_status(folder: Folder) -> None:
    assert folder.run("topics", "diff").out == "the cluster is as the catalogue says\n"
    delete_topics(folder.settings.bootstrap, f"{folder.settings.topic_prefix}data.bars")
    ran = folder.run("topics", "diff", "--json")
    assert ran.code == 1
    assert "data.bars" in " ".join(found["topic"] for found in ran.json)
    assert folder.run("kafka", "status").code == 1
    missing = folder.run("explain", "AAPL")
    assert missing.code == 1
    replayed = folder.run("replay", "--verify")
    assert "data.bars" in replayed.sentence
    assert "`triplane topics create`" in replayed.sentence
    assert folder.run("topics", "create").code == 0
    assert folder.run("topics", "diff").code == 0
    document = folder.run("kafka", "status", "--json").json
    assert document["brokers"] == 1


def test_a_kafka_that_does_not_answer_is_one_sentence(silent: str, tmp_path: Path) -> None:
    """It listens and says nothing: the worst form of being away. Each verb waits for it a while, so all wait at once."""
    variables = {
        "TRIPLANE_BOOTSTRAP": silent,
        "TRIPLANE_STATE_DIR": str(tmp_path / "s"),
        "TRIPLANE_TARGETS_PATH": str(ROOT / "targets.yaml"),
        "TRIPLANE_ASSETS_PATH": str(ROOT / "assets.csv"),
    }
    verbs = (("explain", "AAPL"), ("kafka", "status"), ("status",), ("status", "--json"), ("config", "check"))
    with ThreadPoolExecutor(len(verbs)) as at_once:
        explain, kafka, status, document, check = at_once.map(
            lambda verb: triplane(*verb, cwd=tmp_path, variables=variables), verbs
        )
    assert explain.code == kafka.code == status.code == 1
    assert silent in explain.sentence
    assert silent in kafka.sentence
    assert silent in status.out
    assert "Traceback" not in status.err
    assert silent in document.json["problem"]
    # The files themselves can be judged without it.
    assert check.code == 0, check
    assert " assets, hash " in check.out
    assert f"warning: what it would change is not known: Kafka at {silent}" in check.out


def test_status_says_what_to_do_about_a_kafka_of_its_own_that_stands_still(silent: str, tmp_path: Path) -> None:
    """The supervisor keeps it running, so neither starting one nor another address is a remedy."""
    (tmp_path / "state").mkdir()
    kept = ProcessStatus("kafka", "ready", "", os.getpid(), start_time(os.getpid()) or 0.0, 0, 0.0, "kafka.log")
    state_file.write(tmp_path / "state", [kept])
    variables = {"TRIPLANE_BOOTSTRAP": silent, "TRIPLANE_STATE_DIR": str(tmp_path / "state")}
    told = triplane("status", cwd=tmp_path, variables=variables).out
    assert (
        f"Kafka at {silent} does not answer though its process (pid {os.getpid()}) lives; `kill -CONT {os.getpid()}`"
        in told
    )
    assert "KAFKA_BOOTSTRAP_SERVERS" not in told
    said = triplane("explain", "KO", cwd=tmp_path, variables=variables).sentence
    assert f"its process (pid {os.getpid()}) lives" in said
    assert "KAFKA_BOOTSTRAP_SERVERS" not in said
