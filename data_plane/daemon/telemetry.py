"""The plane's metrics. Names and meanings are in docs/metrics.md; alerts rest on some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from data_plane.conservation import LATE, Ledger
from data_plane.daemon.outlet import Outlet
from data_plane.engine import DataEngine
from triplane.domain.targets.data import DataTargets
from triplane.runtime.telemetry import Metrics

# Seconds from the last bar of an interval to its slice at the outlet: the aim is 1-2 ms.
SLICE_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


def conservation(
    ledger: Ledger, engine: DataEngine, outlet: Outlet, held: Mapping[str, int] = MappingProxyType({})
) -> dict[str, int]:
    """Law L10 by source, with what is really on the log: received + released - acknowledged - deduplicated - dropped - in flight.

    In flight is what the engine, the producer and the spool hold, and what is `held` before them. Zero when nothing got lost.
    """
    pending, flying = engine.pending(), outlet.in_flight()
    return {
        source: ledger.received[source]
        + ledger.released[source]
        - outlet.acknowledged[source, False]
        - outlet.acknowledged[source, True]
        - ledger.deduplicated[source]
        - ledger.dropped_by(source)
        - pending.get(source, 0)
        - flying.get(source, 0)
        - held.get(source, 0)
        for source in ledger.sources()
    }


class DataCollector(Collector):
    """Counters and gauges read from the engine when they are scraped, so that the hot path pays nothing for them."""

    def __init__(
        self,
        engine: DataEngine,
        outlet: Outlet,
        targets: Callable[[], DataTargets],
        now: Callable[[], int],
        market: list[str],
    ) -> None:
        self._engine, self._outlet, self._targets, self._now, self._market = engine, outlet, targets, now, market

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the first scrape."""
        return []

    def collect(self) -> Iterable[Metric]:
        """All families."""
        engine, outlet, ledger = self._engine, self._outlet, self._engine.ledger
        records = CounterMetricFamily(
            "triplane_records", "Observations by source and outcome", labels=["source", "outcome"]
        )
        dropped = CounterMetricFamily(
            "triplane_records_dropped", "Observations dropped, by code", labels=["source", "code"]
        )
        difference = GaugeMetricFamily(
            "triplane_conservation_difference",
            "Observations that cannot be accounted for (law L10); always 0",
            labels=["source"],
        )
        flight = GaugeMetricFamily(
            "triplane_records_in_flight", "Observations received and not yet on the log", labels=["source"]
        )
        pending, flying = engine.pending(), outlet.in_flight()
        differences = conservation(ledger, engine, outlet)
        for source in ledger.sources():
            for outcome, count in (
                ("received", ledger.received[source]),
                ("released", ledger.released[source]),
                ("published", outlet.acknowledged[source, False]),
                ("quarantined", outlet.acknowledged[source, True]),
                ("deduplicated", ledger.deduplicated[source]),
                ("dropped", ledger.dropped_by(source)),
            ):
                records.add_metric([source, outcome], count)
            difference.add_metric([source], differences[source])
            flight.add_metric([source], pending.get(source, 0) + flying.get(source, 0))
        # A series that begins with its first drop would not increase by it.
        late = {(source, LATE): 0 for source in self._market}
        for (source, code), count in sorted((late | ledger.dropped).items()):
            dropped.add_metric([source, code], count)
        yield from (records, dropped, difference, flight)
        age = GaugeMetricFamily(
            "triplane_source_age_seconds", "Market seconds since the source's last record", labels=["source"]
        )
        limit = GaugeMetricFamily(
            "triplane_source_age_limit_seconds", "Age from which the source is stale", labels=["source"]
        )
        for source in self._market:
            age.add_metric([source], engine.source_age(source, self._now()))
            limit.add_metric([source], self._targets().BAR_FRESHNESS_S)
        yield from (age, limit)
        yield GaugeMetricFamily(
            "triplane_kafka_unacknowledged", "Records sent and not yet acknowledged", value=outlet.unacknowledged
        )
        yield GaugeMetricFamily("triplane_spool_records", "Records on disk while Kafka is away", value=outlet.spooled)


class Gauges:
    """Metrics that are set when something happens."""

    def __init__(self, metrics: Metrics) -> None:
        self.gate = metrics.gauge(
            "triplane_gate_open", "1 while the gate lets records pass", ("gate", "source", "scope")
        )
        self.connected = metrics.gauge(
            "triplane_broker_connected", "1 while the connection to the broker is up", ("client",)
        )
        self.slice = metrics.histogram(
            "triplane_slice_seconds",
            "From an interval's last bar to its slice, judged and on its way to Kafka, wall time",
            SLICE_BUCKETS,
        )
