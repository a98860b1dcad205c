"""The format of a data directory, with Kafka's own tool and a real broker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from triplane.stack import java, kafka
from triplane.stack.errors import StackError
from triplane.stack.kafka import LocalKafka, admin
from triplane.stack.kafka_storage import FEATURES, IDS, formatted

pytestmark = pytest.mark.integration


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for all but the jars, which are those that every test uses."""
    if java.find_java() is None:
        pytest.skip("no Java on this machine")
    jars, folder = java.kafka_jars(), tmp_path / "cache"
    folder.mkdir()
    (folder / jars.name).symlink_to(jars)
    monkeypatch.setenv("TRIPLANE_CACHE", str(folder))
    return folder


def ids(data_dir: Path) -> dict[str, str]:
    """What meta.properties says."""
    lines = (data_dir / IDS).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_a_copied_format_is_the_tool_s_but_for_its_ids(cache: Path, tmp_path: Path) -> None:
    """The first directory is formatted by Kafka's tool, the second by copying; a broker takes it and has an id of its own.

    A kept format that is damaged is not copied: the tool formats the third, and mends it.
    """
    first, second, third = (tmp_path / name / "data" for name in ("first", "second", "third"))
    tool = kafka.prepare(first.parent)
    (kept,) = cache.glob("kafka-format-*.json")
    copy = kafka.prepare(second.parent)
    assert sorted(path.name for path in first.iterdir()) == sorted(path.name for path in second.iterdir())
    tools, copied = ids(first), ids(second)
    assert {name: len(value) for name, value in tools.items()} == {name: len(value) for name, value in copied.items()}
    assert {name for name in tools if tools[name] != copied[name]} == {"cluster.id", "directory.id"}
    assert (first / FEATURES).read_bytes() == (second / FEATURES).read_bytes()
    assert [tool.cluster_id, copy.cluster_id] == [tools["cluster.id"], copied["cluster.id"]]
    with LocalKafka.start(second.parent) as running:
        assert admin(running.bootstrap).list_topics(timeout=10).cluster_id == copied["cluster.id"]
    document = json.loads(kept.read_text())
    damaged = document | {"features": "BBBB" + document["features"][4:]}
    assert damaged != document
    kept.write_text(json.dumps(damaged))
    kafka.prepare(third.parent)
    assert (third / FEATURES).read_bytes()[:4] == (first / FEATURES).read_bytes()[:4]
    assert json.loads(kept.read_text())["features"][:4] == document["features"][:4]


def test_a_cache_that_takes_nothing_is_done_without(cache: Path, tmp_path: Path) -> None:
    """The tool formats each directory: what it writes has its own times."""
    kafka.prepare(tmp_path / "before")
    (kept,) = cache.glob("kafka-format-*.json")
    kept.unlink()
    kept.mkdir()
    made = [tmp_path / name / "data" for name in ("before", "a", "b")]
    for data in made[1:]:
        assert kafka.prepare(data.parent).cluster_id == ids(data)["cluster.id"]
    assert len({(data / FEATURES).read_bytes() for data in made}) == 3


def test_what_is_there_is_kept(cache: Path, tmp_path: Path) -> None:
    """A directory that is formatted stays as it is, and one that is not empty is the tool's to judge, not the copy's."""
    kafka.prepare(tmp_path / "a")
    data = tmp_path / "a" / "data"
    before = ids(data)
    assert formatted(data, tmp_path, Path("kafka-x"), lambda: ["false"]) == before["cluster.id"]
    assert ids(data) == before
    shutil.copytree(data, tmp_path / "b" / "data")
    (tmp_path / "b" / "data" / IDS).unlink()
    jars = java.kafka_jars()
    with pytest.raises(StackError, match=r"Kafka cannot format .*: it is full; empty that directory"):
        formatted(tmp_path / "b" / "data", tmp_path, jars, lambda: ["sh", "-c", "echo it is full; exit 1"])
    assert not (tmp_path / "b" / "data" / IDS).exists()
