"""What sources hand in: raw observations with the time at which they were true and could be known. Nothing here has passed a gate.

The unit of account (law L10) is one *observation*: one name's bar, quote update or trade, one corporate action, one reported fact,
one value of a macro series, or one payload that could not be read. `units()` counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_plane.futures import Held

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Columns of Bars.values.
OPEN, HIGH, LOW, CLOSE, VOLUME, WAP = range(6)
BAR_COLUMNS = ("open", "high", "low", "close", "volume", "wap")

INTERVAL_NS = {"5s": 5_000_000_000, "1m": 60_000_000_000, "1d": 86_400_000_000_000}

SPLIT, DIVIDEND, SPINOFF, DELISTING, SYMBOL_CHANGE = "split", "dividend", "spinoff", "delisting", "symbol_change"
ACTION_KINDS = (SPLIT, DIVIDEND, SPINOFF, DELISTING, SYMBOL_CHANGE)

LIVE, FROZEN, DELAYED, NO_DATA = "live", "frozen", "delayed", "none"


class RealtimeBar(NamedTuple):
    """One name's bar of a running interval. `start` is the interval's start, ns UTC; `wap` NaN and `trades` -1 when unknown."""

    source: str
    symbol: str
    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    wap: float
    trades: int


class QuoteTick(NamedTuple):
    """One name's best bid and offer after an update at `time` (ns UTC). A side that does not exist is NaN; sizes are in units."""

    source: str
    symbol: str
    time: int
    bid: float
    ask: float
    bid_size: float
    ask_size: float
    last: float
    volume: float
    status: str
    halted: bool


class TradeTick(NamedTuple):
    """One trade at `time` (ns UTC)."""

    source: str
    symbol: str
    time: int
    price: float
    size: float


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars of one interval across names: `values` (n, 6) holds BAR_COLUMNS, `trades` (n,) counts, -1 when unknown.

    `event_time` is the interval's end and `available_time` when the bar could first be known, ns UTC. `asked` is the market time at which the
    provider was asked for it, which had adjusted it for the splits until then; 0 where nobody asked.
    """

    source: str
    interval: str
    session: str
    event_time: int
    available_time: int
    symbols: tuple[str, ...]
    values: Floats
    trades: Ints
    history: bool = False
    asked: int = 0
    watched: str = ""
    """The asset that the bars are of, where this release does not trade it: then a slice by itself, of that asset or of contracts of its
    chain."""

    @property
    def of_joined(self) -> bool:
        """History of names that joined later: the slice of all others for this session is on the topic already."""
        return self.history and self.available_time > self.event_time


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """An action of one name, in force from the open of `ex_date` (YYYY-MM-DD) and known from `available_time` (ns UTC).

    `ratio` is new units for an old one (a split; else 0), `amount` the cash, or the worth in cash, a unit (a dividend, a spinoff; else 0).
    """

    source: str
    symbol: str
    kind: str
    ex_date: str
    available_time: int
    ratio: float = 0.0
    amount: float = 0.0
    currency: str = ""


class Fact(NamedTuple):
    """One reported value. `concept` is taxonomy:Concept; `start` is 0 for an instant; times are ns UTC."""

    concept: str
    unit: str
    start: int
    end: int
    value: float
    fiscal_year: int
    fiscal_period: str


@dataclass(frozen=True, slots=True)
class Filing:
    """The facts that one filing of one name carried, usable from `available_time`; with a `part` those that its records lacked so far."""

    source: str
    symbol: str
    cik: int
    accession: str
    form: str
    filed: str
    acceptance: str
    available_time: int
    facts: tuple[Fact, ...]
    part: int = 0


class FramedFact(NamedTuple):
    """One filer's row of a frame (SEC's name of it: taxonomy/tag/unit/period): the value that was filed last for a period, and in which filing."""

    frame: str
    accession: str
    fact: Fact


@dataclass(frozen=True, slots=True)
class Frames:
    """What the frames that were looked at have of one name, at market time `time` (ns UTC). Never published: a frame does not tell since when
    its values are known."""

    source: str
    symbol: str
    cik: int
    time: int
    rows: tuple[FramedFact, ...]
    whole: bool = True
    """Whether all that came could be read; else nothing says that a finding is over."""


@dataclass(frozen=True, slots=True)
class Vintage:
    """The values of one series that became known on `realtime_start`: (observation date as ns UTC, value or NaN)."""

    source: str
    series: str
    unit: str
    realtime_start: str
    available_time: int
    pseudo_point_in_time: bool
    values: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Malformed:
    """A payload or message that the source could not read. `topic` is where its content was meant to go."""

    source: str
    topic: str
    symbol: str
    code: str
    detail: str
    raw: bytes
    time: int


@dataclass(frozen=True, slots=True)
class Chain:
    """Which contract of a future's chain is held when, as of `time` (ns UTC). Never published itself: rolls are, once both contracts'
    closes are there."""

    source: str
    symbol: str
    time: int
    held: tuple[Held, ...]


Observation = (
    Chain | RealtimeBar | QuoteTick | TradeTick | Bars | CorporateAction | Filing | Frames | Vintage | Malformed
)


def units(observation: Observation) -> int:
    """How many observations it holds; a filing or a vintage without values counts as none, and so does a chain, which is no price.

    So do frames: their rows tell of facts that were received with their filings. One that contradicts what is on record counts then.
    """
    if isinstance(observation, Bars):
        return len(observation.symbols)
    if isinstance(observation, Filing):
        return len(observation.facts)
    if isinstance(observation, Vintage):
        return len(observation.values)
    if isinstance(observation, Frames | Chain):
        return 0
    return 1
