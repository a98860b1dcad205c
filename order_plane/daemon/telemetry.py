"""Metrics of the order daemon; names and alerts are described in docs/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from order_plane.codes import Code
from order_plane.daemon.broker_link import BrokerLink
from order_plane.daemon.journal import Journal
from order_plane.daemon.log_feed import LogFeed
from order_plane.daemon.publisher import Publisher
from order_plane.engine import OrderEngine
from order_plane.ledger.order_state import State
from triplane.domain import calendars
from triplane.runtime.telemetry import Metrics

LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 12.0)
TOPICS = ("strategy.intents", "data.quotes", "data.bars", "data.actions", "control.config", "control.commands")


class OrderMetrics:
    """What the daemon tells about itself."""

    def __init__(self, metrics: Metrics) -> None:
        self.killed = metrics.gauge("triplane_kill_switch_tripped", "1 while no new order may leave")
        self.drawdown = metrics.gauge("triplane_drawdown_fraction", "NAV below its peak, fraction of the peak")
        self.drawdown_limit = metrics.gauge("triplane_drawdown_limit_fraction", "MAX_DD_KILL_SWITCH in force")
        self.nav = metrics.gauge("triplane_nav", "Net asset value, account currency")
        self.nav_known = metrics.gauge("triplane_nav_known", "0 while the market is open and NAV is not known")
        self.connected = metrics.gauge(
            "triplane_broker_connected", "1 while the broker connection is up", ("client",)
        ).labels("order")
        self.round_trip = metrics.gauge(
            "triplane_broker_round_trip_seconds", "Round trip of the last heartbeat, wall time"
        )
        self.reconciled = metrics.gauge("triplane_reconciled", "1 while the last reconciliation stands")
        self.lag = metrics.gauge(
            "triplane_consumer_lag", "Records between our position and the end of the topic", ("topic",)
        )
        self.unacknowledged = metrics.gauge(
            "triplane_unacknowledged_records", "Appends that Kafka has not acknowledged"
        )
        self.journalled = metrics.gauge(
            "triplane_journal_pending", "Entries of the local journal that are not on the log yet"
        )
        self.open_orders = metrics.gauge("triplane_open_orders", "Orders that may still fill")
        self.unknown_orders = metrics.gauge("triplane_unknown_orders", "Orders whose fate is unknown")
        self.orders = metrics.counter("triplane_orders", "Orders sent")
        self.cancels = metrics.counter("triplane_cancels", "Cancels sent")
        self.fills = metrics.counter("triplane_fills", "Executions")
        self.rejects = metrics.counter("triplane_order_rejects", "Orders that the broker refused")
        self.alerts = metrics.counter("triplane_order_alerts", "Alerts by code", ("code",))
        self.latency = metrics.histogram(
            "triplane_data_to_order_seconds",
            "Barrier's last record to the order on the socket, wall time",
            LATENCY_BUCKETS,
        )
        self.write_ahead = metrics.histogram(
            "triplane_write_ahead_seconds",
            "Order decided to order on the socket, wall time: mostly Kafka's acknowledgement",
            LATENCY_BUCKETS,
        )
        for topic in TOPICS:
            self.lag.labels(topic).set(0)
        for code in Code:  # Prometheus sees no increase in a series that begins with its first alert
            self.alerts.labels(str(code))

    def observe(
        self, link: BrokerLink, journal: Journal | None, publisher: Publisher | None, feed: LogFeed | None
    ) -> None:
        """Show how the ways out and in stand now; None for what has not been opened yet."""
        self.connected.set(link.session.is_connected)
        self.round_trip.set(link.round_trip)
        if journal is not None:
            self.journalled.set(journal.pending)
        if publisher is not None:
            self.unacknowledged.set(publisher.pending)
        for topic, lag in feed.lag.items() if feed is not None else ():
            self.lag.labels(topic).set(lag)

    def engine(self, engine: OrderEngine) -> None:
        """Show what the engine knows now."""
        orders = engine.s.book.all_live()
        self.open_orders.set(len(orders))
        self.unknown_orders.set(sum(1 for order in orders if order.state is State.UNKNOWN))
        self.reconciled.set(engine.s.reconciling.passed)
        self.drawdown_limit.set(engine.folded.targets.order.MAX_DD_KILL_SWITCH)

    def appended(self, topic: str, record: Mapping[str, Any]) -> None:
        """Count what a record of ours means."""
        if topic == "order.fills" and record["kind"] == "execution":
            self.fills.inc()
        elif topic == "order.account":
            self.nav.set(record["nav"])  # NaN while it is not known: the last value would look like the present one
            self.drawdown.set(record["drawdown"])
            known = math.isfinite(record["nav"])
            self.nav_known.set(known or calendars.session_of(calendars.MARKET_CALENDAR, record["event_time"]) is None)

    def alerted(self, code: str) -> None:
        """Count an alert."""
        self.alerts.labels(code).inc()
        if code == Code.REJECTED:
            self.rejects.inc()
