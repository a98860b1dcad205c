"""A desk for tests: one order engine, the log it writes, and a hand-written broker that keeps its own books.

The broker here is not Triplane's: it knows orders by what was sent to it, fills what it is told to fill, and is the oracle that laws are
checked against. Every record that the engine appends is encoded with its schema, so a field that does not exist fails at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

from order_plane.engine import OrderEngine
from order_plane.ledger.order_state import State
from order_plane.messages import (
    Alert,
    Append,
    BrokerReport,
    CancelOrder,
    ClockTick,
    Effect,
    GlobalCancel,
    Input,
    KillRequest,
    LogInput,
    Place,
    RequestSnapshot,
    Start,
)
from schemas import catalogue, codec
from triplane.domain.assets import Asset, Universe
from triplane.domain.targets import Targets
from triplane.domain.timestamps import SECOND, at
from triplane.runtime import configuration

ACCOUNT = "DU1234567"
DAY = date(2018, 2, 5)
T0 = at(DAY, time(15, 30))
SYMBOLS = ("AAPL", "BAC", "GE", "JPM", "KO")
PRICES = {"AAPL": 160.0, "BAC": 31.0, "GE": 15.0, "JPM": 112.0, "KO": 46.0}


def asset(symbol: str, **changes: Any) -> Asset:
    """An equity with sensible columns."""
    row = {
        "symbol": symbol, "name": symbol, "asset_class": "Equity", "exchange": "SMART", "primary_exchange": "NYSE", "currency": "USD",
        "sec_type": "STK", "con_id": 1000 + sum(map(ord, symbol)), "sector": "Technology", "cost_profile": "Standard",
    }  # fmt: skip
    return Asset.model_validate(row | changes)


def universe(symbols: tuple[str, ...] = SYMBOLS, **changes: dict[str, Any]) -> Universe:
    """Equities by symbol; `changes` by symbol."""
    return Universe(asset(symbol, **changes.get(symbol, {})) for symbol in symbols)


def targets(**order: Any) -> Targets:
    """Default targets with changes in the order section."""
    return Targets.model_validate({"order": order})


@dataclass
class BrokerOrder:
    """An order as this broker holds it."""

    order_id: int
    ref: str
    symbol: str
    con_id: int
    side: int
    quantity: float
    limit: float
    perm_id: int
    client_id: int
    filled: float = 0.0
    status: str = "Submitted"

    @property
    def live(self) -> bool:
        return self.status in ("Submitted", "PreSubmitted", "PendingSubmit", "Inactive", "PendingCancel")


@dataclass
class Broker:
    """Orders, executions, positions and cash, kept independently of the engine."""

    cash: float = 1_000_000.0
    funds: float = 1_000_000.0
    next_id: int = 1
    orders: dict[int, BrokerOrder] = field(default_factory=dict)
    executions: list[dict[str, Any]] = field(default_factory=list)
    positions: dict[str, float] = field(default_factory=dict)
    received: list[str] = field(default_factory=list)
    con_ids: dict[str, int] = field(default_factory=dict)
    connected: bool = True

    def place(self, fields: dict[str, Any]) -> BrokerOrder:
        """A placeOrder message arrived."""
        self.received.append(fields["order_ref"])
        side = 1 if fields["action"] == "BUY" else -1
        order = BrokerOrder(
            fields["order_id"], fields["order_ref"], fields["symbol"], fields["con_id"], side, fields["quantity"],
            fields["limit_price"], 900_000 + fields["order_id"], fields["client_id"],
        )  # fmt: skip
        self.orders[order.order_id] = order
        self.con_ids[order.symbol] = order.con_id
        return order

    def status(self, order: BrokerOrder) -> dict[str, Any]:
        return {
            "kind": "order_status", "order_id": order.order_id, "client_id": order.client_id, "perm_id": order.perm_id,
            "status": order.status, "filled": order.filled, "remaining": order.quantity - order.filled,
            "avg_price": order.limit, "last_price": order.limit, "labels": {},
        }  # fmt: skip

    def opened(self, order: BrokerOrder, **changes: Any) -> dict[str, Any]:
        return {
            "kind": "open_order", "account": ACCOUNT, "order_id": order.order_id, "client_id": order.client_id,
            "perm_id": order.perm_id, "order_ref": order.ref, "symbol": order.symbol, "con_id": order.con_id,
            "action": "BUY" if order.side > 0 else "SELL", "order_type": "LMT", "tif": "GTD", "quantity": order.quantity,
            "limit_price": order.limit, "status": order.status, "labels": {}, "algo": "",
        } | changes  # fmt: skip

    def completed(self, order: BrokerOrder) -> dict[str, Any]:
        report = self.opened(order) | {"kind": "completed_order", "filled": order.filled}
        return {key: report[key] for key in report if key not in ("order_id", "client_id")}

    def fill(self, order: BrokerOrder, quantity: float, price: float | None = None, when: int = T0) -> dict[str, Any]:
        """Fill an order in part; the live execDetails report."""
        price = order.limit if price is None else price
        order.filled += quantity
        if order.filled >= order.quantity - 1e-9:
            order.status = "Filled"
        return self.execute(order.symbol, order.side, quantity, price, when, order=order)

    def execute(
        self, symbol: str, side: int, quantity: float, price: float, when: int = T0, order: BrokerOrder | None = None
    ) -> dict[str, Any]:
        """Book an execution of ours or of somebody else in this account."""
        self.positions[symbol] = self.positions.get(symbol, 0.0) + side * quantity
        self.cash -= side * quantity * price
        report = {
            "kind": "execution", "account": ACCOUNT, "exec_id": f"0000e0d5.{len(self.executions):08x}.01.01",
            "order_ref": order.ref if order else "", "symbol": symbol, "con_id": self.con_ids.get(symbol, 0),
            "order_id": order.order_id if order else 0, "client_id": order.client_id if order else 0,
            "perm_id": order.perm_id if order else 0, "action": "BUY" if side > 0 else "SELL", "quantity": quantity,
            "last_price": price, "avg_price": price, "filled": order.filled if order else quantity, "broker_time": when,
            "labels": {"live": "1", "liquidation": "0", "currency": "USD", "exchange": "SMART"},
        }  # fmt: skip
        self.executions.append(report)
        return report

    def correct(self, place: int, quantity: float, price: float) -> dict[str, Any]:
        """Replace an execution: the exchange corrected it. The same id with its last part counted up."""
        old = self.executions[place]
        side = 1 if old["action"] == "BUY" else -1
        base, _, revision = old["exec_id"].rpartition(".")
        self.positions[old["symbol"]] += side * (quantity - old["quantity"])
        self.cash -= side * (quantity * price - old["quantity"] * old["last_price"])
        order = self.orders.get(old["order_id"])
        if order is not None:
            order.filled += quantity - old["quantity"]
        changes = {"exec_id": f"{base}.{int(revision) + 1:02d}", "quantity": quantity, "last_price": price}
        self.executions[place] = old | changes
        return self.executions[place]

    def commission(self, execution: dict[str, Any], amount: float = 1.0) -> dict[str, Any]:
        self.cash -= amount
        return {
            "kind": "commission",
            "exec_id": execution["exec_id"],
            "values": {"commission": amount},
            "labels": {"currency": "USD"},
        }

    def cancel(self, order: BrokerOrder) -> list[dict[str, Any]]:
        order.status = "Cancelled"
        return [
            self.status(order),
            {
                "kind": "error",
                "order_id": order.order_id,
                "client_id": order.client_id,
                "code": 202,
                "text": "Order Canceled",
            },
        ]

    def snapshot(self, complete: bool = True, touched: str = "") -> list[dict[str, Any]]:
        """Everything that this broker knows, one report after the other, closed by `snapshot`."""
        live = [order for order in self.orders.values() if order.live]
        reports = [report for order in live for report in (self.opened(order), self.status(order))]
        reports += [self.completed(order) for order in self.orders.values() if not order.live]
        reports += [execution | {"labels": execution["labels"] | {"live": "0"}} for execution in self.executions]
        held = sorted((symbol, quantity) for symbol, quantity in self.positions.items() if quantity)
        reports.append(
            {
                "kind": "snapshot", "account": ACCOUNT, "status": "complete" if complete else "incomplete", "text": "",
                "symbols": [symbol for symbol, _ in held], "con_ids": [self.con_ids.get(symbol, 0) for symbol, _ in held],
                "quantities": [quantity for _, quantity in held], "prices": [PRICES.get(symbol, 10.0) for symbol, _ in held],
                "values": {"TotalCashValue": self.cash, "AvailableFunds": self.funds, "NetLiquidation": self.cash},
                "refs": sorted(order.ref for order in self.orders.values() if order.live and order.ref),
                "labels": {"base_currency": "USD", "touched": touched},
            }
        )  # fmt: skip
        return reports


@dataclass
class Desk:
    """Engine, log and broker together. `auto` carries effects to the broker and its answers back."""

    mode: str = "paper"
    settings: Targets = field(default_factory=Targets)
    assets: Universe = field(default_factory=universe)
    broker: Broker = field(default_factory=Broker)
    auto: bool = True
    now: int = T0
    wall: int = 1_000 * SECOND
    epoch: int = 0
    engine: OrderEngine = field(init=False)
    log: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    sent: list[Place] = field(default_factory=list)
    cancelled: list[CancelOrder] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    config_seq: int = 0
    kept_back: list[Input] | None = None
    through: Callable[[Input], list[Effect]] | None = None

    def __post_init__(self) -> None:
        self.engine = OrderEngine(ACCOUNT, self.mode)
        self.broker.con_ids.update({asset.symbol: asset.con_id for asset in self.assets.assets})

    # -- inputs ----------------------------------------------------------------------------------------------------------------
    def give(self, item: Input) -> list[Effect]:
        """One input; its effects are logged and, with `auto`, carried out. `through` stands in for the engine's `handle`."""
        if self.kept_back is not None:
            self.kept_back.append(item)
            return []
        self.inputs.append(item)
        effects = self.through(item) if self.through is not None else self.engine.handle(item)
        todo: list[dict[str, Any]] = []
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, Append):
                codec.encode_body(catalogue.load()[effect.topic].record, effect.record)
                self.log.append((effect.topic, effect.record))
            elif isinstance(effect, Place):
                self.sent.append(effect)
                if self.auto:
                    order = self.broker.place(effect.fields)
                    todo += [self.broker.opened(order), self.broker.status(order)]
            elif isinstance(effect, CancelOrder):
                self.cancelled.append(effect)
                asked = self.broker.orders.get(effect.order_id)
                if self.auto and asked is not None and asked.live:
                    todo += self.broker.cancel(asked)
            elif isinstance(effect, GlobalCancel):
                if self.auto:
                    for order in [o for o in self.broker.orders.values() if o.live]:
                        todo += self.broker.cancel(order)
            elif isinstance(effect, Alert):
                self.alerts.append(effect)
            elif isinstance(effect, RequestSnapshot) and self.auto:
                todo += self.broker.snapshot()
        for report in todo:
            effects = effects + self.report(report)
        return effects

    def keep_back(self, make: Callable[[], Any]) -> Input:
        """The input that `make` would give, not given."""
        self.kept_back = []
        make()
        (item,), self.kept_back = self.kept_back, None
        return item

    def state(self, ref: str) -> State:
        """State of a child order."""
        return self.engine.s.book.orders[ref].state

    def record(self, topic: str, record: dict[str, Any]) -> list[Effect]:
        """A log record arrived on partition 0."""
        kept = self.records.setdefault(topic, [])
        kept.append(codec.defaults(catalogue.load()[topic].record) | record)
        return self.give(LogInput(topic, 0, len(kept) - 1, kept[-1], self.wall))

    def report(self, event: dict[str, Any]) -> list[Effect]:
        return self.give(BrokerReport(event, self.wall))

    def tick(self, seconds: float = 1.0) -> list[Effect]:
        self.wall += round(seconds * SECOND)
        return self.give(ClockTick(self.wall))

    def kill(self, scope: Any = "own", reason: str = "test") -> list[Effect]:
        return self.give(KillRequest("command", scope, reason, "tester", self.wall))

    def configure(self, settings: Targets | None = None, assets: Universe | None = None) -> list[Effect]:
        """Publish a configuration."""
        self.settings, self.assets = settings or self.settings, assets or self.assets
        self.config_seq += 1
        config = configuration.make(self.settings, self.assets)
        record = configuration.to_record(config, None, actor="tester", event_time=self.wall)
        return self.record("control.config", record | {"seq": self.config_seq})

    def start(self) -> list[Effect]:
        self.epoch += 1
        return self.give(Start(self.epoch, 12, self.wall))

    def connect(self) -> list[Effect]:
        return self.report(
            {
                "kind": "connected",
                "account": ACCOUNT,
                "client_id": 12,
                "order_id": self.broker.next_id,
                "labels": {"library": "test"},
            }
        )

    def open(self, volume: float = 1e6) -> Desk:
        """Start, configure, connect, reconcile, and see quotes and volume: ready to trade."""
        self.start()
        self.configure()
        self.connect()
        self.bars(volume)
        self.quotes()
        return self

    def quotes(self, mids: dict[str, float] | None = None, spread: float = 0.02, **columns: Any) -> list[Effect]:
        """A quote slice of every name at the present instant."""
        prices = PRICES | (mids or {})
        names = [symbol for symbol in self.assets.symbols if symbol in prices]
        n = len(names)
        row = {
            "event_time": self.now, "available_time": self.now, "group": "main", "source": "test", "session": "2018-02-05",
            "symbols": names, "bid": [prices[s] - spread / 2 for s in names], "ask": [prices[s] + spread / 2 for s in names],
            "bid_size": [100.0] * n, "ask_size": [100.0] * n, "last": [prices[s] for s in names], "volume": [0.0] * n,
            "quote_time": [self.now] * n, "status": ["live"] * n, "halted": [False] * n,
        } | columns  # fmt: skip
        return self.record("data.quotes", row)

    def bars(
        self, volume: float = 1e6, interval: str = "5s", history: bool = False, closes: dict[str, float] | None = None
    ) -> list[Effect]:
        names = list(self.assets.symbols)
        closing = PRICES | (closes or {})
        return self.record(
            "data.bars",
            {
                "event_time": self.now, "available_time": self.now, "group": "main", "source": "test", "interval": interval,
                "session": "2018-02-05", "history": history, "symbols": names, "volume": [volume] * len(names),
                "close": [closing.get(name, 10.0) for name in names],
            },
        )  # fmt: skip

    def pass_time(self, seconds: float, volume: float = 1e6, **columns: Any) -> None:
        """Market and wall time pass; fresh bars and quotes arrive."""
        self.now += round(seconds * SECOND)
        self.wall += round(seconds * SECOND)
        self.bars(volume)
        self.quotes(**columns)

    def intents(self, seq: int, wanted: dict[str, float], **fields: Any) -> list[Effect]:
        """The strategy's intents of one barrier."""
        names = list(wanted)
        n = len(names)
        row = {
            "event_time": self.now, "available_time": self.now, "seq": seq, "intent_id": f"{ACCOUNT}/{seq}", "account": ACCOUNT,
            "config_hash": "strategy", "valid_until": self.now + 300 * SECOND, "outcome": "SOLVED", "symbols": names,
            "con_ids": [0] * n, "target_qty": list(wanted.values()), "target_weight": [0.1] * n,
            "reference_price": [PRICES.get(s, 10.0) for s in names], "sigma_daily": [0.02] * n, "adv": [2e7] * n,
        } | fields  # fmt: skip
        return self.record("strategy.intents", row)

    # -- what happened ---------------------------------------------------------------------------------------------------------
    def events(self, kind: str = "") -> list[dict[str, Any]]:
        return [record for topic, record in self.log if topic == "order.events" and kind in ("", record["kind"])]

    def appended(self, topic: str) -> list[dict[str, Any]]:
        return [record for name, record in self.log if name == topic]

    def codes(self) -> list[str]:
        return [record["code"] for record in self.appended("order.decisions")]

    def account(self) -> dict[str, Any]:
        return self.appended("order.account")[-1]

    def order(self, place: Place) -> BrokerOrder:
        return self.broker.orders[place.fields["order_id"]]

    def fill_all(self, commission: float = 1.0) -> None:
        """Fill and charge everything that is live at the broker."""
        for order in [o for o in self.broker.orders.values() if o.live]:
            execution = self.broker.fill(order, order.quantity - order.filled, when=self.now)
            self.report(execution)
            self.report(self.broker.status(order))
            self.report(self.broker.commission(execution, commission))

    def lookup(self, topic: str, partition: int, offset: int) -> dict[str, Any] | None:
        kept = self.records.get(topic, [])
        return kept[offset] if partition == 0 and offset < len(kept) else None

    def recorded(self) -> list[dict[str, Any]]:
        """order.events as they come back from the log: encoded, decoded, every field present."""
        loaded = codec.load()
        return [loaded.decode("OrderEvent", loaded.encode("OrderEvent", event)) for event in self.events()]


def body(topic: str, record: dict[str, Any]) -> bytes:
    """Avro body of a record on a topic."""
    return codec.encode_body(catalogue.load()[topic].record, record)


def plain_text(state: Any) -> str:
    """State as comparable text; NaN equals NaN."""
    return json.dumps(state, sort_keys=False)
