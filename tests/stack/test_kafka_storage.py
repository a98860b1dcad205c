"""The format of a data directory, with Kafka's own tool and a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from triplane.stack import java, kafka
from triplane.stack.errors import StackError
from triplane.stack.kafka import LocalKafka, admin
from triplane.stack.kafka_storage import FEATURES, IDS, format_storage, new_id

pytestmark = pytest.mark.integration


def ids(data_dir: Path) -> dict[str, str]:
    """What meta.properties says."""
    lines = (data_dir / IDS).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_a_copied_format_is_the_tool_s_but_for_its_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first directory is formatted by Kafka's tool, the second by copying; a broker takes it and has an id of its own."""
    if java.find_java() is None:
        pytest.skip("no Java on this machine")
    jars = java.kafka_jars()
    monkeypatch.setattr(java, "kafka_jars", lambda: jars)
    monkeypatch.setenv("TRIPLANE_CACHE", str(tmp_path / "cache"))
    first, second = tmp_path / "first" / "data", tmp_path / "second" / "data"
    kafka.prepare(first.parent)
    made = kafka.prepare(second.parent)
    tools, copied = ids(first), ids(second)
    assert set(tools) == set(copied)
    assert {name for name in tools if tools[name] != copied[name]} == {"cluster.id", "directory.id"}
    assert {name: len(value) for name, value in tools.items()} == {name: len(value) for name, value in copied.items()}
    assert (first / FEATURES).read_bytes() == (second / FEATURES).read_bytes()
    with LocalKafka.start(second.parent) as running:
        assert running.bootstrap
        assert admin(running.bootstrap).list_topics(timeout=10).cluster_id == copied["cluster.id"] == made.cluster_id


def test_a_directory_that_is_formatted_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / IDS).write_text("cluster.id=mine\n")
    format_storage(tmp_path, "another", Path("kafka-x"), ["false"])
    assert ids(tmp_path) == {"cluster.id": "mine"}


def test_a_tool_that_fails_is_one_sentence_and_leaves_nothing_to_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIPLANE_CACHE", str(tmp_path / "cache"))
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    for _ in range(2):
        with pytest.raises(StackError, match=r"Kafka cannot format .*: it is full; empty that directory"):
            format_storage(data_dir, new_id(), Path("kafka-x"), ["sh", "-c", "echo it is full; exit 1"])
        assert not (data_dir / IDS).exists()
