"""What blocks each symbol: which plane holds it, why, and for how long still, from the newest records of the log."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data_plane.gates.state import CLOCK, COMPLETENESS, CONTRACT
from triplane.domain.timestamps import DAY, MINUTE, NEW_YORK, to_datetime

if TYPE_CHECKING:
    from triplane.runtime.kafka_in import LogRecord

EVERYTHING = "*"
"""What a hold of the whole account names in order.account."""

REARM = "`triplane kill rearm --actor NAME --reason WHY` lifts it"

NEVER_SENT = frozenset({"AT_TARGET", "BELOW_MIN_ORDER", "SUPERSEDED", "EXPIRED"})
"""Refusals of an intent that hold nothing back: there is nothing to trade, or a newer intent speaks for the name."""

FOR_GOOD = frozenset({"CLASS_NOT_TRADED", "CURRENCY_NOT_TRADED"})
"""What no waiting changes."""

BEHIND_NS = 5 * MINUTE
"""So far behind the newest quotes (market time) no plane is while it keeps up."""

AHEAD_NS = 5 * DAY
"""No market is closed for so long, so time that is further than its quotes came from elsewhere."""

_BARS = re.compile(r"(\d+)/(\d+) bars")


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason why a symbol, or everything (an empty symbol), is not traded. `until` says what ends it, for people."""

    plane: str
    symbol: str
    reason: str
    until: str = ""

    def __str__(self) -> str:
        who = f"{self.symbol} held" if self.symbol else "everything held"
        return f"{who}: {self.reason} [{self.plane} plane{', ' if self.until else ''}{self.until}]"


def when(time: int) -> str:
    """A market time (ns UTC) for people."""
    return f"{to_datetime(time, NEW_YORK):%Y-%m-%d %H:%M} New York"


def holds(
    intents: Mapping[str, Any],
    targets: Mapping[str, Any],
    account: Mapping[str, Any],
    gates: Sequence[Mapping[str, Any]],
    decisions: Sequence[Mapping[str, Any]] = (),
    next_decision: Callable[[], int] = lambda: 0,
) -> list[Hold]:
    """What blocks each symbol; the whole account's holds come first. Inputs may be empty.

    `decisions` are records of order.decisions in their order; `next_decision` tells when the strategy decides again (ns UTC, 0
    when nobody knows) and is asked only when something waits for it.
    """
    found = [*_strategy(intents, targets, next_decision), *_order(account)]
    told = {(hold.symbol, hold.reason.partition(" ")[0].rstrip(":")) for hold in found}
    found += [hold for hold in _working(intents, account, decisions) if not _said(hold, told)]
    found += [_gate(gate) for gate in gates]
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda hold: hold.symbol)


def closed_gates(records: Iterable[LogRecord]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The gates that records of data.gates leave closed, and a sentence for each record that is passed over.

    What names no gate, or no source where the strategy asks for one, closes nothing: the data plane did not write it.
    """
    gates: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    passed_over = []
    for record in records:
        value = record.value
        if value is None:
            continue
        if value["gate"] and (value["source"] or value["gate"] == CLOCK):
            gates[(value["gate"], value["source"], value["scope"])] = value
        else:
            passed_over.append(
                f"{record.place} names no gate of a source, so it holds nothing and is passed over; find who wrote it"
            )
    return [gate for gate in gates.values() if not gate["open"]], passed_over


def divided(
    closed: Iterable[Mapping[str, Any]], market: Collection[str], reference: Callable[[], Collection[str]]
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Closed gates that hold what they name, and a sentence for each of the others.

    `market` are the sources of bars and quotes. As the strategy has it: a closed gate of another source (filings, rates) holds nothing by
    itself, since what was known stays in use until it is stale. While the log knows no source of prices, `reference` is asked which ones
    bring none.
    """
    holding: list[Mapping[str, Any]] = []
    beside = []
    for gate in closed:
        priced = gate["source"] in market if market else gate["source"] not in reference()
        if priced or gate["gate"] == CLOCK:
            holding.append(gate)
        else:
            beside.append(
                f"{_gate(gate).reason}; it holds nothing by itself: what is known of it stays in use until it is stale, and what is not known has a hold of its own"
            )
    return holding, beside


def _said(hold: Hold, told: set[tuple[str, str]]) -> bool:
    """The order plane repeats what the strategy held back, and what holds the whole account for every name of a slice."""
    code = hold.reason.partition(":")[0]
    return (hold.symbol, code) in told or code in ("KILLED", "ACCOUNT_HELD", "SYMBOL_HELD")


def _strategy(intents: Mapping[str, Any], targets: Mapping[str, Any], next_decision: Callable[[], int]) -> list[Hold]:
    found: list[Hold] = []
    if intents and intents["outcome"] != "SOLVED":
        reason = f"{intents['outcome']}: {targets.get('detail', '')}".rstrip(": ")
        found.append(Hold("strategy", "", reason, _until_decided(reason, next_decision)))
    named = {}
    for entry in targets.get("held", []):
        symbol, _, reason = entry.partition(":")
        named[symbol] = reason
    for symbol, code in zip(intents.get("held", []), intents.get("held_codes", []), strict=False):
        if not named.get(symbol, "").startswith(code):
            named[symbol] = code
    for symbol, reason in named.items():
        found.append(Hold("strategy", symbol, reason, _until_decided(reason, next_decision)))
    return found


def _until_decided(reason: str, next_decision: Callable[[], int]) -> str:
    code = reason.partition(" ")[0].rstrip(":")
    if code in FOR_GOOD:
        return "until a later release"
    if code == "HOLD_KILLED":
        return REARM
    bars = _BARS.search(reason)
    if bars:
        more = int(bars[2]) - int(bars[1])
        return f"{more} more session{'s' if more != 1 else ''}"
    time = next_decision()
    return f"at least until it decides again at {when(time)}" if time else "at least until it decides again"


def _order(account: Mapping[str, Any]) -> list[Hold]:
    found: list[Hold] = []

    def add(symbol: str, reason: str, until: str) -> None:
        found.append(Hold("order", symbol, reason, until))

    for entry in account.get("held", []):
        symbol, _, code = entry.partition(":")
        add("" if symbol == EVERYTHING else symbol, code, f"until `triplane order release '{symbol}' --reason WHY`")
    for symbol in account.get("excluded", []):
        add(symbol, "FOREIGN_POSITION", "until that position is closed where it was opened")
    if account and account["nav"] <= 0.0:
        add("", f"NAV_UNKNOWN: NAV is {account['nav']:,.0f}, so limits cannot be judged", "until it is positive")
    if account and not math.isfinite(account["nav"]):
        unmarked = ", ".join(account["unmarked"])
        why = f"no quote of {unmarked} for days or since the order plane started, or its row of assets.csv is gone"
        told = f"NAV_UNKNOWN: {why if unmarked else 'the broker has not told the cash yet'}"
        add(
            "",
            told,
            "until its next quote, for which it needs its row and contract"
            if unmarked
            else "until the broker tells it",
        )
    if account and not account["reconciled"]:
        add("", "NOT_RECONCILED: no order leaves before a reconciliation has passed", "tried again every RECONCILE_S")
    if account.get("kill_level", "none") not in ("", "none"):
        add("", f"KILL_SWITCH {account['kill_level']}: {account['kill_reason']}", REARM)
    return found


def _working(
    intents: Mapping[str, Any], account: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]]
) -> list[Hold]:
    """What the order plane last refused of each name, while the newest intents are still in force."""
    if not intents or not account or account["event_time"] > intents["valid_until"]:
        return []
    last = {each["symbol"]: each for each in decisions if each["seq"] == intents["seq"]}
    until = f"tried again until {when(intents['valid_until'])}, when its intent ends"
    return [
        Hold("order", symbol, f"{each['code']}: {each['detail']}", until)
        for symbol, each in last.items()
        if symbol and not each["allowed"] and each["code"] not in NEVER_SENT
    ]


def abstentions(signals: Mapping[str, Any]) -> list[str]:
    """Why a signal has no score for a name, by signal and code: `POS abstains for all 20 names: TBILL_STALE`. `signals` may be empty.

    A name that warms up is held, and told as such.
    """
    names: dict[tuple[str, str], list[str]] = {}
    for entry in signals.get("abstained", []):
        signal, symbol, code = entry.split(":", 2)
        if code != "WARMING":
            names.setdefault((signal, code), []).append(symbol)
    whole = len(signals.get("symbols", []))
    return [
        f"{signal} abstains for {f'all {whole} names' if len(found) == whole else ', '.join(found)}: {code}"
        for (signal, code), found in names.items()
    ]


def behind(quotes: Mapping[str, Any], account: Mapping[str, Any]) -> str:
    """That the order plane has yet to come to the newest quotes, or is days beyond them, in a sentence; else empty. Records may be empty.

    It tells its account at every change of the marks, so an account that is older than the quotes by minutes tells how far it is.
    """
    if not quotes or not account:
        return ""
    if account["event_time"] - quotes["available_time"] > AHEAD_NS:
        return (
            f"market time is {when(account['event_time'])} to the order plane, and the newest quotes are of {when(quotes['available_time'])}. Either "
            "newer ones cannot be read, and the planes above say why, or it has taken a record that was stamped ahead of the market, and time "
            "does not go back: find who wrote it; a log without it, or the day itself, lets trading go on"
        )
    if quotes["available_time"] - account["event_time"] < BEHIND_NS:
        return ""
    return (
        f"the order plane has worked the log up to {when(account['event_time'])}, and the newest quotes are of {when(quotes['available_time'])}: "
        "nothing decided meanwhile is sent; its intents end as EXPIRED, or as SUPERSEDED by the next"
    )


_OPENS = {CONTRACT: "until its row of assets.csv is corrected or removed"}


def _gate(gate: Mapping[str, Any]) -> Hold:
    """A closed gate; it opens by itself with the first data that passes."""
    group = gate["gate"] == COMPLETENESS  # its scope is a group of names, which holds all that we trade of it
    scope = gate["scope"] if gate["scope"] not in ("", "all") and not group else ""
    of = f" of {gate['source']}" if gate["source"] else ""
    since = f" since {when(gate['event_time'])}" if gate["event_time"] > 0 else ""
    why = f"{gate['code']} {gate['detail']}".strip() or "no reason is given"
    return Hold(
        "data",
        scope,
        f"gate {gate['gate']}{of} closed{since}: {why}",
        _OPENS.get(gate["gate"], "until its source is good again"),
    )
