"""Everything the order engine remembers, in one place, with its plain form for snapshots.

Durable parts are a fold of order.events (and of the intents, configurations and commands that these name); `market` is transient: it is
forgotten at every start and comes back with the next slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from order_plane.ledger.book import Book
from order_plane.ledger.taken_over import TakenOver
from order_plane.market.costs import CostEstimator
from order_plane.market.quotes import Market
from order_plane.market.throttle import Bucket, Rates
from triplane.domain.psr import Moments
from triplane.domain.timestamps import HOUR, MINUTE, NEW_YORK, to_datetime

EVERYTHING = "*"  # key of holds that concern the whole account
SPLIT_DOUBT_NS = 10 * MINUTE  # market time that levels wait for the position that shows an announced split


@dataclass(slots=True)
class Parent:
    """One accepted intent at work. `side` is 0 until its first child; then it never changes.

    `target` is the signed position to reach; `needed` the units still to trade when it was opened, positive.
    """

    intent_id: str
    seq: int
    symbol: str
    con_id: int
    target: float
    needed: float
    started: int
    deadline: int
    intent_config_hash: str
    arrival_mid: float
    half_spread: float
    sigma_daily: float
    adv: float
    volume_base: float
    volume_start: float
    side: int = 0
    next_child: int = 1
    closing: str = ""
    closing_wall: int = 0
    last_code: str = ""
    done_before: float = 0.0
    orders: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Link:
    """The way to the broker. `proven`: an order of this connection was acknowledged."""

    connected: bool = False
    servers: bool = True
    proven: bool = False
    since_event: int = 0

    @property
    def up(self) -> bool:
        """Socket and servers."""
        return self.connected and self.servers


@dataclass(slots=True)
class Reconciling:
    """Where reconciliation stands. `passed` is false from start or link loss until a complete snapshot was compared.

    `round` counts requests; `requested_event` is the number of events at the request, so that later orders are not compared;
    `suspects` are unexplained gaps seen once, units by symbol: their names wait; `touched` traded while the request was open.
    `splits` are announced ones that no position has shown yet: (ratio, market time taken) by symbol.
    """

    passed: bool = False
    baseline: bool = False
    pending: bool = False
    requested_wall: int = 0
    requested_event: int = 0
    round: int = 0
    finished_wall: int = 0
    wanted: str = ""
    wanted_wall: int = 0
    active: bool = False
    suspects: dict[str, float] = field(default_factory=dict)
    touched: dict[str, int] = field(default_factory=dict)
    splits: dict[str, tuple[float, int]] = field(default_factory=dict)
    cash_suspect: float = math.nan
    unvalued: dict[str, list[TakenOver]] = field(default_factory=dict)
    """Units by symbol that were taken over from the broker and have had no fresh mark since, comparison by comparison."""

    def want(self, reason: str, wall: int) -> None:
        """Ask for a snapshot no earlier than `wall`; an earlier wish stands."""
        if not self.wanted or wall < self.wanted_wall:
            self.wanted, self.wanted_wall = reason, wall


@dataclass(slots=True)
class Kill:
    """The kill switch. `level` is none, halved or stopped."""

    level: str = "none"
    reason: str = ""
    scope: str = "own"
    actor: str = ""
    since: int = 0
    asked: int = 0
    """When it was last asked for, wall ns UTC: a re-arming on the log from before that did not know of it."""
    global_sent: bool = False


@dataclass(slots=True)
class Owed:
    """A kill or a hold that an event on the log calls for and that follows as an event of its own. `asked`: wall ns UTC, 0 for a level."""

    code: str
    detail: str
    symbol: str = ""
    scope: str = ""
    actor: str = ""
    asked: int = 0


@dataclass(slots=True)
class Account:
    """Valuation that survives restarts: the last good NAV, the high-water mark, the day's start, daily returns since re-arming."""

    nav: float = math.nan
    forgiven: bool = False
    """A person has released a jump: the next good NAV is not compared with this one, which flows still move."""
    day_start: float = math.nan
    day_flows: float = 0.0
    high_water_mark: float = math.nan
    returns: Moments = field(default_factory=Moments)
    psr_month: str = ""
    available_funds: float = math.nan
    base_currency: str = ""
    day_end: int = 0
    marks: dict[str, float] = field(default_factory=dict)
    """Last marks that NAV was published with: those of the market are forgotten at every start."""
    states: int = 0
    published_wall: int = 0
    due: bool = False


@dataclass(slots=True)
class ConfigInForce:
    """The ConfigVersion record in force, as taken."""

    record: dict[str, Any]
    offset: int


@dataclass(slots=True)
class EngineState:
    """State of one account's order engine."""

    epoch: int = 0
    client_id: int = 0
    number: int = 0
    events: int = 0
    market_time: int = 0
    wall: int = 0
    last_seq: int = -1
    slices: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    pending: list[dict[str, Any]] = field(default_factory=list)
    parents: dict[str, Parent] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)
    owed: list[Owed] = field(default_factory=list)
    """What the last input stops and no event has stopped yet. The log may end there: each event is acknowledged by itself."""
    book: Book = field(default_factory=Book)
    market: Market = field(default_factory=Market)
    link: Link = field(default_factory=Link)
    reconciling: Reconciling = field(default_factory=Reconciling)
    kill: Kill = field(default_factory=Kill)
    account: Account = field(default_factory=Account)
    bucket: Bucket = field(default_factory=Bucket)
    rates: Rates = field(default_factory=Rates)
    costs: CostEstimator = field(default_factory=CostEstimator)
    costs_published: str = ""
    fills: dict[str, dict[str, Any]] = field(default_factory=dict)
    config: ConfigInForce | None = None


def trading_day_end(now: int) -> int:
    """The next 17:00 New York after `now`, ns UTC: when the trading day of the account ends."""
    moment = to_datetime(now, NEW_YORK)
    end = moment.replace(hour=17, minute=0, second=0, microsecond=0)
    if end <= moment:
        end = (moment + timedelta(days=1)).replace(hour=17, minute=0, second=0, microsecond=0)
    return int(end.timestamp()) * 1_000_000_000


KEEP_NS = 8 * 24 * HOUR  # executions are remembered longer than the broker can repeat them (TWS keeps seven days)
