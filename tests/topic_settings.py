"""A topic's settings, altered as somebody at the broker may."""

from __future__ import annotations

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from triplane.runtime.settings import Settings
from triplane.stack.kafka import admin


def alter(settings: Settings, topic: str, name: str, value: str) -> None:
    """Set one setting of a topic, which is named as in the catalogue."""
    changed = ConfigResource(ConfigResource.Type.TOPIC, settings.topic(topic))
    changed.add_incremental_config(ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET))
    client = admin(settings.bootstrap)
    (altered,) = client.incremental_alter_configs([changed]).values()
    altered.result(10)
