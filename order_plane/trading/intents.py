"""Intents: what one barrier wants of each name, taken once, newest first.

An intent is a signed target quantity. The slice with the highest barrier sequence rules: it supersedes every older one, name by
name and as a whole. Each name of a slice gets exactly one decision (accepted or coded), and so does each name that the strategy
itself held back, so that no intent is ever unaccounted for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from order_plane.codes import Code
from order_plane.ledger.book import EPSILON
from order_plane.ledger.state import EVERYTHING, EngineState, Parent
from triplane.domain.assets import Universe
from triplane.domain.ids import intent_id
from triplane.domain.lots import round_quantity
from triplane.domain.targets import OrderTargets
from triplane.domain.timestamps import SECOND, iso

# Beyond these a finite number is a fault of its writer, and products of it are infinite: units, currency, daily volatility.
ABSURD: Final = 1e12
SIGMA_MAX: Final = 10.0


@dataclass(frozen=True, slots=True)
class IntentDecision:
    """What becomes of one name's intent. `parent` is set when it is accepted."""

    symbol: str
    code: str
    detail: str
    numbers: dict[str, float] = field(default_factory=dict)
    parent: Parent | None = None


def remaining(state: EngineState, symbol: str, target: float, side: int) -> float:
    """Units that may still be sent on `side` without any fill passing the target: target less position and all of that side's orders.

    Opposite orders are not netted: they may never fill.
    """
    position = state.book.position(symbol)
    if side > 0:
        return target - (position + state.book.open_side(symbol, 1))
    return position - state.book.open_side(symbol, -1) - target


def expected_position(state: EngineState, symbol: str) -> float:
    """Position when every open and unknown order of the name fills."""
    return state.book.position(symbol) + state.book.open_side(symbol, 1) - state.book.open_side(symbol, -1)


def slice_code(state: EngineState, record: Mapping[str, Any], killed: bool) -> tuple[Code, str] | None:
    """Why a whole slice is refused, or None."""
    if record["seq"] < state.last_seq:
        return Code.SUPERSEDED, f"Barrier {state.last_seq} was taken before barrier {record['seq']}."
    if record["valid_until"] < state.market_time:
        return (
            Code.EXPIRED,
            f"The intents were valid until {iso(record['valid_until'])}, and it is {iso(state.market_time)}.",
        )
    if killed:
        return Code.KILLED, f"The kill switch is tripped ({state.kill.reason})."
    if EVERYTHING in state.holds:
        return Code.ACCOUNT_HELD, f"The account is held: {state.holds[EVERYTHING]}."
    return None


def decide_slice(
    state: EngineState,
    record: Mapping[str, Any],
    universe: Universe,
    targets: OrderTargets,
    refused: tuple[Code, str] | None,
) -> list[IntentDecision]:
    """One decision a name, in the slice's order, then one a name that the strategy held back; `refused` is slice_code's answer."""
    decisions = []
    for place, symbol in enumerate(record["symbols"]):
        if intent_id(record["account"], record["seq"], symbol) in state.parents:
            continue  # taken up before a crash
        if refused is not None:
            decisions.append(IntentDecision(symbol, refused[0], refused[1]))
        else:
            decisions.append(_decide_name(state, record, place, universe, targets))
    for symbol, code in zip(record["held"], record["held_codes"], strict=True):
        decisions.append(IntentDecision(symbol, code, "The strategy held the name back."))
    if not decisions and not record["symbols"]:
        decisions.append(IntentDecision("", record["outcome"] or Code.AT_TARGET, "The barrier carries no names."))
    return decisions


def _decide_name(
    state: EngineState, record: Mapping[str, Any], place: int, universe: Universe, targets: OrderTargets
) -> IntentDecision:
    symbol, now = record["symbols"][place], state.market_time
    target, adv = record["target_qty"][place], record["adv"][place]
    if symbol not in universe:
        return IntentDecision(symbol, Code.UNKNOWN_SYMBOL, f"{symbol} is not in the configured universe.")
    asset = universe[symbol]
    if asset.untradable_code() is not None:
        return IntentDecision(symbol, Code.CLASS_NOT_TRADED, f"{asset.asset_class} is not traded in this release.")
    con_id = record["con_ids"][place]
    if con_id and asset.con_id and con_id != asset.con_id:
        return IntentDecision(
            symbol, Code.CONTRACT_MISMATCH, f"The intent names contract {con_id}, the configuration {asset.con_id}."
        )
    sigma, reference = record["sigma_daily"][place], record["reference_price"][place]
    # Written so that NaN fails where a number is needed; sigma and the reference price may be unknown.
    usable = abs(target) <= ABSURD and 0.0 < adv <= ABSURD
    if not usable or sigma > SIGMA_MAX or abs(reference) > ABSURD:
        numbers = {"target": target, "adv": adv, "sigma_daily": sigma, "reference_price": reference}
        return IntentDecision(
            symbol, Code.NOT_A_NUMBER, "Target quantity, adv, sigma or price is not a usable number.", numbers
        )
    if symbol in state.holds:
        return IntentDecision(symbol, Code.SYMBOL_HELD, f"{symbol} is held: {state.holds[symbol]}.")
    if state.book.excluded.get(symbol):
        return IntentDecision(
            symbol, Code.FOREIGN_POSITION, f"Triplane did not open the position in {symbol} and leaves it alone."
        )
    expected = expected_position(state, symbol)
    position = state.book.position(symbol)
    numbers = {"target": target, "position": position, "expected": expected}
    working = abs(expected - position) > EPSILON or bool(state.book.live_orders(symbol))
    needed = abs(target - expected)
    if needed <= EPSILON and not working:
        return IntentDecision(symbol, Code.AT_TARGET, "Position and orders make the target already.", numbers)
    if round_quantity(needed, asset.lot_size) < asset.min_order and not working:
        return IntentDecision(
            symbol, Code.BELOW_MIN_ORDER, "The difference is smaller than the smallest order.", numbers
        )
    if not asset.shortable and target < -EPSILON and target < position:
        return IntentDecision(symbol, Code.NO_SHORT, f"{symbol} may not be shorted.", numbers)
    quote = state.market.quotes.get(symbol)
    good = quote is not None and quote.two_sided and quote.bid <= quote.ask
    mid = quote.mid if quote is not None and good else record["reference_price"][place]
    spread = (quote.ask - quote.bid) / 2.0 / mid if quote is not None and good else 0.0
    volume = state.market.volume(symbol)
    parent = Parent(
        intent_id=intent_id(record["account"], record["seq"], symbol),
        seq=record["seq"],
        symbol=symbol,
        con_id=con_id or asset.con_id,
        target=target,
        needed=needed,
        started=now,
        deadline=now + round(targets.PARENT_EXPIRY_S * SECOND),
        intent_config_hash=record["config_hash"],
        arrival_mid=mid,
        half_spread=spread,
        sigma_daily=record["sigma_daily"][place],
        adv=adv,
        volume_base=volume.until(now - round(targets.POV_WINDOW_S * SECOND)),
        volume_start=volume.total,
    )
    return IntentDecision(symbol, Code.OK, "", numbers, parent)
