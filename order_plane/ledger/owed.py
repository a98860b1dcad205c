"""What the last input on the log stops, and no event has stopped yet.

An input is several events, each acknowledged by itself, so a crash may leave the log between a broker's liquidation and the kill that
follows from it. Other decisions come again with the next snapshot or quote; a kill or a hold would not, so it is remembered as owed from
the event that calls for it to the one that carries it out, and made up for at the next start. Pure.
"""

from __future__ import annotations

from typing import Final

from order_plane.codes import Code
from order_plane.ledger.fold_base import Event, Note
from order_plane.ledger.state import EVERYTHING, EngineState, Owed

DECIDED: Final = frozenset(
    {
        "config_taken", "parent_opened", "parent_closing", "parent_closed", "intents_decided", "placing", "cancelling",
        "global_cancel", "doubted", "missed", "abandoned", "resolved", "held", "released", "snapshot_requested", "baseline",
        "difference", "explained", "cash_set", "valued", "reconciled", "killed", "rearmed", "day_ended", "marked",
    }
)  # fmt: skip
"""Kinds of events that the engine decided on; every other kind is an input."""
NOTED_HOLDS: Final = (Code.UNKNOWN_ORDER, Code.DOUBLE_ORDER, Code.LATE_EXECUTION)
"""What holds its name until a person releases it."""
_KILLS: Final = (Code.KILL_REQUESTED, Code.KILL_PSR, Code.BROKER_LIQUIDATION, Code.REJECTED)
_BY_NOTE: Final = (*NOTED_HOLDS, Code.NONDETERMINISM, Code.BROKER_LIQUIDATION, Code.REJECTED)


def still_owed(state: EngineState, event: Event, record: Event | None, notes: list[Note]) -> list[Owed]:
    """What is owed once `event` was folded into `state` and gave `notes`; `record` is what a `took` event names."""
    kind, owed = event["kind"], state.owed
    if kind == "epoch":
        return owed  # the start makes up for it, in events that follow
    if kind not in DECIDED:
        owed = []
    elif kind == "killed":
        owed = [each for each in owed if each.code not in _KILLS]
    elif kind == "held":
        owed = [each for each in owed if each.symbol != event["symbol"]]
    if new := _called_for(event, record, notes):
        held, stopped = state.holds, state.kill.level == "stopped"
        owed = [*owed, *(e for e in new if not (stopped if e.code in _KILLS else held.get(e.symbol) == e.code))]
    return owed


def _called_for(event: Event, record: Event | None, notes: list[Note]) -> list[Owed]:
    kind, labels = event["kind"], event.get("labels", {})
    if kind == "took" and record is not None and record.get("command") == "kill.trip":
        scope, asked = record["arguments"].get("scope", "account"), min(record["event_time"], event["wall_time"])
        return [Owed(str(Code.KILL_REQUESTED), record["reason"], scope=scope, actor=record["actor"], asked=asked)]
    if kind == "kill_requested":
        actor = labels["actor"] or event["text"]
        requested = event["wall_time"]
        return [Owed(str(Code.KILL_REQUESTED), event["reason"], scope=labels["scope"], actor=actor, asked=requested)]
    if kind == "difference" and labels.get("holds"):
        symbol, _, code = labels["holds"].rpartition(":")
        known = Code.__members__.get(code)  # a newer release may have others
        return [Owed(code, known.meaning, symbol)] if known is not None else []
    if kind == "baseline" and event["reason"] == "halt" and event["symbols"]:
        return [Owed(str(Code.FOREIGN_HALT), Code.FOREIGN_HALT.meaning, EVERYTHING)]
    if kind == "day_ended" and labels.get("judged"):
        return [Owed(str(Code.KILL_PSR), "")]
    return [
        Owed(str(note.code), note.detail, EVERYTHING if note.code is Code.NONDETERMINISM else note.symbol)
        for note in notes
        if note.code in _BY_NOTE
    ]
