"""The Data Plane as a process, seen from outside: its health, its metrics and what it put on the log."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections import Counter

from tests.broker.gateways import GatewayProcess
from tests.data_plane.support import DataProcess, ProvidersProcess
from triplane.runtime.kafka_in import LogRecord, read_all
from triplane.runtime.settings import Settings

TOPICS = (
    *("data.bars", "data.watched", "data.rolls", "data.quotes", "data.trades", "data.micro"),
    *("data.facts", "data.macro", "data.gates", "data.quarantine", "data.decisions"),
)


def data_process(
    settings: Settings, gateway: GatewayProcess, providers: ProvidersProcess, **environment: str
) -> DataProcess:
    return DataProcess(
        settings,
        TRIPLANE_GATEWAY_PORT=str(gateway.port),
        TRIPLANE_EDGAR_URL=providers.url,
        TRIPLANE_EDGAR_FILES_URL=providers.url,
        TRIPLANE_FRED_URL=providers.url,
        **environment,
    )


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metrics(process: DataProcess, name: str) -> dict[str, float]:
    """Values of one metric by their labels' text."""
    _, text = get(f"{process.http}/metrics")
    return {labels: float(value) for labels, value in re.findall(rf"^{name}({{.*}})? (\S+)$", text, re.M)}


def log(settings: Settings) -> dict[str, list[LogRecord]]:
    found: dict[str, list[LogRecord]] = {topic: [] for topic in TOPICS}
    for record in read_all(settings, TOPICS):
        assert not record.error
        found[record.topic].append(record)
    return found


def by_interval(found: dict[str, list[LogRecord]]) -> Counter[tuple[str, bool]]:
    return Counter((r.value["interval"], r.value["history"]) for r in found["data.bars"] if r.value)
