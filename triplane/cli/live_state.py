"""What a live view shows, folded from the log: one small state, updated record by record."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from triplane.domain.timestamps import NEW_YORK, to_datetime
from triplane.runtime.kafka_in import LogRecord


@dataclass(slots=True)
class SessionLine:
    """One session: what its decision was, and what had happened by its end (orders, fills and PnL since the start)."""

    session: str
    seq: int
    regime: str = ""
    gross: float = 0.0
    orders: int = 0
    fills: int = 0
    pnl: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.session}  {self.regime or '-':6}  gross {self.gross:.2f}"
            f"  orders {self.orders}  fills {self.fills}  PnL {self.pnl:+,.0f} (simulated)"
        )


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
    newest_fill: str = ""
    """Signed quantity, name and price."""
    denials: Counter[str] = field(default_factory=Counter)
    told: deque[SessionLine] = field(default_factory=deque)
    """Sessions that have passed and were not told yet, oldest first."""
    _open: SessionLine | None = None
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
        if value["kind"] == "decision":
            self.close_session()
            self._open = SessionLine(value["session"], value["seq"], pnl=self.pnl)
            self._describe(self.regime, self.targets)  # topics are read in any order

    def _describe(self, regime: dict[str, Any], targets: dict[str, Any]) -> None:
        if self._open is not None and regime.get("seq") == self._open.seq:
            self._open.regime = regime["state"]
        if self._open is not None and targets.get("seq") == self._open.seq:
            self._open.gross = targets["gross"]

    def close_session(self) -> None:
        """The session of the last decision is over: its orders and fills, and the PnL of its own day, are what is told of it."""
        if self._open is not None:
            self._open.orders, self._open.fills = self.orders, self.fills
            self.told.append(self._open)
        self._open = None

    def _strategy_regime(self, value: dict[str, Any]) -> None:
        self.regime = value
        self._describe(value, {})

    def _strategy_targets(self, value: dict[str, Any]) -> None:
        self.targets = value
        self._describe({}, value)
        if value["outcome"] == "SOLVED":
            self.previous_solved, self.solved = self.solved, value

    def _order_account(self, value: dict[str, Any]) -> None:
        self.account = value
        if value["reconciled"] and value["nav"] > 0:
            if not self.first_nav:
                self.first_nav = value["nav"]
            self.nav_path.append(value["nav"])
            # The next session's account comes before its decision, and is not this one's.
            if (
                self._open is not None
                and to_datetime(value["event_time"], NEW_YORK).date().isoformat() <= self._open.session
            ):
                self._open.pnl = self.pnl

    def _order_costs(self, value: dict[str, Any]) -> None:
        self.costs = value

    def _order_events(self, value: dict[str, Any]) -> None:
        self.orders += value["kind"] == "placing"

    def _order_fills(self, value: dict[str, Any]) -> None:
        if value["kind"] in ("execution", "inferred"):
            self.fills += 1
            self.newest_fill = f"{value['side'] * value['quantity']:+,.0f} {value['symbol']} @ {value['price']:.2f}"

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

    def open_orders(self) -> list[str]:
        """Units that rest at the broker by name, bought or sold, as of the newest account record."""
        account = self.account
        if not account:
            return []
        rows = zip(account["symbols"], account["open_buy"], account["open_sell"], strict=True)
        return [f"{buys - sells:+,.0f} {symbol}" for symbol, buys, sells in rows if buys or sells]

    def closed_gates(self) -> list[dict[str, Any]]:
        """Gates that are closed now."""
        return [gate for gate in self.gates.values() if not gate["open"]]
