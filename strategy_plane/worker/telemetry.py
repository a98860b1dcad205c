"""Metrics of the strategy worker. Names stand in docs/metrics.md; the alert rules rest on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from structlog.stdlib import BoundLogger

from strategy_plane.outputs import Output
from strategy_plane.portfolio.blocking import SOLVED
from triplane.domain import calendars
from triplane.runtime.telemetry import Metrics

LATENCY_BUCKETS = (0.002, 0.004, 0.006, 0.008, 0.010, 0.012, 0.015, 0.020, 0.025, 0.035, 0.050, 0.1, 0.25, 1.0, 5.0)


def sessions_between(before: str, after: str) -> list[str]:
    """Sessions of the market later than `before` and earlier than `after`, YYYY-MM-DD; none where `before` is empty or one is no day."""
    if not before or after <= before:
        return []
    try:
        days = calendars.sessions(calendars.MARKET_CALENDAR, date.fromisoformat(before), date.fromisoformat(after))
    except ValueError:
        return []
    return [text for day in days if before < (text := day.isoformat()) < after]


class WorkerMetrics:
    """What the worker tells about itself."""

    def __init__(self, metrics: Metrics) -> None:
        self.barrier_seq = metrics.gauge("triplane_barrier_seq", "Sequence number of the last barrier stepped")
        self.barrier_time = metrics.gauge(
            "triplane_barrier_time_seconds", "Market time of the last barrier stepped, Unix seconds"
        )
        self.barriers = metrics.counter("triplane_barriers", "Barriers stepped", ("kind",))
        self.barriers_written = metrics.counter("triplane_barriers_written", "Barriers appended by this worker")
        self.barriers_void = metrics.counter(
            "triplane_barriers_void", "Barrier records void because their seq was taken"
        )
        self.late = metrics.gauge(
            "triplane_barrier_late", "1 while the awaited barrier is later than BARRIER_LATE_S of wall time"
        )
        self.late_seconds = metrics.gauge("triplane_barrier_late_seconds", "Wall seconds beyond BARRIER_LATE_S")
        self.latency = metrics.histogram(
            "triplane_barrier_latency_seconds",
            "Wall time from the gating record's ingest to acknowledged intents",
            LATENCY_BUCKETS,
        )
        self.step = metrics.histogram(
            "triplane_barrier_step_seconds", "Wall time to fold and step", LATENCY_BUCKETS, ("kind",)
        )
        self.records = metrics.counter("triplane_strategy_records", "Records read", ("topic",))
        self.undecodable = metrics.counter(
            "triplane_strategy_undecodable", "Records that could not be decoded", ("topic",)
        )
        self.outputs = metrics.counter("triplane_strategy_outputs", "Records appended", ("topic",))
        self.repeated = metrics.counter(
            "triplane_strategy_outputs_present", "Outputs computed again that the log already held"
        )
        self.duplicates = metrics.gauge("triplane_strategy_duplicates", "Input records dropped as equal repeats")
        self.late_records = metrics.gauge(
            "triplane_strategy_late_records", "Input records that came after the cut of their time"
        )
        self.expired = metrics.gauge(
            "triplane_strategy_expired_records", "Input records of fast topics dropped as too old"
        )
        self.pending = metrics.gauge(
            "triplane_strategy_pending_records", "Records below the cut that wait for their time"
        )
        self.lag = metrics.gauge("triplane_strategy_lag_records", "Records on the log not yet read", ("partition",))
        self.passed_over = metrics.gauge(
            "triplane_strategy_passed_over_records", "Records that the consumer passed over and that were read directly"
        )
        self.nondeterminism = metrics.gauge(
            "triplane_nondeterminism", "1 when equal identities had different bytes: the plane holds"
        )
        self.signal_names = metrics.gauge(
            "triplane_signal_names", "Names that a signal had a score for at the last barrier", ("signal",)
        )
        self.held = metrics.gauge(
            "triplane_decision_held", "1 when the last decision held every name, for whatever reason"
        )
        self._outcome = SOLVED
        self._decided = False
        self.session = ""
        """Of the last barrier stepped, by this run or the one that it goes on from; empty before the first."""
        self.fits = metrics.counter("triplane_strategy_fits", "Regime models fitted")

    def stepped(self, outputs: Iterable[Output], log: BoundLogger, session: str, kind: str) -> None:
        """Take what a barrier of `session` came to. A decision that holds every name is told, for nothing trades until the next one, and
        so are, from this run's first decision on, sessions that went by without one: without a barrier, or with a warm-up barrier.
        """
        self._decided = self._decided or kind == "decision"
        passed = sessions_between(self.session, session) if self._decided else []
        if self._decided and kind != "decision":
            passed.append(session)
        if passed:
            log.warning("sessions passed", count=len(passed), first=passed[0], last=passed[-1])
        self.session = max(self.session, session)
        for output in outputs:
            if output.topic == "strategy.signals":
                self._signals(output.record)
            elif output.topic == "strategy.targets":
                targets = output.record
                before, self._outcome = self._outcome, str(targets["outcome"])
                self.held.set(0 if self._outcome == SOLVED else 1)
                if self._outcome == SOLVED:
                    if before != SOLVED:
                        log.info("decisions resumed", seq=targets["seq"], after=before)
                else:
                    log.warning("decision held", seq=targets["seq"], code=targets["outcome"], detail=targets["detail"])

    def _signals(self, record: Mapping[str, Any]) -> None:
        silent = Counter(entry.partition(":")[0] for entry in record["abstained"])
        for name in record["signals"]:
            self.signal_names.labels(name).set(len(record["symbols"]) - silent[name])
