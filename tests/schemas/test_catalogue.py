"""The topic catalogue is consistent with itself and with the schemas."""

from __future__ import annotations

import pytest

from schemas import catalogue, codec
from schemas.catalogue import CatalogueError

TOPICS = list(catalogue.load().values())


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_fields_it_names_exist(topic: catalogue.Topic) -> None:
    """Key, identity and twin fields are fields of the record; the key is never a float."""
    fields = {field["name"]: field["type"] for field in codec.record_schema(topic.record)["fields"]}
    assert {topic.key, *topic.identity, *topic.latest} <= fields.keys()
    assert topic.identity
    assert fields[topic.key] in ("string", "long")


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_nothing_a_barrier_names_can_vanish(topic: catalogue.Topic) -> None:
    """Topics of a cut, and all that replay reads, are neither compacted nor expire before they are archived."""
    assert topic.cleanup == "delete"
    assert topic.retention_ms == -1
    assert topic.max_message_bytes == 8 * 1024 * 1024


def test_roles() -> None:
    """Bars gate; what the order plane learns and what people configure are looked up; barriers are in no cut."""
    by_name = catalogue.load()
    assert [topic.name for topic in by_name.values() if topic.role == "gating"] == ["data.bars"]
    inputs = [topic.name for topic in by_name.barrier_inputs()]
    assert {"control.config", "order.account", "order.costs", "strategy.models", "data.facts", "data.macro"} <= set(
        inputs
    )
    assert "strategy.barriers" not in inputs
    assert inputs == sorted(inputs, key=lambda name: by_name[name].rank)


def test_one_partition_where_order_matters() -> None:
    """Barriers, configuration, commands and everything per account."""
    for name in (
        "strategy.barriers",
        "control.config",
        "control.commands",
        "strategy.intents",
        "order.events",
        "order.fills",
    ):
        assert catalogue.load()[name].partitions == 1


def test_each_plane_owns_topics_and_a_quarantine() -> None:
    """Nobody owns another's; a plane that decodes has somewhere to put what it cannot."""
    owned = {plane: {topic.name for topic in catalogue.load().owned_by(plane)} for plane in catalogue.PLANES}
    assert sum(map(len, owned.values())) == len(catalogue.load())
    for plane in ("data", "strategy", "order"):
        assert f"{plane}.quarantine" in owned[plane]


ENTRY = "{record: BarSlice, owner: data, role: gating, rank: 1, key: group, identity: [group], latest: []"
REST = ", partitions: 1, retention_ms: -1, cleanup: delete, max_message_bytes: 1}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"topics:\n  data.a: {ENTRY}{REST}\n  data.b: {ENTRY}{REST}", "two topics share a rank"),
        (f"topics:\n  order.a: {ENTRY}{REST}", "topic order.a must start with its owner 'data'"),
        (f"topics:\n  data.a: {ENTRY.replace('owner: data', 'owner: sales')}{REST}", "unknown owner 'sales'"),
        (f"topics:\n  data.a: {ENTRY}, shards: 3{REST}", "topic data.a: .*shards"),
        (f"topics:\n  data.a: {ENTRY}}}", "topic data.a: .*partitions"),
    ],
)
def test_contradictions_are_named(text: str, sentence: str) -> None:
    """A broken catalogue never loads."""
    with pytest.raises(CatalogueError, match=sentence):
        catalogue.parse(text)


def test_keys_and_unknown_topics() -> None:
    """An empty key is refused, since null keys are; an unknown topic says where to add it."""
    topic = catalogue.load()["data.bars"]
    assert topic.key_of({"group": "main"}) == b"main"
    with pytest.raises(CatalogueError, match=r"field 'group' is the message key and must not be empty"):
        topic.key_of({"group": ""})
    with pytest.raises(CatalogueError, match=r"'data.barz' is not in schemas/catalogue.yaml; add it there first"):
        catalogue.load()["data.barz"]
    assert "data.barz" not in catalogue.load()
