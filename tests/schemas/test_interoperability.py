"""The ecosystem's own tools read what we write, through a real registry, and we read what they write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import HealthCheck, given, settings

from schemas import catalogue, codec
from tests.schemas.values import of_record, same
from triplane.stack.registration import register
from triplane.stack.registry import Registry

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def client(registry_url: str) -> Iterator[SchemaRegistryClient]:
    """confluent-kafka's client of a registry that holds every schema."""
    with Registry(registry_url) as registry:
        register(registry)
    with SchemaRegistryClient({"url": f"{registry_url}/apis/ccompat/v7"}) as found:
        yield found


@pytest.mark.parametrize("topic", list(catalogue.load().values()), ids=lambda topic: topic.name)
def test_confluents_deserializer_reads_us_and_we_read_its_serializer(
    client: SchemaRegistryClient, topic: catalogue.Topic
) -> None:
    """Both ways, byte for byte: same header, same body."""
    read = AvroDeserializer(client)
    write = AvroSerializer(client, conf={"auto.register.schemas": False, "use.latest.version": True})
    context = SerializationContext(topic.name, MessageField.VALUE)

    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(of_record(codec.record_schema(topic.record)))
    def check(value: dict[str, Any]) -> None:
        ours = codec.load().encode(topic.record, value)
        theirs = read(ours, context)
        assert same(theirs, value)
        assert write(value, context) == ours

    check()
