"""What a recording amounts to: counts, money, costs, latency, and what cannot be accounted for.

Pure functions of a Recording. Amounts are in the account's base currency, fractions of NAV where named so, costs in fractions of
notional (1e-4 = 1 bp), times in wall seconds where they are latencies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import numpy as np

from order_plane.ledger.order_state import Trigger, of_error
from triplane.domain import calendars
from triplane.replay.executions import executions
from triplane.replay.recording import Recording
from triplane.runtime.kafka_in import LogRecord

SENT_TIME = "sent_time"
CAUSE_INGEST_TIME = "cause_ingest_time"


@dataclass(frozen=True, slots=True)
class Summary:
    """One page about a run. `problems` is empty when every intent, order and fill is accounted for."""

    published: int
    quarantined: int
    warmup_barriers: int
    decision_barriers: int
    sessions: int
    missed: tuple[str, ...]
    """Sessions from the first decision to the last that have none, YYYY-MM-DD."""
    intents: int
    holds: dict[str, int]
    decisions: dict[str, int]
    """Intents by the code of the first decision on them."""
    without_intent: dict[str, int]
    """Decisions on names that no intent asked for, by code."""
    later_decisions: dict[str, int]
    """Later decisions, on child orders and on the wait for one, by code; OK left out."""
    orders: int
    refused: int
    """Orders that the broker refused, those that reached it after their good-till time included."""
    fills: int
    filled_quantity: float
    wanted_quantity: float
    nav_start: float
    nav_end: float
    max_drawdown: float
    """The greatest that the account told, which knows peaks between its records, or that its records show."""
    turnover: float
    realised_cost: float
    learned_linear: float
    learned_impact: float
    parents: int
    """Closed ones."""
    learned_from: int
    """Parents behind the learned cost: closed, filled, and no outlier."""
    commission: float
    latency_s: tuple[float, float, float]
    latencies: int
    """Orders behind `latency_s`: those sent when their intent came."""
    simulated: bool
    problems: list[str] = field(default_factory=list)

    @property
    def fill_rate(self) -> float:
        """Filled over wanted quantity of all closed parents; NaN without one."""
        return self.filled_quantity / self.wanted_quantity if self.wanted_quantity else float("nan")

    @property
    def pnl(self) -> float:
        """Change of NAV."""
        return self.nav_end - self.nav_start

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self) | {"fill_rate": self.fill_rate, "pnl": self.pnl}


def values(records: list[LogRecord]) -> list[dict[str, Any]]:
    """The decoded records."""
    return [record.value for record in records if record.value is not None]


def latencies(recording: Recording) -> np.ndarray:
    """Seconds from the ingest of each barrier's last gating record to each order on the socket, in log order, shape (orders,).

    Only of orders that went out when their intent came: one that waits for volume or for an earlier order has no such cause.
    """
    result = []
    for record in recording.records["order.events"]:
        if SENT_TIME in record.headers and record.headers.get(CAUSE_INGEST_TIME, b"0") not in (b"", b"0"):
            result.append((int(record.headers[SENT_TIME]) - int(record.headers[CAUSE_INGEST_TIME])) / 1e9)
    return np.array(result, dtype=float)


def _accounts(recording: Recording, since: int) -> list[dict[str, Any]]:
    """Reconciled account records with a known NAV from `since` (ns) on, led by the last one before it.

    One at `since` itself may have the first fills in it, so what the account was worth before them is in the one before.
    """
    states = values(recording.records["order.account"])
    known = [s for s in states if s["reconciled"] and np.isfinite(s["nav"]) and s["nav"] > 0]
    before = [s for s in known if s["event_time"] < since]
    return before[-1:] + [s for s in known if s["event_time"] >= since]


def account_path(recording: Recording, since: int = 0) -> np.ndarray:
    """NAV of the last reconciled account record before `since` (ns), and of every one from then on, shape (records,)."""
    return np.array([s["nav"] for s in _accounts(recording, since)], dtype=float)


def told_drawdown(recording: Recording, since: int = 0) -> float:
    """The greatest drawdown in those records, a positive fraction; 0 without one."""
    return max((s["drawdown"] for s in _accounts(recording, since) if np.isfinite(s["drawdown"])), default=0.0)


def max_drawdown(path: np.ndarray) -> float:
    """Largest fall from a running maximum, as a positive fraction; 0 for an empty path."""
    if path.size == 0:
        return 0.0
    peak = np.maximum.accumulate(path)
    return float(np.max(1.0 - path / peak))


def shortfalls(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Signed shortfall of each filled parent against its arrival mid, and its filled notional; both shape (parents,).

    side * (price - arrival) / arrival: positive is a cost (Perold 1988, without opportunity cost and fees).
    """
    parents = [
        p
        for p in values(recording.records["order.fills"])
        if p["kind"] == "parent" and p["quantity"] > 0 and p["arrival_mid"] > 0
    ]
    cost = [p["side"] * (p["price"] - p["arrival_mid"]) / p["arrival_mid"] for p in parents]
    return np.array(cost, dtype=float), np.array([p["quantity"] * p["price"] for p in parents], dtype=float)


def unaccounted_intents(recording: Recording) -> list[str]:
    """Ids of intents on which the Order Plane left no decision."""
    decided = {d["intent_id"] for d in values(recording.records["order.decisions"]) if not d["order_ref"]}
    missing = []
    for intents in values(recording.records["strategy.intents"]):
        ids = [f"{intents['account']}/{intents['seq']}/{symbol}" for symbol in intents["symbols"]]
        missing += [intent for intent in ids if intent not in decided]
    return missing


def decision_codes(recording: Recording) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Codes of the first decision on each intent, of those on names without one, and of all later ones that are not OK."""
    intended = {
        f"{intents['account']}/{intents['seq']}/{symbol}"
        for intents in values(recording.records["strategy.intents"])
        for symbol in intents["symbols"]
    }
    first: dict[str, str] = {}
    later = Counter[str]()
    for decision in values(recording.records["order.decisions"]):
        code = decision["code"]
        if decision["intent_id"] not in first:
            first[decision["intent_id"]] = code
        elif code != "OK":
            later[code] += 1
    return (
        Counter(code for name, code in first.items() if name in intended),
        Counter(code for name, code in first.items() if name not in intended),
        later,
    )


def refused_orders(events: Sequence[Mapping[str, Any]]) -> int:
    """Orders about which the broker sent an error that refuses them, by (client id, order id)."""
    placed = {(event["client_id"], event["order_id"]) for event in events if event["kind"] == "placing"}
    refused = {
        (event["client_id"], event["order_id"])
        for event in events
        if event["kind"] == "error" and of_error(event["code"], about_order=True).trigger is Trigger.REFUSED
    }
    return len(placed & refused)


def barriers_without_outcome(recording: Recording) -> list[int]:
    """Sequence numbers of decision barriers for which there is no intent slice, not even a hold."""
    answered = {i["seq"] for i in values(recording.records["strategy.intents"])}
    return [
        b["seq"]
        for b in values(recording.records["strategy.barriers"])
        if b["kind"] == "decision" and b["seq"] not in answered
    ]


def missed_sessions(decided: set[str], first: str, last: str) -> tuple[str, ...]:
    """Sessions of the US exchanges from `first` to `last`, both included (YYYY-MM-DD), without a decision."""
    found = calendars.sessions(calendars.MARKET_CALENDAR, date.fromisoformat(first), date.fromisoformat(last))
    return tuple(day.isoformat() for day in found if day.isoformat() not in decided)


def summarise(recording: Recording) -> Summary:
    """The summary of a recording."""
    barriers = values(recording.records["strategy.barriers"])
    decisions = [b for b in barriers if b["kind"] == "decision"]
    first, beside, later = decision_codes(recording)
    decided = {b["session"] for b in decisions if b["session"]}
    intents = values(recording.records["strategy.intents"])
    events = values(recording.records["order.events"])
    fills = values(recording.records["order.fills"])
    executed = executions(fills)
    parents = [f for f in fills if f["kind"] == "parent"]
    costs = values(recording.records["order.costs"])
    first_decision = decisions[0]["t"] if decisions else 0
    path = account_path(recording, first_decision)
    cost, notional = shortfalls(recording)
    delays = latencies(recording)
    problems = [f"intent {intent} has no decision of the Order Plane" for intent in unaccounted_intents(recording)]
    problems += [f"barrier {seq} has no intents, not even a hold" for seq in barriers_without_outcome(recording)]
    apart = ("data.quarantine", "data.decisions")
    data = [name for name in recording.records if name.startswith("data.") and name not in apart]
    percentiles = np.percentile(delays, [50, 95, 99]) if delays.size else np.full(3, np.nan)
    last_cost = costs[-1] if costs else None
    return Summary(
        published=sum(len(recording.raw[name]) for name in data),
        quarantined=len(recording.records["data.quarantine"]),
        warmup_barriers=len(barriers) - len(decisions),
        decision_barriers=len(decisions),
        sessions=len(decided),
        missed=missed_sessions(decided, min(decided), max(decided)) if decided else (),
        intents=sum(len(i["symbols"]) for i in intents),
        holds=dict(sorted(Counter(i["outcome"] for i in intents if i["outcome"] != "SOLVED").items())),
        decisions=dict(sorted(first.items())),
        without_intent=dict(sorted(beside.items())),
        later_decisions=dict(sorted(later.items())),
        orders=sum(event["kind"] == "placing" for event in events),
        refused=refused_orders(events),
        fills=len(executed),
        filled_quantity=sum(p["quantity"] for p in parents),
        wanted_quantity=sum(p["target_quantity"] for p in parents),
        nav_start=float(path[0]) if path.size else float("nan"),
        nav_end=float(path[-1]) if path.size else float("nan"),
        max_drawdown=max(max_drawdown(path), told_drawdown(recording, first_decision)),
        turnover=float(sum(f["quantity"] * f["price"] for f in executed) / np.mean(path))
        if path.size
        else float("nan"),
        realised_cost=float(np.average(cost, weights=notional)) if notional.sum() > 0 else float("nan"),
        learned_linear=float(last_cost["linear"][0]) if last_cost and last_cost["linear"] else float("nan"),
        learned_impact=float(last_cost["impact"][0]) if last_cost and last_cost["impact"] else float("nan"),
        parents=len(parents),
        learned_from=int(last_cost["parents"][0]) if last_cost and last_cost["parents"] else 0,
        commission=sum(f["commission"] for f in fills if f["kind"] == "commission"),
        latency_s=(float(percentiles[0]), float(percentiles[1]), float(percentiles[2])),
        latencies=int(delays.size),
        simulated=any(f["simulated"] for f in executed),
        problems=problems,
    )
