"""What the account is worth and how exposed it is: own marks times positions, plus cash.

NAV for sizing leaves out positions that are excluded (not ours). A position without a fresh mark makes NAV unknown, which holds
and never trips (reference: levels that stop trading). Exposures are fractions of NAV after the risk-weight haircut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from order_plane.ledger.state import SPLIT_DOUBT_NS, EngineState
from triplane.domain.assets import Universe
from triplane.domain.timestamps import SECOND


@dataclass(frozen=True, slots=True)
class Valuation:
    """Value of positions and cash at one instant, base currency. NAV is NaN when a held name has no mark that is young enough.

    `fresh`: NAV is known and nothing casts doubt on it, so that levels may be judged.
    """

    nav: float
    unrealised: float
    realised: float
    fresh: bool
    missing: tuple[str, ...]


def value(state: EngineState, universe: Universe, now: int, stale_s: float) -> Valuation:
    """Value the account. A mark older than `stale_s` of market time does not count, nor does that of a name without a row: NAV is then NaN."""
    worth = unrealised = realised = 0.0
    missing = []
    for symbol, held in sorted(state.book.positions.items()):
        realised += held.realised
        if held.quantity == 0.0:
            continue
        mark = state.market.marks.get(symbol) if symbol in universe else None
        if mark is None or now - mark.time > stale_s * SECOND:
            missing.append(symbol)
            continue
        multiplier = universe[symbol].multiplier
        worth += held.quantity * mark.price * multiplier
        unrealised += held.quantity * (mark.price - held.avg_cost) * multiplier
    known = not missing and math.isfinite(state.book.cash)
    # While a split is announced and no position shows it, price and position may be of different sides of it. Not for long: what stays
    # of it then is a jump, which holds until a person has looked, and no reason to judge nothing.
    doubted = {name for name, (_, taken) in state.reconciling.splits.items() if now - taken < SPLIT_DOUBT_NS}
    fresh = known and not any(state.book.position(symbol) for symbol in doubted)
    nav = state.book.cash + worth if known else math.nan
    return Valuation(nav, unrealised, realised - state.book.fees, fresh, tuple(missing))


def last_mark(state: EngineState, symbol: str) -> float | None:
    """The last mark of a name, of however long ago; of before a start the last that NAV was published with."""
    mark = state.market.marks.get(symbol)
    return mark.price if mark is not None else state.account.marks.get(symbol)


def last_price(state: EngineState, symbol: str) -> float:
    """What is known of the price of a name that may never be quoted again: last mark, else what was told to be paid for it, else its cost."""
    mark = last_mark(state, symbol)
    if mark is not None:
        return mark
    told = [taken.high for taken in state.reconciling.unvalued.get(symbol, []) if taken.told]
    held = state.book.positions.get(symbol)
    return told[-1] if told else held.avg_cost if held is not None else 0.0


def taken_over(state: EngineState, universe: Universe) -> float:
    """What units taken over that have no mark of their own yet changed NAV by: in it already, and no gain or loss of ours."""
    worth = 0.0
    for symbol, taken in state.reconciling.unvalued.items():
        price, multiplier = last_price(state, symbol), universe[symbol].multiplier if symbol in universe else 1.0
        worth += sum(each.outside(price, multiplier) for each in taken)
    return worth


@dataclass(slots=True)
class Name:
    """One name's worst case per side, units, and the value of a unit after the haircut, base currency."""

    position: float
    buys: float
    sells: float
    unit: float

    @property
    def longest(self) -> float:
        """Position plus all buys: never netted."""
        return self.position + self.buys

    @property
    def shortest(self) -> float:
        """Position less all sells."""
        return self.position - self.sells

    @property
    def worst(self) -> float:
        """Largest |value| that the name may come to."""
        return max(abs(self.longest), abs(self.shortest)) * self.unit


@dataclass(slots=True)
class Exposure:
    """The worst case of the whole account, name by name, with sums that follow each new order. `nav` may be NaN."""

    nav: float
    names: dict[str, Name] = field(default_factory=dict)
    gross: float = 0.0
    net_up: float = 0.0
    net_down: float = 0.0
    unpriced: tuple[str, ...] = ()
    unmarked: tuple[str, ...] = ()
    """Held names without a mark that is young enough: they are why NAV is not known."""

    def put(self, symbol: str, name: Name) -> None:
        """Set one name and move the sums."""
        old = self.names.get(symbol)
        if old is not None:
            self.gross -= old.worst
            self.net_up -= old.longest * old.unit
            self.net_down -= old.shortest * old.unit
        self.names[symbol] = name
        self.gross += name.worst
        self.net_up += name.longest * name.unit
        self.net_down += name.shortest * name.unit

    def add_order(self, symbol: str, side: int, quantity: float) -> None:
        """An order was written ahead: its units count on its side from now on."""
        old = self.names[symbol]
        buys = old.buys + (quantity if side > 0 else 0.0)
        sells = old.sells + (quantity if side < 0 else 0.0)
        self.put(symbol, Name(old.position, buys, sells, old.unit))


def exposure(state: EngineState, universe: Universe, worth: Valuation, extra: tuple[str, ...] = ()) -> Exposure:
    """The account's worst case now, against the NAV of `worth`; `extra` names are listed even when flat.

    A unit is worth the larger of its mark and its open orders' limits. A name without any price makes the account's exposure
    unknown: it is listed in `unpriced`.
    """
    result = Exposure(worth.nav, unmarked=tuple(_with_cause(symbol, universe) for symbol in worth.missing))
    unpriced = []
    # Foreign orders in names that we leave alone are no exposure of ours.
    ours = {s for s in universe.symbols if not state.book.excluded.get(s)}
    foreign = {order.symbol for order in state.book.foreign_orders.values() if order.symbol in ours}
    symbols = (
        {s for s, held in state.book.positions.items() if held.quantity} | set(state.book.live) | foreign | set(extra)
    )
    for symbol in sorted(symbols):
        if symbol in universe:
            factor = universe[symbol].multiplier * universe[symbol].risk_weight
        else:
            factor = 1.0
        mark = state.market.marks.get(symbol)
        price = max([mark.price if mark else 0.0, *(order.worst_price for order in state.book.live_orders(symbol))])
        name = Name(
            state.book.position(symbol),
            state.book.open_side(symbol, 1),
            state.book.open_side(symbol, -1),
            price * factor,
        )
        if price <= 0.0 and (name.position or name.buys or name.sells):
            unpriced.append(symbol)
        result.put(symbol, name)
    result.unpriced = tuple(unpriced)
    return result


def _with_cause(symbol: str, universe: Universe) -> str:
    return symbol if symbol in universe else f"{symbol} (which has no row in assets.csv)"


def account_record(
    state: EngineState,
    universe: Universe,
    valuation: Valuation,
    *,
    account: str,
    simulated: bool,
    stale_s: float,
    kept_s: float,
) -> dict[str, Any]:
    """The AccountState record. Marks that are stale are NaN; NAV is when a held name has none within `kept_s`."""
    book, now = state.book, state.market_time
    worst = exposure(state, universe, valuation)
    symbols = sorted({s for s, held in book.positions.items() if held.quantity or held.realised} | set(worst.names))
    marks = []
    for symbol in symbols:
        mark = state.market.marks.get(symbol)
        marks.append(mark.price if mark is not None and now - mark.time <= stale_s * SECOND else math.nan)
    unknown = {
        symbol: sum(o.open_quantity for o in book.live_orders(symbol) if o.state.value == "unknown")
        for symbol in symbols
    }
    held_values = [
        book.position(symbol)
        * mark.price
        * (universe[symbol].multiplier * universe[symbol].risk_weight if symbol in universe else 1.0)
        for symbol in symbols
        if (mark := state.market.marks.get(symbol)) is not None
    ]
    nav, kept = valuation.nav, state.account
    per_nav = 1.0 / nav if nav > 0.0 else math.nan
    came = taken_over(state, universe)
    peak = (
        kept.high_water_mark * (nav / (nav - came) if nav > came else math.nan)
        if came and math.isfinite(nav)
        else kept.high_water_mark
    )
    positions = [book.positions.get(symbol) for symbol in symbols]
    return {
        "event_time": now,
        "available_time": now,
        "account": account,
        "epoch": state.epoch,
        "state_id": f"{account}/{state.epoch}/{state.account.states}",
        "events_offset": state.events,
        "base_currency": kept.base_currency,
        "nav": nav,
        "cash": book.cash,
        "available_funds": kept.available_funds,
        "day_pnl": nav - kept.day_start - kept.day_flows - came,
        "realised": valuation.realised,
        "unrealised": valuation.unrealised,
        "high_water_mark": peak,
        "drawdown": max(1.0 - nav / peak, 0.0) if peak > 0.0 else math.nan,
        "gross": sum(abs(held) for held in held_values) * per_nav,
        "net": sum(held_values) * per_nav,
        "reconciled": state.reconciling.passed,
        "kill_level": state.kill.level,
        "kill_reason": state.kill.reason,
        "symbols": symbols,
        "con_ids": [held.con_id if held else 0 for held in positions],
        "position": [held.quantity if held else 0.0 for held in positions],
        "mark": marks,
        "avg_cost": [held.avg_cost if held else 0.0 for held in positions],
        "open_buy": [book.open_side(symbol, 1) for symbol in symbols],
        "open_sell": [book.open_side(symbol, -1) for symbol in symbols],
        "unknown": [unknown[symbol] for symbol in symbols],
        "held": [f"{symbol}:{code}" for symbol, code in sorted(state.holds.items())],
        "excluded": sorted(symbol for symbol, quantity in book.excluded.items() if quantity),
        "unmarked": list(valuation.missing),
        "simulated": simulated,
    }
