"""What a live view shows, folded from the log: one small state, updated record by record."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from triplane.domain.timestamps import NEW_YORK, to_datetime
from triplane.runtime.kafka_in import LogRecord


@dataclass(slots=True)
class LiveState:
    """Latest values by subject. Money is in the account's currency, weights in fractions of NAV."""

    counts: Counter[str] = field(default_factory=Counter)
    market_time: int = 0
    session: str = ""
    history: int = 0
    gates: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    quarantined: Counter[str] = field(default_factory=Counter)
    barriers: Counter[str] = field(default_factory=Counter)
    barrier: dict[str, Any] = field(default_factory=dict)
    regime: dict[str, Any] = field(default_factory=dict)
    targets: dict[str, Any] = field(default_factory=dict)
    solved: dict[str, Any] = field(default_factory=dict)
    previous_solved: dict[str, Any] = field(default_factory=dict)
    account: dict[str, Any] = field(default_factory=dict)
    first_nav: float = 0.0
    costs: dict[str, Any] = field(default_factory=dict)
    configs: list[dict[str, Any]] = field(default_factory=list)
    orders: int = 0
    fills: int = 0
    denials: Counter[str] = field(default_factory=Counter)
    nav_path: deque[float] = field(default_factory=lambda: deque(maxlen=400))

    def take(self, record: LogRecord) -> None:
        """Fold one record; an undecodable one only counts."""
        self.counts[record.topic] += 1
        value = record.value
        if value is None:
            return
        handler = getattr(self, "_" + record.topic.replace(".", "_"), None)
        if handler is not None:
            handler(value)

    def _data_bars(self, value: dict[str, Any]) -> None:
        if not value["history"]:
            self.market_time = max(self.market_time, value["available_time"])
        elif value["interval"] == "1d" and value["symbols"]:
            self.history += 1
        self.session = max(self.session, value["session"])

    def _data_quotes(self, value: dict[str, Any]) -> None:
        self.market_time = max(self.market_time, value["available_time"])

    def _data_gates(self, value: dict[str, Any]) -> None:
        self.gates[(value["gate"], value["source"], value["scope"])] = value

    def _data_quarantine(self, value: dict[str, Any]) -> None:
        self.quarantined[value["code"]] += 1

    def _strategy_barriers(self, value: dict[str, Any]) -> None:
        self.barriers[value["kind"]] += 1
        self.barrier = value

    def _strategy_regime(self, value: dict[str, Any]) -> None:
        self.regime = value

    def _strategy_targets(self, value: dict[str, Any]) -> None:
        self.targets = value
        if value["outcome"] == "SOLVED":
            self.previous_solved, self.solved = self.solved, value

    def _order_account(self, value: dict[str, Any]) -> None:
        self.account = value
        if value["reconciled"] and value["nav"] > 0:
            if not self.first_nav:
                self.first_nav = value["nav"]
            self.nav_path.append(value["nav"])

    def _order_costs(self, value: dict[str, Any]) -> None:
        self.costs = value

    def _order_events(self, value: dict[str, Any]) -> None:
        self.orders += value["kind"] == "placing"

    def _order_fills(self, value: dict[str, Any]) -> None:
        self.fills += value["kind"] in ("execution", "inferred")

    def _order_decisions(self, value: dict[str, Any]) -> None:
        if not value["allowed"]:
            self.denials[value["code"]] += 1

    def _control_config(self, value: dict[str, Any]) -> None:
        self.configs.append(value)

    @property
    def pnl(self) -> float:
        """Change of NAV since the first reconciled account record."""
        return self.account["nav"] - self.first_nav if self.account and self.first_nav else 0.0

    @property
    def clock(self) -> str:
        """Market time in New York, for people."""
        if not self.market_time:
            return "-"
        return to_datetime(self.market_time, NEW_YORK).strftime("%a %Y-%m-%d %H:%M:%S")

    def closed_gates(self) -> list[dict[str, Any]]:
        """Gates that are closed now."""
        return [gate for gate in self.gates.values() if not gate["open"]]
