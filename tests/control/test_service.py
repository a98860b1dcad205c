"""The control daemon as a process against a real Kafka: edit -> record, bad edits, kills, a second writer, commands."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer

from tests.control.contents import ASSETS, TARGETS, with_value
from tests.control.daemon import ACTOR, Control, check_chain
from tests.waiting import eventually
from triplane.runtime import atomic_file
from triplane.runtime.configuration import from_record, hash_of, parse, to_record
from triplane.runtime.kafka_out import TopicWriter
from triplane.runtime.settings import Settings
from triplane.stack.topics import create_topics, delete_topics

pytestmark = pytest.mark.integration


def test_an_edit_is_on_the_log_within_a_second_and_a_restart_publishes_nothing(control: Control):
    control.start()
    assert [version["seq"] for version in control.versions()] == [1]
    # What this release does not trade is in the log as well, where nobody looks at status.
    eventually(lambda: '"SPY: CLASS_NOT_TRADED"' in control.stderr.read_text(), 5, "what is not traded")
    latencies = []
    for number, value in enumerate((0.07, 0.08, 0.09), 2):
        edited = time.monotonic()
        atomic_file.write(control.targets, with_value("VOL_TARGET", str(value)))
        eventually(partial(lambda wanted: control.status_seq() == wanted, number), 20, f"version {number}")
        latencies.append(time.monotonic() - edited)
    assert max(latencies) < 1.0, latencies
    versions = control.versions()
    check_chain(versions)
    assert versions[1]["changes"] == ["strategy.VOL_TARGET: 0.1 -> 0.07"]
    assert from_record(versions[-1]).targets.strategy.VOL_TARGET == 0.09
    assert control.log()[0].key == versions[0]["hash"].encode()
    assert control.end() == 0
    control.start()
    assert control.status_seq() == 4
    assert control.get("/status")["config"]["offset"] == control.log()[-1].offset
    assert control.end(signal.SIGKILL) == -signal.SIGKILL
    # What was edited while nobody watched is taken at the next start.
    atomic_file.write(control.targets, with_value("VOL_TARGET", "0.05"))
    control.start()
    assert control.status_seq() == 5
    check_chain(control.versions())


def test_a_bad_edit_changes_nothing_and_is_told_on_the_terminal_in_the_log_as_metric_and_in_status(control: Control):
    control.start()
    text = with_value("BOX_LIM", "25")
    line = next(number for number, item in enumerate(text.splitlines(), 1) if "BOX_LIM:" in item)
    atomic_file.write(control.targets, text)
    eventually(lambda: control.refused() == 1, 20, "the edit is refused")
    status = control.get("/status")
    assert status["config"]["seq"] == 1
    problem = status["rejected"]["problems"][0]
    sentence = f"targets.yaml line {line}: strategy.BOX_LIM = 25: allowed is a number > 0 and <= 1 (fraction of NAV)"
    assert problem == {
        "file": "targets.yaml",
        "line": line,
        "parameter": "strategy.BOX_LIM",
        "value": "25",
        "allowed": "allowed is a number > 0 and <= 1 (fraction of NAV)",
        "sentence": sentence,
    }
    terminal = control.stderr.read_text()
    assert f"\n{sentence}\nNothing changed: configuration 1 stays in force.\n" in terminal
    events = [json.loads(item) for item in terminal.splitlines() if item.startswith("{")]
    assert [event["problems"] for event in events if event["event"] == "config rejected"] == [[problem]]
    metrics = control.get("/metrics")
    assert "triplane_config_rejected_total 1.0" in metrics
    assert "triplane_config_bad 1.0" in metrics
    # Refused once, however often the file is looked at; mended, it counts as good again.
    time.sleep(1.2)  # two comparisons without an event: nothing to wait for, as nothing may happen
    assert control.refused() == 1
    atomic_file.write(control.targets, TARGETS)
    eventually(lambda: "triplane_config_bad 0.0" in control.get("/metrics"), 20, "mended")
    assert "The files are good again: configuration 1 stays in force.\n" in control.stderr.read_text()
    control.assets.unlink()
    eventually(lambda: control.refused() == 2, 20, "a missing file is refused")
    assert "assets.csv: cannot be read (No such file or directory)" in control.stderr.read_text()
    atomic_file.write(control.assets, ASSETS)
    eventually(lambda: control.get("/status")["rejected"]["problems"] == [], 20, "back")
    assert [version["seq"] for version in control.versions()] == [1]


def test_torn_writes_and_concurrent_edits_become_whole_versions(control: Control):
    control.start()
    # In pieces, with pauses longer than the settling time, ending in a good edit.
    text = with_value("VOL_TARGET", "0.07")
    with control.targets.open("w") as file:
        for start in range(0, len(text), len(text) // 4 + 1):
            file.write(text[start : start + len(text) // 4 + 1])
            file.flush()
            time.sleep(0.25)
    eventually(lambda: control.status_seq() == 2, 20, "the whole edit")
    assert control.refused() == 0, "a half-written file is nobody's mistake"
    # Two editors at once, twenty saves each, both files.
    writers = [
        subprocess.Popen([sys.executable, "-c", SAVES, str(path), str(copy)])
        for path, copy in ((control.targets, control.folder / "a.txt"), (control.assets, control.folder / "b.txt"))
        if copy.write_text(TARGETS if path == control.targets else ASSETS)
    ]
    assert [writer.wait(30) for writer in writers] == [0, 0]
    final = parse(control.targets.read_text(), control.assets.read_text())
    eventually(lambda: control.get("/status")["config"]["hash"] == final.hash, 20, "the last edits")
    versions = control.versions()
    check_chain(versions)
    assert control.refused() == 0
    for version in versions[1:]:
        config = from_record(version)
        assert config.targets.strategy.VOL_TARGET in {0.07, *(round(0.1 + number / 100, 2) for number in range(20))}
        assert (
            config.targets.model_copy(update={"strategy": parse(TARGETS, ASSETS).targets.strategy})
            == parse(TARGETS, ASSETS).targets
        )


SAVES = """
import os, random, sys, time
path, copy = sys.argv[1:]
text = open(copy).read()
random.seed(path)
for number in range(20):
    changed = text.replace("VOL_TARGET: 0.1", f"VOL_TARGET: {0.1 + number / 100:.2f}").replace("Apple Inc.", f"Apple {number}")
    with open(path + ".new", "w") as file:
        file.write(changed)
    os.replace(path + ".new", path)
    time.sleep(random.random() * 0.1)
"""


def test_a_version_that_nobody_can_read_is_passed_over_by_the_next_edit(control: Control, settings: Settings):
    """It was written behind the daemon's back under the next number; the planes pass it over, and the edit gets a number of its own."""
    control.start()
    first = control.versions()[0]
    parts = (first["values"], "null", first["calendar_version"], first["tzdata_version"])
    odd = first | {"seq": 2, "prev_hash": first["hash"], "assets": "null", "hash": hash_of(*parts), "changes": []}
    writer = TopicWriter(settings, "control")
    writer.send("control.config", odd).result(10)
    writer.close()
    atomic_file.write(control.targets, with_value("VOL_TARGET", "0.3"))
    eventually(lambda: control.status_seq() == 3, 20, "the version after it")
    assert from_record(control.versions()[-1]).targets.strategy.VOL_TARGET == 0.3
    # Against the version in force, not against what never was.
    assert control.versions()[-1]["prev_hash"] == first["hash"]
    assert control.versions()[-1]["changes"] == ["strategy.VOL_TARGET: 0.1 -> 0.3"]
    assert [version["seq"] for version in control.versions()] == [1, 2, 3]
    assert control.process is not None
    assert control.process.poll() is None


def test_what_is_written_to_topics_made_anew_is_refused_or_told(control: Control, settings: Settings):
    """However soon after it: a version there would follow one that is lost, and a command reach nobody."""
    for topic in ("control.commands", "control.config"):
        control.start()
        delete_topics(settings.bootstrap, settings.topic(topic))
        create_topics(settings.bootstrap, prefix=settings.topic_prefix)
        if topic == "control.commands":
            answer = control.post({"command": "kill.trip", **ACTOR})
            assert answer.status_code == 503
            assert "to stop trading now: `triplane kill trip`" in answer.json()["error"].lower()
        else:
            atomic_file.write(control.targets, with_value("VOL_TARGET", "0.3"))
        assert control.process is not None
        assert control.process.wait(30) == 78
        assert f"{topic}" in control.stderr.read_text().splitlines()[-1]
        assert control.log(topic) == [] or topic == "control.commands"
        (settings.state_dir / "control-topics.json").unlink()  # a person's decision


def test_a_second_daemon_is_refused_and_so_is_a_second_writer(control: Control, settings: Settings, tmp_path: Path):
    control.start()
    second = Control(settings, tmp_path / "second")
    assert second.launch().wait(20) == 78
    assert "control is already running" in second.stderr.read_text()
    # A writer elsewhere, which no lock on this machine can keep out: the next edit finds its version and ends the daemon.
    first = control.versions()[0]
    foreign = to_record(parse(with_value("VOL_TARGET", "0.2"), ASSETS), first, actor="foreign", event_time=1)
    writer = TopicWriter(settings, "control")
    writer.send("control.config", foreign).result(10)
    writer.close()
    atomic_file.write(control.targets, with_value("VOL_TARGET", "0.3"))
    assert control.process is not None
    assert control.process.wait(20) == 78
    assert "another control daemon wrote version 2 of control.config; stop it" in control.stderr.read_text()
    # Whoever starts next continues from the version that was first.
    control.start()
    versions = control.versions()
    written = [(version["seq"], version["actor"] == "foreign") for version in versions]
    late = (
        [(2, False)] if (2, False) in written else []
    )  # a void one, where the foreign one had not arrived when it was written
    assert written == [(1, False), (2, True), *late, (3, False)]
    assert versions[-1]["prev_hash"] == foreign["hash"]


def test_a_start_without_configuration_is_one_clear_end(control: Control):
    control.assets.write_text(ASSETS.replace("US0378331005", "US0378331006"))
    assert control.launch().wait(20) == 78
    told = control.stderr.read_text()
    assert "control: there is no configuration to start with, and the files hold none:" in told
    assert "assets.csv line 2: isin = 'US0378331006': check digit does not fit" in told
    assert "Traceback" not in told
    assert control.versions() == []


def test_a_start_with_bad_files_goes_on_with_the_version_on_the_log(control: Control):
    control.start()
    control.end()
    control.targets.write_text("data: [1,\n")
    control.start()
    assert control.status_seq() == 1
    assert control.refused() == 1
    atomic_file.write(control.targets, with_value("VOL_TARGET", "0.07"))
    eventually(lambda: control.status_seq() == 2, 20, "mended")


def test_a_version_of_an_unknown_schema_ends_the_start_unless_a_person_says_that_nobody_wrote_it(control: Control):
    control.start()
    control.end()
    producer = Producer({"bootstrap.servers": control.settings.bootstrap})
    for raw in (b"\x00\xff\xff\xff\xffnew", b"\x00\xff\xff\xff\xfealso new"):
        producer.produce(control.settings.topic("control.config"), key=b"x", value=raw)
    assert producer.flush(10) == 0
    for given in (
        "",
        "control.config-0@1",
        "order.events-0@7",
    ):  # one sentence names them all, with what is set already
        assert control.launch(TRIPLANE_PASS_OVER=given).wait(20) == 78
        known = ",".join(dict.fromkeys(filter(None, (given, "control.config-0@1", "control.config-0@2"))))
        assert control.stderr.read_text().strip().endswith(f"set TRIPLANE_PASS_OVER={known}")
    control.start(TRIPLANE_PASS_OVER=known)
    assert control.status_seq() == 1
    atomic_file.write(control.targets, with_value("VOL_TARGET", "0.07"))
    eventually(lambda: control.status_seq() == 2, 20, "an edit is taken")


def test_no_kafka_is_one_sentence(control: Control):
    assert control.launch(TRIPLANE_BOOTSTRAP="127.0.0.1:1").wait(40) == 69
    assert "Kafka at 127.0.0.1:1 does not answer" in control.stderr.read_text()
    assert "Traceback" not in control.stderr.read_text()


def test_commands_are_published_once_and_only_for_this_machine(control: Control):
    control.start()
    answer = control.post({"command": "kill.trip", "arguments": {"scope": "own"}, "command_id": "c1", **ACTOR})
    assert answer.status_code == 200
    assert answer.json()["new"] is True
    assert (
        control.post({"command": "kill.trip", "arguments": {"scope": "own"}, "command_id": "c1", **ACTOR}).json()["new"]
        is False
    )
    assert control.post({"command": "kill.rearm", "command_id": "c1", **ACTOR}).status_code == 409
    refusal = control.post({"command": "kill.tripp", **ACTOR})
    assert refusal.status_code == 400
    assert "did you mean kill.trip?" in refusal.json()["error"]
    assert control.post({"command": "kill.trip", **ACTOR}, Origin="http://evil.example").status_code == 403
    assert control.post({"command": "kill.trip", **ACTOR}, Host="evil.example").status_code == 403
    assert control.post([1]).status_code == 400
    assert httpx.post(f"{control.address()}/commands", content=b"{").status_code == 400
    listed = control.get("/commands")
    assert set(listed["commands"]) >= {"kill.trip", "kill.rearm", "order.resolve"}
    records = control.log("control.commands")
    assert [record.value for record in records] == listed["given"]
    value = records[0].value
    assert value is not None
    assert (value["command"], value["arguments"], value["actor"], value["reason"]) == (
        "kill.trip",
        {"scope": "own"},
        "ana",
        "drill",
    )
    # A repeat after a restart is still the same command.
    control.end()
    control.start()
    assert (
        control.post({"command": "kill.trip", "arguments": {"scope": "own"}, "command_id": "c1", **ACTOR}).json()["new"]
        is False
    )
    assert len(control.log("control.commands")) == 1
    assert 'triplane_commands_total{command="kill.trip"}' not in control.get("/metrics")
