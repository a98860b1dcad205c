"""Kafka connection options for aiokafka from the settings that every client shares."""

from __future__ import annotations

import ssl
from typing import Any

from triplane.runtime.exit_codes import DaemonExit
from triplane.runtime.settings import Settings

_DIRECT = {
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
}


def servers(settings: Settings) -> list[str]:
    """Bootstrap servers, one `host:port` an element."""
    return [server.strip() for server in settings.bootstrap.split(",") if server.strip()]


def client_options(settings: Settings, client_id: str) -> dict[str, Any]:
    """Keyword arguments for an aiokafka client. DaemonExit for a librdkafka option that aiokafka has no word for."""
    options: dict[str, Any] = {"bootstrap_servers": servers(settings), "client_id": client_id}
    context: dict[str, str] = {}
    for name, value in settings.kafka_options.items():
        if name == "security.protocol":
            options["security_protocol"] = value.upper()
        elif name in _DIRECT:
            options[_DIRECT[name]] = value
        elif name in ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location"):
            context[name] = value
        else:
            raise DaemonExit(
                f"kafka option {name!r} is not known to the strategy plane's client; remove it from TRIPLANE_KAFKA_OPTIONS"
            )
    if context or str(options.get("security_protocol", "")).endswith("SSL"):
        tls = ssl.create_default_context(cafile=context.get("ssl.ca.location"))
        if "ssl.certificate.location" in context:
            tls.load_cert_chain(context["ssl.certificate.location"], context.get("ssl.key.location"))
        options["ssl_context"] = tls
    return options
