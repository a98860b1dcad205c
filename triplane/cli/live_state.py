"""What a live view shows, folded from the log: one small state, updated record by record."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from typing import Any

from triplane.domain.timestamps import NEW_YORK, at, to_datetime
from triplane.runtime.kafka_in import LogRecord


@dataclass(slots=True)
class SessionLine:
    """One session: what its decision was, and what had happened by its end (orders, fills and PnL since the start)."""

    session: str
    seq: int
    regime: str = ""
    gross: float = 0.0
    held: str = ""
    """Code of a decision that left every target where it was; empty where it was solved."""
    orders: int = 0
    fills: int = 0
    pnl: float = 0.0

    def __str__(self) -> str:
        what = f"held {self.held}" if self.held else f"gross {self.gross:.2f}"
        return (
            f"{self.session}  {self.regime or '-':6}  {what}"
            f"  orders {self.orders}  fills {self.fills}  PnL {self.pnl:+,.0f} (simulated)"
        )

    @property
    def end(self) -> int:
        """The midnight after it in New York (ns UTC): what happens before is its own or an earlier session's."""
        return at(date.fromisoformat(self.session) + timedelta(days=1), time())


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
    minutes_until: int = 0
    """End of the newest one-minute bars, ns UTC: those after a session's stream come when it has been quiet for a while."""
    newest_fill: str = ""
    """Signed quantity, name and price."""
    denials: Counter[str] = field(default_factory=Counter)
    told: deque[SessionLine] = field(default_factory=deque)
    """Sessions that have passed and were not told yet, oldest first."""
    _decided: deque[SessionLine] = field(default_factory=deque)
    """Sessions that are not told yet, oldest first."""
    _order_time: int = 0
    """Market time of the newest order event."""
    _placed: list[int] = field(default_factory=list)
    """Market time of each order; `_filled` of each fill."""
    _filled: list[int] = field(default_factory=list)
    _valued: list[tuple[int, float]] = field(default_factory=list)
    """Market time and PnL of each account record."""
    _regimes: dict[int, str] = field(default_factory=dict)
    """Regime by barrier: topics are read in any order, and hours at once by a process that stood still."""
    _targets: dict[int, tuple[float, str]] = field(default_factory=dict)
    """Gross exposure and code of a hold, by barrier."""
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
        if value["interval"] == "1m":
            self.minutes_until = max(self.minutes_until, value["event_time"])
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
            self._decided.append(SessionLine(value["session"], value["seq"]))
            self._tell_finished()

    def _strategy_regime(self, value: dict[str, Any]) -> None:
        self.regime = value
        self._regimes[value["seq"]] = value["state"]

    def _strategy_targets(self, value: dict[str, Any]) -> None:
        self.targets = value
        solved = value["outcome"] == "SOLVED"
        self._targets[value["seq"]] = (value["gross"], "" if solved else value["outcome"])
        if value["outcome"] == "SOLVED":
            self.previous_solved, self.solved = self.solved, value

    def _order_account(self, value: dict[str, Any]) -> None:
        self.account = value
        if value["reconciled"] and value["nav"] > 0:
            if not self.first_nav:
                self.first_nav = value["nav"]
            self.nav_path.append(value["nav"])
            self._valued.append((value["event_time"], self.pnl))
            self._tell_finished()

    def _tell_finished(self) -> None:
        """Tell each session whose decision is known and after which the order plane has gone on into another."""
        while len(self._decided) > 1:
            line = self._decided[0]
            gone_on = self._order_time >= line.end and self._valued and self._valued[-1][0] >= line.end
            if not gone_on or line.seq not in self._regimes or line.seq not in self._targets:
                return
            self._tell(self._decided.popleft())

    def _tell(self, line: SessionLine) -> None:
        """Its orders, fills and PnL are those of its own day and before: of the next days more may have been read already."""
        line.regime = self._regimes.get(line.seq, "")
        line.gross, line.held = self._targets.get(line.seq, (0.0, ""))
        line.orders, line.fills = (sum(each < line.end for each in times) for times in (self._placed, self._filled))
        line.pnl = next((pnl for moment, pnl in reversed(self._valued) if moment < line.end), 0.0)
        self.told.append(line)

    def close_session(self) -> None:
        """The run is over: tell what was not told yet."""
        while self._decided:
            self._tell(self._decided.popleft())

    def _order_costs(self, value: dict[str, Any]) -> None:
        self.costs = value

    def _order_events(self, value: dict[str, Any]) -> None:
        self._order_time = max(self._order_time, value["event_time"])
        if value["kind"] == "placing":
            self.orders += 1
            self._placed.append(value["event_time"])
        self._tell_finished()

    def _order_fills(self, value: dict[str, Any]) -> None:
        if value["kind"] in ("execution", "inferred"):
            self.fills += 1
            self._filled.append(value["event_time"])
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
