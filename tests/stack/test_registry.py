"""Registration against a real Apicurio Registry: ids equal the lock, incompatible schemas and lost ids are refused."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas import catalogue, codec
from schemas.catalogue import Catalogue
from schemas.codec import fingerprint
from triplane.runtime.settings import Settings
from triplane.stack import init, registration, topics
from triplane.stack.errors import StackError, Unavailable
from triplane.stack.kafka import admin
from triplane.stack.ports import free_ports
from triplane.stack.registration import Locked
from triplane.stack.registry import LocalRegistry, Registry

pytestmark = pytest.mark.integration


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    """Client of the session's registry."""
    with Registry(registry_url) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    """Subjects of one test."""
    return f"r{uuid.uuid4().hex[:8]}."


SMALL = Catalogue(
    {
        name: catalogue.load()[name]
        for name in ("data.bars", "data.quarantine", "order.account", "order.events", "order.quarantine")
    }
)
"""Enough for what does not depend on the number of subjects: a registration takes the registry some 30 ms."""


def successor(entry: Locked, change: str, schema_id: int) -> Locked:
    """A synthetic next version of a record: `add` a field, `drop` one, or change a `type`."""
    schema = json.loads(entry.text)
    if change == "add":
        schema["fields"].append({"name": f"new_{schema_id}", "type": "double", "default": 0.0})
    elif change == "drop":
        schema["fields"].pop()
    else:
        schema["fields"][0].update(type="string", default="")
    return replace(
        entry, version=entry.version + 1, schema_id=schema_id, fingerprint=fingerprint(schema), text=json.dumps(schema)
    )


def test_every_subject_gets_the_locked_ids_and_full_transitive(registry: Registry, prefix: str) -> None:
    """All subjects of the catalogue, twins included; a record shared by topics has one id; a second run adds nothing."""
    entries = registration.locked()
    added = registration.register(registry, prefix=prefix)
    subjects = registration.subjects(catalogue.load(), prefix)
    assert subjects.keys() <= registry.subjects()
    assert len(added) == sum(entry.record == record for entry in entries for record in subjects.values())
    by_record = {entry.record: entry for entry in entries}
    for subject, record in subjects.items():
        assert registry.id_of(subject, by_record[record].text) == codec.load().schema_id(record)
        assert registry.level(subject) == "FULL_TRANSITIVE"
    assert registration.register(registry, prefix=prefix) == []


def test_a_later_version_gets_its_locked_id_in_a_used_registry(registry: Registry, prefix: str) -> None:
    """Registering a known text for more subjects must not shift the ids of what comes later."""
    entries = registration.locked()
    registration.register(registry, topics=SMALL, prefix=prefix)
    registration.register(registry, topics=SMALL, prefix=f"again.{prefix}")
    first = successor(entries[0], "add", 5_000_001)
    second = successor(first, "drop", 5_000_002)
    third = successor(entries[1], "add", 5_000_003)
    added = registration.register(registry, [*entries, first, second, third], topics=SMALL, prefix=prefix)
    assert {line.split("(")[1] for line in added} == {"id 5000001)", "id 5000002)", "id 5000003)"}


def test_an_incompatible_version_is_refused_and_leaves_nothing(registry: Registry, prefix: str) -> None:
    """One sentence with subject, reason and remedy; the registry itself would answer 409; no id is taken."""
    entries = registration.locked()
    registration.register(registry, topics=SMALL, prefix=prefix)
    bad = successor(entries[1], "type", 6_000_000)
    with pytest.raises(
        StackError, match=rf"refuses the schema for {prefix}data.bars-value: .*; a committed field keeps"
    ):
        registration.register(registry, [*entries, bad], topics=SMALL, prefix=prefix)
    assert registry.schema(bad.schema_id) is None
    with pytest.raises(StackError, match=r"(?i)refuses the schema .* incompatible"):
        registry.register(f"{prefix}data.bars-value", bad.text)


def test_a_level_changed_by_hand_is_set_back(registry: Registry, prefix: str) -> None:
    """The registry's default is NONE, and so is a subject that someone made."""
    registration.register(registry, topics=SMALL, prefix=prefix)
    subject = f"{prefix}order.events-value"
    registry._ask("PUT", f"/config/{subject}", {"compatibility": "NONE"})
    assert registry.level(subject) == "NONE"
    registration.register(registry, topics=SMALL, prefix=prefix)
    assert registry.level(subject) == "FULL_TRANSITIVE"


def test_a_registry_that_does_not_answer_is_one_sentence() -> None:
    """And a job that may be tried again: code 69, not 78."""
    port = free_ports(1)[0]
    with Registry(f"http://127.0.0.1:{port}") as silent:
        assert not silent.is_ready()
        with pytest.raises(Unavailable, match=rf"127.0.0.1:{port} does not answer"):
            silent.subjects()


def test_the_job_makes_topics_and_registers(
    settings: Settings, registry_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m triplane.stack.init` twice: the second finds everything there."""
    monkeypatch.setenv("TRIPLANE_BOOTSTRAP", settings.bootstrap)
    monkeypatch.setenv("TRIPLANE_REGISTRY_URL", registry_url)
    monkeypatch.setenv("TRIPLANE_TOPIC_PREFIX", settings.topic_prefix)
    monkeypatch.setenv("TRIPLANE_STATE_DIR", str(settings.state_dir))
    topics.delete_topics(settings.bootstrap, settings.topic_prefix)
    assert init.main([]) == 0
    first = capsys.readouterr().out
    assert init.main([]) == 0
    assert capsys.readouterr().out == "0 topics created\n0 schema versions registered\n"
    assert not first.startswith("0 topics")
    assert topics.diff(settings.bootstrap, prefix=settings.topic_prefix) == []


def test_a_registry_that_lost_its_ids_stops_the_start(settings: Settings, tmp_path: Path) -> None:
    """Real losses on a registry of its own: another schema under a locked id, then a store that is gone."""
    suffix = f"-{uuid.uuid4().hex[:8]}"
    entries = registration.locked()
    history = registration.History(settings.state_dir)
    data = f"{settings.topic_prefix}data.bars"

    with LocalRegistry.start(tmp_path, settings.bootstrap, suffix=suffix) as local, Registry(local.url) as registry:
        ours = settings.model_copy(update={"registry_url": local.url})
        foreign = {"type": "record", "name": "Foreign", "fields": [{"name": "x", "type": "long", "default": 0}]}
        assert registry.register("foreign-value", json.dumps(foreign)) == 1
        with pytest.raises(
            StackError, match=r"has lost its ids: .* id 1, but there id 1 is Foreign; restore its topic"
        ):
            init.register_schemas(ours)
        assert registry.subjects() == {"foreign-value"}

    # The store is purged while the registry is down, as seven days' retention would do.
    names = list(topics.registry_topic_names(suffix))
    client = admin(settings.bootstrap)
    for future in client.delete_topics(names).values():
        future.result()
    with LocalRegistry.start(tmp_path, settings.bootstrap, suffix=suffix) as local, Registry(local.url) as registry:
        ours = settings.model_copy(update={"registry_url": local.url})
        producer = Producer({"bootstrap.servers": settings.bootstrap})
        producer.produce(data, b"x", key=b"main")
        assert producer.flush(10) == 0
        with pytest.raises(
            StackError, match=rf"is empty although {data} holds records: it has lost its store; .*--refill"
        ):
            init.register_schemas(ours)
        assert registry.subjects() == set()
        assert init.register_schemas(ours, refill=True)
        assert [registry.schema(entry.schema_id) for entry in entries] == [json.loads(entry.text) for entry in entries]
        assert history.state() == "filled"


def test_an_interrupted_first_start_may_go_on(settings: Settings, registry_url: str) -> None:
    """Data is on the log and the registry empty, but this installation never got to fill it: that is no loss."""
    init.make_topics(settings)
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    producer.produce(f"{settings.topic_prefix}data.facts", b"x", key=b"AAPL")
    assert producer.flush(10) == 0
    assert registration.History(settings.state_dir).state() == "pending"
    assert init.register_schemas(settings.model_copy(update={"registry_url": registry_url}))
