"""What the log tells of one asset's bars: its slices as columns, the rolls of a future, and the series that both make."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from triplane.cli import context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from triplane.runtime.kafka_in import LogRecord
    from triplane.runtime.settings import Settings

BARS, WATCHED, ROLLS = "data.bars", "data.watched", "data.rolls"
PRICES = ("open", "high", "low", "close", "wap")
COLUMNS = (*PRICES, "volume")
SIDES = ("from_close", "to_close")
TOLD_EVERY_S = 2.0
"""Wall seconds between two lines that say how far the log is read."""


@dataclass(slots=True)
class Bars:
    """Bars in log order, the first of each session (1d) or end (intraday) and name; a row each.

    `values` are flat, len(COLUMNS) a row, in the asset's currency and units, NaN when unknown; `trades` -1 when unknown; `ends` and
    `available` ns UTC; `names` the symbol, or of a future the contract's name (MESH2018). `repaired` and `released` have the rows that are.
    """

    sessions: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    ends: array[int] = field(default_factory=lambda: array("q"))
    available: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    trades: array[int] = field(default_factory=lambda: array("q"))
    repaired: dict[int, str] = field(default_factory=dict)
    released: dict[int, str] = field(default_factory=dict)
    _seen: set[tuple[str, int, str]] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.sessions)

    def take(self, record: Mapping[str, Any], place: int) -> None:
        """The bar at a place of a slice, unless its session has one: what was let out of quarantine fills, and replaces nothing."""
        name, session = sys.intern(record["symbols"][place]), sys.intern(record["session"])
        key = (session, 0 if record["interval"] == "1d" else record["event_time"], name)
        if key in self._seen:
            return
        self._seen.add(key)
        codes = [code for mark in record["repaired"] for of, _, code in [mark.rpartition(":")] if of == name]
        if codes:
            self.repaired[len(self)] = ", ".join(codes)
        if record["released"]:
            self.released[len(self)] = ", ".join(record["released"])
        self.sessions.append(session)
        self.names.append(name)
        self.ends.append(record["event_time"])
        self.available.append(record["available_time"])
        self.values.extend(record[column][place] for column in COLUMNS)
        self.trades.append(record["trades"][place])


@dataclass(slots=True)
class Asset:
    """What the log has of one symbol at an interval, as known at a moment. `chained`: its slices are of a future's contracts."""

    bars: Bars = field(default_factory=Bars)
    rolls: list[Mapping[str, Any]] = field(default_factory=list)
    sources: dict[str, int] = field(default_factory=dict)
    """Slices with a bar by source, whichever was asked for."""
    first_known: int = 0
    """When the first of them could be known, ns UTC, also where that is too late; 0 without any."""
    chained: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Bars in the order of their ends, one row each (N,); `values` (N, len(COLUMNS)), `places` their rows in `bars`, -1 where the
    held contract has none in that session."""

    bars: Bars
    sessions: list[str]
    names: list[str]
    places: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.sessions)

    def of(self, rows: range) -> Series:
        """Some of the rows."""
        part = slice(rows.start, rows.stop)
        return Series(self.bars, self.sessions[part], self.names[part], self.places[part], self.values[part])


# -- reading -------------------------------------------------------------------------------------------------------------------
def read(
    settings: Settings,
    topics: tuple[str, ...],
    symbol: str,
    interval: str,
    *,
    source: str = "",
    until: int | None = None,
    days: tuple[str, str] = ("", "9999"),
) -> Asset:
    """What the topics have of a symbol; `until` (ns UTC; None: all) is when it had to be known, `days` the first and last session.

    Raises LogUnavailable.
    """
    from schemas import catalogue

    identify = {topic: catalogue.load()[topic].identify for topic in topics}
    found, seen = Asset(), set()
    for record in _told(settings, topics):
        value = record.value
        if value is None:
            continue
        if record.topic == ROLLS:
            if value["symbol"] != symbol or source not in ("", value["source"]):
                continue
        elif (
            value["interval"] != interval
            or not days[0] <= value["session"] <= days[1]
            or (record.topic == WATCHED and value["group"] != symbol)
        ):
            continue
        identity = (record.topic, *identify[record.topic](value))
        if identity in seen:
            continue
        seen.add(identity)
        known = until is None or value["available_time"] <= until
        if record.topic == ROLLS:
            if known:
                found.rolls.append(value)
            continue
        places = range(len(value["symbols"])) if record.topic == WATCHED else _places(value["symbols"], symbol)
        if not places:
            continue
        found.chained = found.chained or value["symbols"][places[0]] != symbol
        found.sources[value["source"]] = found.sources.get(value["source"], 0) + 1
        found.first_known = min(found.first_known or value["available_time"], value["available_time"])
        if known and source in ("", value["source"]):
            for place in places:
                found.bars.take(value, place)
    return found


def _places(symbols: list[str], symbol: str) -> range:
    try:
        place = symbols.index(symbol)
    except ValueError:
        return range(0)
    return range(place, place + 1)


def _told(settings: Settings, topics: tuple[str, ...]) -> Iterator[LogRecord]:
    """Every record of the topics; on stderr, now and then, how far that is, since a log of years takes a while."""
    from triplane.runtime.log_scan import scan

    told = time.monotonic()
    for number, record in enumerate(scan(settings, topics), 1):
        yield record
        if number % 1000 == 0 and time.monotonic() - told >= TOLD_EVERY_S:
            told = time.monotonic()
            at = (record.value or {}).get("session", "")
            print(f"{record.topic}: {number:,} records read{f', at {at}' if at else ''}", file=sys.stderr, flush=True)


# -- series --------------------------------------------------------------------------------------------------------------------
def in_force(rolls: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The roll into each contract, by its first session: where older history came later, the one that names the contract before it, or
    that begins with it earlier."""
    entered: dict[str, Mapping[str, Any]] = {}
    for roll in rolls:
        first = entered.setdefault(roll["to_contract"], roll)
        older = not roll["from_contract"] and roll["first_session"] < first["first_session"]
        if not first["from_contract"] and (roll["from_contract"] or older):
            entered[roll["to_contract"]] = roll
    return sorted(entered.values(), key=lambda roll: (roll["first_session"], roll["available_time"]))


def plain(bars: Bars, name: str) -> Series:
    """The bars of one name as they are on the log, in the order of their ends."""
    import numpy as np

    mine = np.flatnonzero(np.array(bars.names) == name)
    order = mine[np.argsort(np.frombuffer(bars.ends, np.int64)[mine], kind="stable")] if len(mine) else mine
    values = np.frombuffer(bars.values).reshape(-1, len(COLUMNS))[order] if len(mine) else np.empty((0, len(COLUMNS)))
    return Series(bars, [bars.sessions[each] for each in order], [name] * len(order), order, values)


def chained(bars: Bars, rolls: Sequence[Mapping[str, Any]], adjust: str) -> Series:
    """The held contract's bars, one row for each session with a bar of any contract from the first roll on; missing ones NaN.

    `rolls` in force, in order. `adjust`: none, difference or ratio; the newest contract of the bars stays as it trades.
    """
    import numpy as np

    from triplane.domain import continuous

    sessions = sorted(set(bars.sessions))
    days = np.array([date.fromisoformat(each).toordinal() for each in sessions], np.int64)
    begins = np.array([date.fromisoformat(roll["first_session"]).toordinal() for roll in rolls], np.int64)
    column = continuous.held(begins, days)
    begun = int(np.searchsorted(column, 0))
    sessions, column = sessions[begun:], column[begun:]
    names = [rolls[each]["to_contract"] for each in column]
    rows = {key: row for row, key in enumerate(zip(bars.sessions, bars.names, strict=True))}
    places = np.array([rows.get(key, -1) for key in zip(sessions, names, strict=True)], np.int64)
    raw = np.vstack([np.frombuffer(bars.values).reshape(-1, len(COLUMNS)), np.full(len(COLUMNS), np.nan)])
    values = raw[places]  # -1 is the row of NaN
    if adjust != "none":
        closes = [[roll[side] if roll["compared_session"] else np.nan for roll in rolls] for side in SIDES]
        left, entered = np.array(closes, np.float64).reshape(2, -1)
        prices = values[:, : len(PRICES)]
        if adjust == "difference":
            prices += continuous.difference(column, left, entered)[:, None]
        else:
            prices *= continuous.ratio(column, left, entered)[:, None]
    return Series(bars, sessions, names, places, values)


def between(series: Series, first: str, last: str) -> Series:
    """The rows from one session to another, both included."""
    from bisect import bisect_left, bisect_right

    return series.of(range(bisect_left(series.sessions, first), bisect_right(series.sessions, last)))


def newest(series: Series, limit: int) -> Series:
    """The last `limit` rows; 0 for all."""
    return series.of(range(max(len(series) - limit, 0) if limit else 0, len(series)))


def universe(settings: Settings) -> Mapping[str, str]:
    """Asset class by symbol, from assets.csv. Raises CommandError where that cannot be read."""
    from triplane.domain.assets import AssetsError, Universe

    try:
        return {asset.symbol: asset.asset_class for asset in Universe.load(settings.assets_path).assets}
    except AssetsError as error:
        raise context.CommandError(
            f"{error.problems[0]}; `triplane assets check` lists what is wrong with it"
        ) from None
